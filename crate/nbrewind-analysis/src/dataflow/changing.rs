//! What a statement changes in place: objects, what they are part of, and what can be reached from them.

use super::seen::Seen;
use super::state::{ObjectId, ObjectKind, Objects, Watcher};
use super::{Code, Extent, Touched, World};
use crate::name::Name;
use crate::program::{Key, Relation, Source, Value};
use std::rc::Rc;

impl World {
    pub(super) fn change_all(&mut self, objects: &[ObjectId], key: Option<Key>) {
        let mut seen = Seen::default();
        for &id in objects {
            self.change(id, key, true, &mut seen);
        }
    }

    /// An object changes, at one key or anywhere; what it is part of changes with it.
    pub(super) fn change(
        &mut self,
        id: ObjectId,
        key: Option<Key>,
        replaces: bool,
        seen: &mut Seen<ObjectId>,
    ) {
        self.change_within(id, key, replaces, false, seen);
    }

    /// Another item is put into an object, or taken out of it; if it is a list or a dict, its items stay what they are.
    pub(super) fn rearrange(&mut self, id: ObjectId, key: Option<Key>, seen: &mut Seen<ObjectId>) {
        self.change_within(id, key, true, true, seen);
    }

    pub(super) fn rearrange_all(&mut self, objects: &[ObjectId]) {
        let mut seen = Seen::default();
        for &id in objects {
            self.rearrange(id, None, &mut seen);
        }
    }

    fn change_within(
        &mut self,
        id: ObjectId,
        key: Option<Key>,
        replaces: bool,
        keeps_items: bool,
        seen: &mut Seen<ObjectId>,
    ) {
        if !seen.insert(id) {
            return;
        }
        let object = self.state.object(id);
        let (kind, is_container) = (object.kind, object.is_container());
        let touched = match key.and_then(|key| self.normal_key(kind, key)) {
            Some(key) => Touched::ChangedKey {
                object: id,
                key,
                replaces,
            },
            // A module changes only where it is stored to by name.
            None if kind == ObjectKind::Module => return,
            None if is_container && keeps_items => Touched::Rearranged(id),
            None => Touched::Changed(id),
        };
        self.statement.touched.push(touched);
        let owners = self.state.object(id).part_of.clone();
        for &(owner, key) in owners.iter() {
            if let Some(Key::Attr(attribute)) = key {
                self.change_shared(owner, attribute, seen);
            }
            // Calls change what they are given, not the library that it came from, nor does a store somewhere below.
            let is_far = self.statement.is_calling || seen.len() > 1;
            if is_far && self.state.object(owner).kind == ObjectKind::Module {
                continue;
            }
            self.change(owner, key, false, seen);
            // The part may be one of the objects that the owner holds.
            let holds = self.state.object(owner).holds.clone();
            for &held in holds.iter() {
                let object = self.state.object(held);
                if object.code.is_none() || object.is_instance {
                    let is_made = object.is_instance || self.state.object(owner).is_instance;
                    self.change(held, None, false, seen);
                    if is_made {
                        // `people[0].rows.append(x)`
                        let holds = self.state.object(held).holds.clone();
                        for held in self.changeable(&holds) {
                            self.change(held, None, false, seen);
                        }
                    }
                }
            }
        }
        if kind == ObjectKind::Iterator {
            let holds = self.state.object(id).holds.clone();
            for &held in holds.iter() {
                if self.state.object(held).kind == ObjectKind::Iterator {
                    self.change(held, None, false, seen);
                }
            }
        }
    }

    /// An attribute that an object's class may have for all of its objects.
    fn change_shared(&mut self, id: ObjectId, attribute: Name, seen: &mut Seen<ObjectId>) {
        if !self.state.object(id).is_instance {
            return;
        }
        for class in self.bases_of(id) {
            let Some(code) = self.state.object(class).code else {
                continue;
            };
            let cell = self.cell_of(code);
            let facts = cell.program.functions[code.1].class.as_ref();
            if facts.is_some_and(|facts| facts.shared.has(attribute)) {
                self.change(class, None, false, seen);
            }
        }
    }

    /// Attributes of its classes change, which all their objects have.
    pub(super) fn change_classes(&mut self, id: ObjectId) {
        for class in self.bases_of(id) {
            self.change(class, None, false, &mut Seen::default());
        }
    }

    /// A method changed what the object was given when it was made.
    pub(super) fn change_given(&mut self, id: ObjectId) {
        let Some(code) = self.state.object(id).code else {
            return;
        };
        let cell = self.cell_of(code);
        let facts = cell.program.functions[code.1].class.as_ref();
        if facts.is_some_and(|facts| facts.changes_shared) {
            self.change_classes(id);
        }
        if !facts.is_some_and(|facts| facts.changes_given) {
            return;
        }
        let holds = self.state.object(id).holds.clone();
        let mut seen = Seen::default();
        seen.insert(id);
        self.change_deeply(&self.changeable(&holds), None, &mut seen);
    }

    /// Functions and classes do not change where all that can be reached does.
    fn changeable(&self, objects: &[ObjectId]) -> Objects {
        let is_value = |id: &ObjectId| {
            let object = self.state.object(*id);
            object.code.is_none() || object.is_instance
        };
        objects.iter().copied().filter(is_value).collect()
    }

    /// Everything that can be reached may have changed.
    pub(super) fn change_deeply(
        &mut self,
        objects: &[ObjectId],
        key: Option<Key>,
        seen: &mut Seen<ObjectId>,
    ) {
        for &id in objects {
            if seen.contains(&id) {
                continue;
            }
            self.change(id, key, false, seen);
            let holds = self.state.object(id).holds.clone();
            self.change_deeply(&self.changeable(&holds), None, seen);
        }
    }

    /// What goes through the items of an iterator uses it up, and the iterators that it goes through in its turn. What these
    /// go through stays as it is, unless a generator of the notebook's own changes what it was given.
    pub(super) fn consume(&mut self, objects: &[ObjectId]) {
        let mut seen = Seen::default();
        let mut pending = objects.to_vec();
        while let Some(id) = pending.pop() {
            let object = self.state.object(id);
            if seen.contains(&id) || object.kind == ObjectKind::Module {
                continue;
            }
            let (owners, holds) = (object.part_of.clone(), object.holds.clone());
            let is_iterator = |id: &ObjectId| self.state.object(*id).kind == ObjectKind::Iterator;
            if object.kind != ObjectKind::Iterator {
                // `for one in chains: next(one)`
                seen.insert(id);
                let all = owners.iter().flat_map(|(owner, _)| {
                    let held = self.state.object(*owner).holds.iter();
                    held.chain([owner])
                });
                pending.extend(all.copied().filter(is_iterator));
                continue;
            }
            let code = object.contents.code.clone();
            if object.changes_owners {
                self.change(id, None, false, &mut seen);
            } else {
                seen.insert(id);
                self.statement.touched.push(Touched::Changed(id));
            }
            pending.extend(owners.iter().map(|(owner, _)| *owner));
            pending.extend(holds.iter().copied());
            self.go_on(id, &code);
        }
    }

    /// The iterators in what these hold.
    pub(super) fn consume_items(&mut self, objects: &[ObjectId]) {
        let items = objects
            .iter()
            .flat_map(|id| self.state.object(*id).holds.iter());
        let is_iterator = |id: &ObjectId| self.state.object(*id).kind == ObjectKind::Iterator;
        let items: Objects = items.copied().filter(is_iterator).collect();
        self.consume(&items);
    }

    /// A generator runs on, with what it calls.
    fn go_on(&mut self, id: ObjectId, code: &[Code]) {
        let mut pending = code.to_vec();
        pending.retain(|&(step, function)| {
            let owner = self.cell_of((step, function));
            owner.program.functions[function].is_generator
        });
        let mut found: Vec<Code> = Vec::new();
        while let Some(code) = pending.pop() {
            if found.contains(&code) {
                continue;
            }
            found.push(code);
            let owner = self.cell_of(code);
            let facts = &owner.program.functions[code.1];
            for &name in &facts.calls {
                let called = self.objects_of(name);
                pending.extend(called.iter().filter_map(|id| self.state.object(*id).code));
            }
            self.run_held(&[id], &facts.methods);
            if !facts.iterates.is_empty() {
                let holds = self.state.object(id).holds.clone();
                self.consume_items(&holds);
            }
        }
        self.run_code(&found);
    }

    pub(super) fn store(&mut self, target: &Value, key: Option<Key>, held: &Value) {
        let held = self.resolve(held, false);
        let mut seen = Seen::default();
        for (source, relation) in &target.sources {
            let objects = match source {
                Source::Name(name) => self.objects_of(*name),
                Source::Result(id) => self.result(*id),
                Source::Module(module) => Objects::from(&[ObjectId::module(*module)][..]),
                _ => continue,
            };
            match relation {
                Relation::Same => {
                    for &id in &objects {
                        self.rearrange(id, key, &mut seen);
                    }
                }
                Relation::Part(first) => self.change_deeply(&objects, *first, &mut seen),
                Relation::Columns => self.change_deeply(&objects, None, &mut seen),
                Relation::Holds | Relation::HoldsItems => {}
                Relation::Rows | Relation::Operand => continue,
            }
            for &id in &objects {
                match key {
                    Some(Key::Attr(name)) => {
                        self.run_method(id, &[name.text(), "__setattr__", "__delattr__"]);
                    }
                    _ => self.run_method(id, &["__setitem__", "__delitem__"]),
                }
                if self.state.object(id).kind != ObjectKind::Module {
                    self.keep(id, &held);
                    continue;
                }
                // A function that is put into a module runs when that one is called.
                let code = held.iter().filter_map(|held| self.state.object(*held).code);
                let code: Vec<Code> = code.collect();
                self.pass_on(id, &code);
            }
        }
    }

    /// The object holds these from now on.
    pub(super) fn keep(&mut self, id: ObjectId, held: &[ObjectId]) {
        for &held in held {
            if held != id && !self.state.object(id).holds.contains(&held) {
                self.state.object_mut(id).hold(held);
                self.watch(id, held);
                if self.state.object(held).is_container() {
                    // `box['a'] = [x]`, and then `box['a'][0]` changes.
                    let items = self.state.object(held).holds.clone();
                    self.keep(id, &items);
                }
            }
        }
    }

    /// A new object holds these.
    pub(super) fn fill(&mut self, id: ObjectId, holds: Objects) {
        if holds.is_empty() {
            return;
        }
        let holds = Rc::new(holds);
        self.state.object_mut(id).holds = holds.clone();
        for &held in holds.iter() {
            self.watch(id, held);
        }
    }

    /// An object holds items of these.
    pub(super) fn hold_items(&mut self, holder: ObjectId, containers: &[ObjectId]) {
        for &id in containers {
            let is_container = self.state.object(id).is_container();
            if !is_container && !self.state.object(id).gives_items {
                self.keep(holder, &[id]);
                continue;
            }
            // By way of it the container changes when an item of the holder does.
            self.state.object_mut(holder).hold(id);
            let mut code = self.state.object(id).contents.code.clone();
            let mut owners = self.owners_of(id);
            if self.state.object(id).gives_items {
                owners
                    .iter_mut()
                    .for_each(|(_, key)| *key = Some(Key::Element));
            }
            owners.push((id, Some(Key::Element)));
            for (owner, key) in owners {
                if owner == holder || self.state.object(owner).kind == ObjectKind::Module {
                    continue;
                }
                let part = Some(key);
                self.state.watch(owner, Watcher { holder, part });
                code.extend_from_slice(&self.state.object(owner).contents.code);
            }
            if !code.is_empty() {
                self.pass_on(holder, &code);
            }
        }
    }

    /// All that an object is a part of, with the keys at which it is in each.
    pub(super) fn owners_of(&self, id: ObjectId) -> Vec<(ObjectId, Option<Key>)> {
        let mut found: Vec<(ObjectId, Option<Key>)> = Vec::new();
        let mut pending = self.state.object(id).part_of.to_vec();
        while let Some((owner, key)) = pending.pop() {
            if found.contains(&(owner, key)) {
                continue;
            }
            found.push((owner, key));
            let is_item = key.is_some_and(Key::is_item);
            let object = self.state.object(owner);
            for &(further, at) in object.part_of.iter() {
                let at = if is_item && object.gives_items {
                    Some(Key::Element)
                } else {
                    at
                };
                pending.push((further, at));
            }
        }
        found
    }

    /// What happens from now on inside the lists and dicts that this is an item of is noted at it.
    pub(super) fn follow_owners(&mut self, id: ObjectId) {
        for (owner, key) in self.owners_of(id) {
            if self.state.object(owner).is_container() && key.is_some_and(Key::is_item) {
                let part = Some(key);
                self.state.watch(owner, Watcher { holder: id, part });
            }
        }
    }

    /// What happens to the one from now on is noted at the other one, which holds it.
    pub(super) fn watch(&mut self, holder: ObjectId, held: ObjectId) {
        let object = self.state.object(held);
        // Modules change only for those who name them.
        if object.kind == ObjectKind::Module || held == holder {
            return;
        }
        let contents = object.contents.clone();
        let mut code: Vec<Code> = object.code.into_iter().collect();
        code.extend_from_slice(&contents.code);
        if let Some(own) = object.code {
            let by = self.state.object(holder);
            let is_class_of_holder = by.is_instance && by.code == Some(own);
            if object.is_instance || is_class_of_holder {
                self.without_constructors(own, &mut code);
            }
        }
        let part = None;
        self.state.watch(held, Watcher { holder, part });
        for (owner, key) in self.owners_of(held) {
            if owner != holder {
                let part = Some(key);
                self.state.watch(owner, Watcher { holder, part });
            }
            code.extend_from_slice(&self.state.object(owner).contents.code);
        }
        if !code.is_empty() {
            self.pass_on(holder, &code);
        }
    }

    /// An object, and all that it can be reached from, may run this code.
    pub(super) fn pass_on(&mut self, id: ObjectId, code: &[Code]) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let known = &self.state.object(id).contents.code;
            let new = code.iter().filter(|code| !known.contains(code));
            let mut new: Vec<Code> = new.copied().collect();
            new.dedup();
            if new.is_empty() {
                continue;
            }
            let contents = Rc::make_mut(&mut self.state.object_mut(id).contents);
            contents.code.extend(new);
            let watchers = self.state.watchers(id);
            pending.extend(watchers.iter().map(|watcher| watcher.holder));
        }
    }

    /// Notes at every object that holds one of these, directly or not, that it changed: at a key only, or anywhere.
    /// Objects that are `covered` have a version of this statement themselves.
    pub(super) fn spread(&mut self, changed: &[(ObjectId, Extent)], covered: &Seen<ObjectId>) {
        let step = self.step;
        let mut seen = Seen::default();
        for &(id, extent) in changed {
            let mut watchers = self.state.watchers(id);
            if watchers.is_empty() {
                continue;
            }
            let object = self.state.object(id);
            let (version, kind) = (object.whole, object.kind);
            let is_container = object.is_container();
            watchers.retain(|watcher| {
                let Some(Some(key)) = watcher.part else {
                    return true;
                };
                // An item taken out before is not changed by what is put in its place.
                let is_independent = is_container && key.is_item();
                match extent {
                    Extent::Everything => true,
                    Extent::Order => !is_independent,
                    Extent::Key(_, true) => !is_independent && self.normal_key(kind, key).is_none(),
                    Extent::Key(at, false) => {
                        let key = self.normal_key(kind, key);
                        key.is_none_or(|key| key == at)
                    }
                }
            });
            seen.clear();
            seen.insert(id);
            let mut pending: Objects = watchers.iter().map(|watcher| watcher.holder).collect();
            while let Some(holder) = pending.pop() {
                if covered.contains(&holder) || !seen.insert(holder) {
                    continue;
                }
                let object = self.state.object_mut(holder);
                Rc::make_mut(&mut object.contents).set(id, version, step);
                let watchers = self.state.watchers(holder);
                pending.extend(watchers.iter().map(|watcher| watcher.holder));
            }
        }
    }

    /// Calling a function with a state, or an object, may change it.
    pub(super) fn change_state(&mut self, name: Name) {
        let outer = std::mem::replace(&mut self.statement.is_calling, true);
        for id in self.objects_of(name) {
            if self.state.object(id).is_instance {
                self.change(id, None, false, &mut Seen::default());
            } else {
                self.change_state_of(id);
            }
        }
        self.statement.is_calling = outer;
    }

    /// Calling a function changes its state, if it has one: its own, that of what it closes over, or that of what it is
    /// decorated with. Whether it has.
    pub(super) fn change_state_of(&mut self, id: ObjectId) -> bool {
        let object = self.state.object(id);
        let holds = object.holds.clone();
        let code = object.code.filter(|_| !object.is_instance);
        let cell = code.map(|code| self.cell_of(code));
        let facts = cell
            .iter()
            .zip(code)
            .map(|(cell, code)| &cell.program.functions[code.1]);
        let facts = facts.into_iter().find(|facts| facts.is_stateful);
        let mut has_state = facts.is_some();
        let mut holders = Vec::new();
        if facts.is_some_and(|facts| !facts.changes_closed_over) {
            self.change(id, None, false, &mut Seen::default());
        } else if has_state {
            holders.push(id);
        }
        for &held in holds.iter() {
            if self.decorates_with_state(held) {
                has_state = true;
                holders.extend([id, held]);
            }
        }
        let mut seen = Seen::default();
        for id in holders {
            self.change(id, None, false, &mut seen);
            let holds = self.state.object(id).holds.clone();
            for &held in holds.iter() {
                let object = self.state.object(held);
                if object.code.is_none() || object.is_instance {
                    self.change(held, None, false, &mut seen);
                }
            }
        }
        has_state
    }

    /// A decorator of the notebook's own that makes functions, or objects, which change when they are called.
    fn decorates_with_state(&self, id: ObjectId) -> bool {
        let object = self.state.object(id);
        let Some(code) = object.code.filter(|_| !object.is_instance) else {
            return false;
        };
        let cell = self.cell_of(code);
        let functions = &cell.program.functions;
        let facts = &functions[code.1];
        if let Some(class) = &facts.class {
            let call = class.method("__call__");
            return call.is_some_and(|call| functions[call].mutated_params.has(0));
        }
        facts.returns.sources.iter().any(|(source, _)| {
            matches!(source, Source::Function(inner) if functions[*inner].is_stateful)
        })
    }
}
