import { Signal } from '@lumino/signaling';

import { KernelLink } from './link';

/** A kernel that answers as a test says; everything it was sent is kept. */
function open({ language = 'python', isLoaded = true, handleComms = true, answers: doesAnswer = true } = {}) {
  const sent: Record<string, any>[] = [];
  const interrupts: number[] = [];
  let comm: any = null;
  const tell = (data: Record<string, unknown>) =>
    comm.onMsg({ content: { data }, parent_header: { msg_id: 'parent' }, header: {} });
  const answers: Record<string, (request: any) => Record<string, unknown> | null> = {
    status: () => ({ version: '1', mode: 'audit', can_undo: false, names: [], pending: [] }),
    configure: request => ({ mode: request.mode ?? 'audit' })
  };
  const take = (data: any) => {
    sent.push(data);
    const answer = answers[data.do]?.(data);
    if (answer) {
      queueMicrotask(() => tell({ id: data.id, ok: true, ...answer }));
    }
    return { done: Promise.resolve() };
  };
  const kernel: any = {
    name: 'python3',
    clientId: 'us',
    status: 'idle',
    handleComms,
    info: doesAnswer ? Promise.resolve({ language_info: { name: language } }) : new Promise(() => undefined),
    requestExecute: () => ({
      done: Promise.resolve({
        content: {
          status: 'ok',
          user_expressions: { nbrewind: { status: 'ok', data: { 'text/plain': isLoaded ? 'True' : 'False' } } }
        }
      })
    }),
    createComm: () => (comm = { open: take, send: take, dispose: () => undefined, close: () => undefined }),
    interrupt: async () => interrupts.push(1)
  };
  kernel.anyMessage = new Signal<any, any>(kernel);
  const context: any = { session: { kernel } };
  context.kernelChanged = new Signal<any, any>(context);
  context.statusChanged = new Signal<any, string>(context);
  const link = new KernelLink(context, () => 'book.ipynb');
  const settled = async () => {
    for (let n = 0; n < 30; n++) {
      await Promise.resolve();
    }
  };
  return { link, sent, answers, tell, kernel, context, interrupts, settled };
}

describe('the way to the kernel', () => {
  it('opens when the extension is loaded, and tells it the name of the notebook but no mode', async () => {
    const { link, sent, settled } = open();
    await settled();
    expect([link.state, link.mode]).toEqual(['ready', 'audit']);
    expect(sent.map(request => request.do)).toEqual(['status', 'configure']);
    expect(sent[1]).toMatchObject({ notebook: 'book.ipynb' });
    expect(sent[1].mode).toBeUndefined();
  });

  it('leaves a plain kernel alone', async () => {
    const { link, sent, settled } = open({ isLoaded: false });
    await settled();
    expect(link.state).toBe('absent');
    expect(sent).toEqual([]);
  });

  it('says of another language what is missing', async () => {
    const { link, settled } = open({ language: 'R' });
    await settled();
    expect(link.obstacle).toContain('this one runs R');
  });

  it('says so when another connection of the page takes the comms', async () => {
    const { link, settled } = open({ handleComms: false });
    await settled();
    expect(link.obstacle).toContain('holds the connection');
  });

  it('sends nothing for a request that was cancelled before', async () => {
    const { link, sent, settled } = open();
    await settled();
    const abort = new AbortController();
    abort.abort();
    await expect(link.askCancellable('restore', { run: 'r' }, abort.signal)).rejects.toMatchObject({
      code: 'cancelled'
    });
    expect(sent.some(request => request.do === 'restore')).toBe(false);
  });

  it('interrupts a request that has begun, and nothing that is over', async () => {
    const { link, answers, interrupts, settled, tell, sent } = open();
    await settled();
    answers.cancel = () => ({ cancelled: false });
    const abort = new AbortController();
    const restore = link.askCancellable('restore', { run: 'r' }, abort.signal);
    abort.abort();
    await settled();
    expect(interrupts).toHaveLength(1);
    tell({ id: sent.find(request => request.do === 'restore')!.id, ok: false, code: 'cancelled', error: 'stopped' });
    await expect(restore).rejects.toMatchObject({ code: 'cancelled' });

    const late = new AbortController();
    answers.restore = () => ({});
    answers.cancel = () => null;
    const over = link.askCancellable('restore', { run: 'r' }, late.signal);
    late.abort();
    await over;
    const asked = sent.filter(request => request.do === 'cancel').pop()!;
    tell({ id: asked.id, ok: true, cancelled: false });
    await settled();
    expect(interrupts).toHaveLength(1);
  });

  it('tells everyone who waits when the kernel restarts', async () => {
    const { link, context, settled } = open();
    await settled();
    const waiting = link.ask('restore', { run: 'r' });
    context.statusChanged.emit('restarting');
    await expect(waiting).rejects.toMatchObject({ code: 'gone' });
  });

  it('notices that another page has loaded the extension', async () => {
    const { link, kernel, settled } = open({ isLoaded: false });
    await settled();
    expect(link.state).toBe('absent');
    kernel.requestExecute = () => ({
      done: Promise.resolve({
        content: { status: 'ok', user_expressions: { nbrewind: { status: 'ok', data: { 'text/plain': 'True' } } } }
      })
    });
    const heard = (data: any, asker: string) =>
      kernel.anyMessage.emit({
        direction: 'recv',
        msg: {
          channel: 'iopub',
          header: { msg_type: 'comm_msg', session: 'one' },
          parent_header: { session: asker },
          content: { data }
        }
      });
    heard({ method: 'update' }, 'them');
    // An answer to ourselves is no news.
    heard({ id: 'x', ok: true, mode: 'audit' }, 'us');
    await settled();
    expect(link.state).toBe('absent');
    heard({ id: 'x', ok: true, mode: 'audit' }, 'them');
    await settled();
    expect([link.state, link.mode]).toEqual(['ready', 'audit']);
  });

  it('stops waiting for a kernel that never answers when it is cancelled', async () => {
    const { link, settled } = open({ answers: false });
    const abort = new AbortController();
    const loading = link.load(abort.signal);
    await settled();
    abort.abort();
    await expect(loading).rejects.toMatchObject({ code: 'cancelled' });
  });

  it('tells the kernel the new name of a notebook that was renamed', async () => {
    const { link, sent, settled } = open();
    await settled();
    await link.rename();
    expect(sent[sent.length - 1]).toMatchObject({ do: 'configure', notebook: 'book.ipynb' });
    expect(sent[sent.length - 1].mode).toBeUndefined();
  });

  it('notices another process behind the same kernel', async () => {
    const { link, kernel, settled } = open();
    await settled();
    const from = (session: string) =>
      kernel.anyMessage.emit({ direction: 'recv', msg: { channel: 'iopub', header: { session }, content: {} } });
    from('one');
    const waiting = link.ask('restore', { run: 'r' });
    from('two');
    await expect(waiting).rejects.toMatchObject({ code: 'gone' });
    await settled();
    expect(link.state).toBe('ready');
  });
});
