/**
 * What unit tests share: the real WASM, a kernel session that does what a test says, and cells of a real notebook model.
 */

import { NotebookModel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import { readFileSync } from 'fs';
import { join } from 'path';
import { deserialize, serialize } from 'v8';

import { initSync, Workbench } from '../../pkg/nbrewind_wasm';
import type { ICore, IPageChange } from '../core';
import { Desk, type IWorkbench } from '../core/desk';
import type { RunInput, Verdict } from '../generated/analysis';

let isLoaded = false;

/** The Rust core, as the page would use it without a worker. */
export class RealCore implements ICore {
  constructor() {
    if (!isLoaded) {
      initSync({ module: readFileSync(join(__dirname, '..', '..', 'pkg', 'nbrewind_wasm_bg.wasm')) });
      isLoaded = true;
    }
    this.desk = new Desk(() => new Workbench() as IWorkbench);
  }

  /** What was sent, for tests of how much that is. */
  readonly sent: IPageChange[] = [];

  async judge(notebook: string, page: IPageChange): Promise<Verdict[]> {
    this.sent.push(page);
    // As through a worker: only what can be copied arrives.
    const answer = this.desk.answer(deserialize(serialize({ id: 1, notebook, do: 'judge', page })));
    if ('error' in answer) {
      throw new Error(answer.error);
    }
    return answer.verdicts;
  }

  /** What was expected: position and line. */
  readonly expected: [number, number][] = [];

  expect(notebook: string, at: number, line: number): void {
    this.expected.push([at, line]);
    this.desk.answer({ id: 1, notebook, do: 'expect', at, line });
    while (this.desk.prepare()) {
      // As the worker does when it has nothing else to do.
    }
  }

  close(notebook: string): void {
    this.desk.answer({ id: 1, notebook, do: 'close' });
  }

  private readonly desk: Desk;
}

/** Runs as a test tells them. */
export class ToldRuns {
  runs: RunInput[] = [];
  readonly changed = new Signal<this, void>(this);

  /** A completed run of this text. */
  ran(cell: string, source: string, more: Partial<RunInput> = {}): void {
    const number = this.runs.length + 1;
    this.runs = [...this.runs, { cell, source, number, status: 'ok', how: 'executed', undone: false, ...more }];
    this.changed.emit();
  }

  restart(): void {
    this.runs = [];
    this.changed.emit();
  }
}

/** A notebook model with these code cells. */
export function notebookOf(cells: [string, string][]): NotebookModel {
  const model = new NotebookModel();
  model.fromJSON({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {},
    cells: cells.map(([id, source]) => ({
      id,
      source,
      cell_type: 'code',
      metadata: {},
      outputs: [],
      execution_count: null
    }))
  });
  return model;
}
