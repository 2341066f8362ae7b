import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { Table } from '../../table';
import { Operations, type IOutcome } from './model';
import { Strip } from './strip';

function open() {
  (globalThis as any).ResizeObserver ??= class {
    observe() {}
    disconnect() {}
  };
  const kernel = { status: 'idle' };
  const context = { session: { kernel } } as any;
  context.statusChanged = new Signal<any, string>(context);
  const busy = { isRunning: false } as any;
  busy.changed = new Signal<any, void>(busy);
  const operations = new Operations(context, busy);
  const notebook = document.body.appendChild(document.createElement('input'));
  const strip = new Strip(operations, nullTranslator.load('nbrewind'), () => notebook.focus());
  document.body.append(strip.node, strip.spoken);
  const button = (name: string) =>
    [...strip.node.querySelectorAll('button')].find(
      one => one.textContent === name || one.getAttribute('aria-label') === name
    )!;
  return { operations, strip, notebook, button };
}

const settled = async () => {
  for (let n = 0; n < 20; n++) {
    await Promise.resolve();
  }
};

const done: IOutcome = { kind: 'done', text: 'Restored.' };

describe('the strip', () => {
  it('does not appear for what is over at once and has nothing to say', async () => {
    const { operations, strip } = open();
    const running = operations.run('Audit', async () => null);
    expect(strip.isHidden).toBe(true);
    await running;
    await new Promise(resolve => setTimeout(resolve, 250));
    expect(strip.isHidden).toBe(true);
  });

  it('appears for what takes its time, and says its beginning and its end, not each step, to screen readers', async () => {
    const { operations, strip } = open();
    let end: (outcome: IOutcome) => void = () => undefined;
    const running = operations.run('Restore', async operation => {
      operation.progress('loading rows', 1, 2);
      return new Promise<IOutcome>(resolve => (end = resolve));
    });
    await new Promise(resolve => setTimeout(resolve, 250));
    expect(strip.isHidden).toBe(false);
    expect(strip.node.textContent).toContain('loading rows');
    expect(strip.spoken.textContent).toBe('Restore…');
    end(done);
    await running;
    expect(strip.spoken.textContent).toBe('Restored.');
  });

  it('keeps the keyboard while its buttons change, and gives it back when it goes', async () => {
    const { operations, strip, notebook, button } = open();
    const running = operations.run(
      'Replay',
      operation =>
        new Promise<IOutcome>(resolve => {
          operation.signal.addEventListener('abort', () => resolve({ kind: 'cancelled', text: 'Stopped.' }));
        })
    );
    await settled();
    strip.show();
    button('Cancel').focus();
    button('Cancel').click();
    await running;
    expect(document.activeElement).toBe(button('Dismiss'));
    button('Dismiss').click();
    expect(strip.isHidden).toBe(true);
    expect(document.activeElement).toBe(notebook);
  });
});

describe('a table', () => {
  it('leaves out columns that say nothing, and can be reached by the keyboard', () => {
    const table = new Table(['Name', 'Why'], [[{ text: 'rows', isCode: true }, { text: '' }]], 'One name');
    expect([...table.node.querySelectorAll('th')].map(cell => cell.textContent)).toEqual(['Name']);
    expect(table.node.querySelectorAll('td')).toHaveLength(1);
    expect(table.node.tabIndex).toBe(0);
    expect(table.node.getAttribute('aria-label')).toBe('One name');
  });
});
