/**
 * The strip under the notebook's toolbar: what a restore or replay is doing, how to cancel it, and what came of it.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import { MessageLoop } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { Operations } from './model';

export class Strip extends Widget {
  constructor(
    private readonly operations: Operations,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-NBRewind-strip');
    this._text = document.createElement('span');
    this._text.className = 'jp-NBRewind-strip-text';
    this._text.setAttribute('role', 'status');
    this._bar = document.createElement('progress');
    this._bar.setAttribute('aria-label', trans.__('Progress'));
    this._buttons = document.createElement('span');
    this._buttons.className = 'jp-NBRewind-strip-buttons';
    this._line = document.createElement('div');
    this._line.className = 'jp-NBRewind-strip-line';
    this._line.append(this._text, this._bar, this._buttons);
    this.node.append(this._line);
    // The panel above the notebook gives each strip the height that it asks for, once; a text that wraps asks again.
    this._sizes = new ResizeObserver(() => this._fit());
    this._sizes.observe(this._line);
    operations.changed.connect(this._update, this);
    this._update();
  }

  dispose(): void {
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
    this.setHidden(operation === null);
    if (!operation) {
      return;
    }
    const { stage, outcome } = operation;
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
    } else if (!operation.signal.aborted) {
      buttons.push(button(this.trans.__('Cancel'), () => operation.cancel()));
    }
    this._buttons.replaceChildren(...buttons);
  }

  private readonly _line: HTMLElement;
  private readonly _sizes: ResizeObserver;
  private readonly _text: HTMLElement;
  private readonly _bar: HTMLProgressElement;
  private readonly _buttons: HTMLElement;
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
