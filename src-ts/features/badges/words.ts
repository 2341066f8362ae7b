/**
 * The word and the shape for each state. The sentence comes with the verdict.
 */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { VerdictState, Why } from '../../generated/analysis';

/** States that have a badge. */
export type BadgeState = Exclude<VerdictState, 'fresh' | 'running'>;

/** What stands on the badge: one short word. */
export function wordOf(state: BadgeState, trans: TranslationBundle): string {
  switch (state) {
    case 'never-run':
      return trans.__('not run');
    case 'edited':
      return trans.__('edited');
    case 'failed':
      return trans.__('failed');
    case 'stale':
      return trans.__('stale');
    case 'upstream-edited':
      return trans.__('upstream');
    case 'unknown':
      return trans.__('unknown');
    case 'ahead':
      return trans.__('ahead');
    case 'replayed':
      return trans.__('replayed');
  }
}

/** The state in a few words, for the head of the tooltip and for screen readers; `why` tells kinds of stale cells apart. */
export function titleOf(state: BadgeState, trans: TranslationBundle, why?: Why | null): string {
  switch (state === 'stale' || state === 'unknown' ? why : undefined) {
    case 'already-changed':
      return state === 'stale'
        ? trans.__('Ran twice on what it changes')
        : trans.__('Perhaps ran twice on what it changes');
    case 'deleted-definition':
      return trans.__('Uses a name of a deleted cell');
    case 'defined-below':
      return trans.__('Would fail after a restart');
    case 'out-of-order':
      return trans.__('Ran in another order than the page');
    case 'console':
      return trans.__('Uses what a console set');
    case 'outside':
      return trans.__('Depends on something outside the notebook');
    case 'failed':
      return trans.__('Uses a cell that did not finish');
    case 'unknown-code':
      return trans.__('Cannot be told from the text');
  }
  switch (state) {
    case 'never-run':
      return trans.__('Not run in this kernel');
    case 'edited':
      return trans.__('Edited since its run');
    case 'failed':
      return trans.__('Its last run failed');
    case 'stale':
      return trans.__('Stale');
    case 'upstream-edited':
      return trans.__('Edited above, not run yet');
    case 'unknown':
      return trans.__('Perhaps stale');
    case 'ahead':
      return trans.__('Ahead of the restored state');
    case 'replayed':
      return trans.__('Replayed');
  }
}

// Ten by ten units; each state has a shape of its own, so that colour is never needed to tell them apart.
const SHAPES: Record<BadgeState, string> = {
  // an empty circle
  'never-run': '<circle cx="5" cy="5" r="3.5" fill="none" stroke="currentColor" stroke-width="1.4"/>',
  // a pen stroke
  edited: '<path d="M1.2 8.8 2 6.2 7 1.2 8.8 3 3.8 8z" fill="currentColor"/>',
  // a cross
  failed: '<path d="M2 2 8 8M8 2 2 8" fill="none" stroke="currentColor" stroke-width="1.8"/>',
  // a triangle
  stale: '<path d="M5 1 9.4 9H.6z" fill="currentColor"/>',
  // an arrow that comes from above
  'upstream-edited': '<path d="M5 9 1.6 5.4H4V1h2v4.4h2.4z" fill="currentColor"/>',
  // a question mark
  unknown:
    '<path d="M2.8 3.4a2.2 2.1 0 1 1 3.3 1.8C5.3 5.700 5 6 5 6.900" fill="none" stroke="currentColor" stroke-width="1.5"/><circle cx="5" cy="8.9" r=".95" fill="currentColor"/>',
  // two bars with a triangle: forward
  ahead: '<path d="M1 1.500 5 5 1 8.500zM5 1.500 9 5 5 8.500z" fill="currentColor"/>',
  // a round arrow
  replayed:
    '<path d="M8.300 3.300A3.700 3.700 0 1 0 8.700 5.600" fill="none" stroke="currentColor" stroke-width="1.400"/><path d="M9.200 .700v3.300H5.900z" fill="currentColor"/>'
};

/** The shape of a state as SVG text. */
export function shapeOf(state: BadgeState): string {
  return `<svg viewBox="0 0 10 10" aria-hidden="true" focusable="false">${SHAPES[state]}</svg>`;
}
