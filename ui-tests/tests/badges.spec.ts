/** Badges while typing: they come, say why, lead to the cause, and go. */

import { writeFileSync } from 'fs';
import { join } from 'path';

import { expect, loadAgain, open, reopen, test } from '../notebook';

const CHAIN = [
  { id: 'load', source: 'rows = [3, 1, 2]' },
  { id: 'sort', source: 'ordered = sorted(rows)' },
  { id: 'other', source: 'title = "Readings"' },
  { id: 'show', source: 'print(title, ordered)' }
];

const NOT_RUN = Object.fromEntries(CHAIN.map(cell => [cell.id, 'not run']));

test('a badge appears while typing, says why, and goes with undo', async ({ page }) => {
  const book = await open(page, CHAIN);
  await book.expectBadges(NOT_RUN);
  await book.runAll();
  await book.expectBadges({});

  await book.typeOver('load', '2]', '5, 4]');
  await book.expectBadges({ load: 'edited', sort: 'upstream', show: 'upstream' });
  await expect(book.badge('sort')).toHaveAttribute('aria-label', /`rows` .*edited/);

  // The reason is shown on hover, and leads to the cell that was edited.
  await book.badge('sort').hover();
  await expect(book.note).toContainText('rows');
  await book.note.getByRole('button', { name: 'Go to [1]' }).click();
  await expect(book.cell('load')).toHaveClass(/jp-mod-active/);
  await expect(book.note).toHaveCount(0);

  // Undo takes the edit back, and with it every badge.
  await book.enter('load');
  await expect
    .poll(async () => {
      await page.keyboard.press('Control+z');
      return book.badges();
    })
    .toEqual({});
});

test('the analysis is told in which line somebody is about to type', async ({ page }) => {
  // What is sent to the worker, which is made when a notebook opens.
  await page.evaluate(() => {
    const told: number[][] = ((window as any).told = []);
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (this: Worker, message: any, ...rest: any[]) {
      if (message?.do === 'expect') {
        told.push([message.at, message.line]);
      }
      return (post as any).call(this, message, ...rest);
    };
  });
  const told = () => page.evaluate(() => (window as any).told.at(-1));
  const book = await open(page, [
    { id: 'a', source: 'x = 1\ny = 2' },
    { id: 'b', source: 'print(x, y)' }
  ]);
  await book.runAll();
  await book.enter('a');
  await page.keyboard.press('Control+Home');
  await expect.poll(told).toEqual([0, 1]);
  await page.keyboard.press('ArrowDown');
  await expect.poll(told).toEqual([0, 2]);
  await page.keyboard.press('End');
  await page.keyboard.type('3');
  await book.expectBadges({ a: 'edited', b: 'upstream' });
  await book.enter('b');
  await expect.poll(told).toEqual([1, 1]);
});

test('a cell that ran again with another text makes its readers stale until they run', async ({ page }) => {
  const book = await open(page, CHAIN);
  await book.runAll();
  await book.typeOver('load', '2]', '5]');
  await book.run('load');
  await book.expectBadges({ sort: 'stale', show: 'stale' });
  await expect(book.badge('sort')).toHaveAttribute('aria-label', /\[5\].*\[2\]/);
  await book.run('sort');
  await book.expectBadges({ show: 'stale' });
  await book.run('show');
  await book.expectBadges({});
});

test('a helper edited late: its callers are marked, and each note says which cell it was', async ({ page }) => {
  const book = await open(page, [
    { id: 'helper', source: 'def clean(rows): return sorted(rows)' },
    { id: 'data', source: 'rows = [3, 1, 2]' },
    { id: 'use', source: 'tidy = clean(rows)' },
    { id: 'show', source: 'print(tidy)' }
  ]);
  await book.runAll();
  await book.typeOver('helper', 'sorted(rows)', 'rows[::-1]');
  await book.expectBadges({ helper: 'edited', use: 'upstream', show: 'upstream' });
  await book.badge('use').hover();
  await expect(book.note).toContainText('clean comes from cell [1], which was edited and has not run since.');
  await book.run('helper');
  await book.expectBadges({ use: 'stale', show: 'stale' });
});

test('ran twice, and used after its cell was deleted: each has words of its own', async ({ page }) => {
  const book = await open(page, [
    { id: 'rows', source: 'rows = [3, 1, 2]' },
    { id: 'grow', source: 'rows.append(9)' },
    { id: 'limit', source: 'limit = 2' },
    { id: 'count', source: 'print(limit)' }
  ]);
  await book.runAll();
  await book.run('grow');
  await book.expectBadges({ grow: 'stale' });
  await book.badge('grow').hover();
  await expect(book.note).toContainText('Ran twice on what it changes');
  await expect(book.note).toContainText('This cell ran at [5] on rows that its run at [2] had already changed.');
  // The cell is gone, its name is not.
  await book.select('limit');
  await page.keyboard.press('d');
  await page.keyboard.press('d');
  const count = book.panel.locator('.jp-CodeCell', { hasText: 'print(limit)' }).locator('.jp-NBRewind-badge');
  await expect(count).toHaveAttribute('aria-label', /^Uses a name of a deleted cell\. .*`limit = 2`/);
});

test('what code that nothing sees through may have changed is marked as unknown, and the note says so', async ({
  page
}) => {
  const book = await open(page, [
    { id: 'exec', source: "exec('k = ' + '1')" },
    { id: 'use', source: 'print(k)' }
  ]);
  await book.runAll();
  await book.expectBadges({});
  await book.run('exec');
  await book.expectBadges({ use: 'unknown' });
  await book.badge('use').hover();
  await expect(book.note).toContainText('Cannot be told from the text');
  await expect(book.note).toContainText('k may be changed in cell [3], which runs code that cannot be seen through');
  await book.run('use');
  await book.expectBadges({});
});

test('with the keyboard alone: next stale cell, its reason, the jump, and back', async ({ page }) => {
  const book = await open(page, CHAIN);
  await book.runAll();
  await book.typeOver('load', '2]', '5]');
  await book.run('load');
  await book.expectBadges({ sort: 'stale', show: 'stale' });
  await book.select('load');
  await page.keyboard.press(']');
  await page.keyboard.press('s');
  await expect(book.cell('sort')).toHaveClass(/jp-mod-active/);
  await page.keyboard.press(']');
  await page.keyboard.press('w');
  await expect(book.note).toContainText('rows');
  await expect(book.note.getByRole('button').first()).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(book.note).toHaveCount(0);
  await expect(book.badge('sort')).toBeFocused();
});

test('without any kernel every cell is marked as not run, and typing in one changes no other', async ({ page }) => {
  const book = await open(page, CHAIN, { noKernel: true, kernel: null });
  await book.expectBadges(NOT_RUN);
  await book.typeOver('other', 'Readings', 'Other readings');
  await expect(book.cell('other').locator('.cm-content')).toContainText('Other readings');
  await book.expectBadges(NOT_RUN);
  // An empty cell asks for nothing.
  await book.typeOver('other', 'title = "Other readings"', ' ');
  await book.expectBadges({ load: 'not run', sort: 'not run', show: 'not run' });
});

test('a page that is loaded again on a live kernel knows what ran', async ({ page }) => {
  const book = await open(page, CHAIN);
  await book.runAll();
  await book.command('docmanager:save');
  await expect(book.panel.locator('.jp-mod-dirty')).toHaveCount(0);
  await loadAgain(page);
  const again = await reopen(page, book.path, CHAIN);
  await again.expectBadges({});
  await again.typeOver('load', '2]', '5]');
  await again.expectBadges({ load: 'edited', sort: 'upstream', show: 'upstream' });
});

test('a kernel restart makes every cell not run, and outputs stay', async ({ page }) => {
  const book = await open(page, CHAIN);
  await book.runAll();
  await book.restartKernel();
  await book.expectBadges(NOT_RUN);
  await expect(book.output('show')).toHaveText(/Readings/);
});

test('a long notebook in full windowing mode marks cells far below', async ({ page }) => {
  const cells = Array.from({ length: 60 }, (_, at) => ({
    id: `c${at}`,
    source: at === 0 ? 'x0 = 1' : `x${at} = x${at - 1} + 1\nprint(x${at})`
  }));
  const book = await open(page, cells);
  await page.evaluate(() => {
    const app = (window as any).jupyterapp;
    const panel = app.shell.currentWidget;
    panel.content.notebookConfig = { ...panel.content.notebookConfig, windowingMode: 'full' };
  });
  await page.evaluate(path => {
    const app = (window as any).jupyterapp;
    const panel = [...app.shell.widgets('main')].find((widget: any) => widget.context?.path === path) as any;
    void panel.content.scrollToItem(59);
  }, book.path);
  const last = book.panel.locator('.jp-CodeCell', { hasText: 'print(x59)' }).locator('.jp-NBRewind-badge');
  await expect(last).toHaveText(/not run/);
  await expect(last).toBeInViewport();
});

test('the jump to a cell under a collapsed heading opens the heading', async ({ page }) => {
  const book = await open(page, [
    { id: 'rows', source: 'rows = [3]' },
    { id: 'part', source: '# Results', isMarkdown: true },
    { id: 'show', source: 'print(rows)' }
  ]);
  await book.runAll();
  await book.typeOver('rows', '3', '5');
  await book.select('part');
  await book.command('notebook:toggle-heading-collapse');
  await expect(book.cell('show')).toBeHidden();
  await book.select('rows');
  await book.command('nbrewind:next-stale');
  await expect(book.cell('show')).toBeVisible();
  await expect(book.cell('show')).toHaveClass(/jp-mod-active/);
  await expect(book.badge('show')).toHaveText(/upstream/);
});

test('a file that something else changed marks the cells that read it, with its name, until it is as it was', async ({
  page
}) => {
  const book = await open(page, [
    { id: 'read', source: "rows = open('data.csv').read().split()" },
    { id: 'count', source: 'print(len(rows))' },
    { id: 'other', source: 'title = "Readings"' }
  ]);
  const data = join(book.folder, 'data.csv');
  writeFileSync(data, '3 1 2');
  await book.turnAuditOn();
  await book.runAll();
  await book.expectBadges({});
  writeFileSync(data, '3 1 2 7');
  // As when the user comes back from an editor.
  await page.evaluate(() => window.dispatchEvent(new Event('focus')));
  await book.expectBadges({ read: 'stale', count: 'stale' });
  await book.badge('read').hover();
  await expect(book.note).toContainText('Depends on something outside the notebook');
  await expect(book.note).toContainText('data.csv changed outside the notebook since this cell ran at [1].');
  await book.run('read');
  await book.run('count');
  await book.expectBadges({});
});
