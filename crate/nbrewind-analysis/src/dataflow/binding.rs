//! What a statement binds: which objects a name stands for afterwards.

use super::seen::Seen;
use super::state::{Binding, ObjectId, ObjectKind, Objects};
use super::version::{Version, digest};
use super::{Code, Manner, Touched, World};
use crate::facts::{CONSTRUCTORS, Kind};
use crate::fingerprint::Hash;
use crate::knowledge::Section;
use crate::name::Name;
use crate::program::{FilePath, Key, Relation, Source, Value};
use std::rc::Rc;

/// How many objects of earlier bindings a name keeps that a statement may or may not bind.
const MAX_OLDER_OBJECTS: usize = 8;

impl World {
    /// What a name stands for.
    pub(super) fn binding(&mut self, name: Name) -> Option<Rc<Binding>> {
        // Nothing in this statement sees what the name stood for before: loops of many cells share their variables.
        if self.statement.bound.contains(&name)
            && !self.statement.exposed.contains(&name)
            && let Some(own) = self.state.own_layer(name)
        {
            return own;
        }
        let last = self.state.last_layer(name)?;
        if last.is_perhaps {
            self.merged(name)
        } else {
            Some(last)
        }
    }

    /// What a name stands for if none of the bindings that may not have happened is known to have happened.
    fn merged(&mut self, name: Name) -> Option<Rc<Binding>> {
        let mut layers: Vec<Rc<Binding>> = Vec::new();
        let mut upper = None;
        for (step, binding) in self.state.layers(name) {
            let Some(binding) = binding else { break };
            if upper.is_some_and(|upper| step != upper && self.stands_below(step, upper)) {
                // In a run of the page this would not be there yet.
                if binding.is_perhaps || binding.stands_on {
                    continue;
                }
                break;
            }
            upper = Some(step);
            let is_perhaps = binding.is_perhaps;
            layers.push(binding);
            if !is_perhaps {
                break;
            }
        }
        let mut merged = Rc::unwrap_or_clone(layers.pop()?);
        if merged.is_perhaps {
            let absent = Version::constant("absent", &name);
            merged.version = merged.version.derive(b"perhaps", Some(absent));
        }
        merged.stands_on |= !layers.is_empty();
        while let Some(layer) = layers.pop() {
            let mut objects = layer.objects.clone();
            let old = self.outlive(&mut objects, &merged);
            merged.objects = objects;
            merged.version = layer.version.derive(b"perhaps", Some(old));
            merged.origin = layer.origin;
            merged.module = layer.module;
        }
        merged.is_perhaps = false;
        merged.path = None;
        Some(Rc::new(merged))
    }

    /// Adds the objects of an earlier binding that a later one leaves in place, and gives the version of the earlier one.
    fn outlive(&mut self, objects: &mut Objects, old: &Binding) -> Version {
        let mut version = old.version;
        for (at, &id) in old.objects.iter().enumerate() {
            if objects.contains(&id) {
                continue;
            }
            // What only this name refers to, or what it meant long ago, lives on in the name's version: loops of
            // many cells that use one variable would otherwise pile up objects.
            let is_long_ago = at >= MAX_OLDER_OBJECTS && self.state.object(id).code.is_none();
            if is_long_ago || self.is_private(id) {
                let whole = self.state.object(id).whole;
                version = version.derive(b"", Some(whole));
            } else {
                objects.push(id);
            }
        }
        version
    }

    /// Binds a name that may be bound already, to something that nothing is known of.
    pub(super) fn bind_weakly(&mut self, name: Name) {
        let binding = Binding {
            origin: Some(self.step),
            since: self.statement.moment + 1,
            ..Binding::default()
        };
        let mut objects = Objects::from(&[self.make(ObjectKind::Plain)][..]);
        if self.state.taint_of(name).is_some() || self.statement.prefix.is_some() {
            objects.extend(self.put_anywhere(&objects));
        }
        self.bind_perhaps(name, binding, objects);
    }

    pub(super) fn bind(&mut self, name: Name, value: &Value, is_definite: bool) {
        if let [(Source::Module(module), Relation::Same)] = value.sources[..]
            && is_definite
        {
            self.import(name, module);
            return;
        }
        let objects = self.resolve(value, true);
        let same = match value.sources[..] {
            [(Source::Name(other), Relation::Same)] => self.binding(other),
            _ => None,
        };
        let mut binding = Binding {
            origin: Some(self.step),
            since: self.statement.moment + 1,
            path: value
                .path()
                .or_else(|| {
                    let (root, below) = value.below?;
                    self.known_path(FilePath::Below(root, below))
                })
                .or_else(|| same.as_ref().and_then(|other| other.path)),
            module: match value.sources[..] {
                [(Source::Module(module), _)] => Some(module),
                _ => same.as_ref().and_then(|other| other.module),
            },
            is_lost: !self.statement.lost.is_empty(),
            ..Binding::default()
        };
        if !is_definite {
            self.bind_perhaps(name, binding, objects);
            return;
        }
        binding.objects = objects;
        if let Some(literal) = &value.literal {
            // Equal constants are equal whichever cell binds them.
            let version = match self.novel_constant() {
                Some(novel) => novel.derive(b"literal", None),
                None => Version::certain(digest("literal", &[literal])),
            };
            binding.version = self.doubtful(version);
            self.constant_objects(&binding.objects, binding.version);
            if !value.items.is_empty() {
                // Who reads one item depends on that one alone.
                let base = self.doubtful(Version::constant("constant dict", ""));
                binding.version = base;
                self.constant_items(&binding.objects, base, &value.items);
            }
            self.set_name(name, Some(Rc::new(binding)));
            return;
        }
        let made = binding.objects.clone();
        self.set_name(name, Some(Rc::new(binding)));
        self.statement
            .touched
            .push(Touched::Name { name, old: None });
        if let Some((Source::Function(_), Relation::Same)) = value.sources.first() {
            self.derive(&made);
        }
    }

    /// A class is made: its bases, and what they are made by, may run code.
    fn derive(&mut self, made: &[ObjectId]) {
        for &id in made {
            let mut classes = self.bases_of(id);
            let mut at = 0;
            while let Some(&class) = classes.get(at).filter(|_| at < 16) {
                at += 1;
                classes.extend(self.bases_of(class));
                let Some((step, function)) = self.state.object(class).code else {
                    continue;
                };
                let cell = self.cell_of((step, function));
                let Some(facts) = &cell.program.functions[function].class else {
                    continue;
                };
                let makers: &[&str] = if facts.bases.iter().any(|base| base.text() == "type") {
                    &CONSTRUCTORS
                } else {
                    &["__init_subclass__"]
                };
                for maker in makers {
                    if let Some(maker) = facts.method(maker) {
                        self.run_maker((step, maker), class, id);
                    }
                }
            }
            let holds = self.state.object(id).holds.clone();
            let set_name = Name::new("__set_name__");
            for &held in holds.iter() {
                if let Some(code) = self.own_method(held, set_name) {
                    self.run_maker(code, held, id);
                }
            }
        }
    }

    fn run_maker(&mut self, code: Code, class: ObjectId, made: ObjectId) {
        let mut found = Vec::new();
        self.read_code(code, Name::new(""), &mut found);
        self.statement.through = None;
        self.run_code(&found);
        let cell = self.cell_of(code);
        let facts = &cell.program.functions[code.1];
        if facts.mutated_params.has(0) {
            self.change(class, None, false, &mut Seen::default());
            self.keep(class, &[made]);
        }
        for &name in &facts.mutates {
            for id in self.objects_of(name) {
                self.keep(id, &[made]);
            }
        }
    }

    fn import(&mut self, name: Name, module: Name) {
        let dotted = module.value(Section::SameValues).map_or(module, Name::new);
        let id = ObjectId::module(dotted);
        if let Some((parent, attribute)) = dotted.rsplit_once('.') {
            let parent = ObjectId::module(Name::new(parent));
            let key = Key::Attr(Name::new(attribute));
            if let Some((version, origin)) = self.state.object(parent).key(key) {
                self.absorb(module, version, Some(origin), Manner::Changed);
            }
        }
        // A module of the notebook's own folder may have been written by a cell.
        let top = dotted.split('.').next().unwrap_or_default();
        let file_name = Name::new(&format!("{top}.py"));
        let files = self.state.object(ObjectId::FILES);
        let file = files.key(Key::Attr(file_name));
        let version = match file {
            Some((version, origin)) => {
                self.absorb(file_name, version, Some(origin), Manner::File);
                version.derive(dotted.as_bytes(), None)
            }
            None => Version::constant("module", &dotted),
        };
        let binding = Binding {
            version: self.doubtful(version),
            objects: Objects::from(&[id][..]),
            origin: Some(self.step),
            since: self.statement.moment + 1,
            path: None,
            module: Some(dotted),
            is_lost: !self.statement.lost.is_empty(),
            ..Binding::default()
        };
        self.set_name(name, Some(Rc::new(binding)));
    }

    /// A binding that may not happen: the name may go on standing for what it stands for.
    fn bind_perhaps(&mut self, name: Name, mut binding: Binding, mut objects: Objects) {
        binding.is_perhaps = true;
        // What other steps bound shows through.
        let mut old = None;
        if let Some(own) = self.state.own_layer(name) {
            binding.is_perhaps = own.as_ref().is_some_and(|own| own.is_perhaps);
            let absent = Version::constant("absent", &name);
            old = Some(own.map_or(absent, |own| {
                // An unknown construct before a binding that may not happen still counts.
                binding.since = own.since;
                binding.stands_on = own.stands_on;
                self.outlive(&mut objects, &own)
            }));
        }
        binding.objects = objects;
        binding.path = None;
        self.set_name(name, Some(Rc::new(binding)));
        self.statement.touched.push(Touched::Name { name, old });
    }

    fn set_name(&mut self, name: Name, binding: Option<Rc<Binding>>) {
        self.statement.bound.push(name);
        self.state.set_name(name, binding);
    }

    pub(super) fn unbind(&mut self, name: Name, is_definite: bool) {
        let Some(binding) = self.binding(name) else {
            return;
        };
        if is_definite {
            self.set_name(name, None);
        } else {
            let old = Some(binding.version);
            self.statement.touched.push(Touched::Name { name, old });
        }
    }

    pub(super) fn augment(&mut self, name: Name, is_definite: bool, held: &Value) {
        let objects = self.objects_of(name);
        self.change_all(&objects, None);
        let held = self.resolve(held, false);
        for &id in &objects {
            let object = self.state.object(id);
            if object.is_instance {
                // `__iadd__` may keep what it is given.
                self.keep(id, &held);
                self.change_given(id);
            } else if object.kind == ObjectKind::List {
                let mut lists = held.clone();
                lists.retain(|held| *held != id && self.state.object(*held).is_container());
                self.hold_items(id, &lists);
                for list in lists {
                    let items = self.state.object(list).holds.clone();
                    self.keep(id, &items);
                }
            }
        }
        let old = self.binding(name);
        let version = old.as_ref().map(|binding| binding.version);
        let mut binding = old.map(Rc::unwrap_or_clone).unwrap_or_default();
        binding.path = None;
        binding.module = None;
        if is_definite {
            binding.since = self.statement.moment + 1;
        }
        self.set_name(name, Some(Rc::new(binding)));
        self.statement
            .touched
            .push(Touched::Name { name, old: version });
    }

    fn is_private(&self, id: ObjectId) -> bool {
        let object = self.state.object(id);
        !object.is_shared
            && object.code.is_none()
            && object.holds.is_empty()
            && object.part_of.is_empty()
            && object.kind != ObjectKind::Module
            // Its version is only known at the end of the statement that touches it.
            && object.origin.is_some()
            && !self.statement.touched.iter().any(|touched| match touched {
                Touched::Made(other) | Touched::Changed(other) | Touched::Rearranged(other) => {
                    *other == id
                }
                Touched::ChangedKey { object, .. } => *object == id,
                _ => false,
            })
    }

    /// Objects of a constant display start from the constant, not from the statement.
    fn constant_objects(&mut self, objects: &[ObjectId], version: Version) {
        self.statement
            .touched
            .retain(|touched| !matches!(touched, Touched::Made(id) if objects.contains(id)));
        let step = self.step;
        for &id in objects {
            self.state.object_mut(id).set_all(version, step);
        }
    }

    /// The items of a constant dict.
    /// What the constants of this statement are made from if nothing that ran binds one of them.
    fn novel_constant(&self) -> Option<Version> {
        let novel = self.statement.novel.map(Version::certain);
        novel.filter(|_| self.statement.has_novel_constants)
    }

    fn constant_items(&mut self, objects: &[ObjectId], base: Version, items: &[(Key, Hash)]) {
        let step = self.step;
        for &id in objects {
            let items: Vec<(Key, Version)> = items
                .iter()
                .map(|(key, item)| {
                    // The version of the whole is one over those of the items, so these know where they stand.
                    let name = match key {
                        Key::Item(name) | Key::Attr(name) => name.as_bytes(),
                        Key::Any | Key::Element => b"",
                    };
                    let version = match self.novel_constant() {
                        Some(novel) => novel.derive(name, None),
                        None => Version::certain(digest("item", &[name, item])),
                    };
                    (*key, self.doubtful(version))
                })
                .collect();
            let object = self.state.object_mut(id);
            object.base = base;
            for (key, version) in items {
                object.set_key(key, version, step);
            }
        }
    }

    pub(super) fn make(&mut self, kind: ObjectKind) -> ObjectId {
        let id = self.state.make(kind);
        self.statement.touched.push(Touched::Made(id));
        id
    }

    /// The objects a value may be. `fresh`: a value that is nobody else's gets an object of its own.
    pub(super) fn resolve(&mut self, value: &Value, fresh: bool) -> Objects {
        let mut objects = Objects::new();
        if value.sources.is_empty() && (!fresh || value.kind == Kind::Scalar) {
            return objects;
        }
        let mut holds = Objects::new();
        // Containers of which it holds items.
        let mut of_items = Objects::new();
        let mut part_of: Vec<(ObjectId, Option<Key>)> = Vec::new();
        let mut code = None;
        // Rows and columns of a table are another table.
        let mut is_table = false;
        for (source, relation) in &value.sources {
            let mut of_source: Objects = match source {
                Source::Name(name) => self.objects_of(*name),
                Source::Result(id) => self.result(*id),
                Source::Module(module) => Objects::from(&[ObjectId::module(*module)][..]),
                Source::Function(id) => {
                    match relation {
                        Relation::Same if code.is_none() => code = Some((self.step, *id)),
                        _ => {
                            let function = self.make(ObjectKind::Plain);
                            self.state.object_mut(function).code = Some((self.step, *id));
                            holds.push(function);
                        }
                    }
                    continue;
                }
                Source::Param(..) => continue,
            };
            if *relation == Relation::Operand {
                // Operators on objects of the notebook's own classes may give what holds them; those of lists and dicts
                // give others with the same items.
                let containers = of_source.iter().copied();
                of_items.extend(containers.filter(|id| self.state.object(*id).is_container()));
                of_source.retain(|id| self.state.object(*id).is_instance);
            }
            if !matches!(source, Source::Result(_)) || *relation != Relation::Same {
                for &id in &of_source {
                    self.share(id);
                }
            }
            if let Relation::Part(Some(Key::Element)) | Relation::HoldsItems = relation {
                let n_all = of_source.len();
                of_source.retain(|id| !self.state.object(*id).gives_copies);
                is_table |= of_source.len() < n_all && *relation != Relation::HoldsItems;
            }
            match relation {
                Relation::Same => objects.extend(of_source),
                Relation::Part(key) => part_of.extend(of_source.into_iter().map(|id| (id, *key))),
                Relation::Holds | Relation::Operand => holds.extend(of_source),
                Relation::HoldsItems => of_items.extend(of_source),
                Relation::Rows | Relation::Columns => {
                    for id in of_source {
                        let is_frame = self.state.object(id).kind == ObjectKind::Frame;
                        is_table |= is_frame;
                        if !is_frame && *relation == Relation::Columns {
                            part_of.push((id, None));
                        }
                    }
                }
            }
        }
        objects.sort_unstable_by(ObjectId::order);
        objects.dedup();
        let needs_own = !holds.is_empty()
            || !of_items.is_empty()
            || !part_of.is_empty()
            || code.is_some()
            || is_table;
        if needs_own || (fresh && objects.is_empty() && value.kind != Kind::Scalar) {
            let kind = match value.kind {
                Kind::List => ObjectKind::List,
                Kind::Dict => ObjectKind::Dict,
                Kind::Iterator => ObjectKind::Iterator,
                _ if is_table && holds.is_empty() && of_items.is_empty() && part_of.is_empty() => {
                    ObjectKind::Frame
                }
                _ => ObjectKind::Plain,
            };
            let id = self.make(kind);
            let object = self.state.object_mut(id);
            if !part_of.is_empty() {
                object.part_of = Rc::new(part_of);
            }
            object.code = code;
            self.fill(id, holds);
            self.hold_items(id, &of_items);
            self.follow_owners(id);
            objects.push(id);
        }
        objects
    }

    fn share(&mut self, id: ObjectId) {
        // Nobody asks it of modules.
        let object = self.state.object(id);
        if !object.is_shared && object.kind != ObjectKind::Module {
            self.state.object_mut(id).is_shared = true;
        }
    }

    pub(super) fn result(&self, call: usize) -> Objects {
        let mut results = self.statement.results.iter().rev();
        let found = results.find(|(id, _)| *id == call);
        found.map_or_else(Objects::new, |(_, objects)| objects.clone())
    }

    /// The objects that a value certainly is.
    pub(super) fn resolve_existing(&mut self, value: &Value) -> Objects {
        let mut objects = Objects::new();
        for (source, relation) in &value.sources {
            if *relation != Relation::Same {
                continue;
            }
            match source {
                Source::Name(name) => objects.extend(self.objects_of(*name)),
                Source::Result(id) => objects.extend(self.result(*id)),
                _ => {}
            }
        }
        objects
    }
}
