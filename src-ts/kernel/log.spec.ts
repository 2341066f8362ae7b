import { Signal } from '@lumino/signaling';

import { matchHistory, RunLog } from './log';

/** A kernel whose messages a test makes up. */
function open() {
  const kernel = { anyMessage: null as any, status: 'idle' };
  kernel.anyMessage = new Signal<any, any>(kernel);
  const context = { session: { kernel } } as any;
  context.kernelChanged = new Signal<any, any>(context);
  context.statusChanged = new Signal<any, any>(context);
  const link = { state: 'absent', ask: async () => ({ runs: [] }) } as any;
  link.opened = new Signal<any, void>(link);
  link.event = new Signal<any, any>(link);
  link.changed = new Signal<any, void>(link);
  const log = new RunLog(context, link, () => []);
  const say = (direction: 'send' | 'recv', type: string, id: string, content: any, metadata: any = {}) =>
    kernel.anyMessage.emit({
      direction,
      msg: {
        header: { msg_type: type, msg_id: direction === 'send' ? id : `${id}-answer` },
        parent_header: direction === 'send' ? {} : { msg_id: id },
        content,
        metadata
      }
    });
  return { log, say, context, link };
}

describe('the log of runs', () => {
  it('takes the text that was sent, the number and how it ended', () => {
    const { log, say } = open();
    say('send', 'execute_request', 'm1', { code: 'x = 1', silent: false, store_history: true }, { cellId: 'a' });
    expect(log.isRunning).toBe(true);
    say('recv', 'execute_input', 'm1', { code: 'x = 1', execution_count: 4 });
    say('recv', 'execute_reply', 'm1', { status: 'ok', execution_count: 4 });
    expect(log.runs).toEqual([{ cell: 'a', source: 'x = 1', number: 4, status: 'ok', how: 'executed', undone: false }]);
    expect(log.isRunning).toBe(false);
  });

  it('leaves out what never ran because a cell before it failed', () => {
    const { log, say } = open();
    say('send', 'execute_request', 'm1', { code: '1/0', silent: false, store_history: true }, { cellId: 'a' });
    say('send', 'execute_request', 'm2', { code: 'y = 1', silent: false, store_history: true }, { cellId: 'b' });
    say('recv', 'execute_reply', 'm1', { status: 'error', ename: 'ZeroDivisionError' });
    say('recv', 'execute_reply', 'm2', { status: 'aborted' });
    expect(log.runs.map(run => [run.cell, run.status])).toEqual([['a', 'failed']]);
  });

  it('tells an interrupt from a failure', () => {
    const { log, say } = open();
    say('send', 'execute_request', 'm1', { code: 'f()', silent: false, store_history: true }, { cellId: 'a' });
    say('recv', 'execute_reply', 'm1', { status: 'error', ename: 'KeyboardInterrupt' });
    expect(log.runs[0].status).toBe('interrupted');
  });

  it('counts runs from a console on the same kernel, without a cell', () => {
    const { log, say } = open();
    say('recv', 'execute_input', 'other', { code: 'x = 7', execution_count: 3 });
    say('recv', 'status', 'other', { execution_state: 'idle' });
    expect(log.runs).toEqual([{ cell: '', source: 'x = 7', number: 3, status: 'ok', how: 'executed', undone: false }]);
  });

  it('ignores silent requests', () => {
    const { log, say } = open();
    say('send', 'execute_request', 'm1', { code: 'x', silent: true, store_history: false });
    expect(log.runs).toEqual([]);
  });

  it('notes what was changed outside the notebook, and tells only when that is new', () => {
    const { log, say, link } = open();
    say('send', 'execute_request', 'm1', { code: 'read()', silent: false, store_history: true }, { cellId: 'a' });
    say('recv', 'execute_reply', 'm1', { status: 'ok', execution_count: 1 });
    link.event.emit({ event: { event: 'run', status: 'executed', run_id: 'r1', cell_id: 'a' }, parentId: 'm1' });
    let nTold = 0;
    log.changed.connect(() => nTold++);
    log.noteOutside({});
    expect(nTold).toBe(0);
    log.noteOutside({ r1: ['data.csv'], other: ['x'] });
    log.noteOutside({ r1: ['data.csv'] });
    expect(log.runs[0].outside).toEqual(['data.csv']);
    log.noteOutside({});
    expect(log.runs[0].outside).toEqual([]);
    expect(nTold).toBe(2);
  });

  it('knows a replay by what the kernel tells in the course of the request', () => {
    const { log, say, link } = open();
    say('send', 'execute_request', 'm1', { code: 'x = 1', silent: false, store_history: true }, { cellId: 'a' });
    link.event.emit({ parentId: 'm1', event: { event: 'run', cell_id: 'a', status: 'replayed', why: [] } });
    say('recv', 'execute_reply', 'm1', { status: 'ok' });
    expect(log.runs[0]).toMatchObject({ how: 'replayed', status: 'ok' });
  });

  it('knows what to restore to have the state again, if the last cell was recorded and completed', () => {
    const { log, say, link } = open();
    const run = (id: string, status: string, runId: string | null, checkpoint: string | null = null) => {
      say('send', 'execute_request', id, { code: 'x = 1', silent: false, store_history: true }, { cellId: 'a' });
      const event = { event: 'run', cell_id: 'a', run_id: runId, status, checkpoint, why: [] };
      link.event.emit({ parentId: id, event });
      say('recv', 'execute_reply', id, { status: status === 'failed' ? 'error' : 'ok' });
    };
    expect(log.checkpoint).toBeNull();
    run('m1', 'executed', 'r1');
    expect(log.checkpoint).toBe('r1');
    run('m2', 'replayed', 'r2');
    expect(log.checkpoint).toBeNull();
    run('m2b', 'replayed', 'r2', 'state after r2');
    expect(log.checkpoint).toBe('state after r2');
    run('m3', 'executed', 'r3');
    expect(log.checkpoint).toBe('r3');
    run('m4', 'failed', 'r4');
    expect(log.checkpoint).toBeNull();
    run('m5', 'executed', null);
    expect(log.checkpoint).toBeNull();
  });

  it('is empty after a restart', () => {
    const { log, say, context } = open();
    say('send', 'execute_request', 'm1', { code: 'x = 1', silent: false, store_history: true }, { cellId: 'a' });
    context.statusChanged.emit('restarting');
    expect(log.runs).toEqual([]);
  });
});

describe('runs from the history of the kernel', () => {
  const cell = { id: 'a', source: 'x = 1', executionCount: 2 };

  it('belong to the cell with this number and this text', () => {
    const entries = matchHistory([[0, 2, 'x = 1']], [cell]);
    expect(entries.map(entry => entry.run.cell)).toEqual(['a']);
  });

  it('belong to no cell when only the number agrees: it may be left over from an earlier kernel', () => {
    const entries = matchHistory([[0, 2, 'import os']], [cell]);
    expect(entries.map(entry => entry.run.cell)).toEqual(['']);
  });
});
