import { Signal } from '@lumino/signaling';

import { OutsideWatch } from './outside';

/** A kernel that answers what a test says, and what was noted of it. */
function watched(answers: Record<string, string[]>[]) {
  const noted: Record<string, string[]>[] = [];
  let nAsked = 0;
  const link = {
    state: 'ready',
    ask: async (what: string) => {
      expect(what).toBe('outside');
      const runs = answers[nAsked++];
      if (!runs) {
        throw new Error('unknown request');
      }
      return { runs };
    }
  } as any;
  link.opened = new Signal<any, void>(link);
  link.event = new Signal<any, any>(link);
  const watch = new OutsideWatch(link, { noteOutside: (found: Record<string, string[]>) => noted.push(found) } as any);
  const later = () => new Promise(resolve => setTimeout(resolve, 0));
  return { link, watch, noted, later, asked: () => nAsked };
}

describe('changes outside the notebook', () => {
  it('are asked for when the kernel is there, after a run, and when the user comes back', async () => {
    const { link, watch, noted, later } = watched([{}, { r1: ['data.csv'] }, {}]);
    link.opened.emit();
    await later();
    link.event.emit({ event: { event: 'run' }, parentId: '' });
    await later();
    window.dispatchEvent(new Event('focus'));
    await later();
    expect(noted).toEqual([{}, { r1: ['data.csv'] }, {}]);
    watch.dispose();
    window.dispatchEvent(new Event('focus'));
    await later();
    expect(noted.length).toBe(3);
  });

  it('are asked for once more when something happens meanwhile, not once for each', async () => {
    const { watch, noted, later, asked } = watched([{}, { r1: ['a'] }, {}]);
    watch.look();
    watch.look();
    watch.look();
    await later();
    await later();
    expect(asked()).toBe(2);
    expect(noted).toEqual([{}, { r1: ['a'] }]);
  });

  it('are not asked of a kernel that cannot tell, and an older one changes nothing', async () => {
    const { link, watch, noted, later, asked } = watched([]);
    link.state = 'absent';
    watch.look();
    expect(asked()).toBe(0);
    link.state = 'ready';
    watch.look();
    await later();
    expect([asked(), noted]).toEqual([1, []]);
  });
});
