/**
 * Which cell a command means, and what is sent of the cells of a page.
 */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { Cell } from '@jupyterlab/cells';

import type { ICellText } from '../kernel/protocol';
import type { INotebookSide, INotebookSides } from '../tokens';

/** The notebook that a toolbar or a badge names, else the one in front. */
export function sideOf(sides: INotebookSides, args: { panel?: unknown }): INotebookSide | null {
  return typeof args.panel === 'string' ? sides.named(args.panel) : sides.current;
}

/** The cell named in the arguments, else the one under the context menu, else the active one. Code cells only. */
export function cellOf(
  app: JupyterFrontEnd,
  sides: INotebookSides,
  args: { cell?: unknown; fromMenu?: unknown; panel?: unknown }
): { side: INotebookSide; cell: Cell } | null {
  const side = sideOf(sides, args);
  if (!side) {
    return null;
  }
  const { content } = side.panel;
  let cell: Cell | null | undefined = null;
  if (typeof args.cell === 'string') {
    cell = content.widgets.find(widget => widget.model.id === args.cell);
    if (!cell) {
      return null;
    }
  } else if (args.fromMenu) {
    const node = app.contextMenuHitTest(found => found.classList.contains('jp-Cell'));
    cell = content.widgets.find(widget => widget.node === node);
  }
  cell ??= content.activeCell;
  return cell?.model.type === 'code' ? { side, cell } : null;
}

/** The code cells of the page, as the kernel takes them. */
export function cellTexts(side: INotebookSide): ICellText[] {
  return side.panel.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => {
      const tags = cell.model.getMetadata('tags');
      return {
        id: cell.model.id,
        source: cell.model.sharedModel.getSource(),
        tags: Array.isArray(tags) ? tags.map(String) : []
      };
    });
}

/** `[14]` for a cell that ran, `cell 3` for one that did not. */
export function cellName(side: INotebookSide, id: string): string {
  const cells = side.panel.content.widgets.filter(cell => cell.model.type === 'code');
  const at = cells.findIndex(cell => cell.model.id === id);
  if (at < 0) {
    return id;
  }
  const count = (cells[at].model.sharedModel as unknown as { execution_count: number | null }).execution_count;
  return count ? `[${count}]` : `cell ${at + 1}`;
}
