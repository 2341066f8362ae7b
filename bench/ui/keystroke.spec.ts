/**
 * Keystroke to badge on a notebook of 300 cells, in a real browser on a real kernel.
 *
 * A character is typed into the first cell; the clock runs from the browser's own `keydown` to the change of a badge in the
 * document: the next cell's, and the last one's, 299 dependences away. Then the character is taken back. Prints a table and
 * writes docs/bench/ui.md. `make bench-ui`
 */

import { mkdirSync, writeFileSync } from 'fs';
import { cpus } from 'os';
import { join } from 'path';

import { expect, open, SETTINGS, pageTest as test } from '../../ui-tests/notebook';

const N_CELLS = 300;
const N_KEYS = 60;

const CELLS = Array.from({ length: N_CELLS }, (_, at) => ({
  id: `c${at}`,
  source:
    at === 0
      ? 'table0 = {"a": 1}'
      : [
          `def step${at}(rows, factor=${at}):`,
          `    """Another column."""`,
          `    kept = {key: value * factor for key, value in rows.items() if value is not None}`,
          `    return dict(kept, c${at}=len(kept))`,
          ``,
          `table${at} = step${at}(table${at - 1})`,
          `names${at} = sorted(table${at})[:5]`
        ].join('\n')
}));

interface ITiming {
  near: number;
  far: number;
}

// As JupyterLab comes: cells that are out of view are not drawn.
test.use({
  mockSettings: {
    ...SETTINGS,
    '@jupyterlab/notebook-extension:tracker': {
      ...SETTINGS['@jupyterlab/notebook-extension:tracker'],
      windowingMode: 'contentVisibility'
    }
  }
});

test('keystroke to badge in a notebook of 300 cells', async ({ page }) => {
  test.setTimeout(600_000);
  const book = await open(page, CELLS);
  // All cells have widgets, and those a place in the page, only after a while.
  await page.waitForFunction(
    n => (window as any).jupyterapp.shell.currentWidget.content.widgets.length === n,
    N_CELLS,
    { timeout: 120_000 }
  );
  await book.command('notebook:run-all-cells');
  await page.waitForFunction(
    () =>
      (window as any).jupyterapp.shell.currentWidget.content.widgets.every((cell: any) => {
        const badge = cell.node.querySelector('.jp-NBRewind-badge');
        return cell.model.executionCount !== null && badge !== null && badge.hidden;
      }),
    undefined,
    { timeout: 300_000 }
  );
  await page.evaluate(() => (window as any).jupyterapp.shell.currentWidget.content.scrollToItem(0));
  await book.enter('c0');
  await page.keyboard.press('Control+End');

  // Clock and observer are in the page, so that the way through the test's own connection is not measured.
  await page.evaluate(() => {
    const cells = (window as any).jupyterapp.shell.currentWidget.content.widgets;
    const badgeOf = (at: number): Element => cells[at].node.querySelector('.jp-NBRewind-badge');
    const clock = ((window as any).clock = { timings: [] as any[], start: 0, near: 0, far: 0, longest: 0 });
    document.addEventListener(
      'keydown',
      () => Object.assign(clock, { start: performance.now(), near: 0, far: 0 }),
      true
    );
    const watch = (node: Element, what: 'near' | 'far') =>
      new MutationObserver(() => {
        if (clock.start > 0 && clock[what] === 0) {
          clock[what] = performance.now() - clock.start;
          if (clock.near > 0 && clock.far > 0) {
            clock.timings.push({ near: clock.near, far: clock.far });
            clock.start = 0;
          }
        }
      }).observe(node, { attributes: true, attributeFilter: ['data-state'] });
    watch(badgeOf(1), 'near');
    watch(badgeOf(cells.length - 1), 'far');
    new PerformanceObserver(list =>
      list.getEntries().forEach(entry => (clock.longest = Math.max(clock.longest, entry.duration)))
    ).observe({ entryTypes: ['longtask'] });
  });

  const read = () => page.evaluate(() => (window as any).clock.timings as ITiming[]);
  for (let n = 0; n < N_KEYS; n++) {
    await page.keyboard.press(n % 2 === 0 ? '2' : 'Backspace');
    await expect.poll(async () => (await read()).length, { intervals: [20] }).toBe(n + 1);
  }
  const timings = (await read()).slice(2);
  const longest = await page.evaluate(() => (window as any).clock.longest as number);

  const at = (values: number[], share: number) =>
    [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))];
  const row = (what: string, values: number[]) =>
    `| ${what} | ${at(values, 0.5).toFixed(1)} | ${at(values, 0.9).toFixed(1)} | ${at(values, 1).toFixed(1)} |`;
  const table = [
    '# Keystroke to badge',
    '',
    `A notebook of ${N_CELLS} cells, each reading the one before it; a character is typed into the first cell and taken back,`,
    `${timings.length} times. From the browser's \`keydown\` to the change of the badge in the document. Chromium ${page
      .context()
      .browser()!
      .version()}, ${cpus().length} cores, software rendering.`,
    '',
    '| badge of | p50 ms | p90 ms | max ms |',
    '|---|---|---|---|',
    row(
      'the next cell',
      timings.map(one => one.near)
    ),
    row(
      'the last cell, 299 dependences away',
      timings.map(one => one.far)
    ),
    '',
    `Longest task on the page's own thread while typing: ${longest.toFixed(0)} ms (0: none above 50 ms). Made by \`make bench-ui\`.`,
    ''
  ].join('\n');
  console.log(table);
  const folder = join(__dirname, '..', '..', 'docs', 'bench');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'ui.md'), table);
});
