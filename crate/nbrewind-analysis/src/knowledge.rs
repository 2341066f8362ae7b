//! What is known about code the analysis cannot see: builtins, libraries, magics. The facts are data, in
//! `data/effects.txt`; this module only looks them up.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

static TABLES: LazyLock<HashMap<&'static str, Table>> =
    LazyLock::new(|| parse(include_str!("../data/effects.txt")));

#[derive(Default)]
struct Table {
    exact: HashSet<&'static str>,
    /// Prefixes that end before `*`.
    prefixes: Vec<&'static str>,
    /// `key=value` and `key:value` entries.
    values: HashMap<&'static str, &'static str>,
}

fn parse(text: &'static str) -> HashMap<&'static str, Table> {
    let mut tables: HashMap<&str, Table> = HashMap::new();
    let mut section = "";
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            continue;
        }
        let table = tables.entry(section).or_default();
        for word in line.split_whitespace() {
            let (key, value) = word
                .split_once(['=', ':'])
                .map_or((word, None), |(key, value)| (key, Some(value)));
            if let Some(prefix) = key.strip_suffix('*') {
                table.prefixes.push(prefix);
            } else {
                table.exact.insert(key);
            }
            if let Some(value) = value {
                table.values.insert(key, value);
            }
        }
    }
    tables
}

/// Whether `name` is in the section, exactly or through a `prefix*` entry.
pub(crate) fn has(section: &str, name: &str) -> bool {
    TABLES.get(section).is_some_and(|table| {
        table.exact.contains(name)
            || table
                .prefixes
                .iter()
                .any(|prefix| name.starts_with(prefix) || prefix.strip_suffix('.') == Some(name))
    })
}

/// The value of `key` in a section of pairs.
pub(crate) fn value(section: &str, key: &str) -> Option<&'static str> {
    TABLES.get(section)?.values.get(key).copied()
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
