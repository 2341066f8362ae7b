/**
 * Progress of restores and replays, in a strip under the notebook's toolbar.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { CATEGORY, CommandIDs, INotebookSides } from '../../tokens';
import { Strip } from './strip';

export const progressPlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:progress',
  description: 'Shows what a restore or replay is doing, and lets the user cancel it.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('nbrewind');
    sides.added.connect((_, side) => {
      const strip = new Strip(side.operations, trans, () => side.panel.content.activate());
      side.panel.contentHeader.addWidget(strip);
      side.panel.node.append(strip.spoken);
    });
    app.commands.addCommand(CommandIDs.cancel, {
      label: trans.__('Cancel the Restore or Replay'),
      isEnabled: () => Boolean(sides.current?.operations.isActive),
      execute: () => sides.current?.operations.current?.cancel(),
      describedBy: { args: { type: 'object', properties: {} } }
    });
    palette?.addItem({ command: CommandIDs.cancel, category: CATEGORY });
  }
};
