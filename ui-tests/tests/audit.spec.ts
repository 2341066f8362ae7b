/** Audit mode, turned on late; restores and replays while the kernel is busy; undo; cancel. */

import { expect, open, test } from '../notebook';

const WALK = [
  { id: 'start', source: 'walk = [1, 2, 3]\ntotals = {}' },
  { id: 'gen', source: 'drawn = (n * n for n in walk)' },
  { id: 'grow', source: 'walk.append(4)\ntotals["sum"] = sum(walk)' },
  { id: 'show', source: 'print(len(walk), totals)' }
];

test('audit turned on late takes a checkpoint and says what it could not take', async ({ page }) => {
  const book = await open(page, WALK);
  await book.run('start');
  await book.run('gen');
  await expect(book.audit).toHaveAttribute('aria-pressed', 'false');
  await book.turnAuditOn();
  await expect(book.strip).toContainText('2 names that were there are in the first checkpoint');
  await expect(book.strip).toContainText('not taken: drawn');

  await book.run('grow');
  await book.run('show');
  await expect(book.output('show')).toHaveText(/4 \{'sum': 10\}/);

  // What was there before is part of what comes back in a new kernel.
  await book.restartKernel();
  await expect(book.audit).toHaveAttribute('aria-pressed', 'true', { timeout: 30_000 });
  await book.clickInCell('grow', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after');
  await book.run('show');
  await expect(book.output('show')).toHaveText(/4 \{'sum': 10\}/);

  // Off again: the button says so, and nothing more is recorded.
  await book.audit.click();
  await expect(book.audit).toHaveAttribute('aria-pressed', 'false');
});

test('restore goes back, undo restore comes forward again', async ({ page }) => {
  const book = await open(page, WALK);
  await book.turnAuditOn();
  await book.runAll();
  await book.clickInCell('start', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.expectBadges({ start: 'replayed', gen: 'ahead', grow: 'ahead', show: 'ahead' });
  await book.run('show');
  await expect(book.output('show')).toHaveText(/3 \{\}/);

  await book.clickInCell('start', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.strip.getByRole('button', { name: 'Undo restore' }).click();
  await expect(book.strip).toContainText('as it was before the restore');
});

test('an edited cell: restore shows the text that was executed and asks', async ({ page }) => {
  const book = await open(page, WALK);
  await book.turnAuditOn();
  await book.run('start');
  await book.typeOver('start', '3]', '30]');
  await book.clickInCell('start', 'nbrewind:restore-to-cell');
  await expect(book.dialog).toContainText('This cell was edited since');
  await expect(book.dialog.locator('pre').first()).toContainText('walk = [1, 2, 3]');
  await expect(book.dialog.locator('pre').last()).toContainText('walk = [1, 2, 30]');
  await book.dialog.getByRole('button', { name: 'Cancel' }).click();
  await expect(book.strip).toBeHidden();
});

test('while the kernel is busy a restore is queued, says so, and can be cancelled', async ({ page }) => {
  const book = await open(page, [
    { id: 'set', source: 'x = 1' },
    { id: 'wait', source: 'while not __import__("os").path.exists("go"):\n    __import__("time").sleep(0.05)' },
    { id: 'show', source: 'print(x)' }
  ]);
  await book.turnAuditOn();
  await book.run('set');
  await book.start('wait');
  await expect(book.prompt('wait')).toHaveText('[*]:');

  await book.clickInCell('set', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('queued, the kernel is busy');
  await book.strip.getByRole('button', { name: 'Cancel' }).click();
  await expect(book.strip).toContainText('cancelled');
  await expect(book.prompt('wait')).toHaveText('[*]:');

  // Asked again it waits, and happens when the cell has ended.
  await book.strip.getByRole('button', { name: 'Dismiss' }).click();
  await book.clickInCell('set', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('queued, the kernel is busy');
  await page.evaluate(
    path =>
      (window as any).jupyterapp.serviceManager.contents.save(path, { type: 'file', format: 'text', content: '' }),
    `${book.path.split('/')[0]}/go`
  );
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.run('show');
  await expect(book.output('show')).toHaveText('1');
});

test('a replay that is cancelled stops after the last cell that ended, and can be taken up again', async ({ page }) => {
  const book = await open(page, [
    { id: 'set', source: 'x = 1' },
    { id: 'wait', source: 'import os, time\nwhile not os.path.exists("go"):\n    time.sleep(0.05)\ny = x + 1' },
    { id: 'show', source: 'print(y)' }
  ]);
  await book.turnAuditOn();
  await book.run('set');
  await book.clickInCell('set', 'nbrewind:replay-from-cell');
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();
  await expect(book.prompt('wait')).toHaveText('[*]:');
  await book.strip.getByRole('button', { name: 'Cancel' }).click();
  await expect(book.strip).toHaveAttribute('data-kind', 'cancelled');
  await expect(book.badge('wait')).toHaveText(/failed/);

  await page.evaluate(
    path =>
      (window as any).jupyterapp.serviceManager.contents.save(path, { type: 'file', format: 'text', content: '' }),
    `${book.path.split('/')[0]}/go`
  );
  await book.clickInCell('wait', 'nbrewind:replay-from-cell');
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();
  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 60_000 });
  await expect(book.output('show')).toHaveText('2');
});
