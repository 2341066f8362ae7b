/**
 * Replay from cell: bring a cell and those after it up to date; what did not change comes from the store.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, ISessionContextDialogs, showDialog } from '@jupyterlab/apputils';
import { NotebookActions } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { replayIcon } from '../../icons';
import { LinkError, type ILinkEvent } from '../../kernel/link';
import type { IReplayBegun, IReplayPlan, IReplayReport, Mode } from '../../kernel/protocol';
import { PLUGIN_ID } from '../../settings';
import { duration, nameList } from '../../text';
import { CATEGORY, CommandIDs, INotebookSides, type INotebookSide } from '../../tokens';
import { isToExecute } from '../badges/model';
import { cellName, cellOf, cellTexts } from '../cells';
import type { IOutcome, Operation } from '../progress/model';
import { restoreRun } from '../restore';
import { PlanPreview, reportTable, type ICellReport } from './preview';

export const replayPlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:replay',
  description: 'Replay from cell: execute what a change touches, replay the rest.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [ISettingRegistry, ICommandPalette, ISessionContextDialogs, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    settingRegistry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    dialogs: ISessionContextDialogs | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('nbrewind');
    const find = (args: ReadonlyPartialJSONObject) => cellOf(app, sides, args);
    let settings: ISettingRegistry.ISettings | null = null;
    void settingRegistry
      ?.load(PLUGIN_ID)
      .then(found => (settings = found))
      .catch(() => undefined);
    const confirm = {
      isWanted: () => (settings?.get('previewReplay').composite as boolean | undefined) ?? true,
      stop: () => void settings?.set('previewReplay', false)
    };

    app.commands.addCommand(CommandIDs.replayFromCell, {
      label: args => (args.toolbar ? '' : trans.__('Replay from Cell')),
      caption: args =>
        find(args)?.side.link.obstacle ??
        trans.__('Replay from this cell: execute only what a change touches, take the rest from the records'),
      icon: replayIcon,
      isVisible: args => !args.toolbar || find(args) !== null,
      isEnabled: args => {
        const found = find(args);
        return found !== null && found.side.link.obstacle === null;
      },
      execute: async args => {
        const found = find(args);
        if (found) {
          const title = trans.__('Replay from %1', cellName(found.side, found.cell.model.id));
          await found.side.operations.run(title, operation =>
            new Replay(found.side, found.cell.model.id, operation, trans, dialogs).run(confirm)
          );
        }
      },
      describedBy: {
        args: {
          type: 'object',
          properties: {
            cell: { type: 'string', description: 'The id of a code cell; without it the active cell' },
            toolbar: { type: 'boolean' },
            fromMenu: { type: 'boolean' }
          }
        }
      }
    });
    const firstStale = () => {
      const side = sides.current;
      const first = side?.verdicts.needsExecution[0];
      return side && first && side.link.obstacle === null ? { side, cell: first.id } : null;
    };
    app.commands.addCommand(CommandIDs.replayStale, {
      label: trans.__('Replay All Stale Cells'),
      caption: () =>
        sides.current?.link.obstacle ??
        trans.__('Bring every cell up to date: execute only what a change touches, take the rest from the records'),
      isEnabled: () => firstStale() !== null,
      execute: async () => {
        const found = firstStale();
        if (found) {
          const { side, cell } = found;
          await side.operations.run(trans.__('Replay of all stale cells'), operation =>
            new Replay(side, cell, operation, trans, dialogs).run(confirm)
          );
        }
      },
      describedBy: { args: { type: 'object', properties: {} } }
    });
    for (const command of [CommandIDs.replayFromCell, CommandIDs.replayStale]) {
      palette?.addItem({ command, category: CATEGORY });
    }
    sides.added.connect((_, side) => {
      side.link.opened.connect(link => {
        if (!link.foundReplaying) {
          return;
        }
        side.operations.tell({
          kind: 'warning',
          text: trans.__('A replay that this page did not start is under way in the kernel, or was left behind there.'),
          actions: [
            {
              label: trans.__('End it'),
              caption: trans.__('Cells that you run from then on are executed, not replayed'),
              run: () => {
                side.operations.dismiss();
                void side.operations.run(trans.__('End the replay'), async operation => {
                  const { mode } = await link.askCancellable<{ mode: Mode }>(
                    'end-replay',
                    { force: true },
                    operation.signal
                  );
                  link.noteMode(mode);
                  return null;
                });
              }
            }
          ]
        });
      });
    });
  }
};

const INTERRUPT_AGAIN = 3000;

/** One replay from its plan to its report. */
class Replay {
  constructor(
    private readonly side: INotebookSide,
    private readonly from: string,
    private readonly operation: Operation,
    private readonly trans: TranslationBundle,
    private readonly dialogs: ISessionContextDialogs | null
  ) {}

  async run(confirm: { isWanted: () => boolean; stop: () => void }): Promise<IOutcome | null> {
    const { side, operation, trans } = this;
    if (side.link.state !== 'ready') {
      operation.progress(trans.__('loading NBRewind in the kernel'));
      await side.link.load(operation.signal);
    }
    operation.progress(trans.__('looking what a replay would execute'));
    const plan = await side.link.askCancellable<IReplayPlan>('plan-replay', this.request(), operation.signal);
    if (confirm.isWanted() || plan.restart.length > 0) {
      const preview = new PlanPreview(side, plan, this.from, trans);
      operation.progress(trans.__('waiting for your answer'));
      const { button, value } = await showDialog({
        title: operation.title,
        body: preview,
        buttons: [
          Dialog.cancelButton(),
          Dialog.okButton({ label: plan.restart.length > 0 ? trans.__('Restart and replay') : trans.__('Replay') })
        ]
      });
      if (!button.accept) {
        return null;
      }
      if (value?.isLastTime) {
        confirm.stop();
      }
    }
    if (plan.restart.length > 0) {
      await this.restart();
    }
    return this.replay();
  }

  /** The page as it is now, and from where on its cells are shown anew. */
  private request(): Record<string, unknown> {
    return { cells: cellTexts(this.side), from: this.firstToShow() };
  }

  /** Begin, run what is left cell by cell, end. Begins again without records whose values cannot be loaded. */
  private async replay(): Promise<IOutcome | null> {
    const { side, operation, trans } = this;
    const distrusted: string[] = [];
    let hasBegun = false;
    let report: IReplayReport | null = null;
    let { generation } = side.link;
    side.link.event.connect(this._onEvent, this);
    try {
      for (;;) {
        await side.operations.idle(operation);
        this._before ??= hasBegun ? null : side.log.checkpoint;
        operation.progress(trans.__('replaying'));
        const begun = await this.begin(distrusted);
        if (begun === null) {
          return null;
        }
        hasBegun = true;
        ({ generation } = side.link);
        side.log.replace(begun.runs);
        side.link.noteUndo(false);
        const restart = await this.runCells(begun);
        if (restart.length === 0) {
          break;
        }
        if (restart.every(run => distrusted.includes(run))) {
          // Nothing is left to leave out: the cell says what it lacks.
          this._failed = this._reports[this._reports.length - 1]?.id ?? this.from;
          break;
        }
        distrusted.push(...restart);
      }
    } finally {
      side.link.event.disconnect(this._onEvent, this);
      this._isGone = generation !== side.link.generation;
      if (hasBegun && !this._isGone) {
        const ended = await side.link.ask<{ report: IReplayReport; mode: Mode }>('end-replay').catch(() => null);
        report = ended?.report ?? null;
        if (ended) {
          side.link.noteMode(ended.mode);
        }
      }
    }
    this._failed ??= report?.failed ?? null;
    return this.tell(report);
  }

  /** Begin. When what ran since the preview cannot be taken back in this process, ask; null: the user does not want that. */
  private async begin(distrusted: string[]): Promise<IReplayBegun | null> {
    const { side, operation, trans } = this;
    const begin = () =>
      side.link.askCancellable<IReplayBegun>('begin-replay', { ...this.request(), distrusted }, operation.signal);
    try {
      return await begin();
    } catch (error) {
      if (!(error instanceof LinkError) || error.code !== 'restart-needed') {
        throw error;
      }
      const why = (error.details.restart as string[] | undefined) ?? [];
      const { button } = await showDialog({
        title: operation.title,
        body: trans.__(
          'The kernel has to be restarted first: %1. What is in memory and not recorded is lost.',
          why.join('; ')
        ),
        buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Restart and replay') })]
      });
      if (!button.accept) {
        return null;
      }
    }
    await this.restart();
    return begin();
  }

  private async restart(): Promise<void> {
    this._before ??= this.side.log.checkpoint;
    this.operation.progress(this.trans.__('restarting the kernel'));
    await this.side.panel.sessionContext.restartKernel();
    await this.side.link.load(this.operation.signal);
  }

  /**
   * The first cell whose output on the page may not be that of the state that comes: from there on every cell is run by an
   * ordinary request, so that replayed outputs are shown as well.
   */
  private firstToShow(): string {
    const { panel, verdicts } = this.side;
    for (const cell of panel.content.widgets) {
      const verdict = verdicts.verdictOf(cell.model);
      if (cell.model.id === this.from || (verdict && isToExecute(verdict))) {
        return cell.model.id;
      }
    }
    return this.from;
  }

  /** Run `next` and what follows. Returns the runs whose records must not be used, if a value could not be loaded. */
  private async runCells(begun: IReplayBegun): Promise<string[]> {
    const { side, operation, trans } = this;
    const { content, sessionContext } = side.panel;
    this._reports = begun.replayed.map(one => ({
      id: one.id,
      status: 'replayed',
      seconds: 0,
      recordedSeconds: one.recorded_seconds,
      why: [],
      tasks: null
    }));
    this._failed = null;
    if (begun.next === null) {
      return [];
    }
    const codeCells = content.widgets.filter(cell => cell.model.type === 'code');
    const start = codeCells.findIndex(cell => cell.model.id === begun.next);
    const todo = codeCells
      .slice(start)
      .filter(cell => cell.model.sharedModel.getSource().trim() !== '')
      .map(cell => ({ id: cell.model.id, was: cell }));
    for (const [at, { id, was }] of todo.entries()) {
      if (operation.signal.aborted) {
        break;
      }
      // A cell that the user moved meanwhile has another widget, and one that was deleted has none.
      const cell = was.isDisposed ? content.widgets.find(one => one.model.id === id && one.model.type === 'code') : was;
      if (!cell) {
        continue;
      }
      this._restart = [];
      operation.progress(
        trans.__('%1 of %2 cells, now %3', at + 1, todo.length, cellName(side, cell.model.id)),
        at,
        todo.length
      );
      const isDone = await this.runCell(() => {
        const { mode, activeCellIndex } = content;
        const done = NotebookActions.runCells(content, [cell], sessionContext, this.dialogs ?? undefined);
        // It goes to command mode, in which what somebody types in another cell meanwhile would be commands.
        if (mode === 'edit' && content.activeCellIndex === activeCellIndex) {
          content.mode = mode;
        }
        return done;
      });
      if (this._restart.length > 0) {
        return this._restart;
      }
      if (!isDone) {
        this._failed = cell.model.id;
        break;
      }
    }
    return [];
  }

  /** Run one cell; cancelling interrupts it, again while it goes on: a kernel that is just beginning a cell loses an interrupt. */
  private async runCell(run: () => Promise<boolean>): Promise<boolean> {
    let again: number | undefined;
    const interrupt = () => {
      this.side.panel.sessionContext.session?.kernel?.interrupt().catch(() => undefined);
      again = window.setTimeout(interrupt, INTERRUPT_AGAIN);
    };
    this.operation.signal.addEventListener('abort', interrupt);
    try {
      return await run();
    } catch {
      // The cell shows its error itself.
      return false;
    } finally {
      this.operation.signal.removeEventListener('abort', interrupt);
      window.clearTimeout(again);
    }
  }

  private _onEvent(_: unknown, { event }: ILinkEvent): void {
    if (event.event !== 'run' || event.status === 'not recorded' || !event.cell_id) {
      return;
    }
    this._restart = event.restart_without ?? [];
    this._reports.push({
      id: event.cell_id,
      status: event.status,
      seconds: event.seconds ?? 0,
      recordedSeconds: event.recorded_seconds ?? 0,
      why: event.why,
      tasks: event.tasks ?? null
    });
  }

  private tell(report: IReplayReport | null): IOutcome {
    const { side, operation, trans } = this;
    const reports = this._reports;
    const details = {
      label: trans.__('Details'),
      caption: trans.__('What happened, by cell'),
      run: () =>
        void showDialog({
          title: operation.title,
          body: reportTable(side, reports, report, trans),
          buttons: [Dialog.okButton({ label: trans.__('Close') })]
        })
    };
    const before = this._before;
    const actions = [details];
    if (before !== null) {
      actions.push({
        label: trans.__('Undo replay'),
        caption: trans.__('Bring back, from its record, the state that was there before; outputs stay as they are'),
        run: () => void restoreRun(side, before, trans)
      });
    }
    const executed = report?.executed ?? reports.filter(one => one.status === 'executed').length;
    const replayed = report?.replayed ?? reports.filter(one => one.status === 'replayed').length;
    const parts = [
      trans._n('%1 cell executed', '%1 cells executed', executed),
      trans._n('%1 replayed', '%1 replayed', replayed)
    ];
    if (report && report.tasks.hit + report.tasks.run > 0) {
      parts.push(trans.__('%1 tasks replayed, %2 run', report.tasks.hit, report.tasks.run));
    }
    if (report && report.saved_seconds >= 0.1) {
      parts.push(trans.__('about %1 saved', duration(report.saved_seconds)));
    }
    const what = parts.join(', ');
    if (operation.signal.aborted) {
      return {
        kind: 'cancelled',
        text: trans.__('%1: stopped. The state is that after the last cell that ended; %2.', operation.title, what),
        actions
      };
    }
    if (this._isGone) {
      return {
        kind: 'failed',
        text: trans.__(
          '%1: the kernel died or was restarted meanwhile. Replay again: what had ended by then is recorded; %2.',
          operation.title,
          what
        ),
        actions
      };
    }
    if (this._failed !== null) {
      return {
        kind: 'failed',
        text: trans.__('%1: %2 failed; %3.', operation.title, cellName(side, this._failed), what),
        actions
      };
    }
    const took = report ? trans.__(' in %1', duration(report.seconds)) : '';
    const text = `${operation.title}${took}: ${what}.`;
    if (report && report.lost.length > 0) {
      const lost = trans._n(
        '%2 could not be brought back: run the cell that makes it.',
        '%2 could not be brought back: run the cells that make them.',
        report.lost.length,
        nameList(report.lost)
      );
      return { kind: 'warning', text: `${text} ${lost}`, actions };
    }
    return { kind: 'done', text, actions };
  }

  private _reports: ICellReport[] = [];
  private _restart: string[] = [];
  private _failed: string | null = null;
  // The process in which the replay began is no more.
  private _isGone = false;
  // The recorded run that left the state in which the replay began.
  private _before: string | null = null;
}
