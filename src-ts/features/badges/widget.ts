/**
 * What the user sees of a verdict: a badge in the prompt column, and a note with the reason and the cells to jump to.
 */

import type { Cell } from '@jupyterlab/cells';
import { NotebookActions, type Notebook } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';

import type { Verdict } from '../../generated/analysis';
import { marked } from '../../text';
import { shapeOf, titleOf, wordOf, type BadgeState } from './words';

const BADGE = 'jp-NBRewind-badge';
const CELL = 'jp-NBRewind-cell';

/** The badge of one cell. Present while the cell is; shown while there is something to say. */
export class Badge implements IDisposable {
  constructor(
    readonly cell: Cell,
    private readonly note: ReasonNote,
    private readonly trans: TranslationBundle
  ) {
    const node = document.createElement('button');
    node.type = 'button';
    node.className = BADGE;
    node.hidden = true;
    node.setAttribute('aria-haspopup', 'dialog');
    node.setAttribute('aria-expanded', 'false');
    node.addEventListener('mouseenter', () => this.note.showSoon(this));
    node.addEventListener('mouseleave', () => this.note.hideSoon());
    node.addEventListener('focus', () => {
      this.note.showSoon(this);
      window.addEventListener('keydown', this._onKey, { capture: true });
    });
    node.addEventListener('blur', () => {
      this.note.hideSoon();
      window.removeEventListener('keydown', this._onKey, { capture: true });
    });
    // A click on the badge must not move the selection of cells.
    node.addEventListener('mousedown', event => event.stopPropagation());
    node.addEventListener('click', event => {
      event.stopPropagation();
      this.note.pin(this);
    });
    this.node = node;
    // A child of the cell's own node: that outlives scrolling out of view in every windowing mode.
    cell.node.classList.add(CELL);
    cell.node.appendChild(node);
  }

  readonly node: HTMLButtonElement;

  get verdict(): Verdict | null {
    return this._verdict;
  }

  /** Whether the Tab key stops here. */
  set isReachable(isReachable: boolean) {
    this.node.tabIndex = isReachable ? 0 : -1;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Show this verdict; null: nothing to say. */
  show(verdict: Verdict | null): void {
    const state = verdict?.state ?? 'fresh';
    const isSame = this._verdict?.state === verdict?.state && this._verdict?.reason === verdict?.reason;
    this._verdict = verdict;
    if (isSame) {
      return;
    }
    if (!verdict || state === 'fresh' || state === 'running') {
      this.node.hidden = true;
      this.node.removeAttribute('data-state');
      this.note.left(this);
      return;
    }
    const badge = state as BadgeState;
    this.node.hidden = false;
    this.node.dataset.state = badge;
    this.node.innerHTML = shapeOf(badge);
    const word = document.createElement('span');
    word.textContent = wordOf(badge, this.trans);
    this.node.appendChild(word);
    this.node.setAttribute('aria-label', `${titleOf(badge, this.trans, verdict.why)}. ${verdict.reason}`);
    this.note.refresh(this);
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.removeEventListener('keydown', this._onKey, { capture: true });
    this.note.left(this);
    this.node.remove();
    this.cell.node.classList.remove(CELL);
  }

  /** Before the notebook's own shortcuts: in command mode Enter would put the keyboard into the cell's text. */
  private readonly _onKey = (event: KeyboardEvent): void => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (!isPlain || event.target !== this.node) {
      return;
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.note.pin(this);
    } else if (event.key === 'Escape' && this.node.getAttribute('aria-expanded') === 'true') {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.note.hide();
    }
  };

  private _verdict: Verdict | null = null;
  private _isDisposed = false;
}

const SHOW_AFTER = 250;
const HIDE_AFTER = 300;

/** The note beside a badge: state, reason, and buttons that go to the cells it names. One for all badges of a notebook. */
export class ReasonNote implements IDisposable {
  constructor(
    private readonly notebook: Notebook,
    private readonly trans: TranslationBundle,
    /** Adds buttons of other features, for instance Replay. */
    private readonly actions: (badge: Badge) => { label: string; run: () => void }[] = () => []
  ) {
    const node = document.createElement('div');
    node.className = 'jp-NBRewind-note';
    node.setAttribute('role', 'dialog');
    node.hidden = true;
    node.addEventListener('mouseenter', () => this._clearTimer());
    node.addEventListener('mouseleave', () => this.hideSoon());
    node.addEventListener('focusin', () => this._clearTimer());
    node.addEventListener('focusout', event => {
      if (!node.contains(event.relatedTarget as Node)) {
        this.hideSoon();
      }
    });
    node.addEventListener('keydown', event => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        const badge = this._badge;
        this.hide();
        badge?.node.focus();
        // Who closed the note does not want it back because the badge has the keyboard again.
        this._clearTimer();
      }
    });
    this.node = node;
    this._onScroll = () => this.hide();
  }

  readonly node: HTMLElement;

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Show in a moment: a pointer that only passes does not want it. */
  showSoon(badge: Badge): void {
    this._clearTimer();
    this._timer = window.setTimeout(() => this.show(badge), this._badge ? 60 : SHOW_AFTER);
  }

  /** Hide in a moment: the pointer may be on its way to the note. */
  hideSoon(): void {
    this._clearTimer();
    this._timer = window.setTimeout(() => this.hide(), HIDE_AFTER);
  }

  /** Show now and put the keyboard into it. */
  pin(badge: Badge): void {
    this.show(badge);
    (this.node.querySelector('button') ?? badge.node).focus();
  }

  show(badge: Badge): void {
    this._clearTimer();
    if (badge.isDisposed || badge.node.hidden || !badge.verdict) {
      return;
    }
    this._badge?.node.setAttribute('aria-expanded', 'false');
    this._badge = badge;
    badge.node.setAttribute('aria-expanded', 'true');
    this._fill(badge);
    if (!this.node.isConnected) {
      document.body.appendChild(this.node);
    }
    this.node.hidden = false;
    this._place(badge);
    // Capture: the notebook scrolls inside, not the page.
    document.addEventListener('scroll', this._onScroll, { capture: true, passive: true });
  }

  hide(): void {
    this._clearTimer();
    this._badge?.node.setAttribute('aria-expanded', 'false');
    this._badge = null;
    this.node.hidden = true;
    document.removeEventListener('scroll', this._onScroll, { capture: true });
  }

  /** The badge says something else now. */
  refresh(badge: Badge): void {
    if (badge === this._badge) {
      this._fill(badge);
    }
  }

  /** The badge has nothing to say any more. */
  left(badge: Badge): void {
    if (badge === this._badge) {
      this.hide();
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this.hide();
      this.node.remove();
    }
  }

  private _fill(badge: Badge): void {
    const verdict = badge.verdict!;
    const state = verdict.state as BadgeState;
    const head = document.createElement('div');
    head.className = 'jp-NBRewind-note-head';
    head.dataset.state = state;
    head.innerHTML = shapeOf(state);
    const title = titleOf(state, this.trans, verdict.why);
    head.append(title);
    const reason = document.createElement('p');
    reason.append(...marked(verdict.reason));
    const buttons = document.createElement('div');
    buttons.className = 'jp-NBRewind-note-buttons';
    for (const { cell, label } of this._jumps(verdict, badge.cell)) {
      buttons.append(button(label, () => this._jump(cell)));
    }
    for (const action of this.actions(badge)) {
      buttons.append(
        button(action.label, () => {
          this.hide();
          action.run();
        })
      );
    }
    this.node.setAttribute('aria-label', title);
    this.node.replaceChildren(head, reason, ...(buttons.childElementCount > 0 ? [buttons] : []));
  }

  private _jumps(verdict: Verdict, own: Cell): { cell: Cell; label: string }[] {
    const found: { cell: Cell; label: string }[] = [];
    for (const because of verdict.because ?? []) {
      const cell = this.notebook.widgets.find(widget => widget.model.id === because.cell);
      if (!cell || cell === own || found.some(one => one.cell === cell)) {
        continue;
      }
      const number = because.number;
      const nth = this.notebook.widgets.filter(widget => widget.model.type === 'code').indexOf(cell) + 1;
      const label =
        number !== null && number !== undefined
          ? this.trans.__('Go to [%1]', number)
          : this.trans.__('Go to cell %1', nth);
      found.push({ cell, label });
      if (found.length === 3) {
        break;
      }
    }
    return found;
  }

  private _jump(cell: Cell): void {
    this.hide();
    void goTo(this.notebook, cell);
  }

  private _place(badge: Badge): void {
    const anchor = badge.node.getBoundingClientRect();
    const own = this.node.getBoundingClientRect();
    const left = Math.min(anchor.right + 6, window.innerWidth - own.width - 8);
    const below = anchor.top - 2;
    const top = below + own.height > window.innerHeight - 8 ? Math.max(8, anchor.bottom - own.height) : below;
    this.node.style.left = `${Math.max(8, left)}px`;
    this.node.style.top = `${top}px`;
  }

  private _clearTimer(): void {
    window.clearTimeout(this._timer);
    this._timer = undefined;
  }

  private _badge: Badge | null = null;
  private _timer: number | undefined;
  private readonly _onScroll: () => void;
  private _isDisposed = false;
}

/** Make a cell the active one, bring it into view and let it flash once. */
export async function goTo(notebook: Notebook, cell: Cell): Promise<void> {
  const at = notebook.widgets.indexOf(cell);
  if (at < 0) {
    return;
  }
  // It may be under a heading that is collapsed.
  NotebookActions.expandParent(cell, notebook);
  notebook.deselectAll();
  notebook.activeCellIndex = at;
  notebook.mode = 'command';
  // Before anything is awaited: the next key may come at once.
  cell.node.focus({ preventScroll: true });
  // Not `scrollToCell`: that puts the keyboard into the cell's text.
  await notebook.scrollToItem(at, 'smart').catch(() => undefined);
  cell.node.classList.add('jp-NBRewind-flash');
  cell.node.addEventListener('animationend', () => cell.node.classList.remove('jp-NBRewind-flash'), { once: true });
}

function button(label: string, run: () => void): HTMLButtonElement {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = 'jp-NBRewind-link';
  node.textContent = label;
  node.addEventListener('click', run);
  return node;
}
