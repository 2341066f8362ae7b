/**
 * Badges: which cells need execution, and why, while the user types.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { PLUGIN_ID } from '../../settings';
import { CATEGORY, CommandIDs, INotebookSides, type INotebookSide } from '../../tokens';
import { CursorWatch } from './cursor';
import { isToExecute } from './model';
import { Badge, goTo, ReasonNote } from './widget';
import { wordOf, type BadgeState } from './words';

/** Which badges the user wants to see. */
export type Shown = 'all' | 'no-never-run' | 'none';

const ANNOUNCE_AFTER = 1200;

/** The badges of one notebook. */
export class NotebookBadges implements IDisposable {
  constructor(
    readonly side: INotebookSide,
    private readonly trans: TranslationBundle,
    actions: (badge: Badge) => { label: string; run: () => void }[]
  ) {
    const { panel, verdicts } = side;
    this._note = new ReasonNote(panel.content, trans, actions);
    this._region = document.createElement('div');
    this._region.className = 'jp-NBRewind-spoken';
    this._region.setAttribute('role', 'status');
    this._region.setAttribute('aria-live', 'polite');
    panel.node.appendChild(this._region);
    verdicts.changed.connect(this._update, this);
    panel.content.model?.cells.changed.connect(this._soon, this);
    panel.content.modelContentChanged.connect(this._soon, this);
    panel.content.activeCellChanged.connect(this._reach, this);
    panel.disposed.connect(() => this.dispose());
    this._cursor = new CursorWatch(panel.content, (cell, line) => verdicts.expect(cell.model, line));
    this._update();
  }

  set shown(shown: Shown) {
    this._shown = shown;
    this._update();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  badgeOf(cell: Cell): Badge | undefined {
    return this._badges.get(cell);
  }

  /** Show the reason of this cell's badge and put the keyboard there. */
  pin(cell: Cell): void {
    const badge = this._badges.get(cell);
    if (badge && !badge.node.hidden) {
      this._note.pin(badge);
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    Signal.clearData(this);
    window.clearTimeout(this._timer);
    this._badges.forEach(badge => badge.dispose());
    this._badges.clear();
    this._cursor.dispose();
    this._note.dispose();
    this._region.remove();
  }

  /** Of a notebook of hundred cells, Tab passes one badge: that of the active cell. */
  private _reach(): void {
    const { activeCell } = this.side.panel.content;
    this._badges.forEach((badge, cell) => (badge.isReachable = cell === activeCell));
  }

  /** The model tells of new cells before their widgets are there. */
  private _soon(): void {
    if (!this._isWaiting) {
      this._isWaiting = true;
      queueMicrotask(() => {
        this._isWaiting = false;
        this._update();
      });
    }
  }

  private _update(): void {
    if (this._isDisposed || this.side.panel.isDisposed) {
      return;
    }
    const cells = new Set<Cell>(this.side.panel.content.widgets);
    for (const [cell, badge] of this._badges) {
      if (!cells.has(cell) || cell.isDisposed) {
        badge.dispose();
        this._badges.delete(cell);
      }
    }
    for (const cell of cells) {
      if (cell.model.type !== 'code') {
        continue;
      }
      const verdict = this.side.verdicts.verdictOf(cell.model) ?? null;
      let badge = this._badges.get(cell);
      if (!badge) {
        if (!verdict) {
          continue;
        }
        badge = new Badge(cell, this._note, this.trans);
        badge.isReachable = cell === this.side.panel.content.activeCell;
        this._badges.set(cell, badge);
      }
      const isWanted = this._shown !== 'none' && !(this._shown === 'no-never-run' && verdict?.state === 'never-run');
      badge.show(isWanted ? verdict : null);
    }
    this._announce();
  }

  /** Tell screen readers how many cells are stale: one sentence after typing has paused. */
  private _announce(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => {
      const n = this.side.verdicts.needsExecution.filter(verdict => verdict.state !== 'never-run').length;
      if (n !== this._announced) {
        this._region.textContent =
          n === 0
            ? this.trans.__('All cells that ran are up to date')
            : this.trans._n('%1 cell needs execution', '%1 cells need execution', n);
        this._announced = n;
      }
    }, ANNOUNCE_AFTER);
  }

  private readonly _cursor: CursorWatch;
  private readonly _badges = new Map<Cell, Badge>();
  private readonly _note: ReasonNote;
  private readonly _region: HTMLElement;
  private _shown: Shown = 'all';
  private _announced = 0;
  private _timer: number | undefined;
  private _isWaiting = false;
  private _isDisposed = false;
}

// As the status bar counts them.
const ORDER: BadgeState[] = ['failed', 'edited', 'stale', 'upstream-edited', 'unknown', 'ahead', 'never-run'];

/** How many cells need execution, and by what mark, in the status bar; a click goes to the next one. */
class StaleCount extends Widget {
  constructor(
    private readonly sides: INotebookSides,
    private readonly trans: TranslationBundle,
    next: () => void
  ) {
    super();
    this.addClass('jp-NBRewind-count');
    this._button = document.createElement('button');
    this._button.type = 'button';
    this._button.addEventListener('click', next);
    this.node.appendChild(this._button);
    sides.changed.connect(this._update, this);
    sides.added.connect((_, side) => side.verdicts.changed.connect(this._update, this));
    this._update();
  }

  private _update(): void {
    const verdicts = this.sides.current?.verdicts;
    const wanted = verdicts?.needsExecution ?? [];
    this._button.hidden = !verdicts || verdicts.verdicts.length === 0;
    this._button.disabled = wanted.length === 0;
    this._button.textContent =
      wanted.length === 0
        ? this.trans.__('Cells up to date')
        : this.trans._n('%1 cell to execute', '%1 cells to execute', wanted.length);
    const of = ORDER.map(state => ({ state, n: wanted.filter(verdict => verdict.state === state).length }))
      .filter(({ n }) => n > 0)
      .map(({ state, n }) => `${n} ${wordOf(state, this.trans)}`)
      .join(', ');
    this._button.title = of && this.trans.__('%1. Click to go to the next one', of);
  }

  private readonly _button: HTMLButtonElement;
}

export const badgesPlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:badges',
  description: 'Marks the cells that need execution, and says why.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [ISettingRegistry, ICommandPalette, IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    settingRegistry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('nbrewind');
    const { commands } = app;
    const all = new Map<INotebookSide, NotebookBadges>();
    let shown: Shown = 'all';

    sides.added.connect((_, side) => {
      const badges = new NotebookBadges(side, trans, badge => {
        const cell = badge.cell.model.id;
        const state = badge.verdict?.state;
        const actions: { label: string; run: () => void }[] = [];
        if (badge.verdict && isToExecute(badge.verdict)) {
          actions.push({
            label: trans.__('Replay from here'),
            run: () => void commands.execute(CommandIDs.replayFromCell, { cell, panel: sides.nameOf(side.panel) })
          });
        }
        if ((state === 'never-run' || state === 'ahead') && side.recorded.has(cell)) {
          actions.push({
            label: trans.__('Restore to here'),
            run: () => void commands.execute(CommandIDs.restoreToCell, { cell, panel: sides.nameOf(side.panel) })
          });
        }
        return actions;
      });
      badges.shown = shown;
      all.set(side, badges);
      side.panel.disposed.connect(() => all.delete(side));
    });

    void settingRegistry
      ?.load(PLUGIN_ID)
      .then(settings => {
        const read = () => {
          shown = settings.get('badges').composite as Shown;
          all.forEach(badges => (badges.shown = shown));
        };
        settings.changed.connect(read);
        read();
      })
      .catch(error => console.warn('NBRewind: settings could not be read', error));

    const step = (by: 1 | -1) => {
      const side = sides.current;
      if (!side) {
        return;
      }
      const { content } = side.panel;
      const n = content.widgets.length;
      for (let far = 1; far <= n; far++) {
        const cell = content.widgets[(content.activeCellIndex + by * far + n * far) % n];
        const verdict = side.verdicts.verdictOf(cell.model);
        if (verdict && isToExecute(verdict)) {
          void goTo(content, cell);
          return;
        }
      }
    };
    const hasStale = () => (sides.current?.verdicts.needsExecution.length ?? 0) > 0;
    const noArguments = { args: { type: 'object' as const, properties: {} } };
    commands.addCommand(CommandIDs.nextStale, {
      label: trans.__('Go to the Next Cell That Needs Execution'),
      isEnabled: hasStale,
      execute: () => step(1),
      describedBy: noArguments
    });
    commands.addCommand(CommandIDs.previousStale, {
      label: trans.__('Go to the Previous Cell That Needs Execution'),
      isEnabled: hasStale,
      execute: () => step(-1),
      describedBy: noArguments
    });
    commands.addCommand(CommandIDs.showReason, {
      label: trans.__('Say Why This Cell Needs Execution'),
      isEnabled: () => {
        const cell = sides.current?.panel.content.activeCell;
        const state = cell && sides.current?.verdicts.verdictOf(cell.model)?.state;
        return Boolean(state && state !== 'fresh' && state !== 'running');
      },
      execute: () => {
        const side = sides.current;
        const cell = side?.panel.content.activeCell;
        if (side && cell) {
          all.get(side)?.pin(cell);
        }
      },
      describedBy: noArguments
    });
    for (const command of [CommandIDs.nextStale, CommandIDs.previousStale, CommandIDs.showReason]) {
      palette?.addItem({ command, category: CATEGORY });
    }
    // The tracker's notebook stays the current one behind a launcher or a text file.
    const front = new Signal<object, void>({});
    sides.changed.connect(() => front.emit());
    app.shell.currentChanged?.connect(() => front.emit());
    statusBar?.registerStatusItem('nbrewind:count', {
      item: new StaleCount(sides, trans, () => void commands.execute(CommandIDs.nextStale)),
      align: 'right',
      rank: 40,
      isActive: () => sides.current !== null && sides.current.panel === app.shell.currentWidget,
      activeStateChanged: front
    });
  }
};
