import { bytes, duration, firstLine, nameList } from './text';

test('sizes are short and have a unit', () => {
  expect([bytes(12), bytes(3400), bytes(120_000_000), bytes(2.5e9)]).toEqual([
    '12 bytes',
    '3.4 kB',
    '120 MB',
    '2.5 GB'
  ]);
});

test('times are as long as they need to be', () => {
  expect([0, 0.04, 0.31, 12.2, 200, 7500].map(duration)).toEqual([
    '0 s',
    '0.04 s',
    '0.3 s',
    '12 s',
    '3 min 20 s',
    '2 h 5 min'
  ]);
});

test('long lists of names are cut', () => {
  expect(nameList(['a', 'b'])).toBe('a, b');
  expect(nameList(['a', 'b', 'c', 'd', 'e', 'f', 'g'])).toBe('a, b, c, d, e and 2 more');
});

test('the first line of a cell is its first line of code', () => {
  expect(firstLine('# load\n\nrows = load()\nmore')).toBe('rows = load()');
  expect(firstLine('# only this')).toBe('# only this');
});
