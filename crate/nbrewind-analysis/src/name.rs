//! Names as pointers: the dataflow pass compares and looks up names far more often than it reads them.
//!
//! Every text is kept once and for good. That is what identifiers, constant keys and paths of the notebooks that were
//! analysed take, a few dozen bytes for each that was ever typed.

use crate::knowledge::{self, Section, Sections};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

/// Several tables natively, so that threads which read texts seldom wait for each other.
const N_TABLES: usize = if cfg!(target_arch = "wasm32") { 1 } else { 32 };

static NAMES: LazyLock<[Mutex<Table>; N_TABLES]> =
    LazyLock::new(|| std::array::from_fn(|_| Mutex::default()));

#[derive(Default)]
struct Table {
    by_text: FxHashMap<&'static str, Name>,
    in_order: Vec<Name>,
}

fn table(which: usize) -> MutexGuard<'static, Table> {
    NAMES[which].lock().unwrap_or_else(PoisonError::into_inner)
}

struct Entry {
    text: Box<str>,
    index: u32,
    /// Both are looked up when somebody asks first.
    sections: OnceLock<Sections>,
    of_path: OnceLock<Sections>,
}

/// A text that equal texts share.
#[derive(Clone, Copy)]
pub(crate) struct Name(&'static Entry);

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let of = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or_default());
        let which = (bytes.len() + of(bytes.first()) + 3 * of(bytes.last())) % N_TABLES;
        let mut names = table(which);
        if let Some(&known) = names.by_text.get(text) {
            return known;
        }
        let index = names.in_order.len() * N_TABLES + which;
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let entry: &'static Entry = Box::leak(Box::new(Entry {
            text: text.into(),
            index,
            sections: OnceLock::new(),
            of_path: OnceLock::new(),
        }));
        names.by_text.insert(&entry.text, Name(entry));
        names.in_order.push(Name(entry));
        Name(entry)
    }

    /// The name that has this number.
    pub(crate) fn of_index(index: u32) -> Option<Self> {
        let index = index as usize;
        let names = table(index % N_TABLES);
        names.in_order.get(index / N_TABLES).copied()
    }

    /// The name that these parts are together.
    pub(crate) fn joined(parts: &[&str]) -> Self {
        // Most are short.
        let mut text: SmallVec<[u8; 64]> = SmallVec::new();
        for part in parts {
            text.extend_from_slice(part.as_bytes());
        }
        // Texts one after the other are a text.
        Name::new(std::str::from_utf8(&text).unwrap_or_default())
    }

    /// A number of its own, the same as long as the process lives.
    pub(crate) fn index(self) -> u32 {
        self.0.index
    }

    pub(crate) fn text(self) -> &'static str {
        &self.0.text
    }

    /// What the tables say of it.
    pub(crate) fn sections(self) -> Sections {
        *self
            .0
            .sections
            .get_or_init(|| knowledge::sections(&self.0.text))
    }

    /// What the tables say of it, and of the modules and things that a dotted name leads through.
    pub(crate) fn sections_of_path(self) -> Sections {
        *self.0.of_path.get_or_init(|| {
            let text = &*self.0.text;
            let ends = text.match_indices('.').map(|(at, _)| at);
            ends.map(|end| knowledge::sections(&text[..end]))
                .fold(self.sections(), Sections::or)
        })
    }

    /// Whether the tables have it in this section.
    pub(crate) fn is_in(self, section: Section) -> bool {
        self.sections().has(section)
    }

    /// Its value in a section of pairs.
    pub(crate) fn value(self, section: Section) -> Option<&'static str> {
        let is_there = self.is_in(section);
        is_there.then(|| knowledge::value(section, &self.0.text))?
    }

    /// Whether it resolves without being defined in the notebook.
    pub(crate) fn is_builtin(self) -> bool {
        let sections = self.sections();
        sections.has(Section::Builtins) || sections.has(Section::PureBuiltins)
    }
}

impl Default for Name {
    fn default() -> Self {
        Name::new("")
    }
}

/// By text, so that an order of names is the same in every process.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other {
            return Ordering::Equal;
        }
        self.0.text.cmp(&other.0.text)
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0.text == *other
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.0.index);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.text, formatter)
    }
}
