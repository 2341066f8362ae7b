import { nullTranslator } from '@jupyterlab/translation';

import type { IRestoredName, IRestoreReport } from '../../kernel/protocol';
import { limits, restoreTable, summary } from './report';

const trans = nullTranslator.load('nbrewind');

const name = (text: string, how: IRestoredName['how'], bytes = 0, why: string | null = null): IRestoredName => ({
  name: text,
  how,
  type: how === 'pending' ? '' : 'list',
  n_bytes: bytes,
  why
});

const report = (...names: IRestoredName[]): IRestoreReport => ({
  run_id: 'r',
  cell_id: 'c',
  source: 'x = 1',
  seconds: 0.5,
  recorded_seconds: 60,
  names,
  process: [],
  stays: []
});

describe('the report of a restore', () => {
  it('counts what is there, what follows, and names what is lost', () => {
    const found = report(
      name('big', 'pending', 1.2e9),
      name('gone', 'stub', 0, 'it could not be stored'),
      name('lock', 'rebuilt'),
      name('x', 'loaded', 3000),
      name('y', 'loaded', 400)
    );
    expect(summary(found, trans)).toBe(
      '2 loaded (3.4 kB), 1 loading in the background (1.2 GB), 1 rebuilt, 1 could not be brought back: gone'
    );
    const rows = Array.from(restoreTable(found, trans).node.querySelectorAll('tbody tr'));
    expect(rows.map(row => Array.from(row.children, cell => cell.textContent))).toEqual([
      ['gone', 'lost', '', '', 'it could not be stored'],
      ['lock', 'rebuilt', 'list', '', ''],
      ['big', 'loading in the background', '', '1.2 GB', ''],
      ['x', 'loaded', 'list', '3.0 kB', ''],
      ['y', 'loaded', 'list', '400 bytes', '']
    ]);
  });

  it('says what it could not do', () => {
    const found = {
      ...report(name('x', 'loaded', 8)),
      process: ['`math.kk = 9`'],
      stays: ['`plt.ion()` was executed']
    };
    expect(limits(found, trans)).toEqual(['Not brought back: `math.kk = 9`', 'Still there: `plt.ion()` was executed']);
    const items = Array.from(restoreTable(found, trans).node.querySelectorAll('li'), item => item.textContent);
    expect(items).toEqual(['Not brought back: math.kk = 9', 'Still there: plt.ion() was executed']);
  });

  it('lists results that were not kept, which is no reason to worry', () => {
    const found = { ...report(name('x', 'loaded', 8)), results: ['`Out[2]`: no name holds it'] };
    expect(limits(found, trans)).toEqual([]);
    const items = Array.from(restoreTable(found, trans).node.querySelectorAll('li'), item => item.textContent);
    expect(items).toEqual(['Not kept: Out[2]: no name holds it']);
  });

  it('says no more than there is', () => {
    expect(summary(report(name('x', 'loaded', 8)), trans)).toBe('1 loaded (8 bytes)');
  });
});
