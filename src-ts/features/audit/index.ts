/**
 * Audit mode: a toggle in the notebook's toolbar. Works on our kernels and on the plain Python kernel.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, IToolbarWidgetRegistry, Notification } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';

import { CommandToolbarButton } from '@jupyterlab/ui-components';

import { auditIcon, auditOnIcon } from '../../icons';
import type { IBaseline } from '../../kernel/protocol';
import { bytes, nameList } from '../../text';
import { CATEGORY, CommandIDs, INotebookSides, type INotebookSide } from '../../tokens';
import { sideOf } from '../cells';
import { messageOf, type IOutcome } from '../progress/model';

export const auditPlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:audit',
  description: 'Audit mode: records every cell run.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [IToolbarWidgetRegistry, ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load('nbrewind');
    const isOn = (side: INotebookSide | null) => side !== null && side.link.mode !== 'off';
    app.commands.addCommand(CommandIDs.toggleAudit, {
      label: args => (args.toolbar ? trans.__('Audit') : trans.__('Audit Mode')),
      caption: args => {
        const side = sideOf(sides, args);
        return (
          side?.link.obstacle ??
          (isOn(side)
            ? trans.__('Audit is on: every cell run is recorded. Click to stop recording.')
            : trans.__('Audit: record every cell run, so that it can be restored and replayed'))
        );
      },
      icon: args => (isOn(sideOf(sides, args)) ? auditOnIcon : auditIcon),
      isEnabled: args => sideOf(sides, args)?.link.obstacle === null,
      isToggleable: true,
      isToggled: args => isOn(sideOf(sides, args)),
      execute: async args => {
        const side = sideOf(sides, args);
        if (side) {
          await toggle(side, trans);
        }
      },
      describedBy: {
        args: { type: 'object', properties: { toolbar: { type: 'boolean' }, panel: { type: 'string' } } }
      }
    });
    // Every notebook's button shows that notebook's mode, also when another one is in front.
    toolbars?.addFactory<NotebookPanel>('Notebook', 'nbrewind:audit', panel => {
      const args = { toolbar: true, panel: sides.nameOf(panel) };
      return new CommandToolbarButton({
        commands: app.commands,
        id: CommandIDs.toggleAudit,
        args,
        label: trans.__('Audit')
      });
    });
    palette?.addItem({ command: CommandIDs.toggleAudit, category: CATEGORY });
    // A recording that fails is said once, where the user looks.
    sides.added.connect((_, side) => {
      const told = new Set<string>();
      side.link.event.connect((_, { event }) => {
        if (event.event === 'run' && event.status === 'not recorded') {
          const why = event.why.join('; ');
          if (!told.has(why)) {
            told.add(why);
            Notification.warning(trans.__('A cell run was not recorded: %1', why), { autoClose: 10000 });
          }
        }
      });
    });
  }
};

async function toggle(side: INotebookSide, trans: TranslationBundle): Promise<void> {
  if (side.link.mode !== 'off') {
    try {
      await side.link.configure('off');
    } catch (error) {
      Notification.error(trans.__('Audit could not be turned off: %1', messageOf(error)), { autoClose: 10000 });
    }
    return;
  }
  await side.operations.run(trans.__('Audit'), async operation => {
    operation.progress(trans.__('loading NBRewind in the kernel'));
    await side.link.load();
    operation.progress(trans.__('taking a checkpoint of what is there'));
    const { baseline } = await side.link.configure<{ baseline?: IBaseline | null }>('audit', operation.signal);
    return baseline ? tell(baseline, trans) : null;
  });
}

/** What the baseline checkpoint took, and what it could not. Nothing to say of an empty kernel. */
function tell(baseline: IBaseline, trans: TranslationBundle): IOutcome | null {
  const { taken, not_taken } = baseline;
  if (taken.length === 0 && not_taken.length === 0) {
    return null;
  }
  const what = trans._n(
    'Audit is on. %1 name that was there is in the first checkpoint (%2)',
    'Audit is on. %1 names that were there are in the first checkpoint (%2)',
    taken.length,
    bytes(baseline.n_bytes)
  );
  if (not_taken.length === 0) {
    return { kind: 'done', text: `${what}.` };
  }
  const lost = trans.__('not taken: %1', nameList(not_taken.map(one => one.name)));
  return {
    kind: 'warning',
    text: `${what}; ${lost}.`,
    actions: [
      {
        label: trans.__('Why?'),
        run: () => Notification.info(not_taken.map(one => `${one.name}: ${one.why}`).join('\n'), { autoClose: 20000 })
      }
    ]
  };
}
