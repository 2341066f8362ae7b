/**
 * Stories in a real browser: Debian's Chromium (or NBREWIND_CHROMIUM), a real `jupyter lab`, real kernels, real Dask.
 *
 * `tools/test.sh ui` runs them; one at a time, because two kernels with a cluster each are enough for two cores.
 */

import { mkdtempSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';

const base = require('@jupyterlab/galata/lib/playwright-config');

const port = Number((process.env.NBREWIND_UI_PORT ??= '8899'));
// Set once: workers read this file again.
const root = (process.env.NBREWIND_UI_ROOT ??= mkdtempSync(join(tmpdir(), 'nbrewind-ui-')));

module.exports = {
  ...base,
  // The stories; `NBREWIND_UI_TESTS=bench/ui` for the measurements.
  testDir: join(__dirname, '..', process.env.NBREWIND_UI_TESTS ?? 'ui-tests/tests'),
  testMatch: /.*\.spec\.ts/,
  outputDir: join(__dirname, '..', '.build', 'ui-results'),
  reporter: [['list'], [join(__dirname, 'count.ts')]],
  timeout: 180_000,
  expect: { timeout: 20_000 },
  workers: 1,
  retries: process.env.CI ? 1 : 0,
  use: {
    ...base.use,
    baseURL: `http://localhost:${port}`,
    viewport: { width: 1280, height: 860 },
    video: 'off',
    screenshot: 'only-on-failure',
    // The steps of a story that fails. Pictures of the page at every step take a third of its time: `--trace on` makes them.
    trace: { mode: 'retain-on-failure', screenshots: false, snapshots: false, sources: false },
    launchOptions: {
      executablePath: process.env.NBREWIND_CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-dev-shm-usage',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync'
      ]
    }
  },
  webServer: {
    command: `jupyter lab --config ${join(__dirname, 'jupyter_server_test_config.py')}`,
    url: `http://localhost:${port}/lab`,
    timeout: 120_000,
    reuseExistingServer: false,
    env: {
      NBREWIND_UI_PORT: String(port),
      NBREWIND_UI_ROOT: root,
      JUPYTER_PREFER_ENV_PATH: '1',
      // Settings and kernels of the person who runs this stay out of it.
      JUPYTER_CONFIG_DIR: join(root, '.jupyter-config'),
      JUPYTERLAB_SETTINGS_DIR: join(root, '.jupyter-settings'),
      IPYTHONDIR: join(root, '.ipython'),
      // Kernels that lack something: ui-tests/kernels.
      JUPYTER_PATH: __dirname
    }
  }
};
