//! What the passes say of every cell.

use super::matched::Matched;
use crate::CellInput;
use crate::dataflow::CellOutcome;
use crate::memo::Text;
use crate::reason::{self, Evidence};
use crate::verdict::{Because, RunHow, RunInput, RunStatus, Verdict, VerdictState, Why};
use std::rc::Rc;

pub(super) struct Judge<'a> {
    pub cells: &'a [CellInput],
    pub runs: &'a [RunInput],
    pub page: &'a [Rc<Text>],
    pub texts: &'a [Rc<Text>],
    pub matched: &'a Matched,
    pub actual: &'a [CellOutcome],
    pub actual_without_failed: &'a [CellOutcome],
    pub step_of_run: &'a [Option<usize>],
    pub step_without_failed: &'a [Option<usize>],
    pub ideal: &'a [CellOutcome],
    pub sent: &'a [CellOutcome],
    pub sent_pages: &'a [usize],
}

impl Judge<'_> {
    /// Brings the verdicts up to date: all of them when there are none yet. The positions of those that changed.
    /// `is_felt`: a sentence about a cell whose text is not new may be another one although all states are as they were.
    pub(super) fn update(
        &self,
        known: &mut Vec<Rc<Verdict>>,
        is_felt: bool,
        is_new_text: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut sent_steps = vec![None; self.cells.len()];
        for (step, &page) in self.sent_pages.iter().enumerate() {
            sent_steps[page] = Some(step);
        }
        let states: Vec<VerdictState> = (0..self.cells.len())
            .map(|at| self.state(at, sent_steps[at]))
            .collect();
        let mut pairs = known.iter().zip(&states);
        let is_felt = is_felt
            || known.len() != states.len()
            || pairs.any(|(verdict, state)| verdict.state != *state);
        let run_of_step: Vec<usize> = (0..self.runs.len())
            .filter(|&run| self.step_of_run[run].is_some())
            .collect();
        let all_pages: Vec<usize> = (0..self.cells.len()).collect();
        let mut changed = Vec::new();
        let evidence = Evidence {
            cells: self.cells,
            runs: self.runs,
            page: self.page,
            texts: self.texts,
            matched: self.matched,
            states: &states,
            run_of_step: &run_of_step,
            ideal: self.ideal,
            verdicts: known,
        };
        let is_new = evidence.verdicts.is_empty();
        for at in 0..self.cells.len() {
            let state = states[at];
            let is_compared = matches!(
                state,
                VerdictState::Stale | VerdictState::UpstreamEdited | VerdictState::Unknown
            );
            // Without a comparison the sentence depends on the state, the cell and its runs alone.
            let is_as_it_was = !is_compared && !is_new && evidence.verdicts[at].state == state;
            if (is_as_it_was || !is_felt) && !is_new_text(at) {
                continue;
            }
            let outside = self.matched.last[at]
                .filter(|_| is_compared)
                .and_then(|run| reason::outside(&self.runs[run]));
            let (reason, why, because) = if let Some(outside) = outside {
                (outside, Some(Why::Outside), Vec::new())
            } else if is_compared {
                let run = self.matched.last[at].unwrap_or_default();
                let step = self.step_of_run[run].unwrap_or_default();
                let (before, after, pages) = match (state, sent_steps[at]) {
                    (VerdictState::Stale, Some(sent)) => {
                        (&self.actual[step], &self.sent[sent], self.sent_pages)
                    }
                    _ => (&self.actual[step], &self.ideal[at], &all_pages[..]),
                };
                let (reason, why, because) = evidence.explain(reason::Difference {
                    at,
                    run,
                    state,
                    before,
                    after,
                    pages,
                });
                (reason, Some(why), because)
            } else {
                (evidence.plain(at, state), None, Vec::new())
            };
            let verdict = Rc::new(Verdict {
                id: self.cells[at].id.clone(),
                state,
                reason,
                why,
                because,
            });
            if is_new {
                evidence.verdicts.push(verdict);
            } else if evidence.verdicts[at] == verdict {
                continue;
            } else {
                evidence.verdicts[at] = verdict;
            }
            changed.push(at);
        }
        changed
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
