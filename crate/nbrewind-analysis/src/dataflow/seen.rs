//! What was met on a walk: a few things nearly always, so that no memory is asked for.

use rustc_hash::FxHashSet as HashSet;
use smallvec::SmallVec;
use std::hash::Hash;

const FEW: usize = 8;

/// A set that only grows.
#[derive(Debug, Clone)]
pub(super) struct Seen<T> {
    few: SmallVec<[T; FEW]>,
    /// All of them, once they are more than a few.
    many: HashSet<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen {
            few: SmallVec::new(),
            many: HashSet::default(),
        }
    }
}

impl<T: Copy + Eq + Hash> Seen<T> {
    pub(super) fn len(&self) -> usize {
        self.few.len().max(self.many.len())
    }

    pub(super) fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    pub(super) fn contains(&self, one: &T) -> bool {
        if self.many.is_empty() {
            self.few.contains(one)
        } else {
            self.many.contains(one)
        }
    }

    /// True if it was not there.
    pub(super) fn insert(&mut self, one: T) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(one);
        }
        if self.few.contains(&one) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(one);
        } else {
            self.many.extend(self.few.iter().copied().chain([one]));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_met_once_however_many_they_are() {
        let mut seen = Seen::default();
        for round in 0..3 {
            for one in 0..3 * FEW {
                assert_eq!(seen.contains(&one), round > 0);
                assert_eq!(seen.insert(one), round == 0);
            }
        }
    }
}
