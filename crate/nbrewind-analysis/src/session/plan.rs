//! The lists of texts that the passes follow.

use super::known::Known;
use super::matched::Matched;
use super::pass::Step;
use crate::dataflow::{Digest, Novel, Turn, label};
use crate::memo::{Memo, Text};
use crate::verdict::{RunInput, RunStatus};
use std::rc::Rc;

/// The steps of all passes.
pub(super) struct Plan {
    pub actual: Vec<Step>,
    pub step_of_run: Vec<Option<usize>>,
    /// Empty where no run failed.
    pub actual_without_failed: Vec<Step>,
    pub step_without_failed: Vec<Option<usize>>,
    pub ideal: Vec<Step>,
    pub sent: Vec<Step>,
    /// The cell on the page of every step of `sent`.
    pub sent_pages: Vec<usize>,
}

impl Plan {
    pub(super) fn new(
        memo: &mut Memo,
        page: &[Rc<Text>],
        runs: &[RunInput],
        texts: &[Rc<Text>],
        known: &Known,
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
        let is_run = |run: &&RunInput| !run.undone;
        let has_failures = runs
            .iter()
            .filter(is_run)
            .any(|run| is_cut_short(run.status));
        let mut plan = Plan {
            actual: Vec::with_capacity(runs.len()),
            step_of_run: vec![None; runs.len()],
            actual_without_failed: Vec::new(),
            step_without_failed: vec![None; runs.len()],
            ideal: Vec::with_capacity(page.len()),
            sent: Vec::with_capacity(page.len()),
            sent_pages: Vec::with_capacity(page.len()),
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
                turn: Turn {
                    doubt: has_failed.then(|| label(format!("failed {at}").as_bytes())),
                    salt: Some(salt(at, run)),
                    place,
                    // The first step finds nothing that it could forget.
                    starts_over: place == Some(0) && !plan.actual.is_empty(),
                    recorded: None,
                    outside: None,
                    novel: Novel::default(),
                },
            };
            plan.step_of_run[at] = Some(plan.actual.len());
            if has_failures && !has_failed {
                plan.step_without_failed[at] = Some(plan.actual_without_failed.len());
                plan.actual_without_failed.push(step.clone());
            }
            plan.actual.push(step);
        }
        for at in 0..page.len() {
            let last = matched.last[at];
            let step = ideal_step(at, &page[at], last, runs, texts, known, matched);
            plan.ideal.push(step.at(Some(at)));
            if let Some(last) = last {
                let step = ideal_step(at, &texts[last], Some(last), runs, texts, known, matched);
                plan.sent.push(step.at(ranks[at]));
                plan.sent_pages.push(at);
            }
        }
        plan
    }
}

pub(crate) fn is_cut_short(status: RunStatus) -> bool {
    matches!(status, RunStatus::Failed | RunStatus::Interrupted)
}

/// What tells this run from other runs of the same text, if it may give something else each time.
fn salt(at: usize, run: &RunInput) -> Digest {
    match &run.result {
        Some(result) => label(format!("result {result}").as_bytes()),
        None => label(format!("run {at}").as_bytes()),
    }
}

/// A cell as it would run from the top with this text.
pub(super) fn ideal_step(
    at: usize,
    text: &Rc<Text>,
    last: Option<usize>,
    runs: &[RunInput],
    texts: &[Rc<Text>],
    known: &Known,
    matched: &Matched,
) -> Step {
    let mut step = Step {
        text: text.clone(),
        turn: Turn {
            salt: last.map(|last| salt(last, &runs[last])),
            outside: last
                .filter(|&last| texts[last].is_same(text) && !runs[last].outside.is_empty())
                .map(|last| label(runs[last].outside.join("\n").as_bytes())),
            ..Turn::default()
        },
    };
    // What our parser refuses and Python ran is no broken text.
    let has_run =
        last.is_some_and(|last| runs[last].status == RunStatus::Ok && texts[last].is_same(text));
    if text.is_broken() && !has_run {
        // Broken text keeps the facts of the text that ran last, in doubt. No run is in this doubt.
        step.turn.doubt = Some(label(b"broken"));
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
        step.turn.doubt = Some(label(b"did not finish"));
    }
    // Nearly all cells stand as they ran.
    if last.is_none_or(|last| !Rc::ptr_eq(&texts[last], &step.text)) {
        step.turn.novel = known.novel(texts, &step.text);
    }
    step
}
