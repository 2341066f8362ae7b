/**
 * The first verdicts after a page was loaded, in a real browser: from the moment that a notebook opens, when there is no
 * worker and no module yet, until they are there. For notebooks that ran, and for notebooks that did not.
 *
 * All clocks are the page's own. Prints a table and writes docs/bench/first.md. `make bench-ui`
 */

import { writeFileSync } from 'fs';
import { cpus } from 'os';
import { join } from 'path';

import { expect, open, reopen, loadAgain, SETTINGS, pageTest as test, type Book } from '../../ui-tests/notebook';

/** Blocks of cells that load, select and sum up, so that most depend on a few others. */
const cellsOf = (n: number) =>
  Array.from({ length: n }, (_, at) => {
    const block = Math.floor(at / 4);
    const sources = [
      `rows_${block} = [{'run': n % 3, 'value': n * 0.5} for n in range(20)]\nlimit_${block} = ${block}.5`,
      `def select_${block}(rows, threshold=limit_${block}):\n    """Keep what is above the threshold."""\n    kept = [row for row in rows if row['value'] > threshold]\n    return sorted(kept, key=lambda row: row['run'])`,
      `chosen_${block} = select_${block}(rows_${block})\nfor row in chosen_${block}:\n    row['weight'] = row['value'] * 2.0`,
      `totals_${block} = {run: sum(row['weight'] for row in chosen_${block} if row['run'] == run) for run in range(3)}\nbest_${block} = max(totals_${block}, key=totals_${block}.get)`
    ];
    return { id: `c${at}`, source: sources[at % 4] };
  });

interface IWatch {
  /** When the worker was begun. */
  begun: number;
  /** When the worker said that it and its module are there. */
  loaded: number;
  answers: {
    asked: number;
    answered: number;
    nVerdicts: number;
    nFresh: number;
  }[];
  /** Long tasks on the page's own thread. */
  tasks: { start: number; duration: number }[];
}

/** Look over the shoulder of the page's workers from now on, page loads included. */
async function watch(book: { page: Book['page'] }): Promise<void> {
  await book.page.addInitScript(() => {
    const seen: IWatch = { begun: 0, loaded: 0, answers: [], tasks: [] };
    (window as any).seen = seen;
    new PerformanceObserver(list =>
      list.getEntries().forEach(({ startTime, duration }) => seen.tasks.push({ start: startTime, duration }))
    ).observe({ entryTypes: ['longtask'] });
    const asked = new Map<number, number>();
    class Watched extends Worker {
      constructor(url: string | URL, options?: WorkerOptions) {
        const now = performance.now();
        super(url, options);
        this.addEventListener('message', ({ data }) => {
          if (!asked.has(data.id)) {
            return;
          }
          const at = performance.now();
          if (data.id === 0) {
            seen.begun = now;
            seen.loaded = at;
          } else if (data.verdicts) {
            const nFresh = data.verdicts.filter((one: any) => one.state === 'fresh').length;
            seen.answers.push({
              asked: asked.get(data.id)!,
              answered: at,
              nVerdicts: data.verdicts.length,
              nFresh
            });
          }
        });
      }

      postMessage(message: any, more?: any): void {
        if (message && typeof message === 'object' && 'notebook' in message) {
          asked.set(message.id, performance.now());
        }
        super.postMessage(message, more);
      }
    }
    window.Worker = Watched;
  });
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

const rows: string[] = [];

for (const n of [300, 1000]) {
  for (const hasRun of [false, true]) {
    test(`first verdicts of ${n} cells that ${hasRun ? 'ran' : 'did not run'}`, async ({ page }) => {
      test.setTimeout(900_000);
      const cells = cellsOf(n);
      let book = await open(page, cells, { noKernel: !hasRun });
      if (hasRun) {
        await book.turnAuditOn();
        await book.command('notebook:run-all-cells');
        await page.waitForFunction(
          () =>
            (window as any).jupyterapp.shell.currentWidget.content.widgets.every(
              (cell: any) => cell.model.executionCount !== null
            ),
          undefined,
          { timeout: 600_000 }
        );
        await book.waitUntilIdle();
        await book.command('docmanager:save');
      }
      const modules: string[] = [];
      page.on('response', response => {
        if (response.url().includes('.wasm')) {
          modules.push(response.headers()['content-type']);
        }
      });
      await watch(book);
      await loadAgain(page);
      book = await reopen(page, book.path, cells, { noKernel: !hasRun });
      // Of a notebook that ran, the runs come from the kernel.
      await page.waitForFunction(
        ([n, hasRun]) =>
          ((window as any).seen as IWatch).answers.some(one => one.nVerdicts === n && (!hasRun || one.nFresh === n)),
        [n, hasRun] as const,
        { timeout: 120_000 }
      );
      const seen = await page.evaluate(() => (window as any).seen as IWatch);
      const whole = seen.answers.filter(one => one.nVerdicts === n);
      const last = whole.find(one => !hasRun || one.nFresh === n)!;
      const during = seen.tasks.filter(task => task.start + task.duration > seen.begun && task.start < last.answered);
      // Only then is the module compiled while it comes in.
      expect([...new Set(modules)]).toEqual(['application/wasm']);
      const numbers = [
        seen.loaded - seen.begun,
        whole[0].answered - whole[0].asked,
        whole[0].answered - seen.begun,
        ...(hasRun ? [last.answered - last.asked] : [])
      ].map(value => value.toFixed(0));
      const longest = Math.max(0, ...during.map(task => task.duration)).toFixed(0);
      rows.push(
        `| ${n}, ${hasRun ? 'all ran' : 'none ran'} | ${numbers[0]} | ${numbers[1]} | ${numbers[2]} | ${numbers[3] ?? ''} | ${longest} |`
      );
    });
  }
}

test.afterAll(async ({ browser }) => {
  const table = [
    '# The first verdicts after a page was loaded',
    '',
    'JupyterLab is loaded anew and a notebook is opened. A worker is started when its panel is made, and the module is fetched and compiled while it',
    `comes in; the notebook asks when its content is there. Chromium ${browser.version()}, ${cpus().length} cores.`,
    '',
    '| cells | worker and module ms | first question to verdicts | from the start of the worker | with all runs | longest task on the page ms |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    "Everything but asking happens in the worker. The clocks are the page's, which hears answers only when it has time: the longest task is what JupyterLab",
    'itself does with the page meanwhile (0: none above 50 ms).',
    'Made by `make bench-ui`.',
    ''
  ].join('\n');
  console.log(table);
  // A part of the table is not the table.
  if (rows.length === 4) {
    writeFileSync(join(__dirname, '..', '..', 'docs', 'bench', 'first.md'), table);
  }
});
