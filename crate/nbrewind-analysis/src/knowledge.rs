//! What is known about code the analysis cannot see: builtins, libraries, magics. The facts are data, in
//! `data/effects.txt`; this module only looks them up.

use crate::name::Name;
use rustc_hash::FxHashMap as HashMap;
use std::sync::LazyLock;

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    // Lines that are left out of a text leave a text.
    Tables::new(std::str::from_utf8(&WORDS).unwrap_or_default())
});

const WRITTEN: &[u8] = include_bytes!("../data/effects.txt");

/// The tables without their comments and without what sections are called, which would travel with every page: a section is
/// known by its place.
static WORDS: [u8; words().0] = words_as();

/// How many bytes are left, and these, as far as they have room.
const fn words_in<const N: usize>() -> (usize, [u8; N]) {
    let mut words = [0; N];
    let (mut at, mut length, mut is_left_out) = (0, 0, false);
    while at < WRITTEN.len() {
        let is_first = at == 0 || WRITTEN[at - 1] == b'\n';
        if is_first {
            is_left_out = WRITTEN[at] == b'#';
        }
        if !is_left_out {
            if length < N {
                words[length] = WRITTEN[at];
            }
            length += 1;
        }
        // Of the line of a section its first sign is left.
        is_left_out |= is_first && WRITTEN[at] == b'[';
        at += 1;
    }
    (length, words)
}

const fn words() -> (usize, [u8; 0]) {
    words_in()
}

const fn words_as<const N: usize>() -> [u8; N] {
    words_in().1
}

/// A section of the tables, which answers one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Section {
    Aliases,
    PureBuiltins,
    FreshBuiltins,
    IteratorMakers,
    PureMethods,
    ViewMethods,
    ReceiverOnlyMethods,
    ArtistMethods,
    FillsArgumentMethods,
    ChangingMethods,
    KeepsArgumentMethods,
    PureModules,
    MutatingFunctions,
    ViewFunctions,
    FrameMakers,
    GroupMethods,
    FrameAttributes,
    DictMakers,
    NamespaceMakers,
    StringEvaluators,
    FileReaders,
    FileWriters,
    FileFunctions,
    PathMethods,
    ConfigCalls,
    ShowsOnly,
    Nondeterministic,
    RandomState,
    Seeds,
    Environment,
    Process,
    Network,
    ReadsSource,
    UnknownFunctions,
    UnknownAttributes,
    PythonCellMagics,
    PureCellMagics,
    ProcessCellMagics,
    PythonLineMagics,
    PureLineMagics,
    Stars,
    SameValues,
    Builtins,
}

/// Sections of the tables, as a set of bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sections(u64);

impl Sections {
    const fn of(section: Section) -> Self {
        Sections::at(section as u32)
    }

    const fn at(place: u32) -> Self {
        Sections(1 << place)
    }

    /// Whether this section is among them.
    pub(crate) fn has(self, section: Section) -> bool {
        self.0 & Sections::of(section).0 != 0
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
    exact: HashMap<&'static str, Sections>,
    /// Prefixes that end before `*`, by their first byte.
    prefixes: Vec<Vec<(&'static str, Sections)>>,
    /// `key=value` and `key:value` entries, by section.
    values: HashMap<(u32, &'static str), &'static str>,
}

impl Tables {
    fn new(text: &'static str) -> Self {
        let mut tables = Tables::default();
        tables.prefixes.resize(256, Vec::new());
        // What stands before the first section is nothing.
        for (place, words) in (0..).zip(text.split('[').skip(1)) {
            let bit = Sections::at(place);
            for word in words.split_ascii_whitespace() {
                let (key, value) = word
                    .split_once(['=', ':'])
                    .map_or((word, None), |(key, value)| (key, Some(value)));
                if let Some(prefix) = key.strip_suffix('*') {
                    let first = prefix.bytes().next().unwrap_or_default();
                    tables.prefixes[usize::from(first)].push((prefix, bit));
                } else {
                    let sections = tables.exact.entry(key).or_default();
                    *sections = sections.or(bit);
                }
                if let Some(value) = value {
                    tables.values.insert((place, key), value);
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
    for &(prefix, section) in &TABLES.prefixes[usize::from(first)] {
        if name.starts_with(prefix) || prefix.strip_suffix('.') == Some(name) {
            found = found.or(section);
        }
    }
    found
}

/// Whether `name` is in the section, exactly or through a `prefix*` entry. A [`Name`] knows it already.
pub(crate) fn has(section: Section, name: &str) -> bool {
    sections(name).has(section)
}

/// The value of `key` in a section of pairs.
pub(crate) fn value(section: Section, key: &str) -> Option<&'static str> {
    TABLES.values.get(&(section as u32, key)).copied()
}

/// Positions of the arguments that a known function changes; `None` when the function is not known.
pub(crate) fn mutated_arguments(dotted: Name) -> Option<Vec<usize>> {
    if let Some(positions) = dotted.value(Section::MutatingFunctions) {
        return Some(
            positions
                .split(',')
                .filter_map(|position| position.parse().ok())
                .collect(),
        );
    }
    let is_pure = if dotted.contains('.') {
        dotted.sections_of_path().has(Section::PureModules)
    } else {
        dotted.is_in(Section::PureBuiltins)
    };
    is_pure.then(Vec::new)
}

/// The random state a drawing function advances.
pub(crate) fn random_state(dotted: Name) -> Option<&'static str> {
    if !dotted.is_in(Section::Nondeterministic) && !dotted.is_in(Section::Seeds) {
        return None;
    }
    let (module, _) = dotted.rsplit_once('.')?;
    value(Section::RandomState, module)
}

#[cfg(test)]
mod tests {
    use super::Section;

    #[test]
    fn every_section_of_the_tables_is_asked_for() {
        let text = include_str!("../data/effects.txt");
        let written = text.lines().filter_map(|line| {
            let name = line.trim().strip_prefix('[')?;
            name.strip_suffix(']')
        });
        // `PureBuiltins` is `pure-builtins` there.
        let called = |name: &str| {
            let parts = name
                .split('-')
                .map(|part| part[..1].to_uppercase() + &part[1..]);
            parts.collect::<String>()
        };
        let listed = include_str!("knowledge.rs")
            .split_once("enum Section {")
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(names, _)| {
                names
                    .split([',', ' ', '\n'])
                    .filter(|name| !name.is_empty())
            });
        let listed: Vec<&str> = listed.into_iter().flatten().collect();
        let written: Vec<String> = written.map(called).collect();
        assert_eq!(written, listed);
        assert_eq!(listed.len(), Section::Builtins as usize + 1);
        assert!(listed.len() <= u64::BITS as usize);
    }
}
