//! What a pass knows at a step: bindings, objects, ambient state, files. Everything that a step may change lies in a
//! [`History`], and everything that it looks at is noted, so that after an edit only the steps run again that can see
//! something else.

use super::history::{Entry, History, Log, Step};
use super::version::{Digest, Mixture, Version, digest};
use super::{Code, Manner, Moment};
use crate::name::Name;
use crate::program::Key;
use rustc_hash::FxHashMap as HashMap;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

/// What a name stands for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Binding {
    pub version: Version,
    pub objects: Objects,
    pub origin: Option<Step>,
    /// The statement that bound it; unknown constructs taint what is older than they are.
    pub since: Moment,
    /// A constant path.
    pub path: Option<Name>,
    pub module: Option<Name>,
    /// It may not have happened: the name then stands for what it stood for before, which lies below in the history.
    pub is_perhaps: bool,
    /// It was made from one that may not have happened.
    pub stands_on: bool,
    /// A name was gone when it was to happen, so it most likely did not.
    pub is_lost: bool,
}

/// An object by the step that made it; the order is the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    step: u32,
    n: u32,
}

/// Some of them: one or two nearly always, for which no memory is asked.
#[cfg(not(target_arch = "wasm32"))]
pub(super) type Objects = smallvec::SmallVec<[ObjectId; 2]>;
/// In WebAssembly memory is had for less than it takes to tell the two apart, and the code is smaller.
#[cfg(target_arch = "wasm32")]
pub(super) type Objects = Vec<ObjectId>;

impl ObjectId {
    /// All files, by path.
    pub(super) const FILES: ObjectId = ObjectId {
        step: u32::MAX,
        n: 0,
    };
    /// The environment, by variable.
    pub(super) const ENVIRONMENT: ObjectId = ObjectId {
        step: u32::MAX,
        n: 1,
    };
    const MODULES: u32 = u32::MAX - 1;

    /// The order in which they were made; of modules, that of their names, which is the same in every process.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        if self.step == ObjectId::MODULES && other.step == ObjectId::MODULES {
            return Name::of_index(self.n).cmp(&Name::of_index(other.n));
        }
        self.cmp(other)
    }

    /// The module, or the thing of a module, of this name.
    pub(super) fn module(dotted: Name) -> Self {
        ObjectId {
            step: ObjectId::MODULES,
            n: dotted.index(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectKind {
    Plain,
    /// What code from elsewhere gave, most likely a table or a mapping: items under constant strings are independent.
    Foreign,
    List,
    Dict,
    Frame,
    /// A number or a label, most likely: shown the same whatever the settings of tables are.
    Number,
    Iterator,
    Module,
    /// Attributes are just stored.
    Namespace,
}

/// What can be reached from an object, as far as its own version does not tell. That covers what the object holds as it
/// was when it came to hold it, because the statement that did this read both; so only later changes are noted here, and
/// a reader need not go through all that the object holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Contents {
    /// Objects that changed, each once, as they are now, with the step that changed them.
    pub changed: Vec<(ObjectId, Version, Step)>,
    /// Over all of them, in no order.
    pub all: Version,
    /// Functions and classes of the notebook.
    pub code: Vec<Code>,
}

impl Contents {
    pub(super) fn set(&mut self, id: ObjectId, version: Version, step: Step) {
        let share = |version: Version| {
            let of = |digest_of: Digest| digest("contents", &[&digest_of.to_le_bytes()]);
            (of(version.certain), of(version.full))
        };
        let (certain, full) = share(version);
        match self.changed.iter_mut().find(|(known, ..)| *known == id) {
            Some(known) => {
                let (old_certain, old_full) = share(known.1);
                self.all.certain = self.all.certain.wrapping_sub(old_certain);
                self.all.full = self.all.full.wrapping_sub(old_full);
                *known = (id, version, step);
            }
            None => self.changed.push((id, version, step)),
        }
        self.all.certain = self.all.certain.wrapping_add(certain);
        self.all.full = self.all.full.wrapping_add(full);
    }
}

/// Who has to be told when an object changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Watcher {
    /// It holds the object...
    pub holder: ObjectId,
    /// ...or a part of it, which is at this key.
    pub part: Option<Option<Key>>,
}

/// Something that names may share, hold or be part of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub kind: ObjectKind,
    /// Changes when anything but a known key may have changed.
    pub base: Version,
    /// The cell that made `base` as it is.
    pub base_origin: Option<Step>,
    /// Changes with every change.
    pub whole: Version,
    /// In the order in which they came.
    pub keys: Rc<Vec<(Key, Version, Step)>>,
    pub holds: Rc<Objects>,
    pub part_of: Rc<Vec<(ObjectId, Option<Key>)>>,
    pub contents: Rc<Contents>,
    /// For functions, classes and instances of classes of the notebook.
    pub code: Option<Code>,
    pub is_instance: bool,
    /// It goes through the items of what it is a part of, as `d.items()` does.
    pub gives_items: bool,
    /// Going through it gives copies of the rows of a table, as `df.groupby('a')` does.
    pub gives_copies: bool,
    /// Items that are asked for are made, as in a `defaultdict`.
    pub grows_when_read: bool,
    /// A generator that changes what it was given.
    pub changes_owners: bool,
    /// Something besides the name it was made for may refer to it.
    pub is_shared: bool,
    pub origin: Option<Step>,
    pub manner: Manner,
}

impl Object {
    pub(super) fn new(kind: ObjectKind) -> Self {
        Object {
            kind,
            base: Version::default(),
            base_origin: None,
            whole: Version::default(),
            keys: Rc::default(),
            holds: Rc::default(),
            part_of: Rc::default(),
            contents: Rc::default(),
            code: None,
            is_instance: false,
            gives_items: false,
            gives_copies: false,
            grows_when_read: false,
            changes_owners: false,
            is_shared: false,
            origin: None,
            manner: Manner::Bound,
        }
    }

    /// A list or a dict: what it is as a whole, and what its items are, are two things.
    pub(super) fn is_container(&self) -> bool {
        matches!(self.kind, ObjectKind::List | ObjectKind::Dict)
    }

    pub(super) fn key(&self, key: Key) -> Option<(Version, Step)> {
        let mut keys = self.keys.iter();
        keys.find(|(known, ..)| *known == key)
            .map(|(_, version, origin)| (*version, *origin))
    }

    pub(super) fn set_key(&mut self, key: Key, version: Version, origin: Step) {
        let is_module = self.kind == ObjectKind::Module;
        let keys = Rc::make_mut(&mut self.keys);
        match keys.iter_mut().find(|(known, ..)| *known == key) {
            Some(known) => *known = (key, version, origin),
            None => {
                // What is stored in a module has no order.
                let at = if is_module {
                    keys.partition_point(|(known, ..)| known.rank() < key.rank())
                } else {
                    keys.len()
                };
                keys.insert(at, (key, version, origin));
            }
        }
        // Setting an item again to what it was changes nothing.
        let mut all = Mixture::default();
        all.add(self.base);
        for (_, version, _) in keys.iter() {
            all.add(*version);
        }
        self.whole = all.version();
    }

    pub(super) fn hold(&mut self, held: ObjectId) {
        if !self.holds.contains(&held) {
            Rc::make_mut(&mut self.holds).push(held);
        }
    }

    /// Made as a whole, with this version.
    pub(super) fn set_all(&mut self, version: Version, origin: Step) {
        self.base = version;
        self.base_origin = Some(origin);
        self.whole = version;
        self.origin = Some(origin);
    }
}

/// Keys of the statements that set something, each once, in the order in which they ran last.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Settings {
    keys: Vec<(Version, Step)>,
    all: Version,
}

impl Settings {
    pub(super) fn set(&mut self, key: Version, step: Step) -> Version {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, step));
        self.all = self.of(|_| true).unwrap_or_default();
        self.all
    }

    /// Starts with something that was there before, if nothing was set yet.
    pub(super) fn start_with(&mut self, before: Digest, step: Step) {
        if self.keys.is_empty() {
            self.keys.push((Version::certain(before), step));
        }
    }

    /// Those that such steps made, if there are any.
    pub(super) fn of(&self, is_wanted: impl Fn(Step) -> bool) -> Option<Version> {
        let mut all = Mixture::default();
        for (key, step) in &self.keys {
            if is_wanted(*step) {
                all.add(*key);
            }
        }
        (!all.is_empty()).then(|| all.version())
    }

    /// All of them, if there are any.
    pub(super) fn last(&self) -> Option<Version> {
        (!self.keys.is_empty()).then_some(self.all)
    }
}

/// State of the process that is neither a name nor a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ambience {
    Configuration(Name),
    Random(Name),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ambient {
    pub version: Version,
    pub origin: Option<Step>,
    /// The cell that seeded it.
    pub seeded: Option<Step>,
    pub settings: Settings,
}

/// What something that cannot be known may have done to all that is older.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Taint {
    pub digest: Digest,
    pub since: Moment,
    pub origin: Step,
    /// Only to names that begin so.
    pub prefix: Option<Name>,
}

/// What wrote files whose path is not known, and all of it in one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FileTaints {
    pub each: Vec<(Digest, Step)>,
    pub all: Option<(Digest, Step)>,
}

/// Settings that lie at no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Common {
    /// Whole changes of the environment.
    EnvironmentChanges,
    /// Star imports since anything that cannot be known.
    Stars,
    /// What wrote known files, and what set variables of the environment, since the page began to run.
    FilesWritten,
    VariablesSet,
}

impl Entry for Option<Rc<Binding>> {
    fn covers(&self) -> bool {
        self.as_ref().is_none_or(|binding| !binding.is_perhaps)
    }
}

impl Entry for Object {}
impl Entry for Rc<Ambient> {}
impl Entry for Settings {}
impl Entry for Option<Taint> {}
impl Entry for Rc<FileTaints> {}

/// A part of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Name(u32),
    Object(ObjectId),
    Watchers(ObjectId),
    Ambient(u32),
    ModuleSettings(u32),
    Common(Common),
    Taint,
    FileTaints,
    Shown,
    /// The keys of all statements so far.
    Keys,
    /// The text of a step.
    Code(Step),
}

/// One table for many keys.
#[derive(Clone)]
struct Table<K, T> {
    at: HashMap<K, u32>,
    histories: Vec<History<T>>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Table {
            at: HashMap::default(),
            histories: Vec::new(),
        }
    }
}

impl<K: std::hash::Hash + Eq, T> Table<K, T> {
    fn slot(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.histories.len()).unwrap_or(u32::MAX);
        let slot = *self.at.entry(key).or_insert(next);
        if slot == next {
            self.histories.push(History::default());
        }
        slot
    }
}

impl<K, T> std::ops::Index<u32> for Table<K, T> {
    type Output = History<T>;

    fn index(&self, slot: u32) -> &History<T> {
        &self.histories[slot as usize]
    }
}

impl<K, T> std::ops::IndexMut<u32> for Table<K, T> {
    fn index_mut(&mut self, slot: u32) -> &mut History<T> {
        &mut self.histories[slot as usize]
    }
}

/// The whole state at every step.
#[derive(Clone)]
pub(super) struct State {
    names: Table<Name, Option<Rc<Binding>>>,
    /// By the step that made them.
    objects: Vec<Vec<History<Object>>>,
    modules: HashMap<u32, History<Object>>,
    watchers: HashMap<ObjectId, Log<Watcher>>,
    files: History<Object>,
    environment: History<Object>,
    ambient: Table<Ambience, Rc<Ambient>>,
    module_settings: Table<(ObjectId, Key), Settings>,
    common: [History<Settings>; 4],
    taint: History<Option<Taint>>,
    file_taints: History<Rc<FileTaints>>,
    /// What cells ended with, which `_` may stand for.
    shown: Log<Version>,
    /// Whether a step begins a new run of the page, and its keys.
    keys: Vec<(bool, Digest)>,
    /// Only says who looked.
    keys_readers: History<()>,
    codes: Vec<History<()>>,
    /// What modules are that nothing was stored in.
    blank: Object,
    /// What every step looked at and changed.
    looked: Vec<Vec<Place>>,
    changed: Vec<Vec<Place>>,
    // The step being run:
    step: Step,
    run: u64,
    n_made: u32,
    keys_before: (bool, Digest),
    looking: RefCell<Vec<Place>>,
    changing: Vec<Place>,
}

/// Does the same with the history at a place, whatever it holds.
macro_rules! at_place {
    ($state:expr, $place:expr, $history:ident => $body:expr) => {
        match $place {
            Place::Name(slot) => {
                let $history = &mut $state.names[slot];
                $body
            }
            Place::Object(id) => {
                let $history = $state.object_history(id);
                $body
            }
            Place::Watchers(id) => {
                let $history = $state.watchers.entry(id).or_default();
                $body
            }
            Place::Ambient(slot) => {
                let $history = &mut $state.ambient[slot];
                $body
            }
            Place::ModuleSettings(slot) => {
                let $history = &mut $state.module_settings[slot];
                $body
            }
            Place::Common(which) => {
                let $history = &mut $state.common[which as usize];
                $body
            }
            Place::Taint => {
                let $history = &mut $state.taint;
                $body
            }
            Place::FileTaints => {
                let $history = &mut $state.file_taints;
                $body
            }
            Place::Shown => {
                let $history = &mut $state.shown;
                $body
            }
            Place::Keys => {
                let $history = &mut $state.keys_readers;
                $body
            }
            Place::Code(step) => {
                let $history = &mut $state.codes[step];
                $body
            }
        }
    };
}

impl Default for State {
    fn default() -> Self {
        State {
            names: Table::default(),
            objects: Vec::new(),
            modules: HashMap::default(),
            watchers: HashMap::default(),
            files: History::default(),
            environment: History::default(),
            ambient: Table::default(),
            module_settings: Table::default(),
            common: Default::default(),
            taint: History::default(),
            file_taints: History::default(),
            shown: Log::default(),
            keys: Vec::new(),
            keys_readers: History::default(),
            codes: Vec::new(),
            blank: Object::new(ObjectKind::Module),
            looked: Vec::new(),
            changed: Vec::new(),
            step: 0,
            run: 0,
            n_made: 0,
            keys_before: (false, 0),
            looking: RefCell::default(),
            changing: Vec::new(),
        }
    }
}

impl State {
    // ---- running steps -----------------------------------------------------------------------------------------

    /// A step begins, perhaps again.
    pub(super) fn begin(&mut self, step: Step) {
        while self.codes.len() <= step {
            self.codes.push(History::default());
            self.objects.push(Vec::new());
            self.looked.push(Vec::new());
            self.changed.push(Vec::new());
            self.keys.push((false, 0));
        }
        self.keys_before = std::mem::take(&mut self.keys[step]);
        self.step = step;
        self.run += 1;
        self.n_made = 0;
        for at in 0..self.changed[step].len() {
            let place = self.changed[step][at];
            at_place!(self, place, history => history.take_back(step));
        }
    }

    /// The step has ended: calls with every later step that may see something else than before.
    pub(super) fn end(&mut self, mut is_reached: impl FnMut(Step)) {
        let step = self.step;
        // The two lists are kept from step to step, and what is left of them has no room to spare.
        let mut looked = std::mem::take(self.looking.get_mut());
        if looked != self.looked[step] {
            let before = std::mem::replace(&mut self.looked[step], looked.clone());
            for place in before {
                at_place!(self, place, history => history.remove_reader(step));
            }
            for &place in &looked {
                at_place!(self, place, history => history.add_reader(step));
            }
        }
        looked.clear();
        *self.looking.get_mut() = looked;
        if self.keys[step] != self.keys_before {
            self.keys_readers
                .readers_after(step)
                .for_each(&mut is_reached);
        }
        let mut changed = std::mem::take(&mut self.changing);
        let before = std::mem::take(&mut self.changed[step]);
        // Also after the last step: what was taken back must not be there when another step is compared.
        for &place in &changed {
            at_place!(self, place, history => history.compare(step, &mut is_reached));
        }
        for place in before {
            at_place!(self, place, history => {
                if history.was_taken_back() {
                    history.compare(step, &mut is_reached);
                }
            });
        }
        self.changed[step] = changed.clone();
        changed.clear();
        self.changing = changed;
    }

    /// The steps that look into the text of this one.
    pub(super) fn readers_of_code(&self, step: Step) -> impl Iterator<Item = Step> + '_ {
        let code = self.codes.get(step).into_iter();
        code.flat_map(move |code| code.readers_after(step))
    }

    /// Forgets this step and all after it.
    pub(super) fn cut(&mut self, from: Step) {
        for step in from..self.codes.len() {
            for place in std::mem::take(&mut self.looked[step]) {
                at_place!(self, place, history => history.cut(from));
            }
            for place in std::mem::take(&mut self.changed[step]) {
                at_place!(self, place, history => history.cut(from));
            }
        }
        self.codes.truncate(from);
        self.keys.truncate(from);
        self.objects.truncate(from);
        self.looked.truncate(from);
        self.changed.truncate(from);
    }

    fn look<T: Entry>(&self, history: &History<T>, place: Place) {
        if history.is_new_to(self.run) {
            self.looking.borrow_mut().push(place);
        }
    }

    fn look_at(&mut self, place: Place) {
        let run = self.run;
        let is_new = at_place!(self, place, history => history.is_new_to(run));
        if is_new {
            self.looking.get_mut().push(place);
        }
    }

    // ---- names -------------------------------------------------------------------------------------------------

    /// What was bound last, and what stood before as far as that can still be seen; the last one first.
    pub(super) fn layers(&mut self, name: Name) -> Vec<(Step, Option<Rc<Binding>>)> {
        let slot = self.names.slot(name);
        self.look_at(Place::Name(slot));
        let all = self.names[slot].until(self.step);
        let bottom = all.iter().rposition(|(_, binding)| binding.covers());
        all[bottom.unwrap_or(0)..].iter().rev().cloned().collect()
    }

    /// What was bound last.
    pub(super) fn last_layer(&mut self, name: Name) -> Option<Rc<Binding>> {
        let slot = self.names.slot(name);
        self.look_at(Place::Name(slot));
        self.names[slot].at(self.step)?.clone()
    }

    /// What this step has bound the name to.
    pub(super) fn own_layer(&mut self, name: Name) -> Option<Option<Rc<Binding>>> {
        let slot = self.names.slot(name);
        let (step, binding) = self.names[slot].until(self.step).last()?;
        (*step == self.step).then(|| binding.clone())
    }

    pub(super) fn set_name(&mut self, name: Name, binding: Option<Rc<Binding>>) {
        let slot = self.names.slot(name);
        if self.names[slot].put(self.step, binding) {
            self.changing.push(Place::Name(slot));
        }
    }

    /// The binding that this step made.
    pub(super) fn own_name(&mut self, name: Name) -> Option<&mut Binding> {
        let slot = self.names.slot(name);
        let step = self.step;
        let is_new = self.names[slot].change(step, || None).1;
        if is_new {
            // It starts from what another step left.
            self.changing.push(Place::Name(slot));
            if self.names[slot].is_new_to(self.run) {
                self.looking.get_mut().push(Place::Name(slot));
            }
        }
        let (binding, _) = self.names[slot].change(step, || None);
        binding.as_mut().map(Rc::make_mut)
    }

    // ---- objects -----------------------------------------------------------------------------------------------

    fn object_history(&mut self, id: ObjectId) -> &mut History<Object> {
        match id {
            ObjectId::FILES => &mut self.files,
            ObjectId::ENVIRONMENT => &mut self.environment,
            ObjectId {
                step: ObjectId::MODULES,
                n,
            } => self.modules.entry(n).or_default(),
            ObjectId { step, n } => &mut self.objects[step as usize][n as usize],
        }
    }

    pub(super) fn object(&self, id: ObjectId) -> &Object {
        let history = match id {
            ObjectId::FILES => &self.files,
            ObjectId::ENVIRONMENT => &self.environment,
            ObjectId {
                step: ObjectId::MODULES,
                n,
            } => match self.modules.get(&n) {
                Some(history) => history,
                None => {
                    // Somebody may store in it above, some day.
                    self.looking.borrow_mut().push(Place::Object(id));
                    return &self.blank;
                }
            },
            ObjectId { step, n } => &self.objects[step as usize][n as usize],
        };
        self.look(history, Place::Object(id));
        history.at(self.step).unwrap_or(&self.blank)
    }

    pub(super) fn object_mut(&mut self, id: ObjectId) -> &mut Object {
        let step = self.step;
        self.look_at(Place::Object(id));
        let history = self.object_history(id);
        let is_new = history.change(step, || Object::new(ObjectKind::Module)).1;
        if is_new {
            self.changing.push(Place::Object(id));
        }
        self.object_history(id)
            .change(step, || Object::new(ObjectKind::Module))
            .0
    }

    pub(super) fn make(&mut self, kind: ObjectKind) -> ObjectId {
        let made = &mut self.objects[self.step];
        let n = self.n_made;
        self.n_made += 1;
        if made.len() <= n as usize {
            made.push(History::default());
        }
        // Lists that are empty are one list.
        let object = Object {
            kind,
            ..self.blank.clone()
        };
        made[n as usize].put(self.step, object);
        let id = ObjectId {
            step: u32::try_from(self.step).unwrap_or(u32::MAX),
            n,
        };
        self.changing.push(Place::Object(id));
        id
    }

    /// What this object holds, or holds a part of, is watched from now on.
    pub(super) fn watch(&mut self, id: ObjectId, watcher: Watcher) {
        let watchers = self.watchers.entry(id).or_default();
        if watchers.push(self.step, watcher) {
            self.changing.push(Place::Watchers(id));
        }
    }

    pub(super) fn watchers(&mut self, id: ObjectId) -> Vec<Watcher> {
        self.look_at(Place::Watchers(id));
        let watchers = self.watchers.entry(id).or_default().at(self.step);
        watchers.iter().map(|(_, watcher)| *watcher).collect()
    }

    // ---- the rest ----------------------------------------------------------------------------------------------

    pub(super) fn ambient(&mut self, which: Ambience) -> Option<Rc<Ambient>> {
        let slot = self.ambient.slot(which);
        self.look_at(Place::Ambient(slot));
        self.ambient[slot].at(self.step).cloned()
    }

    pub(super) fn ambient_mut(&mut self, which: Ambience) -> &mut Ambient {
        let slot = self.ambient.slot(which);
        self.look_at(Place::Ambient(slot));
        let (ambient, is_new) = self.ambient[slot].change(self.step, Rc::default);
        if is_new {
            self.changing.push(Place::Ambient(slot));
        }
        Rc::make_mut(ambient)
    }

    pub(super) fn module_settings_mut(&mut self, module: ObjectId, key: Key) -> &mut Settings {
        let slot = self.module_settings.slot((module, key));
        self.look_at(Place::ModuleSettings(slot));
        let (settings, is_new) = self.module_settings[slot].change(self.step, Settings::default);
        if is_new {
            self.changing.push(Place::ModuleSettings(slot));
        }
        settings
    }

    pub(super) fn common(&mut self, which: Common) -> Option<&Settings> {
        self.look_at(Place::Common(which));
        self.common[which as usize].at(self.step)
    }

    pub(super) fn common_mut(&mut self, which: Common) -> &mut Settings {
        self.look_at(Place::Common(which));
        let (settings, is_new) = self.common[which as usize].change(self.step, Settings::default);
        if is_new {
            self.changing.push(Place::Common(which));
        }
        settings
    }

    pub(super) fn clear_common(&mut self, which: Common) {
        if self.common[which as usize].put(self.step, Settings::default()) {
            self.changing.push(Place::Common(which));
        }
    }

    pub(super) fn taint(&mut self) -> Option<Taint> {
        self.look_at(Place::Taint);
        self.taint.at(self.step).copied().flatten()
    }

    /// What may have been done to this name.
    pub(super) fn taint_of(&mut self, name: Name) -> Option<Taint> {
        let covers = |prefix: Name| name.text().starts_with(prefix.text());
        self.taint().filter(|taint| taint.prefix.is_none_or(covers))
    }

    pub(super) fn set_taint(&mut self, taint: Option<Taint>) {
        if self.taint.put(self.step, taint) {
            self.changing.push(Place::Taint);
        }
    }

    pub(super) fn file_taints(&mut self) -> Option<&Rc<FileTaints>> {
        self.look_at(Place::FileTaints);
        self.file_taints.at(self.step)
    }

    pub(super) fn set_file_taints(&mut self, taints: FileTaints) {
        if self.file_taints.put(self.step, Rc::new(taints)) {
            self.changing.push(Place::FileTaints);
        }
    }

    pub(super) fn show(&mut self, key: Version) {
        if self.shown.push(self.step, key) {
            self.changing.push(Place::Shown);
        }
    }

    /// What cells ended with since the page began to run, and the last of them.
    pub(super) fn shown(&mut self) -> Option<(Version, Step)> {
        self.look_at(Place::Shown);
        let so_far = &self.keys[..=self.step];
        let first = so_far.iter().rposition(|(starts_over, _)| *starts_over);
        let mut all = Settings::default();
        for &(step, key) in self.shown.at(self.step) {
            if step >= first.unwrap_or(0) {
                all.keys.retain(|(known, _)| *known != key);
                all.keys.push((key, step));
            }
        }
        let (_, last) = all.keys.last()?;
        Some((all.of(|_| true)?, *last))
    }

    /// All that ran since the page began to run.
    pub(super) fn keys_so_far(&mut self) -> Digest {
        self.look_at(Place::Keys);
        let so_far = &self.keys[..=self.step];
        let first = so_far.iter().rposition(|(starts_over, _)| *starts_over);
        let mut all = Mixture::default();
        for (_, keys) in &so_far[first.unwrap_or(0)..] {
            // Where cells without code stand makes no difference.
            if *keys != 0 {
                all.add_bytes(&keys.to_le_bytes());
            }
        }
        all.digest_of_full()
    }

    pub(super) fn add_key(&mut self, key: Digest) {
        let (_, keys) = &mut self.keys[self.step];
        *keys = digest("keys", &[&keys.to_le_bytes(), &key.to_le_bytes()]);
    }

    pub(super) fn start_over(&mut self) {
        self.keys[self.step].0 = true;
    }

    /// This step looks into the text of that one.
    pub(super) fn look_at_code(&self, step: Step) {
        self.look(&self.codes[step], Place::Code(step));
    }
}
