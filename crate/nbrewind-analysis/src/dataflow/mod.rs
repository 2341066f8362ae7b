//! The dataflow pass: runs a notebook's statements symbolically, top to bottom, and gives every cell a *key*.
//!
//! A key covers the statement and the versions of everything it reads; a version covers the key of the statement that
//! made it. So two runs of the pass give a cell the same key exactly when nothing that can reach the cell differs, and
//! undoing an edit makes everything fresh again.
//!
//! Terms: a *binding* is what a name stands for; an *object* is something that names may share (aliases), hold
//! (containers) or be part of (items, attributes, views). Every version comes twice: `certain` leaves out what only may
//! have happened (unknown constructs, files by unknown paths), `full` has it in. A cell whose `certain` key differs is
//! stale; if only the `full` key differs, it is unknown.
//!
//! Invariant: whatever a statement may change gets a version made from the statement's key, so a change is never lost;
//! being too careful costs a false alarm only.
//!
//! The same pass follows what a kernel really ran, in whatever order that was. Running the whole page again must then
//! give every cell the key it had, although the namespace is full of what the cells below left there. So what is set
//! again is set, not added to (settings, environment, items of dicts and frames), and what may or may not have been
//! bound is judged by what stands above on the page.
//!
//! A cell run is a *step*. The state is kept as it was after every step (`state`), so that after an edit only those steps
//! run again that look at something that changed ([`World::settle`]); the result is that of a pass from scratch.

mod binding;
mod calls;
mod changing;
mod history;
mod library;
mod outside;
mod reading;
mod recorded;
mod seen;
mod state;
mod version;

pub(crate) use crate::facts::Varies;
pub(crate) use history::Step;
pub(crate) use recorded::Extra;
pub(crate) use version::{Digest, Version};

use crate::cell::Cell;
use crate::facts::{FunctionId, How};
use crate::fingerprint::Hash;
use crate::judge::Judgement;
use crate::knowledge::Section;
use crate::name::Name;
use crate::program::{self, Callee, Key, Op, Statement, Value};
use crate::sorted::Map;
use library::{Callable, Library};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use seen::Seen;
use state::{Ambience, Common, ObjectId, ObjectKind, Objects, State, Taint};
use std::rc::Rc;
use version::{Mixture, digest};

/// A statement among all that ran; later ones are greater. Between two there is room for "right after".
type Moment = u64;

/// Cell and function.
type Code = (Step, FunctionId);

fn moment(step: Step, statement: usize) -> Moment {
    ((step as u64 + 1) << 24) + 2 * statement as u64
}

/// How the thing that was read came to be as it is; for reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Manner {
    Bound,
    Changed,
    File,
    Environment,
    Random,
    Configuration,
    /// By something that cannot be known.
    Unknown,
}

/// One thing a cell read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ReadRecord {
    pub name: Name,
    /// The function of the notebook that reads it, if it is not the cell itself.
    pub through: Option<Name>,
    pub version: Version,
    /// The cell that made this version.
    pub origin: Option<Step>,
    pub manner: Manner,
}

/// What the pass says of one cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CellOutcome {
    pub key: Version,
    pub reads: Vec<ReadRecord>,
    /// Running it again may give something else.
    pub varies: Option<Varies>,
    /// Of a step with a record: the key without what the cell only shows.
    pub values: Version,
}

/// One run of a cell, beside its text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Turn {
    /// The effects are not those of the text: it could not be parsed, so these are an earlier text's statements, or the
    /// run did not get to the end.
    pub doubt: Option<Digest>,
    /// What tells this run from others of the same code where a run may give something else each time.
    pub salt: Option<Digest>,
    /// Where the cell stands on the page; runs from elsewhere stand nowhere.
    pub place: Option<usize>,
    /// The first cell of the page: what follows is a new run of the page.
    pub starts_over: bool,
    /// Of the recorded run that it comes with, `values` of the outcome: only if they are the same now does the record say
    /// what did *not* happen.
    pub recorded: Option<Version>,
    /// What lies outside is not what it was when the cell ran.
    pub outside: Option<Digest>,
    pub novel: Novel,
}

/// Statements of a text that nothing ran, as sets of positions; those that come late in a long text are left out.
///
/// Whatever such a statement makes differs from all that was made, and that is all that is asked. So it counts by where it
/// stands and not by what it says, and what depends on it comes out the same with every keystroke.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Novel {
    pub statements: u64,
    /// Those of them whose constants no statement binds that ran.
    pub constants: u64,
}

impl Novel {
    fn has(positions: u64, index: usize) -> bool {
        index < 64 && positions >> index & 1 == 1
    }
}

/// What tells doubts, and salts, from each other.
pub(crate) fn label(text: &[u8]) -> Digest {
    digest("label", &[text])
}

#[derive(Clone, Copy)]
enum Touched {
    Name {
        name: Name,
        old: Option<Version>,
    },
    Made(ObjectId),
    /// A file whose path is not known.
    SomeFile,
    Changed(ObjectId),
    /// A list or a dict has other items, or has them elsewhere; the items are as they were.
    Rearranged(ObjectId),
    ChangedKey {
        object: ObjectId,
        key: Key,
        replaces: bool,
    },
    Ambient {
        which: Ambience,
        manner: AmbientChange,
    },
}

/// How much of an object changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Everything,
    /// Which items there are, and where.
    Order,
    /// What is at a key: something else from now on, or the same, changed.
    Key(Key, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AmbientChange {
    Replace,
    Advance,
    /// Doing it twice is the same as doing it once.
    Set,
}

/// One step of the list that the pass follows.
#[derive(Clone)]
struct Run {
    cell: Rc<Cell>,
    turn: Turn,
    extra: Option<Rc<Extra>>,
}

/// A pass: the steps, and the state after each of them.
#[derive(Clone, Default)]
pub(crate) struct World {
    runs: Vec<Run>,
    pub outcomes: Vec<CellOutcome>,
    /// Steps that have to run again.
    dirty: Dirty,
    state: State,
    answers: Answers,
    step: Step,
    statement: Current,
}

/// The statement being run.
#[derive(Clone, Default)]
struct Current {
    moment: Moment,
    key: Mixture,
    /// What only changes what the cell shows.
    shown: Mixture,
    /// What functions print that may run.
    prints: Mixture,
    /// What they print may end up in a value.
    takes_prints: bool,
    /// Names of this cell that are not there, so that what comes after does not run.
    lost: Mixture,
    /// What functions only add to: nothing but that itself depends on it.
    added_to: Mixture,
    /// It gives one value one name.
    names_one_value: bool,
    touched: Vec<Touched>,
    reads: Vec<ReadRecord>,
    results: Vec<(usize, Objects)>,
    is_unknown: bool,
    /// What names begin with that it may bind.
    prefix: Option<Name>,
    through: Option<Name>,
    displays: bool,
    visited_code: HashSet<Code>,
    /// Which parameters are being asked about: whether a call changes them.
    asked: Vec<(Step, FunctionId, usize)>,
    /// What was run by way of what holds it.
    ran: Vec<(ObjectId, Code)>,
    doubt: Option<Digest>,
    /// What stands for its text, if nothing ran that. See [`Novel`].
    novel: Option<Digest>,
    has_novel_constants: bool,
    varies: Option<Varies>,
    is_calling: bool,
    /// Libraries that it sets up.
    configures: Vec<Name>,
    /// Names that it has bound so far, and names of which it sees what they stood for before.
    bound: Vec<Name>,
    exposed: Vec<Name>,
}

/// Answers of the tables of what is known, each asked once.
#[derive(Clone, Default)]
struct Answers {
    frame_columns: Map<Option<Key>>,
    libraries: HashMap<Name, Name>,
    ambience: Vec<(Ambience, Name)>,
    calls: HashMap<Callable, Rc<Judgement>>,
    functions: HashMap<Name, Library>,
}

/// Steps that have to run again, as a set of bits.
#[derive(Clone, Default)]
struct Dirty {
    words: Vec<u64>,
}

impl Dirty {
    fn add(&mut self, step: Step) {
        let word = step / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (step % 64);
    }

    /// The first one from here on, which is taken out.
    fn take_from(&mut self, from: Step) -> Option<Step> {
        let mut at = from / 64;
        let mut mask = u64::MAX << (from % 64);
        while let Some(word) = self.words.get_mut(at) {
            let found = *word & mask;
            if found != 0 {
                let bit = found.trailing_zeros() as usize;
                *word &= !(1 << bit);
                return Some(at * 64 + bit);
            }
            at += 1;
            mask = u64::MAX;
        }
        None
    }
}

impl World {
    pub(crate) fn new() -> Self {
        World::default()
    }

    /// Runs one more cell.
    pub(crate) fn push(&mut self, cell: Rc<Cell>, turn: Turn, extra: Option<Rc<Extra>>) {
        let step = self.runs.len();
        self.runs.push(Run { cell, turn, extra });
        self.outcomes.push(CellOutcome::default());
        self.run(step);
    }

    /// Another text, or another turn, for a step that has run; [`World::settle`] runs it. The place stays.
    pub(crate) fn replace(&mut self, step: Step, cell: Rc<Cell>, turn: Turn) {
        let run = &mut self.runs[step];
        if Rc::ptr_eq(&run.cell, &cell) && run.turn == turn {
            return;
        }
        let is_same_code = Rc::ptr_eq(&run.cell, &cell);
        (run.cell, run.turn) = (cell, turn);
        self.dirty.add(step);
        if !is_same_code {
            for reader in self.state.readers_of_code(step) {
                self.dirty.add(reader);
            }
        }
    }

    /// Forgets this step and all after it.
    pub(crate) fn cut(&mut self, from: Step) {
        self.runs.truncate(from);
        self.outcomes.truncate(from);
        self.state.cut(from);
    }

    /// Runs every step again that can see something that changed. How many those were, and calls with each whose outcome
    /// is another one.
    pub(crate) fn settle(&mut self, mut is_other: impl FnMut(Step)) -> usize {
        let mut n_runs = 0;
        let mut from = 0;
        // A change only reaches later steps.
        while let Some(step) = self.dirty.take_from(from) {
            if self.run(step) {
                is_other(step);
            }
            n_runs += 1;
            from = step;
        }
        n_runs
    }

    /// Whether the outcome is another one than before.
    fn run(&mut self, step: Step) -> bool {
        self.step = step;
        self.state.begin(step);
        let outcome = self.execute();
        let is_other = self.outcomes[step] != outcome;
        self.outcomes[step] = outcome;
        let dirty = &mut self.dirty;
        self.state.end(|reader| dirty.add(reader));
        is_other
    }

    fn execute(&mut self) -> CellOutcome {
        let Run { cell, turn, extra } = &self.runs[self.step];
        let (cell, turn, extra) = (cell.clone(), *turn, extra.clone());
        let program = &cell.program;
        if turn.starts_over {
            self.start_over();
        }
        let mut outcome = CellOutcome::default();
        let mut all = Mixture::default();
        let mut values = Mixture::default();
        let n_statements = program.statements.len();
        self.statement.lost.clear();
        for (index, statement) in program.statements.iter().enumerate() {
            self.begin(index, &statement.fingerprint, &turn);
            if program.reads_source {
                self.statement.key.add_bytes(&program.exact_fingerprint);
            }
            if !self.statement.lost.is_empty() {
                let lost = self.statement.lost.version();
                self.statement.key.add(lost);
            }
            if statement.covers_cell {
                self.statement.key.add(all.version());
            }
            if let Some(outside) = turn.outside {
                self.statement.key.add_bytes(&outside.to_le_bytes());
            }
            self.statement.displays = statement.shows_tables;
            self.statement.names_one_value = statement.names_value;
            if index == 0 {
                for &name in &program.declared_reads {
                    self.read_name(name);
                }
                if let Some(extra) = &extra {
                    self.add_recorded_reads(extra);
                }
            }
            self.run_statement(statement, program.is_declared);
            if index + 1 == n_statements {
                self.add_facts(extra.as_deref(), &program.declared_writes);
            }
            let key = self.finish(turn.salt, statement.whole.as_ref());
            if index + 1 == n_statements && statement.gives_value {
                self.state.show(key);
            }
            outcome.varies = outcome.varies.max(self.statement.varies);
            all.add(key);
            if extra.is_some() {
                values.add(key);
                values.add(self.statement.added_to.version());
            }
            all.take_over(&mut self.statement.added_to);
            if let Some(whole) = &statement.whole {
                all.add_bytes(whole);
            }
            all.take_over(&mut self.statement.shown);
        }
        outcome.reads = self.statement.reads.clone();
        self.statement.reads.clear();
        outcome.key = all.version();
        if let Some(extra) = &extra {
            outcome.values = values.version();
            if turn
                .recorded
                .is_none_or(|recorded| recorded == outcome.values)
            {
                for &name in &extra.apart {
                    self.set_apart(name);
                }
            }
        }
        outcome
    }

    /// The last run of the page left files as a restart would, and what unknown code may read or may have written is
    /// taken to be what stands above it.
    fn start_over(&mut self) {
        self.state.start_over();
        self.state.set_file_taints(state::FileTaints::default());
        self.state.clear_common(Common::FilesWritten);
        self.state.clear_common(Common::VariablesSet);
        self.state.clear_common(Common::Stars);
        let taint = self.state.taint();
        self.state
            .set_taint(taint.filter(|taint| !self.is_from_below(Some(taint.origin))));
    }

    fn begin(&mut self, index: usize, fingerprint: &[u8], turn: &Turn) {
        let moment = moment(self.step, index);
        let current = &mut self.statement;
        current.moment = moment;
        let novel = Novel::has(turn.novel.statements, index)
            .then(|| digest("novel", &[&moment.to_le_bytes()]));
        current.novel = novel;
        current.has_novel_constants = Novel::has(turn.novel.constants, index);
        current.key.clear();
        match novel {
            Some(novel) => current.key.add_bytes(&novel.to_le_bytes()),
            None => current.key.add_bytes(fingerprint),
        }
        current.doubt = turn.doubt;
        if let Some(doubt) = turn.doubt {
            current.key.add_doubt(&doubt.to_le_bytes());
        }
        current.touched.clear();
        current.bound.clear();
        current.exposed.clear();
        current.results.clear();
        current.visited_code.clear();
        current.ran.clear();
        current.is_unknown = false;
        current.prefix = None;
        current.varies = None;
        current.through = None;
        current.prints.clear();
        current.takes_prints = false;
        current.added_to.clear();
    }

    fn finish(&mut self, salt: Option<Digest>, whole: Option<&Hash>) -> Version {
        self.settle_prints();
        if self.statement.is_unknown {
            let so_far = self.state.keys_so_far();
            self.statement.key.add_doubt(b"unknown");
            self.statement.key.add_doubt(&so_far.to_le_bytes());
            self.vary(Varies::Unknown);
        }
        if self.statement.varies.is_some()
            && let Some(salt) = salt
        {
            self.statement.key.add_doubt(b"salt");
            self.statement.key.add_doubt(&salt.to_le_bytes());
        }
        let mut key = self.statement.key.version();
        if let Some(novel) = self.statement.novel {
            // What may only have happened still tells one state from another.
            let is_certain = key.certain == key.full;
            key.certain = novel;
            if is_certain {
                key.full = novel;
            }
        }
        // What looks at everything sees what was added to anyway.
        self.state.add_key(match whole {
            // What looks at everything sees the names, too.
            Some(whole) => digest("whole", &[&key.full.to_le_bytes(), whole]),
            None => key.full,
        });
        let mut touched = std::mem::take(&mut self.statement.touched);
        let mut changed = Vec::new();
        let mut covered = Seen::default();
        for touched in &touched {
            match *touched {
                Touched::Changed(id) => {
                    changed.push((id, Extent::Everything));
                    covered.insert(id);
                }
                Touched::Rearranged(id) => {
                    changed.push((id, Extent::Order));
                    covered.insert(id);
                }
                Touched::ChangedKey {
                    object,
                    key,
                    replaces,
                } => changed.push((object, Extent::Key(key, replaces))),
                Touched::Made(id) => {
                    covered.insert(id);
                }
                Touched::Name { .. } | Touched::Ambient { .. } | Touched::SomeFile => {}
            }
        }
        // What a value is called is no part of it.
        let mut bound = touched.iter().filter_map(|touched| match touched {
            Touched::Name { name, .. } => Some(*name),
            _ => None,
        });
        let first = bound.next();
        self.statement.names_one_value &= bound.all(|name| Some(name) == first);
        changed.retain(|(id, _)| !matches!(*id, ObjectId::FILES | ObjectId::ENVIRONMENT));
        for (ordinal, touched) in touched.drain(..).enumerate() {
            self.settle_touched(ordinal, touched, key);
        }
        self.statement.touched = touched;
        self.statement.names_one_value = false;
        if !changed.is_empty() {
            self.spread(&changed, &covered);
        }
        if self.statement.is_unknown {
            self.state.clear_common(Common::Stars);
            self.state.set_taint(Some(Taint {
                digest: key.full,
                since: self.statement.moment,
                origin: self.step,
                prefix: None,
            }));
        } else if let Some(prefix) = self.statement.prefix {
            // It widens what was there before.
            let before = self.state.taint();
            let is_alone = before.is_none_or(|before| before.prefix == Some(prefix));
            self.state.set_taint(Some(Taint {
                digest: before.map_or(key.full, |before| {
                    digest(
                        "names",
                        &[&key.full.to_le_bytes(), &before.digest.to_le_bytes()],
                    )
                }),
                since: self.statement.moment,
                origin: self.step,
                prefix: is_alone.then_some(prefix),
            }));
        }
        key
    }

    /// What functions print is shown, unless something makes a value of it.
    fn settle_prints(&mut self) {
        if self.statement.prints.is_empty() {
            return;
        }
        let stdout = Key::Attr(Name::new("stdout"));
        let sys = self.state.object(ObjectId::module(Name::new("sys")));
        let is_taken = sys.key(stdout).is_some()
            || self.binding(Name::new("print")).is_some()
            || self.statement.takes_prints
            || self.runs[self.step].cell.program.takes_prints();
        let current = &mut self.statement;
        if is_taken {
            current.key.take_over(&mut current.prints);
        } else {
            current.shown.take_over(&mut current.prints);
        }
    }

    /// What the statement touched gets a version made from its key.
    fn settle_touched(&mut self, ordinal: usize, touched: Touched, key: Version) {
        let step = self.step;
        match touched {
            Touched::Name { name, old } => {
                let label = if self.statement.names_one_value {
                    b""
                } else {
                    name.as_bytes()
                };
                if let Some(binding) = self.state.own_name(name) {
                    binding.version = key.derive(label, old);
                    binding.origin = Some(step);
                }
            }
            Touched::SomeFile => self.taint_files(key),
            Touched::Made(id) => {
                let version = key.derive(&ordinal.to_le_bytes(), None);
                self.state.object_mut(id).set_all(version, step);
            }
            Touched::Changed(ObjectId::ENVIRONMENT) => {
                let changes = self.state.common_mut(Common::EnvironmentChanges);
                let version = changes.set(key, step);
                self.state.common_mut(Common::VariablesSet).set(key, step);
                let environment = self.state.object_mut(ObjectId::ENVIRONMENT);
                environment.set_all(version, step);
                environment.keys = Rc::default();
            }
            Touched::Changed(id) | Touched::Rearranged(id) => {
                let object = self.state.object_mut(id);
                let version = key.derive(b"", Some(object.whole));
                object.set_all(version, step);
                object.keys = Rc::default();
                if object.manner == Manner::Bound {
                    object.manner = Manner::Changed;
                }
            }
            Touched::ChangedKey {
                object: id,
                key: at,
                replaces,
            } => {
                if id == ObjectId::FILES {
                    if matches!(at, Key::Attr(_)) {
                        self.state.common_mut(Common::FilesWritten).set(key, step);
                    }
                } else if id == ObjectId::ENVIRONMENT {
                    self.state.common_mut(Common::VariablesSet).set(key, step);
                }
                let object = self.state.object(id);
                let version = if object.kind == ObjectKind::Module && !replaces {
                    self.state.module_settings_mut(id, at).set(key, step)
                } else {
                    let old = object.key(at).map_or(object.base, |(version, _)| version);
                    let label: &[&[u8]] = match at {
                        Key::Attr(name) => &[b".", name.text().as_bytes()],
                        Key::Item(name) => &[b"[", name.text().as_bytes()],
                        Key::Any | Key::Element => &[],
                    };
                    let label = digest("key", label).to_le_bytes();
                    key.derive(&label, (!replaces).then_some(old))
                };
                let object = self.state.object_mut(id);
                object.set_key(at, version, step);
                object.origin = Some(step);
                if object.manner == Manner::Bound {
                    object.manner = Manner::Changed;
                }
            }
            Touched::Ambient { which, manner } => {
                let name = self.ambience_name(which);
                let ambient = self.state.ambient_mut(which);
                let old = ambient.origin.map(|_| ambient.version);
                ambient.version = match manner {
                    AmbientChange::Replace => key.derive(name.as_bytes(), None),
                    AmbientChange::Advance => key.derive(name.as_bytes(), old),
                    AmbientChange::Set => ambient.settings.set(key, step),
                };
                ambient.origin = Some(step);
                if manner == AmbientChange::Replace {
                    ambient.seeded = Some(step);
                }
            }
        }
    }

    fn run_statement(&mut self, statement: &Statement, is_declared: bool) {
        self.statement.configures.clear();
        self.statement
            .configures
            .extend_from_slice(&statement.configures);
        for op in &statement.ops {
            match op {
                Op::Read {
                    path,
                    how,
                    is_own,
                    columns,
                } => self.read_and_run(path, *how, *is_own, columns),
                Op::Iterate(value) => {
                    let objects = self.resolve_existing(value);
                    self.consume(&objects);
                }
                Op::Bind {
                    name,
                    value,
                    is_definite,
                } => self.bind(*name, value, *is_definite),
                Op::Augment {
                    name,
                    is_definite,
                    held,
                } => self.augment(*name, *is_definite, held),
                Op::Decorate(call) => {
                    if let Callee::Other(decorator) = &call.callee {
                        let mut objects = self.resolve(decorator, false).into_iter();
                        if objects.any(|id| self.state.object(id).code.is_some()) {
                            self.call(call);
                        }
                    }
                }
                Op::Enter(value) => {
                    for id in self.resolve_existing(value) {
                        self.run_implied_of(id, How::Load);
                        self.run_method(id, &["__enter__", "__exit__", "__aenter__", "__aexit__"]);
                    }
                }
                Op::Unbind { name, is_definite } => self.unbind(*name, *is_definite),
                Op::Mutate { target, key, held } => self.store(target, *key, held),
                Op::Call(call) => self.call(call),
                Op::Invoke(id) => {
                    let mut code = Vec::new();
                    self.read_code((self.step, *id), Name::new(""), &mut code);
                    self.statement.through = None;
                    self.run_code(&code);
                }
                Op::Outside(outside) => self.outside(*outside),
                Op::StringNames(names) => {
                    for &name in names {
                        let binding = self.meant(name);
                        if binding.is_some_and(|binding| binding.module.is_none()) {
                            self.read_name(name);
                        }
                    }
                }
                Op::Star(module) => self.star(*module),
                Op::SomeNames(prefix) => {
                    let known = self.statement.prefix.replace(*prefix);
                    self.statement.is_unknown |= known.is_some_and(|known| known != *prefix);
                }
                Op::Unknown => self.statement.is_unknown |= !is_declared,
            }
        }
    }

    fn star(&mut self, module: Name) {
        match module.value(Section::Stars) {
            Some(names) => {
                for name in names.split(',') {
                    let dotted = Name::new(&format!("{module}.{name}", module = module.text()));
                    let value = Value::of(program::Source::Module(dotted));
                    self.bind(Name::new(name), &value, true);
                }
            }
            None => {
                // Which names it binds is not known, but it is the same as long as the module is.
                let before = self.state.taint();
                let step = self.step;
                let stars = self.state.common_mut(Common::Stars);
                if let Some(before) = before {
                    stars.start_with(before.digest, step);
                }
                let all = stars.set(Version::constant("star", &module), step);
                self.state.set_taint(Some(Taint {
                    digest: all.full,
                    since: self.statement.moment,
                    origin: step,
                    prefix: None,
                }));
            }
        }
    }

    fn vary(&mut self, how: Varies) {
        self.statement.varies = self.statement.varies.max(Some(how));
    }

    // ---- the page ----------------------------------------------------------------------------------------------

    fn place(&self, step: Step) -> Option<usize> {
        self.runs.get(step).and_then(|run| run.turn.place)
    }

    /// Whether this was made by a run of a cell that stands below, or by an earlier run of this very cell: in a run of
    /// the page it would not be there yet.
    fn is_from_below(&self, origin: Option<Step>) -> bool {
        match (origin, self.place(self.step)) {
            (Some(origin), Some(here)) if origin != self.step => {
                self.place(origin).is_some_and(|there| there >= here)
            }
            _ => false,
        }
    }

    /// Whether the cell of one step stands on the page below the cell of another one, or is the same.
    fn stands_below(&self, one: Step, other: Step) -> bool {
        let places = self.place(one).zip(self.place(other));
        places.is_some_and(|(one, other)| one >= other)
    }

    /// Whether this was made by an earlier run of this very statement's cell.
    fn is_own(&self, origin: Option<Step>) -> bool {
        origin.is_some_and(|origin| {
            origin != self.step
                && self.place(origin).is_some()
                && self.place(origin) == self.place(self.step)
        })
    }

    /// A version that does not come from the statement's key still carries the doubt about its text.
    fn doubtful(&self, version: Version) -> Version {
        let lost = &self.statement.lost;
        let version = if lost.is_empty() {
            version
        } else {
            lost.version().derive(b"lost", Some(version))
        };
        match self.statement.doubt {
            Some(doubt) => Version {
                full: digest(
                    "doubt",
                    &[&doubt.to_le_bytes(), &version.full.to_le_bytes()],
                ),
                ..version
            },
            None => version,
        }
    }

    /// The text of the cell whose code this is.
    fn cell_of(&self, code: Code) -> Rc<Cell> {
        let (step, _) = code;
        if step != self.step {
            self.state.look_at_code(step);
        }
        self.runs[step].cell.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Rc<Cell> {
        Rc::new(crate::cell::analyze(
            &text.into(),
            &[],
            &[],
            Default::default(),
        ))
    }

    fn turn(place: usize) -> Turn {
        Turn {
            place: Some(place),
            ..Turn::default()
        }
    }

    /// How many steps run when one of these texts is another one.
    fn n_runs(texts: &[&str], at: usize, text: &str) -> usize {
        let mut world = World::new();
        for (at, text) in texts.iter().enumerate() {
            world.push(cell(text), turn(at), None);
        }
        assert_eq!(world.settle(|_| ()), 0);
        world.replace(at, cell(text), turn(at));
        world.settle(|_| ())
    }

    #[test]
    fn an_edit_runs_what_it_reaches_and_nothing_else() {
        let page = [
            "x = f()",
            "y = x + 1",
            "z = 3",
            "print(y)",
            "print(z)",
            "w = [z]",
        ];
        assert_eq!(n_runs(&page, 0, "x = g()"), 3);
        assert_eq!(n_runs(&page, 2, "z = 4"), 3);
        assert_eq!(n_runs(&page, 4, "print(z, z)"), 1);
        assert_eq!(n_runs(&page, 3, ""), 1);
    }

    #[test]
    fn typing_on_runs_nothing_that_stands_below() {
        for texts in [["f(1)", "f(12)", "g(y_1)"], ["1", "12", "123"]] {
            let mut world = World::new();
            for (at, text) in ["x = 0", "y = x", "print(y)"].iter().enumerate() {
                world.push(cell(text), turn(at), None);
            }
            let novel = Novel {
                statements: 1,
                constants: 1,
            };
            let typed = Turn { novel, ..turn(0) };
            for (nth, text) in texts.iter().enumerate() {
                world.replace(0, cell(&format!("x = {text}")), typed);
                assert_eq!(world.settle(|_| ()), if nth == 0 { 3 } else { 1 }, "{text}");
            }
            world.replace(0, cell("x = 0"), turn(0));
            assert_eq!(world.settle(|_| ()), 3);
        }
    }

    /// A page on which every cell holds what the one above made.
    fn chain(n: usize, first: &str) -> World {
        let mut world = World::new();
        world.push(cell(first), turn(0), None);
        for at in 1..n {
            let text = format!("t{at} = [t{}]\nprint(t{at})", at - 1);
            world.push(cell(&text), turn(at), None);
        }
        world
    }

    #[test]
    fn a_reader_does_not_go_through_all_that_is_held() {
        let mut world = chain(300, "t0 = [1]");
        let most = |world: &World| {
            let n_reads = world.outcomes.iter().map(|outcome| outcome.reads.len());
            n_reads.max().unwrap_or_default()
        };
        assert!(most(&world) <= 6, "{} reads", most(&world));
        let before = world.outcomes.clone();
        world.replace(0, cell("t0 = [2]"), turn(0));
        assert_eq!(world.settle(|_| ()), 300);
        assert!(most(&world) <= 6, "{} reads", most(&world));
        let mut pairs = world.outcomes.iter().zip(&before);
        assert!(pairs.all(|(now, before)| now.key != before.key));
    }

    #[test]
    fn what_is_held_may_change_long_afterwards() {
        let mut world = chain(300, "t0 = [1]");
        world.push(cell("print(t299)"), turn(300), None);
        world.push(cell("t0.append(2)"), turn(301), None);
        world.push(cell("print(t299)"), turn(302), None);
        world.push(cell("print(t0)"), turn(303), None);
        let before = world.outcomes.clone();
        assert_ne!(before[300].key, before[302].key);
        world.replace(301, cell("t0.append(3)"), turn(301));
        assert_eq!(world.settle(|_| ()), 3);
        assert_eq!(world.outcomes[300], before[300]);
        assert_ne!(world.outcomes[302].key, before[302].key);
        assert_ne!(world.outcomes[303].key, before[303].key);
        world.replace(301, cell("t0.append(2)"), turn(301));
        world.settle(|_| ());
        assert_eq!(world.outcomes, before);
    }

    #[test]
    fn what_comes_out_as_before_ends_the_way() {
        let page = ["x = 1", "y = x", "print(y)", "open('a', 'w')", "open('a')"];
        assert_eq!(n_runs(&page, 0, "x = (1)  # the same"), 1);
        // Bound by another statement: the reader looks again and gives what it gave.
        assert_eq!(n_runs(&page, 0, "z = 2\nx = 1"), 2);
    }
}
