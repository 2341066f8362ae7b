/**
 * The kernel protocol as TypeScript sees it (docs/ARCHITECTURE.md, "The kernel protocol").
 */

import type { RunInput } from '../generated/analysis';

export const COMM_TARGET = 'nbrewind';

export type Mode = 'off' | 'audit' | 'repeat';

export interface ITaskCounts {
  hit: number;
  run: number;
}

/** One execution, as the kernel logs it. */
export interface ILogRun extends RunInput {
  run_id?: string | null;
  seconds?: number;
  /** What a restore to the state after it asks for. */
  checkpoint?: string | null;
}

export interface IBaseline {
  taken: string[];
  not_taken: { name: string; why: string }[];
  n_bytes: number;
  seconds: number;
}

export interface IStatus {
  version: string;
  mode: Mode;
  store: string | null;
  is_writable?: boolean;
  names: string[];
  pending: string[];
  can_undo: boolean;
  replaying?: boolean;
}

export interface IRecordedRun {
  run_id: string;
  /** The run that this is a replay of. */
  of: string | null;
  cell_id: string | null;
  number: number | null;
  session: string;
  /** Seconds since 1970. */
  started: number;
  seconds: number;
  status: string;
  replayable: boolean;
  n_names: number;
  n_bytes: number;
  source: string;
  notebook: string | null;
}

export interface IRestoredName {
  name: string;
  /** Pending: it is in the store, and loaded before a cell that may read it, or while the kernel is idle. */
  how: 'loaded' | 'pending' | 'rebuilt' | 'stub';
  type: string;
  n_bytes: number;
  why: string | null;
}

export interface IRestoreReport {
  run_id: string;
  cell_id: string | null;
  source: string;
  seconds: number;
  recorded_seconds: number;
  names: IRestoredName[];
  /** What runs changed inside the process: what is not brought back, and what could not be taken back. */
  process: string[];
  stays: string[];
  /** What cells showed that was not kept: `Out[3]`, and why. An older kernel says nothing of it. */
  results?: string[];
}

export interface IPlanStep {
  id: string;
  status: 'replay' | 'execute' | 'perhaps';
  seconds: number;
  why: string[];
  above: boolean;
}

export interface IReplayPlan {
  plan: IPlanStep[];
  seconds: number;
  saved_seconds: number;
  /** Names that are live and that no cell of the plan makes. */
  lost?: string[];
  restart: string[];
}

export interface IReplayBegun {
  runs: ILogRun[];
  replayed: { id: string; run_id: string; recorded_seconds: number }[];
  next: string | null;
}

export interface IReplayReport {
  executed: number;
  replayed: number;
  tasks: ITaskCounts;
  seconds: number;
  saved_seconds: number;
  failed: string | null;
  /** Names that only their cells can make. */
  lost: string[];
}

export interface ICellText {
  id: string;
  source: string;
  tags: string[];
}

/** What the kernel tells without being asked. */
export type KernelEvent =
  | {
      event: 'run';
      cell_id: string | null;
      run_id?: string | null;
      number?: number | null;
      source?: string;
      status: 'executed' | 'replayed' | 'failed' | 'not recorded';
      checkpoint?: string | null;
      seconds?: number;
      recorded_seconds?: number;
      why: string[];
      tasks?: ITaskCounts;
      restart_without?: string[];
      replayable?: boolean;
      why_not?: string[];
    }
  | { event: 'queued' | 'started'; id: string; do: string }
  | { event: 'progress'; of: string; done: number; total: number; what: string }
  | { event: 'mode'; mode: Mode }
  /** Names that a restore left in the store, and that cannot be loaded. */
  | { event: 'lost'; names: string[]; why: string }
  | { event: 'state'; runs: ILogRun[] };
