//! Names as pointers: the dataflow pass compares and looks up names far more often than it reads them.
//!
//! Every text is kept once and for good. That is what identifiers, constant keys and paths of the notebooks that were
//! analysed take, a few dozen bytes for each that was ever typed.

use rustc_hash::FxHashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{LazyLock, Mutex, PoisonError};

static NAMES: LazyLock<Mutex<FxHashMap<&'static str, Name>>> = LazyLock::new(Mutex::default);

struct Entry {
    text: Box<str>,
    index: u32,
}

/// A text that equal texts share.
#[derive(Clone, Copy)]
pub(crate) struct Name(&'static Entry);

impl Name {
    pub(crate) fn new(text: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = names.get(text) {
            return known;
        }
        let index = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let entry: &'static Entry = Box::leak(Box::new(Entry {
            text: text.into(),
            index,
        }));
        names.insert(&entry.text, Name(entry));
        Name(entry)
    }

    /// A number of its own, the same as long as the process lives.
    pub(crate) fn index(self) -> u32 {
        self.0.index
    }

    pub(crate) fn text(self) -> &'static str {
        &self.0.text
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
