//! What a statement changes in place: objects, what they are part of, and what can be reached from them.

use super::state::{ObjectId, ObjectKind};
use super::{Touched, World};
use crate::name::Name;
use crate::program::{Key, Relation, Source, Value};
use rustc_hash::FxHashSet as HashSet;

impl World {
    pub(super) fn change_all(&mut self, objects: &[ObjectId], key: Option<Key>) {
        let mut seen = HashSet::default();
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
        seen: &mut HashSet<ObjectId>,
    ) {
        if !seen.insert(id) {
            return;
        }
        let kind = self.state.object(id).kind;
        let touched = match key.and_then(|key| self.normal_key(kind, key)) {
            Some(key) => Touched::ChangedKey {
                object: id,
                key,
                replaces,
            },
            // A module changes only where it is stored to by name.
            None if kind == ObjectKind::Module => return,
            None => Touched::Changed(id),
        };
        self.statement.touched.push(touched);
        let owners = self.state.object(id).part_of.clone();
        for &(owner, key) in owners.iter() {
            // Calls change what they are given, not the library that it came from, nor does a store somewhere below.
            let is_far = self.statement.is_calling || seen.len() > 1;
            if is_far && self.state.object(owner).kind == ObjectKind::Module {
                continue;
            }
            self.change(owner, key, false, seen);
            // The part may be one of the objects that the owner holds.
            let holds = self.state.object(owner).holds.clone();
            for &held in holds.iter() {
                if self.state.object(held).code.is_none() {
                    self.change(held, None, false, seen);
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

    /// Everything that can be reached may have changed.
    pub(super) fn change_deeply(
        &mut self,
        objects: &[ObjectId],
        key: Option<Key>,
        seen: &mut HashSet<ObjectId>,
    ) {
        for &id in objects {
            if seen.contains(&id) {
                continue;
            }
            self.change(id, key, false, seen);
            let holds = self.state.object(id).holds.clone();
            let held: Vec<ObjectId> = holds
                .iter()
                .copied()
                .filter(|held| self.state.object(*held).code.is_none())
                .collect();
            self.change_deeply(&held, None, seen);
        }
    }

    /// What goes through the items of an iterator uses it up.
    pub(super) fn consume(&mut self, objects: &[ObjectId]) {
        for &id in objects {
            if self.state.object(id).kind == ObjectKind::Iterator {
                self.change(id, None, false, &mut HashSet::default());
            }
        }
    }

    pub(super) fn store(&mut self, target: &Value, key: Option<Key>, held: &Value) {
        let held = self.resolve(held, false);
        let mut seen = HashSet::default();
        for (source, relation) in &target.sources {
            let objects = match source {
                Source::Name(name) => self.objects_of(*name),
                Source::Result(id) => self.result(*id),
                Source::Module(module) => vec![ObjectId::module(*module)],
                _ => continue,
            };
            match relation {
                Relation::Same => {
                    for &id in &objects {
                        self.change(id, key, true, &mut seen);
                    }
                }
                Relation::Part(first) => self.change_deeply(&objects, *first, &mut seen),
                Relation::Holds => {}
            }
            for &id in &objects {
                if self.state.object(id).kind != ObjectKind::Module {
                    self.keep(id, &held);
                }
            }
        }
    }

    /// The object holds these from now on.
    pub(super) fn keep(&mut self, id: ObjectId, held: &[ObjectId]) {
        for &held in held {
            if held != id && !self.state.object(id).holds.contains(&held) {
                self.state.object_mut(id).hold(held);
            }
        }
    }

    /// Calling a function with a state, or an object, may change it.
    pub(super) fn change_state(&mut self, name: Name) {
        let outer = std::mem::replace(&mut self.statement.is_calling, true);
        for id in self.objects_of(name) {
            let object = self.state.object(id);
            let Some(code) = object.code else {
                continue;
            };
            let is_instance = object.is_instance;
            if is_instance || self.cell_of(code).program.functions[code.1].is_stateful {
                self.change(id, None, false, &mut HashSet::default());
            }
        }
        self.statement.is_calling = outer;
    }
}
