//! What the page would be with another text in one cell, worked out while nobody waits: the first key in a statement that
//! hundreds of cells depend on, or the one after which Python cannot read it, finds the verdicts made.
//!
//! Invariant: these are states of the page that differ from it in one cell. Whoever goes to one of them brings that cell up
//! to date there, as after any other edit.

use super::Workbench;
use super::pass::Pass;
use super::plan::ideal_step;
use crate::dataflow::Turn;
use crate::memo::Text;
use crate::verdict::Verdict;
use std::rc::Rc;

/// How many of them are kept.
const MOST: usize = 4;

/// The page with another text in one cell.
pub(super) struct Expected {
    /// The cell.
    at: usize,
    text: Rc<Text>,
    ideal: Rc<Pass>,
    verdicts: Vec<Rc<Verdict>>,
}

impl Expected {
    pub(super) fn verdicts(&self) -> &[Rc<Verdict>] {
        &self.verdicts
    }

    fn turn(&self) -> Turn {
        self.ideal.steps()[self.at].turn
    }
}

impl Workbench {
    /// Somebody is about to type in this line of a cell, the first of which is 1: `prepare` works out what that makes of the
    /// other cells.
    pub fn expect(&mut self, at: usize, line: usize) {
        self.typed = Some((at, line));
    }

    /// Works out a part of what typing in this line makes of the other cells. Whether there is more to do.
    pub(super) fn look_ahead(&mut self, at: usize, line: usize) -> bool {
        let Some(last) = self.matched.last.get(at).copied().flatten() else {
            return false;
        };
        if self.matched.depends_on_texts || self.page[at].is_broken() {
            return false;
        }
        self.expect_only(Some(at));
        self.unexpected.clear();
        let page = &self.page[at];
        let statement = page.alone().program.statements.iter();
        let statement = statement.take_while(|statement| statement.line <= line);
        let statement = statement.count().checked_sub(1);
        let texts = [
            statement.map(|statement| page.with_another(statement)),
            Some(page.with_an_error(line)),
        ];
        for text in texts.into_iter().flatten() {
            let text = Rc::new(text);
            let mut step = ideal_step(
                at,
                &text,
                Some(last),
                &self.runs,
                &self.sent_texts,
                &self.known,
                &self.matched,
            )
            .at(Some(at));
            step.turn.novel.constants = step.turn.novel.statements;
            let is_known = self.ideal.steps()[at].turn == step.turn
                || self.expected.iter().any(|one| one.turn() == step.turn);
            if is_known || self.expected.len() >= MOST {
                continue;
            }
            let other = Expected {
                at,
                text: self.page[at].clone(),
                ideal: self.ideal.clone(),
                verdicts: self.verdicts.clone(),
            };
            // As if it were typed, and away again.
            self.is_felt |= Rc::make_mut(&mut self.ideal).replace(at, step);
            self.is_felt |= !other.text.tells_like(&text);
            self.page[at] = text;
            self.judge(&[at]);
            self.expected.push(other);
            self.trade(self.expected.len() - 1);
            return true;
        }
        false
    }

    /// Goes to the state in which this step has this turn, if it was expected. Where the one before is then.
    pub(super) fn go_to(&mut self, at: usize, turn: &Turn) -> Option<usize> {
        let mut expected = self.expected.iter();
        let found = expected.position(|one| one.turn() == *turn)?;
        if self.ideal.steps()[at].turn == *turn {
            return None;
        }
        self.trade(found);
        Some(found)
    }

    /// Keeps what was expected of this cell, and nothing else.
    pub(super) fn expect_only(&mut self, at: Option<usize>) {
        let is_kept = |one: &Expected| Some(one.at) == at;
        for mut one in self.expected.extract_if(.., |one| !is_kept(one)) {
            let text = std::mem::replace(&mut one.text, self.page[one.at].clone());
            self.memo.let_go(text);
            self.unexpected.push(one);
        }
    }

    /// Takes one of the states, and leaves the present one for it.
    fn trade(&mut self, which: usize) {
        let one = &mut self.expected[which];
        std::mem::swap(&mut self.page[one.at], &mut one.text);
        std::mem::swap(&mut self.ideal, &mut one.ideal);
        std::mem::swap(&mut self.verdicts, &mut one.verdicts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CellInput;
    use crate::verdict::RunInput;

    /// A page that ran, and of which every cell depends on the first.
    fn bench() -> Workbench {
        let texts = ["x = 1\ny = 2", "z = x", "print(z)"];
        let cells = texts.map(|source| CellInput {
            id: source.to_owned(),
            source: source.to_owned(),
            tags: Vec::new(),
        });
        let runs = texts.map(|source| RunInput {
            cell: source.to_owned(),
            source: source.to_owned(),
            ..RunInput::default()
        });
        let mut bench = Workbench::new();
        bench.verdicts(&cells, &runs);
        bench
    }

    /// Whether a text finds its state made.
    fn finds(bench: &mut Workbench, text: &str) -> bool {
        bench.cells[0].source.clear();
        let found = bench.retext(0, text).is_some();
        bench.judge(&[0]);
        found
    }

    #[test]
    fn what_is_typed_where_it_was_expected_finds_its_state_made() {
        let mut bench = bench();
        bench.expect(0, 1);
        while bench.prepare() {}
        assert!(finds(&mut bench, "x = 12\ny = 2"));
        assert!(finds(&mut bench, "x = 12 +\ny = 2"));
        assert!(finds(&mut bench, "x = 12 + 3\ny = 2"));
        assert!(finds(&mut bench, "x = 1\ny = 2"));
        assert!(!finds(&mut bench, "x = 1\ny = 23"));
    }

    #[test]
    fn who_types_is_expected_to_go_on() {
        let mut bench = bench();
        bench.edit(0, "x = 12\ny = 2");
        assert!(bench.prepare());
        assert!(!bench.prepare());
        assert!(finds(&mut bench, "x = 12 +\ny = 2"));
    }

    #[test]
    fn what_was_expected_is_forgotten_with_the_page() {
        let mut bench = bench();
        bench.expect(0, 1);
        while bench.prepare() {}
        assert_eq!(bench.expected.len(), 2);
        bench.edit(1, "z = y");
        assert!(bench.expected.is_empty());
        bench.prepare();
        assert!(bench.unexpected.is_empty());
    }
}
