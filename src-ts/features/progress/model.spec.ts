import { Signal } from '@lumino/signaling';

import { Operations, type IOutcome } from './model';

/** A kernel whose state a test sets. */
function open() {
  const kernel = { status: 'idle' };
  const context = { session: { kernel } } as any;
  context.statusChanged = new Signal<any, string>(context);
  const busy = { isRunning: false } as any;
  busy.changed = new Signal<any, void>(busy);
  const operations = new Operations(context, busy);
  const become = (status: string, isRunning = status === 'busy') => {
    kernel.status = status;
    busy.isRunning = isRunning;
    context.statusChanged.emit(status);
    busy.changed.emit();
  };
  return { operations, become };
}

const done = (text: string): IOutcome => ({ kind: 'done', text });

describe('restores and replays of one notebook', () => {
  it('wait for the kernel, and say that they do', async () => {
    const { operations, become } = open();
    become('busy');
    const ran: string[] = [];
    const first = operations.run('Restore', async () => {
      ran.push('restore');
      return done('Restored.');
    });
    await Promise.resolve();
    expect(operations.current?.stage).toBe('queued');
    expect(ran).toEqual([]);
    become('idle');
    expect((await first).outcome?.text).toBe('Restored.');
  });

  it('wait while a cell is queued, even when the kernel is idle for a moment', async () => {
    const { operations, become } = open();
    become('idle', true);
    let hasRun = false;
    const one = operations.run('Restore', async () => {
      hasRun = true;
      return null;
    });
    become('busy');
    become('idle', true);
    await Promise.resolve();
    expect(hasRun).toBe(false);
    become('idle', false);
    await one;
    expect(hasRun).toBe(true);
  });

  it('run one after the other', async () => {
    const { operations } = open();
    const ran: string[] = [];
    const step = (name: string) =>
      operations.run(name, async () => {
        ran.push(`${name} begins`);
        await Promise.resolve();
        ran.push(`${name} ends`);
        return done(name);
      });
    await Promise.all([step('a'), step('b'), step('c')]);
    expect(ran).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('are not carried out when they are cancelled while they wait', async () => {
    const { operations, become } = open();
    become('busy');
    let hasRun = false;
    const one = operations.run('Restore', async () => {
      hasRun = true;
      return null;
    });
    await Promise.resolve();
    operations.current!.cancel();
    expect((await one).outcome?.kind).toBe('cancelled');
    become('idle');
    expect(hasRun).toBe(false);
  });

  it('do not begin a step that changes the state while the user runs something', async () => {
    const { operations, become } = open();
    const steps: string[] = [];
    const one = operations.run('Replay', async operation => {
      become('busy');
      void Promise.resolve().then(() => {
        steps.push('the cell ends');
        become('idle');
      });
      await operations.idle(operation);
      steps.push('begin');
      return null;
    });
    await one;
    expect(steps).toEqual(['the cell ends', 'begin']);
  });

  it('fail with a next step when the kernel dies', async () => {
    const { operations, become } = open();
    become('busy');
    const one = operations.run('Restore', async () => null);
    become('dead');
    expect((await one).outcome).toEqual({
      kind: 'failed',
      text: 'Restore: the kernel is dead. Restart it, then try again.'
    });
  });

  it('take back what they said of a state when another process comes, but not that they failed', async () => {
    const { operations, become } = open();
    await operations.run('Restore', async () => done('Restored.'));
    become('restarting');
    expect(operations.current).toBeNull();
    become('idle');
    await operations.run('Replay', async () => {
      throw new Error('the kernel died.');
    });
    become('autorestarting');
    expect(operations.current?.outcome?.text).toBe('Replay: the kernel died.');
  });

  it('leave their outcome until it is dismissed', async () => {
    const { operations } = open();
    await operations.run('Restore', async () => done('Restored.'));
    expect(operations.current?.outcome?.text).toBe('Restored.');
    operations.dismiss();
    expect(operations.current).toBeNull();
  });
});
