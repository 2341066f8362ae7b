//! Calls of code from elsewhere, of which the tables know something: what it may change, and what its result is.

use super::World;
use super::seen::Seen;
use super::state::{ObjectId, ObjectKind, Objects};
use crate::judge::{Called, Judgement, copies_items, is_drawing, judge};
use crate::knowledge::Section;
use crate::name::Name;
use crate::program::{Call, Callee, Key, Relation};
use std::rc::Rc;

/// All that a judgement depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Callable {
    full: Option<Name>,
    called: Called,
    is_inplace: bool,
}

/// What is known of a function by its dotted name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Library {
    /// It only looks at its arguments, and does not go through their items.
    looks_only: bool,
    makes_iterator: bool,
    is_fresh_builtin: bool,
    is_builtin: bool,
    is_view: bool,
    is_class: bool,
    /// A container made from another one holds its items.
    copies_items: bool,
    /// The result may be an argument, or an item of one.
    may_give_argument: bool,
    grows_when_read: bool,
    kind: ObjectKind,
}

impl Library {
    fn new(name: Name) -> Self {
        let full = name.text();
        let last = full.rsplit('.').next().unwrap_or(full);
        Library {
            looks_only: matches!(
                full,
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
            ),
            makes_iterator: name.is_in(Section::IteratorMakers),
            is_fresh_builtin: name.is_in(Section::FreshBuiltins),
            is_builtin: name.is_in(Section::PureBuiltins),
            is_view: name.is_in(Section::ViewFunctions),
            is_class: last.starts_with(|first: char| first.is_uppercase()),
            copies_items: copies_items(full),
            may_give_argument: matches!(full, "max" | "min" | "getattr" | "memoryview" | "vars"),
            grows_when_read: full == "collections.defaultdict",
            kind: kind_of_result(name),
        }
    }

    /// One that nothing is known of.
    const UNKNOWN: Library = Library {
        looks_only: false,
        makes_iterator: false,
        is_fresh_builtin: false,
        is_builtin: false,
        is_view: false,
        is_class: false,
        copies_items: false,
        may_give_argument: false,
        grows_when_read: false,
        kind: ObjectKind::Foreign,
    };
}

impl World {
    /// A call of code that is not in the notebook.
    pub(super) fn library_call(
        &mut self,
        call: &Call,
        arguments: &[Objects],
        receiver: Option<&[ObjectId]>,
    ) -> Objects {
        let full = self.full_name(&call.callee);
        let judgement = self.judgement(full, call);
        let library = match full {
            Some(full) => {
                let functions = &mut self.answers.functions;
                *functions.entry(full).or_insert_with(|| Library::new(full))
            }
            None => Library::UNKNOWN,
        };
        let is_module_call = matches!(&call.callee, Callee::Name(_))
            || receiver.is_some_and(|receiver| {
                let mut kinds = receiver.iter().map(|id| self.state.object(*id).kind);
                kinds.any(|kind| kind == ObjectKind::Module)
            });
        if judgement.changes_receiver && !is_module_call {
            // `generator.send(x)`
            let mut iterators = Objects::from(receiver.unwrap_or_default());
            iterators.retain(|id| self.state.object(*id).kind == ObjectKind::Iterator);
            self.consume(&iterators);
            self.change_receiver(call, arguments, receiver.unwrap_or_default());
        }
        let just_keeps = matches!(&call.callee, Callee::Method { method, .. }
            if !is_module_call && method.is_in(Section::KeepsArgumentMethods));
        for (position, objects) in arguments.iter().enumerate() {
            let keyword = call.arguments[position].0;
            let is_changed = match &judgement.changed_arguments {
                None => true,
                Some(positions) => {
                    (keyword.is_none() && positions.contains(&position))
                        || keyword.is_some_and(|keyword| matches!(keyword.text(), "out" | "file"))
                }
            };
            // Python's own functions call what they are told to call with, and `map` and the like what stands first.
            let is_called = keyword.is_some() || !library.is_builtin || library.makes_iterator;
            if is_called && !library.looks_only && !just_keeps {
                self.run_objects(objects);
            }
            let is_iterator = |id: &ObjectId| self.state.object(*id).kind == ObjectKind::Iterator;
            if is_changed
                && full.is_some_and(|full| full.text() == "next")
                && objects.iter().all(is_iterator)
            {
                self.consume(objects);
            } else if is_changed {
                self.change_deeply(objects, None, &mut Seen::default());
            } else if !library.looks_only && !library.makes_iterator {
                self.consume(objects);
            }
        }
        if judgement.changes_receiver
            && !is_module_call
            && let (Callee::Method { method, .. }, Some(receiver)) = (&call.callee, receiver)
            && method.is_in(Section::ArtistMethods)
            && !receiver.iter().any(|id| self.is_frame_or_of_one(*id))
        {
            // It changes the axes when it changes, and not with them.
            let id = self.make(ObjectKind::Foreign);
            for &axes in receiver {
                self.keep(axes, &[id]);
                // So does the figure.
                for (owner, _) in self.owners_of(axes) {
                    if self.state.object(owner).kind != ObjectKind::Module {
                        self.watch(owner, id);
                    }
                }
            }
            return Objects::from(&[id][..]);
        }
        if judgement.is_fresh {
            let result = self.fresh_result(call, receiver, library);
            if full.is_some_and(|full| is_copy(full.text())) {
                // Copies are of the classes that they were of.
                for &id in arguments.iter().flatten() {
                    let object = self.state.object(id);
                    let mut code = object.contents.code.clone();
                    code.extend(object.code);
                    for (owner, _) in self.owners_of(id) {
                        code.extend_from_slice(&self.state.object(owner).contents.code);
                    }
                    for &copy in &result {
                        self.pass_on(copy, &code);
                    }
                }
            }
            return result;
        }
        let id = self.make(library.kind);
        self.state.object_mut(id).grows_when_read = library.grows_when_read;
        let given: Objects = arguments.iter().flatten().copied().collect();
        if library.makes_iterator || library.is_class && !library.is_view {
            self.fill(id, given);
        } else if library.copies_items {
            let items = given
                .iter()
                .flat_map(|id| self.state.object(*id).holds.iter().copied());
            let items: Objects = items.collect();
            self.fill(id, items);
            for (position, objects) in arguments.iter().enumerate() {
                match call.arguments[position].0 {
                    None => self.hold_items(id, objects),
                    // `dict(a=x)`, but not `sorted(found, key=f)`
                    Some(_) if library.kind == ObjectKind::Dict => self.keep(id, objects),
                    Some(_) => {}
                }
            }
        } else if library.is_view || !library.is_builtin || library.may_give_argument {
            let receiver = receiver.unwrap_or_default().iter().copied();
            let receiver = receiver.filter(|id| self.state.object(*id).kind != ObjectKind::Module);
            let method = match &call.callee {
                Callee::Method { method, .. } => method.text(),
                _ => "",
            };
            // What is drawn shares nothing with the generator.
            let receiver = receiver.filter(|_| !is_draw(method));
            let owners = given.iter().copied().chain(receiver);
            let key = (method == "get").then_some(Key::Element);
            let owners: Vec<(ObjectId, Option<Key>)> = owners.map(|owner| (owner, key)).collect();
            let object = self.state.object_mut(id);
            object.part_of = Rc::new(owners);
            object.gives_items = matches!(method, "items" | "values" | "keys");
            object.gives_copies = matches!(method, "groupby" | "itertuples");
            self.follow_owners(id);
        }
        Objects::from(&[id][..])
    }

    /// Objects that can be called, and are handed over, may be called.
    pub(super) fn run_objects(&mut self, objects: &[ObjectId]) {
        for &id in objects {
            let Some(method) = self.own_method(id, Name::new("__call__")) else {
                continue;
            };
            let mut code = Vec::new();
            self.read_code(method, Name::new(""), &mut code);
            self.statement.through = None;
            self.run_code(&code);
            if self.code_changes(method, 0, None, 0) {
                self.change(id, None, false, &mut Seen::default());
            }
        }
    }

    fn change_receiver(&mut self, call: &Call, arguments: &[Objects], receiver: &[ObjectId]) {
        let Callee::Method {
            receiver: value,
            method,
            ..
        } = &call.callee
        else {
            return;
        };
        let is_frame = |id: &ObjectId| self.state.object(*id).kind == ObjectKind::Frame;
        if is_drawing(*method) && receiver.iter().all(|id| self.is_frame_or_of_one(*id)) {
            return;
        }
        if !call.columns.is_empty() && receiver.iter().all(is_frame) {
            for &column in &call.columns {
                let mut seen = Seen::default();
                for &id in receiver {
                    self.change(id, Some(column), false, &mut seen);
                }
            }
            return;
        }
        let key = match value.sources[..] {
            [(_, Relation::Part(key))] => key,
            _ => None,
        };
        // A method that is known to change the object only leaves what it holds alone.
        let is_shallow = method.is_in(Section::ReceiverOnlyMethods)
            && key.is_none()
            // The steps of a pipeline are fitted with it.
            && !method.starts_with("fit")
            && !matches!(method.text(), "partial_fit" | "train" | "eval");
        let mut seen = Seen::default();
        if is_shallow {
            for &id in receiver {
                self.rearrange(id, None, &mut seen);
            }
        } else {
            self.change_deeply(receiver, None, &mut seen);
        }
        if method.is_in(Section::KeepsArgumentMethods) {
            // `box.setdefault('a', []).append(x)`
            for &id in receiver {
                let owners = self.state.object(id).part_of.clone();
                let owners = owners.iter().map(|(owner, _)| *owner);
                for holder in owners.chain([id]) {
                    if self.state.object(holder).kind != ObjectKind::Module {
                        for held in arguments {
                            self.keep(holder, held);
                        }
                    }
                }
            }
        }
        // Whoever takes a function may call it later, and so may what it is a part of.
        let is_code = |id: &ObjectId| self.state.object(*id).code.is_some();
        let code: Objects = arguments
            .iter()
            .flatten()
            .copied()
            .filter(is_code)
            .collect();
        if !code.is_empty() {
            for &id in receiver {
                let owners = self.state.object(id).part_of.clone();
                let owners = owners.iter().map(|(owner, _)| *owner);
                for holder in owners.chain([id]) {
                    if self.state.object(holder).kind != ObjectKind::Module {
                        self.keep(holder, &code);
                    }
                }
            }
        }
    }

    /// A result that shares nothing with what was given.
    fn fresh_result(
        &mut self,
        call: &Call,
        receiver: Option<&[ObjectId]>,
        library: Library,
    ) -> Objects {
        if library.is_fresh_builtin {
            return Objects::new();
        }
        let (Callee::Method { method, .. }, Some(receiver)) = (&call.callee, receiver) else {
            let id = self.make(library.kind);
            self.state.object_mut(id).grows_when_read = library.grows_when_read;
            return Objects::from(&[id][..]);
        };
        let is_one = is_number(method) && receiver.iter().all(|id| self.is_column(*id));
        let is_frame = |id: &ObjectId| self.state.object(*id).kind == ObjectKind::Frame;
        let is_copy = method.text() == "copy";
        let kind = if is_one {
            ObjectKind::Number
        } else if receiver.iter().any(is_frame) && !is_reduction(method) {
            ObjectKind::Frame
        } else {
            match receiver {
                [only] if is_copy => self.state.object(*only).kind,
                _ => library.kind,
            }
        };
        let id = self.make(kind);
        if is_copy {
            // A shallow copy holds the same items.
            let items = receiver
                .iter()
                .flat_map(|id| self.state.object(*id).holds.iter().copied());
            let items: Objects = items.collect();
            self.fill(id, items);
            let mut containers = receiver.to_vec();
            containers.retain(|id| self.state.object(*id).is_container());
            self.hold_items(id, &containers);
        }
        Objects::from(&[id][..])
    }

    /// A table, or something of one.
    fn is_frame_or_of_one(&self, id: ObjectId) -> bool {
        let owners = self.owners_of(id);
        let is_frame = |owner: ObjectId| self.state.object(owner).kind == ObjectKind::Frame;
        is_frame(id) || owners.iter().any(|(owner, _)| is_frame(*owner))
    }

    /// A column of a table, by its name.
    fn is_column(&mut self, id: ObjectId) -> bool {
        let owners = self.state.object(id).part_of.clone();
        let [(owner, Some(key))] = owners[..] else {
            return false;
        };
        let kind = self.state.object(owner).kind;
        kind == ObjectKind::Frame && self.normal_key(kind, key).is_some()
    }

    fn judgement(&mut self, full: Option<Name>, call: &Call) -> Rc<Judgement> {
        let called = match &call.callee {
            Callee::Name(name) => Called::Name(*name),
            Callee::Method { path, method, .. } => match path {
                Some(path) if full.is_some() && self.is_module(path.root) => Called::InModule,
                _ => Called::Method(*method),
            },
            Callee::Other(_) => Called::Other,
        };
        let is_inplace = call.is_inplace;
        let callable = Callable {
            full,
            called,
            is_inplace,
        };
        let known = self.answers.calls.entry(callable);
        let judgement = known.or_insert_with(|| Rc::new(judge(full, called, is_inplace)));
        judgement.clone()
    }

    fn is_module(&mut self, root: Name) -> bool {
        match self.binding(root) {
            Some(binding) => binding.module.is_some_and(|module| !module.ends_with('.')),
            None => root.value(Section::Aliases).is_some(),
        }
    }

    /// The dotted name of a callee that comes from a module.
    fn full_name(&mut self, callee: &Callee) -> Option<Name> {
        let (root, keys): (Name, &[Key]) = match callee {
            Callee::Name(name) => (*name, &[]),
            Callee::Method {
                path: Some(path), ..
            } => (path.root, &path.keys),
            _ => return None,
        };
        let module = match self.binding(root) {
            Some(binding) => binding.module?,
            None => root.value(Section::Aliases).map_or(root, Name::new),
        };
        if keys.is_empty() {
            return Some(module);
        }
        let mut full = module.text().to_owned();
        for key in keys {
            let Key::Attr(attribute) = key else {
                return None;
            };
            full.push('.');
            full.push_str(attribute);
        }
        Some(Name::new(&full))
    }
}

fn kind_of_result(name: Name) -> ObjectKind {
    if name.is_in(Section::FrameMakers) {
        ObjectKind::Frame
    } else if name.is_in(Section::DictMakers) {
        ObjectKind::Dict
    } else if name.is_in(Section::NamespaceMakers) {
        ObjectKind::Namespace
    } else if name.is_in(Section::IteratorMakers) {
        ObjectKind::Iterator
    } else if matches!(name.text(), "list" | "sorted") {
        ObjectKind::List
    } else {
        ObjectKind::Foreign
    }
}

/// Functions that give another object like the one that they are given.
fn is_copy(full: &str) -> bool {
    matches!(
        full,
        "copy.deepcopy" | "dataclasses.replace" | "sklearn.base.clone"
    )
}

/// Methods of generators of random numbers; of `choice` and the like the result may be an item of what they are given.
fn is_draw(method: &str) -> bool {
    matches!(
        method,
        "random"
            | "normal"
            | "uniform"
            | "integers"
            | "choice"
            | "permutation"
            | "standard_normal"
            | "poisson"
            | "binomial"
            | "exponential"
            | "gamma"
    )
}

/// Methods that make one number, or one label, of a column.
fn is_number(method: &str) -> bool {
    matches!(
        method,
        "sum" | "mean" | "std" | "var" | "median" | "count" | "nunique" | "idxmax" | "idxmin"
    )
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
