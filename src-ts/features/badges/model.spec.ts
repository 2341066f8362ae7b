import type { ICore } from '../../core';
import { notebookOf, RealCore, ToldRuns } from '../../testing';
import { VerdictModel } from './model';

const CELLS: [string, string][] = [
  ['load', 'rows = [3, 1, 2]'],
  ['sort', 'ordered = sorted(rows)'],
  ['other', 'title = "Readings"'],
  ['show', 'print(title, ordered)']
];

function open(cells = CELLS) {
  const core = new RealCore();
  const notebook = notebookOf(cells);
  const runs = new ToldRuns();
  const model = new VerdictModel(core, notebook, runs);
  const states = async () => {
    await model.settled();
    return Object.fromEntries(
      model.verdicts.filter(verdict => verdict.state !== 'fresh').map(verdict => [verdict.id, verdict.state])
    );
  };
  const edit = (id: string, source: string) => {
    const cell = [...notebook.cells].find(one => one.id === id)!;
    cell.sharedModel.setSource(source);
  };
  const runAll = () => [...notebook.cells].forEach(cell => runs.ran(cell.id, cell.sharedModel.getSource()));
  return { core, notebook, runs, model, states, edit, runAll };
}

describe('verdicts while typing', () => {
  it('marks every cell as not run before anything ran', async () => {
    const { states } = open();
    expect(await states()).toEqual({
      load: 'never-run',
      sort: 'never-run',
      other: 'never-run',
      show: 'never-run'
    });
  });

  it('marks an edited cell and those that read from it, and clears them when the edit is taken back', async () => {
    const { states, edit, runAll, model } = open();
    runAll();
    expect(await states()).toEqual({});
    edit('load', 'rows = [3, 1, 2, 4]');
    expect(await states()).toEqual({ load: 'edited', sort: 'upstream-edited', show: 'upstream-edited' });
    const verdict = model.verdicts.find(one => one.id === 'sort')!;
    expect(verdict.reason).toContain('`rows`');
    expect(verdict.because[0].cell).toBe('load');
    edit('load', 'rows = [3, 1, 2]');
    expect(await states()).toEqual({});
  });

  it('is told where somebody is about to type, again after runs, and says the same as without', async () => {
    const { core, model, notebook, states, edit, runAll } = open();
    const load = [...notebook.cells].find(one => one.id === 'load')!;
    model.expect(load, 1);
    // Nothing was judged yet.
    expect(core.expected).toEqual([]);
    await states();
    expect(core.expected).toEqual([[0, 1]]);
    runAll();
    await states();
    expect(core.expected).toEqual([
      [0, 1],
      [0, 1]
    ]);
    edit('load', 'rows = [3, 1, 2, 4]');
    expect(await states()).toEqual({ load: 'edited', sort: 'upstream-edited', show: 'upstream-edited' });
    edit('load', 'rows = [3, 1, 2');
    expect(Object.keys(await states())).toEqual(['load', 'sort', 'show']);
    edit('load', 'rows = [3, 1, 2]');
    expect(await states()).toEqual({});
    // Keys tell by themselves where they are.
    expect(core.expected).toHaveLength(2);
    const show = [...notebook.cells].find(one => one.id === 'show')!;
    model.expect(show, 1);
    expect(core.expected.at(-1)).toEqual([3, 1]);
  });

  it('leaves everything fresh after a comment or other spacing', async () => {
    const { states, edit, runAll } = open();
    runAll();
    edit('load', 'rows = [3,1,2]  # as measured');
    expect(await states()).toEqual({});
  });

  it('judges a cell that was edited while it ran by the text that was sent', async () => {
    const { states, edit, runs } = open([['a', 'x = 1']]);
    runs.ran('a', 'x = 1');
    edit('a', 'x = 2');
    expect(await states()).toEqual({ a: 'edited' });
    runs.ran('a', 'x = 2');
    expect(await states()).toEqual({});
  });

  it('forgets all runs when the kernel restarts', async () => {
    const { states, runAll, runs } = open([['a', 'x = 1']]);
    runAll();
    runs.restart();
    expect(await states()).toEqual({ a: 'never-run' });
  });

  it('follows cells that are inserted, moved and deleted', async () => {
    const { states, runAll, notebook } = open();
    runAll();
    notebook.sharedModel.deleteCell(0);
    expect(await states()).toEqual({ sort: 'stale', show: 'stale' });
    notebook.sharedModel.insertCell(0, { id: 'new', cell_type: 'code', source: 'rows = [9]', metadata: {} } as any);
    expect((await states()).new).toBe('never-run');
  });

  it('sends one cell for one keystroke', async () => {
    const { core, edit, runAll, states } = open();
    runAll();
    await states();
    core.sent.length = 0;
    edit('other', 'title = "Reading"');
    await states();
    expect(core.sent.map(page => page.changed.map(([at]) => at))).toEqual([[2]]);
    expect(core.sent[0].runs).toBeUndefined();
  });

  it('says nothing of a notebook in another language', async () => {
    const { model, states } = open();
    model.isEnabled = false;
    expect(await states()).toEqual({});
    expect(model.verdicts).toEqual([]);
  });

  it('sends everything again after the core has failed once', async () => {
    const { notebook, runs } = open();
    const real = new RealCore();
    let n_failures = 0;
    const core: ICore = {
      judge: async (id, page) => {
        if (n_failures++ === 0) {
          throw new Error('the worker was killed');
        }
        return real.judge(id, page);
      },
      expect: () => undefined,
      close: () => undefined
    };
    const told = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const model = new VerdictModel(core, notebook, runs);
    await model.settled();
    expect(model.verdicts.map(verdict => verdict.state)).toEqual(CELLS.map(() => 'never-run'));
    expect(told).toHaveBeenCalledTimes(1);
    told.mockRestore();
  });

  it('never shows a verdict that an edit has overtaken', async () => {
    const { edit, runAll, model, states } = open([['a', 'x = 1']]);
    runAll();
    await states();
    const seen: string[] = [];
    model.changed.connect(() => seen.push(model.verdicts[0].state));
    edit('a', 'x = 2');
    edit('a', 'x = 1');
    await model.settled();
    expect(seen).toEqual(['fresh']);
  });
});
