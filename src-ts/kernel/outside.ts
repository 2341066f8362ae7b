/**
 * Asks the kernel which files that cells read were changed by something else since, and notes it in the log, from which the
 * verdicts come: after each run, and whenever the user comes back to the notebook.
 */

import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { ILinkEvent, KernelLink } from './link';
import type { RunLog } from './log';

export class OutsideWatch implements IDisposable {
  constructor(
    private readonly link: KernelLink,
    private readonly log: RunLog
  ) {
    link.opened.connect(this.look, this);
    link.event.connect(this._onEvent, this);
    window.addEventListener('focus', this._onFocus);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    window.removeEventListener('focus', this._onFocus);
    Signal.clearData(this);
  }

  /** Look now; once more when this is asked for meanwhile. */
  look(): void {
    if (this._isAsking) {
      this._isWanted = true;
      return;
    }
    if (this._isDisposed || this.link.state !== 'ready') {
      return;
    }
    this._isAsking = true;
    void this.link
      .ask<{ runs: Record<string, string[]> }>('outside')
      .then(({ runs }) => this.log.noteOutside(runs))
      // An older kernel does not know the question.
      .catch(() => undefined)
      .finally(() => {
        this._isAsking = false;
        if (this._isWanted) {
          this._isWanted = false;
          this.look();
        }
      });
  }

  private _onEvent(_: KernelLink, { event }: ILinkEvent): void {
    if (event.event === 'run' || event.event === 'state') {
      this.look();
    }
  }

  private readonly _onFocus = (): void => this.look();

  private _isAsking = false;
  private _isWanted = false;
  private _isDisposed = false;
}
