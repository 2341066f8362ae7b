/**
 * Restores and replays of one notebook: one at a time, in the order asked for, each when the kernel is idle.
 *
 * An operation is queued, then at work, then ended. It can be cancelled in both states; what that means while it is at
 * work is its own business (the signal), and it must leave the kernel in a consistent state.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { LinkError } from '../../kernel/link';

/** How an operation ended, in one sentence, and what can be done about it. */
export interface IOutcome {
  kind: 'done' | 'warning' | 'failed' | 'cancelled';
  text: string;
  actions?: { label: string; caption?: string; run: () => void }[];
}

export type Stage = 'queued' | 'working' | 'ended';

/** What the kernel is doing for others. */
export interface IBusy {
  readonly isRunning: boolean;
  readonly changed: ISignal<unknown, void>;
}

/** One restore or replay on its way. */
export class Operation {
  constructor(
    readonly title: string,
    private readonly tell: () => void
  ) {}

  stage: Stage = 'queued';
  /** What it is doing now. */
  text = '';
  done = 0;
  total = 0;
  outcome: IOutcome | null = null;

  get signal(): AbortSignal {
    return this._abort.signal;
  }

  /** Say how far it is. `total` 0: unknown. */
  progress(text: string, done = 0, total = 0): void {
    this.text = text;
    this.done = done;
    this.total = total;
    this.tell();
  }

  cancel(): void {
    this._abort.abort();
    this.tell();
  }

  private readonly _abort = new AbortController();
}

export class Operations implements IDisposable {
  constructor(
    private readonly context: ISessionContext,
    private readonly busy: IBusy
  ) {
    context.statusChanged.connect(this._onStatusChanged, this);
  }

  /** The operation that is shown: at work, or waiting for the kernel, or the last that ended and was not dismissed. */
  get current(): Operation | null {
    return this._current;
  }

  /** How many more wait behind it. */
  get nWaiting(): number {
    return this._waiting.length;
  }

  get isActive(): boolean {
    return this._current !== null && this._current.stage !== 'ended';
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Run `body` when all before it have ended and the kernel is idle. Never rejects: what went wrong is its outcome. */
  async run(title: string, body: (operation: Operation) => Promise<IOutcome | null>): Promise<Operation> {
    const operation = new Operation(title, () => this._changed.emit());
    const turn = new Promise<void>(resolve => {
      if (this.isActive) {
        this._waiting.push(resolve);
      } else {
        resolve();
      }
    });
    if (!this.isActive) {
      this._current = operation;
    }
    this._changed.emit();
    await turn;
    this._current = operation;
    try {
      operation.progress('');
      await this.idle(operation);
      operation.stage = 'working';
      this._changed.emit();
      operation.outcome = await body(operation);
    } catch (error) {
      operation.outcome = operation.signal.aborted
        ? { kind: 'cancelled', text: `${title}: cancelled.` }
        : { kind: 'failed', text: `${title}: ${messageOf(error)}` };
      if (!operation.signal.aborted && !(error as LinkError)?.code) {
        console.error('NBRewind', error);
      }
    }
    operation.stage = 'ended';
    if (operation.outcome === null) {
      this._current = null;
    }
    const next = this._waiting.shift();
    this._changed.emit();
    next?.();
    return operation;
  }

  /** Show something that happened without an operation of this page. */
  tell(outcome: IOutcome): void {
    if (!this.isActive) {
      const operation = new Operation('', () => this._changed.emit());
      operation.stage = 'ended';
      operation.outcome = outcome;
      this._current = operation;
      this._changed.emit();
    }
  }

  /** Take the last outcome off the screen. */
  dismiss(): void {
    if (this._current?.stage === 'ended') {
      this._current = null;
      this._changed.emit();
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this.context.statusChanged.disconnect(this._onStatusChanged, this);
      this._current?.cancel();
      Signal.clearData(this);
    }
  }

  /**
   * Resolves when the kernel runs nothing and nothing waits for it. To be asked again before each step that changes the state:
   * the user may have started cells while a dialog was open. Rejects when the operation is cancelled, or the kernel dies.
   */
  idle(operation: Operation): Promise<void> {
    const status = () => this.context.session?.kernel?.status;
    const isIdle = () => !this.busy.isRunning && (status() === undefined || status() === 'idle');
    return new Promise<void>((resolve, reject) => {
      const end = () => {
        this.context.statusChanged.disconnect(look);
        this.busy.changed.disconnect(look);
        operation.signal.removeEventListener('abort', look);
      };
      const look = () => {
        if (operation.signal.aborted) {
          end();
          reject(new Error('cancelled'));
        } else if (status() === 'dead') {
          end();
          reject(new Error('the kernel is dead. Restart it, then try again.'));
        } else if (isIdle()) {
          end();
          resolve();
        }
      };
      this.context.statusChanged.connect(look);
      this.busy.changed.connect(look);
      operation.signal.addEventListener('abort', look);
      look();
    });
  }

  /** What was said of a state, and offered to undo, means nothing in a new process. */
  private _onStatusChanged(_: ISessionContext, status: Kernel.Status): void {
    if ((status === 'restarting' || status === 'autorestarting') && this._current?.outcome?.kind !== 'failed') {
      this.dismiss();
    }
  }

  private _current: Operation | null = null;
  private readonly _waiting: (() => void)[] = [];
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
