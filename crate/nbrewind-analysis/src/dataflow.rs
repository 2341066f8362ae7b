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

use crate::cell::Cell;
pub(crate) use crate::facts::Varies;
use crate::facts::{
    Call, Callee, FilePath, FunctionFacts, FunctionId, How, Key, Kind, Op, Outside, Path, Relation,
    Source, StatementFacts, Value,
};
use crate::fingerprint::hash_parts;
use crate::knowledge;
use crate::visit::{is_history_name, judge};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How many objects of earlier bindings a name keeps that a statement may or may not bind.
const MAX_OLDER_OBJECTS: usize = 8;

/// 128 bits of a blake3 hash.
type Digest = u128;
type ObjectId = usize;

fn digest(domain: &str, parts: &[&[u8]]) -> Digest {
    let hash = hash_parts(domain, parts);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    Digest::from_le_bytes(first)
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub certain: Digest,
    pub full: Digest,
}

impl Version {
    fn constant(domain: &str, text: &str) -> Self {
        let value = digest(domain, &[text.as_bytes()]);
        Version {
            certain: value,
            full: value,
        }
    }

    /// A version made from this one, a label and optionally what was there before.
    fn derive(self, label: &str, old: Option<Version>) -> Self {
        let make = |key: Digest, old: Option<Digest>| match old {
            Some(old) => digest(
                "changed",
                &[&key.to_le_bytes(), label.as_bytes(), &old.to_le_bytes()],
            ),
            None => digest("made", &[&key.to_le_bytes(), label.as_bytes()]),
        };
        let certain = make(self.certain, old.map(|old| old.certain));
        // Most of the time nothing is doubtful.
        let is_certain = self.certain == self.full && old.is_none_or(|old| old.certain == old.full);
        let full = if is_certain {
            certain
        } else {
            make(self.full, old.map(|old| old.full))
        };
        Version { certain, full }
    }
}

/// What a version is made of, as bytes: far cheaper than two hashers, and hashed once when nothing is doubtful.
#[derive(Debug, Clone, Default)]
struct Mixture {
    certain: Vec<u8>,
    full: Vec<u8>,
}

impl Mixture {
    fn clear(&mut self) {
        self.certain.clear();
        self.full.clear();
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        self.certain.extend_from_slice(bytes);
        self.full.extend_from_slice(bytes);
    }

    fn add(&mut self, version: Version) {
        self.certain
            .extend_from_slice(&version.certain.to_le_bytes());
        self.full.extend_from_slice(&version.full.to_le_bytes());
    }

    fn version(&self) -> Version {
        let certain = short(&self.certain);
        let full = if self.certain == self.full {
            certain
        } else {
            short(&self.full)
        };
        Version { certain, full }
    }
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
#[derive(Debug, Clone)]
pub(crate) struct ReadRecord {
    pub name: String,
    /// The function of the notebook that reads it, if it is not the cell itself.
    pub through: Option<String>,
    pub version: Version,
    /// The cell that made this version.
    pub origin: Option<usize>,
    pub manner: Manner,
}

/// What the pass says of one cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct CellOutcome {
    pub key: Version,
    pub reads: Vec<ReadRecord>,
    /// Running it again may give something else.
    pub varies: Option<Varies>,
}

/// One run of a cell, beside its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'t> {
    pub extra: Option<&'t Extra>,
    /// The effects are not those of the text: it could not be parsed, so these are an earlier text's statements, or the
    /// run did not get to the end.
    pub doubt: Option<&'t [u8]>,
    /// What tells this run from others of the same code where a run may give something else each time.
    pub salt: Option<&'t [u8]>,
    /// Where the cell stands on the page; runs from elsewhere stand nowhere.
    pub place: Option<usize>,
    /// The first cell of the page: what follows is a new run of the page.
    pub starts_over: bool,
}

#[derive(Debug, Clone, Default)]
struct Binding {
    version: Version,
    objects: Vec<ObjectId>,
    origin: Option<usize>,
    /// Statement counter at the binding; unknown constructs taint what is older than they are.
    since: usize,
    text: Option<String>,
    module: Option<String>,
    /// What the name still stands for if this binding did not happen.
    beneath: Beneath,
}

/// One binding below another, in as many layers as cells may have bound the name.
#[derive(Debug, Clone, Default)]
struct Beneath(Option<Rc<Binding>>);

impl Drop for Beneath {
    // Layer by layer: a thousand nested drops would not fit a browser's stack.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut binding) = next.and_then(Rc::into_inner) {
            next = binding.beneath.0.take();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ObjectKind {
    Plain,
    /// What code from elsewhere gave, most likely a table or a mapping: items under constant strings are independent.
    Foreign,
    List,
    Dict,
    Frame,
    Iterator,
    Module,
    /// Attributes are just stored.
    Namespace,
}

#[derive(Debug, Clone)]
struct Object {
    kind: ObjectKind,
    /// Changes when anything but a known key may have changed.
    base: Version,
    /// The cell that made `base` as it is.
    base_origin: Option<usize>,
    /// Changes with every change.
    whole: Version,
    keys: BTreeMap<Key, (Version, Option<usize>)>,
    /// The keys in the order in which they came.
    order: Vec<Key>,
    holds: Vec<ObjectId>,
    part_of: Vec<(ObjectId, Option<Key>)>,
    /// Cell and function, for functions, classes and instances of classes of the notebook.
    code: Option<(usize, FunctionId)>,
    is_instance: bool,
    /// Something besides the name it was made for may refer to it.
    is_shared: bool,
    origin: Option<usize>,
    manner: Manner,
}

enum Touched {
    Name {
        name: String,
        old: Option<Version>,
    },
    Made(ObjectId),
    Changed(ObjectId),
    ChangedKey {
        object: ObjectId,
        key: Key,
        replaces: bool,
    },
    Ambient {
        name: String,
        manner: AmbientChange,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AmbientChange {
    Replace,
    Advance,
    /// Doing it twice is the same as doing it once.
    Set,
}

#[derive(Debug, Clone, Default)]
struct Ambient {
    version: Version,
    origin: Option<usize>,
    /// The cell that seeded it.
    seeded: Option<usize>,
    settings: Settings,
}

/// Keys of the statements that set something, each once, in the order in which they ran last.
#[derive(Debug, Clone, Default)]
struct Settings {
    keys: Vec<(Version, usize)>,
    all: Version,
}

impl Settings {
    fn set(&mut self, key: Version, cell: usize) -> Version {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, cell));
        self.all = self.of(|_| true).unwrap_or_default();
        self.all
    }

    /// Those that such cells made, if there are any.
    fn of(&self, is_wanted: impl Fn(usize) -> bool) -> Option<Version> {
        let mut all = Mixture::default();
        for (key, cell) in &self.keys {
            if is_wanted(*cell) {
                all.add(*key);
            }
        }
        (!all.certain.is_empty()).then(|| all.version())
    }

    /// All of them, if there are any.
    fn last(&self) -> Option<Version> {
        (!self.keys.is_empty()).then_some(self.all)
    }
}

struct Taint {
    digest: Digest,
    since: usize,
    origin: usize,
}

/// Facts that a recorded run adds to what the text shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    pub reads: Vec<String>,
    pub writes: Vec<String>,
    pub mutates: Vec<String>,
    pub files_read: Vec<String>,
    pub files_written: Vec<String>,
}

/// The state of the pass.
pub(crate) struct World {
    cells: Vec<Rc<Cell>>,
    places: Vec<Option<usize>>,
    names: HashMap<String, Binding>,
    objects: Vec<Object>,
    modules: HashMap<String, ObjectId>,
    ambient: BTreeMap<String, Ambient>,
    files: ObjectId,
    environment: ObjectId,
    environment_changes: Settings,
    module_settings: HashMap<(ObjectId, Key), Settings>,
    taint: Option<Taint>,
    /// Star imports since anything that cannot be known.
    stars: Settings,
    /// What wrote files whose path is not known, and all of it in one.
    file_taints: Vec<(Digest, usize)>,
    file_taint: Option<(Digest, usize)>,
    /// What wrote known files, and what set variables of the environment, since the page began to run.
    files_written: Settings,
    variables_set: Settings,
    /// Everything so far.
    history: Digest,
    counter: usize,
    cell: usize,
    // The statement being run:
    key: Mixture,
    /// What only changes what the cell shows.
    shown: Mixture,
    touched: Vec<Touched>,
    reads: Vec<ReadRecord>,
    results: HashMap<usize, Vec<ObjectId>>,
    is_unknown: bool,
    through: Option<String>,
    displays: bool,
    visited_code: HashSet<(usize, FunctionId)>,
    doubt: Option<Digest>,
    varies: Option<Varies>,
    is_calling: bool,
    /// Libraries that the statement sets up.
    configures: Vec<String>,
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = World {
            cells: Vec::new(),
            places: Vec::new(),
            names: HashMap::default(),
            objects: Vec::new(),
            modules: HashMap::default(),
            ambient: BTreeMap::new(),
            files: 0,
            environment: 0,
            environment_changes: Settings::default(),
            module_settings: HashMap::default(),
            taint: None,
            stars: Settings::default(),
            file_taints: Vec::new(),
            file_taint: None,
            files_written: Settings::default(),
            variables_set: Settings::default(),
            history: 0,
            counter: 0,
            cell: 0,
            key: Mixture::default(),
            shown: Mixture::default(),
            touched: Vec::new(),
            reads: Vec::new(),
            results: HashMap::default(),
            is_unknown: false,
            through: None,
            displays: false,
            visited_code: HashSet::default(),
            doubt: None,
            varies: None,
            is_calling: false,
            configures: Vec::new(),
        };
        world.files = world.object(ObjectKind::Module);
        world.environment = world.object(ObjectKind::Module);
        world
    }

    /// Runs one cell.
    pub(crate) fn run_cell(&mut self, cell: &Rc<Cell>, turn: Turn<'_>) -> CellOutcome {
        let (none, doubt) = (Extra::default(), turn.doubt);
        let extra = turn.extra.unwrap_or(&none);
        self.cell = self.cells.len();
        self.cells.push(cell.clone());
        self.places.push(turn.place);
        if turn.starts_over {
            // The last run of the page left files as a restart would, and what unknown code may read or may have written
            // is taken to be what stands above it.
            self.history = 0;
            self.file_taints.clear();
            self.file_taint = None;
            self.files_written = Settings::default();
            self.variables_set = Settings::default();
            let taint = self.taint.take();
            self.taint = taint.filter(|taint| !self.is_from_below(Some(taint.origin)));
            self.stars = Settings::default();
        }
        let mut outcome = CellOutcome::default();
        let mut all = Mixture::default();
        let reads_source = !cell.effects.marks.reads_source.is_empty();
        let declared = &cell.effects.directives;
        let n_statements = cell.facts.statements.len();
        for (index, statement) in cell.facts.statements.iter().enumerate() {
            self.begin(&statement.fingerprint, doubt);
            if reads_source {
                let exact = cell.exact_fingerprint;
                self.key.add_bytes(&exact);
            }
            if statement.covers_cell {
                self.key.add(all.version());
            }
            self.displays = statement.is_expression;
            if index == 0 {
                for name in &declared.reads {
                    self.read_name(name);
                }
                for name in &extra.reads {
                    self.read_name(name);
                }
                for path in &extra.files_read {
                    self.outside(&Outside::FileRead(FilePath::Literal(path.clone())));
                }
            }
            self.run_statement(statement, declared.declared);
            if index + 1 == n_statements {
                for name in &extra.mutates {
                    self.change_all(&self.objects_of(name), None);
                }
                for name in &extra.writes {
                    if !self.touched.iter().any(|touched| matches!(touched, Touched::Name { name: known, .. } if known == name)) {
                        self.bind_weakly(name);
                    }
                }
                for name in &declared.writes {
                    self.bind_weakly(name);
                }
                for path in &extra.files_written {
                    self.outside(&Outside::FileWrite(FilePath::Literal(path.clone())));
                }
            }
            let key = self.finish(&mut outcome.reads, turn.salt);
            outcome.varies = outcome.varies.max(self.varies);
            all.add(key);
            all.certain.append(&mut self.shown.certain);
            all.full.append(&mut self.shown.full);
        }
        outcome.key = all.version();
        outcome
    }

    fn begin(&mut self, fingerprint: &[u8], doubt: Option<&[u8]>) {
        self.key.clear();
        self.key.add_bytes(fingerprint);
        self.doubt = doubt.map(|doubt| digest("doubt", &[doubt]));
        if let Some(doubt) = doubt {
            self.key.full.extend_from_slice(doubt);
        }
        self.touched.clear();
        self.results.clear();
        self.visited_code.clear();
        self.is_unknown = false;
        self.varies = None;
        self.through = None;
        self.counter += 1;
    }

    fn finish(&mut self, reads: &mut Vec<ReadRecord>, salt: Option<&[u8]>) -> Version {
        if self.is_unknown {
            let history = self.history;
            self.key.full.extend_from_slice(b"unknown");
            self.key.full.extend_from_slice(&history.to_le_bytes());
            self.varies = self.varies.max(Some(Varies::Unknown));
        }
        if self.varies.is_some()
            && let Some(salt) = salt
        {
            self.key.full.extend_from_slice(b"salt");
            self.key.full.extend_from_slice(salt);
        }
        let key = self.key.version();
        self.history = digest(
            "history",
            &[&self.history.to_le_bytes(), &key.full.to_le_bytes()],
        );
        let cell = Some(self.cell);
        for (ordinal, touched) in std::mem::take(&mut self.touched).into_iter().enumerate() {
            match touched {
                Touched::Name { name, old } => {
                    let version = key.derive(&name, old);
                    if let Some(binding) = self.names.get_mut(&name) {
                        binding.version = version;
                        binding.origin = cell;
                    }
                }
                Touched::Made(id) => {
                    let version = key.derive(&ordinal.to_string(), None);
                    let object = &mut self.objects[id];
                    object.base = version;
                    object.base_origin = cell;
                    object.whole = version;
                    object.origin = cell;
                }
                Touched::Changed(id) if id == self.environment => {
                    let version = self.environment_changes.set(key, self.cell);
                    self.variables_set.set(key, self.cell);
                    let object = &mut self.objects[id];
                    object.base = version;
                    object.base_origin = cell;
                    object.whole = version;
                    object.keys.clear();
                    object.order.clear();
                    object.origin = cell;
                }
                Touched::Changed(id) => {
                    let object = &mut self.objects[id];
                    let version = key.derive("", Some(object.whole));
                    object.base = version;
                    object.base_origin = cell;
                    object.whole = version;
                    object.keys.clear();
                    object.order.clear();
                    object.origin = cell;
                    if object.manner == Manner::Bound {
                        object.manner = Manner::Changed;
                    }
                }
                Touched::ChangedKey {
                    object: id,
                    key: at,
                    replaces,
                } => {
                    if id == self.files {
                        self.files_written.set(key, self.cell);
                    } else if id == self.environment {
                        self.variables_set.set(key, self.cell);
                    }
                    let object = &mut self.objects[id];
                    let label = format!("{at:?}");
                    let old = object
                        .keys
                        .get(&at)
                        .map_or(object.base, |(version, _)| *version);
                    let version = if object.kind == ObjectKind::Module && !replaces {
                        let settings = self.module_settings.entry((id, at.clone()));
                        settings.or_default().set(key, self.cell)
                    } else {
                        key.derive(&label, (!replaces).then_some(old))
                    };
                    if object.keys.insert(at.clone(), (version, cell)).is_none() {
                        object.order.push(at);
                    }
                    object.whole = object.with_keys();
                    object.origin = cell;
                    if object.manner == Manner::Bound {
                        object.manner = Manner::Changed;
                    }
                }
                Touched::Ambient { name, manner } => {
                    let ambient = self.ambient.entry(name.clone()).or_default();
                    let old = ambient.origin.map(|_| ambient.version);
                    ambient.version = match manner {
                        AmbientChange::Replace => key.derive(&name, None),
                        AmbientChange::Advance => key.derive(&name, old),
                        AmbientChange::Set => ambient.settings.set(key, self.cell),
                    };
                    ambient.origin = cell;
                    if manner == AmbientChange::Replace {
                        ambient.seeded = cell;
                    }
                }
            }
        }
        if self.is_unknown {
            self.stars = Settings::default();
            self.taint = Some(Taint {
                digest: key.full,
                since: self.counter,
                origin: self.cell,
            });
        }
        reads.append(&mut self.reads);
        key
    }

    // ---- reading -----------------------------------------------------------------------------------------------

    fn absorb(&mut self, name: &str, version: Version, origin: Option<usize>, manner: Manner) {
        self.key.add(version);
        self.note(name, version, origin, manner);
    }

    fn note(&mut self, name: &str, version: Version, origin: Option<usize>, manner: Manner) {
        self.reads.push(ReadRecord {
            name: name.to_owned(),
            through: self.through.clone(),
            version,
            origin,
            manner,
        });
    }

    /// Something that may matter: it goes into the full key only.
    fn absorb_doubt(&mut self, name: &str, value: Digest, origin: Option<usize>, manner: Manner) {
        self.key.full.extend_from_slice(&value.to_le_bytes());
        let version = Version {
            certain: 0,
            full: value,
        };
        self.reads.push(ReadRecord {
            name: name.to_owned(),
            through: self.through.clone(),
            version,
            origin,
            manner,
        });
    }

    fn objects_of(&self, name: &str) -> Vec<ObjectId> {
        self.names
            .get(name)
            .map(|binding| binding.objects.clone())
            .unwrap_or_default()
    }

    /// Reads a name with everything that can be reached from it. Returns the functions that may run.
    fn read_name(&mut self, name: &str) -> Vec<(usize, FunctionId)> {
        self.read(
            &Path {
                root: name.to_owned(),
                keys: Vec::new(),
            },
            How::Load,
        )
    }

    fn read(&mut self, path: &Path, how: How) -> Vec<(usize, FunctionId)> {
        let root = path.root.as_str();
        let Some(binding) = self.names.get(root).cloned() else {
            if knowledge::is_builtin(root) {
                return Vec::new();
            }
            self.absorb_taint(root, 0);
            if is_history_name(root) {
                let history = self.history;
                let last = self.cell.checked_sub(1);
                self.absorb_doubt(root, history, last, Manner::Unknown);
            } else {
                self.absorb(root, Version::constant("absent", root), None, Manner::Bound);
            }
            return Vec::new();
        };
        self.absorb(root, binding.version, binding.origin, Manner::Bound);
        self.absorb_taint(root, binding.since);
        let mut code = Vec::new();
        let mut seen = HashSet::default();
        for id in binding.objects {
            self.read_object(id, path, how, &mut seen, &mut code);
        }
        code
    }

    fn absorb_taint(&mut self, name: &str, since: usize) {
        if let Some(taint) = &self.taint
            && since <= taint.since
        {
            let (value, origin) = (taint.digest, Some(taint.origin));
            self.absorb_doubt(name, value, origin, Manner::Unknown);
        }
    }

    fn read_object(
        &mut self,
        id: ObjectId,
        path: &Path,
        how: How,
        seen: &mut HashSet<ObjectId>,
        code: &mut Vec<(usize, FunctionId)>,
    ) {
        let root = path.root.as_str();
        let object = &self.objects[id];
        let (base, base_origin) = (object.base, object.base_origin);
        let (whole, kind) = (object.whole, object.kind);
        let (origin, manner, own_code) = (object.origin, object.manner, object.code);
        let library = (kind == ObjectKind::Module)
            .then(|| self.library_of(root))
            .flatten();
        let n_steps = path.keys.len();
        let key = match path.keys.first() {
            // A method of the object itself may look at all of it.
            Some(Key::Attr(_))
                if how == How::Method && n_steps == 1 && kind != ObjectKind::Module =>
            {
                None
            }
            Some(key) => normal_key(kind, key),
            None => None,
        };
        if let Some(library) = library
            && !matches!(library.as_str(), "pandas" | "numpy")
            // What is set does not depend on what was set.
            && !self.configures.contains(&library)
        {
            self.read_ambient(
                &format!("configuration of {library}"),
                Manner::Configuration,
            );
        }
        if self.displays
            && matches!(
                kind,
                ObjectKind::Plain | ObjectKind::Foreign | ObjectKind::Frame
            )
        {
            for library in ["pandas", "numpy"] {
                self.read_ambient(
                    &format!("configuration of {library}"),
                    Manner::Configuration,
                );
            }
        }
        if how == How::Store && n_steps == 1 && key.is_some() {
            self.absorb(root, base, base_origin, Manner::Bound);
            return;
        }
        if how == How::Refer && n_steps == 0 && own_code.is_some() && !self.objects[id].is_instance
        {
            self.absorb(root, whole, origin, manner);
            return;
        }
        if how == How::Store && n_steps == 0 {
            // `del x` only needs the name.
            return;
        }
        if let Some(key) = key {
            self.absorb(root, base, base_origin, Manner::Bound);
            // What is set in a module does not depend on what was set there.
            let is_set = how == How::Store && kind == ObjectKind::Module;
            if let Some((version, origin)) = self.objects[id].keys.get(&key).copied()
                && !is_set
            {
                self.absorb(root, version, origin, Manner::Changed);
            }
            // A method below the key belongs to a held object.
            for held in self.objects[id].holds.clone() {
                self.read_whole(held, root, seen, code);
            }
            return;
        }
        if kind == ObjectKind::Module {
            // Modules change only through attribute stores.
            if path.keys.is_empty() {
                self.absorb(root, whole, origin, Manner::Changed);
            }
            return;
        }
        if how == How::Call
            && let Some((cell, function)) = own_code
            && !self.objects[id].is_instance
            && let Some(class) = &self.cells[cell].facts.functions[function].class
        {
            // Making an instance runs the constructors only.
            let constructors: Vec<FunctionId> = ["__init__", "__new__", "__post_init__"]
                .iter()
                .filter_map(|name| class.methods.get(*name).copied())
                .collect();
            self.absorb(root, whole, origin, manner);
            seen.insert(id);
            let bases = self.objects[id].holds.clone();
            for base in bases {
                let own = self.objects[base].code.is_some();
                if !own {
                    self.read_whole(base, root, seen, code);
                }
            }
            for constructor in constructors {
                self.read_code((cell, constructor), root, code);
            }
            return;
        }
        self.read_whole(id, root, seen, code);
    }

    fn read_whole(
        &mut self,
        id: ObjectId,
        name: &str,
        seen: &mut HashSet<ObjectId>,
        code: &mut Vec<(usize, FunctionId)>,
    ) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            let object = &self.objects[id];
            if object.kind == ObjectKind::Module {
                continue;
            }
            let (whole, origin, manner, own_code) =
                (object.whole, object.origin, object.manner, object.code);
            pending.extend(object.holds.iter().copied());
            // A part may be one of the objects that its owner holds.
            pending.extend(
                object
                    .part_of
                    .iter()
                    .flat_map(|(owner, _)| self.objects[*owner].holds.iter().copied()),
            );
            let owners: Vec<(Version, Option<usize>, Manner)> = object
                .part_of
                .iter()
                .map(|(owner, key)| {
                    let owner = &self.objects[*owner];
                    // A stored item replaces what was there: an item taken out before is not changed by it.
                    let keeps_items = key
                        .as_ref()
                        .is_some_and(|key| normal_key(owner.kind, key).is_some());
                    if keeps_items {
                        (owner.base, owner.base_origin, owner.manner)
                    } else {
                        (owner.whole, owner.origin, owner.manner)
                    }
                })
                .collect();
            self.absorb(name, whole, origin, manner);
            for (version, origin, manner) in owners {
                self.absorb(name, version, origin, manner);
            }
            if let Some(own_code) = own_code {
                self.read_code(own_code, name, code);
            }
        }
    }

    /// What a function reads when it runs: late binding, so the names are looked up now.
    fn read_code(
        &mut self,
        code: (usize, FunctionId),
        name: &str,
        found: &mut Vec<(usize, FunctionId)>,
    ) {
        found.push(code);
        if !self.visited_code.insert(code) {
            return;
        }
        let (cell, function) = code;
        let owner = self.cells[cell].clone();
        let facts = &owner.facts.functions[function];
        if !self.cells[self.cell].effects.marks.reads_source.is_empty() {
            let exact = self.cells[cell].exact_fingerprint;
            self.key.add_bytes(&exact);
        }
        let outer = self.through.replace(name.to_owned());
        for name in &facts.reads {
            let more = self.read_name(name);
            found.extend(more);
        }
        for name in &facts.string_names {
            if self.may_mean(name) {
                self.read_name(name);
            }
        }
        for effect in &facts.outside {
            if !matches!(
                effect,
                Outside::FileWrite(_)
                    | Outside::EnvironmentWrite(_)
                    | Outside::Seed(_)
                    | Outside::Configure(_)
            ) {
                self.outside(effect);
            }
        }
        if !facts.unknown.is_empty() && !owner.effects.directives.declared {
            self.is_unknown = true;
        }
        self.through = outer;
    }

    /// Whether an identifier in a string may be this name: many are columns, so what the cells below left under a name is
    /// not meant.
    fn may_mean(&self, name: &str) -> bool {
        self.names
            .get(name)
            .is_some_and(|binding| !self.is_from_below(binding.origin))
    }

    fn library_of(&self, name: &str) -> Option<String> {
        let module = self.names.get(name)?.module.as_ref()?;
        module.split('.').next().map(str::to_owned)
    }

    fn read_ambient(&mut self, name: &str, manner: Manner) {
        let Some(ambient) = self.ambient.get(name) else {
            return;
        };
        let (mut version, origin) = (ambient.version, ambient.origin);
        let mut is_set = true;
        if manner == Manner::Configuration {
            // What cells below have set is still in force, but not after a restart.
            let above = ambient.settings.of(|cell| !self.is_from_below(Some(cell)));
            is_set = above.is_some();
            version.certain = above.map_or(0, |above| above.certain);
        }
        let library = name.rsplit(' ').next().unwrap_or_default();
        let is_shown = manner == Manner::Configuration && knowledge::has("shows-only", library);
        // Some settings change what the cell shows, not what it computes.
        let key = if is_shown {
            &mut self.shown
        } else {
            &mut self.key
        };
        if is_set {
            key.certain
                .extend_from_slice(&version.certain.to_le_bytes());
        }
        key.full.extend_from_slice(&version.full.to_le_bytes());
        self.note(name, version, origin, manner);
    }

    // ---- changing ----------------------------------------------------------------------------------------------

    fn object(&mut self, kind: ObjectKind) -> ObjectId {
        self.objects.push(Object {
            kind,
            base: Version::default(),
            base_origin: None,
            whole: Version::default(),
            keys: BTreeMap::new(),
            order: Vec::new(),
            holds: Vec::new(),
            part_of: Vec::new(),
            code: None,
            is_instance: false,
            is_shared: false,
            origin: None,
            manner: Manner::Bound,
        });
        self.objects.len() - 1
    }

    fn make(&mut self, kind: ObjectKind) -> ObjectId {
        let id = self.object(kind);
        self.touched.push(Touched::Made(id));
        id
    }

    fn module(&mut self, dotted: &str) -> ObjectId {
        if let Some(&id) = self.modules.get(dotted) {
            return id;
        }
        let id = self.object(ObjectKind::Module);
        self.modules.insert(dotted.to_owned(), id);
        id
    }

    fn change_all(&mut self, objects: &[ObjectId], key: Option<&Key>) {
        let mut seen = HashSet::default();
        for &id in objects {
            self.change(id, key, true, &mut seen);
        }
    }

    /// An object changes, at one key or anywhere; what it is part of changes with it.
    fn change(
        &mut self,
        id: ObjectId,
        key: Option<&Key>,
        replaces: bool,
        seen: &mut HashSet<ObjectId>,
    ) {
        if !seen.insert(id) {
            return;
        }
        let kind = self.objects[id].kind;
        match key.and_then(|key| normal_key(kind, key)) {
            Some(key) => self.touched.push(Touched::ChangedKey {
                object: id,
                key,
                replaces,
            }),
            // A module changes only where it is stored to by name.
            None if kind == ObjectKind::Module => return,
            None => self.touched.push(Touched::Changed(id)),
        }
        for (owner, key) in self.objects[id].part_of.clone() {
            // Calls change what they are given, not the library that it came from, nor does a store somewhere below.
            let is_far = self.is_calling || seen.len() > 1;
            if is_far && self.objects[owner].kind == ObjectKind::Module {
                continue;
            }
            self.change(owner, key.as_ref(), false, seen);
            // The part may be one of the objects that the owner holds.
            for held in self.objects[owner].holds.clone() {
                if self.objects[held].code.is_none() {
                    self.change(held, None, false, seen);
                }
            }
        }
        if kind == ObjectKind::Iterator {
            for held in self.objects[id].holds.clone() {
                if self.objects[held].kind == ObjectKind::Iterator {
                    self.change(held, None, false, seen);
                }
            }
        }
    }

    /// Everything that can be reached may have changed.
    fn change_deeply(
        &mut self,
        objects: &[ObjectId],
        key: Option<&Key>,
        seen: &mut HashSet<ObjectId>,
    ) {
        for &id in objects {
            if seen.contains(&id) {
                continue;
            }
            self.change(id, key, false, seen);
            let held = self.objects[id].holds.clone();
            let held: Vec<ObjectId> = held
                .into_iter()
                .filter(|held| self.objects[*held].code.is_none())
                .collect();
            self.change_deeply(&held, None, seen);
        }
    }

    fn bind_weakly(&mut self, name: &str) {
        let standing = self.standing(name);
        let old = standing.as_ref().map(|binding| binding.version);
        let beneath = self.beneath(standing.clone().map(Rc::new).as_ref());
        let mut binding = standing.unwrap_or_default();
        binding.beneath = beneath;
        let id = self.make(ObjectKind::Plain);
        binding.objects.push(id);
        binding.since = self.counter + 1;
        binding.text = None;
        binding.module = None;
        self.names.insert(name.to_owned(), binding);
        self.touched.push(Touched::Name {
            name: name.to_owned(),
            old,
        });
    }

    fn bind(&mut self, name: &str, value: &Value, is_definite: bool) {
        if let [(Source::Module(module), Relation::Same)] = &value.sources[..]
            && is_definite
        {
            let dotted = knowledge::value("same-values", module)
                .unwrap_or(module)
                .to_owned();
            let id = self.module(&dotted);
            if let Some((parent, attribute)) = dotted.rsplit_once('.')
                && let Some(&parent) = self.modules.get(parent)
                && let Some((version, origin)) = self.objects[parent]
                    .keys
                    .get(&Key::Attr(attribute.to_owned()))
                    .copied()
            {
                self.absorb(module, version, origin, Manner::Changed);
            }
            // A module of the notebook's own folder may have been written by a cell.
            let top = dotted.split('.').next().unwrap_or_default();
            let file_name = format!("{top}.py");
            let key = Key::Attr(file_name.clone());
            let file = self.objects[self.files].keys.get(&key).copied();
            if let Some((version, origin)) = file {
                self.absorb(&file_name, version, origin, Manner::File);
            }
            let version = match file {
                Some((version, _)) => version.derive(&dotted, None),
                None => Version::constant("module", &dotted),
            };
            let version = self.doubtful(version);
            let origin = Some(self.cell);
            let since = self.counter + 1;
            self.names.insert(
                name.to_owned(),
                Binding {
                    version,
                    objects: vec![id],
                    origin,
                    since,
                    text: None,
                    module: Some(dotted),
                    beneath: Beneath::default(),
                },
            );
            return;
        }
        let mut objects = self.resolve(value, true);
        let mut binding = Binding {
            version: Version::default(),
            objects: Vec::new(),
            origin: Some(self.cell),
            since: self.counter + 1,
            text: value.text.clone(),
            module: match &value.sources[..] {
                [(Source::Module(module), _)] => Some(module.clone()),
                [(Source::Name(other), Relation::Same)] => {
                    self.names.get(other).and_then(|other| other.module.clone())
                }
                _ => None,
            },
            beneath: Beneath::default(),
        };
        if binding.text.is_none()
            && let [(Source::Name(other), Relation::Same)] = &value.sources[..]
        {
            binding.text = self.names.get(other).and_then(|other| other.text.clone());
        }
        if is_definite {
            binding.objects = objects;
            if let Some(literal) = &value.literal {
                // Equal constants are equal whichever cell binds them.
                let version = digest("literal", &[literal]);
                binding.version = self.doubtful(Version {
                    certain: version,
                    full: version,
                });
                self.constant_objects(&binding.objects.clone(), binding.version);
                self.names.insert(name.to_owned(), binding);
                return;
            }
            self.names.insert(name.to_owned(), binding);
            self.touched.push(Touched::Name {
                name: name.to_owned(),
                old: None,
            });
        } else {
            let old = self.standing(name).map(Rc::new);
            let mut old_version = old.as_ref().map(|old| old.version);
            binding.beneath = self.beneath(old.as_ref());
            if let Some(old) = old {
                for (at, &id) in old.objects.iter().enumerate() {
                    if objects.contains(&id) {
                        continue;
                    }
                    // What only this name refers to, or what it meant long ago, lives on in the name's version: loops
                    // of many cells that use one variable would otherwise pile up objects.
                    let is_long_ago = at >= MAX_OLDER_OBJECTS && self.objects[id].code.is_none();
                    if is_long_ago || self.is_private(id) {
                        old_version =
                            old_version.map(|old| old.derive("", Some(self.objects[id].whole)));
                    } else {
                        objects.push(id);
                    }
                }
                // An unknown construct before a binding that may not happen still counts.
                binding.since = old.since;
            }
            binding.objects = objects;
            binding.text = None;
            self.names.insert(name.to_owned(), binding);
            let old = Some(old_version.unwrap_or(Version::constant("absent", name)));
            self.touched.push(Touched::Name {
                name: name.to_owned(),
                old,
            });
        }
    }

    /// Whether this was made by a run of a cell that stands below, or by an earlier run of this very cell: in a run of
    /// the page it would not be there yet.
    fn is_from_below(&self, origin: Option<usize>) -> bool {
        let place = |cell: usize| self.places.get(cell).copied().flatten();
        match (origin, place(self.cell)) {
            (Some(origin), Some(here)) if origin != self.cell => {
                place(origin).is_some_and(|there| there >= here)
            }
            _ => false,
        }
    }

    /// Whether this was made by an earlier run of this very statement's cell.
    fn is_own(&self, origin: Option<usize>) -> bool {
        let place = |cell: usize| self.places.get(cell).copied().flatten();
        origin.is_some_and(|origin| {
            origin != self.cell && place(origin).is_some() && place(origin) == place(self.cell)
        })
    }

    /// What lies below a binding that may not happen. Bindings of one run stand and fall together.
    fn beneath(&self, old: Option<&Rc<Binding>>) -> Beneath {
        match old {
            Some(old) if old.origin == Some(self.cell) => old.beneath.clone(),
            _ => Beneath(old.cloned()),
        }
    }

    /// What a name stands for if the statement does not bind it after all.
    fn standing(&self, name: &str) -> Option<Binding> {
        let mut binding = self.names.get(name)?;
        while self.is_from_below(binding.origin) {
            binding = binding.beneath.0.as_deref()?;
        }
        Some(binding.clone())
    }

    fn is_private(&self, id: ObjectId) -> bool {
        let object = &self.objects[id];
        !object.is_shared
            && object.code.is_none()
            && object.holds.is_empty()
            && object.part_of.is_empty()
            && object.kind != ObjectKind::Module
            // Its version is only known at the end of the statement that touches it.
            && object.origin.is_some()
            && !self.touched.iter().any(|touched| match touched {
                Touched::Made(other) | Touched::Changed(other) => *other == id,
                Touched::ChangedKey { object, .. } => *object == id,
                _ => false,
            })
    }

    /// A version that does not come from the statement's key still carries the doubt about its text.
    fn doubtful(&self, version: Version) -> Version {
        match self.doubt {
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

    /// Objects of a constant display start from the constant, not from the statement.
    fn constant_objects(&mut self, objects: &[ObjectId], version: Version) {
        self.touched
            .retain(|touched| !matches!(touched, Touched::Made(id) if objects.contains(id)));
        for &id in objects {
            let object = &mut self.objects[id];
            object.base = version;
            object.base_origin = Some(self.cell);
            object.whole = version;
            object.origin = Some(self.cell);
        }
    }

    /// The objects a value may be. `fresh`: a value that is nobody else's gets an object of its own.
    fn resolve(&mut self, value: &Value, fresh: bool) -> Vec<ObjectId> {
        let mut objects: Vec<ObjectId> = Vec::new();
        let mut holds: Vec<ObjectId> = Vec::new();
        let mut part_of: Vec<(ObjectId, Option<Key>)> = Vec::new();
        let mut code = None;
        for (source, relation) in &value.sources {
            let of_source: Vec<ObjectId> = match source {
                Source::Name(name) => self.objects_of(name),
                Source::Result(id) => self.results.get(id).cloned().unwrap_or_default(),
                Source::Module(module) => vec![self.module(module)],
                Source::Function(id) => {
                    match relation {
                        Relation::Same if code.is_none() => code = Some((self.cell, *id)),
                        _ => {
                            let function = self.make(ObjectKind::Plain);
                            self.objects[function].code = Some((self.cell, *id));
                            holds.push(function);
                        }
                    }
                    continue;
                }
                Source::Param(..) => continue,
            };
            if !matches!(source, Source::Result(_)) || *relation != Relation::Same {
                for &id in &of_source {
                    self.objects[id].is_shared = true;
                }
            }
            match relation {
                Relation::Same => objects.extend(of_source),
                Relation::Part(key) => {
                    part_of.extend(of_source.into_iter().map(|id| (id, key.clone())))
                }
                Relation::Holds => holds.extend(of_source),
            }
        }
        objects.sort_unstable();
        objects.dedup();
        let needs_own = !holds.is_empty() || !part_of.is_empty() || code.is_some();
        if needs_own || (fresh && objects.is_empty() && value.kind != Kind::Scalar) {
            let kind = match value.kind {
                Kind::List => ObjectKind::List,
                Kind::Dict => ObjectKind::Dict,
                Kind::Iterator => ObjectKind::Iterator,
                _ => ObjectKind::Plain,
            };
            let id = self.make(kind);
            let object = &mut self.objects[id];
            object.holds = holds;
            object.part_of = part_of;
            object.code = code;
            objects.push(id);
        }
        objects
    }

    // ---- operations --------------------------------------------------------------------------------------------

    fn run_statement(&mut self, statement: &StatementFacts, is_declared: bool) {
        self.configures.clear();
        for op in &statement.ops {
            if let Op::Outside(Outside::Configure(library)) = op {
                self.configures.push(library.clone());
            }
        }
        for op in &statement.ops {
            match op {
                Op::Read { path, how } => {
                    let code = self.read(path, *how);
                    if matches!(how, How::Call | How::Method) {
                        self.run_code(&code);
                    }
                    if *how == How::Call {
                        self.change_state(&path.root);
                    }
                }
                Op::Iterate(value) => {
                    let objects = self.resolve_existing(value);
                    self.consume(&objects);
                }
                Op::Bind {
                    name,
                    value,
                    is_definite,
                } => self.bind(name, value, *is_definite),
                Op::Augment { name, is_definite } => self.augment(name, *is_definite),
                Op::Unbind { name, is_definite } => {
                    if *is_definite {
                        self.names.remove(name);
                    } else if let Some(binding) = self.names.get(name) {
                        let old = Some(binding.version);
                        self.touched.push(Touched::Name {
                            name: name.clone(),
                            old,
                        });
                    }
                }
                Op::Mutate { target, key, held } => self.store(target, key.as_ref(), held),
                Op::Call(call) => self.call(call),
                Op::Invoke(id) => {
                    let mut code = Vec::new();
                    self.read_code((self.cell, *id), "", &mut code);
                    self.through = None;
                    self.run_code(&code);
                }
                Op::Outside(outside) => self.outside(outside),
                Op::StringNames(names) => {
                    for name in names {
                        if self.may_mean(name) && self.names[name].module.is_none() {
                            self.read_name(name);
                        }
                    }
                }
                Op::Star(module) => self.star(module),
                Op::Unknown => self.is_unknown |= !is_declared,
            }
        }
    }

    fn star(&mut self, module: &str) {
        match knowledge::value("stars", module) {
            Some(names) => {
                for name in names.split(',') {
                    let value = Value::of(Source::Module(format!("{module}.{name}")));
                    self.bind(name, &value, true);
                }
            }
            None => {
                // Which names it binds is not known, but it is the same as long as the module is.
                let before = match self.taint.as_ref() {
                    Some(taint) if self.stars.keys.is_empty() => taint.digest,
                    _ => 0,
                };
                if before != 0 {
                    let before = Version {
                        certain: before,
                        full: before,
                    };
                    self.stars.keys.push((before, self.cell));
                }
                let value = self
                    .stars
                    .set(Version::constant("star", module), self.cell)
                    .full;
                self.taint = Some(Taint {
                    digest: value,
                    since: self.counter,
                    origin: self.cell,
                });
            }
        }
    }

    fn resolve_existing(&mut self, value: &Value) -> Vec<ObjectId> {
        let mut objects = Vec::new();
        for (source, relation) in &value.sources {
            if *relation != Relation::Same {
                continue;
            }
            match source {
                Source::Name(name) => objects.extend(self.objects_of(name)),
                Source::Result(id) => {
                    objects.extend(self.results.get(id).cloned().unwrap_or_default())
                }
                _ => {}
            }
        }
        objects
    }

    fn consume(&mut self, objects: &[ObjectId]) {
        for &id in objects {
            if self.objects[id].kind == ObjectKind::Iterator {
                let mut seen = HashSet::default();
                self.change(id, None, false, &mut seen);
            }
        }
    }

    fn augment(&mut self, name: &str, is_definite: bool) {
        let objects = self.objects_of(name);
        self.change_all(&objects, None);
        let old = self.names.get(name).cloned();
        let version = old.as_ref().map(|binding| binding.version);
        let mut binding = old.unwrap_or_default();
        binding.text = None;
        binding.module = None;
        if is_definite {
            binding.since = self.counter + 1;
        }
        self.names.insert(name.to_owned(), binding);
        self.touched.push(Touched::Name {
            name: name.to_owned(),
            old: version,
        });
    }

    fn store(&mut self, target: &Value, key: Option<&Key>, held: &Value) {
        let held = self.resolve(held, false);
        let mut seen = HashSet::default();
        for (source, relation) in &target.sources {
            let objects = match source {
                Source::Name(name) => self.objects_of(name),
                Source::Result(id) => self.results.get(id).cloned().unwrap_or_default(),
                Source::Module(module) => vec![self.module(module)],
                _ => continue,
            };
            match relation {
                Relation::Same => {
                    for &id in &objects {
                        self.change(id, key, true, &mut seen);
                    }
                }
                Relation::Part(first) => self.change_deeply(&objects, first.as_ref(), &mut seen),
                Relation::Holds => {}
            }
            for &id in &objects {
                for &held in &held {
                    if held != id
                        && !self.objects[id].holds.contains(&held)
                        && self.objects[id].kind != ObjectKind::Module
                    {
                        self.objects[id].holds.push(held);
                    }
                }
            }
        }
    }

    /// Calling a function with a state, or an object, may change it.
    fn change_state(&mut self, name: &str) {
        let outer = std::mem::replace(&mut self.is_calling, true);
        for id in self.objects_of(name) {
            let Some((cell, function)) = self.objects[id].code else {
                continue;
            };
            if self.objects[id].is_instance
                || self.cells[cell].facts.functions[function].is_stateful
            {
                let mut seen = HashSet::default();
                self.change(id, None, false, &mut seen);
            }
        }
        self.is_calling = outer;
    }

    /// What running these functions does to globals.
    fn run_code(&mut self, code: &[(usize, FunctionId)]) {
        let outer = std::mem::replace(&mut self.is_calling, true);
        let mut done = HashSet::default();
        for &(cell, function) in code {
            if !done.insert((cell, function)) {
                continue;
            }
            let owner = self.cells[cell].clone();
            let facts = &owner.facts.functions[function];
            for name in &facts.mutates {
                let objects = self.objects_of(name);
                self.change_all(&objects, None);
            }
            for name in facts.writes.iter().chain(&facts.deletes) {
                self.bind_weakly(name);
            }
            for effect in &facts.outside {
                if matches!(
                    effect,
                    Outside::FileWrite(_)
                        | Outside::EnvironmentWrite(_)
                        | Outside::Seed(_)
                        | Outside::Configure(_)
                ) {
                    self.outside(effect);
                }
            }
            for callee in &facts.calls {
                self.change_state(callee);
            }
            for (callee, passed) in &facts.passed_on {
                for (position, sources) in passed.iter().enumerate() {
                    if !self.callee_changes(callee, position, None, 0) {
                        continue;
                    }
                    for source in sources {
                        if let Source::Name(name) = source {
                            let objects = self.objects_of(name);
                            self.change_all(&objects, None);
                        }
                    }
                }
            }
        }
        self.is_calling = outer;
    }

    /// Whether calling this name may change the argument at a position.
    fn callee_changes(
        &self,
        callee: &str,
        position: usize,
        keyword: Option<&str>,
        depth: usize,
    ) -> bool {
        if depth > 16 {
            return true;
        }
        let Some(binding) = self.names.get(callee) else {
            return match knowledge::mutated_arguments(callee) {
                Some(positions) => positions.contains(&position),
                None => true,
            };
        };
        if let Some(module) = &binding.module {
            return match knowledge::mutated_arguments(module) {
                Some(positions) => keyword.is_none() && positions.contains(&position),
                None => true,
            };
        }
        let mut is_known = false;
        for &id in &binding.objects {
            let Some((cell, function)) = self.objects[id].code else {
                continue;
            };
            is_known = true;
            if self.code_changes(cell, function, position, keyword, depth + 1) {
                return true;
            }
        }
        !is_known
    }

    fn code_changes(
        &self,
        cell: usize,
        function: FunctionId,
        position: usize,
        keyword: Option<&str>,
        depth: usize,
    ) -> bool {
        let facts = &self.cells[cell].facts.functions[function];
        let (function, position) = match &facts.class {
            Some(class) => match class.methods.get("__init__") {
                Some(&constructor) => (constructor, position + 1),
                None => return false,
            },
            None => (function, position),
        };
        let facts = &self.cells[cell].facts.functions[function];
        if facts.changes_argument(position, keyword) {
            return true;
        }
        facts.passed_on.iter().any(|(callee, passed)| {
            passed.iter().enumerate().any(|(at, sources)| {
                sources.iter().any(|source| match source {
                    Source::Param(owner, index) if *owner == function => {
                        facts.parameter_of(position, keyword) == *index
                            && self.callee_changes(callee, at, None, depth + 1)
                    }
                    _ => false,
                })
            })
        })
    }

    fn call(&mut self, call: &Call) {
        let outer = std::mem::replace(&mut self.is_calling, true);
        self.call_inner(call);
        self.is_calling = outer;
    }

    fn call_inner(&mut self, call: &Call) {
        let arguments: Vec<Vec<ObjectId>> = call
            .arguments
            .iter()
            .map(|(_, value)| self.resolve(value, false))
            .collect();
        // A function that is handed over may run.
        let mut handed = Vec::new();
        for objects in &arguments {
            for &id in objects {
                if let Some(code) = self.objects[id].code
                    && !self.objects[id].is_instance
                {
                    self.read_code(code, "", &mut handed);
                }
            }
        }
        self.through = None;
        self.run_code(&handed);
        let result = match &call.callee {
            Callee::Name(name) => {
                let code = self.code_of(name);
                if code.is_empty() {
                    self.library_call(call, &arguments, None)
                } else {
                    let mut result = Vec::new();
                    for code in code {
                        result.extend(self.own_call(call, code, None, &arguments));
                    }
                    // An instance keeps its class, and through it the base classes.
                    let classes = self.objects_of(name);
                    for &id in &result {
                        if self.objects[id].is_instance {
                            self.objects[id]
                                .holds
                                .extend(classes.iter().filter(|class| **class != id));
                        }
                    }
                    result
                }
            }
            Callee::Method {
                receiver, method, ..
            } => {
                let objects = self.resolve(receiver, false);
                // `A().m()` names no object that a read has looked at.
                if receiver
                    .sources
                    .iter()
                    .any(|(source, _)| matches!(source, Source::Result(_)))
                {
                    let mut code = Vec::new();
                    let mut seen = HashSet::default();
                    for &id in &objects {
                        if self.objects[id].is_instance {
                            self.read_whole(id, method, &mut seen, &mut code);
                        }
                    }
                    self.run_code(&code);
                }
                let own = objects.iter().find_map(|&id| {
                    let (cell, function) = self.objects[id]
                        .code
                        .filter(|_| self.objects[id].is_instance)?;
                    let class = self.cells[cell].facts.functions[function].class.as_ref()?;
                    Some((cell, *class.methods.get(method)?))
                });
                match own {
                    Some(code) => self.own_call(call, code, Some(&objects), &arguments),
                    None => self.library_call(call, &arguments, Some(&objects)),
                }
            }
            Callee::Other(value) => {
                let objects = self.resolve(value, false);
                let mut result = Vec::new();
                for id in objects {
                    if let Some(code) = self.objects[id].code {
                        let mut found = Vec::new();
                        self.read_code(code, "", &mut found);
                        self.through = None;
                        self.run_code(&found);
                        result.extend(self.own_call(call, code, None, &arguments));
                    }
                }
                if result.is_empty() {
                    self.library_call(call, &arguments, None)
                } else {
                    result
                }
            }
        };
        self.results.insert(call.id, result);
    }

    fn code_of(&self, name: &str) -> Vec<(usize, FunctionId)> {
        let Some(binding) = self.names.get(name) else {
            return Vec::new();
        };
        let objects = binding.objects.iter();
        objects
            .filter(|id| !self.objects[**id].is_instance)
            .filter_map(|id| self.objects[*id].code)
            .collect()
    }

    /// A call of code of this notebook.
    fn own_call(
        &mut self,
        call: &Call,
        code: (usize, FunctionId),
        receiver: Option<&[ObjectId]>,
        arguments: &[Vec<ObjectId>],
    ) -> Vec<ObjectId> {
        let (cell, function) = code;
        let shift = usize::from(receiver.is_some());
        for (position, objects) in arguments.iter().enumerate() {
            let keyword = call.arguments[position].0.as_deref();
            if self.code_changes(cell, function, position + shift, keyword, 0) {
                let mut seen = HashSet::default();
                self.change_deeply(objects, None, &mut seen);
            }
        }
        if let Some(receiver) = receiver
            && self.code_changes(cell, function, 0, None, 0)
        {
            self.change_all(receiver, None);
        }
        let owner = self.cells[cell].clone();
        let facts = &owner.facts.functions[function];
        if let Some(class) = &facts.class {
            let id = self.make(if class.has_plain_attributes {
                ObjectKind::Namespace
            } else {
                ObjectKind::Plain
            });
            self.objects[id].code = Some(code);
            self.objects[id].is_instance = true;
            self.objects[id].holds = arguments.iter().flatten().copied().collect();
            return vec![id];
        }
        // What the function returns may be what it was given, or a global.
        let mut result = Vec::new();
        let id = self.make(if facts.is_generator {
            ObjectKind::Iterator
        } else {
            ObjectKind::Foreign
        });
        for (source, relation) in &facts.returns.sources {
            let objects: Vec<ObjectId> = match source {
                Source::Param(owner, index) if *owner == function => match (receiver, index) {
                    (Some(receiver), 0) => receiver.to_vec(),
                    _ => argument_at(facts, *index, shift, call, arguments),
                },
                Source::Name(name) => self.objects_of(name),
                Source::Function(inner) => {
                    let made = self.make(ObjectKind::Plain);
                    self.objects[made].code = Some((cell, *inner));
                    // The inner function sees what the outer one was given.
                    self.objects[made].holds = arguments.iter().flatten().copied().collect();
                    vec![made]
                }
                _ => continue,
            };
            match relation {
                Relation::Same => result.extend(objects),
                Relation::Part(key) => {
                    self.objects[id]
                        .part_of
                        .extend(objects.into_iter().map(|object| (object, key.clone())));
                }
                Relation::Holds => self.objects[id].holds.extend(objects),
            }
        }
        result.push(id);
        result
    }

    /// A call of code that is not in the notebook.
    fn library_call(
        &mut self,
        call: &Call,
        arguments: &[Vec<ObjectId>],
        receiver: Option<&[ObjectId]>,
    ) -> Vec<ObjectId> {
        let full = self.full_name(&call.callee);
        let judgement = judge(full.as_deref(), &call.callee, call.is_inplace, |root| {
            self.names.get(root).map_or_else(
                || knowledge::value("aliases", root).is_some(),
                |binding| {
                    binding
                        .module
                        .as_deref()
                        .is_some_and(|module| !module.ends_with('.'))
                },
            )
        });
        let is_module_call = receiver.is_some_and(|receiver| {
            receiver
                .iter()
                .any(|id| self.objects[*id].kind == ObjectKind::Module)
        }) || matches!(&call.callee, Callee::Name(_));
        if judgement.changes_receiver
            && !is_module_call
            && let (
                Some(receiver),
                Callee::Method {
                    receiver: value,
                    method,
                    ..
                },
            ) = (receiver, &call.callee)
        {
            let key = match &value.sources[..] {
                [(_, Relation::Part(key))] => key.clone(),
                _ => None,
            };
            // A method that is known to change the object only leaves what it holds alone.
            let is_shallow = knowledge::has("receiver-only-methods", method) && key.is_none();
            let mut seen = HashSet::default();
            if is_shallow {
                for &id in receiver {
                    self.change(id, None, false, &mut seen);
                }
            } else {
                self.change_deeply(receiver, None, &mut seen);
            }
            if knowledge::has("keeps-argument-methods", method) {
                for &id in receiver {
                    for &held in arguments.iter().flatten() {
                        if held != id && !self.objects[id].holds.contains(&held) {
                            self.objects[id].holds.push(held);
                        }
                    }
                }
            }
        }
        let looks_only = matches!(
            full.as_deref(),
            Some(
                "print"
                    | "type"
                    | "isinstance"
                    | "id"
                    | "repr"
                    | "str"
                    | "display"
                    | "hasattr"
                    | "iter"
                    | "callable"
                    | "help"
            )
        );
        let makes_iterator = full
            .as_deref()
            .is_some_and(|full| knowledge::has("iterator-makers", full));
        for (position, objects) in arguments.iter().enumerate() {
            let keyword = call.arguments[position].0.as_deref();
            let is_changed = match &judgement.changed_arguments {
                None => true,
                Some(positions) => {
                    (keyword.is_none() && positions.contains(&position)) || keyword == Some("out")
                }
            };
            if is_changed {
                let mut seen = HashSet::default();
                self.change_deeply(objects, None, &mut seen);
            } else if !looks_only && !makes_iterator {
                self.consume(objects);
            }
        }
        let kind = full
            .as_deref()
            .map_or(ObjectKind::Foreign, |full| self.kind_of_result(full));
        let given: Vec<ObjectId> = arguments.iter().flatten().copied().collect();
        if judgement.is_fresh {
            if full
                .as_deref()
                .is_some_and(|full| knowledge::has("fresh-builtins", full))
            {
                return Vec::new();
            }
            let kind = match (&call.callee, receiver) {
                (Callee::Method { method, .. }, Some(receiver))
                    if receiver
                        .iter()
                        .any(|id| self.objects[*id].kind == ObjectKind::Frame)
                        && !is_reduction(method) =>
                {
                    ObjectKind::Frame
                }
                (Callee::Method { method, .. }, Some([only])) if method == "copy" => {
                    self.objects[*only].kind
                }
                _ => kind,
            };
            let id = self.make(kind);
            if let (Callee::Method { method, .. }, Some(receiver)) = (&call.callee, receiver)
                && method == "copy"
            {
                // A shallow copy holds the same items.
                self.objects[id].holds = receiver
                    .iter()
                    .flat_map(|id| self.objects[*id].holds.clone())
                    .collect();
            }
            return vec![id];
        }
        let id = self.make(kind);
        let is_view = full
            .as_deref()
            .is_some_and(|full| knowledge::has("view-functions", full));
        let is_class = full
            .as_deref()
            .and_then(|full| full.rsplit('.').next())
            .is_some_and(|last| last.starts_with(|first: char| first.is_uppercase()));
        let keeps = makes_iterator
            || is_class
            || matches!(
                full.as_deref(),
                Some("list" | "dict" | "set" | "tuple" | "sorted" | "reversed" | "frozenset")
            );
        let is_builtin = full
            .as_deref()
            .is_some_and(|full| knowledge::has("pure-builtins", full));
        if keeps {
            // A container made from another one holds its items, not the container.
            let items: Vec<ObjectId> = if makes_iterator || is_class {
                given
            } else {
                given
                    .iter()
                    .flat_map(|id| self.objects[*id].holds.clone())
                    .collect()
            };
            self.objects[id].holds = items;
        } else if is_view
            || !is_builtin
            || matches!(
                full.as_deref(),
                Some("max" | "min" | "getattr" | "memoryview")
            )
        {
            self.objects[id].part_of = given.into_iter().map(|object| (object, None)).collect();
            if let Some(receiver) = receiver {
                let receiver = receiver
                    .iter()
                    .filter(|id| self.objects[**id].kind != ObjectKind::Module);
                let owners: Vec<(ObjectId, Option<Key>)> = receiver.map(|id| (*id, None)).collect();
                self.objects[id].part_of.extend(owners);
            }
        }
        vec![id]
    }

    fn full_name(&self, callee: &Callee) -> Option<String> {
        let (root, keys): (&str, &[Key]) = match callee {
            Callee::Name(name) => (name, &[]),
            Callee::Method {
                path: Some(path), ..
            } => (&path.root, &path.keys),
            _ => return None,
        };
        let mut full = match self.names.get(root) {
            Some(binding) => binding.module.clone()?,
            None => knowledge::value("aliases", root).unwrap_or(root).to_owned(),
        };
        for key in keys {
            let Key::Attr(attribute) = key else {
                return None;
            };
            full.push('.');
            full.push_str(attribute);
        }
        Some(full)
    }

    fn kind_of_result(&self, full: &str) -> ObjectKind {
        if knowledge::has("frame-makers", full) {
            ObjectKind::Frame
        } else if knowledge::has("dict-makers", full) {
            ObjectKind::Dict
        } else if knowledge::has("namespace-makers", full) {
            ObjectKind::Namespace
        } else if knowledge::has("iterator-makers", full) {
            ObjectKind::Iterator
        } else if matches!(full, "list" | "sorted") {
            ObjectKind::List
        } else {
            ObjectKind::Foreign
        }
    }

    fn outside(&mut self, outside: &Outside) {
        match outside {
            Outside::FileRead(path) => match self.file_key(path) {
                Some(key) => {
                    let name = match &key {
                        Key::Attr(name) => name.clone(),
                        _ => String::new(),
                    };
                    match self.objects[self.files].keys.get(&key).copied() {
                        // A restart leaves files as they are, so what is written below may be read above.
                        Some((version, origin)) if self.is_from_below(origin) => {
                            self.vary(Varies::Files);
                            if !self.is_own(origin) {
                                self.absorb_doubt(&name, version.full, origin, Manner::File);
                            }
                        }
                        Some((version, origin)) => {
                            self.absorb(&name, version, origin, Manner::File);
                        }
                        None => self.vary(Varies::Files),
                    }
                    if let Some((value, origin)) = self.file_taint {
                        self.absorb_doubt(&name, value, Some(origin), Manner::File);
                    }
                }
                None => {
                    self.vary(Varies::Files);
                    if let FilePath::Name(name) = path {
                        self.read_symbolic_file(name);
                    }
                    if let Some((value, origin)) = self.file_taint {
                        self.absorb_doubt("a file", value, Some(origin), Manner::File);
                    }
                    if let Some(written) = self.files_written.last() {
                        let origin = self.objects[self.files].origin;
                        self.absorb_doubt("a file", written.full, origin, Manner::File);
                    }
                }
            },
            Outside::FileWrite(path) => match self.file_key(path) {
                Some(key) => {
                    let files = self.files;
                    self.touched.push(Touched::ChangedKey {
                        object: files,
                        key,
                        replaces: true,
                    });
                }
                None => {
                    if let FilePath::Name(name) = path
                        && let Some(key) = self.symbolic_file(name)
                    {
                        let files = self.files;
                        self.touched.push(Touched::ChangedKey {
                            object: files,
                            key,
                            replaces: true,
                        });
                    }
                    let value = short(&self.key.full);
                    let mut known = std::mem::take(&mut self.file_taints);
                    known.retain(|(_, origin)| !self.is_own(Some(*origin)));
                    known.push((value, self.cell));
                    let all: Vec<u8> = known
                        .iter()
                        .flat_map(|(value, _)| value.to_le_bytes())
                        .collect();
                    self.file_taint = Some((short(&all), self.cell));
                    self.file_taints = known;
                }
            },
            Outside::EnvironmentRead(Some(variable)) => {
                let key = Key::Attr(variable.clone());
                let (base, origin) = (
                    self.objects[self.environment].base,
                    self.objects[self.environment].base_origin,
                );
                self.absorb(variable, base, origin, Manner::Environment);
                if let Some((version, origin)) =
                    self.objects[self.environment].keys.get(&key).copied()
                {
                    self.absorb(variable, version, origin, Manner::Environment);
                } else {
                    self.vary(Varies::Environment);
                }
            }
            Outside::EnvironmentRead(None) => {
                self.vary(Varies::Environment);
                if let Some(set) = self.variables_set.last() {
                    let origin = self.objects[self.environment].origin;
                    self.absorb_doubt("the environment", set.full, origin, Manner::Environment);
                }
            }
            Outside::EnvironmentWrite(Some(variable)) => {
                let environment = self.environment;
                self.touched.push(Touched::ChangedKey {
                    object: environment,
                    key: Key::Attr(variable.clone()),
                    replaces: true,
                });
            }
            Outside::EnvironmentWrite(None) => {
                self.touched.push(Touched::Changed(self.environment))
            }
            Outside::Draw(state) => {
                let name = format!("random state of {state}");
                let seeded = self.ambient.get(&name).and_then(|ambient| ambient.seeded);
                // A seed that stands below only comes after this draw.
                if seeded.is_some() && !self.is_from_below(seeded) {
                    self.read_ambient(&name, Manner::Random);
                    self.touched.push(Touched::Ambient {
                        name,
                        manner: AmbientChange::Advance,
                    });
                } else {
                    self.vary(Varies::Random);
                }
            }
            Outside::Varies(how) => self.vary(*how),
            Outside::Seed(state) => {
                self.touched.push(Touched::Ambient {
                    name: format!("random state of {state}"),
                    manner: AmbientChange::Replace,
                });
            }
            Outside::Configure(library) => {
                self.touched.push(Touched::Ambient {
                    name: format!("configuration of {library}"),
                    manner: AmbientChange::Set,
                });
            }
        }
    }

    fn vary(&mut self, how: Varies) {
        self.varies = self.varies.max(Some(how));
    }

    /// A file whose path is only known as the value of a name.
    fn symbolic_file(&self, name: &str) -> Option<Key> {
        let binding = self.names.get(name)?;
        Some(Key::Attr(format!("{name} = {:x}", binding.version.certain)))
    }

    fn read_symbolic_file(&mut self, name: &str) {
        if let Some(key) = self.symbolic_file(name)
            && let Some((version, origin)) = self.objects[self.files].keys.get(&key).copied()
        {
            self.absorb(name, version, origin, Manner::File);
        }
    }

    fn file_key(&self, path: &FilePath) -> Option<Key> {
        let text = match path {
            FilePath::Literal(text) => text.clone(),
            FilePath::Name(name) => self.names.get(name)?.text.clone()?,
            FilePath::Unknown => return None,
        };
        Some(Key::Attr(text.trim_start_matches("./").to_owned()))
    }
}

impl Object {
    /// The version of all of it after a key changed: setting an item again to what it was changes nothing.
    fn with_keys(&self) -> Version {
        let mut all = Mixture::default();
        all.add(self.base);
        if self.kind == ObjectKind::Module {
            self.keys
                .values()
                .for_each(|(version, _)| all.add(*version));
        } else {
            let in_order = self.order.iter().filter_map(|key| self.keys.get(key));
            in_order.for_each(|(version, _)| all.add(*version));
        }
        all.version()
    }
}

impl FunctionFacts {
    /// The parameter that takes the argument at this position, or with this keyword.
    fn parameter_of(&self, position: usize, keyword: Option<&str>) -> usize {
        match keyword {
            Some(keyword) => self
                .params
                .iter()
                .position(|param| param == keyword)
                .unwrap_or(self.params.len().saturating_sub(1)),
            None => match self.vararg {
                Some(vararg) if position >= vararg => vararg,
                _ => position,
            },
        }
    }
}

fn argument_at(
    facts: &FunctionFacts,
    index: usize,
    shift: usize,
    call: &Call,
    arguments: &[Vec<ObjectId>],
) -> Vec<ObjectId> {
    let mut objects = Vec::new();
    for (position, (keyword, _)) in call.arguments.iter().enumerate() {
        if facts.parameter_of(position + shift, keyword.as_deref()) == index {
            objects.extend(arguments[position].iter().copied());
        }
    }
    objects
}

/// The key under which a kind of object keeps what this step reaches, if its keys are independent of each other.
fn normal_key(kind: ObjectKind, key: &Key) -> Option<Key> {
    match (kind, key) {
        (ObjectKind::Dict, Key::Item(_))
        | (ObjectKind::Namespace | ObjectKind::Module, Key::Attr(_)) => Some(key.clone()),
        (ObjectKind::Frame, Key::Item(item)) => Some(Key::Item(item.clone())),
        (ObjectKind::Foreign, Key::Item(item)) if item.starts_with("s:") => Some(key.clone()),
        (ObjectKind::Frame, Key::Attr(attribute))
            if !knowledge::has("frame-attributes", attribute) =>
        {
            Some(Key::Item(format!("s:{attribute}")))
        }
        _ => None,
    }
}

/// Methods of a frame whose result is no frame.
fn is_reduction(method: &str) -> bool {
    matches!(
        method,
        "sum"
            | "mean"
            | "min"
            | "max"
            | "count"
            | "std"
            | "var"
            | "median"
            | "to_dict"
            | "to_numpy"
            | "tolist"
            | "to_list"
            | "nunique"
            | "any"
            | "all"
            | "info"
            | "to_string"
            | "to_json"
            | "to_csv"
            | "to_parquet"
            | "groupby"
            | "plot"
            | "hist"
            | "memory_usage"
    )
}

fn short(bytes: &[u8]) -> Digest {
    let hash = blake3::hash(bytes);
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    Digest::from_le_bytes(first)
}
