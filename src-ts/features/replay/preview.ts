/** What a replay shows: its plan before it starts, and what happened, by cell. */

import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { IPlanStep, IReplayPlan, IReplayReport, ITaskCounts } from '../../kernel/protocol';
import { Table } from '../../table';
import { duration, firstLine, marked, nameList } from '../../text';
import type { INotebookSide } from '../../tokens';
import { cellName } from '../cells';

/** What became of one cell. */
export interface ICellReport {
  id: string;
  status: string;
  seconds: number;
  recordedSeconds: number;
  why: string[];
  tasks: ITaskCounts | null;
}

function textOf(side: INotebookSide, id: string): string {
  const cell = side.panel.content.widgets.find(widget => widget.model.id === id);
  return cell ? firstLine(cell.model.sharedModel.getSource(), 44) : '';
}

/** The plan of a replay; its value tells whether the user wants to see it the next time. */
export class PlanPreview extends Widget implements Dialog.IBodyWidget<{ isLastTime: boolean }> {
  constructor(side: INotebookSide, plan: IReplayPlan, from: string, trans: TranslationBundle) {
    super();
    this.addClass('jp-NBRewind-plan');
    const words: Record<IPlanStep['status'], string> = {
      replay: trans.__('replayed'),
      execute: trans.__('executed'),
      perhaps: trans.__('perhaps executed')
    };
    const of = (status: string) => plan.plan.filter(step => step.status === status).length;
    const summary = [
      trans._n('%1 cell executes', '%1 cells execute', of('execute')),
      ...(of('perhaps') > 0 ? [trans.__('%1 perhaps, if what they read changes', of('perhaps'))] : []),
      trans.__('%1 replayed', of('replay'))
    ].join(', ');
    const time =
      plan.saved_seconds < 0.1
        ? trans.__('About %1.', duration(plan.seconds))
        : trans.__('About %1; records save about %2.', duration(plan.seconds), duration(plan.saved_seconds));
    const notes: HTMLElement[] = [];
    if (plan.restart.length > 0) {
      notes.push(note(trans.__('The kernel is restarted first: %1.', plan.restart.join('; '))));
    }
    if (plan.lost && plan.lost.length > 0) {
      notes.push(
        note(
          trans._n(
            '%2 is lost: no cell makes it.',
            '%2 are lost: no cell makes them.',
            plan.lost.length,
            nameList(plan.lost)
          )
        )
      );
    }
    const start = plan.plan.findIndex(step => step.id === from);
    const above = plan.plan.slice(0, Math.max(start, 0)).filter(step => step.status !== 'replay');
    if (above.length > 0) {
      notes.push(
        note(
          trans._n(
            '%2 above %3 is not up to date and is included.',
            '%2 above %3 are not up to date and are included.',
            above.length,
            above.map(step => cellName(side, step.id)).join(', '),
            cellName(side, from)
          )
        )
      );
    }
    const table = new Table(
      [trans.__('Cell'), trans.__('Text'), trans.__('Plan'), trans.__('Time'), trans.__('Why')],
      inRows(plan.plan).map(steps => {
        const [step] = steps;
        const names = [step, steps[steps.length - 1]].map(one => cellName(side, one.id));
        const isOne = steps.length === 1;
        return [
          { text: isOne ? names[0] : `${names[0]} – ${names[1]}` },
          { text: isOne ? textOf(side, step.id) : trans.__('%1 cells', steps.length), isCode: isOne },
          { text: words[step.status], kind: step.status },
          { text: step.status === 'replay' ? '' : duration(step.seconds), isNumber: true },
          { text: isOne ? step.why.join('; ') : '' }
        ];
      }),
      `${summary}. ${time}`
    );
    this._box = document.createElement('input');
    this._box.type = 'checkbox';
    const label = document.createElement('label');
    label.append(this._box, trans.__('Do not show this again'));
    this.node.append(...notes, table.node, label);
  }

  getValue(): { isLastTime: boolean } {
    return { isLastTime: this._box.checked };
  }

  private readonly _box: HTMLInputElement;
}

// A plan of as many cells is shown whole; of a longer one, cells in a row that are replayed share one line.
const SHOWN_WHOLE = 12;

/** The steps that share a line of the table. */
export function inRows(steps: IPlanStep[]): IPlanStep[][] {
  const rows: IPlanStep[][] = [];
  for (const step of steps) {
    const row = rows[rows.length - 1];
    if (steps.length > SHOWN_WHOLE && step.status === 'replay' && row?.[0].status === 'replay') {
      row.push(step);
    } else {
      rows.push([step]);
    }
  }
  return rows;
}

function note(text: string): HTMLElement {
  const node = document.createElement('p');
  node.className = 'jp-NBRewind-planNote';
  node.append(...marked(text));
  return node;
}

/** What happened, by cell. */
export function reportTable(
  side: INotebookSide,
  reports: ICellReport[],
  report: IReplayReport | null,
  trans: TranslationBundle
): Widget {
  const words: Record<string, string> = {
    executed: trans.__('executed'),
    replayed: trans.__('replayed'),
    failed: trans.__('failed')
  };
  return new Table(
    [trans.__('Cell'), trans.__('Text'), trans.__('What'), trans.__('Time'), trans.__('Tasks'), trans.__('Why')],
    reports.map(one => [
      { text: cellName(side, one.id) },
      { text: textOf(side, one.id), isCode: true },
      { text: words[one.status] ?? one.status, kind: one.status },
      { text: duration(one.seconds), isNumber: true },
      {
        text:
          one.tasks && one.tasks.hit + one.tasks.run > 0
            ? trans.__('%1 replayed, %2 run', one.tasks.hit, one.tasks.run)
            : ''
      },
      {
        text:
          one.status === 'replayed' && one.recordedSeconds >= 0.1
            ? trans.__('took %1 when it was recorded', duration(one.recordedSeconds))
            : one.why.join('; ')
      }
    ]),
    report
      ? report.saved_seconds < 0.1
        ? trans.__('%1 in all', duration(report.seconds))
        : trans.__('%1 in all; about %2 saved', duration(report.seconds), duration(report.saved_seconds))
      : trans.__('What happened, by cell')
  );
}
