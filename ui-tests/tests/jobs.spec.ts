/** The main jobs on the demo notebook, with a real Dask cluster: change a constant, change a function, come back later. */

import { existsSync, readdirSync } from 'fs';
import { join } from 'path';

import { demoCells, expect, open, test, type Book } from '../notebook';

// The demo with less data: what is counted here is cells and tasks, not seconds.
const CELLS = demoCells('climate', [
  ['make-data', 'N_ROWS = 24_000_000', 'N_ROWS = 400_000'],
  ['make-data', 'N_REGIONS = 2_500', 'N_REGIONS = 100']
]);

/** Turn audit on and run everything once. */
async function audited(book: Book): Promise<void> {
  await book.turnAuditOn();
  await book.runAll();
  await book.expectBadges({});
  expect(existsSync(join(book.folder, '.nbrewind'))).toBe(true);
}

/** Click Replay on a cell, agree to the preview, and wait for the report. */
async function replay(book: Book, cell: string): Promise<void> {
  await book.clickInCell(cell, 'nbrewind:replay-from-cell');
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click({ timeout: 60_000 });
  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 120_000 });
}

async function rowsOf(book: Book): Promise<number> {
  return Number((await book.output('c3').first().innerText()).split(' ')[0].replace(/,/g, ''));
}

test('job A: type another threshold, click Replay: one cell executes', async ({ page }) => {
  const book = await open(page, CELLS);
  await audited(book);
  const before = await rowsOf(book);

  await book.typeOver('c3', '> 10.0', '> 5.0');
  await book.expectBadges({ c3: 'edited' });
  await book.clickInCell('c3', 'nbrewind:replay-from-cell');

  // The preview says what will happen, before it happens.
  await expect(book.dialog).toContainText('1 cell executes', { timeout: 60_000 });
  await expect(book.dialog).toContainText('it was edited');
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();

  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 120_000 });
  await expect(book.strip).toContainText('1 cell executed');
  await expect(book.strip).toContainText('tasks replayed');
  expect(await rowsOf(book)).toBeGreaterThan(before);
  await expect.poll(async () => (await book.badges()).c3).toBeUndefined();
  expect(readdirSync(book.folder)).toContain('high_risk_24-06.parquet');

  // Everything is live: the names that were not touched can be used at once.
  await book.strip.getByRole('button', { name: 'Details' }).click();
  await expect(book.dialog.getByRole('row')).toHaveCount(CELLS.length + 1);
  await book.dialog.getByRole('button', { name: 'Close' }).click();
});

test('job B: another formula in a function: only what it touches executes', async ({ page }) => {
  const book = await open(page, CELLS);
  await audited(book);

  await book.typeOver('c2', '0.1 * row', '0.2 * row');
  await book.expectBadges({ c2: 'edited', c3: 'upstream' });
  await replay(book, 'c2');
  await expect(book.strip).toContainText('2 cells executed');
  const text = await book.strip.innerText();
  const [, n_hit, n_run] = /(\d+) tasks replayed, (\d+) run/.exec(text)!;
  expect(Number(n_hit)).toBeGreaterThan(0);
  // A run from scratch takes more than two hundred tasks.
  expect(Number(n_run)).toBeLessThan(60);
  await expect.poll(async () => Object.values(await book.badges()).filter(word => word !== 'replayed')).toEqual([]);
});

test('restart the kernel, Restore to here on the second cell, run the third', async ({ page }) => {
  const book = await open(page, CELLS);
  await audited(book);
  const rows = await rowsOf(book);

  await book.restartKernel();
  await book.expectBadges(Object.fromEntries(CELLS.map(cell => [cell.id, 'not run'])));

  await book.clickInCell('c2', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after', { timeout: 90_000 });
  await expect(book.strip).toContainText('rebuilt');
  await book.expectBadges({
    'make-data': 'replayed',
    cluster: 'replayed',
    c1: 'replayed',
    c2: 'replayed',
    c3: 'ahead'
  });
  await book.strip.getByRole('button', { name: 'Details' }).click();
  await expect(book.dialog.getByRole('row', { name: /client/ })).toContainText('rebuilt');
  await book.dialog.getByRole('button', { name: 'Close' }).click();

  await book.run('c3');
  expect(await rowsOf(book)).toBe(rows);
  await expect.poll(async () => (await book.badges()).c3).toBeUndefined();
});
