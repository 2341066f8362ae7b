//! What a part of the state was after every step that changed it, and which steps looked at it: all that is needed to
//! run again only those steps that a change can reach.

use std::cell::Cell;

/// Position of a cell run in the list that a pass follows.
pub(crate) type Step = usize;

#[derive(Debug)]
pub(super) struct History<T> {
    /// What steps left, in order of steps.
    entries: Vec<(Step, T)>,
    /// Steps that looked at it, in order.
    readers: Vec<Step>,
    /// What the step that runs again had left before.
    before: Option<T>,
    /// The run of a step that looked at it last.
    seen_by: Cell<u64>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        History {
            entries: Vec::new(),
            readers: Vec::new(),
            before: None,
            seen_by: Cell::new(0),
        }
    }
}

impl<T: Clone + PartialEq> History<T> {
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

    /// Whether this run of a step looks at it for the first time.
    pub(super) fn is_new_to(&self, run: u64) -> bool {
        self.seen_by.replace(run) != run
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
                self.entries.insert(after, (step, value));
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
                self.entries.insert(after, (step, value));
                true
            }
        }
    }

    /// Before a step runs again: takes away what it left.
    pub(super) fn take_back(&mut self, step: Step) {
        let at = self.after(step);
        if let Some(at) = at.checked_sub(1)
            && self.entries[at].0 == step
        {
            self.before = Some(self.entries.remove(at).1);
        }
    }

    /// The step that runs again has not been compared yet.
    pub(super) fn was_taken_back(&self) -> bool {
        self.before.is_some()
    }

    /// After a step ran again: calls with every later step that may see another value than before.
    pub(super) fn compare(&mut self, step: Step, mut is_reached: impl FnMut(Step)) {
        let after = self.after(step);
        let now = after
            .checked_sub(1)
            .map(|at| &self.entries[at])
            .filter(|(other, _)| *other == step)
            .map(|(_, value)| value);
        let before = self.before.take();
        if now == before.as_ref() {
            return;
        }
        // A later writer that looks at what it changes is among the readers.
        let until = self.entries.get(after).map_or(Step::MAX, |(next, _)| *next);
        let first = self.readers.partition_point(|reader| *reader <= step);
        for &reader in &self.readers[first..] {
            if reader > until {
                break;
            }
            is_reached(reader);
        }
    }

    pub(super) fn add_reader(&mut self, step: Step) {
        match self.readers.last() {
            Some(last) if *last >= step => {
                let at = self.readers.partition_point(|reader| *reader < step);
                if self.readers.get(at) != Some(&step) {
                    self.readers.insert(at, step);
                }
            }
            _ => self.readers.push(step),
        }
    }

    pub(super) fn remove_reader(&mut self, step: Step) {
        if let Ok(at) = self.readers.binary_search(&step) {
            self.readers.remove(at);
        }
    }

    pub(super) fn readers_after(&self, step: Step) -> &[Step] {
        let first = self.readers.partition_point(|reader| *reader <= step);
        &self.readers[first..]
    }

    /// Forgets this step and all after it.
    pub(super) fn cut(&mut self, from: Step) {
        let keep = self.entries.partition_point(|(step, _)| *step < from);
        self.entries.truncate(keep);
        let keep = self.readers.partition_point(|reader| *reader < from);
        self.readers.truncate(keep);
    }
}
