/** What still works when a part is missing, and what the buttons say then. */

import { expect, open, test } from '../notebook';

const CELLS = [
  { id: 'set', source: 'x = 1' },
  { id: 'show', source: 'print(x)' }
];

test('a Python kernel without NBRewind: badges work, the buttons say what to install', async ({ page }) => {
  const book = await open(page, CELLS, { kernel: 'without-nbrewind' });
  await book.expectBadges({ set: 'not run', show: 'not run' });
  await book.runAll();
  await book.expectBadges({});
  await book.typeOver('set', '1', '2');
  await book.expectBadges({ set: 'edited', show: 'upstream' });

  await book.audit.click();
  await expect(book.strip).toContainText('NBRewind is not installed where this kernel runs');
  await expect(book.strip).toContainText('pip install nbrewind');
  await expect(book.audit).toHaveAttribute('aria-pressed', 'false');
  await expect(book.audit).toHaveAttribute('title', /not installed where this kernel runs/);
  // The namespace is as it was.
  await book.run('set');
  await book.run('show');
  await expect(book.output('show')).toHaveText('2');
});

test('a kernel of another language: nothing is marked, and the buttons say why', async ({ page }) => {
  const book = await open(page, [{ id: 'sum', source: '1 2 3' }], { kernel: 'calculator', language: 'calculator' });
  await book.run('sum');
  await expect(book.output('sum')).toHaveText('6.0');
  await book.expectBadges({});
  await expect(book.audit).toHaveAttribute('aria-disabled', 'true');
  await expect(book.audit).toHaveAttribute('title', /Python kernels; this one runs calculator/);
});

test('without our server extension: everything works that has a kernel', async ({ page }) => {
  await page.route('**/nbrewind/**', (route, request) =>
    request.url().includes('/nbrewind/runs') ? route.fulfill({ status: 404, body: 'Not Found' }) : route.continue()
  );
  const book = await open(page, CELLS);
  await book.turnAuditOn();
  await book.runAll();
  await book.clickInCell('set', 'nbrewind:restore-to-cell');
  await expect(book.strip).toContainText('Restored the state after [1]');
  await book.expectBadges({ set: 'replayed', show: 'ahead' });
  await page.unroute('**/nbrewind/**');
});
