//! What recorded runs, and what users declare, say of a cell besides its text.
//!
//! Invariant: a record adds to what the text shows whenever the cell runs. It takes something away only from a run that
//! has the inputs of the recorded one, because with other inputs the cell may do something else.

use super::state::{Binding, ObjectId, ObjectKind, Objects};
use super::version::Mixture;
use super::{Touched, World};
use crate::name::Name;
use crate::program::{self, FilePath, Outside};
use std::rc::Rc;

/// Facts of a recorded run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    pub reads: Vec<Name>,
    pub writes: Vec<Name>,
    pub mutates: Vec<Name>,
    pub files_read: Vec<String>,
    pub files_written: Vec<String>,
    /// Names that were bound to values which share nothing with other names.
    pub apart: Vec<Name>,
}

impl World {
    pub(super) fn add_recorded_reads(&mut self, extra: &Extra) {
        for &name in &extra.reads {
            self.read_name(name);
        }
        for path in &extra.files_read {
            let path = FilePath::Literal(program::path_name(Name::new(path)));
            self.outside(Outside::FileRead(path));
        }
    }

    /// What a recorded run, or the user's declaration, adds to the last statement.
    pub(super) fn add_facts(&mut self, extra: Option<&Extra>, declared: &[Name]) {
        if let Some(extra) = extra {
            for &name in &extra.mutates {
                let mut objects = self.objects_of(name);
                // Of what the text shows to be changed it also shows how.
                objects.retain(|id| !self.is_changed_here(*id));
                self.change_all(&objects, None);
            }
            for &name in &extra.writes {
                let is_bound = self.statement.touched.iter().any(
                    |touched| matches!(touched, Touched::Name { name: known, .. } if *known == name),
                );
                if !is_bound && self.state.own_layer(name).is_none() {
                    self.bind_weakly(name);
                }
            }
        }
        for &name in declared {
            self.bind_weakly(name);
        }
        if let Some(extra) = extra {
            for path in &extra.files_written {
                let path = FilePath::Literal(program::path_name(Name::new(path)));
                self.outside(Outside::FileWrite(path));
            }
        }
    }

    /// Whether this cell changes the object, or changes it through another one.
    fn is_changed_here(&self, id: ObjectId) -> bool {
        let step = self.step;
        let is_touched = |touched: &Touched| match touched {
            Touched::Made(known) | Touched::Changed(known) | Touched::Rearranged(known) => {
                *known == id
            }
            Touched::ChangedKey { object, .. } => *object == id,
            Touched::Name { .. } | Touched::Ambient { .. } | Touched::SomeFile => false,
        };
        let object = self.state.object(id);
        let mut changed = object.contents.changed.iter();
        object.origin == Some(step)
            || changed.any(|(_, _, by)| *by == step)
            || self.statement.touched.iter().any(is_touched)
    }

    /// This cell has bound the name to a value that shares nothing with other names, whatever the text allows: what
    /// happens to those later does not reach it.
    pub(super) fn set_apart(&mut self, name: Name) {
        let Some(Some(binding)) = self.state.own_layer(name) else {
            return;
        };
        let objects = &binding.objects;
        let is_joined = objects.iter().any(|&id| {
            let object = self.state.object(id);
            object.is_shared || !object.part_of.is_empty() || !object.holds.is_empty()
        });
        // What code reads is found by way of what holds it.
        if !is_joined || objects.iter().any(|&id| self.reaches_code(id)) {
            return;
        }
        let mut all = Mixture::default();
        all.add(binding.version);
        let mut kind = ObjectKind::Plain;
        for &id in objects {
            let object = self.state.object(id);
            kind = object.kind;
            all.add(object.whole);
            all.add(object.contents.all);
            for (owner, _) in object.part_of.clone().iter() {
                let owner = self.state.object(*owner);
                all.add(owner.whole);
                all.add(owner.contents.all);
            }
        }
        if objects.len() > 1 {
            kind = ObjectKind::Plain;
        }
        let id = self.state.make(kind);
        let step = self.step;
        self.state.object_mut(id).set_all(all.version(), step);
        let apart = Binding {
            objects: Objects::from(&[id][..]),
            ..Rc::unwrap_or_clone(binding)
        };
        self.state.set_name(name, Some(Rc::new(apart)));
    }

    fn reaches_code(&self, id: ObjectId) -> bool {
        let has_code = |id: ObjectId| {
            let object = self.state.object(id);
            object.code.is_some()
                || !object.contents.code.is_empty()
                || object.kind == ObjectKind::Module
        };
        let object = self.state.object(id);
        let (owners, holds) = (object.part_of.clone(), object.holds.clone());
        has_code(id)
            || owners.iter().any(|(owner, _)| has_code(*owner))
            || holds.iter().any(|held| has_code(*held))
    }
}
