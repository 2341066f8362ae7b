/**
 * The way to one notebook's kernel: finds out whether the extension is loaded there, loads it silently when it is asked
 * for, and speaks the kernel protocol. The only file that opens the comm.
 *
 * Invariant: an answer reaches whoever asked, once; when the kernel goes away, everyone who waits is told so.
 */

import type { ISessionContext } from '@jupyterlab/apputils';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Signal, type ISignal } from '@lumino/signaling';

import { COMM_TARGET, type IStatus, type KernelEvent, type Mode } from './protocol';

/**
 * How things stand between us and the kernel.
 *
 * `absent`: a Python kernel in which the extension is not loaded; `missing`: it cannot be loaded there; `no-comms`: another
 * connection of this page to the same kernel, such as a console's, takes all comms.
 */
export type LinkState = 'no-kernel' | 'connecting' | 'foreign' | 'no-comms' | 'absent' | 'missing' | 'ready';

/** What the kernel, or the way to it, refused. `code` is of the protocol, or `no-kernel`, `foreign`, `missing`, `gone`. */
export class LinkError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {}
  ) {
    super(message);
  }
}

/** An event and the request of the kernel in whose course it was sent. */
export interface ILinkEvent {
  event: KernelEvent;
  parentId: string;
}

const IS_LOADED = "'nbrewind.kernel.extension' in __import__('sys').modules";
// Expressions: nothing is bound in the user's namespace.
const LOAD = "__import__('nbrewind.kernel.extension', fromlist=['load']).load_ipython_extension(get_ipython())";
// Both at once: after "Restart and Run All" the cells come next.
const LOAD_AND_AUDIT = "__import__('nbrewind.kernel.extension', fromlist=['load']).load(get_ipython(), 'audit').mode";

interface IWaiting {
  resolve: (answer: Record<string, unknown>) => void;
  reject: (error: LinkError) => void;
}

export class KernelLink implements IDisposable {
  constructor(
    readonly context: ISessionContext,
    /** The file name of the notebook, as records name it. */
    private readonly notebookName: () => string
  ) {
    context.kernelChanged.connect(this._onKernelChanged, this);
    context.statusChanged.connect(this._onStatusChanged, this);
    this._connect();
  }

  get state(): LinkState {
    return this._state;
  }

  /** The mode of the kernel as far as we were told. */
  get mode(): Mode {
    return this._mode;
  }

  /** True when a replay was under way as the comm was opened: begun by someone else, or by this page before it was loaded again. */
  get foundReplaying(): boolean {
    return this._isReplaying;
  }

  get canUndo(): boolean {
    return this._canUndo;
  }

  /** State, mode or undo changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The comm was opened: the kernel can be asked for what happened before. */
  get opened(): ISignal<this, void> {
    return this._opened;
  }

  get event(): ISignal<this, ILinkEvent> {
    return this._event;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Why nothing can be asked of this kernel, in a sentence with a next step; null when it can, or could be loaded. */
  get obstacle(): string | null {
    switch (this._state) {
      case 'foreign':
        return `NBRewind restores and replays Python kernels; this one runs ${this._language}. The marks on cells need a Python kernel too.`;
      case 'no-comms':
        return 'Another part of this page, such as a console, holds the connection to this kernel. Close it and open the notebook again to restore and replay; the marks on cells work all the same.';
      case 'missing':
        return `NBRewind is not installed where this kernel runs (${this._trouble}). Run "pip install nbrewind" in the kernel's environment and restart the kernel.`;
      default:
        return null;
    }
  }

  /** False for kernels whose cells are not Python. */
  get isPython(): boolean {
    return this._state !== 'foreign';
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this.context.kernelChanged.disconnect(this._onKernelChanged, this);
    this.context.statusChanged.disconnect(this._onStatusChanged, this);
    this._drop('The notebook was closed.', true);
    this._watch(null);
    Signal.clearData(this);
  }

  /** Another number: another process than the one that was spoken to before. */
  get generation(): number {
    return this._generation;
  }

  /**
   * Make the kernel ready to be asked: start one if there is none, load the extension if it is not there. A kernel that never
   * answers is waited for until the signal is aborted.
   */
  async load(signal?: AbortSignal): Promise<void> {
    return unlessAborted(this._makeReady(), signal);
  }

  private async _makeReady(): Promise<void> {
    await this._connecting;
    if (this._state === 'no-kernel') {
      await this.context.startKernel();
      await this.context.ready;
      if (!this.context.session?.kernel) {
        throw new LinkError('no-kernel', 'There is no kernel. Choose one, then try again.');
      }
      // The change of the kernel has begun to connect.
      await this._connecting;
    }
    if (this._state === 'absent' || this._state === 'missing') {
      await this._load();
    }
    if (this._state !== 'ready') {
      throw new LinkError(this._state, this.obstacle ?? 'The kernel did not answer. Restart it, then try again.');
    }
  }

  /** Ask one thing of the kernel. Rejects with a `LinkError`. */
  async ask<T>(what: string, args: Record<string, unknown> = {}): Promise<T> {
    const comm = this._comm;
    if (!comm) {
      throw new LinkError('gone', 'The kernel is gone. Start it, then try again.');
    }
    return (await this._send(comm, what, args, false)) as T;
  }

  /** Ask; the answer to a request that is still waiting can be cancelled through the signal. */
  async askCancellable<T>(what: string, args: Record<string, unknown>, signal: AbortSignal): Promise<T> {
    if (signal.aborted) {
      throw new LinkError('cancelled', 'It was cancelled.');
    }
    const id = UUID.uuid4();
    const cancel = () => {
      // Beside a running cell this removes it from the queue; once it has begun only an interrupt stops it. When it is over
      // meanwhile, an interrupt would hit what the user runs next.
      void this.ask<{ cancelled: boolean }>('cancel', { request: id })
        .then(async ({ cancelled }) => {
          if (!cancelled && this._waiting.has(id)) {
            await this.context.session?.kernel?.interrupt();
          }
        })
        .catch(() => undefined);
    };
    signal.addEventListener('abort', cancel);
    try {
      return await this.ask<T>(what, { ...args, id });
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** Set the mode of the kernel; what it answers includes the baseline that it took, if any. */
  async configure<T>(mode: Mode, signal: AbortSignal = new AbortController().signal): Promise<T> {
    const request = { mode, notebook: this.notebookName() };
    const answer = await this.askCancellable<T & { mode: Mode }>('configure', request, signal);
    this.noteMode(answer.mode);
    return answer;
  }

  /** The notebook has another name now: what is recorded from here on bears it. */
  async rename(): Promise<void> {
    if (this._state === 'ready') {
      await this.ask('configure', { notebook: this.notebookName() });
    }
  }

  /** Take over what an answer says about the mode. */
  noteMode(mode: Mode): void {
    // A replay passes; it is nobody's wish.
    this._wanted = mode === 'repeat' ? this._wanted : mode;
    this._setMode(mode);
  }

  /** Take over what an answer says about undo. */
  noteUndo(canUndo: boolean): void {
    if (canUndo !== this._canUndo) {
      this._canUndo = canUndo;
      this._changed.emit();
    }
  }

  private _onKernelChanged(): void {
    this._drop('The kernel was changed.');
    this._connect();
  }

  private _onStatusChanged(_: ISessionContext, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead' || status === 'terminating') {
      this._drop(status === 'dead' ? 'The kernel died.' : 'The kernel was restarted.');
      if (status !== 'dead' && status !== 'terminating' && this._wanted === 'audit') {
        // At once, so that it comes before the cells of "Restart and Run All"; after what JupyterLab does now.
        const generation = this._generation;
        queueMicrotask(() => {
          if (generation === this._generation) {
            this._connect();
          }
        });
      }
    } else if (status === 'idle' && !this._comm && this._state === 'connecting' && !this._isConnecting) {
      this._connect();
    }
  }

  /** A message came from another process than the one that we spoke to: someone else restarted the kernel. */
  private _onMessage(_: Kernel.IKernelConnection, { msg, direction }: Kernel.IAnyMessageArgs): void {
    if (direction !== 'recv' || msg.channel !== 'iopub') {
      return;
    }
    if (!this._comm) {
      // Another page has loaded the extension: its answers pass by here as well.
      const data = msg.header.msg_type === 'comm_msg' ? (msg.content as KernelMessage.ICommMsgMsg['content']).data : {};
      const asker = (msg.parent_header as KernelMessage.IHeader).session;
      const isOther = asker !== this._watched?.clientId;
      if (isOther && this._state === 'absent' && data.ok === true && typeof data.mode === 'string') {
        this._connect();
      }
      return;
    }
    if (this._kernelSession !== '' && msg.header.session !== this._kernelSession) {
      this._drop('The kernel was restarted.');
      this._connect();
    } else {
      this._kernelSession = msg.header.session;
    }
  }

  /** Forget the comm; whoever waits is told. */
  private _drop(why: string, says = false): void {
    const comm = this._comm;
    this._comm = null;
    this._kernelSession = '';
    this._generation++;
    this._isConnecting = false;
    const waiting = [...this._waiting.values()];
    this._waiting.clear();
    waiting.forEach(one => one.reject(new LinkError('gone', why)));
    if (comm && !comm.isDisposed) {
      if (says && this.context.session?.kernel && !this.context.session.kernel.isDisposed) {
        // The kernel ends what this page had begun.
        comm.close();
      } else {
        comm.dispose();
      }
    }
    this._canUndo = false;
    this._mode = 'off';
    this._setState(this.context.session?.kernel ? 'connecting' : 'no-kernel');
  }

  private _connect(): void {
    const generation = this._generation;
    this._isConnecting = true;
    this._connecting = this._look(generation)
      .catch(error => {
        if (generation === this._generation && !this._isDisposed) {
          console.warn('NBRewind: the kernel could not be looked at', error);
          this._setState('absent');
        }
      })
      .finally(() => {
        if (generation === this._generation) {
          this._isConnecting = false;
        }
      });
  }

  /** Find out what kernel it is and whether the extension is loaded in it. */
  private async _look(generation: number): Promise<void> {
    const kernel = this.context.session?.kernel ?? null;
    this._watch(kernel);
    if (!kernel) {
      this._setState('no-kernel');
      return;
    }
    this._setState('connecting');
    const info = await kernel.info;
    if (generation !== this._generation) {
      return;
    }
    this._language = info.language_info?.name ?? 'something else';
    if (this._language !== 'python') {
      this._setState('foreign');
      return;
    }
    if (!kernel.handleComms) {
      this._setState('no-comms');
      return;
    }
    if (this._wanted === 'audit') {
      // The user turned audit on; a restart of the kernel is no reason to stop recording.
      await this._load().catch(error => console.warn('NBRewind: audit could not be turned on again', error));
      return;
    }
    const isLoaded = kernel.name.startsWith('nbrewind') || (await this._evaluate(kernel, IS_LOADED)).text === 'True';
    if (generation !== this._generation) {
      return;
    }
    if (isLoaded && (await this._open(kernel, generation))) {
      return;
    }
    if (generation !== this._generation) {
      return;
    }
    this._setState('absent');
  }

  private _watch(kernel: Kernel.IKernelConnection | null): void {
    if (kernel !== this._watched) {
      this._watched?.anyMessage.disconnect(this._onMessage, this);
      this._watched = kernel;
      this._watched?.anyMessage.connect(this._onMessage, this);
    }
  }

  private async _load(): Promise<void> {
    const kernel = this.context.session?.kernel;
    const generation = this._generation;
    if (!kernel) {
      throw new LinkError('no-kernel', 'There is no kernel. Choose one, then try again.');
    }
    const found = await this._evaluate(kernel, this._wanted === 'audit' ? LOAD_AND_AUDIT : LOAD);
    if (generation !== this._generation) {
      throw new LinkError('gone', 'The kernel was restarted.');
    }
    if (found.error) {
      this._trouble = found.error;
      this._setState('missing');
      throw new LinkError('missing', this.obstacle ?? found.error);
    }
    if (!(await this._open(kernel, generation))) {
      this._trouble = 'it is loaded, but did not answer';
      this._setState('missing');
      throw new LinkError('missing', this.obstacle ?? '');
    }
  }

  /** Evaluate an expression without a trace in history or namespace. */
  private async _evaluate(
    kernel: Kernel.IKernelConnection,
    expression: string
  ): Promise<{ text?: string; error?: string }> {
    const request = {
      code: '',
      silent: true,
      store_history: false,
      stop_on_error: false,
      user_expressions: { nbrewind: expression }
    };
    let reply = await kernel.requestExecute(request).done;
    while ((reply.content.status as string) === 'aborted') {
      // A cell before it failed, which says nothing about this one.
      reply = await kernel.requestExecute(request).done;
    }
    const content = reply.content as KernelMessage.IReplyOkContent & {
      user_expressions?: Record<string, Record<string, any>>;
    };
    const found = content.user_expressions?.nbrewind;
    if (found?.status === 'error') {
      return { error: `${found.ename}: ${found.evalue}` };
    }
    return { text: found?.data?.['text/plain'] };
  }

  /** Open the comm. False when nobody there knows it. */
  private async _open(kernel: Kernel.IKernelConnection, generation: number): Promise<boolean> {
    const comm = kernel.createComm(COMM_TARGET);
    const isClosed = new Promise<null>(resolve => {
      comm.onClose = () => {
        if (this._comm === comm) {
          this._drop('The kernel closed the connection.');
          this._setState('absent');
        }
        resolve(null);
      };
    });
    comm.onMsg = message => this._heard(message);
    const status = await Promise.race([this._send(comm, 'status', {}, true) as unknown as Promise<IStatus>, isClosed]);
    if (status === null || generation !== this._generation) {
      if (!comm.isDisposed) {
        comm.dispose();
      }
      return false;
    }
    this._comm = comm;
    this._canUndo = Boolean(status.can_undo);
    this._isReplaying = Boolean(status.replaying);
    this._mode = status.mode;
    if (status.mode === 'audit') {
      this._wanted = status.mode;
    }
    this._setState('ready');
    this._opened.emit();
    if (this._wanted === 'audit' && status.mode === 'off') {
      await this.configure('audit');
    } else {
      await this.ask('configure', { notebook: this.notebookName() });
    }
    return true;
  }

  private _send(
    comm: Kernel.IComm,
    what: string,
    args: Record<string, unknown>,
    isFirst: boolean
  ): Promise<Record<string, unknown>> {
    const data = { id: UUID.uuid4(), ...args, do: what };
    const id = data.id as string;
    const answer = new Promise<Record<string, unknown>>((resolve, reject) => {
      this._waiting.set(id, { resolve, reject });
    });
    const future = isFirst ? comm.open(data as any) : comm.send(data as any);
    future.done.catch(() => {
      this._waiting.get(id)?.reject(new LinkError('gone', 'The kernel went away.'));
      this._waiting.delete(id);
    });
    return answer;
  }

  private _heard(message: KernelMessage.ICommMsgMsg): void {
    const data = message.content.data as Record<string, any>;
    if (data.event) {
      if (data.event === 'mode') {
        this.noteMode(data.mode);
      }
      const parentId = (message.parent_header as KernelMessage.IHeader)?.msg_id ?? '';
      this._event.emit({ event: data as unknown as KernelEvent, parentId });
      return;
    }
    const waiting = this._waiting.get(data.id);
    if (!waiting) {
      return;
    }
    this._waiting.delete(data.id);
    if (data.ok) {
      waiting.resolve(data);
    } else {
      waiting.reject(new LinkError(data.code ?? 'internal', data.error ?? 'The kernel refused.', data));
    }
  }

  private _setState(state: LinkState): void {
    if (state !== this._state && !this._isDisposed) {
      this._state = state;
      this._changed.emit();
    }
  }

  private _setMode(mode: Mode): void {
    if (mode !== this._mode) {
      this._mode = mode;
      this._changed.emit();
    }
  }

  private _state: LinkState = 'no-kernel';
  private _mode: Mode = 'off';
  // What the user asked for; kept over restarts of the kernel.
  private _wanted: Mode = 'off';
  private _canUndo = false;
  private _isReplaying = false;
  private _language = 'python';
  private _trouble = '';
  private _comm: Kernel.IComm | null = null;
  // The process that the comm speaks to, by the session in its messages.
  private _kernelSession = '';
  private _watched: Kernel.IKernelConnection | null = null;
  // Counts kernels, so that what comes from an earlier one is known as late.
  private _generation = 0;
  private _connecting: Promise<void> = Promise.resolve();
  private _isConnecting = false;
  private _isDisposed = false;
  private readonly _waiting = new Map<string, IWaiting>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _opened = new Signal<this, void>(this);
  private readonly _event = new Signal<this, ILinkEvent>(this);
}

/** The promise; a rejection as soon as the signal is aborted. What was begun goes on, and nobody waits for it. */
function unlessAborted<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) {
    return promise;
  }
  return new Promise<T>((resolve, reject) => {
    const stop = () => reject(new LinkError('cancelled', 'It was cancelled.'));
    if (signal.aborted) {
      stop();
    }
    signal.addEventListener('abort', stop);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}
