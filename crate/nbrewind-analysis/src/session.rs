//! A live session: which cells on the page still match what the kernel ran, judged at every keystroke.
//!
//! Terms: the *runs* are the texts that were sent to the kernel, in order. They are followed through the dataflow pass as
//! they happened (the *actual* pass); the page as it stands is followed from top to bottom (the *ideal* pass). A cell is
//! fresh when its last run has the same key in both. To tell what is already stale from what an edit would make stale,
//! the page is also followed with the texts that ran last (the *sent* pass): a cell that differs from it as well is
//! stale even with all edits undone.
//!
//! Invariant: the answer depends on the cells and the runs alone. What is kept between calls saves work, nothing else.

use crate::dataflow::{CellOutcome, Turn, World};
use crate::memo::{self, Imports, Memo, Modules, Text};
use crate::reason::Evidence;
use crate::verdict::{Because, RunHow, RunInput, RunStatus, Verdict, VerdictState};
use crate::{CellInput, reason};
use rustc_hash::FxHashMap as HashMap;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Judges the cells of one notebook and one kernel, and keeps what it analysed between calls.
#[derive(Default)]
pub struct Workbench {
    memo: Memo,
    /// The runs of the last call with their texts.
    runs: Vec<(RunInput, Rc<Text>)>,
    /// The texts on the page at the last call.
    page: Vec<Rc<Text>>,
    actual: Pass,
    /// The same as if failed runs had done nothing: nobody knows how far they came.
    actual_without_failed: Pass,
    ideal: Pass,
    sent: Pass,
}

impl Workbench {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Workbench::default()
    }

    /// How every cell of the page stands, in page order. `cells` are the code cells as they stand on the page, `runs`
    /// everything that this kernel ran, in order.
    pub fn verdicts(&mut self, cells: &[CellInput], runs: &[RunInput]) -> Vec<Verdict> {
        self.runs.truncate(runs.len());
        for (at, run) in runs.iter().enumerate() {
            match self.runs.get_mut(at) {
                Some((known, _)) if known == run => {}
                Some(known) => *known = (run.clone(), self.memo.text(&run.source, &[])),
                None => {
                    let text = self.memo.text(&run.source, &[]);
                    self.runs.push((run.clone(), text));
                }
            }
        }
        self.page = cells
            .iter()
            .map(|cell| self.memo.text(&cell.source, &[]))
            .collect();
        let sent_texts: Vec<Rc<Text>> = self.runs.iter().map(|(_, text)| text.clone()).collect();
        let matched = Matched::new(cells, &self.page, runs, &sent_texts);
        let plan = Plan::new(&mut self.memo, &self.page, runs, &sent_texts, &matched);

        let elsewhere = Rc::new(memo::anywhere(
            plan.ideal
                .iter()
                .map(|step| &*step.text)
                .chain(sent_texts.iter().map(|text| &**text)),
        ));
        self.actual.follow(plan.actual, &elsewhere);
        self.actual_without_failed
            .follow(plan.actual_without_failed, &elsewhere);
        self.ideal.follow(plan.ideal, &elsewhere);
        self.sent.follow(plan.sent, &elsewhere);

        let judge = Judge {
            cells,
            runs,
            page: &self.page,
            texts: &sent_texts,
            matched: &matched,
            actual: &self.actual.outcomes,
            actual_without_failed: &self.actual_without_failed.outcomes,
            step_of_run: &plan.step_of_run,
            step_without_failed: &plan.step_without_failed,
            ideal: &self.ideal.outcomes,
            sent: &self.sent.outcomes,
            sent_pages: &plan.sent_pages,
        };
        let verdicts = judge.all();
        drop(sent_texts);
        self.memo.sweep();
        verdicts
    }
}

/// One cell run of a pass.
#[derive(Debug, Clone)]
struct Step {
    text: Rc<Text>,
    doubt: Option<Vec<u8>>,
    salt: Option<Vec<u8>>,
    place: Option<usize>,
    starts_over: bool,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.text, &other.text)
            && self.doubt == other.doubt
            && self.salt == other.salt
            && self.place == other.place
            && self.starts_over == other.starts_over
    }
}

/// A dataflow pass over a list of steps, which goes on where the list was only continued.
#[derive(Default)]
struct Pass {
    steps: Vec<Step>,
    elsewhere: Rc<Modules>,
    imports: Imports,
    world: World,
    outcomes: Vec<CellOutcome>,
}

impl Pass {
    fn follow(&mut self, steps: Vec<Step>, elsewhere: &Rc<Modules>) {
        let goes_on = self.elsewhere == *elsewhere
            && self.steps.len() <= steps.len()
            && self.steps[..] == steps[..self.steps.len()];
        if !goes_on {
            *self = Pass {
                elsewhere: elsewhere.clone(),
                ..Pass::default()
            };
        }
        for step in &steps[self.steps.len()..] {
            let cell = self.imports.place(&step.text, elsewhere);
            let turn = Turn {
                extra: None,
                doubt: step.doubt.as_deref(),
                salt: step.salt.as_deref(),
                place: step.place,
                starts_over: step.starts_over,
            };
            self.outcomes.push(self.world.run_cell(&cell, turn));
        }
        self.steps = steps;
    }
}

/// Which runs belong to which cell on the page.
pub(crate) struct Matched {
    /// For every run, the cell on the page that it was a run of.
    pub page_of_run: Vec<Option<usize>>,
    /// For every cell, its last run that is part of the state.
    pub last: Vec<Option<usize>>,
    /// For every cell, its last run that was undone.
    pub last_undone: Vec<Option<usize>>,
}

impl Matched {
    fn new(cells: &[CellInput], page: &[Rc<Text>], runs: &[RunInput], texts: &[Rc<Text>]) -> Self {
        let mut runs_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, run) in runs.iter().enumerate() {
            if !run.cell.is_empty() {
                runs_of.entry(&run.cell).or_default().push(at);
            }
        }
        let mut cells_of: HashMap<&str, Vec<usize>> = HashMap::default();
        for (at, cell) in cells.iter().enumerate() {
            cells_of.entry(&cell.id).or_default().push(at);
        }
        let mut page_of_run = vec![None; runs.len()];
        for (id, own) in &runs_of {
            match cells_of.get(id).map(|found| &found[..]) {
                Some([only]) => own.iter().for_each(|&run| page_of_run[run] = Some(*only)),
                Some(copies) => share_out(copies, own, page, texts, &mut page_of_run),
                None => {}
            }
        }
        // A cell that was cut and pasted, or went through another tool, has a new id and the text that ran last.
        let mut adopted: Vec<bool> = page.iter().map(|text| text.is_blank()).collect();
        for (id, own) in &runs_of {
            let Some(last) = own.iter().rfind(|run| !runs[**run].undone) else {
                continue;
            };
            if cells_of.contains_key(id) {
                continue;
            }
            let heir = (0..cells.len()).find(|&at| {
                !adopted[at]
                    && !runs_of.contains_key(cells[at].id.as_str())
                    && page[at].is_same(&texts[*last])
            });
            if let Some(heir) = heir {
                adopted[heir] = true;
                own.iter().for_each(|&run| page_of_run[run] = Some(heir));
            }
        }
        let mut last = vec![None; cells.len()];
        let mut last_undone = vec![None; cells.len()];
        for (run, page) in page_of_run.iter().enumerate() {
            if let Some(page) = *page {
                let list = if runs[run].undone {
                    &mut last_undone
                } else {
                    &mut last
                };
                list[page] = Some(run);
            }
        }
        Matched {
            page_of_run,
            last,
            last_undone,
        }
    }
}

/// Copies of a cell share an id: every run goes to the copy that has its text, one to each as far as they go, and what
/// is left to the first copy that matched nothing.
fn share_out(
    copies: &[usize],
    own: &[usize],
    page: &[Rc<Text>],
    texts: &[Rc<Text>],
    page_of_run: &mut [Option<usize>],
) {
    let mut has_run = vec![false; copies.len()];
    let mut is_shared = vec![false; copies.len()];
    for (at, &copy) in copies.iter().enumerate() {
        if is_shared[at] {
            continue;
        }
        let equal: Vec<usize> = (at..copies.len())
            .filter(|&other| page[copies[other]].is_same(&page[copy]))
            .collect();
        let matching: Vec<usize> = own
            .iter()
            .copied()
            .filter(|&run| texts[run].is_same(&page[copy]))
            .collect();
        // The last runs are the copies' own; older ones are the first copy's.
        let n_older = matching.len().saturating_sub(equal.len());
        for (nth, &run) in matching.iter().enumerate() {
            let taker = equal[nth.saturating_sub(n_older).min(equal.len() - 1)];
            page_of_run[run] = Some(copies[taker]);
            has_run[taker] = true;
        }
        equal.iter().for_each(|&other| is_shared[other] = true);
    }
    let heir = has_run.iter().position(|has_run| !has_run).unwrap_or(0);
    for &run in own {
        page_of_run[run] = page_of_run[run].or(Some(copies[heir]));
    }
}

/// The steps of all passes.
struct Plan {
    actual: Vec<Step>,
    step_of_run: Vec<Option<usize>>,
    actual_without_failed: Vec<Step>,
    step_without_failed: Vec<Option<usize>>,
    ideal: Vec<Step>,
    sent: Vec<Step>,
    /// The cell on the page of every step of `sent`.
    sent_pages: Vec<usize>,
}

impl Plan {
    fn new(
        memo: &mut Memo,
        page: &[Rc<Text>],
        runs: &[RunInput],
        texts: &[Rc<Text>],
        matched: &Matched,
    ) -> Self {
        // Positions among the cells that ran: a new cell moves nothing.
        let mut ranks = vec![None; page.len()];
        let mut n_ranks = 0;
        for (at, last) in matched.last.iter().enumerate() {
            if last.is_some() {
                ranks[at] = Some(n_ranks);
                n_ranks += 1;
            }
        }
        let mut plan = Plan {
            actual: Vec::new(),
            step_of_run: vec![None; runs.len()],
            actual_without_failed: Vec::new(),
            step_without_failed: vec![None; runs.len()],
            ideal: Vec::new(),
            sent: Vec::new(),
            sent_pages: Vec::new(),
        };
        for (at, run) in runs.iter().enumerate().filter(|(_, run)| !run.undone) {
            let place = matched.page_of_run[at].and_then(|page| ranks[page]);
            let has_failed = is_cut_short(run.status);
            let step = Step {
                // Text that Python cannot read does not run at all.
                text: if has_failed && texts[at].is_broken() {
                    memo.text("", &[])
                } else {
                    texts[at].clone()
                },
                doubt: has_failed.then(|| format!("failed {at}").into_bytes()),
                salt: Some(salt(at, run)),
                place,
                starts_over: place == Some(0),
            };
            plan.step_of_run[at] = Some(plan.actual.len());
            if !has_failed {
                plan.step_without_failed[at] = Some(plan.actual_without_failed.len());
                plan.actual_without_failed.push(step.clone());
            }
            plan.actual.push(step);
        }
        for at in 0..page.len() {
            let last = matched.last[at];
            let step = ideal_step(at, &page[at], last, runs, texts, matched);
            plan.ideal.push(Step {
                place: Some(at),
                ..step
            });
            if let Some(last) = last {
                let step = ideal_step(at, &texts[last], Some(last), runs, texts, matched);
                plan.sent.push(Step {
                    place: ranks[at],
                    ..step
                });
                plan.sent_pages.push(at);
            }
        }
        if plan.actual_without_failed.len() == plan.actual.len() {
            plan.actual_without_failed.clear();
            plan.step_without_failed.fill(None);
        }
        plan
    }
}

pub(crate) fn is_cut_short(status: RunStatus) -> bool {
    matches!(status, RunStatus::Failed | RunStatus::Interrupted)
}

/// What tells this run from other runs of the same text, if it may give something else each time.
fn salt(at: usize, run: &RunInput) -> Vec<u8> {
    match &run.result {
        Some(result) => format!("result {result}").into_bytes(),
        None => format!("run {at}").into_bytes(),
    }
}

/// A cell as it would run from the top with this text.
fn ideal_step(
    at: usize,
    text: &Rc<Text>,
    last: Option<usize>,
    runs: &[RunInput],
    texts: &[Rc<Text>],
    matched: &Matched,
) -> Step {
    let mut step = Step {
        text: text.clone(),
        doubt: None,
        salt: last.map(|last| salt(last, &runs[last])),
        place: None,
        starts_over: false,
    };
    // What our parser refuses and Python ran is no broken text.
    let has_run =
        last.is_some_and(|last| runs[last].status == RunStatus::Ok && texts[last].is_same(text));
    if text.is_broken() && !has_run {
        // Broken text keeps the facts of the text that ran last, in doubt.
        step.doubt = Some([&b"broken "[..], &text.alone.fingerprint].concat());
        let good = last.map_or(0, |last| last + 1);
        let good = (0..good).rev().find(|&run| {
            matched.page_of_run[run] == Some(at) && !runs[run].undone && !texts[run].is_broken()
        });
        if let Some(good) = good {
            step.text = texts[good].clone();
        }
    } else if let Some(last) = last
        && is_cut_short(runs[last].status)
        && texts[last].is_same(text)
    {
        step.doubt = Some(b"did not finish".to_vec());
    }
    step
}

struct Judge<'a> {
    cells: &'a [CellInput],
    runs: &'a [RunInput],
    page: &'a [Rc<Text>],
    texts: &'a [Rc<Text>],
    matched: &'a Matched,
    actual: &'a [CellOutcome],
    actual_without_failed: &'a [CellOutcome],
    step_of_run: &'a [Option<usize>],
    step_without_failed: &'a [Option<usize>],
    ideal: &'a [CellOutcome],
    sent: &'a [CellOutcome],
    sent_pages: &'a [usize],
}

impl Judge<'_> {
    fn all(&self) -> Vec<Verdict> {
        let mut sent_steps = vec![None; self.cells.len()];
        for (step, &page) in self.sent_pages.iter().enumerate() {
            sent_steps[page] = Some(step);
        }
        let states: Vec<VerdictState> = (0..self.cells.len())
            .map(|at| self.state(at, sent_steps[at]))
            .collect();
        let run_of_step: Vec<usize> = (0..self.runs.len())
            .filter(|&run| self.step_of_run[run].is_some())
            .collect();
        let all_pages: Vec<usize> = (0..self.cells.len()).collect();
        let mut evidence = Evidence {
            cells: self.cells,
            runs: self.runs,
            page: self.page,
            texts: self.texts,
            matched: self.matched,
            states: &states,
            run_of_step: &run_of_step,
            ideal: self.ideal,
            verdicts: Vec::with_capacity(self.cells.len()),
        };
        for at in 0..self.cells.len() {
            let state = states[at];
            let (reason, because) = match state {
                VerdictState::Stale | VerdictState::UpstreamEdited | VerdictState::Unknown => {
                    let run = self.matched.last[at].unwrap_or_default();
                    let step = self.step_of_run[run].unwrap_or_default();
                    let (before, after, pages) = match (state, sent_steps[at]) {
                        (VerdictState::Stale, Some(sent)) => {
                            (&self.actual[step], &self.sent[sent], self.sent_pages)
                        }
                        _ => (&self.actual[step], &self.ideal[at], &all_pages[..]),
                    };
                    evidence.explain(reason::Difference {
                        at,
                        run,
                        state,
                        before,
                        after,
                        pages,
                    })
                }
                _ => (evidence.plain(at, state), Vec::new()),
            };
            evidence.verdicts.push(Verdict {
                id: self.cells[at].id.clone(),
                state,
                reason,
                because,
            });
        }
        evidence.verdicts
    }

    fn state(&self, at: usize, sent: Option<usize>) -> VerdictState {
        let text = &self.page[at];
        let undone = self.matched.last_undone[at];
        let Some(last) = self.matched.last[at] else {
            return match undone {
                _ if text.is_blank() => VerdictState::Fresh,
                Some(_) => VerdictState::Ahead,
                None => VerdictState::NeverRun,
            };
        };
        if !text.is_same(&self.texts[last]) {
            return match undone {
                // What the page shows is the run that the restore went back behind.
                Some(undone) if undone > last && text.is_same(&self.texts[undone]) => {
                    VerdictState::Ahead
                }
                _ => VerdictState::Edited,
            };
        }
        match self.runs[last].status {
            RunStatus::Running => return VerdictState::Running,
            RunStatus::Failed | RunStatus::Interrupted => return VerdictState::Failed,
            RunStatus::Ok => {}
        }
        let Some(actual) = self.step_of_run[last].map(|step| self.actual[step].key) else {
            return VerdictState::Unknown;
        };
        let spared =
            self.step_without_failed[last].map(|step| self.actual_without_failed[step].key);
        let is_certain = |ideal: &CellOutcome| {
            ideal.key.certain != actual.certain
                && spared.is_none_or(|spared| ideal.key.certain != spared.certain)
        };
        let ideal = &self.ideal[at];
        if ideal.key.full == actual.full && ideal.key.certain == actual.certain {
            return match self.runs[last].how {
                RunHow::Executed => VerdictState::Fresh,
                RunHow::Replayed | RunHow::Restored => VerdictState::Replayed,
            };
        }
        if !is_certain(ideal) {
            return VerdictState::Unknown;
        }
        match sent {
            Some(sent) if is_certain(&self.sent[sent]) => VerdictState::Stale,
            _ => VerdictState::UpstreamEdited,
        }
    }
}

/// Adds a cell to jump to, once.
pub(crate) fn add(because: &mut Vec<Because>, one: Because) {
    if !because
        .iter()
        .any(|known| known.cell == one.cell && known.number == one.number)
    {
        because.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_for_hours_keeps_nothing() {
        let mut bench = Workbench::new();
        let run = RunInput {
            cell: "a".to_owned(),
            source: "x = 0".to_owned(),
            ..RunInput::default()
        };
        for n in 0..200 {
            let cell = |id: &str, source: String| CellInput {
                id: id.to_owned(),
                source,
                tags: Vec::new(),
            };
            let cells = [
                cell("a", format!("x = {n}")),
                cell("b", "print(x)".to_owned()),
            ];
            bench.verdicts(&cells, std::slice::from_ref(&run));
            assert!(bench.memo.len() <= 4, "{} texts are kept", bench.memo.len());
        }
    }
}
