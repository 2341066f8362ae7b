//! Sets and maps of a few things, as vectors in order: a cell has dozens of names at most, and these are looked through more
//! often than they are added to.

use crate::name::Name;
use std::ops::Deref;

/// Things in their order, each once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Set<T>(Vec<T>);

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set(Vec::new())
    }
}

impl<T: Ord + Copy> Set<T> {
    /// Whether it was not there.
    pub(crate) fn insert(&mut self, value: T) -> bool {
        match self.0.binary_search(&value) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, value);
                true
            }
        }
    }

    pub(crate) fn has(&self, value: T) -> bool {
        self.0.binary_search(&value).is_ok()
    }

    pub(crate) fn add_all(&mut self, values: &[T]) {
        for &value in values {
            self.insert(value);
        }
    }

    pub(crate) fn extend_from(&mut self, values: impl Iterator<Item = T>) {
        values.for_each(|value| _ = self.insert(value));
    }

    /// Takes out what is in the other one.
    pub(crate) fn remove_all(&mut self, other: &Set<T>) {
        self.0.retain(|value| !other.has(*value));
    }

    /// Keeps what is in the other one as well.
    pub(crate) fn keep_common(&mut self, other: &Set<T>) {
        self.0.retain(|value| other.has(*value));
    }
}

impl<T> Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'s, T> IntoIterator for &'s Set<T> {
    type Item = &'s T;
    type IntoIter = std::slice::Iter<'s, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Set<Name> {
    /// The texts, for those who see them.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|name| name.text().to_owned()).collect()
    }
}

/// Values by name, in the order of the names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map<V>(Vec<(Name, V)>);

impl<V> Default for Map<V> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl<V> Map<V> {
    fn search(&self, name: Name) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(&name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.iter().map(|(name, _)| *name)
    }

    pub(crate) fn insert(&mut self, name: Name, value: V) {
        match self.search(name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    pub(crate) fn remove(&mut self, name: Name) -> Option<V> {
        let at = self.search(name).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn get(&self, name: Name) -> Option<&V> {
        let at = self.search(name).ok()?;
        Some(&self.0[at].1)
    }

    pub(crate) fn has(&self, name: Name) -> bool {
        self.search(name).is_ok()
    }

    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(Name) -> bool) {
        self.0.retain(|(name, _)| is_kept(*name));
    }
}

impl<V> Deref for Map<V> {
    type Target = [(Name, V)];

    fn deref(&self) -> &[(Name, V)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_each_thing_once_and_in_order() {
        let mut set = Set::default();
        assert!(set.insert(3) && set.insert(1) && !set.insert(3));
        set.add_all(&[2, 1]);
        assert_eq!(*set, [1, 2, 3]);
        let mut other = Set::default();
        other.add_all(&[2, 4]);
        set.remove_all(&other);
        assert_eq!(*set, [1, 3]);
        other.add_all(&[3]);
        other.keep_common(&set);
        assert_eq!(*other, [3]);
    }

    #[test]
    fn a_map_is_in_the_order_of_its_texts() {
        let names = ["sorted::b", "sorted::a", "sorted::c"].map(Name::new);
        let mut map = Map::default();
        for (value, name) in names.into_iter().enumerate() {
            map.insert(name, value);
        }
        map.insert(names[0], 7);
        let found: Vec<(&str, usize)> = map.iter().map(|(name, at)| (name.text(), *at)).collect();
        assert_eq!(
            found,
            [("sorted::a", 1), ("sorted::b", 7), ("sorted::c", 2)]
        );
        assert_eq!(map.remove(names[1]), Some(1));
        assert!(!map.has(names[1]) && map.get(names[2]) == Some(&2));
    }
}
