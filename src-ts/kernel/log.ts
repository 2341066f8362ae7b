/**
 * What this kernel executed, in order, with the text that was sent.
 *
 * Every message of the kernel passes by here, so the log is complete for any Python kernel while the page is open. What
 * happened before, or by another client, comes from the extension in the kernel when it is loaded, else from IPython's
 * own history as far as it can be matched to cells without guessing.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import type { RunInput } from '../generated/analysis';
import type { ILinkEvent, KernelLink } from './link';
import type { ILogRun } from './protocol';

/** A cell as the page shows it. */
export interface IShownCell {
  id: string;
  source: string;
  executionCount: number | null;
}

interface IEntry {
  /** The request that ran it; empty for what others told us. */
  messageId: string;
  run: RunInput;
  runId: string | null;
  /** What a restore to the state after it asks for. */
  checkpoint?: string | null;
}

/** Messages of a kernel, as `anyMessage` gives them. */
export interface IPassing {
  msg: KernelMessage.IMessage;
  direction: 'send' | 'recv';
}

export class RunLog implements IDisposable {
  constructor(
    private readonly context: ISessionContext,
    private readonly link: KernelLink,
    private readonly shown: () => IShownCell[]
  ) {
    context.kernelChanged.connect(this._onKernelChanged, this);
    context.statusChanged.connect(this._onStatusChanged, this);
    link.opened.connect(this._onLinkOpened, this);
    link.event.connect(this._onEvent, this);
    link.changed.connect(this._onLinkChanged, this);
    this._attach(context.session?.kernel ?? null);
  }

  /** The runs in order, as the workbench takes them. Do not change what you get. */
  get runs(): readonly RunInput[] {
    return this._entries.map(entry => entry.run);
  }

  /** True while the kernel runs a cell, or has one in its queue. */
  get isRunning(): boolean {
    return this._entries.some(entry => entry.run.status === 'running');
  }

  /** What a restore to the state that is there now asks for; null when the last cell was not recorded or did not complete. */
  get checkpoint(): string | null {
    const last = this._entries.filter(entry => !entry.run.undone).pop();
    return last?.run.status === 'ok' ? (last.checkpoint ?? null) : null;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._attach(null);
      Signal.clearData(this);
    }
  }

  /** Take over the log that the kernel keeps, for instance after a restore. */
  replace(runs: readonly ILogRun[]): void {
    const running = this._entries.filter(entry => entry.messageId && entry.run.status === 'running');
    // What was replayed without a request has no number of its own: the page keeps showing the old one.
    const counts = new Map(this.shown().map(cell => [cell.id, cell.executionCount]));
    this._entries = runs
      .filter(run => run.status !== 'running')
      .map(run => ({
        messageId: '',
        run: toRunInput(run, counts.get(run.cell ?? '') ?? null),
        runId: run.run_id ?? null,
        checkpoint: run.checkpoint ?? null
      }));
    this._entries.push(...running);
    this._isKnown = true;
    this._changed.emit();
  }

  /** What was changed outside the notebook since, by the id of the recorded run that read it. */
  noteOutside(found: Record<string, string[]>): void {
    let isNew = false;
    for (const entry of this._entries) {
      const outside = found[entry.runId ?? ''] ?? [];
      if (String(entry.run.outside ?? []) !== String(outside)) {
        entry.run = { ...entry.run, outside };
        isNew = true;
      }
    }
    if (isNew) {
      this._changed.emit();
    }
  }

  private _attach(kernel: Kernel.IKernelConnection | null): void {
    if (kernel === this._kernel) {
      return;
    }
    this._kernel?.anyMessage.disconnect(this._onMessage, this);
    this._kernel = kernel;
    this._kernel?.anyMessage.connect(this._onMessage, this);
  }

  private _clear(): void {
    this._entries = [];
    this._isKnown = false;
    this._changed.emit();
  }

  private _onKernelChanged(): void {
    this._attach(this.context.session?.kernel ?? null);
    this._clear();
  }

  private _onStatusChanged(_: ISessionContext, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._clear();
      this._isKnown = true;
    }
  }

  private _onLinkOpened(): void {
    void this.link
      .ask<{ runs: ILogRun[] }>('log')
      .then(({ runs }) => {
        // Loaded late, the extension knows less than we do.
        const isFirst = this._entries.length === 0;
        if (runs.length > 0 || isFirst) {
          this.replace(runs);
          const first = runs.find(run => !run.undone && run.how === 'executed')?.number ?? 0;
          if (isFirst && first > 1) {
            // The extension was loaded late, and this page was opened later still.
            return this._readHistory(first);
          }
        }
        return undefined;
      })
      .catch(() => undefined);
  }

  private _onLinkChanged(): void {
    if (this.link.state === 'absent' && !this._isKnown && this._entries.length === 0) {
      this._isKnown = true;
      void this._readHistory();
    }
  }

  /** A notebook was opened on a kernel that has run already, and the extension is not there to tell. */
  private async _readHistory(before = Number.MAX_SAFE_INTEGER): Promise<void> {
    const kernel = this._kernel;
    if (!kernel) {
      return;
    }
    const reply = await kernel.requestHistory({
      hist_access_type: 'range',
      output: false,
      raw: true,
      session: 0,
      start: 1,
      stop: 1_000_000
    });
    if (kernel !== this._kernel || reply.content.status !== 'ok') {
      return;
    }
    // What this page has seen itself meanwhile is there already.
    const known = new Set(this._entries.map(entry => entry.run.number));
    const history = (reply.content.history as [number, number, string][]).filter(
      ([, line]) => line < before && !known.has(line)
    );
    const earlier = matchHistory(history, this.shown());
    if (earlier.length > 0) {
      this._entries = [...earlier, ...this._entries];
      this._changed.emit();
    }
  }

  private _onMessage(_: Kernel.IKernelConnection, { msg, direction }: IPassing): void {
    if (direction === 'send') {
      if (msg.header.msg_type === 'execute_request') {
        this._onSent(msg as KernelMessage.IExecuteRequestMsg);
      }
      return;
    }
    const parentId = (msg.parent_header as KernelMessage.IHeader)?.msg_id ?? '';
    const type = msg.header.msg_type;
    if (type === 'status' && (msg as KernelMessage.IStatusMsg).content.execution_state === 'starting') {
      // A new process, also when someone else restarted it. What waits in the queue runs there.
      this._entries = this._entries.filter(entry => entry.run.status === 'running');
      this._isKnown = true;
      this._changed.emit();
    } else if (type === 'execute_input') {
      this._onInput(parentId, msg as KernelMessage.IExecuteInputMsg);
    } else if (type === 'execute_reply') {
      this._onReply(parentId, msg as KernelMessage.IExecuteReplyMsg);
    } else if (type === 'error') {
      this._ended(
        parentId,
        (msg as KernelMessage.IErrorMsg).content.ename === 'KeyboardInterrupt' ? 'interrupted' : 'failed'
      );
    } else if (type === 'status' && (msg as KernelMessage.IStatusMsg).content.execution_state === 'idle') {
      // What another client ran ends without a reply to us.
      const entry = this._find(parentId);
      if (entry && this._foreign.has(parentId) && entry.run.status === 'running') {
        this._ended(parentId, 'ok');
      }
    }
  }

  private _onSent(msg: KernelMessage.IExecuteRequestMsg): void {
    const { code, silent, store_history } = msg.content;
    if (silent || store_history === false || code.trim() === '') {
      return;
    }
    const cell = (msg.metadata as Record<string, unknown>)?.cellId;
    this._entries.push({
      messageId: msg.header.msg_id,
      runId: null,
      run: runOf(typeof cell === 'string' ? cell : '', code, null, 'running')
    });
    this._changed.emit();
  }

  private _onInput(parentId: string, msg: KernelMessage.IExecuteInputMsg): void {
    const known = this._find(parentId);
    if (known) {
      this._update(known, { number: msg.content.execution_count });
      return;
    }
    this._foreign.add(parentId);
    this._entries.push({
      messageId: parentId,
      runId: null,
      run: runOf('', msg.content.code, msg.content.execution_count, 'running')
    });
    this._changed.emit();
  }

  private _onReply(parentId: string, msg: KernelMessage.IExecuteReplyMsg): void {
    const content = msg.content as { status: string; ename?: string; execution_count?: number };
    if (content.status === 'aborted') {
      // It never ran.
      this._entries = this._entries.filter(entry => entry.messageId !== parentId);
      this._changed.emit();
    } else if (content.status === 'error') {
      this._ended(parentId, content.ename === 'KeyboardInterrupt' ? 'interrupted' : 'failed');
    } else {
      this._ended(parentId, 'ok');
    }
  }

  private _ended(parentId: string, status: RunInput['status']): void {
    const entry = this._find(parentId);
    if (entry && entry.run.status === 'running') {
      this._update(entry, { status });
    }
  }

  private _onEvent(_: KernelLink, { event, parentId }: ILinkEvent): void {
    if (event.event === 'state') {
      this.replace(event.runs);
      return;
    }
    if (event.event !== 'run' || event.status === 'not recorded') {
      return;
    }
    const how = event.status === 'replayed' ? 'replayed' : 'executed';
    const entry = this._find(parentId);
    if (!entry) {
      return;
    }
    entry.runId = event.run_id ?? null;
    entry.checkpoint = event.status === 'executed' ? entry.runId : (event.checkpoint ?? null);
    this._update(entry, {
      how,
      cell: entry.run.cell || event.cell_id || '',
      number: event.number ?? entry.run.number ?? null,
      status:
        event.status === 'failed' ? (entry.run.status === 'interrupted' ? 'interrupted' : 'failed') : entry.run.status
    });
  }

  private _find(messageId: string): IEntry | undefined {
    for (let at = this._entries.length - 1; at >= 0; at--) {
      if (this._entries[at].messageId === messageId) {
        return this._entries[at];
      }
    }
    return undefined;
  }

  private _update(entry: IEntry, change: Partial<RunInput>): void {
    entry.run = { ...entry.run, ...change };
    this._changed.emit();
  }

  private _entries: IEntry[] = [];
  // Requests that other clients of this kernel sent.
  private readonly _foreign = new Set<string>();
  // What ran before this page was opened is known, or there was nothing.
  private _isKnown = false;
  private _kernel: Kernel.IKernelConnection | null = null;
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}

function runOf(cell: string, source: string, number: number | null, status: RunInput['status']): RunInput {
  return { cell, source, number, status, how: 'executed', undone: false };
}

function toRunInput(run: ILogRun, shown: number | null): RunInput {
  return {
    cell: run.cell ?? '',
    source: run.source,
    number: run.number ?? shown,
    status: run.status,
    how: run.how,
    undone: run.undone,
    ...(run.result !== undefined && run.result !== null ? { result: run.result } : {})
  };
}

/**
 * Runs from IPython's history. A run belongs to a cell only when both its number and its text are the cell's: a number alone
 * may be left over from an earlier kernel.
 */
export function matchHistory(history: [number, number, string][], cells: IShownCell[]): IEntry[] {
  const byCount = new Map(cells.filter(cell => cell.executionCount !== null).map(cell => [cell.executionCount, cell]));
  return history
    .filter(([, line, source]) => line > 0 && source.trim() !== '')
    .map(([, line, source]) => {
      const cell = byCount.get(line);
      const isIts = cell !== undefined && cell.source.trim() === source.trim();
      return { messageId: '', runId: null, run: runOf(isIts ? cell.id : '', source, line, 'ok') };
    });
}
