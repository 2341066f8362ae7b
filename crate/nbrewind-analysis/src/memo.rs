//! Texts that were analysed, so that a text is analysed once; and what the other cells import, which decides what some
//! calls are: `seed(1)` is a seed when a cell has `from random import seed`.

use crate::cell::{self, Cell};
use rustc_hash::FxHashMap as HashMap;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Names and the modules, or things of modules, that they stand for.
pub(crate) type Modules = BTreeMap<String, String>;

/// How many contexts of one text are kept.
const MAX_CONTEXTS: usize = 4;

/// A text with its tags, analysed alone and in the contexts it was met in.
#[derive(Debug)]
pub(crate) struct Text {
    source: String,
    tags: Vec<String>,
    /// As if there were no other cells.
    pub alone: Rc<Cell>,
    in_context: RefCell<Vec<(Modules, Rc<Cell>)>>,
}

impl Text {
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What decides "same text or not": comments count only where the code reads its own source.
    pub(crate) fn is_same(&self, other: &Text) -> bool {
        let reads_source = !self.alone.effects.marks.reads_source.is_empty();
        self.alone.fingerprint == other.alone.fingerprint
            && (!reads_source || self.alone.exact_fingerprint == other.alone.exact_fingerprint)
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.source.trim().is_empty()
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.alone.effects.parse_errors.is_empty()
    }

    fn with(&self, modules: Modules) -> Rc<Cell> {
        if modules.is_empty() {
            return self.alone.clone();
        }
        let mut known = self.in_context.borrow_mut();
        if let Some((_, cell)) = known.iter().find(|(context, _)| *context == modules) {
            return cell.clone();
        }
        let cell = Rc::new(cell::analyze(&self.source, &self.tags, &modules));
        if known.len() == MAX_CONTEXTS {
            known.remove(0);
        }
        known.push((modules, cell.clone()));
        cell
    }
}

/// Every text that someone still holds.
#[derive(Debug, Default)]
pub(crate) struct Memo(HashMap<String, Vec<Rc<Text>>>);

impl Memo {
    pub(crate) fn text(&mut self, source: &str, tags: &[String]) -> Rc<Text> {
        if let Some(known) = self.0.get(source)
            && let Some(text) = known.iter().find(|text| text.tags == tags)
        {
            return text.clone();
        }
        let text = Rc::new(Text {
            source: source.to_owned(),
            tags: tags.to_vec(),
            alone: Rc::new(cell::analyze(source, tags, &Modules::new())),
            in_context: RefCell::default(),
        });
        let known = self.0.entry(source.to_owned()).or_default();
        known.push(text.clone());
        text
    }

    /// Drops what nobody holds any more.
    pub(crate) fn sweep(&mut self) {
        self.0.retain(|_, known| {
            known.retain(|text| Rc::strong_count(text) > 1);
            !known.is_empty()
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What the cells so far import.
#[derive(Debug, Default)]
pub(crate) struct Imports(HashMap<String, Option<String>>);

impl Imports {
    /// The text as it stands in its place. Functions look names up when they run, so an import elsewhere counts when
    /// there is none above.
    pub(crate) fn place(&mut self, text: &Text, elsewhere: &Modules) -> Rc<Cell> {
        let alone = &text.alone;
        let mut modules = Modules::new();
        for name in &alone.effects.loads {
            let module = match self.0.get(name) {
                Some(known) => known.as_ref(),
                None => elsewhere.get(name),
            };
            if let Some(module) = module
                && !alone.facts.imports.contains_key(name)
            {
                modules.insert(name.clone(), module.clone());
            }
        }
        for name in &alone.effects.writes {
            let module = alone.facts.imports.get(name).cloned();
            match self.0.get_mut(name) {
                Some(known) => *known = module,
                None => {
                    self.0.insert(name.clone(), module);
                }
            }
        }
        text.with(modules)
    }
}

/// What any of these texts imports; of several the first counts.
pub(crate) fn anywhere<'t>(texts: impl DoubleEndedIterator<Item = &'t Text>) -> Modules {
    let mut modules = Modules::new();
    for text in texts.rev() {
        for (name, module) in &text.alone.facts.imports {
            match modules.get_mut(name) {
                Some(known) => module.clone_into(known),
                None => {
                    modules.insert(name.clone(), module.clone());
                }
            }
        }
    }
    modules
}
