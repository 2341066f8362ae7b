/**
 * What one part of the extension offers to another, and to other extensions.
 */

import type { NotebookPanel } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

import type { Operations } from './features/progress/model';
import type { VerdictModel } from './features/badges/model';
import type { RunLog } from './kernel/log';
import type { KernelLink } from './kernel/link';
import type { OutsideWatch } from './kernel/outside';
import type { RecordedCells } from './kernel/recorded';

/** All that NBRewind knows about one open notebook. */
export interface INotebookSide {
  readonly panel: NotebookPanel;
  /** The way to the kernel. */
  readonly link: KernelLink;
  /** What the kernel executed. */
  readonly log: RunLog;
  /** Which cells have a recorded run. */
  readonly recorded: RecordedCells;
  /** What was changed outside the notebook. */
  readonly outside: OutsideWatch;
  /** How every cell stands towards its last run. */
  readonly verdicts: VerdictModel;
  /** Restores and replays, one after the other. */
  readonly operations: Operations;
}

/** The open notebooks. */
export interface INotebookSides {
  /** The side of the notebook in front, or null. */
  readonly current: INotebookSide | null;
  /** The side of this panel, or null when it is gone. */
  of(panel: NotebookPanel): INotebookSide | null;
  /** A name for this panel that commands can take as argument; there before the panel has an id. */
  nameOf(panel: NotebookPanel): string;
  /** The side of the panel with this name, or null. */
  named(name: string): INotebookSide | null;
  /** A notebook was opened. */
  readonly added: ISignal<INotebookSides, INotebookSide>;
  /** Another notebook is in front, another cell is active, or a kernel's state changed: ask commands again. */
  readonly changed: ISignal<INotebookSides, void>;
}

export const INotebookSides = new Token<INotebookSides>(
  'nbrewind:INotebookSides',
  'What NBRewind knows about every open notebook: verdicts, runs, and the way to the kernel.'
);

/** Where the palette lists our commands. A name, not to be translated. */
export const CATEGORY = 'NBRewind';

/** The commands, as scripts and shortcuts name them. */
export namespace CommandIDs {
  export const toggleAudit = 'nbrewind:toggle-audit';
  export const restoreToCell = 'nbrewind:restore-to-cell';
  export const restoreRun = 'nbrewind:restore-run';
  export const undoRestore = 'nbrewind:undo-restore';
  export const replayFromCell = 'nbrewind:replay-from-cell';
  export const replayStale = 'nbrewind:replay-stale';
  export const cancel = 'nbrewind:cancel';
  export const nextStale = 'nbrewind:next-stale';
  export const previousStale = 'nbrewind:previous-stale';
  export const showReason = 'nbrewind:show-reason';
}
