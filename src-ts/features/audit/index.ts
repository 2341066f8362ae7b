/**
 * Audit mode: a toggle in the notebook's toolbar. Works on our kernels and on the plain Python kernel.
 */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Dialog, ICommandPalette, IToolbarWidgetRegistry, Notification, showDialog } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';

import { CommandToolbarButton } from '@jupyterlab/ui-components';

import { auditIcon, auditOnIcon } from '../../icons';
import type { ILinkEvent, KernelLink } from '../../kernel/link';
import type { IBaseline, IStatus } from '../../kernel/protocol';
import { PLUGIN_ID } from '../../settings';
import { Table } from '../../table';
import { bytes, nameList } from '../../text';
import { CATEGORY, CommandIDs, INotebookSides, type INotebookSide } from '../../tokens';
import { sideOf } from '../cells';
import type { IOutcome } from '../progress/model';

export const auditPlugin: JupyterFrontEndPlugin<void> = {
  id: 'nbrewind:audit',
  description: 'Audit mode: records every cell run.',
  autoStart: true,
  requires: [INotebookSides],
  optional: [IToolbarWidgetRegistry, ICommandPalette, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    sides: INotebookSides,
    toolbars: IToolbarWidgetRegistry | null,
    palette: ICommandPalette | null,
    settingRegistry: ISettingRegistry | null,
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
    let isFromStart = false;
    const all = new Set<INotebookSide>();
    // Once per kernel: who turns it off means it.
    const tried = new WeakMap<KernelLink, string>();
    const begin = (side: INotebookSide) => {
      const kernel = side.panel.sessionContext.session?.kernel;
      if (isFromStart && kernel && side.link.state === 'absent' && tried.get(side.link) !== kernel.id) {
        tried.set(side.link, kernel.id);
        void toggle(side, trans);
      }
    };
    sides.added.connect((_, side) => {
      all.add(side);
      side.panel.disposed.connect(() => all.delete(side));
      side.link.changed.connect(() => begin(side));
      begin(side);
    });
    void settingRegistry
      ?.load(PLUGIN_ID)
      .then(settings => {
        const read = () => {
          isFromStart = settings.get('auditFromStart').composite as boolean;
          all.forEach(begin);
        };
        settings.changed.connect(read);
        read();
      })
      .catch(error => console.warn('NBRewind: settings could not be read', error));
    // A recording that fails is said once, where the user looks.
    const heard = new WeakSet<KernelLink>();
    sides.added.connect((_, side) => {
      if (heard.has(side.link)) {
        // Another view of the same notebook.
        return;
      }
      heard.add(side.link);
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
    await side.operations.run(trans.__('Stop recording'), async operation => {
      await side.link.configure('off', operation.signal);
      return null;
    });
    return;
  }
  await side.operations.run(trans.__('Audit'), async operation => {
    operation.progress(trans.__('loading NBRewind in the kernel'));
    await side.link.load(operation.signal);
    const doing = trans.__('taking a checkpoint of what is there');
    operation.progress(doing);
    const heard = (_: unknown, { event }: ILinkEvent) => {
      if (event.event === 'progress') {
        operation.progress(`${doing}, ${event.what}`, event.done, event.total);
      }
    };
    side.link.event.connect(heard);
    try {
      const { baseline } = await side.link.configure<{ baseline?: IBaseline | null }>('audit', operation.signal);
      const { is_writable, store } = await side.link.ask<IStatus>('status');
      if (is_writable === false) {
        return {
          kind: 'warning',
          text: trans.__('Audit is on, but nothing is recorded: the store %1 cannot be written.', store ?? '')
        };
      }
      return baseline ? tell(baseline, trans) : null;
    } finally {
      side.link.event.disconnect(heard);
    }
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
        caption: trans.__('What could not be taken, and why'),
        run: () =>
          void showDialog({
            title: trans.__('The first checkpoint'),
            body: new Table(
              [trans.__('Name'), trans.__('Why it was not taken')],
              not_taken.map(one => [{ text: one.name, isCode: true }, { text: one.why }]),
              trans.__('A restore in another kernel makes these names again where it can, and says which it cannot.')
            ),
            buttons: [Dialog.okButton({ label: trans.__('Close') })]
          })
      }
    ]
  };
}
