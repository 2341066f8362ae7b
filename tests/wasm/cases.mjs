// Runs the cases in tests/cases, and the live sessions in tests/cases/live, through the WebAssembly build in pkg/. No
// packages needed: node tests/wasm/cases.mjs

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const wasm = await import(join(root, 'pkg', 'nbrewind_wasm.js'));
wasm.initSync({ module: readFileSync(join(root, 'pkg', 'nbrewind_wasm_bg.wasm')) });

function unescape(text) {
  if (!text.startsWith('<<') || !text.endsWith('>>')) {
    return text;
  }
  return text
    .slice(2, -2)
    .replaceAll('\\n', '\n')
    .replaceAll('\\r', '\r')
    .replaceAll('\\t', '\t')
    .replaceAll('\\u{feff}', '\u{feff}');
}

const ids = text =>
  new Set(
    text
      .split(',')
      .map(id => id.trim())
      .filter(id => id && id !== 'nothing')
  );

function parse(text) {
  const cases = [];
  let current;
  for (const line of text.split('\n')) {
    if (line.startsWith('## ')) {
      current = { title: line.slice(3), cells: [], edits: [], may: new Set(), reasons: [] };
      cases.push(current);
      continue;
    }
    if (!current || !line.startsWith('    ')) {
      continue;
    }
    const content = line.slice(4);
    let found;
    if ((found = /^\s*\| ?(.*)$/.exec(content))) {
      const last = current.edits.at(-1);
      const target = last && 'source' in last ? last : current.cells.at(-1);
      target.source += '\n' + found[1];
    } else if ((found = /^cell ([^:]+):(.*)$/.exec(content))) {
      current.cells.push({ id: found[1], source: unescape(found[2].trim()) });
    } else if ((found = /^edit ([^:]+):(.*)$/.exec(content))) {
      current.edits.push({ what: 'edit', id: found[1], source: unescape(found[2].trim()) });
    } else if ((found = /^delete (.+)$/.exec(content))) {
      current.edits.push({ what: 'delete', id: found[1].trim() });
    } else if ((found = /^move (.+) before (.+)$/.exec(content))) {
      current.edits.push({ what: 'move', id: found[1], before: found[2].trim() });
    } else if ((found = /^rename (.+) to (.+)$/.exec(content))) {
      current.edits.push({ what: 'rename', id: found[1], to: found[2].trim() });
    } else if ((found = /^insert (\S+) (?:before ([^:]+)|at end):(.*)$/.exec(content))) {
      current.edits.push({ what: 'insert', id: found[1], before: found[2], source: unescape(found[3].trim()) });
    } else if ((found = /^stale =(.*)$/.exec(content))) {
      current.stale = ids(found[1]);
    } else if ((found = /^unknown =(.*)$/.exec(content))) {
      current.unknown = ids(found[1]);
    } else if ((found = /^may =(.*)$/.exec(content))) {
      current.may = ids(found[1]);
    } else if ((found = /^reason ([^:]+):(.*)$/.exec(content))) {
      current.reasons.push([found[1], found[2].trim()]);
    } else if (content.trim()) {
      throw new Error(`${current.title}: what does this line mean? ${content}`);
    }
  }
  return cases;
}

function edited({ cells, edits }) {
  const after = cells.map(cell => ({ ...cell }));
  const at = id => after.findIndex(cell => cell.id === id);
  for (const edit of edits) {
    if (edit.what === 'edit') {
      after[at(edit.id)].source = edit.source;
    } else if (edit.what === 'delete') {
      after.splice(at(edit.id), 1);
    } else if (edit.what === 'move') {
      const [cell] = after.splice(at(edit.id), 1);
      after.splice(at(edit.before), 0, cell);
    } else if (edit.what === 'rename') {
      after[at(edit.id)].id = edit.to;
    } else {
      after.splice(edit.before ? at(edit.before) : after.length, 0, { id: edit.id, source: edit.source });
    }
  }
  return after;
}

/** The verdicts on a page whose cells ran once, from top to bottom, before it was edited. */
function verdicts(cells, after) {
  const runs = cells.map((cell, at) => ({ cell: cell.id, source: cell.source, number: at + 1, status: 'ok' }));
  const bench = new wasm.Workbench();
  bench.verdicts(cells, runs);
  const found = bench.verdicts(after, runs);
  bench.free();
  return found;
}

/** The browser has no comparison of two notebooks; a native test says that it flags what a live session flags. */
function check(aCase) {
  const found = verdicts(aCase.cells, edited(aCase));
  const inState = (...states) => new Set(found.filter(one => states.includes(one.state)).map(one => one.id));
  const flagged = inState('stale', 'upstream-edited', 'unknown');
  const reasons = Object.fromEntries(found.map(one => [one.id, one.reason]));
  const complaints = [];
  for (const id of aCase.stale) {
    if (!flagged.has(id)) {
      complaints.push(`missed: ${id}`);
    }
  }
  for (const id of flagged) {
    if (!aCase.stale.has(id) && !aCase.may.has(id)) {
      complaints.push(`false: ${id} (${reasons[id]})`);
    }
    if (!reasons[id]) {
      complaints.push(`no reason for ${id}`);
    }
  }
  if (aCase.unknown && [...aCase.unknown].sort().join() !== [...inState('unknown')].sort().join()) {
    complaints.push(`unknown: ${[...inState('unknown')].join()} instead of ${[...aCase.unknown].join()}`);
  }
  return complaints;
}

/** A page, a kernel, and the bench that judges them: one section of tests/cases/live. */
class Session {
  cells = [];
  runs = [];
  number = 0;
  bench = new wasm.Workbench();
  verdicts = [];

  at(id) {
    const at = this.cells.findIndex(cell => cell.id === id);
    if (at < 0) {
      throw new Error(`no cell ${id}`);
    }
    return at;
  }

  run(id, more = {}) {
    const { source } = this.cells[this.at(id)];
    this.number += 1;
    this.runs.push({ cell: id, source, number: this.number, status: 'ok', how: 'executed', undone: false, ...more });
  }

  ids(list) {
    return list === 'all' ? this.cells.map(cell => cell.id) : list.split(',').map(id => id.trim());
  }

  /** Does what a line says; the complaint if the line is a check that does not hold. */
  step(line) {
    const [, verb, rest] = /^(\S+) ?(.*)$/.exec(line);
    const colon = rest.indexOf(':');
    const head = (colon < 0 ? rest : rest.slice(0, colon)).trim();
    const text = colon < 0 ? '' : rest.slice(colon + 1).trim().replaceAll('\\n', '\n');
    const steps = {
      cell: () => this.cells.push({ id: head, source: text }),
      edit: () => (this.cells[this.at(head)].source = text),
      delete: () => this.cells.splice(this.at(head), 1),
      move: () => {
        const [id, before] = head.split(' before ');
        const [cell] = this.cells.splice(this.at(id), 1);
        this.cells.splice(this.at(before), 0, cell);
      },
      insert: () => {
        const [id, before] = head.split(' before ');
        this.cells.splice(this.at(before), 0, { id, source: text });
      },
      rename: () => {
        const [id, to] = head.split(' to ');
        this.cells[this.at(id)].id = to;
      },
      run: () => {
        for (const one of this.ids(head)) {
          const [id, result] = one.split(' giving ');
          this.run(id, { result });
        }
      },
      begin: () => this.ids(head).forEach(id => this.run(id, { status: 'running', number: null })),
      end: () => this.runs.filter(run => run.status === 'running').forEach(run => (run.status = 'ok')),
      fail: () => this.run(head, { status: 'failed' }),
      interrupt: () => this.run(head, { status: 'interrupted' }),
      replay: () => this.ids(head).forEach(id => this.run(id, { how: 'replayed' })),
      restored: () => this.run(head, { how: 'restored' }),
      outside: () => {
        const run = this.runs.filter(run => run.cell === head).pop();
        run.outside = text === 'nothing' ? [] : text.split(', ');
      },
      console: () => {
        this.number += 1;
        this.runs.push({ cell: '', source: rest.trim().replaceAll('\\n', '\n'), number: this.number, status: 'ok' });
      },
      restore: () => this.runs.forEach(run => (run.undone = run.number !== null && run.number > Number(head))),
      restart: () => {
        this.runs = [];
        this.number = 0;
      },
      then: () => this.check(rest),
      reopen: () => (this.bench = new wasm.Workbench()),
      would: () => {
        this.verdicts = this.bench.verdicts(this.cells, this.runs);
        const found = this.bench.would_become_stale(this.at(head)).map(at => this.cells[at].id).join(', ') || 'nothing';
        return found === text ? undefined : `would ${head}: ${found}`;
      },
      reason: () => {
        const { reason } = this.verdicts[this.at(head)];
        const isRight = text.endsWith('.') ? reason === text : reason.includes(text);
        return isRight ? undefined : `reason of ${head}: ${reason}`;
      },
      why: () => {
        const { why } = this.verdicts[this.at(head)];
        return why === text ? undefined : `why of ${head}: ${why}`;
      },
      jump: () => {
        const found = this.verdicts[this.at(head)].because.map(one => one.cell ?? '-').join(', ');
        return found === text ? undefined : `because of ${head}: ${found}`;
      }
    };
    if (!(verb in steps)) {
      throw new Error(`what does this line mean? ${line}`);
    }
    const complaint = steps[verb]();
    return ['then', 'reason', 'why', 'jump', 'would'].includes(verb) ? complaint : undefined;
  }

  check(expected) {
    this.verdicts = this.bench.verdicts(this.cells, this.runs);
    const again = JSON.stringify(this.bench.verdicts(this.cells));
    if (again !== JSON.stringify(this.verdicts)) {
      return `without runs: ${again}`;
    }
    const found = this.verdicts.filter(verdict => verdict.state !== 'fresh');
    const text = found.map(verdict => `${verdict.id} ${verdict.state}`).join(', ') || 'all fresh';
    return text === expected ? undefined : `then ${text}: ${found.map(verdict => verdict.reason).join(' ')}`;
  }
}

let nPassed = 0;
let nFailed = 0;
for (const file of readdirSync(join(root, 'tests', 'cases', 'live')).sort()) {
  const text = readFileSync(join(root, 'tests', 'cases', 'live', file), 'utf8');
  for (const section of text.split(/^## /m).slice(1)) {
    const [title, ...lines] = section.split('\n');
    const session = new Session();
    const complaints = lines
      .filter(line => line.startsWith('    '))
      .map(line => session.step(line.slice(4)))
      .filter(complaint => complaint !== undefined);
    if (complaints.length === 0) {
      nPassed += 1;
    } else {
      nFailed += 1;
      console.log(`FAILED ${title}: ${complaints.join('; ')}`);
    }
  }
}
const folder = join(root, 'tests', 'cases');
for (const file of readdirSync(folder).sort()) {
  if (!file.endsWith('.md') || file === 'README.md') {
    continue;
  }
  for (const aCase of parse(readFileSync(join(folder, file), 'utf8'))) {
    let complaints;
    try {
      complaints = check(aCase);
    } catch (error) {
      complaints = [String(error)];
    }
    if (complaints.length === 0) {
      nPassed += 1;
    } else {
      nFailed += 1;
      console.log(`FAILED ${aCase.title}: ${complaints.join('; ')}`);
    }
  }
}

/** Whether a reader of `x` is flagged when this text that binds it is new. */
function isRead(source) {
  const reader = { id: 'b', source: 'print(x)' };
  return verdicts([{ id: 'a', source: 'x = 2' }, reader], [{ id: 'a', source }, reader])[1].state === 'upstream-edited';
}

/** What the verdicts say of one cell with this run; the text of the error where the run cannot be read. */
function answer(run) {
  try {
    return new wasm.Workbench().verdicts([{ id: 'a', source: 'x = 1' }], [run])[0].state;
  } catch (error) {
    return error.message;
  }
}

const full = { cell: 'a', source: 'x = 1', number: 3, status: 'ok', how: 'replayed', undone: false, result: 'r', outside: [] };

// The rest of the face, and source that nests so deeply that a browser's stack would not hold it.
for (const [title, holds] of [
  ['the version is a version', () => /^\d+\.\d+\.\d+/.test(wasm.version())],
  ['all fields of a run are read', () => answer(full) === 'replayed'],
  ['a run without a text is refused', () => answer({ ...full, source: undefined }) === 'run 0 cannot be read'],
  ['a run that went in an unknown way is refused', () => answer({ ...full, status: 'other' }) === 'run 0 cannot be read'],
  ['what may be left out may be null', () => answer({ ...full, how: null, number: null, result: null }) === 'fresh'],
  ['a run that is none is refused', () => answer(null) === 'run 0 cannot be read'],
  ['a run of no cell is one from elsewhere', () => answer({ ...full, cell: null }) === 'never-run'],
  ['what changed outside is read', () => answer({ ...full, outside: ['a.csv'] }) !== 'replayed'],
  ['deep brackets are refused', () => verdicts([{ id: 'a', source: '('.repeat(100000) }], []).length === 0],
  ['deep operators are refused', () => verdicts([{ id: 'a', source: 'x = ' + '-'.repeat(100000) + '1' }], []).length === 0],
  ['allowed nesting fits the stack', () => isRead('x = ' + '('.repeat(150) + '1' + ')'.repeat(150))],
  ['long chains fit the stack', () => isRead('x = 1' + ' + 1'.repeat(380))]
]) {
  let isFine = false;
  try {
    isFine = holds();
  } catch (error) {
    console.log(error);
  }
  if (isFine) {
    nPassed += 1;
  } else {
    nFailed += 1;
    console.log(`FAILED ${title}`);
  }
}

console.log(`${nPassed} passed, ${nFailed} failed`);
process.exitCode = nFailed === 0 ? 0 : 1;
