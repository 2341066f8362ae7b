/**
 * How every code cell of one notebook stands towards its last run, kept up to date while the user types.
 *
 * Edits and runs only mark what is new; one request at a time goes to the core, and an answer that an edit has overtaken
 * is asked for again, so that a verdict always speaks of the text on the page.
 */

import type { ICellModel } from '@jupyterlab/cells';
import type { INotebookModel } from '@jupyterlab/notebook';
import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { ICore, IPageChange } from '../../core';
import type { CellInput, RunInput, Verdict } from '../../generated/analysis';

/** What the model needs of a notebook's runs. */
export interface IRuns {
  readonly runs: readonly RunInput[];
  readonly changed: ISignal<unknown, void>;
}

export class VerdictModel implements IDisposable {
  constructor(
    private readonly core: ICore,
    private readonly notebook: INotebookModel,
    private readonly log: IRuns
  ) {
    notebook.cells.changed.connect(this._onCellsChanged, this);
    log.changed.connect(this._onRunsChanged, this);
    this._onCellsChanged();
  }

  /** Verdicts of the code cells in page order, as last judged. */
  get verdicts(): readonly Verdict[] {
    return this._verdicts;
  }

  /** The verdict on this cell; undefined before the first answer and for cells that are not code. */
  verdictOf(cell: ICellModel): Verdict | undefined {
    return this._byCell.get(cell);
  }

  /** What is to be executed again: everything that has a mark and needs a run. */
  get needsExecution(): readonly Verdict[] {
    return this._verdicts.filter(verdict => isToExecute(verdict));
  }

  /** Somebody is about to type in this line of a cell, the first of which is 1: the answer to that can be prepared. */
  expect(cell: ICellModel, line: number): void {
    this._expected = { cell, line };
    if (!this._isAsking) {
      this._prepare();
    }
  }

  /** Verdicts changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Resolves when the verdicts speak of the page as it is. */
  async settled(): Promise<void> {
    while (this._isAsking || this._isDirty) {
      await this._asking;
    }
  }

  /** False while the notebook is in another language: there is nothing to say then. */
  set isEnabled(isEnabled: boolean) {
    if (isEnabled !== this._isEnabled) {
      this._isEnabled = isEnabled;
      this._ask();
    }
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._watched.forEach(cell => cell.contentChanged.disconnect(this._onTextChanged, this));
    this._watched.clear();
    this.core.close(this._id);
    Signal.clearData(this);
  }

  private _onCellsChanged(): void {
    const cells = new Set<ICellModel>(this.notebook.cells);
    for (const cell of this._watched) {
      if (!cells.has(cell)) {
        cell.contentChanged.disconnect(this._onTextChanged, this);
        this._watched.delete(cell);
      }
    }
    for (const cell of cells) {
      if (!this._watched.has(cell) && cell.type === 'code') {
        this._watched.add(cell);
        cell.contentChanged.connect(this._onTextChanged, this);
      }
    }
    this._ask();
  }

  private _onTextChanged(cell: ICellModel): void {
    // Also called for outputs; only text counts.
    if (this._texts.get(cell) !== cell.sharedModel.getSource()) {
      this._texts.delete(cell);
      this._ask();
    }
  }

  private _onRunsChanged(): void {
    this._areRunsNew = true;
    this._ask();
  }

  /** Ask in a moment, once for all that happens now. */
  private _ask(): void {
    this._isDirty = true;
    if (!this._isAsking && !this._isDisposed) {
      this._isAsking = true;
      this._asking = Promise.resolve().then(() => this._work());
    }
  }

  private async _work(): Promise<void> {
    try {
      while (this._isDirty && !this._isDisposed) {
        this._isDirty = false;
        await this._judge();
      }
    } finally {
      this._isAsking = false;
    }
  }

  private async _judge(): Promise<void> {
    if (!this._isEnabled) {
      this._tell([], []);
      return;
    }
    const cells = [...this.notebook.cells].filter(cell => cell.type === 'code');
    const page = this._change(cells);
    try {
      const verdicts = await this.core.judge(this._id, page);
      this._failures = 0;
      if (!this._isDirty && !this._isDisposed) {
        this._tell(cells, verdicts);
        if (page.runs || page.changed.length !== 1) {
          // What was prepared was for the page before; who types is expected to go on anyway.
          this._prepare();
        }
      }
    } catch (error) {
      // The core has forgotten this page; everything is sent again, but not for ever.
      this._sent = [];
      this._areRunsNew = true;
      console.error('NBRewind: cells could not be judged', error);
      if (++this._failures < 3) {
        this._isDirty = true;
      } else {
        this._tell([], []);
      }
    }
  }

  private _prepare(): void {
    const at = this._expected ? this._judged.indexOf(this._expected.cell) : -1;
    if (this._expected && at >= 0 && this._isEnabled) {
      this.core.expect(this._id, at, this._expected.line);
    }
  }

  /** What is new on the page since the last request. */
  private _change(cells: ICellModel[]): IPageChange {
    const page: CellInput[] = cells.map(cell => {
      let source = this._texts.get(cell);
      if (source === undefined) {
        source = cell.sharedModel.getSource();
        this._texts.set(cell, source);
      }
      const tags = cell.getMetadata('tags');
      return { id: cell.id, source, tags: Array.isArray(tags) ? tags.map(String) : [] };
    });
    const changed: [number, CellInput][] = [];
    page.forEach((cell, at) => {
      const known = this._sent[at];
      if (known?.id !== cell.id || known.source !== cell.source || String(known.tags) !== String(cell.tags)) {
        changed.push([at, cell]);
      }
    });
    this._sent = page;
    const runs = this._areRunsNew ? [...this.log.runs] : undefined;
    this._areRunsNew = false;
    return { order: page.map(cell => cell.id), changed, ...(runs ? { runs } : {}) };
  }

  private _tell(cells: ICellModel[], verdicts: readonly Verdict[]): void {
    this._verdicts = verdicts;
    this._judged = cells;
    this._byCell = new Map(cells.map((cell, at) => [cell, verdicts[at]]));
    this._changed.emit();
  }

  private readonly _id = UUID.uuid4();
  private readonly _watched = new Set<ICellModel>();
  private readonly _texts = new WeakMap<ICellModel, string>();
  private _sent: CellInput[] = [];
  private _areRunsNew = true;
  /** The cells that the verdicts are of. */
  private _judged: readonly ICellModel[] = [];
  private _expected: { cell: ICellModel; line: number } | null = null;
  private _verdicts: readonly Verdict[] = [];
  private _byCell = new Map<ICellModel, Verdict>();
  private _isEnabled = true;
  private _isDirty = false;
  private _isAsking = false;
  private _failures = 0;
  private _asking: Promise<void> = Promise.resolve();
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}

/** True for verdicts that ask for a run. */
export function isToExecute(verdict: Verdict): boolean {
  return !['fresh', 'replayed', 'running'].includes(verdict.state);
}
