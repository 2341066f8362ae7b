//! What a part of the state was after every step that changed it, and which steps looked at it: all that is needed to
//! run again only those steps that a change can reach.

use smallvec::SmallVec;
use std::cell::Cell;

/// Position of a cell run in the list that a pass follows.
pub(crate) type Step = usize;

/// A step in as little memory as it takes: every part of the state has a list of them.
fn short(step: Step) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}

/// Steps that looked at something.
#[derive(Debug, Clone, Default)]
struct Readers {
    /// In order.
    steps: SmallVec<[u32; 4]>,
    /// The run of a step that looked at it last.
    seen_by: Cell<u64>,
}

impl Readers {
    fn is_new_to(&self, run: u64) -> bool {
        self.seen_by.replace(run) != run
    }

    fn add(&mut self, step: Step) {
        let step = short(step);
        match self.steps.last() {
            Some(last) if *last >= step => {
                let at = self.steps.partition_point(|reader| *reader < step);
                if self.steps.get(at) != Some(&step) {
                    self.steps.insert(at, step);
                }
            }
            _ => self.steps.push(step),
        }
    }

    fn remove(&mut self, step: Step) {
        let step = short(step);
        if let Ok(at) = self.steps.binary_search(&step) {
            self.steps.remove(at);
        }
    }

    fn after(&self, step: Step) -> impl Iterator<Item = Step> + '_ {
        let step = short(step);
        let first = self.steps.partition_point(|reader| *reader <= step);
        self.steps[first..].iter().map(|reader| *reader as Step)
    }

    fn cut(&mut self, from: Step) {
        let from = short(from);
        let keep = self.steps.partition_point(|reader| *reader < from);
        self.steps.truncate(keep);
    }
}

/// What steps leave in a [`History`].
pub(super) trait Entry: Clone + PartialEq {
    /// Whether what was there before cannot be seen any more.
    fn covers(&self) -> bool {
        true
    }
}

impl Entry for () {}

/// A part of the state that steps replace.
#[derive(Debug, Clone)]
pub(super) struct History<T> {
    /// What steps left, in order of steps.
    entries: Vec<(Step, T)>,
    readers: Readers,
    /// What the step that runs again had left before; few of them have something here at any time.
    before: Option<Box<T>>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        History {
            entries: Vec::new(),
            readers: Readers::default(),
            before: None,
        }
    }
}

impl<T: Entry> History<T> {
    /// Where the entries of later steps begin.
    fn after(&self, step: Step) -> usize {
        match self.entries.last() {
            Some((last, _)) if *last > step => {
                self.entries.partition_point(|(other, _)| *other <= step)
            }
            _ => self.entries.len(),
        }
    }

    /// What it is when this step has begun.
    pub(super) fn at(&self, step: Step) -> Option<&T> {
        let at = self.after(step).checked_sub(1)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    /// What all steps up to this one left.
    pub(super) fn until(&self, step: Step) -> &[(Step, T)] {
        &self.entries[..self.after(step)]
    }

    /// Whether this run of a step looks at it for the first time.
    pub(super) fn is_new_to(&self, run: u64) -> bool {
        self.readers.is_new_to(run)
    }

    /// What the step leaves; starts with what is there, else with the default. True when the step has not changed it
    /// before.
    pub(super) fn change(&mut self, step: Step, default: impl FnOnce() -> T) -> (&mut T, bool) {
        let after = self.after(step);
        let own = after
            .checked_sub(1)
            .filter(|at| self.entries[*at].0 == step);
        match own {
            Some(at) => (&mut self.entries[at].1, false),
            None => {
                let value = match after.checked_sub(1) {
                    Some(at) => self.entries[at].1.clone(),
                    None => default(),
                };
                self.insert(after, step, value);
                (&mut self.entries[after].1, true)
            }
        }
    }

    /// The same without a look at what is there.
    pub(super) fn put(&mut self, step: Step, value: T) -> bool {
        let after = self.after(step);
        match after.checked_sub(1) {
            Some(at) if self.entries[at].0 == step => {
                self.entries[at].1 = value;
                false
            }
            _ => {
                self.insert(after, step, value);
                true
            }
        }
    }

    fn insert(&mut self, at: usize, step: Step, value: T) {
        // Most things are left once and for all.
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        }
        self.entries.insert(at, (step, value));
    }

    /// Before a step runs again: takes away what it left.
    pub(super) fn take_back(&mut self, step: Step) {
        let at = self.after(step);
        if let Some(at) = at.checked_sub(1)
            && self.entries[at].0 == step
        {
            self.before = Some(Box::new(self.entries.remove(at).1));
        }
    }

    /// The step that runs again has not been compared yet.
    pub(super) fn was_taken_back(&self) -> bool {
        self.before.is_some()
    }

    /// After a step ran again: calls with every later step that may see another value than before.
    pub(super) fn compare(&mut self, step: Step, mut is_reached: impl FnMut(Step)) {
        let after = self.after(step);
        let own = after
            .checked_sub(1)
            .filter(|at| self.entries[*at].0 == step);
        match (own, self.before.take()) {
            (None, None) => return,
            (Some(own), Some(before)) if self.entries[own].1 == *before => {
                // The old one shares its parts with what later steps left.
                self.entries[own].1 = *before;
                return;
            }
            _ => {}
        }
        // A later writer that looks at what it changes is among the readers.
        let mut later = self.entries[after..].iter();
        let until = later
            .find(|(_, value)| value.covers())
            .map_or(Step::MAX, |(next, _)| *next);
        for reader in self.readers.after(step) {
            if reader > until {
                break;
            }
            is_reached(reader);
        }
    }

    pub(super) fn add_reader(&mut self, step: Step) {
        self.readers.add(step);
    }

    pub(super) fn remove_reader(&mut self, step: Step) {
        self.readers.remove(step);
    }

    pub(super) fn readers_after(&self, step: Step) -> impl Iterator<Item = Step> + '_ {
        self.readers.after(step)
    }

    /// Forgets this step and all after it.
    pub(super) fn cut(&mut self, from: Step) {
        let keep = self.entries.partition_point(|(step, _)| *step < from);
        self.entries.truncate(keep);
        self.readers.cut(from);
    }
}

/// A part of the state that steps add to, and take nothing from.
#[derive(Debug, Clone)]
pub(super) struct Log<T> {
    /// What steps added, in order of steps.
    entries: Vec<(Step, T)>,
    readers: Readers,
    /// What the step that runs again had added before.
    before: Vec<(Step, T)>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log {
            entries: Vec::new(),
            readers: Readers::default(),
            before: Vec::new(),
        }
    }
}

impl<T: PartialEq> Log<T> {
    /// Where the entries of later steps begin.
    fn after(&self, step: Step) -> usize {
        match self.entries.last() {
            Some((last, _)) if *last > step => {
                self.entries.partition_point(|(other, _)| *other <= step)
            }
            _ => self.entries.len(),
        }
    }

    /// All that was added up to now.
    pub(super) fn at(&self, step: Step) -> &[(Step, T)] {
        &self.entries[..self.after(step)]
    }

    /// True when the step has not added anything before.
    pub(super) fn push(&mut self, step: Step, value: T) -> bool {
        let after = self.after(step);
        let own = after.checked_sub(1);
        let is_new = own.is_none_or(|at| self.entries[at].0 != step);
        self.entries.insert(after, (step, value));
        is_new
    }

    /// See [`History::is_new_to`].
    pub(super) fn is_new_to(&self, run: u64) -> bool {
        self.readers.is_new_to(run)
    }

    /// Before a step runs again: takes away what it added.
    pub(super) fn take_back(&mut self, step: Step) {
        let first = self.entries.partition_point(|(other, _)| *other < step);
        let after = self.after(step);
        self.before = self.entries.drain(first..after).collect();
    }

    /// See [`History::was_taken_back`].
    pub(super) fn was_taken_back(&self) -> bool {
        !self.before.is_empty()
    }

    /// After a step ran again: calls with every later step that may see more or less than before.
    pub(super) fn compare(&mut self, step: Step, is_reached: impl FnMut(Step)) {
        let before = std::mem::take(&mut self.before);
        let first = self.entries.partition_point(|(other, _)| *other < step);
        if self.entries[first..self.after(step)] != before[..] {
            self.readers.after(step).for_each(is_reached);
        }
    }

    pub(super) fn add_reader(&mut self, step: Step) {
        self.readers.add(step);
    }

    pub(super) fn remove_reader(&mut self, step: Step) {
        self.readers.remove(step);
    }

    /// Forgets this step and all after it.
    pub(super) fn cut(&mut self, from: Step) {
        let keep = self.entries.partition_point(|(step, _)| *step < from);
        self.entries.truncate(keep);
        self.readers.cut(from);
    }
}
