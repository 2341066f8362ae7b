//! A dataflow pass over a list of steps. Where the list changed little, little runs again.

use crate::dataflow::{CellOutcome, Turn, World};
use crate::memo::{Imports, Modules, Text, bind_alike};
use std::rc::Rc;

/// One cell run of a pass.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub text: Rc<Text>,
    pub turn: Turn,
}

impl Step {
    pub(super) fn at(mut self, place: Option<usize>) -> Self {
        self.turn.place = place;
        self
    }

    /// Whether it stands where the other one stood.
    fn stands_like(&self, other: &Step) -> bool {
        self.turn.place == other.turn.place && self.turn.starts_over == other.turn.starts_over
    }

    pub(super) fn is_same(&self, other: &Step) -> bool {
        Rc::ptr_eq(&self.text, &other.text) && self.turn == other.turn
    }
}

#[derive(Clone, Default)]
pub(super) struct Pass {
    steps: Vec<Step>,
    elsewhere: Rc<Modules>,
    imports: Imports,
    world: World,
}

impl Pass {
    pub(super) fn outcomes(&self) -> &[CellOutcome] {
        &self.world.outcomes
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether this is the list that it follows.
    fn follows(&self, steps: &[Step]) -> bool {
        self.steps.len() == steps.len() && self.n_alike(steps) == steps.len()
    }

    /// Follows this list now. A pass that has not followed any yet starts from one of the others, if that has followed
    /// most of it.
    pub(super) fn follow_or_share(
        this: &mut Rc<Pass>,
        others: &[&Rc<Pass>],
        steps: Vec<Step>,
        elsewhere: &Rc<Modules>,
    ) {
        if this.steps.is_empty() {
            let share = others.iter().max_by_key(|other| other.n_alike(&steps));
            if let Some(share) = share.filter(|share| 2 * share.n_alike(&steps) > share.steps.len())
            {
                *this = (*share).clone();
            }
        }
        if !this.follows(&steps) || this.elsewhere != *elsewhere {
            Rc::make_mut(this).follow(steps, elsewhere);
        }
    }

    /// How many steps this pass and the list begin with alike.
    fn n_alike(&self, steps: &[Step]) -> usize {
        let mut pairs = self.steps.iter().zip(steps);
        let n_both = self.steps.len().min(steps.len());
        pairs
            .position(|(one, other)| !one.is_same(other))
            .unwrap_or(n_both)
    }

    fn follow(&mut self, steps: Vec<Step>, elsewhere: &Rc<Modules>) {
        // What is judged by places holds for all that comes after, too.
        let mut pairs = self.steps.iter().zip(&steps);
        let n_kept = pairs
            .position(|(old, new)| !old.stands_like(new))
            .unwrap_or(self.steps.len().min(steps.len()));
        for step in (n_kept..self.steps.len()).rev() {
            self.imports.remove(step, &self.steps[step].text);
        }
        self.steps.truncate(n_kept);
        self.world.cut(n_kept);
        let has_moved = self.elsewhere != *elsewhere;
        self.elsewhere = elsewhere.clone();
        let mut steps = steps.into_iter();
        let mut is_changed = has_moved;
        for at in 0..n_kept {
            let Some(step) = steps.next() else { break };
            if !self.steps[at].is_same(&step) {
                self.imports.remove(at, &self.steps[at].text);
                self.imports.add(at, &step.text);
                self.steps[at] = step;
                is_changed = true;
            }
        }
        if is_changed {
            self.place_from(0);
        }
        self.world.settle(|_| ());
        for step in steps {
            let at = self.steps.len();
            let cell = self.imports.place(at, &step.text, elsewhere);
            self.imports.add(at, &step.text);
            self.world.push(cell, step.turn, None);
            self.steps.push(step);
        }
    }

    /// Another text for one step, where it stands. Whether another step has another outcome by that.
    pub(super) fn replace(&mut self, at: usize, step: Step) -> bool {
        let old = std::mem::replace(&mut self.steps[at], step);
        let text = self.steps[at].text.clone();
        let is_alike =
            Rc::ptr_eq(&old.text, &text) || bind_alike(&old.text, &text, &self.elsewhere);
        self.imports.remove(at, &old.text);
        self.imports.add(at, &text);
        if is_alike {
            let cell = self.imports.place(at, &text, &self.elsewhere);
            self.world.replace(at, cell, self.steps[at].turn);
        } else {
            self.place_from(at);
        }
        let mut is_felt = false;
        self.world.settle(|other| is_felt |= other != at);
        is_felt
    }

    fn place_from(&mut self, first: usize) {
        for at in first..self.steps.len() {
            let step = &self.steps[at];
            let cell = self.imports.place(at, &step.text, &self.elsewhere);
            self.world.replace(at, cell, step.turn);
        }
    }
}
