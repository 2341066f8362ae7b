//! Reading, binding, storing and deleting names and what lies below them.

use super::questions::{constant_key, dotted, is_mask_of, item_text};
use super::{Resolved, ScopeKind, Visitor};
use crate::effects::Note;
use crate::facts::{How, Key, Op, Outside, Path, Relation, Source, Value, Varies};
use crate::knowledge::{self, Sections};
use crate::syntax::Expr;

impl Visitor<'_> {
    /// A value by name, without a read.
    pub(super) fn value_of(&self, name: &str) -> Value {
        match self.resolve(name) {
            Resolved::Local(index) => self.scopes[index]
                .values
                .get(name)
                .cloned()
                .unwrap_or_default(),
            Resolved::ClassOrGlobal(index) => {
                let own = self.scopes[index]
                    .values
                    .get(name)
                    .cloned()
                    .unwrap_or_default();
                own.or(&Value::of(Source::Name(name.to_owned())))
            }
            Resolved::Global => {
                let mut value = Value::of(Source::Name(name.to_owned()));
                if let Some(known) = self.module_values.get(name) {
                    value.text = known.text.clone();
                }
                value
            }
        }
    }

    pub(super) fn is_global(&self, name: &str) -> bool {
        matches!(
            self.resolve(name),
            Resolved::Global | Resolved::ClassOrGlobal(_)
        )
    }

    pub(super) fn read_path(&mut self, root: &str, keys: Vec<Key>, how: How, line: usize) {
        if !self.is_global(root) {
            return;
        }
        let is_exposed = self
            .definite
            .get(root)
            .is_none_or(|&index| index < self.statement_index);
        self.mark(root, &keys, line);
        self.record_read(root, line);
        // A name bound earlier in this statement adds nothing to it, except that functions and objects of the cells
        // above may be behind it; the dataflow pass then reads what it finds.
        if is_exposed || how == How::Call || how == How::Method {
            self.op(Op::Read {
                path: Path {
                    root: root.to_owned(),
                    keys,
                },
                how,
                is_own: !is_exposed,
            });
        }
    }

    /// The dotted name behind a path, through this cell's imports and the usual aliases.
    pub(super) fn full_name(&self, root: &str, keys: &[Key]) -> String {
        let mut name = match self.imports.get(root) {
            Some(module) => module.clone(),
            None if self.module_values.contains_key(root) => root.to_owned(),
            None => knowledge::value("aliases", root).unwrap_or(root).to_owned(),
        };
        for key in keys {
            match key {
                Key::Attr(attr) => {
                    name.push('.');
                    name.push_str(attr);
                }
                _ => break,
            }
        }
        name
    }

    /// Notes what a global path is known to touch.
    pub(super) fn mark(&mut self, root: &str, keys: &[Key], line: usize) {
        let full = self.full_name(root, keys);
        let ends = full.match_indices('.').map(|(at, _)| at);
        let found = ends
            .chain(std::iter::once(full.len()))
            .map(|end| knowledge::sections(&full[..end]))
            .fold(Sections::default(), Sections::or);
        if found.is_empty() {
            return;
        }
        let mut construct = root.to_owned();
        for key in keys {
            let Key::Attr(attr) = key else { break };
            construct.push('.');
            construct.push_str(attr);
        }
        for section in [
            "nondeterministic",
            "environment",
            "process",
            "network",
            "reads-source",
        ] {
            if found.has(section) {
                let note = Note {
                    construct: construct.clone(),
                    line,
                };
                match section {
                    "nondeterministic" => {
                        self.found.marks.nondeterministic.push(note);
                        // Whether a draw gives something else depends on whether the state was seeded.
                        if knowledge::random_state(&full).is_none() {
                            let how = if full.starts_with("secrets.")
                                || full.starts_with("uuid.")
                                || full == "os.urandom"
                            {
                                Varies::Random
                            } else {
                                Varies::Clock
                            };
                            self.outside(Outside::Varies(how));
                        }
                    }
                    "environment" => self.found.marks.environment.push(note),
                    "process" => {
                        self.found.marks.process.push(note);
                        self.outside(Outside::Varies(Varies::Process));
                    }
                    "network" => {
                        self.found.marks.network.push(note);
                        self.outside(Outside::Varies(Varies::Network));
                    }
                    _ => self.found.marks.reads_source.push(note),
                }
            }
        }
        if found.has("unknown-functions") || found.has("unknown-attributes") {
            self.unknown(&construct, line);
        }
    }

    pub(super) fn bind(&mut self, name: &str, value: Value) {
        if name.is_empty() {
            return;
        }
        let name = self.mangled(name);
        // `:=` leaves a comprehension.
        let mut depth = self.scopes.len();
        while depth > 0 && self.scopes[depth - 1].kind == ScopeKind::Comprehension {
            depth -= 1;
        }
        if depth > 0 {
            let scope = &mut self.scopes[depth - 1];
            if !scope.bindings.globals.contains(&name) {
                let owner = if scope.bindings.nonlocals.contains(&name) {
                    let outer = self.scopes[..depth - 1].iter();
                    outer
                        .enumerate()
                        .rev()
                        .find(|(_, scope)| scope.bindings.bound.contains(&name))
                        .map(|(at, _)| at)
                } else {
                    Some(depth - 1)
                };
                if let Some(scope) = owner.and_then(|owner| self.scopes.get_mut(owner)) {
                    scope.bound_so_far.insert(name.clone());
                    let merged = match scope.values.remove(&name) {
                        Some(old) => old.or(&value),
                        None => value,
                    };
                    scope.values.insert(name, merged);
                }
                return;
            }
        }
        if let Some(frame) = self.frame() {
            frame.writes.insert(name.clone());
            self.found.loads.insert(name);
            return;
        }
        let is_definite = self.n_conditions == 0;
        self.found.writes.insert(name.clone());
        self.summarize(|names| names.writes.insert(name.clone()));
        match value.sources.first() {
            Some((Source::Function(id), Relation::Same)) => {
                self.found.named_functions.insert(name.clone(), *id);
            }
            _ if is_definite => {
                self.found.named_functions.remove(&name);
            }
            _ => {}
        }
        match value.sources.first() {
            Some((Source::Module(module), Relation::Same)) => {
                self.imports.insert(name.clone(), module.clone());
            }
            _ => {
                self.imports.remove(&name);
                let merged = match self.module_values.remove(&name) {
                    Some(old) if !is_definite => old.or(&value),
                    _ => value.clone(),
                };
                self.module_values.insert(name.clone(), merged);
            }
        }
        self.set_definite(&name);
        self.op(Op::Bind {
            name,
            value,
            is_definite,
        });
    }

    pub(super) fn unbind(&mut self, name: &str) {
        if name.is_empty() {
            return;
        }
        let name = self.mangled(name);
        if !self.is_global(&name) {
            return;
        }
        if let Some(frame) = self.frame() {
            frame.deletes.insert(name);
            return;
        }
        if self
            .scopes
            .iter()
            .any(|scope| scope.kind == ScopeKind::Class && !scope.bindings.globals.contains(&name))
        {
            return;
        }
        self.found.deletes.insert(name.clone());
        self.summarize(|names| names.deletes.insert(name.clone()));
        if let Some(old) = self.definite.remove(&name) {
            self.undo.push((name.clone(), Some(old)));
        }
        let is_definite = self.n_conditions == 0;
        self.op(Op::Unbind { name, is_definite });
    }

    pub(super) fn bind_target(&mut self, target: &Expr, value: Value) {
        match target {
            Expr::Name(node) => self.bind(node.id.as_str(), value),
            Expr::Tuple(node) => self.bind_targets(&node.elts, &value),
            Expr::List(node) => self.bind_targets(&node.elts, &value),
            Expr::Starred(node) => self.bind_target(&node.value, value),
            Expr::Attribute(_) | Expr::Subscript(_) => self.store(target, value),
            // Only broken code assigns to anything else.
            other => {
                self.expr(other);
            }
        }
    }

    pub(super) fn bind_targets(&mut self, targets: &[Expr], value: &Value) {
        for target in targets {
            self.bind_target(target, value.part(None));
        }
    }

    /// `target.attr = value`, `target[key] = value`.
    pub(super) fn store(&mut self, target: &Expr, held: Value) {
        let (object, key, slice) = match target {
            Expr::Attribute(node) => (
                &*node.value,
                Key::Attr(self.mangled(node.attr.as_str())),
                None,
            ),
            Expr::Subscript(node) => (&*node.value, constant_key(&node.slice), Some(&*node.slice)),
            _ => return,
        };
        let line = self.line(target);
        let store = dotted(target);
        // `globals()['g'] = 1` binds `g`; that the call itself is unknown is noted where it is evaluated.
        if let (Expr::Call(call), Key::Item(name)) = (object, &key)
            && let Expr::Name(callee) = &*call.func
            && callee.id.as_str() == "globals"
            && !self.in_function()
        {
            let name = name.trim_start_matches("s:").to_owned();
            self.expr(object);
            self.bind(&name, held);
            return;
        }
        let target_value = self.chain(object, Some(key.clone()), How::Store);
        if let Some(slice) = slice {
            self.expr(slice);
        }
        if let Some(path) = store
            && let Some(root) = path.split('.').next()
            && self.is_global(root)
        {
            if !self.in_function() {
                self.summarize(|names| names.attribute_stores.insert(path.clone()));
            }
            let full = self.full_name(root, &[]);
            if full == "builtins" || full == "__builtins__" {
                self.unknown(&path, line);
            }
            if path.contains(".rcParams") || path.contains(".options.") {
                let library = full.split('.').next().unwrap_or_default().to_owned();
                self.outside(Outside::Configure(library));
            }
        }
        if let Some((root, keys)) = self.path_of(object) {
            let full = self.full_name(&root, &keys);
            if full == "os.environ" {
                self.outside(Outside::EnvironmentWrite(item_text(&key)));
                return;
            }
            if full.ends_with(".rcParams") || full.contains(".options") {
                let library = full.split('.').next().unwrap_or_default().to_owned();
                self.outside(Outside::Configure(library));
            }
        }
        self.mutate(target_value, Some(key), held);
    }

    pub(super) fn delete(&mut self, target: &Expr) {
        match target {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                let line = self.line(target);
                self.read_path(&name, Vec::new(), How::Store, line);
                self.unbind(node.id.as_str());
            }
            Expr::Tuple(node) => node.elts.iter().for_each(|target| self.delete(target)),
            Expr::List(node) => node.elts.iter().for_each(|target| self.delete(target)),
            Expr::Attribute(_) | Expr::Subscript(_) => self.store(target, Value::default()),
            other => {
                self.expr(other);
            }
        }
    }

    /// Root and steps of a path of attributes and constant items over a global name.
    pub(super) fn path_of(&self, expr: &Expr) -> Option<(String, Vec<Key>)> {
        let mut keys = Vec::new();
        let mut at = expr;
        loop {
            match at {
                Expr::Attribute(node) => {
                    keys.push(Key::Attr(self.mangled(node.attr.as_str())));
                    at = &node.value;
                }
                Expr::Subscript(node) => {
                    keys.push(constant_key(&node.slice));
                    at = &node.value;
                }
                Expr::Name(node) => {
                    let root = self.mangled(node.id.as_str());
                    keys.reverse();
                    return (!root.is_empty() && self.is_global(&root)).then_some((root, keys));
                }
                _ => return None,
            }
        }
    }

    /// Evaluates a chain of attributes and items. `last` is a step that the caller takes itself.
    pub(super) fn chain(&mut self, expr: &Expr, last: Option<Key>, how: How) -> Value {
        let mut keys = Vec::new();
        let mut slices = Vec::new();
        let mut at = expr;
        loop {
            match at {
                Expr::Attribute(node) => {
                    keys.push(Key::Attr(self.mangled(node.attr.as_str())));
                    at = &node.value;
                }
                Expr::Subscript(node) => {
                    keys.push(constant_key(&node.slice));
                    slices.push(&*node.slice);
                    at = &node.value;
                }
                _ => break,
            }
        }
        keys.reverse();
        let own_keys = keys.clone();
        let root_value = match at {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                keys.extend(last);
                let line = self.line(at);
                if !name.is_empty() {
                    self.environment_path(&name, &keys, how);
                    self.note_closure_change(&name, how);
                    self.read_path(&name, keys, how, line);
                    self.value_of(&name)
                } else {
                    Value::default()
                }
            }
            other => self.expr(other),
        };
        let root = match at {
            Expr::Name(node) => node.id.as_str(),
            _ => "",
        };
        let is_masked = how != How::Store && slices.iter().any(|slice| is_mask_of(slice, root));
        for slice in slices.into_iter().rev() {
            self.expr(slice);
        }
        if is_masked {
            return Value::default();
        }
        match own_keys.first() {
            None => root_value,
            Some(key) => root_value.part(Some(key.clone())),
        }
    }

    /// An expression whose value is only passed on: naming a function or class does not run it.
    pub(super) fn referred(&mut self, expr: &Expr) -> Value {
        if dotted(expr).is_some() {
            self.chain(expr, None, How::Refer)
        } else {
            self.expr(expr)
        }
    }

    /// A function that changes what its closure holds has a state of its own.
    pub(super) fn note_closure_change(&mut self, name: &str, how: How) {
        if !matches!(how, How::Store | How::Method) {
            return;
        }
        let own = self
            .scopes
            .iter()
            .rposition(|scope| scope.kind == ScopeKind::Function);
        if let (Resolved::Local(at), Some(own)) = (self.resolve(name), own)
            && at < own
            && self.scopes[at].kind == ScopeKind::Function
            && let Some(frame) = self.frame()
        {
            frame.is_stateful = true;
        }
    }

    /// Environment variables behind `os.environ['X']`.
    pub(super) fn environment_path(&mut self, root: &str, keys: &[Key], how: How) {
        if how == How::Store || !self.is_global(root) || keys.is_empty() {
            return;
        }
        let full = self.full_name(root, keys);
        let Some(rest) = full.strip_prefix("os.environ") else {
            return;
        };
        if rest.is_empty() {
            let n_steps = if self.full_name(root, &[]) == "os.environ" {
                0
            } else {
                1
            };
            let variable = keys.get(n_steps).and_then(item_text);
            self.outside(Outside::EnvironmentRead(variable));
        }
    }
}
