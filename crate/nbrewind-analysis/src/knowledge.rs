//! What is known about code the analysis cannot see: builtins, libraries, magics. The facts are data, in
//! `data/effects.txt`; this module only looks them up.

use rustc_hash::FxHashMap as HashMap;
use std::sync::LazyLock;

static TABLES: LazyLock<Tables> =
    LazyLock::new(|| Tables::new(include_str!("../data/effects.txt")));

/// Sections of the tables, as a set of bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sections(u64);

impl Sections {
    /// Whether this section is among them.
    pub(crate) fn has(self, section: &str) -> bool {
        let bit = TABLES.sections.get(section);
        bit.is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn or(self, other: Sections) -> Sections {
        Sections(self.0 | other.0)
    }
}

/// All sections in one: the walk asks of nearly every name in which of many sections it is.
#[derive(Default)]
struct Tables {
    /// The bit of every section.
    sections: HashMap<&'static str, u32>,
    exact: HashMap<&'static str, Sections>,
    /// Prefixes that end before `*`, by their first byte.
    prefixes: HashMap<u8, Vec<(&'static str, Sections)>>,
    /// `key=value` and `key:value` entries, by section.
    values: HashMap<(u32, &'static str), &'static str>,
}

impl Tables {
    fn new(text: &'static str) -> Self {
        let mut tables = Tables::default();
        let mut section = 0;
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                let next = u32::try_from(tables.sections.len()).unwrap_or(u32::MAX);
                assert!(next < u64::BITS, "a bit for every section");
                section = *tables.sections.entry(name).or_insert(next);
                continue;
            }
            let bit = Sections(1 << section);
            for word in line.split_whitespace() {
                let (key, value) = word
                    .split_once(['=', ':'])
                    .map_or((word, None), |(key, value)| (key, Some(value)));
                if let Some(prefix) = key.strip_suffix('*') {
                    let first = prefix.bytes().next().unwrap_or_default();
                    tables
                        .prefixes
                        .entry(first)
                        .or_default()
                        .push((prefix, bit));
                } else {
                    let sections = tables.exact.entry(key).or_default();
                    *sections = sections.or(bit);
                }
                if let Some(value) = value {
                    tables.values.insert((section, key), value);
                }
            }
        }
        tables
    }
}

/// The sections that `name` is in, exactly or through a `prefix*` entry.
pub(crate) fn sections(name: &str) -> Sections {
    let mut found = TABLES.exact.get(name).copied().unwrap_or_default();
    let first = name.bytes().next().unwrap_or_default();
    for &(prefix, section) in TABLES.prefixes.get(&first).map_or(&[][..], |known| known) {
        if name.starts_with(prefix) || prefix.strip_suffix('.') == Some(name) {
            found = found.or(section);
        }
    }
    found
}

/// Whether `name` is in the section, exactly or through a `prefix*` entry.
pub(crate) fn has(section: &str, name: &str) -> bool {
    sections(name).has(section)
}

/// The value of `key` in a section of pairs.
pub(crate) fn value(section: &str, key: &str) -> Option<&'static str> {
    let section = TABLES.sections.get(section)?;
    TABLES.values.get(&(*section, key)).copied()
}

/// Whether `name` or a module that contains it is in the section.
pub(crate) fn has_module(section: &str, name: &str) -> bool {
    let mut module = name;
    loop {
        if has(section, module) {
            return true;
        }
        match module.rfind('.') {
            Some(at) => module = &module[..at],
            None => return false,
        }
    }
}

/// Whether a name resolves without being defined in the notebook.
pub(crate) fn is_builtin(name: &str) -> bool {
    has("builtins", name) || has("pure-builtins", name)
}

/// Positions of the arguments that a known function changes; `None` when the function is not known.
pub(crate) fn mutated_arguments(dotted: &str) -> Option<Vec<usize>> {
    if let Some(positions) = value("mutating-functions", dotted) {
        return Some(
            positions
                .split(',')
                .filter_map(|position| position.parse().ok())
                .collect(),
        );
    }
    let is_pure = if dotted.contains('.') {
        has_module("pure-modules", dotted)
    } else {
        has("pure-builtins", dotted)
    };
    is_pure.then(Vec::new)
}

/// The random state a drawing function advances.
pub(crate) fn random_state(dotted: &str) -> Option<&'static str> {
    if !has("nondeterministic", dotted) && !has("seeds", dotted) {
        return None;
    }
    let (module, _) = dotted.rsplit_once('.')?;
    value("random-state", module)
}
