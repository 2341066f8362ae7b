/**
 * What is asked of the server extension. The only file that talks to it; everything works without it but what is listed here.
 */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IRecordedRun } from './kernel/protocol';

/** The server extension is not there, or refused. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    message: string
  ) {
    super(message);
  }

  /** True when this server does not have our extension. */
  get isMissing(): boolean {
    return this.status === 404;
  }
}

/** Runs that are recorded for a notebook, newest first, without any kernel. */
export async function recordedRuns(path: string, cell?: string): Promise<IRecordedRun[]> {
  const query = new URLSearchParams({ path, ...(cell ? { cell } : {}) });
  const { runs } = await get<{ runs: IRecordedRun[] }>(`runs?${query}`);
  return runs;
}

async function get<T>(route: string): Promise<T> {
  const settings = ServerConnection.makeSettings();
  const url = URLExt.join(settings.baseUrl, 'nbrewind', route);
  const response = await ServerConnection.makeRequest(url, {}, settings);
  const text = await response.text();
  if (!response.ok) {
    let message = response.statusText;
    try {
      message = JSON.parse(text).message ?? message;
    } catch {
      // Not ours: a page of the server.
    }
    throw new RequestError(response.status, message);
  }
  return JSON.parse(text) as T;
}
