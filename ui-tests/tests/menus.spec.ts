/** The other ways to the commands: the context menu, the palette, and the choice among recorded runs. */

import { expect, open, test } from '../notebook';

const CELLS = [
  { id: 'set', source: 'x = 1' },
  { id: 'more', source: 'x = x + 1' },
  { id: 'show', source: 'print(x)' }
];

test('the context menu means the cell under the pointer, not the active one', async ({ page }) => {
  const book = await open(page, CELLS);
  await book.turnAuditOn();
  await book.runAll();
  await expect(book.output('show')).toHaveText('2');
  await book.select('show');
  await book.cell('set').locator('.jp-InputArea-editor').click({ button: 'right' });
  await page.locator('.lm-Menu').getByText('Restore to Here', { exact: true }).click();
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.run('show');
  await expect(book.output('show')).toHaveText('1');
});

test('an earlier run of a cell can be chosen, with the text that it executed', async ({ page }) => {
  const book = await open(page, CELLS);
  await book.turnAuditOn();
  await book.run('set');
  await book.typeOver('set', '1', '7');
  await book.run('set');
  await book.select('set');
  await book.command('nbrewind:restore-run');
  const runs = book.dialog.getByRole('radio');
  await expect(runs).toHaveCount(2);
  await expect(book.dialog.locator('pre')).toHaveText('x = 7');
  await runs.nth(1).check();
  await expect(book.dialog.locator('pre')).toHaveText('x = 1');
  await book.dialog.getByRole('button', { name: 'Restore' }).click();
  // The cell says something else now, so it is asked once more.
  await expect(book.dialog).toContainText('This cell was edited since');
  await book.dialog.getByRole('button', { name: 'Restore' }).click();
  await expect(book.strip).toContainText('Restored the state after');
  await book.run('show');
  await expect(book.output('show')).toHaveText('1');
});

test('after a replay, Restore to here gives what the replay left', async ({ page }) => {
  const book = await open(page, [...CELLS.slice(0, 1), { id: 'other', source: 'y = 5' }, CELLS[2]]);
  await book.turnAuditOn();
  await book.runAll();
  await book.typeOver('set', '1', '7');
  await book.clickInCell('set', 'nbrewind:replay-from-cell');
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();
  await expect(book.strip).toContainText('2 cells executed');
  await book.clickInCell('other', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after');
  await book.run('show');
  await expect(book.output('show')).toHaveText('7');
  // The older state can still be chosen.
  await book.select('other');
  await book.command('nbrewind:restore-run');
  const runs = book.dialog.getByRole('radio');
  await expect(runs).toHaveCount(2);
  await expect(book.dialog.locator('label').first()).toContainText('replayed');
  await runs.nth(1).check();
  await book.dialog.getByRole('button', { name: 'Restore' }).click();
  await expect(book.strip).toContainText('Restored the state after');
  await book.run('show');
  await expect(book.output('show')).toHaveText('1');
});

test('the palette lists the commands, and undo restore only when there is something to undo', async ({ page }) => {
  const book = await open(page, CELLS);
  const isEnabled = (id: string) =>
    page.evaluate(id => (window as any).jupyterapp.commands.isEnabled(id) as boolean, id);
  await page.keyboard.press('Control+Shift+c');
  await page.locator('.lm-CommandPalette-input').fill('nbrewind');
  for (const label of ['Audit Mode', 'Replay from Cell', 'Restore to Here']) {
    await expect(page.locator('.lm-CommandPalette-itemLabel', { hasText: label }).first()).toBeVisible();
  }
  await page.keyboard.press('Escape');
  await book.turnAuditOn();
  await book.runAll();
  expect(await isEnabled('nbrewind:undo-restore')).toBe(false);
  await book.clickInCell('set', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after');
  expect(await isEnabled('nbrewind:undo-restore')).toBe(true);
  await book.command('nbrewind:undo-restore');
  await expect(book.strip).toContainText('as it was before the restore');
  expect(await isEnabled('nbrewind:undo-restore')).toBe(false);
});
