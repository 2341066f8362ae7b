/**
 * Which cells of a notebook have a recorded run to restore. A hint for what is offered, not a promise: the kernel decides.
 */

import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { ILinkEvent, KernelLink } from './link';
import type { IRecordedRun } from './protocol';

export class RecordedCells implements IDisposable {
  constructor(
    private readonly link: KernelLink,
    /** Asks the server, which knows the records without a kernel. */
    fromServer: () => Promise<IRecordedRun[]>
  ) {
    link.opened.connect(this._onOpened, this);
    link.event.connect(this._onEvent, this);
    // Without our server extension there is nothing to offer before a kernel is asked.
    fromServer().then(
      runs => this._add(runs),
      () => undefined
    );
  }

  has(cell: string): boolean {
    return this._cells.has(cell);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private _onOpened(): void {
    this.link.ask<{ runs: IRecordedRun[] }>('runs').then(
      ({ runs }) => this._add(runs),
      () => undefined
    );
  }

  private _onEvent(_: KernelLink, { event }: ILinkEvent): void {
    if (event.event === 'run' && event.run_id && event.cell_id && event.status === 'executed') {
      this._cells.add(event.cell_id);
    }
  }

  private _add(runs: IRecordedRun[]): void {
    runs.filter(run => run.status === 'ok' && run.cell_id).forEach(run => this._cells.add(run.cell_id!));
  }

  private readonly _cells = new Set<string>();
  private _isDisposed = false;
}
