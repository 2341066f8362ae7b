/**
 * Restore to here: the state that a cell's run left, without running what comes before it. With undo.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { restoreIcon } from '../../icons';
import { LinkError, type KernelLink } from '../../kernel/link';
import type { ILogRun, IRecordedRun, IRestoreReport } from '../../kernel/protocol';
import { recordedRuns, RequestError } from '../../request';
import { duration, nameList } from '../../text';
import { CATEGORY, CommandIDs, INotebookSides, type INotebookSide } from '../../tokens';
import { cellName, cellOf } from '../cells';
import { messageOf, type IOutcome, type Operation } from '../progress/model';
import { ExecutedText, limits, restoreTable, RunPicker, summary } from './report';

const CELL_ARGS = {
  args: {
    type: 'object' as const,
    properties: {
      cell: { type: 'string' as const, description: 'The id of a code cell; without it the active cell' },
      toolbar: { type: 'boolean' as const },
      fromMenu: { type: 'boolean' as const }
    }
  }
};

export const restorePlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:restore',
  description: 'Restore to here: the state that a recorded run of a cell left.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('nbrewind');
    const { commands } = app;
    const find = (args: ReadonlyPartialJSONObject) => cellOf(app, sides, args);
    const isPossible = (args: ReadonlyPartialJSONObject) => {
      const found = find(args);
      return found !== null && found.side.link.obstacle === null;
    };

    commands.addCommand(CommandIDs.restoreToCell, {
      label: args => (args.toolbar ? '' : trans.__('Restore to Here')),
      caption: args =>
        find(args)?.side.link.obstacle ??
        trans.__('Restore to here: bring back the state that this cell left, without running anything'),
      icon: restoreIcon,
      isVisible: args => !args.toolbar || find(args) !== null,
      isEnabled: isPossible,
      execute: async args => {
        const found = find(args);
        if (found) {
          await restoreTo(found.side, found.cell.model.id, trans, null);
        }
      },
      describedBy: CELL_ARGS
    });
    commands.addCommand(CommandIDs.restoreRun, {
      label: trans.__('Restore to an Earlier Run…'),
      caption: trans.__('Choose one of the recorded runs of this cell'),
      isEnabled: isPossible,
      execute: async args => {
        const found = find(args);
        if (found) {
          const run = await choose(found.side, found.cell.model.id, trans);
          if (run) {
            await restoreTo(found.side, found.cell.model.id, trans, run);
          }
        }
      },
      describedBy: CELL_ARGS
    });
    commands.addCommand(CommandIDs.undoRestore, {
      label: trans.__('Undo Restore'),
      caption: trans.__('Bring back the state that was there before the last restore'),
      isEnabled: () => Boolean(sides.current?.link.canUndo),
      execute: async () => {
        const side = sides.current;
        if (side) {
          await undo(side, trans);
        }
      },
      describedBy: { args: { type: 'object', properties: {} } }
    });
    for (const command of [CommandIDs.restoreToCell, CommandIDs.restoreRun, CommandIDs.undoRestore]) {
      palette?.addItem({ command, category: CATEGORY });
    }
    // What was still to be loaded when the restore was told, and could not be.
    const heard = new WeakSet<KernelLink>();
    sides.added.connect((_, side) => {
      if (heard.has(side.link)) {
        // Another view of the same notebook.
        return;
      }
      heard.add(side.link);
      side.link.event.connect((_, { event }) => {
        if (event.event === 'lost') {
          const names = nameList(event.names);
          Notification.warning(
            trans.__('%1 could not be brought back: %2. Run the cell that makes it.', names, event.why),
            { autoClose: false }
          );
        }
      });
    });
  }
};

/** The recorded runs of a cell, newest first, and why there may have been more. */
interface IRunsOfCell {
  runs: IRecordedRun[];
  damage?: string | null;
}

/** From the kernel when it can be asked, else from the server. */
async function runsOf(side: INotebookSide, cell: string): Promise<IRunsOfCell> {
  if (side.link.state === 'ready') {
    return side.link.ask<IRunsOfCell>('runs', { cell });
  }
  return { runs: await recordedRuns(side.panel.context.path, cell) };
}

/** Restore to the newest completed run of the cell, or to the run that was chosen. */
async function restoreTo(
  side: INotebookSide,
  cell: string,
  trans: TranslationBundle,
  chosen: IRecordedRun | null
): Promise<void> {
  const title = trans.__('Restore to %1', cellName(side, cell));
  await side.operations.run(title, async operation => {
    if (side.link.state !== 'ready') {
      operation.progress(trans.__('loading NBRewind in the kernel'));
      await side.link.load(operation.signal);
    }
    const run = chosen ?? (await newest(side, cell, trans));
    if (!(await agreesWithText(side, cell, run, trans))) {
      return null;
    }
    return restore(side, run, operation, trans);
  });
}

/** Restore to a run that is known by its id alone. */
export async function restoreRun(side: INotebookSide, runId: string, trans: TranslationBundle): Promise<void> {
  await side.operations.run(trans.__('Restore'), async operation => {
    await side.link.load(operation.signal);
    const { runs } = await side.link.ask<{ runs: IRecordedRun[] }>('runs');
    const run = runs.find(one => one.run_id === runId);
    if (!run) {
      throw new LinkError('unknown-run', trans.__('the run is not in the store any more.'));
    }
    return restore(side, run, operation, trans);
  });
}

async function newest(side: INotebookSide, cell: string, trans: TranslationBundle): Promise<IRecordedRun> {
  const found = await runsOf(side, cell);
  const runs = found.runs.filter(one => one.status === 'ok');
  // Those under an earlier name of the notebook are listed too, and may be those of a copy that was deleted.
  const name = PathExt.basename(side.panel.context.path);
  const run = runs.find(one => one.notebook === name) ?? runs[0];
  if (!run) {
    throw new LinkError(
      'unknown-run',
      found.damage ?? trans.__('no completed run of this cell is recorded. Run it with Audit on, then try again.')
    );
  }
  return run;
}

/** When the cell was edited since, show what was executed and ask. */
async function agreesWithText(
  side: INotebookSide,
  cell: string,
  run: IRecordedRun,
  trans: TranslationBundle
): Promise<boolean> {
  const now = side.panel.content.widgets.find(widget => widget.model.id === cell)?.model.sharedModel.getSource();
  if (now === undefined || now.trim() === run.source.trim()) {
    return true;
  }
  const { button } = await showDialog({
    title: trans.__('This cell was edited since'),
    body: new ExecutedText(run, now, trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Restore') })]
  });
  return button.accept;
}

async function restore(
  side: INotebookSide,
  run: IRecordedRun,
  operation: Operation,
  trans: TranslationBundle
): Promise<IOutcome> {
  const listen = side.link.event;
  const heard = (_: unknown, { event }: { event: { event: string } & Record<string, any> }) => {
    if (event.event === 'progress') {
      operation.progress(trans.__('loading `%1`', event.what).replace(/`/g, ''), event.done, event.total);
    }
  };
  await side.operations.idle(operation);
  operation.progress(trans.__('loading'));
  listen.connect(heard);
  try {
    const answer = await side.link.askCancellable<{ report: IRestoreReport; runs: ILogRun[] }>(
      'restore',
      { run: run.run_id },
      operation.signal
    );
    side.log.replace(answer.runs);
    side.link.noteUndo(true);
    return tell(side, answer.report, run, trans);
  } finally {
    listen.disconnect(heard);
  }
}

function tell(side: INotebookSide, report: IRestoreReport, run: IRecordedRun, trans: TranslationBundle): IOutcome {
  const isWhole = !report.names.some(name => name.how === 'stub') && limits(report, trans).length === 0;
  const where = run.cell_id ? cellName(side, run.cell_id) : run.run_id.slice(0, 8);
  return {
    kind: isWhole ? 'done' : 'warning',
    text: trans.__('Restored the state after %1 in %2: %3', where, duration(report.seconds), summary(report, trans)),
    actions: [
      {
        label: trans.__('Details'),
        caption: trans.__('What was loaded, rebuilt or lost, by name'),
        run: () =>
          void showDialog({
            title: trans.__('Restored state'),
            body: restoreTable(report, trans),
            buttons: [Dialog.okButton({ label: trans.__('Close') })]
          })
      },
      {
        label: trans.__('Undo restore'),
        caption: trans.__('Bring back the state that was there before'),
        run: () => void undo(side, trans)
      }
    ]
  };
}

async function undo(side: INotebookSide, trans: TranslationBundle): Promise<void> {
  await side.operations.run(trans.__('Undo restore'), async operation => {
    const answer = await side.link.askCancellable<{ undone: boolean; runs: ILogRun[] }>(
      'undo-restore',
      {},
      operation.signal
    );
    side.link.noteUndo(false);
    if (!answer.undone) {
      return { kind: 'warning', text: trans.__('There is no restore to undo.') };
    }
    side.log.replace(answer.runs);
    return { kind: 'done', text: trans.__('The state is as it was before the restore.') };
  });
}

/** Let the user choose among the recorded runs of a cell. */
async function choose(side: INotebookSide, cell: string, trans: TranslationBundle): Promise<IRecordedRun | null> {
  let found: IRunsOfCell = { runs: [] };
  try {
    if (side.link.state === 'absent') {
      await side.link.load();
    }
    found = await runsOf(side, cell);
  } catch (error) {
    await showDialog({
      title: trans.__('The recorded runs cannot be listed'),
      body:
        error instanceof RequestError && error.isMissing
          ? trans.__('Without a kernel this needs the server extension of NBRewind, which this server does not have.')
          : messageOf(error),
      buttons: [Dialog.okButton()]
    });
    return null;
  }
  const runs = found.runs.filter(run => run.status === 'ok');
  if (runs.length === 0) {
    await showDialog({
      title: trans.__('No recorded runs'),
      body:
        found.damage ?? trans.__('No completed run of this cell is recorded. Run it with Audit on, then try again.'),
      buttons: [Dialog.okButton()]
    });
    return null;
  }
  const { button, value } = await showDialog({
    title: trans.__('Restore to a run of %1', cellName(side, cell)),
    body: new RunPicker(runs, trans),
    buttons: [Dialog.cancelButton(), Dialog.okButton({ label: trans.__('Restore') })],
    focusNodeSelector: 'input:checked'
  });
  return button.accept && value ? value : null;
}
