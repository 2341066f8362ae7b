//! What the kernel ran, statement by statement: which statements of a text are new to it.

use crate::dataflow::Novel;
use crate::fingerprint::Hash;
use crate::memo::Text;
use crate::program::{Op, Statement};
use rustc_hash::FxHashSet as HashSet;
use std::cell::OnceCell;
use std::rc::Rc;

/// Fingerprints of all statements that were sent to the kernel, and of the constants that they bind. Made when a text is
/// edited for the first time.
#[derive(Debug, Default)]
pub(super) struct Known(OnceCell<HashSet<u64>>);

/// Of a fingerprint, as much as is needed: two that are taken for one are taken for known.
fn start(hash: &Hash) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(start)
}

/// The constants that a statement binds, and the items of those that are dicts.
fn constants(statement: &Statement) -> impl Iterator<Item = u64> + '_ {
    let values = statement.ops.iter().filter_map(|op| match op {
        Op::Bind { value, .. } => Some(value),
        _ => None,
    });
    values.flat_map(|value| {
        let items = value.items.iter().map(|(_, item)| item);
        items.chain(&value.literal).map(start)
    })
}

impl Known {
    /// What these texts that were sent have.
    pub(super) fn learn(&self, sent: &[Rc<Text>]) -> &HashSet<u64> {
        self.0.get_or_init(|| {
            let statements = sent
                .iter()
                .flat_map(|text| &text.alone().program.statements);
            statements
                .flat_map(|one| constants(one).chain([start(&one.fingerprint)]))
                .collect()
        })
    }

    #[cfg(test)]
    pub(super) fn is_made(&self) -> bool {
        self.0.get().is_some()
    }

    /// What is new in a text where these were sent.
    pub(super) fn novel(&self, sent: &[Rc<Text>], text: &Text) -> Novel {
        let known = self.learn(sent);
        let mut novel = Novel::default();
        let statements = text.alone().program.statements.iter();
        for (index, statement) in statements.enumerate().take(64) {
            if known.contains(&start(&statement.fingerprint)) {
                continue;
            }
            novel.statements |= 1 << index;
            if !constants(statement).any(|one| known.contains(&one)) {
                novel.constants |= 1 << index;
            }
        }
        novel
    }
}
