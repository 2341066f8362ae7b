/**
 * A notebook as its reader sees it: cells by id, badges by what they say, buttons by their names. The only file that
 * knows how JupyterLab's page is built.
 */

import { expect, galata, test as base, type IJupyterLabPageFixture } from '@jupyterlab/galata';
import type { Locator } from '@playwright/test';
import { mkdtempSync, readFileSync, writeFileSync } from 'fs';
import { basename, dirname, join } from 'path';

export { expect };

const ROOT = process.env.NBREWIND_UI_ROOT!;

export interface ITextCell {
  id: string;
  source: string;
  tags?: string[];
  isMarkdown?: boolean;
}

/** Settings with which every story runs; stories of long notebooks choose their own windowing mode. */
export const SETTINGS = {
  ...galata.DEFAULT_SETTINGS,
  '@jupyterlab/notebook-extension:tracker': {
    ...(galata.DEFAULT_SETTINGS['@jupyterlab/notebook-extension:tracker'] ?? {}),
    windowingMode: 'none'
  },
  // A notebook that differs from its file must not ask anything when it is closed.
  '@jupyterlab/docmanager-extension:plugin': { autosave: false }
};

// The folders of the notebooks that the story at hand opened.
let folders: string[] = [];

/** An open notebook. */
export class Book {
  constructor(
    readonly page: IJupyterLabPageFixture,
    readonly path: string,
    private readonly cells: ITextCell[]
  ) {}

  /** The folder of the notebook on disk. */
  get folder(): string {
    return dirname(join(ROOT, this.path));
  }

  get panel(): Locator {
    return this.page.locator('.jp-NotebookPanel:not(.lm-mod-hidden)');
  }

  cell(id: string): Locator {
    return this.panel.locator('.jp-Notebook .jp-Cell').nth(this.at(id));
  }

  badge(id: string): Locator {
    return this.cell(id).locator('.jp-NBRewind-badge:not([hidden])');
  }

  get strip(): Locator {
    return this.panel.locator('.jp-NBRewind-strip');
  }

  get note(): Locator {
    return this.page.locator('.jp-NBRewind-note:not([hidden])');
  }

  get dialog(): Locator {
    return this.page.locator('.jp-Dialog');
  }

  get audit(): Locator {
    return this.panel.locator('.jp-NotebookPanel-toolbar [data-command="nbrewind:toggle-audit"]');
  }

  output(id: string): Locator {
    return this.cell(id).locator('.jp-OutputArea-output');
  }

  /** The words on all badges, by cell id; cells without one are left out. */
  async badges(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    for (const { id } of this.cells) {
      // At once: a badge that goes while it is looked at is none.
      const [word] = await this.badge(id).allInnerTexts();
      if (word !== undefined) {
        found[id] = word.trim();
      }
    }
    return found;
  }

  async expectBadges(expected: Record<string, string>): Promise<void> {
    await expect.poll(() => this.badges(), { timeout: 20_000 }).toEqual(expected);
  }

  /** Wait until no cell has a badge; quicker than `expectBadges({})` on long notebooks. */
  async expectBadgeless(): Promise<void> {
    await expect(this.panel.locator('.jp-NBRewind-badge:not([hidden])')).toHaveCount(0, { timeout: 120_000 });
  }

  /** Click into a cell's text. */
  async enter(id: string): Promise<void> {
    await this.cell(id).locator('.cm-content').click();
  }

  /** Make a cell the active one, by its prompt, so that the text keeps its cursor. */
  async select(id: string): Promise<void> {
    await this.cell(id)
      .locator('.jp-InputPrompt')
      .first()
      .click({ position: { x: 10, y: 8 } });
  }

  /** Find `old` in the cell's text and type `text` over it, key by key. */
  async typeOver(id: string, old: string, text: string): Promise<void> {
    await this.enter(id);
    await this.page.evaluate(
      ([path, at, old]) => {
        const app = (window as any).jupyterapp;
        const panel = [...app.shell.widgets('main')].find((widget: any) => widget.context?.path === path) as any;
        const editor = panel.content.widgets[at as number].editor;
        const source: string = panel.content.widgets[at as number].model.sharedModel.getSource();
        const start = source.indexOf(old as string);
        if (start < 0) {
          throw new Error(`${old} is not in cell ${at}`);
        }
        editor.setSelection({
          start: editor.getPositionAt(start),
          end: editor.getPositionAt(start + (old as string).length)
        });
        editor.focus();
      },
      [this.path, this.at(id), old] as const
    );
    await this.page.keyboard.type(text);
  }

  /** Run one cell as with Ctrl+Enter and wait until it ended. */
  async run(id: string): Promise<void> {
    await this.start(id);
    await this.waitForRun(id);
  }

  /** Begin to run one cell. */
  async start(id: string): Promise<void> {
    await this.select(id);
    await this.page.keyboard.press('Control+Enter');
  }

  async waitForRun(id: string): Promise<void> {
    await expect(this.prompt(id)).toHaveText(/\[\d+\]:/, { timeout: 120_000 });
  }

  prompt(id: string): Locator {
    return this.cell(id).locator('.jp-InputPrompt').first();
  }

  async runAll(): Promise<void> {
    await this.command('notebook:run-all-cells');
    for (const { id } of this.cells.filter(cell => !cell.isMarkdown)) {
      await this.waitForRun(id);
    }
  }

  /** Run a command as the palette would. */
  async command(id: string, args: Record<string, unknown> = {}): Promise<void> {
    await this.page.evaluate(([id, args]) => void (window as any).jupyterapp.commands.execute(id, args), [
      id,
      args
    ] as const);
  }

  /** Click a button of the active cell's toolbar. */
  async clickInCell(id: string, command: string): Promise<void> {
    await this.select(id);
    await this.cell(id).locator(`.jp-cell-toolbar [data-command="${command}"]`).click();
  }

  async restartKernel(): Promise<void> {
    await this.command('notebook:restart-kernel');
    await this.dialog.getByRole('button', { name: 'Confirm Kernel Restart' }).click();
    await expect(this.dialog).toHaveCount(0);
    await this.waitUntilIdle();
  }

  /** Wait until the kernel answers and has nothing to do. */
  async waitUntilIdle(): Promise<void> {
    await this.page.waitForFunction(
      path => {
        const app = (window as any).jupyterapp;
        const panel = [...app.shell.widgets('main')].find((widget: any) => widget.context?.path === path) as any;
        const kernel = panel?.sessionContext.session?.kernel;
        return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
      },
      this.path,
      { timeout: 90_000 }
    );
  }

  async turnAuditOn(): Promise<void> {
    await expect(this.audit).toBeEnabled();
    if ((await this.audit.getAttribute('aria-pressed')) !== 'true') {
      await this.audit.click();
    }
    await expect(this.audit).toHaveAttribute('aria-pressed', 'true', { timeout: 60_000 });
  }

  private at(id: string): number {
    const at = this.cells.findIndex(cell => cell.id === id);
    if (at < 0) {
      throw new Error(`there is no cell ${id}`);
    }
    return at;
  }
}

/** Write a notebook of code cells into a folder of its own and open it, with a kernel unless told otherwise. */
export async function open(
  page: IJupyterLabPageFixture,
  cells: ITextCell[],
  { kernel = 'python3' as string | null, name = 'book.ipynb', language = 'python', noKernel = false } = {}
): Promise<Book> {
  const folder = basename(mkdtempSync(join(ROOT, 'book-')));
  folders.push(folder);
  const path = `${folder}/${name}`;
  writeFileSync(
    join(ROOT, path),
    JSON.stringify({
      nbformat: 4,
      nbformat_minor: 5,
      metadata: {
        ...(kernel ? { kernelspec: { name: kernel, display_name: kernel, language } } : {}),
        language_info: { name: language }
      },
      cells: cells.map(cell => ({
        cell_type: cell.isMarkdown ? 'markdown' : 'code',
        id: cell.id,
        source: cell.source,
        metadata: cell.tags ? { tags: cell.tags } : {},
        ...(cell.isMarkdown ? {} : { outputs: [], execution_count: null })
      }))
    })
  );
  return reopen(page, path, cells, { noKernel });
}

/** Open a notebook that is there already. */
export async function reopen(
  page: IJupyterLabPageFixture,
  path: string,
  cells: ITextCell[],
  { noKernel = false } = {}
): Promise<Book> {
  await page.evaluate(
    async ([path, noKernel]) => {
      await (window as any).jupyterapp.commands.execute('docmanager:open', {
        path,
        factory: 'Notebook',
        kernelPreference: noKernel ? { shouldStart: false, canStart: true, autoStartDefault: false } : undefined
      });
    },
    [path, noKernel] as const
  );
  const book = new Book(page, path, cells);
  await expect(book.panel).toBeVisible();
  await expect(book.cell(cells[0].id)).toBeVisible();
  if (!noKernel) {
    await book.waitUntilIdle();
  }
  return book;
}

/** Load the page again, as after F5, but without the tabs that JupyterLab remembers: a story opens what it needs. */
export async function loadAgain(page: IJupyterLabPageFixture): Promise<void> {
  await page.goto('?reset');
}

/** The code cells of a notebook of the demo, with texts replaced: `[cell, old, new]`. */
export function demoCells(name: string, edits: [string, string, string][] = []): ITextCell[] {
  const file = join(__dirname, '..', 'demo', `${name}.ipynb`);
  const cells = JSON.parse(readFileSync(file, 'utf8')).cells.filter((cell: any) => cell.cell_type === 'code');
  return cells.map((cell: any) => {
    let source = Array.isArray(cell.source) ? cell.source.join('') : cell.source;
    for (const [id, old, text] of edits) {
      if (id === cell.id) {
        if (!source.includes(old)) {
          throw new Error(`${old} is not in cell ${id} of ${name}`);
        }
        source = source.replace(old, text);
      }
    }
    return { id: cell.id, source };
  });
}

/** Close what a story opened, unsaved, and end its kernels; the next story does not wait for that. */
async function tidy(page: IJupyterLabPageFixture, isLast = false): Promise<void> {
  const left = folders;
  folders = [];
  const covers = page.locator('.jp-Dialog, .lm-Menu, .jp-ModalCommandPalette:not(.lm-mod-hidden)');
  for (let n = 0; n < 5 && (await covers.count()) > 0; n++) {
    await page.keyboard.press('Escape');
  }
  await page.evaluate(
    async ([left, isLast]) => {
      const app = (window as any).jupyterapp;
      for (const widget of [...app.shell.widgets('main')]) {
        if (widget.context) {
          widget.dispose();
        }
      }
      const { sessions } = app.serviceManager;
      await sessions.refreshRunning();
      const shut = [...sessions.running()]
        .filter((session: any) => left.some(folder => session.path.startsWith(`${folder}/`)))
        .map((session: any) => sessions.shutdown(session.id));
      if (isLast) {
        await Promise.all(shut);
      }
    },
    [left, isLast] as const
  );
}

const labTest = base.extend<{ tidied: void }>({
  mockSettings: SETTINGS,
  // Kernels and sessions are the real ones: galata's stand-in for their routes does not know restarts.
  kernels: null,
  sessions: null
});

/** Stories and measurements that need a page of their own. */
export const pageTest = labTest.extend<{ tidied: void }>({
  tidied: [
    async ({ page }, use) => {
      await use();
      await tidy(page, true).catch(() => undefined);
    },
    { auto: true }
  ]
});

/**
 * Stories share one page, as a user's day does: loading JupyterLab takes longer than most of them. After a story that
 * failed, Playwright starts with a new browser.
 */
export const test = labTest.extend<{ tidied: void }, { lab: IJupyterLabPageFixture }>({
  lab: [
    async ({ browser }, use, { project }) => {
      const { page } = await galata.newPage({
        baseURL: project.use.baseURL!,
        browser,
        autoGoto: false,
        mockSettings: SETTINGS,
        mockKernels: false,
        mockSessions: false,
        waitForApplication: async page => {
          await page.locator('#jupyterlab-splash').waitFor({ state: 'detached' });
          await page.locator('.jp-Launcher').first().waitFor();
        }
      });
      await page.goto('?reset');
      await use(page);
      await page.context().close();
    },
    { scope: 'worker', timeout: 120_000 }
  ],
  page: async ({ lab, viewport }, use) => {
    await lab.setViewportSize(viewport!);
    await use(lab);
  },
  tidied: [
    async ({ page }, use, info) => {
      await use();
      // The page of a story that failed is closed.
      await tidy(page, info.status !== info.expectedStatus);
    },
    { auto: true }
  ]
});
