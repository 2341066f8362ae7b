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

/// The tables without their comments, which would travel with every page.
static WORDS: [u8; length_without_comments()] = without_comments();

/// Whether a line that begins here is a comment.
const fn is_comment(at: usize) -> bool {
    WRITTEN[at] == b'#' && (at == 0 || WRITTEN[at - 1] == b'\n')
}

const fn length_without_comments() -> usize {
    let (mut at, mut length, mut is_left_out) = (0, 0, false);
    while at < WRITTEN.len() {
        is_left_out = is_comment(at) || is_left_out && WRITTEN[at - 1] != b'\n';
        length += !is_left_out as usize;
        at += 1;
    }
    length
}

const fn without_comments<const N: usize>() -> [u8; N] {
    let mut words = [0; N];
    let (mut at, mut length, mut is_left_out) = (0, 0, false);
    while at < WRITTEN.len() {
        is_left_out = is_comment(at) || is_left_out && WRITTEN[at - 1] != b'\n';
        if !is_left_out {
            words[length] = WRITTEN[at];
            length += 1;
        }
        at += 1;
    }
    words
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

impl Section {
    /// As they are written in the tables.
    const ALL: [(&str, Section); 43] = [
        ("aliases", Section::Aliases),
        ("pure-builtins", Section::PureBuiltins),
        ("fresh-builtins", Section::FreshBuiltins),
        ("iterator-makers", Section::IteratorMakers),
        ("pure-methods", Section::PureMethods),
        ("view-methods", Section::ViewMethods),
        ("receiver-only-methods", Section::ReceiverOnlyMethods),
        ("artist-methods", Section::ArtistMethods),
        ("fills-argument-methods", Section::FillsArgumentMethods),
        ("changing-methods", Section::ChangingMethods),
        ("keeps-argument-methods", Section::KeepsArgumentMethods),
        ("pure-modules", Section::PureModules),
        ("mutating-functions", Section::MutatingFunctions),
        ("view-functions", Section::ViewFunctions),
        ("frame-makers", Section::FrameMakers),
        ("group-methods", Section::GroupMethods),
        ("frame-attributes", Section::FrameAttributes),
        ("dict-makers", Section::DictMakers),
        ("namespace-makers", Section::NamespaceMakers),
        ("string-evaluators", Section::StringEvaluators),
        ("file-readers", Section::FileReaders),
        ("file-writers", Section::FileWriters),
        ("file-functions", Section::FileFunctions),
        ("path-methods", Section::PathMethods),
        ("config-calls", Section::ConfigCalls),
        ("shows-only", Section::ShowsOnly),
        ("nondeterministic", Section::Nondeterministic),
        ("random-state", Section::RandomState),
        ("seeds", Section::Seeds),
        ("environment", Section::Environment),
        ("process", Section::Process),
        ("network", Section::Network),
        ("reads-source", Section::ReadsSource),
        ("unknown-functions", Section::UnknownFunctions),
        ("unknown-attributes", Section::UnknownAttributes),
        ("python-cell-magics", Section::PythonCellMagics),
        ("pure-cell-magics", Section::PureCellMagics),
        ("process-cell-magics", Section::ProcessCellMagics),
        ("python-line-magics", Section::PythonLineMagics),
        ("pure-line-magics", Section::PureLineMagics),
        ("stars", Section::Stars),
        ("same-values", Section::SameValues),
        ("builtins", Section::Builtins),
    ];
}

/// Sections of the tables, as a set of bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sections(u64);

impl Sections {
    const fn of(section: Section) -> Self {
        Sections(1 << section as u32)
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
    values: HashMap<(Section, &'static str), &'static str>,
}

impl Tables {
    fn new(text: &'static str) -> Self {
        let mut tables = Tables::default();
        tables.prefixes.resize(256, Vec::new());
        let mut section = None;
        for line in text.lines() {
            let line = line.trim();
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                let mut known = Section::ALL.iter();
                section = known.find(|(known, _)| *known == name).map(|one| one.1);
                continue;
            }
            let Some(section) = section else { continue };
            let bit = Sections::of(section);
            for word in line.split_whitespace() {
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
    TABLES.values.get(&(section, key)).copied()
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
    use super::*;

    #[test]
    fn every_section_of_the_tables_is_asked_for() {
        let text = include_str!("../data/effects.txt");
        let written = text.lines().filter_map(|line| {
            let name = line.trim().strip_prefix('[')?;
            name.strip_suffix(']')
        });
        let known: Vec<&str> = Section::ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(written.collect::<Vec<_>>(), known);
        assert!(Section::ALL.len() <= u64::BITS as usize);
    }
}
