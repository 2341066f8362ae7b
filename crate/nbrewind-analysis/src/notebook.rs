//! Whole notebooks: the dataflow graph, and which cells are stale after an edit and why.

use crate::ahead;
use crate::cell::{Cell, Detail};
use crate::dataflow::{
    CellOutcome, Digest, Extra, Manner, ReadRecord, Turn, Version, World, label,
};
use crate::effects::CellEffects;
use crate::memo::{self, Imports, Memo, Text};
use crate::name::Name;
use crate::verdict::{Because, Why};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// A code cell of a notebook.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct CellInput {
    /// The cell's id; copies may share one.
    pub id: String,
    /// Its text.
    pub source: String,
    /// Its tags.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub tags: Vec<String>,
}

/// One cell's effects with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct CellReport {
    /// The cell's id.
    pub id: String,
    /// What it does.
    #[serde(flatten)]
    pub effects: CellEffects,
}

/// A def-use edge: a cell reads what another one made or changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct DefUseEdge {
    /// The defining cell.
    pub from: String,
    /// The reading cell.
    pub to: String,
    /// What passes between them: a name, a file, a variable of the environment.
    pub name: String,
}

/// Effects of all cells and the edges between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct NotebookEffects {
    /// In page order.
    pub cells: Vec<CellReport>,
    /// Sorted, each once.
    pub edges: Vec<DefUseEdge>,
}

/// How a cell stands towards its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum CellState {
    /// Nothing that can reach it differs.
    Fresh,
    /// Something that may reach it differs.
    Unknown,
    /// Something that reaches it differs.
    Stale,
    /// It was never run.
    New,
    /// Its own text differs.
    Edited,
}

/// Which cells no longer match the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Staleness {
    /// Edited, new and stale cells, in page order.
    pub stale: Vec<String>,
    /// Cells that may be stale, in page order.
    pub unknown: Vec<String>,
    /// One sentence for every cell that is not fresh.
    pub reasons: BTreeMap<String, String>,
    /// For stale and unknown cells, what is behind it.
    pub why: BTreeMap<String, Why>,
    /// For stale and unknown cells, the way back to where it began: what passes, and the cell that it comes from. A cell
    /// that was deleted stands under the id that it had.
    pub because: BTreeMap<String, Vec<Because>>,
    /// The state of every cell.
    pub states: BTreeMap<String, CellState>,
}

/// What recorded runs add to what the text shows, by cell id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct RecordedFacts {
    /// By cell id.
    #[serde(default)]
    #[cfg_attr(
        feature = "types",
        ts(as = "Option<BTreeMap<String, RecordedCell>>", optional)
    )]
    pub cells: BTreeMap<String, RecordedCell>,
}

/// What one recorded run read and wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct RecordedCell {
    /// Names read.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub reads: Vec<String>,
    /// Names bound.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub writes: Vec<String>,
    /// Names whose object changed.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub mutates: Vec<String>,
    /// Files read.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub files_read: Vec<String>,
    /// Files written.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub files_written: Vec<String>,
    /// Names bound to values that share nothing which can change with any other name. Counts only while all that the cell
    /// may read is as it was.
    #[serde(default)]
    #[cfg_attr(feature = "types", ts(as = "Option<Vec<String>>", optional))]
    pub apart: Vec<String>,
}

/// Effects of every cell, and the edges of a run from top to bottom.
pub fn analyze_notebook(cells: &[CellInput]) -> NotebookEffects {
    let analysed = in_context(&texts(&mut Memo::new(Detail::Everything), cells));
    let outcomes = run(&analysed, &[], &[], &[]);
    let mut edges = BTreeSet::new();
    for (to, outcome) in outcomes.iter().enumerate() {
        for read in &outcome.reads {
            if let Some(from) = read.origin
                && from != to
            {
                let (from, to) = (cells[from].id.clone(), cells[to].id.clone());
                let name = read.name.text().to_owned();
                edges.insert(DefUseEdge { from, to, name });
            }
        }
    }
    let reports = cells.iter().zip(&analysed);
    NotebookEffects {
        cells: reports
            .map(|(cell, analysed)| CellReport {
                id: cell.id.clone(),
                effects: analysed.effects.clone(),
            })
            .collect(),
        edges: edges.into_iter().collect(),
    }
}

/// `audited` was run from top to bottom; which cells of `edited`, not run since, no longer match?
pub fn stale(
    audited: &[CellInput],
    edited: &[CellInput],
    facts: Option<&RecordedFacts>,
) -> Staleness {
    let mut memo = Memo::default();
    let old_texts = texts(&mut memo, audited);
    let new_texts = texts(&mut memo, edited);
    let matches = match_cells(audited, &old_texts, edited, &new_texts);
    let before = in_context(&old_texts);
    let after = in_context(&new_texts);

    let recorded = |id: &str| {
        facts
            .and_then(|facts| facts.cells.get(id))
            .map(|recorded| Rc::new(extra(recorded)))
    };
    let extras_before: Vec<Option<Rc<Extra>>> =
        audited.iter().map(|cell| recorded(&cell.id)).collect();
    let is_same = |at: usize| matches[at].is_some_and(|old| old_texts[old].is_same(&new_texts[at]));
    let extras_after: Vec<Option<Rc<Extra>>> = (0..edited.len())
        .map(|at| match matches[at] {
            Some(old) if is_same(at) => extras_before[old].clone(),
            _ => None,
        })
        .collect();
    // Broken text keeps the facts of the text that ran, in doubt.
    let mut doubts: Vec<Option<Digest>> = vec![None; edited.len()];
    let run_as: Vec<Rc<Cell>> = (0..edited.len())
        .map(|at| match matches[at] {
            Some(old) if new_texts[at].is_broken() && !old_texts[old].is_broken() => {
                doubts[at] = Some(label(&after[at].fingerprint));
                before[old].clone()
            }
            _ => after[at].clone(),
        })
        .collect();
    let outcomes_before = run(&before, &extras_before, &[], &[]);
    let keys: Vec<Option<Version>> = (0..edited.len())
        .map(|at| matches[at].map(|old| outcomes_before[old].values))
        .collect();
    let outcomes_after = run(&run_as, &extras_after, &doubts, &keys);

    let states: Vec<CellState> = (0..edited.len())
        .map(|at| match matches[at] {
            None if edited[at].source.trim().is_empty() => CellState::Fresh,
            None => CellState::New,
            Some(_) if !is_same(at) => CellState::Edited,
            Some(old) => {
                let (old, new) = (outcomes_before[old].key, outcomes_after[at].key);
                if old.certain != new.certain {
                    CellState::Stale
                } else if old.full != new.full {
                    CellState::Unknown
                } else {
                    CellState::Fresh
                }
            }
        })
        .collect();

    let context = Context {
        edited,
        audited,
        matches: &matches,
        states: &states,
    };
    let mut found = Staleness::default();
    // The way back from every cell; those above a cell are known when its turn comes.
    let mut ways: Vec<Vec<Because>> = vec![Vec::new(); edited.len()];
    for (at, cell) in edited.iter().enumerate() {
        let state = states[at];
        let known = found.states.entry(cell.id.clone()).or_insert(state);
        *known = (*known).max(state);
        let (list, reason) = match state {
            CellState::Fresh => continue,
            CellState::Edited => (&mut found.stale, edited_reason(&after[at])),
            CellState::New => (
                &mut found.stale,
                "This cell is new and was not run.".to_owned(),
            ),
            CellState::Stale | CellState::Unknown => {
                let old = matches[at].map(|old| &outcomes_before[old]);
                let cause = context.cause(at, state, old, &outcomes_after[at], &after[at]);
                if let Some(step) = cause.step {
                    ways[at].push(step);
                }
                if let Some(from) = cause.from {
                    let further = ways[from].clone();
                    ways[at].extend(further);
                }
                let way = ways[at].clone();
                found.because.entry(cell.id.clone()).or_insert(way);
                found.why.entry(cell.id.clone()).or_insert(cause.why);
                (
                    if state == CellState::Stale {
                        &mut found.stale
                    } else {
                        &mut found.unknown
                    },
                    cause.text,
                )
            }
        };
        if !list.contains(&cell.id) {
            list.push(cell.id.clone());
        }
        found.reasons.entry(cell.id.clone()).or_insert(reason);
    }
    let stale: BTreeSet<String> = found.stale.iter().cloned().collect();
    found.unknown.retain(|id| !stale.contains(id));
    found
}

fn edited_reason(cell: &Cell) -> String {
    match cell.effects.parse_errors.first() {
        Some(error) => format!(
            "This cell was edited and has a syntax error in line {}.",
            error.line
        ),
        None => "This cell was edited and not run since.".to_owned(),
    }
}

fn extra(recorded: &RecordedCell) -> Extra {
    let names = |names: &[String]| names.iter().map(|name| Name::new(name)).collect();
    Extra {
        reads: names(&recorded.reads),
        writes: names(&recorded.writes),
        mutates: names(&recorded.mutates),
        apart: names(&recorded.apart),
        files_read: recorded.files_read.clone(),
        files_written: recorded.files_written.clone(),
    }
}

fn run(
    cells: &[Rc<Cell>],
    extras: &[Option<Rc<Extra>>],
    doubts: &[Option<Digest>],
    recorded: &[Option<Version>],
) -> Vec<CellOutcome> {
    let mut world = World::new();
    for (at, cell) in cells.iter().enumerate() {
        let turn = Turn {
            doubt: doubts.get(at).copied().flatten(),
            place: Some(at),
            recorded: recorded.get(at).copied().flatten(),
            ..Turn::default()
        };
        world.push(cell.clone(), turn, extras.get(at).cloned().flatten());
    }
    world.outcomes
}

/// Every cell, knowing what the others import.
fn in_context(texts: &[Rc<Text>]) -> Vec<Rc<Cell>> {
    let elsewhere = memo::anywhere(texts.iter().map(|text| &**text));
    let mut imports = Imports::default();
    let mut placed = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        placed.push(imports.place(at, text, &elsewhere));
        imports.add(at, text);
    }
    placed
}

fn texts(memo: &mut Memo, cells: &[CellInput]) -> Vec<Rc<Text>> {
    let cells = cells.iter();
    let texts: Vec<Rc<Text>> = cells
        .map(|cell| memo.text(&cell.source, &cell.tags))
        .collect();
    ahead::read(texts.iter());
    texts
}

/// For every edited cell the audited one it was: by id and occurrence, else by content among those left over.
fn match_cells(
    audited: &[CellInput],
    before: &[Rc<Text>],
    edited: &[CellInput],
    after: &[Rc<Text>],
) -> Vec<Option<usize>> {
    let mut by_id: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, cell) in audited.iter().enumerate() {
        by_id.entry(&cell.id).or_default().push(at);
    }
    let mut is_taken = vec![false; audited.len()];
    let mut matches: Vec<Option<usize>> = vec![None; edited.len()];
    // Among cells that share an id the one with the same content comes first.
    for only_same in [true, false] {
        for (at, cell) in edited.iter().enumerate() {
            if matches[at].is_some() {
                continue;
            }
            let candidates = by_id.get(cell.id.as_str()).map_or(&[][..], |found| found);
            let found = candidates
                .iter()
                .copied()
                .find(|&old| !is_taken[old] && (!only_same || before[old].is_same(&after[at])));
            if let Some(old) = found {
                is_taken[old] = true;
                matches[at] = Some(old);
            }
        }
    }
    // Ids change when notebooks pass through other tools: fall back on content, then on similar content.
    for (at, cell) in edited.iter().enumerate() {
        if matches[at].is_some() || cell.source.trim().is_empty() {
            continue;
        }
        let found = (0..audited.len()).find(|&old| {
            !is_taken[old]
                && !edited.iter().any(|other| other.id == audited[old].id)
                && before[old].is_same(&after[at])
        });
        if let Some(old) = found {
            is_taken[old] = true;
            matches[at] = Some(old);
        }
    }
    for (at, cell) in edited.iter().enumerate() {
        if matches[at].is_some()
            || cell.source.trim().is_empty()
            || by_id.contains_key(cell.id.as_str())
        {
            continue;
        }
        let mut best: Option<(f32, usize)> = None;
        for (old, other) in audited.iter().enumerate() {
            if is_taken[old] || edited.iter().any(|cell| cell.id == other.id) {
                continue;
            }
            let ratio = similar::TextDiff::from_lines(&other.source, &cell.source).ratio();
            if ratio > 0.6 && best.is_none_or(|(known, _)| ratio > known) {
                best = Some((ratio, old));
            }
        }
        if let Some((_, old)) = best {
            is_taken[old] = true;
            matches[at] = Some(old);
        }
    }
    matches
}

/// What is behind one verdict.
struct Cause {
    text: String,
    why: Why,
    /// The first step of the way back, and the cell on the page that it leads to.
    step: Option<Because>,
    from: Option<usize>,
}

struct Context<'a> {
    edited: &'a [CellInput],
    audited: &'a [CellInput],
    matches: &'a [Option<usize>],
    states: &'a [CellState],
}

impl Context<'_> {
    /// The first thing read that differs.
    fn cause(
        &self,
        at: usize,
        state: CellState,
        before: Option<&CellOutcome>,
        after: &CellOutcome,
        cell: &Cell,
    ) -> Cause {
        let old_reads = before.map_or(&[][..], |before| &before.reads);
        let differs = |read: &ReadRecord, others: &[ReadRecord]| {
            !others.iter().any(|other| {
                other.name == read.name
                    && if state == CellState::Stale {
                        other.version.certain == read.version.certain
                    } else {
                        other.version.full == read.version.full
                    }
            })
        };
        let changed: Vec<&ReadRecord> = after
            .reads
            .iter()
            .filter(|read| differs(read, old_reads))
            .collect();
        // A name that the cell takes from others explains more than one of its own that shares objects with it; a cell
        // that was edited explains more than one that is stale itself, and the one that set the name last more than those
        // before it.
        let best = changed
            .iter()
            .filter(|read| read.origin.is_some_and(|origin| origin != at))
            .max_by_key(|read| {
                read.origin.map(|origin| {
                    (
                        cell.names.reads.has(read.name),
                        self.states[origin],
                        std::cmp::Reverse(read.through.is_some()),
                        origin,
                    )
                })
            });
        if let Some(read) = best
            && let Some(origin) = read.origin
        {
            return Cause {
                text: self.sentence(read, origin, state),
                why: match self.states[origin] {
                    _ if read.manner == Manner::Unknown => Why::UnknownCode,
                    CellState::Edited => Why::Edited,
                    CellState::New => Why::NotRun,
                    CellState::Stale | CellState::Unknown => Why::Upstream,
                    CellState::Fresh => Why::OutOfOrder,
                },
                step: Some(step(read, &self.edited[origin])),
                from: Some(origin).filter(|from| *from < at),
            };
        }
        // Gone: it was there in the run and is not any more.
        let gone = old_reads
            .iter()
            .find(|read| read.origin.is_some() && differs(read, &after.reads));
        if let Some(read) = gone
            && let Some(origin) = read.origin
        {
            let name = read.name.text();
            let place = self
                .matches
                .iter()
                .position(|matched| *matched == Some(origin));
            let (text, why) = match place {
                Some(place) => (
                    format!(
                        "`{name}` came from cell {}, which {}.",
                        place + 1,
                        self.what_happened(place)
                    ),
                    match self.states[place] {
                        CellState::Edited => Why::RemovedDefinition,
                        _ if place > at => Why::DefinedBelow,
                        _ => Why::OutOfOrder,
                    },
                ),
                None => {
                    let line = first_line(&self.audited[origin].source);
                    (
                        format!("`{name}` came from a cell that was deleted (`{line}`)."),
                        Why::DeletedDefinition,
                    )
                }
            };
            return Cause {
                text,
                why,
                step: Some(step(read, &self.audited[origin])),
                from: None,
            };
        }
        let text = match cell.effects.unknown.first() {
            Some(note) if state == CellState::Unknown => {
                format!(
                    "`{}` in this cell may read anything, and something above it changed.",
                    note.construct
                )
            }
            _ => "Something above this cell changed.".to_owned(),
        };
        Cause {
            text,
            why: Why::UnknownCode,
            step: None,
            from: None,
        }
    }

    fn sentence(&self, read: &ReadRecord, origin: usize, state: CellState) -> String {
        let place = format!("cell {}", origin + 1);
        let happened = self.what_happened(origin);
        let name = read.name.text();
        let what = match read.manner {
            Manner::Bound => format!("`{name}` comes from {place}"),
            Manner::Changed => format!("`{name}` is changed in {place}"),
            Manner::File => format!("`{name}` is written in {place}"),
            Manner::Environment => format!("`{name}` in the environment is set in {place}"),
            Manner::Random | Manner::Configuration => format!("The {name} is set in {place}"),
            Manner::Unknown => format!("`{name}` may be changed in {place}"),
        };
        let may = if state == CellState::Unknown && read.manner == Manner::File {
            "may be"
        } else {
            "is"
        };
        let what = what.replace("is written", &format!("{may} written"));
        match &read.through {
            Some(function) if !function.is_empty() && *function != read.name => {
                let function = function.text();
                format!("`{function}` uses `{name}`: {what}, which {happened}.")
            }
            _ => format!("{what}, which {happened}."),
        }
    }

    fn what_happened(&self, at: usize) -> &'static str {
        match self.states.get(at) {
            Some(CellState::Edited) => "was edited",
            Some(CellState::New) => "is new",
            Some(CellState::Stale) => "is stale",
            Some(CellState::Unknown) => "may be stale",
            _ if self.matches.get(at).is_some_and(|old| *old != Some(at)) => "moved",
            _ => "is now the last to set it",
        }
    }
}

fn step(read: &ReadRecord, cell: &CellInput) -> Because {
    Because {
        name: Some(read.name.text().to_owned()),
        cell: Some(cell.id.clone()),
        number: None,
    }
}

pub(crate) fn first_line(source: &str) -> String {
    let line = source
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    line.chars().take(40).collect()
}
