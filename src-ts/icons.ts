/** Icons in the theme's own colours (`jp-icon3`). */

import { LabIcon } from '@jupyterlab/ui-components';

/** A clock whose hand goes back. */
export const restoreIcon = new LabIcon({
  name: 'nbrewind:restore',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M13 3a9 9 0 0 0-9 9H1l4 4 4-4H6a7 7 0 1 1 2.050 4.950L6.640 18.360A9 9 0 1 0 13 3zm-1 5v5l4.250 2.520.75-1.230-3.500-2.080V8z"/>
</svg>`
});

/** From a line on: play. */
export const replayIcon = new LabIcon({
  name: 'nbrewind:replay',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M3 3h18v2.200H3zM7 8.500v12l10-6z"/>
</svg>`
});

/** A tape with a dot: recording. */
export const auditIcon = new LabIcon({
  name: 'nbrewind:audit',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2.200a6.800 6.800 0 1 1 0 13.600 6.800 6.800 0 0 1 0-13.600z"/>
  <circle class="jp-icon3" fill="#616161" cx="12" cy="12" r="3.400"/>
</svg>`
});
export const auditOnIcon = new LabIcon({
  name: 'nbrewind:audit-on',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <path class="jp-icon3" fill="#616161" d="M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2.200a6.800 6.800 0 1 1 0 13.600 6.800 6.800 0 0 1 0-13.600z"/>
  <circle class="jp-NBRewind-record" fill="#c62828" cx="12" cy="12" r="4.200"/>
</svg>`
});
