//! Texts that were analysed, so that a text is analysed once; and what the other cells import, which decides what some
//! calls are: `seed(1)` is a seed when a cell has `from random import seed`.

use crate::cell::{self, Cell, Detail};
use crate::effects::ParseError;
use crate::knowledge::Section;
use crate::name::Name;
use rustc_hash::FxHashMap as HashMap;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Names and the modules, or things of modules, that they stand for.
pub(crate) type Modules = HashMap<Name, Name>;

/// The part of them that one text can see, in the order of its names.
type Context = Vec<(Name, Name)>;

/// How many contexts of one text are kept.
const MAX_CONTEXTS: usize = 4;

/// A text with its tags, analysed alone and in the contexts it was met in, each when somebody asks for the first time.
#[derive(Debug)]
pub(crate) struct Text {
    source: Arc<str>,
    tags: Vec<String>,
    detail: Detail,
    facts: OnceCell<Facts>,
    in_context: RefCell<Vec<(Context, Rc<Cell>)>>,
}

/// What is known of a text without its context.
#[derive(Debug)]
struct Facts {
    /// As if there were no other cells.
    alone: Rc<Cell>,
    /// Names that it loads and does not import itself, with what they are taken to be where nobody imports them.
    loads: Box<[(Name, Option<Name>)]>,
    /// Names that it binds, with what they import.
    binds: Box<[(Name, Option<Name>)]>,
}

impl Facts {
    fn new(alone: Cell) -> Self {
        let names = &alone.names;
        Facts {
            loads: names
                .loads
                .iter()
                .filter(|name| !alone.imports.has(**name))
                .map(|&name| {
                    let usual = name.value(Section::Aliases);
                    let usual = usual.filter(|_| !names.writes.has(name));
                    (name, usual.map(Name::new))
                })
                .collect(),
            binds: names
                .writes
                .iter()
                .map(|&name| (name, alone.imports.get(name).copied()))
                .collect(),
            alone: Rc::new(alone),
        }
    }
}

/// A text that is to be read.
pub(crate) struct Reading<'t> {
    source: &'t Arc<str>,
    tags: &'t [String],
    detail: Detail,
}

impl Reading<'_> {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn len(&self) -> usize {
        self.source.len()
    }

    /// As if there were no other cells.
    pub(crate) fn read(&self) -> Cell {
        cell::analyze(self.source, self.tags, &[], self.detail)
    }
}

impl Text {
    fn new(source: Arc<str>, tags: &[String], detail: Detail) -> Self {
        Text {
            source,
            tags: tags.to_vec(),
            detail,
            facts: OnceCell::new(),
            in_context: RefCell::default(),
        }
    }

    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| Facts::new(self.reading().read()))
    }

    /// All that it takes to read this text, for whoever does.
    pub(crate) fn reading(&self) -> Reading<'_> {
        Reading {
            source: &self.source,
            tags: &self.tags,
            detail: self.detail,
        }
    }

    /// What somebody else found who read it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn is_read_as(&self, cell: Cell) {
        self.facts.get_or_init(|| Facts::new(cell));
    }

    pub(crate) fn is_analysed(&self) -> bool {
        self.facts.get().is_some()
    }

    /// The same with something else where a statement is, that reads and binds the same.
    pub(crate) fn with_another(&self, statement: usize) -> Text {
        self.altered(|cell| {
            for byte in &mut cell.program.statements[statement].fingerprint {
                *byte = !*byte;
            }
        })
    }

    /// The same with something in a line that Python cannot read.
    pub(crate) fn with_an_error(&self, line: usize) -> Text {
        let message = String::new();
        self.altered(|cell| cell.effects.parse_errors = vec![ParseError { message, line }])
    }

    fn altered(&self, alter: impl FnOnce(&mut Cell)) -> Text {
        let mut cell = self.reading().read();
        for byte in &mut cell.fingerprint {
            *byte = !*byte;
        }
        alter(&mut cell);
        let text = Text::new(self.source.clone(), &self.tags, self.detail);
        text.facts.get_or_init(|| Facts::new(cell));
        text
    }

    /// As if there were no other cells.
    pub(crate) fn alone(&self) -> &Rc<Cell> {
        &self.facts().alone
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What decides "same text or not": comments count only where the code reads its own source.
    pub(crate) fn is_same(&self, other: &Text) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        let (one, other) = (self.alone(), other.alone());
        one.fingerprint == other.fingerprint
            && (!one.program.reads_source || one.exact_fingerprint == other.exact_fingerprint)
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.source.trim().is_empty()
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.alone().effects.parse_errors.is_empty()
    }

    /// Whether it imports the same as another text.
    pub(crate) fn imports_like(&self, other: &Text) -> bool {
        self.alone().imports == other.alone().imports
    }

    /// Whether sentences about other cells can say the same of it as of another text.
    pub(crate) fn tells_like(&self, other: &Text) -> bool {
        let (one, other) = (self.alone(), other.alone());
        let line = |cell: &Cell| cell.effects.parse_errors.first().map(|error| error.line);
        let (names, others) = (&one.names, &other.names);
        names.writes == others.writes
            && names.mutates == others.mutates
            && names.deletes == others.deletes
            && line(one) == line(other)
    }

    fn within(&self, context: Context) -> Rc<Cell> {
        if context.is_empty() {
            return self.alone().clone();
        }
        let mut known = self.in_context.borrow_mut();
        if let Some((_, cell)) = known.iter().find(|(other, _)| *other == context) {
            return cell.clone();
        }
        let cell = cell::analyze(&self.source, &self.tags, &context, self.detail);
        let cell = Rc::new(cell);
        if known.len() == MAX_CONTEXTS {
            known.remove(0);
        }
        known.push((context, cell.clone()));
        cell
    }
}

/// Every text that someone still holds.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    detail: Detail,
    texts: HashMap<Arc<str>, Vec<Rc<Text>>>,
    /// Texts added since the last sweep.
    n_new: usize,
}

impl Memo {
    pub(crate) fn new(detail: Detail) -> Self {
        Memo {
            detail,
            ..Memo::default()
        }
    }

    pub(crate) fn text(&mut self, source: &str, tags: &[String]) -> Rc<Text> {
        if let Some(known) = self.texts.get(source)
            && let Some(text) = known.iter().find(|text| text.tags == tags)
        {
            return text.clone();
        }
        let source: Arc<str> = source.into();
        let text = Rc::new(Text::new(source.clone(), tags, self.detail));
        self.texts.entry(source).or_default().push(text.clone());
        self.n_new += 1;
        text
    }

    /// Drops what nobody holds any more; there is nothing to drop before something was added.
    pub(crate) fn sweep(&mut self) {
        self.n_new = 0;
        self.texts.retain(|_, known| {
            known.retain(|text| Rc::strong_count(text) > 1);
            !known.is_empty()
        });
    }

    /// Drops one text if nobody else holds it.
    pub(crate) fn let_go(&mut self, text: Rc<Text>) {
        // The one given and the one kept.
        if Rc::strong_count(&text) > 2 {
            return;
        }
        if let Some(known) = self.texts.get_mut(&text.source) {
            known.retain(|other| !Rc::ptr_eq(other, &text));
            if known.is_empty() {
                self.texts.remove(&text.source);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// What the cells above every step import.
#[derive(Debug, Clone, Default)]
pub(crate) struct Imports(HashMap<Name, Vec<(usize, Option<Name>)>>);

impl Imports {
    /// What this step binds; steps may come in any order.
    pub(crate) fn add(&mut self, step: usize, text: &Text) {
        for (name, module) in &text.facts().binds {
            let bound = self.0.entry(*name).or_default();
            let at = bound.partition_point(|(other, _)| *other < step);
            bound.insert(at, (step, *module));
        }
    }

    pub(crate) fn remove(&mut self, step: usize, text: &Text) {
        for (name, _) in &text.facts().binds {
            if let Some(bound) = self.0.get_mut(name) {
                bound.retain(|(other, _)| *other != step);
            }
        }
    }

    /// The text as it stands in its place. Functions look names up when they run, so an import elsewhere counts when
    /// there is none above.
    pub(crate) fn place(&self, step: usize, text: &Text, elsewhere: &Modules) -> Rc<Cell> {
        let mut context = Context::new();
        for &(name, usual) in &text.facts().loads {
            // A name that nobody imports is no module anywhere.
            let Some(&anywhere) = elsewhere.get(&name) else {
                continue;
            };
            let above = self.0.get(&name).and_then(|bound| {
                let at = bound.partition_point(|(other, _)| *other < step);
                at.checked_sub(1).map(|at| bound[at].1)
            });
            // `np` is taken for numpy anyway.
            if let Some(module) = above.unwrap_or(Some(anywhere))
                && usual != Some(module)
            {
                context.push((name, module));
            }
        }
        text.within(context)
    }
}

/// Whether the steps below see the same imports with the one text as with the other.
pub(crate) fn bind_alike(one: &Text, other: &Text, elsewhere: &Modules) -> bool {
    let modules = |text: &Text| -> Vec<(Name, Option<Name>)> {
        let binds = text.facts().binds.iter().copied();
        binds
            .filter(|(name, _)| elsewhere.contains_key(name))
            .collect()
    };
    modules(one) == modules(other)
}

/// What any of these texts imports; of several the first counts.
pub(crate) fn anywhere<'t>(texts: impl Iterator<Item = &'t Text>) -> Modules {
    let mut modules = Modules::default();
    for text in texts {
        for (name, module) in &text.facts().binds {
            if let Some(module) = module {
                modules.entry(*name).or_insert(*module);
            }
        }
    }
    modules
}
