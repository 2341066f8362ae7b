//! Runs every case of `tests/cases/live`: how cells stand in a live session.

use nbrewind_analysis::{CellInput, RunHow, RunInput, RunStatus, Verdict, VerdictState, Workbench};
use std::path::PathBuf;

/// A page, a kernel, and the bench that judges them.
#[derive(Default)]
struct Session {
    cells: Vec<CellInput>,
    runs: Vec<RunInput>,
    number: u32,
    bench: Workbench,
    verdicts: Vec<Verdict>,
}

impl Session {
    fn at(&self, id: &str) -> usize {
        let found = self.cells.iter().position(|cell| cell.id == id);
        found.unwrap_or_else(|| panic!("no cell {id}"))
    }

    fn run(&mut self, id: &str) -> &mut RunInput {
        let cell = self.cells[self.at(id)].clone();
        self.number += 1;
        self.runs.push(RunInput {
            cell: cell.id,
            source: cell.source,
            number: Some(self.number),
            ..RunInput::default()
        });
        self.runs.last_mut().expect("a run")
    }

    fn ids(&self, list: &str) -> Vec<String> {
        if list.trim() == "all" {
            return self.cells.iter().map(|cell| cell.id.clone()).collect();
        }
        list.split(',').map(|id| id.trim().to_owned()).collect()
    }

    /// Does what a line says; the complaint if the line is a check that does not hold.
    fn step(&mut self, line: &str) -> Option<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (head, text) = match rest.split_once(':') {
            Some((head, text)) => (head.trim(), text.trim().replace("\\n", "\n")),
            None => (rest.trim(), String::new()),
        };
        let new = |id: &str| CellInput {
            id: id.to_owned(),
            source: text.clone(),
            tags: Vec::new(),
        };
        match verb {
            "cell" => self.cells.push(new(head)),
            "edit" => {
                let at = self.at(head);
                self.cells[at].source = text;
            }
            "delete" => {
                let at = self.at(head);
                self.cells.remove(at);
            }
            "move" => {
                let (id, before) = head.split_once(" before ").expect("move ID before ID");
                let cell = self.cells.remove(self.at(id));
                let at = self.at(before.trim());
                self.cells.insert(at, cell);
            }
            "insert" => {
                let (id, before) = head.split_once(" before ").expect("insert ID before ID");
                let at = self.at(before);
                self.cells.insert(at, new(id));
            }
            "rename" => {
                let (id, to) = head.split_once(" to ").expect("rename ID to ID");
                let at = self.at(id);
                self.cells[at].id = to.to_owned();
            }
            "run" => {
                for id in self.ids(head) {
                    let (id, result) = match id.split_once(" giving ") {
                        Some((id, result)) => (id.to_owned(), Some(result.to_owned())),
                        None => (id, None),
                    };
                    self.run(&id).result = result;
                }
            }
            "begin" => {
                for id in self.ids(head) {
                    let run = self.run(&id);
                    run.status = RunStatus::Running;
                    run.number = None;
                }
            }
            "end" => {
                for run in &mut self.runs {
                    if run.status == RunStatus::Running {
                        run.status = RunStatus::Ok;
                    }
                }
            }
            "fail" => self.run(head).status = RunStatus::Failed,
            "interrupt" => self.run(head).status = RunStatus::Interrupted,
            "replay" => {
                for id in self.ids(head) {
                    self.run(&id).how = RunHow::Replayed;
                }
            }
            "restored" => self.run(head).how = RunHow::Restored,
            "outside" => {
                let mut runs = self.runs.iter_mut().rev();
                let run = runs.find(|run| run.cell == head).expect("a run");
                run.outside = match text.as_str() {
                    "nothing" => Vec::new(),
                    names => names.split(", ").map(str::to_owned).collect(),
                };
            }
            "console" => {
                self.number += 1;
                self.runs.push(RunInput {
                    source: rest.trim().replace("\\n", "\n"),
                    number: Some(self.number),
                    ..RunInput::default()
                });
            }
            // Restores the state right after the run of this number.
            "restore" => {
                let number: u32 = head.parse().expect("restore NUMBER");
                for run in &mut self.runs {
                    run.undone = run.number.is_some_and(|known| known > number);
                }
            }
            "restart" => {
                self.runs.clear();
                self.number = 0;
            }
            "then" => return self.check(rest),
            // The page is closed and opened again on the kernel, which knows what it ran.
            "reopen" => self.bench = Workbench::new(),
            "would" => {
                self.verdicts = self.bench.verdicts(&self.cells, &self.runs);
                let found = self.bench.would_become_stale(self.at(head));
                let found: Vec<&str> = found.iter().map(|at| &*self.cells[*at].id).collect();
                let expected = if text == "nothing" { "" } else { &text };
                if found.join(", ") != expected {
                    return Some(format!("would {head}: {}", found.join(", ")));
                }
                // Asking changes nothing.
                let after = self.bench.verdicts(&self.cells, &self.runs);
                if after != self.verdicts {
                    return Some(format!("{after:?}"));
                }
            }
            "reason" => {
                let found = &self.verdicts[self.at(head)];
                let is_whole = text.ends_with('.');
                if (is_whole && found.reason != text) || !found.reason.contains(&text) {
                    return Some(format!("reason of {head}: {}", found.reason));
                }
            }
            "why" => {
                let found = serde_json::to_value(self.verdicts[self.at(head)].why);
                let found = found.expect("a name");
                if found.as_str() != Some(&text) {
                    return Some(format!("why of {head}: {found}"));
                }
            }
            "jump" => {
                let found = &self.verdicts[self.at(head)].because;
                let cells: Vec<&str> = found
                    .iter()
                    .map(|one| one.cell.as_deref().unwrap_or("-"))
                    .collect();
                if cells.join(", ") != text {
                    return Some(format!("because of {head}: {found:?}"));
                }
            }
            _ => panic!("what does this line mean? {line:?}"),
        }
        None
    }

    /// `a stale, b unknown`: cells that are not named are fresh.
    fn check(&mut self, expected: &str) -> Option<String> {
        self.verdicts = self.bench.verdicts(&self.cells, &self.runs);
        let from_scratch = Workbench::new().verdicts(&self.cells, &self.runs);
        if self.verdicts != from_scratch {
            return Some(format!(
                "kept: {:?}\nfrom scratch: {from_scratch:?}",
                self.verdicts
            ));
        }
        let found: Vec<String> = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.state != VerdictState::Fresh)
            .map(|verdict| format!("{} {}", verdict.id, name(verdict.state)))
            .collect();
        for verdict in &self.verdicts {
            let is_fresh = verdict.state == VerdictState::Fresh;
            if is_fresh != verdict.reason.is_empty() {
                return Some(format!("a reason for {}: {verdict:?}", verdict.id));
            }
        }
        let expected = if expected == "all fresh" {
            ""
        } else {
            expected
        };
        (found.join(", ") != expected).then(|| {
            let reasons = self.verdicts.iter();
            let reasons: Vec<&str> = reasons.map(|verdict| verdict.reason.as_str()).collect();
            format!(
                "then {}\n      {}",
                found.join(", "),
                reasons.join("\n      ")
            )
        })
    }
}

fn name(state: VerdictState) -> String {
    let name = serde_json::to_value(state).expect("a name");
    name.as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_session_holds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/live");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/cases/live")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut n_cases = 0;
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable case file");
        let mut title = "";
        let mut session = Session::default();
        for line in text.lines() {
            if let Some(next) = line.strip_prefix("## ") {
                n_cases += 1;
                title = next;
                session = Session::default();
            } else if let Some(line) = line.strip_prefix("    ")
                && let Some(complaint) = session.step(line)
            {
                failures.push(format!("{title}: {line}\n   => {complaint}"));
            }
        }
    }
    assert!(n_cases >= 40, "only {n_cases} sessions were found");
    assert!(
        failures.is_empty(),
        "{} checks fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// A generator of choices that is the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % n.max(1)
    }
}

const TEXTS: &[&str] = &[
    "x = 1",
    "x = 2",
    "y = x + 1",
    "x += 1",
    "l = []",
    "l.append(x)",
    "print(x, y)",
    "print(l)",
    "def f(): return x",
    "z = f()",
    "import random",
    "y = random.random()",
    "from random import seed",
    "seed(1)",
    "import pandas as pd",
    "df = pd.read_csv('a.csv')",
    "df['b'] = x",
    "df.to_csv(f'{y}.csv')",
    "exec(code)",
    "for i in range(3): y = i",
    "if z:\n    x = 3",
    "del x",
    "x = (",
    "from helpers import *",
    "",
    "d = {'a': x, 'b': l}",
    "d['a'] = y",
    "print(d['a'])",
    "m = d['b']\nm.append(y)",
    "class C:\n    k = x\n    def go(self, v):\n        self.v = v\n        l.append(v)\n        return x",
    "o = C()\no.go(l)",
    "o.v = y\nprint(o.v)",
    "it = iter(l)",
    "next(it)",
    "def g(a, b=x):\n    a.append(b)\n    return f() + y",
    "z = g(l, 2)",
    "import os\nos.environ['A'] = str(x)",
    "print(os.environ['A'])",
    "open('a.csv', 'w').write(str(x))",
    "path = 'b.csv'\ndf.to_csv(path)",
    "e = pd.read_csv(path)",
    "import math\nmath.kk = x",
    "print(math.kk)",
    "pd.set_option('display.width', x)",
    "for y in l: z = y",
    "with open('a.csv') as h: x = h.read()",
    "try:\n    y = x\nexcept E as e:\n    y = 0",
    "print(_)",
    "exec(f'x = {y}')",
    "df.query('a > @x')",
    "h = lambda v: v + x\nz = h(y)",
    "from glob import glob\nz = glob('*.csv')",
    "class D(C):\n    def __call__(self, v): self.v = v\no = D()",
    "for q in [o]: q(l)",
];

const HOLDERS: &[&str] = &[
    "a = [1]",
    "a = []\nb = a",
    "b = [a]",
    "c = [b]",
    "c = {'k': b}",
    "c['k'] = a",
    "c['j'] = b",
    "d = [c, b]",
    "d = [d]",
    "a.append(k)",
    "b.append(c)",
    "c.update(k=b)",
    "print(a)",
    "print(b)",
    "print(c['k'])",
    "print(d)",
    "v = a[:1]",
    "v = c['k']\nw = [v]",
    "w = [v]",
    "v.append(k)",
    "print(w)",
    "a.sort()",
    "class N:\n    def __init__(self, n):\n        self.n = n\n    def get(self):\n        return self.n + k",
    "n = N(a)",
    "n = N(n)",
    "n.n = b",
    "print(n.get())",
    "d.append(n)",
    "def grow(l):\n    l.append(k)",
    "def grow(l):\n    return [l, k]",
    "grow(a)",
    "b = grow(b)",
    "h = {'f': grow}",
    "h['f'](b)",
    "d.append(grow)",
    "k = 1",
    "k = 2",
    "t = lib.wrap(a)\nd = [t]",
    "lib.change(d)",
    "for x in b: x.append(1)",
    "a += [2]",
    "e = list(c)\ne.append(a)",
    "e = d.copy()",
    "print(e)",
    "it = iter(a)\nd = [it]",
    "next(it)",
    "exec(code)",
    "del a",
    "b = [a",
    "",
];

/// Whatever happens, what is kept between calls changes no answer, and undoing an edit brings the old answer back.
#[test]
fn a_kept_bench_answers_like_a_new_one() {
    answers_like_a_new_one(TEXTS, 40);
}

/// The same where cells share objects: chains of holders, views, functions in containers.
#[test]
fn a_kept_bench_answers_like_a_new_one_on_objects_that_hold_each_other() {
    answers_like_a_new_one(HOLDERS, 25);
}

fn answers_like_a_new_one(texts: &[&str], usual_rounds: u64) {
    let n_rounds = std::env::var("NBREWIND_ROUNDS");
    let n_rounds = n_rounds.map_or(usual_rounds, |n| n.parse().expect("a number"));
    for round in 0..n_rounds {
        let mut dice = Dice(round);
        let mut session = Session::default();
        let text = |dice: &mut Dice| texts[dice.below(texts.len())].to_owned();
        for id in ["a", "b", "c", "d", "e", "f"] {
            let source = text(&mut dice);
            session.step(&format!("cell {id}: {}", source.replace('\n', "\\n")));
        }
        for _ in 0..40 {
            let n_cells = session.cells.len();
            let at = dice.below(n_cells);
            let id = session.cells.get(at).map(|cell| cell.id.clone());
            let id = id.unwrap_or_default();
            let before = session.bench.verdicts(&session.cells, &session.runs);
            match dice.below(12) {
                0..=3 if n_cells > 0 => {
                    session.run(&id);
                }
                4 => {
                    session.step("run all");
                }
                5 if n_cells > 0 => session.run(&id).status = RunStatus::Failed,
                6 | 7 if n_cells > 0 => {
                    let old = session.cells[at].source.clone();
                    let new = text(&mut dice);
                    // Whatever was worked out ahead, and for whichever cell.
                    let somewhere = dice.below(n_cells);
                    let waits = [at, somewhere, at];
                    for expected in &waits[..dice.below(4)] {
                        let line = 1 + dice.below(3);
                        session.bench.expect(*expected, line);
                        while session.bench.prepare() {}
                    }
                    let changed = session.bench.edit(at, &new);
                    let mut told = before.clone();
                    for (at, verdict) in changed {
                        assert_ne!(told[at], *verdict, "round {round}: told without a change");
                        told[at] = verdict.clone();
                    }
                    session.cells[at].source = new;
                    while dice.below(2) == 0 && session.bench.prepare() {}
                    let now = session.bench.verdicts(&session.cells, &session.runs);
                    assert_eq!(told, now, "round {round}: what an edit changed");
                    if dice.below(3) == 0 {
                        let further = text(&mut dice);
                        for (at, verdict) in session.bench.edit(at, &further) {
                            assert_ne!(told[at], *verdict, "round {round}: told without a change");
                            told[at] = verdict.clone();
                        }
                        session.cells[at].source = further;
                        let now = session.bench.verdicts(&session.cells, &session.runs);
                        assert_eq!(told, now, "round {round}: what a second edit changed");
                    }
                    if dice.below(2) == 0 {
                        session.cells[at].source = old;
                        let after = session.bench.verdicts(&session.cells, &session.runs);
                        assert_eq!(before, after, "round {round}: an edit was undone");
                    }
                }
                8 if n_cells > 2 => {
                    let cell = session.cells.remove(at);
                    // Half of them come back somewhere else.
                    if dice.below(2) == 0 {
                        let to = dice.below(n_cells);
                        session.cells.insert(to, cell);
                    }
                }
                9 => session.cells.insert(
                    at,
                    CellInput {
                        id: if dice.below(4) == 0 {
                            id
                        } else {
                            format!("n{}", session.number)
                        },
                        source: text(&mut dice),
                        tags: Vec::new(),
                    },
                ),
                10 => {
                    let number = dice.below(usize::try_from(session.number).unwrap_or(0) + 1);
                    session.step(&format!("restore {number}"));
                }
                _ => {
                    let source = text(&mut dice);
                    session.runs.push(RunInput {
                        source,
                        ..RunInput::default()
                    });
                }
            }
            let kept = session.bench.verdicts(&session.cells, &session.runs);
            let from_scratch = Workbench::new().verdicts(&session.cells, &session.runs);
            assert_eq!(kept, from_scratch, "round {round}");
            for verdict in &kept {
                assert_eq!(
                    verdict.state == VerdictState::Fresh,
                    verdict.reason.is_empty(),
                    "{verdict:?}"
                );
            }
        }
    }
}

/// What an edit says does not depend on whether it was expected; and when it was, nothing below runs.
#[test]
fn an_expected_edit_says_what_any_other_says() {
    let page = |first: &str| -> Vec<CellInput> {
        let below = (1..200).map(|n| format!("x{n} = x{} + 1", n - 1));
        let texts = std::iter::once(first.to_owned()).chain(below);
        let cell = |(at, source)| CellInput {
            id: format!("c{at}"),
            source,
            tags: Vec::new(),
        };
        texts.enumerate().map(cell).collect()
    };
    let cells = page("y = 1\nx0 = 1");
    let runs: Vec<RunInput> = (1u32..)
        .zip(&cells)
        .map(|(number, cell)| RunInput {
            cell: cell.id.clone(),
            source: cell.source.clone(),
            number: Some(number),
            ..RunInput::default()
        })
        .collect();
    let mut expecting = Workbench::new();
    let mut plain = Workbench::new();
    expecting.verdicts(&cells, &runs);
    plain.verdicts(&cells, &runs);
    expecting.expect(0, 2);
    assert!(expecting.prepare());
    while expecting.prepare() {}
    for text in [
        "y = 1\nx0 = 12",
        "y = 1\nx0 = 12 +",
        "y = 1\nx0 = 12 + 3",
        "y = 2\nx0 = 12",
        "y = 1\nx0 = 1",
        "y = 1\nx0 = (",
        "",
        "y = 1\nx0 = 1",
    ] {
        assert_eq!(expecting.edit(0, text), plain.edit(0, text), "{text}");
        let now = expecting.verdicts(&page(text), &runs);
        assert_eq!(now, Workbench::new().verdicts(&page(text), &runs), "{text}");
    }
}

/// 74: a page of 1,000 cells and one cell of 2,000 lines.
#[test]
fn a_long_page_and_a_long_cell_are_judged() {
    let mut session = Session::default();
    let lines: Vec<String> = (0..2000).map(|n| format!("v{n} = {n} * scale")).collect();
    session.step("cell c0: scale = 2");
    session.step(&format!("cell c1: {}", lines.join("\\n")));
    for n in 2..1000 {
        session.step(&format!("cell c{n}: w{n} = v{n} + 1"));
    }
    session.step("run all");
    assert_eq!(session.step("then all fresh"), None);
    let edited = lines.join("\n").replace("v1500 = 1500", "v500 = 1500");
    let changed = session.bench.edit(1, &edited);
    let states: Vec<(usize, VerdictState)> = changed
        .iter()
        .map(|(at, verdict)| (*at, verdict.state))
        .collect();
    assert_eq!(
        states,
        [
            (1, VerdictState::Edited),
            (500, VerdictState::UpstreamEdited)
        ]
    );
    assert_eq!(session.bench.would_become_stale(0).len(), 999);
    assert_eq!(session.bench.edit(1, &lines.join("\n")).len(), 2);
}

/// What was typed and never ran still depends on what stands above it.
#[test]
fn what_would_become_stale_passes_through_an_edited_cell() {
    let mut session = Session::default();
    for (id, text) in [("a", "x = 1"), ("b", "y = x"), ("c", "print(y)")] {
        session.step(&format!("cell {id}: {text}"));
    }
    session.step("run all");
    for text in ["y = x + 5", "y = x + 56", "y = x + ", "y = x"] {
        session.step(&format!("edit b: {text}"));
        session.bench.verdicts(&session.cells, &session.runs);
        assert_eq!(session.bench.would_become_stale(0), [1, 2], "{text}");
    }
}

/// One loop variable for all cells: a long page must neither overflow the stack nor take for ever.
#[test]
fn a_long_page_that_uses_one_name_is_judged() {
    let mut session = Session::default();
    for n in 0..1200 {
        session.step(&format!("cell c{n}: for i in range(3): x{n} = i"));
    }
    session.step("run all");
    session.step("run all");
    assert_eq!(session.step("then all fresh"), None);
}
