/** Pictures for the README, of the real thing. `make screenshots` writes docs/images. */

import { mkdirSync } from 'fs';
import { join } from 'path';

import { demoCells, expect, open, pageTest as test } from './notebook';

const FOLDER = join(__dirname, '..', 'docs', 'images');
const CELLS = demoCells('climate', [
  ['make-data', 'N_ROWS = 24_000_000', 'N_ROWS = 400_000'],
  ['make-data', 'N_REGIONS = 2_500', 'N_REGIONS = 100']
]);
// The cells that the reader of the picture looks at come first; the data is there already.
const SHOWN = CELLS.slice(1);

test.use({ viewport: { width: 1180, height: 1010 } });

for (const theme of ['light', 'dark']) {
  test(`pictures, ${theme}`, async ({ page }) => {
    mkdirSync(FOLDER, { recursive: true });
    if (theme === 'dark') {
      await page.theme.setDarkTheme();
    }
    const picture = (name: string) => page.screenshot({ path: join(FOLDER, `${name}-${theme}.png`) });
    const book = await open(page, [...SHOWN.slice(0, 1), ...SHOWN.slice(1)], { name: 'climate.ipynb' });
    await page.sidebar.close('left');
    // Made before the notebook is looked at, in a run of its own.
    await page.evaluate(
      async ([path, code]) => {
        const app = (window as any).jupyterapp;
        const panel = [...app.shell.widgets('main')].find((widget: any) => widget.context?.path === path) as any;
        await panel.sessionContext.session.kernel.requestExecute({ code, silent: true, store_history: false }).done;
      },
      [book.path, `exec(compile(${JSON.stringify(CELLS[0].source)}, 'make-data', 'exec'), {})`] as const
    );
    await book.restartKernel();
    await book.turnAuditOn();
    await book.runAll();

    await book.typeOver('c2', '0.1 * row', '0.2 * row');
    await book.expectBadges({ c2: 'edited', c3: 'upstream' });
    await book.cell('c3').scrollIntoViewIfNeeded();
    await book.badge('c3').hover();
    await expect(book.note).toBeVisible();
    await picture('badges');

    await book.clickInCell('c2', 'nbrewind:replay-from-cell');
    await expect(book.dialog).toContainText('1 cell executes', { timeout: 60_000 });
    await page.mouse.move(600, 900);
    await picture('preview');
    await book.dialog.getByRole('button', { name: 'Replay', exact: true }).click();
    await expect(book.strip).toHaveAttribute('data-kind', 'done', { timeout: 120_000 });

    await book.restartKernel();
    await book.clickInCell('c2', 'nbrewind:restore-to-cell');
    await expect(book.strip).toContainText('Restored the state after', { timeout: 90_000 });
    await book.strip.getByRole('button', { name: 'Details' }).click();
    await expect(book.dialog.getByRole('row', { name: /client/ })).toBeVisible();
    await picture('restored');
    await book.dialog.getByRole('button', { name: 'Close' }).click();

    await page.setViewportSize({ width: 700, height: 800 });
    // The prompt goes above the text, and the badge beside it.
    await expect(book.badge('c2')).toHaveCSS('justify-content', 'flex-start');
    await page.screenshot({ path: join(FOLDER, '..', '..', '.build', `narrow-${theme}.png`) });
  });
}
