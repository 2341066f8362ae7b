//! A live session: which cells on the page still match what the kernel ran, judged at every keystroke.
//!
//! Terms: the *runs* are the texts that were sent to the kernel, in order. They are followed through the dataflow pass as
//! they happened (the *actual* pass); the page as it stands is followed from top to bottom (the *ideal* pass). A cell is
//! fresh when its last run has the same key in both. To tell what is already stale from what an edit would make stale,
//! the page is also followed with the texts that ran last (the *sent* pass): a cell that differs from it as well is
//! stale even with all edits undone.
//!
//! Invariant: the answer depends on the cells and the runs alone. What is kept between calls saves work, nothing else.

mod expected;
mod judging;
mod known;
mod matched;
mod pass;
mod plan;

pub(crate) use judging::add;
pub(crate) use matched::Matched;
pub(crate) use plan::is_cut_short;

use crate::CellInput;
use crate::ahead;
use crate::dataflow::{Version, label};
use crate::memo::{self, Memo, Text};
use crate::verdict::{RunInput, Verdict};
use expected::Expected;
use judging::Judge;
use known::Known;
use pass::Pass;
use plan::{Plan, ideal_step};
use std::rc::Rc;

/// Judges the cells of one notebook and one kernel, and keeps what it analysed between calls.
#[derive(Default)]
pub struct Workbench {
    memo: Memo,
    /// The page of the last call, and its texts.
    cells: Vec<CellInput>,
    page: Vec<Rc<Text>>,
    /// The runs of the last call, and their texts.
    runs: Vec<RunInput>,
    sent_texts: Vec<Rc<Text>>,
    known: Known,
    matched: Matched,
    /// For every run, its step in the actual passes.
    step_of_run: Vec<Option<usize>>,
    step_without_failed: Vec<Option<usize>>,
    /// The cell on the page of every step of the sent pass.
    sent_pages: Vec<usize>,
    // Where every cell ran once, in order, all passes are one until the page is edited.
    actual: Rc<Pass>,
    /// The same as if failed runs had done nothing: nobody knows how far they came.
    actual_without_failed: Rc<Pass>,
    ideal: Rc<Pass>,
    sent: Rc<Pass>,
    /// Which runs belong to which cell may have changed since the verdicts were given.
    is_matched_anew: bool,
    /// Something has changed besides the texts of the cells that were edited since.
    is_felt: bool,
    verdicts: Vec<Rc<Verdict>>,
    expected: Vec<Expected>,
    /// Cell and line that somebody types in.
    typed: Option<(usize, usize)>,
    /// What was expected of cells that were not edited, to be dropped when nobody waits.
    unexpected: Vec<Expected>,
}

impl Workbench {
    /// One that knows nothing yet.
    pub fn new() -> Self {
        Workbench::default()
    }

    /// How every cell of the page stands, in page order. `cells` are the code cells as they stand on the page, `runs`
    /// everything that this kernel ran, in order.
    pub fn verdicts(&mut self, cells: &[CellInput], runs: &[RunInput]) -> Vec<Verdict> {
        let same_ids = self.cells.len() == cells.len()
            && self
                .cells
                .iter()
                .zip(cells)
                .all(|(old, new)| old.id == new.id);
        if !same_ids || self.runs != runs {
            self.start(cells, runs);
            return self.all();
        }
        let edited: Vec<usize> = (0..cells.len())
            .filter(|&at| self.cells[at].source != cells[at].source)
            .collect();
        for &at in &edited {
            _ = self.retext(at, &cells[at].source);
        }
        if !edited.is_empty() {
            self.judge(&edited);
        }
        self.all()
    }

    fn all(&self) -> Vec<Verdict> {
        let verdicts = self.verdicts.iter();
        verdicts.map(|verdict| Verdict::clone(verdict)).collect()
    }

    /// One cell of the page of the last call has another text. Which verdicts changed, by position.
    pub fn edit(&mut self, at: usize, source: &str) -> Vec<(usize, &Verdict)> {
        if self.cells.get(at).is_none_or(|cell| cell.source == source) {
            return Vec::new();
        }
        let mut pairs = self.cells[at].source.lines().zip(source.lines());
        let line = pairs.position(|(old, new)| old != new);
        self.typed = line.map(|line| (at, line + 1));
        let was = self.retext(at, source);
        let changed = self.judge(&[at]);
        let changed = match was {
            Some(was) => {
                let before = self.expected[was].verdicts();
                let pairs = before.iter().zip(&self.verdicts).enumerate();
                let is_other = |one: &Rc<Verdict>, other| !Rc::ptr_eq(one, other) && one != other;
                let changed = pairs.filter(|(_, (before, now))| is_other(before, now));
                changed.map(|(at, _)| at).collect()
            }
            None => changed,
        };
        changed
            .into_iter()
            .map(|at| (at, &*self.verdicts[at]))
            .collect()
    }

    /// The cells that a run of this one with another result would make stale, by position: all that ran and depend on it as
    /// the page stands.
    pub fn would_become_stale(&mut self, at: usize) -> Vec<usize> {
        let step = self.ideal.steps().get(at).cloned();
        let Some(step) = step.filter(|_| !self.runs.is_empty()) else {
            return Vec::new();
        };
        let keys = |pass: &Pass| -> Vec<Version> {
            let outcomes = pass.outcomes().iter();
            outcomes.map(|outcome| outcome.key).collect()
        };
        let before = keys(&self.ideal);
        let mut other = step.clone();
        other.turn.doubt = Some(label(b"another result"));
        let ideal = Rc::make_mut(&mut self.ideal);
        ideal.replace(at, other);
        let after = keys(ideal);
        ideal.replace(at, step);
        let is_reached = |&other: &usize| {
            other != at && self.matched.last[other].is_some() && before[other] != after[other]
        };
        (0..self.cells.len()).filter(is_reached).collect()
    }

    /// Does a part of what may be asked for next: analyses texts of the page, so that it need not be done when a cell runs,
    /// and goes ahead of who types. Whether there is more.
    pub fn prepare(&mut self) -> bool {
        self.unexpected.clear();
        // What the first edit needs: a pass that is the page's alone, and what was sent, statement by statement.
        if !self.runs.is_empty() && Rc::get_mut(&mut self.ideal).is_none() {
            Rc::make_mut(&mut self.ideal);
            self.known.learn(&self.sent_texts);
            return true;
        }
        if let Some((at, line)) = self.typed
            && self.look_ahead(at, line)
        {
            return true;
        }
        const AT_ONCE: usize = 32;
        let mut pending = self.page.iter().filter(|text| !text.is_analysed());
        for text in pending.by_ref().take(AT_ONCE) {
            text.alone();
        }
        pending.next().is_some()
    }

    /// Another page, or other runs.
    fn start(&mut self, cells: &[CellInput], runs: &[RunInput]) {
        self.page = cells
            .iter()
            .map(|cell| self.memo.text(&cell.source, &[]))
            .collect();
        self.sent_texts = runs
            .iter()
            .map(|run| self.memo.text(&run.source, &[]))
            .collect();
        self.cells = cells.to_vec();
        self.runs = runs.to_vec();
        self.known = Known::default();
        self.expected.clear();
        self.unexpected.clear();
        self.typed = None;
        self.verdicts.clear();
        self.follow();
        self.judge(&[]);
        self.memo.sweep();
    }

    /// Follows all lists anew, as far as they are new.
    fn follow(&mut self) {
        if !self.runs.is_empty() {
            ahead::read(self.page.iter().chain(&self.sent_texts));
        }
        self.matched = Matched::new(&self.cells, &self.page, &self.runs, &self.sent_texts);
        self.is_matched_anew = true;
        self.is_felt = true;
        // Nothing has run, so nothing is compared, and no text is looked into.
        if self.runs.is_empty() {
            self.step_of_run.clear();
            self.step_without_failed.clear();
            self.sent_pages.clear();
            return;
        }
        let plan = Plan::new(
            &mut self.memo,
            &self.page,
            &self.runs,
            &self.sent_texts,
            &self.known,
            &self.matched,
        );
        let elsewhere = Rc::new(memo::anywhere(
            plan.ideal
                .iter()
                .map(|step| &*step.text)
                .chain(self.sent_texts.iter().map(|text| &**text)),
        ));
        let (actual, ideal) = (&mut self.actual, &mut self.ideal);
        Pass::follow_or_share(actual, &[], plan.actual, &elsewhere);
        Pass::follow_or_share(ideal, &[actual], plan.ideal, &elsewhere);
        Pass::follow_or_share(&mut self.sent, &[actual, ideal], plan.sent, &elsewhere);
        Pass::follow_or_share(
            &mut self.actual_without_failed,
            &[actual],
            plan.actual_without_failed,
            &elsewhere,
        );
        self.step_of_run = plan.step_of_run;
        self.step_without_failed = plan.step_without_failed;
        self.sent_pages = plan.sent_pages;
    }

    /// Another text for one cell. Where it went to a state that was expected, which of these is the one before.
    fn retext(&mut self, at: usize, source: &str) -> Option<usize> {
        source.clone_into(&mut self.cells[at].source);
        let text = self.memo.text(source, &[]);
        if self.runs.is_empty() {
            let old = std::mem::replace(&mut self.page[at], text);
            self.memo.let_go(old);
            return None;
        }
        let step = ideal_step(
            at,
            &text,
            self.matched.last[at],
            &self.runs,
            &self.sent_texts,
            &self.known,
            &self.matched,
        )
        .at(Some(at));
        let before = &self.ideal.steps()[at].text;
        let stands = !self.matched.depends_on_texts && before.imports_like(&step.text);
        self.expect_only(Some(at).filter(|_| stands));
        let was = self.go_to(at, &step.turn);
        let old = std::mem::replace(&mut self.page[at], text);
        if !stands {
            self.follow();
        } else {
            if !self.ideal.steps()[at].is_same(&step) {
                self.is_felt |= Rc::make_mut(&mut self.ideal).replace(at, step);
            }
            self.is_felt |= !old.tells_like(&self.page[at]);
        }
        self.memo.let_go(old);
        was
    }

    /// Judges the cells, after edits of these. Which verdicts are new.
    fn judge(&mut self, edited: &[usize]) -> Vec<usize> {
        let judge = Judge {
            cells: &self.cells,
            runs: &self.runs,
            page: &self.page,
            texts: &self.sent_texts,
            matched: &self.matched,
            actual: self.actual.outcomes(),
            actual_without_failed: self.actual_without_failed.outcomes(),
            step_of_run: &self.step_of_run,
            step_without_failed: &self.step_without_failed,
            ideal: self.ideal.outcomes(),
            sent: self.sent.outcomes(),
            sent_pages: &self.sent_pages,
        };
        let is_matched_anew = std::mem::take(&mut self.is_matched_anew);
        let is_felt = std::mem::take(&mut self.is_felt);
        judge.update(&mut self.verdicts, is_felt, |at| {
            is_matched_anew || edited.contains(&at)
        })
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

    #[test]
    fn who_types_first_waits_for_nothing_that_could_be_made_before() {
        let cells = ["x = 1", "print(x)"].map(|source| CellInput {
            id: source.to_owned(),
            source: source.to_owned(),
            tags: Vec::new(),
        });
        let runs = cells.clone().map(|cell| RunInput {
            cell: cell.id,
            source: cell.source,
            ..RunInput::default()
        });
        let mut bench = Workbench::new();
        bench.verdicts(&cells, &runs);
        assert!(Rc::strong_count(&bench.ideal) > 1, "passes that are alike");
        while bench.prepare() {}
        assert_eq!(Rc::strong_count(&bench.ideal), 1);
        assert!(bench.known.is_made());
        bench.edit(0, "x = 2");
        while bench.prepare() {}
        bench.verdicts(&cells, &runs[..1]);
        assert_eq!(
            bench.verdicts(&cells, &runs),
            Workbench::new().verdicts(&cells, &runs)
        );
    }

    #[test]
    fn nothing_is_looked_into_before_a_cell_ran() {
        let cells: Vec<CellInput> = (0..100)
            .map(|n| CellInput {
                id: format!("c{n}"),
                source: format!("x{} = x{n}", n + 1),
                tags: Vec::new(),
            })
            .collect();
        let runs: Vec<RunInput> = cells
            .iter()
            .map(|cell| RunInput {
                cell: cell.id.clone(),
                source: cell.source.clone(),
                ..RunInput::default()
            })
            .collect();
        let from_scratch =
            |n: usize, runs: &[RunInput]| Workbench::new().verdicts(&cells[..n], runs);
        let mut bench = Workbench::new();
        let found = bench.verdicts(&cells, &[]);
        let is_new = |one: &Verdict| one.state == crate::VerdictState::NeverRun;
        assert!(found.iter().all(is_new));
        assert!(!bench.page.iter().any(|text| text.is_analysed()));
        assert_eq!(bench.edit(3, "x4 = (").len(), 0);
        while bench.prepare() {}
        assert!(bench.page.iter().all(|text| text.is_analysed()));
        assert_eq!(bench.verdicts(&cells, &runs), from_scratch(100, &runs));
        // A restart, a shorter page, and another run.
        assert_eq!(bench.verdicts(&cells[..10], &[]), from_scratch(10, &[]));
        assert!(bench.would_become_stale(0).is_empty());
        let runs = &runs[5..7];
        assert_eq!(bench.verdicts(&cells[..10], runs), from_scratch(10, runs));
    }
}
