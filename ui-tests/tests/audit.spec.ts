/** Audit mode, turned on late; restores and replays while the kernel is busy; undo; cancel. */

import { writeFileSync } from 'fs';
import { join } from 'path';

import { expect, loadAgain, open, reopen, test, type Book, type ITextCell } from '../notebook';

const WALK = [
  { id: 'start', source: 'walk = [1, 2, 3]\ntotals = {}' },
  { id: 'gen', source: 'drawn = (n * n for n in walk)' },
  { id: 'grow', source: 'walk.append(4)\ntotals["sum"] = sum(walk)' },
  { id: 'show', source: 'print(len(walk), totals)' }
];

const WAIT = 'import os, time\nwhile not os.path.exists("go"):\n    time.sleep(0.05)\n';

// The second cell ends when the story lets it go.
const WAITING: ITextCell[] = [
  { id: 'set', source: 'x = 1' },
  { id: 'wait', source: `${WAIT}y = x + 1` }
];

function letGo(book: Book): void {
  writeFileSync(join(book.folder, 'go'), '');
}

/** Agree to the preview of a replay. */
async function agree(book: Book): Promise<void> {
  await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();
}

/** Begin a replay of `WAITING`: it stands in the second cell. */
async function replayUntilWaiting(book: Book): Promise<void> {
  await book.turnAuditOn();
  await book.run('set');
  await book.command('docmanager:save');
  await book.clickInCell('set', 'nbrewind:replay-from-cell');
  await agree(book);
  await expect(book.prompt('wait')).toHaveText('[*]:');
}

test('audit turned on late takes a checkpoint and says what it could not take', async ({ page }) => {
  const [start, , ...rest] = WALK;
  const book = await open(page, [start, { id: 'write', source: 'drawn = __import__("socket").socket()' }, ...rest]);
  await book.run('start');
  await book.run('write');
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

  // Forward to what `grow` left, back again, and undo: the state is that of `grow`.
  await book.clickInCell('grow', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after [3]');
  await book.clickInCell('start', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.strip.getByRole('button', { name: 'Undo restore' }).click();
  await expect(book.strip).toContainText('as it was before the restore');
  // Dismissed by the keyboard, the strip gives the keyboard back to the notebook.
  await book.strip.getByRole('button', { name: 'Dismiss' }).press('Enter');
  await expect(book.strip).toBeHidden();
  await expect(book.cell('start')).toBeFocused();
  await book.run('show');
  await expect(book.output('show')).toHaveText(/4 \{'sum': 10\}/);
});

test('replay all stale cells from the Run menu, then undo the replay', async ({ page }) => {
  const book = await open(page, WALK);
  await book.turnAuditOn();
  await book.runAll();
  await book.typeOver('start', '3]', '30]');
  await book.expectBadges({ start: 'edited', gen: 'upstream', grow: 'upstream', show: 'upstream' });
  await page.menu.clickMenuItem('Run>Replay All Stale Cells');
  await agree(book);
  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 60_000 });
  await expect(book.output('show')).toHaveText(/4 \{'sum': 37\}/);

  // The state is again that of the four runs before; the text on the page is not.
  await book.strip.getByRole('button', { name: 'Undo replay' }).click();
  await expect(book.strip).toContainText('Restored the state after');
  await book.run('show');
  await expect(book.output('show')).toHaveText(/4 \{'sum': 10\}/);
});

test('a kernel that dies in the middle of a replay: the report says so, and a replay takes it up again', async ({
  page
}) => {
  const book = await open(page, [
    { id: 'set', source: 'x = 1' },
    { id: 'die', source: 'import os\nif os.path.exists("go"):\n    os.remove("go")\n    os._exit(1)\ny = x + 1' },
    { id: 'show', source: 'print(y)' }
  ]);
  await book.turnAuditOn();
  await book.runAll();
  await book.typeOver('set', '1', '7');
  letGo(book);
  await book.clickInCell('set', 'nbrewind:replay-from-cell');
  await agree(book);
  await expect(book.strip).toContainText('the kernel died or was restarted meanwhile', { timeout: 60_000 });
  await book.dialog.getByRole('button', { name: 'Ok' }).click();
  await book.waitUntilIdle();
  await book.expectBadges({ set: 'not run', die: 'not run', show: 'not run' });
  await book.clickInCell('set', 'nbrewind:replay-from-cell');
  await agree(book);
  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 60_000 });
  await expect(book.output('show')).toHaveText('8');
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
    { id: 'wait', source: WAIT },
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
  letGo(book);
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.run('show');
  await expect(book.output('show')).toHaveText('1');
});

test('a replay that is cancelled stops after the last cell that ended, and can be taken up again', async ({ page }) => {
  const book = await open(page, [...WAITING, { id: 'show', source: 'print(y)' }]);
  await replayUntilWaiting(book);
  await book.strip.getByRole('button', { name: 'Cancel' }).click();
  await expect(book.strip).toHaveAttribute('data-kind', 'cancelled');
  await expect(book.badge('wait')).toHaveText(/failed/);

  letGo(book);
  await book.clickInCell('wait', 'nbrewind:replay-from-cell');
  await agree(book);
  await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 60_000 });
  await expect(book.output('show')).toHaveText('2');
});

test('audit stays on over "Restart Kernel and Run All", and records every cell of it', async ({ page }) => {
  const book = await open(page, WALK);
  await book.turnAuditOn();
  await book.runAll();
  await book.command('runmenu:restart-and-run-all');
  await book.dialog.getByRole('button', { name: 'Confirm Kernel Restart' }).click();
  await expect(book.dialog).toHaveCount(0);
  await book.expectBadges({});
  await expect(book.audit).toHaveAttribute('aria-pressed', 'true');
  // Two recorded runs of each cell: one before the restart, one after.
  await book.select('start');
  await book.command('nbrewind:restore-run');
  await expect(book.dialog.getByRole('radio')).toHaveCount(2);
});

test('a notebook that is closed in the middle of a replay leaves the kernel as it was before', async ({ page }) => {
  const book = await open(page, WAITING);
  await replayUntilWaiting(book);
  await page.evaluate(async path => {
    const app = (window as any).jupyterapp;
    const panel = [...app.shell.widgets('main')].find((widget: any) => widget.context?.path === path) as any;
    await panel.context.save();
    panel.dispose();
  }, book.path);
  letGo(book);
  const again = await reopen(page, book.path, WAITING);
  await expect(again.audit).toHaveAttribute('aria-pressed', 'true');
  await again.run('wait');
  await expect(again.badge('wait')).toHaveCount(0);
});

test('two notebooks: each has its own audit, and the button says so also behind another tab', async ({ page }) => {
  const first = await open(page, WALK);
  await first.turnAuditOn();
  await first.runAll();
  const second = await open(page, WALK);
  await expect(second.audit).toHaveAttribute('aria-pressed', 'false');
  // Both are on the page, one behind the other; each button speaks of its own notebook.
  const buttons = page.locator('.jp-NotebookPanel-toolbar [data-command="nbrewind:toggle-audit"]');
  await expect(buttons).toHaveCount(2);
  const pressed = async () => Promise.all([0, 1].map(at => buttons.nth(at).getAttribute('aria-pressed')));
  await expect.poll(async () => (await pressed()).sort()).toEqual(['false', 'true']);
});

test('a page that is loaded again in the middle of a replay says so, and ends it', async ({ page }) => {
  const book = await open(page, WAITING);
  await replayUntilWaiting(book);
  await loadAgain(page);
  letGo(book);
  const again = await reopen(page, book.path, WAITING);
  await expect(again.strip).toContainText('A replay that this page did not start');
  await again.strip.getByRole('button', { name: 'End it' }).click();
  await expect(again.strip).toBeHidden();
  await again.run('wait');
  await expect(again.badge('wait')).toHaveCount(0);
  await expect(again.audit).toHaveAttribute('aria-pressed', 'true');
});
