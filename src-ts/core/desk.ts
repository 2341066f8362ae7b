/**
 * One workbench per open notebook, and what its page looked like last, so that a keystroke sends one cell and not the
 * whole notebook. Runs in the worker; on the page itself where workers are refused.
 */

import type { CellInput, RunInput, Verdict } from '../generated/analysis';

/** What the WASM gives; `Workbench` of `pkg/nbrewind_wasm`. */
export interface IWorkbench {
  verdicts(cells: CellInput[], runs: RunInput[]): Verdict[];
  /** One cell of the page of the last call has another text: what stands otherwise now, by position. */
  edit(at: number, source: string): [number, Verdict][];
  /** Somebody is about to type in this line of a cell, the first of which is 1. */
  expect(at: number, line: number): void;
  /** Does a part of what will be needed next: by the first run, and by the first key where it is expected. Whether there is more. */
  prepare(): boolean;
  free(): void;
}

/** What changed on one page since the last request. */
export interface IPageChange {
  /** Ids of all code cells in page order; copies may share one. */
  order: string[];
  /** By position in `order`: the cells whose text is new. */
  changed: [number, CellInput][];
  /** All runs, when they changed. */
  runs?: RunInput[];
}

export type DeskRequest =
  | { id: number; notebook: string; do: 'judge'; page: IPageChange }
  | { id: number; notebook: string; do: 'expect'; at: number; line: number }
  | { id: number; notebook: string; do: 'close' };

export type DeskAnswer = { id: number; verdicts: Verdict[] } | { id: number; error: string };

interface IPage {
  workbench: IWorkbench;
  cells: CellInput[];
  runs: RunInput[];
  verdicts: Verdict[];
}

// More than this and it is quicker to hand over the whole page.
const MOST_EDITS = 16;

export class Desk {
  constructor(private readonly create: () => IWorkbench) {}

  /** Carry out one request. */
  answer(request: DeskRequest): DeskAnswer {
    if (request.do === 'close') {
      this._pages.get(request.notebook)?.workbench.free();
      this._pages.delete(request.notebook);
      return { id: request.id, verdicts: [] };
    }
    try {
      if (request.do === 'expect') {
        this._pages.get(request.notebook)?.workbench.expect(request.at, request.line);
        return { id: request.id, verdicts: [] };
      }
      return { id: request.id, verdicts: this._judge(request.notebook, request.page) };
    } catch (error) {
      // A workbench that panicked is not to be used again; the next request brings everything anew.
      this._pages.delete(request.notebook);
      return { id: request.id, error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Does a part of what later requests will need. Whether there is more. */
  prepare(): boolean {
    return [...this._pages].some(([notebook, page]) => {
      try {
        return page.workbench.prepare();
      } catch {
        // As with a request; the next one says so.
        this._pages.delete(notebook);
        return false;
      }
    });
  }

  private _judge(notebook: string, change: IPageChange): Verdict[] {
    let page = this._pages.get(notebook);
    if (!page) {
      page = { workbench: this.create(), cells: [], runs: [], verdicts: [] };
      this._pages.set(notebook, page);
    }
    if (change.changed.length <= MOST_EDITS && this._stands(page, change)) {
      for (const [at, cell] of change.changed) {
        page.cells[at] = cell;
        for (const [which, verdict] of page.workbench.edit(at, cell.source)) {
          page.verdicts[which] = verdict;
        }
      }
      return [...page.verdicts];
    }
    const changed = new Map(change.changed);
    page.cells = change.order.map((id, at) => changed.get(at) ?? this._kept(page!, id, at));
    page.runs = change.runs ?? page.runs;
    page.verdicts = page.workbench.verdicts(page.cells, page.runs);
    return [...page.verdicts];
  }

  /** Whether only texts changed since the last answer. */
  private _stands(page: IPage, change: IPageChange): boolean {
    return (
      !change.runs &&
      page.verdicts.length === change.order.length &&
      change.order.every((id, at) => page.cells[at]?.id === id)
    );
  }

  private _kept(page: IPage, id: string, at: number): CellInput {
    const cell = page.cells[at];
    if (cell?.id !== id) {
      throw new Error(`cell ${id} was never sent`);
    }
    return cell;
  }

  private readonly _pages = new Map<string, IPage>();
}
