/**
 * One side per open notebook: link, log, verdicts and operations, made when the notebook is ready and gone with it. Two views
 * of one notebook share what belongs to its kernel, so that they agree on what runs, and wait for each other.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { ISessionContext } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { UUID } from '@lumino/coreutils';
import { Signal, type ISignal } from '@lumino/signaling';

import { Core } from './core';
import { Operations } from './features/progress/model';
import { VerdictModel } from './features/badges/model';
import { KernelLink } from './kernel/link';
import { RunLog, type IShownCell } from './kernel/log';
import { OutsideWatch } from './kernel/outside';
import { RecordedCells } from './kernel/recorded';
import { recordedRuns } from './request';
import { PLUGIN_ID } from './settings';
import { CommandIDs, INotebookSides, type INotebookSide } from './tokens';

/** What all views of one notebook share. */
interface IShared extends Pick<INotebookSide, 'link' | 'log' | 'recorded' | 'outside' | 'operations'> {
  nViews: number;
}

class Sides implements INotebookSides {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly tracker: INotebookTracker
  ) {
    tracker.widgetAdded.connect((_, panel) => void this._add(panel));
    tracker.currentChanged.connect(() => {
      // Files are often edited in another tab.
      this.current?.outside.look();
      this._tell();
    });
    tracker.activeCellChanged.connect(() => this._tell());
    tracker.forEach(panel => void this._add(panel));
  }

  get current(): INotebookSide | null {
    const panel = this.tracker.currentWidget;
    return panel ? this.of(panel) : null;
  }

  of(panel: NotebookPanel): INotebookSide | null {
    return this._sides.get(panel) ?? null;
  }

  nameOf(panel: NotebookPanel): string {
    let name = this._names.get(panel);
    if (name === undefined) {
      name = UUID.uuid4();
      this._names.set(panel, name);
    }
    return name;
  }

  named(name: string): INotebookSide | null {
    return [...this._sides.values()].find(side => this.nameOf(side.panel) === name) ?? null;
  }

  get added(): ISignal<this, INotebookSide> {
    return this._added;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  private async _add(panel: NotebookPanel): Promise<void> {
    this._core.prepare();
    // Start-up of the lab must not wait for us: this is not awaited.
    await panel.context.ready;
    const model = panel.content.model;
    if (panel.isDisposed || !model || this._sides.has(panel)) {
      return;
    }
    const { sessionContext } = panel;
    const shared = this._share(panel);
    const { link, log, recorded, outside, operations } = shared;
    const verdicts = new VerdictModel(this._core, model, log);
    const side: INotebookSide = { panel, link, log, recorded, outside, verdicts, operations };
    this._sides.set(panel, side);
    // The content goes first: the kernel can still be told then.
    panel.content.disposed.connect(() => {
      this._sides.delete(panel);
      verdicts.dispose();
      if (--shared.nViews === 0) {
        this._shared.delete(sessionContext);
        operations.dispose();
        outside.dispose();
        recorded.dispose();
        log.dispose();
        link.dispose();
      }
    });
    // Before a kernel says what it speaks, the notebook's metadata does.
    const languageOf = () => {
      const named = model.getMetadata('language_info')?.name ?? model.getMetadata('kernelspec')?.language ?? 'python';
      verdicts.isEnabled =
        link.state === 'foreign'
          ? false
          : ['no-kernel', 'connecting'].includes(link.state)
            ? /python/i.test(named)
            : true;
    };
    languageOf();
    link.changed.connect(() => {
      languageOf();
      this._tell();
    });
    operations.changed.connect(() => this._tell());
    this._added.emit(side);
    this._tell();
  }

  private _share({ context, sessionContext }: NotebookPanel): IShared {
    let shared = this._shared.get(sessionContext);
    if (!shared) {
      const link = new KernelLink(sessionContext, () => PathExt.basename(context.path));
      const log = new RunLog(sessionContext, link, () => shownCells(context));
      const recorded = new RecordedCells(link, () => recordedRuns(context.path));
      const outside = new OutsideWatch(link, log);
      const operations = new Operations(sessionContext, log);
      // A rename, a move, or "Save Notebook As".
      context.pathChanged.connect(() => void link.rename().catch(() => undefined));
      shared = { link, log, recorded, outside, operations, nViews: 0 };
      this._shared.set(sessionContext, shared);
    }
    shared.nViews++;
    return shared;
  }

  /** Commands are asked again whether they are enabled and toggled. */
  private _tell(): void {
    for (const id of Object.values(CommandIDs)) {
      if (this.app.commands.hasCommand(id)) {
        this.app.commands.notifyCommandChanged(id);
      }
    }
    this._changed.emit();
  }

  private readonly _core = new Core();
  private readonly _names = new WeakMap<NotebookPanel, string>();
  private readonly _sides = new Map<NotebookPanel, INotebookSide>();
  private readonly _shared = new Map<ISessionContext, IShared>();
  private readonly _added = new Signal<this, INotebookSide>(this);
  private readonly _changed = new Signal<this, void>(this);
}

function shownCells(context: NotebookPanel['context']): IShownCell[] {
  return [...context.model.cells]
    .filter(cell => cell.type === 'code')
    .map(cell => ({
      id: cell.id,
      source: cell.sharedModel.getSource(),
      executionCount: (cell.sharedModel as unknown as { execution_count: number | null }).execution_count
    }));
}

export const sidesPlugin: JupyterFrontEndPlugin<INotebookSides> = {
  id: PLUGIN_ID,
  description: 'Knows for every open notebook what its kernel ran and which cells need execution.',
  autoStart: true,
  requires: [INotebookTracker],
  provides: INotebookSides,
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker) => new Sides(app, tracker)
};
