// Times the analysis of one notebook in WebAssembly: node bench/analysis/wasm.mjs FILE.json, as run.py writes it. One
// line of JSON. Cells and verdicts cross between JavaScript and the module as they do in the browser's worker. All times
// are processor time, of all threads: those that compile the module further while it runs count.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const processorTime = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const begun = processorTime();
const wasm = await import(join(root, 'pkg', 'nbrewind_wasm.js'));
wasm.initSync({ module: readFileSync(join(root, 'pkg', 'nbrewind_wasm_bg.wasm')) });
const load_ms = processorTime() - begun;

const { cells, edits, further } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const runs = cells.map((cell, at) => ({ cell: cell.id, source: cell.source, number: at + 1, status: 'ok' }));
const full_ms = [];
let bench;
for (let round = 0; round < 15; round++) {
  bench?.free();
  const started = processorTime();
  bench = new wasm.Workbench();
  const verdicts = bench.verdicts(cells, runs);
  full_ms.push(processorTime() - started);
  if (verdicts.some(one => one.state !== 'fresh')) {
    throw new Error('a notebook that just ran is not fresh');
  }
}
// Nobody types at once.
while (bench.prepare());
const edit_ms = [];
const further_ms = [];
const undo_ms = [];
const reached = [];
const ahead_ms = [];
const expected_ms = [];
for (const [nth, [at, source]] of edits.entries()) {
  let started = processorTime();
  const changed = bench.edit(at, source);
  edit_ms.push(processorTime() - started);
  reached.push(changed.length);
  for (const typed of further[nth]) {
    started = processorTime();
    bench.edit(at, typed);
    further_ms.push(processorTime() - started);
  }
  started = processorTime();
  bench.edit(at, cells[at].source);
  undo_ms.push(processorTime() - started);
}
// The same once more where somebody said beforehand in which line it will be.
for (const [at, source] of edits) {
  const lines = source.split('\n');
  const line = 1 + Math.max(0, cells[at].source.split('\n').findIndex((old, nth) => old !== lines[nth]));
  let started = processorTime();
  bench.expect(at, line);
  while (bench.prepare());
  ahead_ms.push(processorTime() - started);
  started = processorTime();
  bench.edit(at, source);
  expected_ms.push(processorTime() - started);
  bench.edit(at, cells[at].source);
}
console.log(JSON.stringify({ load_ms, first_ms: full_ms[0], full_ms, edit_ms, further_ms, undo_ms, reached, ahead_ms, expected_ms }));
