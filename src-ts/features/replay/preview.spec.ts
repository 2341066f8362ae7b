import type { IPlanStep } from '../../kernel/protocol';
import { inRows } from './preview';

const step = (id: number, status: IPlanStep['status']): IPlanStep => ({
  id: `c${id}`,
  status,
  seconds: 0,
  why: [],
  above: false
});

describe('the table of a plan', () => {
  it('shows every cell of a short notebook', () => {
    const steps = Array.from({ length: 8 }, (_, at) => step(at, 'replay'));
    expect(inRows(steps)).toHaveLength(8);
  });

  it('gives one line to cells in a row that are replayed, and every other cell its own', () => {
    const steps = Array.from({ length: 100 }, (_, at) => step(at, [40, 41, 90].includes(at) ? 'execute' : 'replay'));
    expect(inRows(steps).map(row => [row[0].id, row.length])).toEqual([
      ['c0', 40],
      ['c40', 1],
      ['c41', 1],
      ['c42', 48],
      ['c90', 1],
      ['c91', 9]
    ]);
  });
});
