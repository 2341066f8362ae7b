/**
 * The Rust core in the browser. Loaded when the first notebook opens, in a worker; on the page itself where the server's
 * rules forbid workers.
 */

import type { Verdict } from '../generated/analysis';
import { Desk, type DeskAnswer, type DeskRequest, type IPageChange, type IWorkbench } from './desk';

export type { IPageChange } from './desk';

/** Who judges cells. */
export interface ICore {
  /** Verdicts for the page as it is after this change. */
  judge(notebook: string, page: IPageChange): Promise<Verdict[]>;
  /** Somebody is about to type in this line, the first of which is 1, of the cell at this position of the page as it was judged. */
  expect(notebook: string, at: number, line: number): void;
  /** Forget a notebook. */
  close(notebook: string): void;
}

// Loading takes 0.2 s; a worker that says nothing for this long will not come.
const PATIENCE = 20_000;

export class Core implements ICore {
  async judge(notebook: string, page: IPageChange): Promise<Verdict[]> {
    const answer = await this._ask({ id: ++this._lastId, notebook, do: 'judge', page });
    if ('error' in answer) {
      throw new Error(answer.error);
    }
    return answer.verdicts;
  }

  /** A notebook is about to ask: load what is needed for that. */
  prepare(): void {
    this._desk ??= this._load();
    // Who asks is told, and tries again.
    this._desk.catch(() => undefined);
  }

  expect(notebook: string, at: number, line: number): void {
    if (this._desk) {
      // If it fails, the next key is answered all the same.
      this._ask({ id: ++this._lastId, notebook, do: 'expect', at, line }).catch(() => undefined);
    }
  }

  close(notebook: string): void {
    if (this._desk) {
      void this._ask({ id: ++this._lastId, notebook, do: 'close' });
    }
  }

  private async _ask(request: DeskRequest): Promise<DeskAnswer> {
    this._desk ??= this._load();
    try {
      const desk = await this._desk;
      return await desk(request);
    } catch (error) {
      // The worker died, or never came: the next request starts anew.
      this._desk = null;
      throw error;
    }
  }

  private async _load(): Promise<(request: DeskRequest) => Promise<DeskAnswer>> {
    try {
      return await loadWorker();
    } catch (error) {
      console.warn('NBRewind: no worker here, cells are judged on the page', error);
      return loadHere();
    }
  }

  private _lastId = 0;
  private _desk: Promise<(request: DeskRequest) => Promise<DeskAnswer>> | null = null;
}

async function loadWorker(): Promise<(request: DeskRequest) => Promise<DeskAnswer>> {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const waiting = new Map<number, { resolve: (answer: DeskAnswer) => void; reject: (error: Error) => void }>();
  worker.onmessage = (event: MessageEvent<DeskAnswer>) => {
    waiting.get(event.data.id)?.resolve(event.data);
    waiting.delete(event.data.id);
  };
  let death: Error | null = null;
  worker.onerror = event => {
    const error = new Error(event.message || 'the worker could not be started');
    death = error;
    waiting.forEach(one => one.reject(error));
    waiting.clear();
    worker.terminate();
  };
  const ask = (request: DeskRequest) =>
    new Promise<DeskAnswer>((resolve, reject) => {
      if (death) {
        // Nobody would answer; whoever asks gets a new worker the next time.
        reject(death);
        return;
      }
      waiting.set(request.id, { resolve, reject });
      worker.postMessage(request);
    });
  // The first answer proves that worker and WASM are there.
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it does not answer')), PATIENCE);
    ask({ id: 0, notebook: '', do: 'close' }).then(answer => {
      clearTimeout(timer);
      if ('error' in answer) {
        reject(new Error(answer.error));
      } else {
        resolve();
      }
    }, reject);
  });
  return ask;
}

async function loadHere(): Promise<(request: DeskRequest) => Promise<DeskAnswer>> {
  const { default: init, Workbench } = await import('../../pkg/nbrewind_wasm');
  await init({ module_or_path: new URL('../../pkg/nbrewind_wasm_bg.wasm', import.meta.url) });
  const desk = new Desk(() => new Workbench() as IWorkbench);
  return async request => desk.answer(request);
}
