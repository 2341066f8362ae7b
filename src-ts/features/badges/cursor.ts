/** In which line of which cell somebody is about to type. */

import type { Cell } from '@jupyterlab/cells';
import type { CodeEditor } from '@jupyterlab/codeeditor';
import type { Notebook } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

export class CursorWatch implements IDisposable {
  /** `tell` hears the active cell and its line, the first of which is 1, whenever it is another one. */
  constructor(
    private readonly notebook: Notebook,
    private readonly tell: (cell: Cell, line: number) => void
  ) {
    notebook.activeCellChanged.connect(this._follow, this);
    this._follow();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    this._editor?.model.selections.changed.disconnect(this._look, this);
    Signal.clearData(this);
  }

  private _follow(): void {
    this._editor?.model.selections.changed.disconnect(this._look, this);
    this._editor = null;
    this._line = 0;
    const cell = this.notebook.activeCell;
    if (!cell || cell.model.type !== 'code') {
      return;
    }
    // Cells that are out of view have no editor yet.
    void cell.ready.then(() => {
      if (!this._isDisposed && !cell.isDisposed && cell === this.notebook.activeCell && cell.editor) {
        this._editor = cell.editor;
        this._editor.model.selections.changed.connect(this._look, this);
        this._look();
      }
    });
  }

  private _look(): void {
    const cell = this.notebook.activeCell;
    const line = (this._editor?.getCursorPosition().line ?? -1) + 1;
    if (cell && line > 0 && line !== this._line) {
      this._line = line;
      this.tell(cell, line);
    }
  }

  private _editor: CodeEditor.IEditor | null = null;
  private _line = 0;
  private _isDisposed = false;
}
