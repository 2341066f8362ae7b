import { nullTranslator } from '@jupyterlab/translation';

import type { Verdict } from '../../generated/analysis';
import { notebookOf, RealCore, ToldRuns } from '../../testing';
import { VerdictModel } from './model';
import { titleOf, wordOf, type BadgeState } from './words';

const trans = nullTranslator.load('nbrewind');

/** What the badge and the head of the note of a cell say, and the sentence below. */
function said(verdict: Verdict): string[] {
  const state = verdict.state as BadgeState;
  return [wordOf(state, trans), titleOf(state, trans, verdict.why), verdict.reason];
}

/** Cells that ran in this order; then `change` is done to the notebook. */
async function after(
  cells: Record<string, string>,
  runs: string[],
  change: (notebook: ReturnType<typeof notebookOf>, told: ToldRuns) => void = () => undefined
): Promise<Record<string, string[]>> {
  const notebook = notebookOf(Object.entries(cells));
  const told = new ToldRuns();
  const model = new VerdictModel(new RealCore(), notebook, told);
  runs.forEach(id => told.ran(id, cells[id]));
  change(notebook, told);
  await model.settled();
  return Object.fromEntries(
    model.verdicts.filter(verdict => verdict.state !== 'fresh').map(verdict => [verdict.id, said(verdict)])
  );
}

describe('what a scientist reads', () => {
  it('a cell that ran twice on what it changes', async () => {
    const cells = { a: 'rows = [1]', b: 'rows.append(2)' };
    expect(await after(cells, ['a', 'b', 'b'])).toEqual({
      b: [
        'stale',
        'Ran twice on what it changes',
        'This cell ran at [3] on `rows` that its run at [2] had already changed.'
      ]
    });
  });

  it('a name whose cell was deleted', async () => {
    const cells = { a: 'limit = 3', b: 'print(limit)' };
    const found = await after(cells, ['a', 'b'], notebook => notebook.sharedModel.deleteCell(0));
    expect(found).toEqual({
      b: ['stale', 'Uses a name of a deleted cell', '`limit` comes from a cell that was deleted (`limit = 3`).']
    });
  });

  it('a name that is only defined below', async () => {
    const cells = { a: 'print(limit)', b: 'limit = 3' };
    expect(await after(cells, ['b', 'a'])).toEqual({
      a: [
        'stale',
        'Would fail after a restart',
        '`limit` is defined only below, in cell [1]: after a restart this cell would not find it.'
      ]
    });
  });

  it('cells that ran in another order', async () => {
    const cells = { a: 'n = 1', b: 'n = 2', c: 'print(n)' };
    expect(await after(cells, ['b', 'a', 'c'])).toEqual({
      c: [
        'stale',
        'Ran in another order than the page',
        'This cell ran at [3] with `n` from cell [2]; from top to bottom it would come from cell [1].'
      ]
    });
  });

  it('a draw that was made again', async () => {
    const cells = { a: 'import random', b: 'x = random.random()', c: 'print(x)' };
    expect(await after(cells, ['a', 'b', 'c', 'b'])).toEqual({
      c: [
        'unknown',
        'Depends on something outside the notebook',
        '`x` comes from cell [4], which drew random numbers and ran again.'
      ]
    });
  });

  it('code that nothing sees through', async () => {
    const cells = { a: 'exec(code)', b: 'print(x)' };
    expect(await after(cells, ['a', 'b', 'a'])).toEqual({
      b: [
        'unknown',
        'Cannot be told from the text',
        '`x` may be changed in cell [3], which runs code that cannot be seen through and ran again.'
      ]
    });
  });

  it('a cell above that failed', async () => {
    const cells = { a: 'x = 1\ny = 1 / 0', b: 'print(x)' };
    const found = await after(cells, [], (_, told) => {
      told.ran('a', cells.a, { status: 'failed' });
      told.ran('b', cells.b);
    });
    expect(found.b).toEqual([
      'unknown',
      'Uses a cell that did not finish',
      '`x` comes from cell [1], whose run at [1] failed.'
    ]);
  });

  it('what a console set', async () => {
    const cells = { a: 'x = 1', b: 'print(x)' };
    const found = await after(cells, ['a'], (_, told) => {
      told.ran('', 'x = 5');
      told.ran('b', cells.b);
    });
    expect(found.b.slice(0, 2)).toEqual(['stale', 'Uses what a console set']);
  });

  it('an edit above has the title of its state', async () => {
    const cells = { a: 'def f(): return 1', b: 'print(f())' };
    const found = await after(cells, ['a', 'b'], notebook => {
      [...notebook.cells][0].sharedModel.setSource('def f(): return 2');
    });
    expect(found.b).toEqual([
      'upstream',
      'Edited above, not run yet',
      '`f` comes from cell [1], which was edited and has not run since.'
    ]);
  });
});
