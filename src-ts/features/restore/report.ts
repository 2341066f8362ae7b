/** What restore shows: the report by name, the runs to choose from, and the text that was executed. */

import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Panel, Widget } from '@lumino/widgets';

import type { IRecordedRun, IRestoredName, IRestoreReport } from '../../kernel/protocol';
import { Table } from '../../table';
import { bytes, duration, firstLine, marked, nameList } from '../../text';

/** 12 loaded (3.4 MB), 2 loading in the background (1.2 GB), 1 rebuilt, 1 could not be brought back: x. */
export function summary(report: IRestoreReport, trans: TranslationBundle): string {
  const of = (how: string) => report.names.filter(name => name.how === how);
  const size = (names: IRestoredName[]) => bytes(names.reduce((sum, name) => sum + name.n_bytes, 0));
  const loaded = of('loaded');
  const parts = [trans.__('%1 loaded (%2)', loaded.length, size(loaded))];
  const pending = of('pending');
  if (pending.length > 0) {
    parts.push(trans.__('%1 loading in the background (%2)', pending.length, size(pending)));
  }
  if (of('rebuilt').length > 0) {
    parts.push(trans.__('%1 rebuilt', of('rebuilt').length));
  }
  if (of('stub').length > 0) {
    parts.push(
      trans.__('%1 could not be brought back: %2', of('stub').length, nameList(of('stub').map(name => name.name)))
    );
  }
  return parts.join(', ');
}

/** What a restore cannot do: changes inside the process that are missing, or still there. */
export function limits(report: IRestoreReport, trans: TranslationBundle): string[] {
  // The kernel tells them of a cell that it has just named.
  const ofSomeCell = (text: string) => text.replace(/^it /, `${trans.__('a cell')} `);
  return [
    ...report.process.map(text => trans.__('Not brought back: %1', ofSomeCell(text))),
    ...report.stays.map(text => trans.__('Still there: %1', ofSomeCell(text)))
  ];
}

/** Every name and what became of it, below what a restore cannot do; what was lost comes first. */
export function restoreTable(report: IRestoreReport, trans: TranslationBundle): Widget {
  const body = new Panel();
  // The page still shows the results of cells; few look for the objects.
  const results = (report.results ?? []).map(text => trans.__('Not kept: %1', text));
  const notes = [...limits(report, trans), ...results];
  if (notes.length > 0) {
    const list = new Widget({ node: document.createElement('ul') });
    for (const note of notes) {
      const item = document.createElement('li');
      item.append(...marked(note));
      list.node.append(item);
    }
    body.addWidget(list);
  }
  body.addWidget(table(report, trans));
  return body;
}

function table(report: IRestoreReport, trans: TranslationBundle): Widget {
  const order = ['stub', 'rebuilt', 'pending', 'loaded'];
  const words: Record<string, string> = {
    stub: trans.__('lost'),
    rebuilt: trans.__('rebuilt'),
    pending: trans.__('loading in the background'),
    loaded: trans.__('loaded')
  };
  const names = [...report.names].sort(
    (a, b) => order.indexOf(a.how) - order.indexOf(b.how) || a.name.localeCompare(b.name)
  );
  return new Table(
    [trans.__('Name'), trans.__('How'), trans.__('Type'), trans.__('Size'), trans.__('Why')],
    names.map(name => [
      { text: name.name, isCode: true },
      { text: words[name.how] ?? name.how, kind: name.how },
      { text: name.how === 'stub' ? '' : name.type, isCode: name.how !== 'stub' },
      { text: name.how === 'loaded' || name.how === 'pending' ? bytes(name.n_bytes) : '', isNumber: true },
      { text: name.why ?? '' }
    ]),
    trans.__(
      '%1. Executing the cell took %2; the restore took %3.',
      summary(report, trans),
      duration(report.recorded_seconds),
      duration(report.seconds)
    )
  );
}

/** The text that was executed, beside what the cell says now. */
export class ExecutedText extends Widget {
  constructor(run: IRecordedRun, now: string, trans: TranslationBundle) {
    super();
    this.addClass('jp-NBRewind-texts');
    const explanation = document.createElement('p');
    explanation.textContent = trans.__('The state that comes back is the one that the executed text left.');
    this.node.append(
      explanation,
      titled(trans.__('Executed, %1', whenOf(run)), run.source),
      titled(trans.__('In the cell now'), now)
    );
  }
}

function titled(title: string, text: string): HTMLElement {
  const figure = document.createElement('figure');
  const caption = figure.appendChild(document.createElement('figcaption'));
  caption.textContent = title;
  figure.appendChild(document.createElement('pre')).textContent = text;
  return figure;
}

/** One of the runs, by radio buttons; the newest is chosen at first. */
export class RunPicker extends Widget implements Dialog.IBodyWidget<IRecordedRun | null> {
  constructor(
    private readonly runs: IRecordedRun[],
    trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-NBRewind-runs');
    const group = document.createElement('div');
    group.setAttribute('role', 'radiogroup');
    group.setAttribute('aria-label', trans.__('Recorded runs, newest first'));
    runs.forEach((run, at) => {
      const label = document.createElement('label');
      const input = document.createElement('input');
      input.type = 'radio';
      input.name = 'nbrewind-run';
      input.value = String(at);
      input.checked = at === 0;
      input.addEventListener('change', () => (this._text.textContent = run.source));
      const head = document.createElement('span');
      const when = `${run.number ? `[${run.number}] ` : ''}${whenOf(run)}`;
      head.textContent = run.of ? trans.__('%1, replayed', when) : when;
      const more = document.createElement('small');
      more.textContent = trans.__(
        'took %1; %2 names; %3',
        duration(run.seconds),
        run.n_names,
        firstLine(run.source, 40)
      );
      label.append(input, head, more);
      group.append(label);
    });
    this._text = document.createElement('pre');
    this._text.setAttribute('aria-label', trans.__('The text that was executed'));
    this._text.textContent = runs[0].source;
    this.node.append(group, this._text);
  }

  getValue(): IRecordedRun | null {
    const checked = this.node.querySelector<HTMLInputElement>('input:checked');
    return checked ? this.runs[Number(checked.value)] : null;
  }

  private readonly _text: HTMLElement;
}

function whenOf(run: IRecordedRun): string {
  return new Date(run.started * 1000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}
