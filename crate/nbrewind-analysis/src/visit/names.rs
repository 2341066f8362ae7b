//! Reading, binding, storing and deleting names and what lies below them.

use super::questions::{constant_key, dotted, is_mask_of, item_text};
use super::tables::{self, Columns};
use super::{Resolved, ScopeKind, Visitor};
use crate::effects::Note;
use crate::facts::{
    ANY_NAME, How, Key, Keys, Kind, Op, Outside, Path, Relation, Source, Value, Varies,
};
use crate::knowledge::{self, Section, Sections};
use crate::name::Name;
use crate::syntax::{Expr, FStringPart, Operator, Ranged};
use smallvec::SmallVec;

/// What a text begins with that is put together: `f'run_{n}'`, `'run_' + str(n)`.
fn begins_with(expr: &Expr) -> Option<Name> {
    let text = match expr {
        Expr::FString(node) => match node.value.iter().next()? {
            FStringPart::Literal(literal) => literal.as_str(),
            FStringPart::FString(formatted) => formatted.elements.first()?.as_literal()?,
        },
        Expr::BinOp(node) if matches!(node.op, Operator::Add) => match &*node.left {
            Expr::StringLiteral(text) => text.value.to_str(),
            _ => return None,
        },
        _ => return None,
    };
    (!text.is_empty()).then(|| Name::new(text))
}

impl Visitor<'_> {
    /// A value by name, without a read.
    pub(super) fn value_of(&self, name: Name) -> Value {
        match self.resolve(name) {
            Resolved::Local(index) => self.scopes[index]
                .values
                .get(&name)
                .cloned()
                .unwrap_or_default(),
            Resolved::ClassOrGlobal(index) => {
                let own = self.scopes[index]
                    .values
                    .get(&name)
                    .cloned()
                    .unwrap_or_default();
                own.or(&Value::of(Source::Name(name)))
            }
            Resolved::Global => {
                let mut value = Value::of(Source::Name(name));
                if let Some(known) = self.module_values.get(&name) {
                    value.text = known.text;
                }
                value
            }
        }
    }

    pub(super) fn is_global(&self, name: Name) -> bool {
        matches!(
            self.resolve(name),
            Resolved::Global | Resolved::ClassOrGlobal(_)
        )
    }

    pub(super) fn read_path(&mut self, root: Name, keys: Keys, how: How, line: usize) {
        self.read_columns(root, keys, how, Box::default(), line);
    }

    /// Reads a path; if it leads to a table, only these columns of it, where there are any.
    fn read_columns(&mut self, root: Name, keys: Keys, how: How, columns: Box<[Key]>, line: usize) {
        if !self.is_global(root) {
            return;
        }
        let is_exposed = self
            .definite
            .get(&root)
            .is_none_or(|&index| index < self.statement_index);
        self.mark(root, &keys, line);
        self.record_read(root, line);
        // A name bound earlier in this statement adds nothing to it, except that functions and objects of the cells
        // above may be behind it; the dataflow pass then reads what it finds.
        if is_exposed || how == How::Call || how == How::Method {
            self.op(Op::Read {
                path: Path { root, keys },
                how,
                is_own: !is_exposed,
                columns,
            });
        }
    }

    /// Evaluates an expression of which the text says at which columns of a table it looks.
    pub(super) fn looking_at<T>(
        &mut self,
        columns: impl FnOnce() -> Option<Columns>,
        evaluate: impl FnOnce(&mut Self) -> T,
    ) -> T {
        // Of functions it is only known which names they read.
        let columns = if self.in_function() { None } else { columns() };
        let is_known = |found: &Columns| self.columns.iter().any(|(at, _)| *at == found.at);
        let Some(columns) = columns.filter(|found| !is_known(found)) else {
            return evaluate(self);
        };
        let keys = tables::column_keys(&columns.names);
        self.columns.push((columns.at, keys));
        let value = evaluate(self);
        self.columns.pop();
        value
    }

    /// What a name stands for, through this cell's imports and the usual aliases.
    fn imported(&self, root: Name) -> Name {
        match self.imports.get(root) {
            Some(module) => *module,
            None if !root.is_in(Section::Aliases) || self.module_values.contains_key(&root) => root,
            None => root.value(Section::Aliases).map_or(root, Name::new),
        }
    }

    /// The dotted name behind a path.
    pub(super) fn full_name(&self, root: Name, keys: &[Key]) -> Name {
        let root = self.imported(root);
        if !matches!(keys.first(), Some(Key::Attr(_))) {
            return root;
        }
        let mut parts: SmallVec<[&str; 8]> = SmallVec::new();
        parts.push(root.text());
        for key in keys {
            let Key::Attr(attr) = key else { break };
            parts.push(".");
            parts.push(attr.text());
        }
        Name::joined(&parts)
    }

    /// Notes what a global path is known to touch.
    pub(super) fn mark(&mut self, root: Name, keys: &[Key], line: usize) {
        let full = self.full_name(root, keys);
        let found = full.sections_of_path();
        if !found.is_empty() {
            self.mark_as(found, full, root, keys, line);
        }
    }

    fn mark_as(&mut self, found: Sections, full: Name, root: Name, keys: &[Key], line: usize) {
        let mut construct = root.text().to_owned();
        for key in keys {
            let Key::Attr(attr) = key else { break };
            construct.push('.');
            construct.push_str(attr);
        }
        for section in [
            Section::Nondeterministic,
            Section::Environment,
            Section::Process,
            Section::Network,
            Section::ReadsSource,
        ] {
            if found.has(section) {
                let note = Note {
                    construct: construct.clone(),
                    line,
                };
                match section {
                    Section::Nondeterministic => {
                        self.found.marks.nondeterministic.push(note);
                        // Whether a draw gives something else depends on whether the state was seeded.
                        if knowledge::random_state(full).is_none() {
                            let how = if full.starts_with("secrets.")
                                || full.starts_with("uuid.")
                                || full.text() == "os.urandom"
                            {
                                Varies::Random
                            } else {
                                Varies::Clock
                            };
                            self.outside(Outside::Varies(how));
                        }
                    }
                    Section::Environment => self.found.marks.environment.push(note),
                    Section::Process => {
                        self.found.marks.process.push(note);
                        self.outside(Outside::Varies(Varies::Process));
                    }
                    Section::Network => {
                        self.found.marks.network.push(note);
                        self.outside(Outside::Varies(Varies::Network));
                    }
                    _ => self.found.marks.reads_source.push(note),
                }
            }
        }
        if found.has(Section::UnknownFunctions) || found.has(Section::UnknownAttributes) {
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
                    scope.bound_so_far.insert(name);
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
            frame.writes.insert(name);
            self.found.loads.insert(name);
            return;
        }
        let is_definite = self.n_conditions == 0;
        self.found.writes.insert(name);
        self.summarize(|names| names.writes.insert(name));
        match value.sources.first() {
            Some((Source::Function(id), Relation::Same)) => {
                self.found.named_functions.insert(name, *id);
            }
            _ if is_definite => {
                self.found.named_functions.remove(name);
            }
            _ => {}
        }
        match value.sources.first() {
            Some((Source::Module(module), Relation::Same)) => {
                self.imports.insert(name, *module);
            }
            _ => {
                self.imports.remove(name);
                let merged = match self.module_values.remove(&name) {
                    Some(old) if !is_definite => old.or(&value),
                    _ => value.clone(),
                };
                self.module_values.insert(name, merged);
            }
        }
        self.set_definite(name);
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
        if !self.is_global(name) {
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
        self.found.deletes.insert(name);
        self.summarize(|names| names.deletes.insert(name));
        if let Some(old) = self.definite.remove(&name) {
            self.undo.push((name, Some(old)));
        }
        let is_definite = self.n_conditions == 0;
        self.op(Op::Unbind { name, is_definite });
    }

    pub(super) fn bind_target(&mut self, target: &Expr, value: Value) {
        match target {
            Expr::Name(node) => self.bind(node.id.as_str(), value),
            Expr::Tuple(node) => self.bind_targets(&node.elts, &value),
            Expr::List(node) => self.bind_targets(&node.elts, &value),
            // `first, *others = found` makes a list of its own.
            Expr::Starred(node) => {
                let others = Value {
                    kind: Kind::List,
                    ..value.held()
                };
                self.bind_target(&node.value, others);
            }
            Expr::Attribute(_) | Expr::Subscript(_) => self.store(target, value),
            // Only broken code assigns to anything else.
            other => {
                self.expr(other);
            }
        }
    }

    pub(super) fn bind_targets(&mut self, targets: &[Expr], value: &Value) {
        for target in targets {
            self.bind_target(target, value.element());
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
            let name = name.text().trim_start_matches("s:");
            self.expr(object);
            self.bind(name, held);
            return;
        }
        if self.is_globals(object) && !self.in_function() {
            self.op(Op::Bind {
                name: Name::new(ANY_NAME),
                value: held.clone(),
                is_definite: false,
            });
            if let Some(slice) = slice
                && let Some(prefix) = begins_with(slice)
            {
                self.note_unknown("globals()", line);
                self.expr(slice);
                self.op(Op::SomeNames(prefix));
                return;
            }
        }
        if let Some((table, column)) = tables::stored(target) {
            let key = tables::column_key(&column);
            let table = self.mangled(table);
            // The other rows of the column stay.
            self.read_path(table, Keys::from_slice(&[key]), How::Load, line);
            if let Some(slice) = slice {
                self.expr(slice);
            }
            self.mutate(self.value_of(table), Some(key), held);
            return;
        }
        let target_value = self.chain(object, Some(key), How::Store);
        if let Some(slice) = slice {
            self.expr(slice);
        }
        if let Some(path) = store
            && let Some(root) = path.split('.').next().map(Name::new)
            && self.is_global(root)
        {
            if !self.in_function() {
                self.summarize(|names| names.attribute_stores.insert(path));
            }
            let full = self.full_name(root, &[]);
            if matches!(full.text(), "builtins" | "__builtins__") {
                self.unknown(&path, line);
            }
            if path.contains(".rcParams") || path.contains(".options.") {
                self.configure(full);
            }
        }
        if let Some((root, keys)) = self.path_of(object) {
            let full = self.full_name(root, &keys);
            if full.text() == "os.environ" {
                self.outside(Outside::EnvironmentWrite(item_text(key)));
                return;
            }
            if full.ends_with(".rcParams") || full.contains(".options") {
                self.configure(full);
            }
        }
        self.mutate(target_value, Some(key), held);
    }

    /// Sets up the library in which this is.
    pub(super) fn configure(&mut self, full: Name) {
        let library = full.text().split('.').next().unwrap_or_default();
        self.outside(Outside::Configure(Name::new(library)));
    }

    pub(super) fn delete(&mut self, target: &Expr) {
        match target {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                let line = self.line(target);
                self.read_path(name, Keys::new(), How::Store, line);
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
    pub(super) fn path_of(&self, expr: &Expr) -> Option<(Name, Keys)> {
        let mut keys = Keys::new();
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
                    return (!root.is_empty() && self.is_global(root)).then_some((root, keys));
                }
                _ => return None,
            }
        }
    }

    /// Evaluates a chain of attributes and items. `last` is a step that the caller takes itself.
    pub(super) fn chain(&mut self, expr: &Expr, last: Option<Key>, how: How) -> Value {
        let method = match last {
            Some(Key::Attr(method)) if how == How::Method => Some(method.text()),
            _ => None,
        };
        let columns = || match how {
            How::Load | How::Method => tables::of_chain(expr, method),
            _ => None,
        };
        self.looking_at(columns, |this| this.chain_inner(expr, last, how))
    }

    fn chain_inner(&mut self, expr: &Expr, last: Option<Key>, how: How) -> Value {
        let mut keys = Keys::new();
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
        let (first_key, n_keys) = (keys.first().copied(), keys.len());
        let root_value = match at {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                keys.extend(last);
                let line = self.line(at);
                if !name.is_empty() {
                    self.environment_path(name, &keys, how);
                    self.note_closure_change(name, how);
                    if let Some(Key::Item(_) | Key::Any) = first_key
                        && let Some(frame) = self.frame()
                    {
                        frame.asks.insert(name);
                    }
                    let start = at.start().to_usize();
                    let columns = self.columns.iter().find(|(at, _)| *at == start);
                    let columns = columns.map(|(_, keys)| keys.clone()).unwrap_or_default();
                    self.read_columns(name, keys, how, columns, line);
                    self.value_of(name)
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
        let is_list_of_columns =
            n_keys == 1 && matches!(slices[..], [slice] if tables::is_list_of_columns(slice));
        for slice in slices.into_iter().rev() {
            self.expr(slice);
        }
        // `np.mgrid[:3, :3]` makes an array of its own.
        let makes_array = n_keys > 1
            && matches!(&first_key, Some(Key::Attr(attribute)) if matches!(attribute.text(), "mgrid" | "ogrid" | "r_" | "c_"))
            && self.imported(Name::new(root)).text() == "numpy";
        if makes_array {
            return Value::default();
        }
        if is_masked {
            return root_value.picked(Relation::Rows);
        }
        match first_key {
            None => root_value,
            Some(_) if how != How::Store && is_list_of_columns => {
                root_value.picked(Relation::Columns)
            }
            Some(key) => root_value.part(Some(key)),
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
    pub(super) fn note_closure_change(&mut self, name: Name, how: How) {
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
            && let Some(&frame) = self.frames.last()
        {
            let value = self.scopes[at].values.get(&name);
            let facts = &mut self.found.functions[frame];
            facts.is_stateful = true;
            facts.changes_closed_over |=
                value.is_none_or(|value| value.changing().next().is_some());
        }
    }

    /// Environment variables behind `os.environ['X']`.
    pub(super) fn environment_path(&mut self, root: Name, keys: &[Key], how: How) {
        if how == How::Store || !self.is_global(root) || keys.is_empty() {
            return;
        }
        let n_steps = match (self.imported(root).text(), keys[0]) {
            ("os.environ", Key::Item(_) | Key::Any) => 0,
            ("os", Key::Attr(attribute)) if attribute.text() == "environ" => match keys.get(1) {
                Some(Key::Attr(_)) => return,
                _ => 1,
            },
            _ => return,
        };
        let variable = keys.get(n_steps).copied().and_then(item_text);
        self.outside(Outside::EnvironmentRead(variable));
    }
}
