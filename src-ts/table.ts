/** A plain table for reports and plans: captions, columns, rows of text. Columns that say nothing are left out. */

import { Widget } from '@lumino/widgets';

import { marked } from './text';

/** One cell of a table; `kind` is put on the node for the style sheet. */
export interface ITableCell {
  text: string;
  kind?: string;
  isCode?: boolean;
  isNumber?: boolean;
}

export class Table extends Widget {
  constructor(columns: string[], rows: ITableCell[][], caption: string) {
    super();
    this.addClass('jp-NBRewind-table');
    const table = document.createElement('table');
    const head = table.createTHead().insertRow();
    const isUsed = columns.map((_, at) => rows.some(row => row[at].text !== ''));
    for (const column of columns.filter((_, at) => isUsed[at])) {
      const cell = document.createElement('th');
      cell.scope = 'col';
      cell.textContent = column;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const { text, kind, isCode, isNumber } of row.filter((_, at) => isUsed[at])) {
        const cell = line.insertCell();
        const inner = isCode ? cell.appendChild(document.createElement('code')) : cell;
        inner.append(...(isCode ? [text] : marked(text)));
        if (kind) {
          cell.dataset.kind = kind;
        }
        if (isNumber) {
          cell.classList.add('jp-mod-number');
        }
      }
    }
    table.createCaption().textContent = caption;
    // Long tables scroll; the keyboard has to reach them for that.
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', caption);
    this.node.append(table);
  }
}
