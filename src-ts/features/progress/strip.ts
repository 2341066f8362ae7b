/**
 * The strip under the notebook's toolbar: what a restore or replay is doing, how to cancel it, and what came of it.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import { MessageLoop } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { Operations } from './model';

const SHOW_AFTER = 150;

export class Strip extends Widget {
  constructor(
    private readonly operations: Operations,
    private readonly trans: TranslationBundle,
    /** Puts the keyboard where it was before a button of the strip took it. */
    private readonly giveBack: () => void
  ) {
    super();
    this.addClass('jp-NBRewind-strip');
    this._text = document.createElement('span');
    this._text.className = 'jp-NBRewind-strip-text';
    this._bar = document.createElement('progress');
    this._bar.setAttribute('aria-label', trans.__('Progress'));
    this._buttons = document.createElement('span');
    this._buttons.className = 'jp-NBRewind-strip-buttons';
    this._line = document.createElement('div');
    this._line.className = 'jp-NBRewind-strip-line';
    this._line.append(this._text, this._bar, this._buttons);
    this.node.append(this._line);
    this.spoken = document.createElement('div');
    this.spoken.className = 'jp-NBRewind-spoken';
    this.spoken.setAttribute('role', 'status');
    // The panel above the notebook gives each strip the height that it asks for, once; a text that wraps asks again.
    this._sizes = new ResizeObserver(() => this._fit());
    this._sizes.observe(this._line);
    operations.changed.connect(this._update, this);
    this._update();
  }

  /**
   * What screen readers say: that it begins, waits, and how it ended. Outside of the strip, because what is hidden at first is
   * not announced.
   */
  readonly spoken: HTMLElement;

  dispose(): void {
    window.clearTimeout(this._timer);
    this._sizes.disconnect();
    super.dispose();
  }

  private _fit(): void {
    const height = `${this._line.offsetHeight}px`;
    if (this.parent && this.node.style.minHeight !== height) {
      this.node.style.minHeight = height;
      MessageLoop.postMessage(this.parent, Widget.Msg.FitRequest);
    }
  }

  private _update(): void {
    const operation = this.operations.current;
    if (this.isDisposed) {
      return;
    }
    if (!operation) {
      this._show(false);
      return;
    }
    const { stage, outcome } = operation;
    if (stage === 'ended' || !this.isHidden) {
      this._show(true);
    } else {
      // What is over at once must not make the page jump.
      this._timer ??= window.setTimeout(() => this._show(this.operations.current !== null), SHOW_AFTER);
    }
    this.node.dataset.kind = outcome?.kind ?? stage;
    const waiting = this.operations.nWaiting;
    const behind = waiting > 0 ? ` ${this.trans._n('(%1 more waits)', '(%1 more wait)', waiting)}` : '';
    let text: string;
    if (stage === 'queued') {
      text = this.trans.__(
        '%1: queued, the kernel is busy. It starts when the running cells have ended.',
        operation.title
      );
    } else if (stage === 'working') {
      text = operation.signal.aborted
        ? this.trans.__('%1: stopping…', operation.title)
        : `${operation.title}${operation.text ? ': ' + operation.text : '…'}`;
    } else {
      text = outcome?.text ?? '';
    }
    if (this._text.textContent !== text + behind) {
      this._text.textContent = text + behind;
    }
    const spoken = stage === 'working' && !operation.signal.aborted ? `${operation.title}…` : text;
    if (this.spoken.textContent !== spoken) {
      this.spoken.textContent = spoken;
    }
    this._bar.hidden = stage === 'ended';
    if (operation.total > 0 && stage === 'working') {
      this._bar.max = operation.total;
      this._bar.value = operation.done;
    } else {
      this._bar.removeAttribute('value');
    }
    const key = `${stage}/${outcome?.text}/${operation.signal.aborted}`;
    if (key !== this._shownButtons || this._of !== operation) {
      this._shownButtons = key;
      this._of = operation;
      this._fill();
    }
  }

  private _show(isShown: boolean): void {
    window.clearTimeout(this._timer);
    this._timer = undefined;
    const hadFocus = this.node.contains(document.activeElement);
    this.setHidden(!isShown);
    if (!isShown && hadFocus) {
      this.giveBack();
    }
  }

  private _fill(): void {
    const operation = this.operations.current!;
    const buttons: HTMLButtonElement[] = [];
    if (operation.stage === 'ended') {
      for (const action of operation.outcome?.actions ?? []) {
        buttons.push(button(action.label, action.run, action.caption));
      }
      const close = button('', () => this.operations.dismiss(), this.trans.__('Dismiss'));
      close.className = 'jp-NBRewind-close';
      close.setAttribute('aria-label', this.trans.__('Dismiss'));
      close.innerHTML =
        '<svg viewBox="0 0 10 10" aria-hidden="true"><path d="M2 2 8 8M8 2 2 8" stroke="currentColor" stroke-width="1.4"/></svg>';
      buttons.push(close);
    } else {
      const cancel = button(this.trans.__('Cancel'), () => operation.cancel());
      cancel.setAttribute('aria-disabled', String(operation.signal.aborted));
      buttons.push(cancel);
    }
    const hadFocus = this._buttons.contains(document.activeElement);
    this._buttons.replaceChildren(...buttons);
    if (hadFocus) {
      // The button that was used is gone; the keyboard stays in the strip.
      buttons[0].focus();
    }
  }

  private readonly _line: HTMLElement;
  private readonly _sizes: ResizeObserver;
  private readonly _text: HTMLElement;
  private readonly _bar: HTMLProgressElement;
  private readonly _buttons: HTMLElement;
  private _timer: number | undefined;
  private _shownButtons = '';
  private _of: unknown = null;
}

function button(label: string, run: () => void, caption?: string): HTMLButtonElement {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = 'jp-NBRewind-stripButton';
  node.textContent = label;
  if (caption) {
    node.title = caption;
  }
  node.addEventListener('click', run);
  return node;
}
