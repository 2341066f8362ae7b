/** NBRewind in JupyterLab: the list of its plugins. */

import { auditPlugin } from './features/audit';
import { badgesPlugin } from './features/badges';
import { progressPlugin } from './features/progress';
import { replayPlugin } from './features/replay';
import { restorePlugin } from './features/restore';
import { sidesPlugin } from './sides';

export * from './tokens';

export default [sidesPlugin, badgesPlugin, auditPlugin, progressPlugin, restorePlugin, replayPlugin];
