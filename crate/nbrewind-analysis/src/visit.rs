//! One walk over a cell's syntax tree. It resolves every name as CPython does and writes down two things: the summary
//! that [`crate::CellEffects`] shows, and the operations of each top-level statement that the dataflow pass replays.
//!
//! Terms: a *frame* is a function whose body is being walked (none: the cell's own statements run); a *scope* is where
//! a name is looked up. A class body and a comprehension are scopes but not frames: they run where they stand.
//!
//! Invariant: whatever a frame finds goes to the frame's [`FunctionFacts`], never to the statement, because it happens
//! only when the function is called.

use crate::binder::{self, mangle};
use crate::effects::{Marks, Note, StatementEffects, StatementKind};
use crate::facts::{
    Call, Callee, ClassFacts, FilePath, FunctionFacts, FunctionId, How, Key, Kind, Op, Outside,
    Path, Relation, Source, StatementFacts, Value, Varies,
};
use crate::fingerprint;
use crate::knowledge;
use crate::syntax::{
    Comprehension, ExceptHandler, Expr, FStringPart, InterpolatedStringElement, IpyEscapeKind,
    Parameters, Pattern, Ranged, Stmt, TypeParam, TypeParams, ast, deeper, parse, parse_expression,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScopeKind {
    Function,
    Class,
    Comprehension,
    TypeParams,
}

struct Scope {
    kind: ScopeKind,
    bindings: binder::Bindings,
    /// What the names of this scope may refer to.
    values: HashMap<String, Value>,
    /// Names a class body has bound so far; before that the lookup goes on to the globals.
    bound_so_far: HashSet<String>,
    class_name: Option<String>,
    methods: BTreeMap<String, FunctionId>,
}

impl Scope {
    fn new(kind: ScopeKind, bindings: binder::Bindings) -> Self {
        Scope {
            kind,
            bindings,
            values: HashMap::new(),
            bound_so_far: HashSet::new(),
            class_name: None,
            methods: BTreeMap::new(),
        }
    }
}

enum Resolved {
    Global,
    Local(usize),
    /// Bound in the class body around it, but perhaps only later.
    ClassOrGlobal(usize),
}

#[derive(Default)]
struct CurrentStatement {
    reads: BTreeSet<String>,
    writes: BTreeSet<String>,
    mutates: BTreeSet<String>,
    deletes: BTreeSet<String>,
    calls: BTreeSet<String>,
    attribute_stores: BTreeSet<String>,
    ops: Vec<Op>,
    n_calls: usize,
}

/// What the walk found in a whole cell.
#[derive(Default)]
pub(crate) struct Found {
    pub reads: BTreeSet<String>,
    pub loads: BTreeSet<String>,
    pub writes: BTreeSet<String>,
    pub mutates: BTreeSet<String>,
    pub deletes: BTreeSet<String>,
    pub string_names: BTreeSet<String>,
    pub files_read: BTreeSet<String>,
    pub files_written: BTreeSet<String>,
    pub unknown: BTreeSet<Note>,
    pub marks: Marks,
    pub named_functions: BTreeMap<String, FunctionId>,
    pub functions: Vec<FunctionFacts>,
    pub statements: Vec<(StatementFacts, StatementEffects)>,
    pub imports: BTreeMap<String, String>,
}

/// How a callee changes what it is given.
pub(crate) struct Judgement {
    pub changes_receiver: bool,
    /// `None`: every argument may change.
    pub changed_arguments: Option<Vec<usize>>,
    /// The callee is a name that another cell may define: only the dataflow pass can tell.
    pub is_open: bool,
    /// The result shares nothing with receiver or arguments.
    pub is_fresh: bool,
}

pub(crate) struct Visitor<'t> {
    line_of: &'t dyn Fn(usize) -> usize,
    /// Set while walking text that was parsed out of a magic: its offsets mean nothing.
    fixed_line: Option<usize>,
    scopes: Vec<Scope>,
    frames: Vec<FunctionId>,
    found: Found,
    current: CurrentStatement,
    statement_index: usize,
    /// Names surely bound at this point, and by which statement.
    definite: HashMap<String, usize>,
    undo: Vec<(String, Option<usize>)>,
    n_conditions: usize,
    /// Import bindings of this cell: name to dotted name.
    imports: HashMap<String, String>,
    /// What the names this cell binds may refer to.
    module_values: HashMap<String, Value>,
    has_lazy_annotations: bool,
    history: Vec<(String, usize)>,
}

impl<'t> Visitor<'t> {
    /// `imports`: what other cells import under the names that this one uses.
    pub(crate) fn new(
        line_of: &'t dyn Fn(usize) -> usize,
        imports: &BTreeMap<String, String>,
    ) -> Self {
        Visitor {
            line_of,
            fixed_line: None,
            scopes: Vec::new(),
            frames: Vec::new(),
            found: Found::default(),
            current: CurrentStatement::default(),
            statement_index: 0,
            definite: HashMap::new(),
            undo: Vec::new(),
            n_conditions: 0,
            imports: imports.clone().into_iter().collect(),
            module_values: HashMap::new(),
            has_lazy_annotations: false,
            history: Vec::new(),
        }
    }

    /// Walks a top-level statement. Offsets and lines are filled in by the caller.
    pub(crate) fn top_level(&mut self, stmt: &Stmt) {
        self.begin();
        let kind = self.kind_of(stmt);
        let discarded = match stmt {
            Stmt::Expr(node) => match &*node.value {
                Expr::Call(call) => dotted(&call.func),
                Expr::Await(inner) => match &*inner.value {
                    Expr::Call(call) => dotted(&call.func),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        self.stmt(stmt);
        self.finish(fingerprint::statement(stmt), kind, discarded);
        if let Some((facts, _)) = self.found.statements.last_mut() {
            facts.is_expression = matches!(stmt, Stmt::Expr(_));
        }
    }

    fn begin(&mut self) {
        self.current = CurrentStatement::default();
    }

    fn finish(
        &mut self,
        fingerprint: fingerprint::Hash,
        kind: StatementKind,
        discarded_call: Option<String>,
    ) {
        let current = std::mem::take(&mut self.current);
        self.found.statements.push((
            StatementFacts {
                fingerprint,
                ops: current.ops,
                is_expression: false,
                covers_cell: false,
            },
            StatementEffects {
                kind,
                reads: current.reads.into_iter().collect(),
                writes: current.writes.into_iter().collect(),
                mutates: current.mutates.into_iter().collect(),
                deletes: current.deletes.into_iter().collect(),
                calls: current.calls.into_iter().collect(),
                discarded_call,
                attribute_stores: current.attribute_stores.into_iter().collect(),
                ..StatementEffects::default()
            },
        ));
        self.statement_index += 1;
    }

    /// A whole cell given to a cell magic, as one statement.
    pub(crate) fn cell_magic(
        &mut self,
        fingerprint: fingerprint::Hash,
        kind: StatementKind,
        f: impl FnOnce(&mut Self),
    ) {
        self.begin();
        f(self);
        self.finish(fingerprint, kind, None);
    }

    pub(crate) fn into_found(mut self) -> Found {
        let writes = &self.found.writes;
        let imports = self
            .imports
            .drain()
            .filter(|(name, _)| writes.contains(name));
        self.found.imports = imports.collect();
        let writes = &self.found.writes;
        let mut history: Vec<Note> = self
            .history
            .drain(..)
            .filter(|(name, _)| !writes.contains(name))
            .map(|(construct, line)| Note { construct, line })
            .collect();
        history.sort();
        history.dedup();
        self.found.marks.history = history;
        for notes in [
            &mut self.found.marks.nondeterministic,
            &mut self.found.marks.environment,
            &mut self.found.marks.process,
            &mut self.found.marks.network,
            &mut self.found.marks.reads_source,
        ] {
            notes.sort();
            notes.dedup();
        }
        self.found
    }

    // ---- bookkeeping -------------------------------------------------------------------------------------------

    fn line(&self, node: &impl Ranged) -> usize {
        self.fixed_line
            .unwrap_or_else(|| (self.line_of)(node.start().to_usize()))
    }

    fn frame(&mut self) -> Option<&mut FunctionFacts> {
        let id = *self.frames.last()?;
        self.found.functions.get_mut(id)
    }

    fn in_function(&self) -> bool {
        !self.frames.is_empty()
    }

    fn op(&mut self, op: Op) {
        if !self.in_function() {
            self.current.ops.push(op);
        }
    }

    pub(crate) fn unknown(&mut self, construct: &str, line: usize) {
        let note = Note {
            construct: construct.to_owned(),
            line,
        };
        self.found.unknown.insert(note.clone());
        match self.frame() {
            Some(frame) => frame.unknown.push(note),
            None => self.current.ops.push(Op::Unknown),
        }
    }

    fn outside(&mut self, outside: Outside) {
        match &outside {
            Outside::FileRead(FilePath::Literal(path)) => {
                self.found.files_read.insert(path.clone());
            }
            Outside::FileWrite(FilePath::Literal(path)) => {
                self.found.files_written.insert(path.clone());
            }
            _ => {}
        }
        match self.frame() {
            Some(frame) => {
                frame.outside.insert(outside);
            }
            None => self.current.ops.push(Op::Outside(outside)),
        }
    }

    fn class_name(&self) -> Option<&str> {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.class_name.as_deref())
    }

    fn mangled(&self, name: &str) -> String {
        mangle(name, self.class_name())
    }

    fn resolve(&self, name: &str) -> Resolved {
        // Functions inside a class have this one for `super()`.
        if name == "__class__"
            && self.in_function()
            && let Some(class) = self
                .scopes
                .iter()
                .position(|scope| scope.kind == ScopeKind::Class)
        {
            return Resolved::Local(class);
        }
        let mut is_innermost = true;
        for (index, scope) in self.scopes.iter().enumerate().rev() {
            let is_visible = scope.kind != ScopeKind::Class || is_innermost;
            if is_visible {
                if scope.bindings.globals.contains(name) {
                    return Resolved::Global;
                }
                if scope.bindings.bound.contains(name) && !scope.bindings.nonlocals.contains(name) {
                    return if scope.kind == ScopeKind::Class && !scope.bound_so_far.contains(name) {
                        Resolved::ClassOrGlobal(index)
                    } else {
                        Resolved::Local(index)
                    };
                }
            }
            // A class is visible from its own type parameters and to nothing else inside it.
            is_innermost = is_innermost && scope.kind == ScopeKind::TypeParams;
        }
        Resolved::Global
    }

    fn set_definite(&mut self, name: &str) {
        let old = self.definite.insert(name.to_owned(), self.statement_index);
        self.undo.push((name.to_owned(), old));
    }

    /// Runs `f` as code that may not run, or not to its end. Returns the names it surely binds when it does.
    fn maybe(&mut self, f: impl FnOnce(&mut Self)) -> BTreeSet<String> {
        let mark = self.undo.len();
        self.n_conditions += 1;
        f(self);
        self.n_conditions -= 1;
        let mut bound = BTreeSet::new();
        while self.undo.len() > mark {
            if let Some((name, old)) = self.undo.pop() {
                if self.definite.contains_key(&name) {
                    bound.insert(name.clone());
                }
                match old {
                    Some(index) => self.definite.insert(name, index),
                    None => self.definite.remove(&name),
                };
            }
        }
        bound
    }

    /// Applies what all branches that can be left normally agree on.
    fn join(&mut self, branches: Vec<Option<BTreeSet<String>>>) {
        let mut branches = branches.into_iter().flatten();
        if let Some(first) = branches.next() {
            let common = branches.fold(first, |common, branch| {
                common.intersection(&branch).cloned().collect()
            });
            for name in common {
                self.set_definite(&name);
            }
        }
    }

    /// Names a global read with its consequences for a function of this cell.
    fn record_read(&mut self, name: &str, line: usize) {
        self.found.loads.insert(name.to_owned());
        if is_history_name(name) {
            self.history.push((name.to_owned(), line));
        }
        if let Some(frame) = self.frame() {
            frame.reads.insert(name.to_owned());
            return;
        }
        self.record_exposed(name);
        if let Some(&id) = self.found.named_functions.get(name) {
            self.record_invocation(id);
        }
    }

    fn record_exposed(&mut self, name: &str) {
        match self.definite.get(name) {
            None => {
                self.found.reads.insert(name.to_owned());
                self.current.reads.insert(name.to_owned());
            }
            Some(&index) if index < self.statement_index => {
                self.current.reads.insert(name.to_owned());
            }
            Some(_) => {}
        }
    }

    /// What a function of this cell does, done by the cell itself.
    fn record_invocation(&mut self, id: FunctionId) {
        let mut seen = HashSet::from([id]);
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(facts) = self.found.functions.get(id) else {
                continue;
            };
            let (reads, mutates) = (facts.reads.clone(), facts.mutates.clone());
            let (writes, deletes) = (facts.writes.clone(), facts.deletes.clone());
            for name in reads {
                self.record_exposed(&name);
                if let Some(&next) = self.found.named_functions.get(&name)
                    && seen.insert(next)
                {
                    pending.push(next);
                }
            }
            self.current.mutates.extend(mutates.iter().cloned());
            self.found.mutates.extend(mutates);
            self.current.writes.extend(writes.iter().cloned());
            self.found.writes.extend(writes);
            self.current.deletes.extend(deletes.iter().cloned());
            self.found.deletes.extend(deletes);
        }
    }

    /// The cell's own aliases of a value: `m = l` makes a change of `m` one of `l`.
    fn record_mutation(&mut self, value: &Value) {
        let mut seen: Vec<Source> = Vec::new();
        let mut pending: Vec<Source> = value
            .sources
            .iter()
            .map(|(source, _)| source.clone())
            .collect();
        while let Some(source) = pending.pop() {
            if seen.contains(&source) {
                continue;
            }
            match &source {
                Source::Name(name) => {
                    let name = name.clone();
                    match self.frame() {
                        Some(frame) => {
                            frame.mutates.insert(name.clone());
                        }
                        None => {
                            self.found.mutates.insert(name.clone());
                            self.current.mutates.insert(name.clone());
                        }
                    }
                    if !self.in_function()
                        && let Some(value) = self.module_values.get(&name)
                    {
                        pending.extend(
                            value
                                .sources
                                .iter()
                                .filter(|(_, how)| *how != Relation::Holds)
                                .map(|(source, _)| source.clone()),
                        );
                    }
                }
                Source::Param(function, index) => {
                    if let Some(facts) = self.found.functions.get_mut(*function) {
                        facts.mutated_params.insert(*index);
                    }
                }
                _ => {}
            }
            seen.push(source);
        }
    }

    fn mutate(&mut self, target: Value, key: Option<Key>, held: Value) {
        self.record_mutation(&target);
        self.op(Op::Mutate { target, key, held });
    }

    // ---- names -------------------------------------------------------------------------------------------------

    /// A value by name, without a read.
    fn value_of(&self, name: &str) -> Value {
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

    fn is_global(&self, name: &str) -> bool {
        matches!(
            self.resolve(name),
            Resolved::Global | Resolved::ClassOrGlobal(_)
        )
    }

    fn read_path(&mut self, root: &str, keys: Vec<Key>, how: How, line: usize) {
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
            });
        }
    }

    /// The dotted name behind a path, through this cell's imports and the usual aliases.
    fn full_name(&self, root: &str, keys: &[Key]) -> String {
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
    fn mark(&mut self, root: &str, keys: &[Key], line: usize) {
        let full = self.full_name(root, keys);
        let mut construct = root.to_owned();
        for key in keys {
            let Key::Attr(attr) = key else { break };
            construct.push('.');
            construct.push_str(attr);
        }
        let ends: Vec<usize> = full
            .match_indices('.')
            .map(|(at, _)| at)
            .chain(std::iter::once(full.len()))
            .collect();
        for section in [
            "nondeterministic",
            "environment",
            "process",
            "network",
            "reads-source",
        ] {
            if ends
                .iter()
                .any(|&end| knowledge::has(section, &full[..end]))
            {
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
        if ends.iter().any(|&end| {
            knowledge::has("unknown-functions", &full[..end])
                || knowledge::has("unknown-attributes", &full[..end])
        }) {
            self.unknown(&construct, line);
        }
    }

    fn bind(&mut self, name: &str, value: Value) {
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
        self.current.writes.insert(name.clone());
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

    fn unbind(&mut self, name: &str) {
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
        self.current.deletes.insert(name.clone());
        if let Some(old) = self.definite.remove(&name) {
            self.undo.push((name.clone(), Some(old)));
        }
        let is_definite = self.n_conditions == 0;
        self.op(Op::Unbind { name, is_definite });
    }

    fn bind_target(&mut self, target: &Expr, value: Value) {
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

    fn bind_targets(&mut self, targets: &[Expr], value: &Value) {
        for target in targets {
            self.bind_target(target, value.part(None));
        }
    }

    /// `target.attr = value`, `target[key] = value`.
    fn store(&mut self, target: &Expr, held: Value) {
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
                self.current.attribute_stores.insert(path.clone());
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

    fn delete(&mut self, target: &Expr) {
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
    fn path_of(&self, expr: &Expr) -> Option<(String, Vec<Key>)> {
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
    fn chain(&mut self, expr: &Expr, last: Option<Key>, how: How) -> Value {
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
        for slice in slices.into_iter().rev() {
            self.expr(slice);
        }
        match own_keys.first() {
            None => root_value,
            Some(key) => root_value.part(Some(key.clone())),
        }
    }

    /// An expression whose value is only passed on: naming a function or class does not run it.
    fn referred(&mut self, expr: &Expr) -> Value {
        if dotted(expr).is_some() {
            self.chain(expr, None, How::Refer)
        } else {
            self.expr(expr)
        }
    }

    /// A function that changes what its closure holds has a state of its own.
    fn note_closure_change(&mut self, name: &str, how: How) {
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
    fn environment_path(&mut self, root: &str, keys: &[Key], how: How) {
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

    // ---- statements --------------------------------------------------------------------------------------------

    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        deeper(|| self.stmt_inner(stmt));
    }

    fn stmt_inner(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::FunctionDef(node) => self.function_def(node),
            Stmt::ClassDef(node) => self.class_def(node),
            Stmt::Return(node) => {
                if let Some(value) = &node.value {
                    let value = self.expr(value);
                    if let Some(frame) = self.frame() {
                        frame.returns = std::mem::take(&mut frame.returns).or(&value);
                    }
                }
            }
            Stmt::Delete(node) => node.targets.iter().for_each(|target| self.delete(target)),
            Stmt::TypeAlias(node) => {
                self.with_type_params(node.type_params.as_deref(), |this| {
                    this.expr(&node.value);
                });
                self.bind_target(&node.name, Value::default());
            }
            Stmt::Assign(node) => {
                // `a, b = c, d` item by item keeps the items apart.
                if let [target] = &node.targets[..]
                    && let (Some(targets), Some(values)) = (items(target), items(&node.value))
                    && targets.len() == values.len()
                    && !targets.iter().chain(values).any(Expr::is_starred_expr)
                {
                    let values: Vec<Value> = values.iter().map(|value| self.expr(value)).collect();
                    for (target, value) in targets.iter().zip(values) {
                        self.bind_target(target, value);
                    }
                    return;
                }
                let value = self.referred(&node.value);
                let mut value = value;
                for target in &node.targets {
                    self.bind_target(target, value.clone());
                    // `a = b = []` makes one list, not two.
                    if let Expr::Name(name) = target
                        && value.kind != Kind::Scalar
                    {
                        value = Value {
                            kind: value.kind,
                            literal: value.literal,
                            text: value.text,
                            ..self.value_of(&self.mangled(name.id.as_str()))
                        };
                    }
                }
            }
            Stmt::AugAssign(node) => self.augment(node),
            Stmt::AnnAssign(node) => {
                let in_function = self
                    .scopes
                    .last()
                    .is_some_and(|scope| scope.kind == ScopeKind::Function);
                let value = node.value.as_ref().map(|value| self.expr(value));
                let is_evaluated = !in_function || !node.target.is_name_expr();
                if !self.has_lazy_annotations && is_evaluated {
                    self.expr(&node.annotation);
                }
                match value {
                    Some(value) => self.bind_target(&node.target, value),
                    None if !node.target.is_name_expr() => {
                        self.chain(&node.target, None, How::Load);
                    }
                    None => {}
                }
            }
            Stmt::For(node) => {
                let iterated = self.expr(&node.iter);
                self.iterate(&iterated);
                self.maybe(|this| {
                    this.bind_target(&node.target, iterated.part(None));
                    this.body(&node.body);
                });
                self.maybe(|this| this.body(&node.orelse));
            }
            Stmt::While(node) => {
                self.expr(&node.test);
                self.maybe(|this| this.body(&node.body));
                self.maybe(|this| this.body(&node.orelse));
            }
            Stmt::If(node) => self.if_stmt(node),
            Stmt::With(node) => {
                for item in &node.items {
                    let value = self.expr(&item.context_expr);
                    // Entering and leaving run code of the manager; a file or lock changes by it.
                    if !value
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Result(_)))
                    {
                        self.mutate(value.clone(), None, Value::default());
                    }
                    if let Some(target) = &item.optional_vars {
                        self.bind_target(target, value.or(&Value::default()));
                    }
                }
                self.body(&node.body);
            }
            Stmt::Match(node) => {
                let subject = self.expr(&node.subject);
                let mut branches = Vec::new();
                let mut is_exhaustive = false;
                for case in &node.cases {
                    is_exhaustive |= case.guard.is_none() && case.pattern.is_irrefutable();
                    let bound = self.maybe(|this| {
                        this.pattern(&case.pattern, &subject);
                        if let Some(guard) = &case.guard {
                            this.expr(guard);
                        }
                        this.body(&case.body);
                    });
                    branches.push((!terminates(&case.body)).then_some(bound));
                }
                if is_exhaustive {
                    self.join(branches);
                }
            }
            Stmt::Raise(node) => {
                for expr in [&node.exc, &node.cause].into_iter().flatten() {
                    self.expr(expr);
                }
            }
            Stmt::Try(node) => {
                let is_guarded = !node.handlers.is_empty();
                self.maybe(|this| {
                    this.body(&node.body);
                    this.body(&node.orelse);
                });
                for ExceptHandler::ExceptHandler(handler) in &node.handlers {
                    self.maybe(|this| {
                        if let Some(kind) = &handler.type_ {
                            this.expr(kind);
                        }
                        if let Some(name) = &handler.name {
                            this.bind(name.as_str(), Value::default());
                        }
                        this.body(&handler.body);
                        if let Some(name) = &handler.name {
                            this.unbind(name.as_str());
                        }
                    });
                }
                if is_guarded {
                    self.maybe(|this| this.body(&node.finalbody));
                } else {
                    self.body(&node.finalbody);
                }
            }
            Stmt::Assert(node) => {
                self.expr(&node.test);
                if let Some(message) = &node.msg {
                    self.expr(message);
                }
            }
            Stmt::Import(node) => {
                for alias in &node.names {
                    let module = alias.name.as_str();
                    let (name, bound) = match &alias.asname {
                        Some(name) => (name.as_str(), module),
                        None => {
                            let top = module.split('.').next().unwrap_or_default();
                            (top, top)
                        }
                    };
                    self.bind(name, Value::of(Source::Module(bound.to_owned())));
                }
            }
            Stmt::ImportFrom(node) => self.import_from(node),
            // Handled before the body is walked; at top level `global x` changes nothing.
            Stmt::Global(_) | Stmt::Nonlocal(_) => {}
            Stmt::Expr(node) => {
                let value = self.expr(&node.value);
                // A displayed value is gone through by its `repr`, which does not use up iterators.
                drop(value);
            }
            Stmt::Pass(_) | Stmt::Break(_) | Stmt::Continue(_) => {}
            Stmt::IpyEscapeCommand(node) => {
                let line = self.line(stmt);
                self.escape(node.kind, &node.value, line);
            }
        }
    }

    fn if_stmt(&mut self, node: &ast::StmtIf) {
        self.expr(&node.test);
        let mut branches = Vec::new();
        let bound = self.maybe(|this| this.body(&node.body));
        branches.push((!terminates(&node.body)).then_some(bound));
        let mut has_else = false;
        for clause in &node.elif_else_clauses {
            match &clause.test {
                Some(test) => {
                    // Later tests run only if the earlier ones failed.
                    self.maybe(|this| {
                        this.expr(test);
                    });
                }
                None => has_else = true,
            }
            let bound = self.maybe(|this| this.body(&clause.body));
            branches.push((!terminates(&clause.body)).then_some(bound));
        }
        if has_else {
            self.join(branches);
        }
    }

    fn augment(&mut self, node: &ast::StmtAugAssign) {
        match &*node.target {
            Expr::Name(target) => {
                let name = self.mangled(target.id.as_str());
                let line = self.line(&*node.target);
                if name.is_empty() {
                    self.expr(&node.value);
                    return;
                }
                self.read_path(&name, Vec::new(), How::Load, line);
                let held = self.expr(&node.value);
                if self.is_global(&name) && !self.in_function() && self.scopes.is_empty() {
                    self.record_mutation(&Value::of(Source::Name(name.clone())));
                    let is_definite = self.n_conditions == 0;
                    self.found.writes.insert(name.clone());
                    self.current.writes.insert(name.clone());
                    self.set_definite(&name);
                    let value = Value::of(Source::Name(name.clone()));
                    self.op(Op::Augment { name, is_definite });
                    // `l += [a]` keeps `a`.
                    if held
                        .sources
                        .iter()
                        .any(|(_, relation)| *relation == Relation::Holds)
                    {
                        self.op(Op::Mutate {
                            target: value,
                            key: None,
                            held,
                        });
                    }
                } else {
                    let value = self.value_of(&name);
                    self.record_mutation(&value);
                    if self.is_global(&name) {
                        self.bind(target.id.as_str(), value);
                    }
                }
            }
            target => {
                self.chain(target, None, How::Load);
                let held = self.expr(&node.value);
                self.store(target, held);
            }
        }
    }

    fn import_from(&mut self, node: &ast::StmtImportFrom) {
        let module = node.module.as_ref().map_or("", |module| module.as_str());
        let module = format!("{}{module}", ".".repeat(node.level as usize));
        if module == "__future__" {
            self.has_lazy_annotations |= node
                .names
                .iter()
                .any(|alias| alias.name.as_str() == "annotations");
        }
        for alias in &node.names {
            if alias.name.as_str() == "*" {
                let line = self.line(node);
                let note = Note {
                    construct: format!("from {module} import *"),
                    line,
                };
                self.found.unknown.insert(note.clone());
                match self.frame() {
                    Some(frame) => frame.unknown.push(note),
                    None => self.current.ops.push(Op::Star(module.clone())),
                }
                continue;
            }
            let name = alias.asname.as_ref().unwrap_or(&alias.name);
            self.bind(
                name.as_str(),
                Value::of(Source::Module(format!("{module}.{}", alias.name.as_str()))),
            );
        }
    }

    fn kind_of(&self, stmt: &Stmt) -> StatementKind {
        match stmt {
            _ if is_only_imports(stmt) => StatementKind::Import,
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => StatementKind::Definition,
            Stmt::IpyEscapeCommand(node) => match node.kind {
                IpyEscapeKind::Help | IpyEscapeKind::Help2 => StatementKind::Magic,
                IpyEscapeKind::Magic => {
                    let name = node.value.split_whitespace().next().unwrap_or_default();
                    let is_query = name == "env"
                        && !node.value.contains('=')
                        && node.value.split_whitespace().count() < 3;
                    if knowledge::has("pure-line-magics", name) || is_query {
                        StatementKind::Magic
                    } else {
                        StatementKind::Other
                    }
                }
                _ => StatementKind::Other,
            },
            Stmt::Expr(node) => match &*node.value {
                Expr::Call(call) => match self.path_of(&call.func) {
                    Some((root, keys))
                        if knowledge::has("config-calls", &self.full_name(&root, &keys)) =>
                    {
                        StatementKind::Config
                    }
                    _ => StatementKind::Other,
                },
                _ => StatementKind::Other,
            },
            Stmt::Assign(node) => {
                // `pd.options.display.max_rows = 5`, `plt.rcParams['figure.dpi'] = 100`.
                let is_option = |target: &Expr| {
                    self.path_of(target).is_some_and(|(root, keys)| {
                        let full = self.full_name(&root, &keys);
                        full.starts_with("pandas.options.")
                            || full.ends_with(".rcParams")
                            || full.starts_with("IPython.core.interactiveshell.InteractiveShell")
                    })
                };
                if node.targets.iter().all(is_option) {
                    StatementKind::Config
                } else {
                    StatementKind::Other
                }
            }
            _ => StatementKind::Other,
        }
    }

    fn pattern(&mut self, pattern: &Pattern, subject: &Value) {
        deeper(|| match pattern {
            Pattern::MatchValue(node) => {
                self.expr(&node.value);
            }
            Pattern::MatchSingleton(_) => {}
            Pattern::MatchSequence(node) => self.patterns(&node.patterns, &subject.part(None)),
            Pattern::MatchMapping(node) => {
                for key in &node.keys {
                    self.expr(key);
                }
                self.patterns(&node.patterns, &subject.part(None));
                if let Some(rest) = &node.rest {
                    self.bind(rest.as_str(), subject.part(None));
                }
            }
            Pattern::MatchClass(node) => {
                self.expr(&node.cls);
                self.patterns(&node.arguments.patterns, &subject.part(None));
                for keyword in &node.arguments.keywords {
                    self.pattern(&keyword.pattern, &subject.part(None));
                }
            }
            Pattern::MatchStar(node) => {
                if let Some(name) = &node.name {
                    self.bind(name.as_str(), subject.part(None));
                }
            }
            Pattern::MatchAs(node) => {
                if let Some(inner) = &node.pattern {
                    self.pattern(inner, subject);
                }
                if let Some(name) = &node.name {
                    self.bind(name.as_str(), subject.clone());
                }
            }
            Pattern::MatchOr(node) => self.patterns(&node.patterns, subject),
        });
    }

    fn patterns(&mut self, patterns: &[Pattern], subject: &Value) {
        for pattern in patterns {
            self.pattern(pattern, subject);
        }
    }

    // ---- functions and classes ---------------------------------------------------------------------------------

    fn with_type_params(&mut self, params: Option<&TypeParams>, f: impl FnOnce(&mut Self)) {
        let Some(params) = params else {
            f(self);
            return;
        };
        let mut bindings = binder::Bindings::default();
        for param in &params.type_params {
            bindings.bound.insert(match param {
                TypeParam::TypeVar(node) => node.name.as_str().to_owned(),
                TypeParam::TypeVarTuple(node) => node.name.as_str().to_owned(),
                TypeParam::ParamSpec(node) => node.name.as_str().to_owned(),
            });
        }
        self.scopes
            .push(Scope::new(ScopeKind::TypeParams, bindings));
        for param in &params.type_params {
            let (bound, default) = match param {
                TypeParam::TypeVar(node) => (node.bound.as_deref(), node.default.as_deref()),
                TypeParam::TypeVarTuple(node) => (None, node.default.as_deref()),
                TypeParam::ParamSpec(node) => (None, node.default.as_deref()),
            };
            for expr in [bound, default].into_iter().flatten() {
                self.expr(expr);
            }
        }
        f(self);
        self.scopes.pop();
    }

    fn defaults(&mut self, parameters: &Parameters) -> Value {
        let mut held = Value::default();
        for parameter in parameters.iter_non_variadic_params() {
            if let Some(default) = parameter.default.as_deref() {
                held = held.or(&self.expr(default).held());
            }
        }
        held
    }

    /// A default that the body changes is changed for the next call too.
    fn note_mutable_defaults(&mut self, id: FunctionId, parameters: &Parameters) {
        let facts = &mut self.found.functions[id];
        let changes_default = parameters.iter_non_variadic_params().any(|parameter| {
            let name = parameter.parameter.name.as_str();
            let is_scalar = parameter.default.as_deref().is_none_or(|default| {
                default.is_literal_expr() || matches!(default, Expr::UnaryOp(_) | Expr::Tuple(_))
            });
            let index = facts.params.iter().position(|param| param == name);
            !is_scalar && index.is_some_and(|index| facts.mutated_params.contains(&index))
        });
        facts.is_stateful |= changes_default;
    }

    fn annotations(&mut self, parameters: &Parameters, returns: Option<&Expr>) {
        if self.has_lazy_annotations {
            return;
        }
        for parameter in parameters.iter() {
            if let Some(annotation) = parameter.annotation() {
                self.expr(annotation);
            }
        }
        if let Some(returns) = returns {
            self.expr(returns);
        }
    }

    fn function_def(&mut self, node: &ast::StmtFunctionDef) {
        let mut held = Value::default();
        for decorator in &node.decorator_list {
            let value = self.expr(&decorator.expression);
            held = held.or(&value.held());
            // Decorating calls the decorator.
            for (source, _) in value.sources {
                if let Source::Function(id) = source {
                    self.op(Op::Invoke(id));
                }
            }
        }
        held = held.or(&self.defaults(&node.parameters));
        let mut id = 0;
        self.with_type_params(node.type_params.as_deref(), |this| {
            this.annotations(&node.parameters, node.returns.as_deref());
            let bindings = binder::of_body(&node.body, this.class_name());
            id = this.function(Some(&node.parameters), bindings, |this| {
                this.body(&node.body)
            });
            this.note_mutable_defaults(id, &node.parameters);
        });
        for decorator in &node.decorator_list {
            let called = match &decorator.expression {
                Expr::Call(call) => dotted(&call.func),
                other => dotted(other),
            };
            if let Some(called) = called {
                self.found.functions[id].calls.insert(called);
            }
        }
        if let Some(scope) = self.scopes.last_mut()
            && scope.kind == ScopeKind::Class
        {
            scope.methods.insert(node.name.as_str().to_owned(), id);
        }
        let value = Value::of(Source::Function(id)).or(&held);
        self.bind(node.name.as_str(), value);
    }

    /// Walks a function's body in a frame of its own. A function inside a function counts as called by it.
    fn function(
        &mut self,
        parameters: Option<&Parameters>,
        mut bindings: binder::Bindings,
        body: impl FnOnce(&mut Self),
    ) -> FunctionId {
        let id = self.found.functions.len();
        let mut facts = FunctionFacts::default();
        let mut values = HashMap::new();
        if let Some(parameters) = parameters {
            let positional = parameters.posonlyargs.iter().chain(&parameters.args);
            let positional = positional.map(|parameter| parameter.parameter.name.as_str());
            let vararg = parameters
                .vararg
                .iter()
                .map(|parameter| parameter.name.as_str());
            let keyword = parameters
                .kwonlyargs
                .iter()
                .map(|parameter| parameter.parameter.name.as_str());
            let kwarg = parameters
                .kwarg
                .iter()
                .map(|parameter| parameter.name.as_str());
            let names: Vec<String> = positional
                .chain(vararg)
                .chain(keyword)
                .chain(kwarg)
                .map(|name| self.mangled(name))
                .collect();
            if parameters.vararg.is_some() {
                facts.vararg = Some(parameters.posonlyargs.len() + parameters.args.len());
            }
            for (index, name) in names.iter().enumerate() {
                bindings.bound.insert(name.clone());
                values.insert(name.clone(), Value::of(Source::Param(id, index)));
            }
            facts.params = names;
        }
        self.found.functions.push(facts);
        let mut scope = Scope::new(ScopeKind::Function, bindings);
        scope.values = values;
        self.scopes.push(scope);
        self.found.functions[id].is_stateful = self
            .scopes
            .last()
            .is_some_and(|scope| !scope.bindings.nonlocals.is_empty());
        self.frames.push(id);
        let conditions = std::mem::take(&mut self.n_conditions);
        body(self);
        self.n_conditions = conditions;
        self.frames.pop();
        self.scopes.pop();
        if self.in_function() {
            self.merge_into_frame(id);
        }
        id
    }

    fn merge_into_frame(&mut self, id: FunctionId) {
        let inner = self.found.functions[id].clone();
        if let Some(outer) = self.frame() {
            outer.reads.extend(inner.reads);
            outer.writes.extend(inner.writes);
            outer.deletes.extend(inner.deletes);
            outer.mutates.extend(inner.mutates);
            outer.calls.extend(inner.calls);
            outer.outside.extend(inner.outside);
            outer.string_names.extend(inner.string_names);
            outer.unknown.extend(inner.unknown);
            outer.passed_on.extend(inner.passed_on);
        }
    }

    fn class_def(&mut self, node: &ast::StmtClassDef) {
        let mut held = Value::default();
        for decorator in &node.decorator_list {
            held = held.or(&self.expr(&decorator.expression).held());
        }
        let mut has_bases = false;
        let mut class = 0;
        self.with_type_params(node.type_params.as_deref(), |this| {
            if let Some(arguments) = &node.arguments {
                for base in &arguments.args {
                    held = std::mem::take(&mut held).or(&this.referred(base).held());
                    has_bases |= dotted(base).is_none_or(|name| name != "object");
                }
                for keyword in &arguments.keywords {
                    held = std::mem::take(&mut held).or(&this.expr(&keyword.value).held());
                    has_bases = true;
                }
            }
            let name = this.mangled(node.name.as_str());
            let bindings = binder::of_body(&node.body, Some(&name));
            let mut scope = Scope::new(ScopeKind::Class, bindings);
            scope.class_name = Some(name);
            this.scopes.push(scope);
            this.body(&node.body);
            let Some(scope) = this.scopes.pop() else {
                return;
            };
            let is_plain = |name: &str| {
                !matches!(
                    name,
                    "__setattr__" | "__getattr__" | "__getattribute__" | "__setitem__"
                )
            };
            let has_descriptors = node.body.iter().any(|stmt| match stmt {
                Stmt::FunctionDef(method) => !method.decorator_list.is_empty(),
                Stmt::Assign(assign) => assign.value.is_call_expr(),
                _ => false,
            });
            let mut facts = FunctionFacts::default();
            // What class attributes hold lives as long as the class.
            let attributes: BTreeMap<&String, &Value> = scope.values.iter().collect();
            for (attribute, value) in attributes {
                if !scope.methods.contains_key(attribute) {
                    held = std::mem::take(&mut held).or(&value.held());
                }
            }
            for &method in scope.methods.values() {
                let method = this.found.functions[method].clone();
                facts.reads.extend(method.reads);
                facts.writes.extend(method.writes);
                facts.deletes.extend(method.deletes);
                facts.mutates.extend(method.mutates);
                facts.calls.extend(method.calls);
                facts.outside.extend(method.outside);
                facts.string_names.extend(method.string_names);
                facts.unknown.extend(method.unknown);
                // Position 0 is the object itself, which the caller of the class does not pass.
                facts.mutated_params.extend(
                    method
                        .mutated_params
                        .iter()
                        .filter(|&&index| index > 0)
                        .map(|index| index - 1),
                );
            }
            facts.class = Some(ClassFacts {
                has_plain_attributes: !has_bases
                    && !has_descriptors
                    && scope.methods.keys().all(|name| is_plain(name)),
                methods: scope.methods,
            });
            class = this.found.functions.len();
            this.found.functions.push(facts);
        });
        let value = Value::of(Source::Function(class)).or(&held);
        self.bind(node.name.as_str(), value);
    }

    // ---- expressions -------------------------------------------------------------------------------------------

    fn expr(&mut self, expr: &Expr) -> Value {
        deeper(|| self.expr_inner(expr))
    }

    fn exprs_held(&mut self, exprs: &[Expr]) -> Value {
        let mut held = Value::default();
        for expr in exprs {
            held = held.or(&self.expr(expr).held());
        }
        held
    }

    fn expr_inner(&mut self, expr: &Expr) -> Value {
        match expr {
            Expr::BoolOp(node) => {
                let mut values = node.values.iter();
                let mut result = values
                    .next()
                    .map(|first| self.expr(first))
                    .unwrap_or_default();
                self.maybe(|this| {
                    for value in values {
                        result = std::mem::take(&mut result).or(&this.expr(value));
                    }
                });
                result
            }
            Expr::Named(node) => {
                let value = self.expr(&node.value);
                if let Expr::Name(target) = &*node.target {
                    self.bind(target.id.as_str(), value.clone());
                }
                value
            }
            Expr::BinOp(node) => {
                let left = self.expr(&node.left);
                let right = self.expr(&node.right);
                if left.kind == Kind::Scalar && right.kind == Kind::Scalar {
                    Value::scalar()
                } else {
                    Value::default()
                }
            }
            Expr::UnaryOp(node) => {
                let operand = self.expr(&node.operand);
                let literal = operand
                    .literal
                    .is_some()
                    .then(|| fingerprint::expression(expr));
                Value {
                    kind: operand.kind,
                    literal,
                    ..Value::default()
                }
            }
            Expr::Lambda(node) => {
                let held = node
                    .parameters
                    .as_ref()
                    .map(|parameters| self.defaults(parameters))
                    .unwrap_or_default();
                let bindings = binder::of_expression(&node.body, self.class_name());
                let id = self.function(node.parameters.as_deref(), bindings, |this| {
                    let value = this.expr(&node.body);
                    if let Some(frame) = this.frame() {
                        frame.returns = value;
                    }
                });
                Value::of(Source::Function(id)).or(&held)
            }
            Expr::If(node) => {
                self.expr(&node.test);
                let mut value = Value::default();
                self.maybe(|this| value = this.expr(&node.body));
                let mut other = Value::default();
                self.maybe(|this| other = this.expr(&node.orelse));
                value.or(&other)
            }
            Expr::Dict(node) => {
                let mut held = Value::default();
                let mut is_constant = true;
                for item in &node.items {
                    if let Some(key) = &item.key {
                        is_constant &= self.expr(key).literal.is_some();
                    } else {
                        is_constant = false;
                    }
                    let value = self.expr(&item.value);
                    is_constant &= value.literal.is_some();
                    held = held.or(&value.held());
                }
                self.display(held, Kind::Dict, is_constant, expr)
            }
            Expr::Set(node) => {
                let held = self.exprs_held(&node.elts);
                self.display(held, Kind::Unknown, false, expr)
            }
            Expr::List(node) => {
                let (held, is_constant) = self.elements(&node.elts);
                self.display(held, Kind::List, is_constant, expr)
            }
            Expr::Tuple(node) => {
                let (held, is_constant) = self.elements(&node.elts);
                let kind = if held.sources.is_empty() && is_constant {
                    Kind::Scalar
                } else {
                    Kind::Unknown
                };
                self.display(held, kind, is_constant, expr)
            }
            Expr::ListComp(node) => {
                let held = self.comprehension(&node.generators, &[&node.elt]);
                Value {
                    kind: Kind::List,
                    ..held
                }
            }
            Expr::SetComp(node) => self.comprehension(&node.generators, &[&node.elt]),
            Expr::DictComp(node) => {
                let parts: Vec<&Expr> = node
                    .key
                    .as_deref()
                    .into_iter()
                    .chain(std::iter::once(&*node.value))
                    .collect();
                let held = self.comprehension(&node.generators, &parts);
                Value {
                    kind: Kind::Dict,
                    ..held
                }
            }
            Expr::Generator(node) => {
                let held = self.comprehension(&node.generators, &[&node.elt]);
                Value {
                    kind: Kind::Iterator,
                    ..held
                }
            }
            Expr::Await(node) => self.expr(&node.value),
            Expr::Yield(node) => {
                let value = node
                    .value
                    .as_ref()
                    .map(|value| self.expr(value))
                    .unwrap_or_default();
                if let Some(frame) = self.frame() {
                    frame.is_generator = true;
                    frame.returns = std::mem::take(&mut frame.returns).or(&value.held());
                }
                Value::default()
            }
            Expr::YieldFrom(node) => {
                let value = self.expr(&node.value);
                self.iterate(&value);
                if let Some(frame) = self.frame() {
                    frame.is_generator = true;
                    frame.returns = std::mem::take(&mut frame.returns).or(&value);
                }
                Value::default()
            }
            Expr::Compare(node) => {
                self.expr(&node.left);
                for comparator in &node.comparators {
                    self.expr(comparator);
                }
                Value::default()
            }
            Expr::Call(node) => self.call(node),
            Expr::FString(node) => {
                for part in node.value.iter() {
                    match part {
                        FStringPart::Literal(literal) => self.string_text(literal.as_str()),
                        FStringPart::FString(formatted) => self.interpolations(&formatted.elements),
                    }
                }
                Value::scalar()
            }
            Expr::TString(node) => {
                for part in node.value.iter() {
                    self.interpolations(&part.elements);
                }
                Value::default()
            }
            Expr::StringLiteral(node) => {
                let text = node.value.to_str();
                self.string_text(text);
                Value {
                    text: Some(text.to_owned()),
                    ..literal(expr)
                }
            }
            Expr::BytesLiteral(_)
            | Expr::NumberLiteral(_)
            | Expr::BooleanLiteral(_)
            | Expr::NoneLiteral(_)
            | Expr::EllipsisLiteral(_) => literal(expr),
            Expr::Attribute(_) | Expr::Subscript(_) | Expr::Name(_) => {
                if let Expr::Subscript(node) = expr
                    && let Expr::Call(call) = &*node.value
                    && let Expr::Name(name) = &*call.func
                    && matches!(name.id.as_str(), "globals" | "vars" | "locals")
                    && let Some(name) = item_text(&constant_key(&node.slice))
                {
                    // `globals()['g']` reads `g` besides being unknown.
                    let line = self.line(expr);
                    self.read_path(&name, Vec::new(), How::Load, line);
                }
                self.chain(expr, None, How::Load)
            }
            Expr::Starred(node) => {
                let value = self.expr(&node.value);
                self.iterate(&value);
                value.part(None)
            }
            Expr::Slice(node) => {
                for bound in [&node.lower, &node.upper, &node.step].into_iter().flatten() {
                    self.expr(bound);
                }
                Value::default()
            }
            Expr::IpyEscapeCommand(node) => {
                let line = self.line(expr);
                self.escape(node.kind, &node.value, line);
                Value::default()
            }
        }
    }

    fn elements(&mut self, elements: &[Expr]) -> (Value, bool) {
        let mut held = Value::default();
        let mut is_constant = true;
        for element in elements {
            let value = self.expr(element);
            is_constant &= value.literal.is_some();
            held = held.or(&value.held());
        }
        (held, is_constant)
    }

    fn display(&self, held: Value, kind: Kind, is_constant: bool, expr: &Expr) -> Value {
        let literal = is_constant.then(|| fingerprint::expression(expr));
        Value {
            kind,
            literal,
            ..held
        }
    }

    fn interpolations<'a>(
        &mut self,
        elements: impl IntoIterator<Item = &'a InterpolatedStringElement>,
    ) {
        for element in elements {
            match element {
                InterpolatedStringElement::Literal(literal) => self.string_text(&literal.value),
                InterpolatedStringElement::Interpolation(node) => {
                    self.expr(&node.expression);
                    if let Some(spec) = &node.format_spec {
                        deeper(|| self.interpolations(&spec.elements));
                    }
                }
            }
        }
    }

    fn string_text(&mut self, text: &str) {
        self.found.string_names.extend(identifiers(text));
    }

    fn comprehension(&mut self, generators: &[Comprehension], parts: &[&Expr]) -> Value {
        let Some(first) = generators.first() else {
            return Value::default();
        };
        let iterated = self.expr(&first.iter);
        self.iterate(&iterated);
        let mut bindings = binder::Bindings::default();
        for generator in generators {
            target_names(&generator.target, &mut |name| {
                bindings.bound.insert(self.mangled(name));
            });
        }
        self.scopes
            .push(Scope::new(ScopeKind::Comprehension, bindings));
        let mut held = Value::default();
        self.maybe(|this| {
            let mut iterated = Some(iterated);
            for generator in generators {
                let value = match iterated.take() {
                    Some(value) => value,
                    None => {
                        let value = this.expr(&generator.iter);
                        this.iterate(&value);
                        value
                    }
                };
                this.bind_in_comprehension(&generator.target, &value.part(None));
                for condition in &generator.ifs {
                    this.expr(condition);
                }
            }
            for part in parts {
                held = std::mem::take(&mut held).or(&this.expr(part).held());
            }
        });
        self.scopes.pop();
        held
    }

    fn bind_in_comprehension(&mut self, target: &Expr, value: &Value) {
        match target {
            Expr::Name(node) => {
                let name = self.mangled(node.id.as_str());
                if let Some(scope) = self.scopes.last_mut() {
                    scope.values.insert(name, value.clone());
                }
            }
            Expr::Tuple(node) => node
                .elts
                .iter()
                .for_each(|target| self.bind_in_comprehension(target, &value.part(None))),
            Expr::List(node) => node
                .elts
                .iter()
                .for_each(|target| self.bind_in_comprehension(target, &value.part(None))),
            Expr::Starred(node) => self.bind_in_comprehension(&node.value, value),
            other => self.store(other, value.clone()),
        }
    }

    fn iterate(&mut self, value: &Value) {
        if !value.sources.is_empty() {
            self.op(Op::Iterate(value.clone()));
        }
    }

    // ---- calls -------------------------------------------------------------------------------------------------

    fn call(&mut self, node: &ast::ExprCall) -> Value {
        let line = self.line(node);
        if let Some(name) = dotted(&node.func)
            && let Some(root) = name.split('.').next()
            && self.is_global(root)
        {
            match self.frame() {
                Some(frame) => frame.calls.insert(name),
                None => self.current.calls.insert(name),
            };
        }
        let callee = match &*node.func {
            Expr::Name(func) => {
                let name = self.mangled(func.id.as_str());
                if !name.is_empty() && self.is_global(&name) {
                    self.read_path(&name, Vec::new(), How::Call, line);
                    Callee::Name(name)
                } else {
                    Callee::Other(self.value_of(&name))
                }
            }
            Expr::Attribute(func) => {
                let method = self.mangled(func.attr.as_str());
                let receiver =
                    self.chain(&func.value, Some(Key::Attr(method.clone())), How::Method);
                let path = self
                    .path_of(&node.func)
                    .map(|(root, keys)| Path { root, keys });
                Callee::Method {
                    path,
                    receiver,
                    method,
                }
            }
            other => Callee::Other(self.expr(other)),
        };
        let mut arguments: Vec<(Option<String>, Value)> = Vec::new();
        for argument in &node.arguments.args {
            let value = self.expr(argument);
            arguments.push((None, value));
        }
        for keyword in &node.arguments.keywords {
            let value = self.expr(&keyword.value);
            arguments.push((
                keyword.arg.as_ref().map(|name| name.as_str().to_owned()),
                value,
            ));
        }
        let is_inplace = node
            .arguments
            .find_keyword("inplace")
            .is_some_and(|keyword| !is_false(&keyword.value));
        let full = match &callee {
            Callee::Name(name) => Some(self.full_name(name, &[])),
            Callee::Method {
                path: Some(path), ..
            } if path.keys.iter().all(|key| matches!(key, Key::Attr(_))) => {
                Some(self.full_name(&path.root, &path.keys))
            }
            _ => None,
        };
        if let Callee::Name(name) = &callee
            && let Some(result) = self.special_call(name, node, &arguments, line)
        {
            return result;
        }
        if let Some(full) = &full {
            self.known_call(full, node, &arguments, line);
        }
        self.file_call(full.as_deref(), &callee, &arguments);
        self.evaluated_strings(full.as_deref(), &callee, node);
        let judgement = self.judge(full.as_deref(), &callee, is_inplace);
        self.apply(&judgement, &callee, &arguments);
        let invoked: Vec<FunctionId> = arguments
            .iter()
            .flat_map(|(_, value)| &value.sources)
            .filter_map(|(source, _)| match source {
                Source::Function(id) => Some(*id),
                _ => None,
            })
            .collect();
        for id in invoked {
            if self.in_function() {
                self.merge_into_frame(id);
            } else {
                self.record_invocation(id);
                self.op(Op::Invoke(id));
            }
        }
        let text = match full.as_deref() {
            Some("pathlib.Path" | "Path" | "pathlib.PurePath" | "str") if arguments.len() == 1 => {
                arguments[0].1.text.clone()
            }
            _ => None,
        };
        if self.in_function() {
            let mut result = Value {
                text,
                ..Value::default()
            };
            if !judgement.is_fresh {
                if let Callee::Method { receiver, .. } = &callee {
                    result = result.or(&receiver.part(None));
                }
                for (_, value) in &arguments {
                    result = result.or(&value.part(None));
                }
            }
            return result;
        }
        let id = self.current.n_calls;
        self.current.n_calls += 1;
        self.op(Op::Call(Call {
            id,
            callee,
            arguments,
            is_inplace,
        }));
        Value {
            text,
            ..Value::of(Source::Result(id))
        }
    }

    /// Calls whose meaning is part of the language. `Some`: nothing more is to be said about the call.
    fn special_call(
        &mut self,
        name: &str,
        node: &ast::ExprCall,
        arguments: &[(Option<String>, Value)],
        line: usize,
    ) -> Option<Value> {
        if self.found.writes.contains(name) {
            return None;
        }
        let first = node.arguments.args.first();
        let n_arguments = node.arguments.len();
        match name {
            "exec" | "eval" | "compile" => {
                let mode_is_plain = n_arguments == 1 || name == "compile";
                match arguments.first().and_then(|(_, value)| value.text.clone()) {
                    Some(text)
                        if mode_is_plain && first.is_some_and(Expr::is_string_literal_expr) =>
                    {
                        if name != "compile" {
                            self.embedded(&text, line, name);
                        }
                    }
                    _ => self.unknown(name, line),
                }
                Some(Value::default())
            }
            "globals" | "locals" => {
                self.unknown(&format!("{name}()"), line);
                Some(Value::default())
            }
            "vars" | "dir" if n_arguments == 0 => {
                self.unknown(&format!("{name}()"), line);
                Some(Value::default())
            }
            "get_ipython" => {
                self.unknown("get_ipython", line);
                Some(Value::default())
            }
            "__import__" => {
                match arguments.first().and_then(|(_, value)| value.text.clone()) {
                    Some(module) => {
                        return Some(Value::of(Source::Module(
                            module.split('.').next().unwrap_or_default().to_owned(),
                        )));
                    }
                    None => self.unknown("__import__", line),
                }
                Some(Value::default())
            }
            "setattr" | "delattr" => {
                let target = arguments
                    .first()
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                let is_constant = node
                    .arguments
                    .args
                    .get(1)
                    .is_some_and(Expr::is_string_literal_expr);
                let key = arguments
                    .get(1)
                    .and_then(|(_, value)| value.text.clone())
                    .filter(|_| is_constant);
                if key.is_none()
                    && target
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Name(_) | Source::Module(_)))
                {
                    self.unknown(name, line);
                }
                if let (Some(attr), Some(first)) = (&key, first)
                    && let Some(path) = dotted(first)
                    && !self.in_function()
                {
                    self.current
                        .attribute_stores
                        .insert(format!("{path}.{attr}"));
                }
                let held = arguments
                    .get(2)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                self.mutate(target, Some(key.map_or(Key::Any, Key::Attr)), held);
                Some(Value::scalar())
            }
            "getattr" => {
                let is_constant = node
                    .arguments
                    .args
                    .get(1)
                    .is_some_and(Expr::is_string_literal_expr);
                let target = arguments
                    .first()
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default();
                if !is_constant
                    && target
                        .sources
                        .iter()
                        .any(|(source, _)| matches!(source, Source::Module(_)))
                {
                    self.unknown(name, line);
                }
                let key = arguments
                    .get(1)
                    .and_then(|(_, value)| value.text.clone())
                    .filter(|_| is_constant);
                Some(target.part(key.map(Key::Attr)))
            }
            _ => None,
        }
    }

    /// Code in a constant string runs where it stands.
    fn embedded(&mut self, text: &str, line: usize, construct: &str) {
        let text = if construct == "eval" {
            text.trim()
        } else {
            text
        };
        let Some(parsed) = parse(text) else {
            self.unknown(construct, line);
            return;
        };
        if !parsed.errors.is_empty() {
            self.unknown(construct, line);
        }
        let outer = self.fixed_line.replace(line);
        self.body(&parsed.body);
        self.fixed_line = outer;
    }

    /// Effects outside the namespace of functions that are known by their full name.
    fn known_call(
        &mut self,
        full: &str,
        node: &ast::ExprCall,
        arguments: &[(Option<String>, Value)],
        line: usize,
    ) {
        let has_seed = |name: &str| node.arguments.find_keyword(name).is_some();
        if knowledge::has("seeds", full) {
            if let Some((module, _)) = full.rsplit_once('.') {
                let state = knowledge::value("random-state", module).unwrap_or(module);
                self.outside(Outside::Seed(state.to_owned()));
            }
        } else if let Some(state) = knowledge::random_state(full) {
            self.outside(Outside::Draw(state.to_owned()));
        }
        let last = full.rsplit('.').next().unwrap_or(full);
        if last == "default_rng" && node.arguments.is_empty()
            || full == "random.Random" && node.arguments.is_empty()
        {
            self.note_nondeterministic(full, line);
            self.outside(Outside::Varies(Varies::Random));
        }
        if matches!(last, "train_test_split" | "shuffle" | "resample")
            && full.contains("sklearn")
            && !has_seed("random_state")
        {
            self.note_nondeterministic(full, line);
            self.outside(Outside::Draw("numpy.random".to_owned()));
        }
        match full {
            "os.getenv"
            | "os.environ.get"
            | "os.environ.setdefault"
            | "os.environ.pop"
            | "environ.get" => {
                let variable = arguments.first().and_then(|(_, value)| value.text.clone());
                self.outside(Outside::EnvironmentRead(variable.clone()));
                if full.ends_with("setdefault") || full.ends_with("pop") {
                    self.outside(Outside::EnvironmentWrite(variable));
                }
            }
            "os.putenv" | "os.unsetenv" => {
                self.outside(Outside::EnvironmentWrite(
                    arguments.first().and_then(|(_, value)| value.text.clone()),
                ));
            }
            "os.environ.update" | "os.environ.clear" | "dotenv.load_dotenv" | "load_dotenv" => {
                self.outside(Outside::EnvironmentWrite(None));
            }
            "os.chdir" => self.outside(Outside::FileWrite(FilePath::Unknown)),
            _ => {}
        }
        if knowledge::has("process", full) {
            self.outside(Outside::EnvironmentRead(None));
            self.outside(Outside::FileRead(FilePath::Unknown));
            self.outside(Outside::FileWrite(FilePath::Unknown));
        }
        if knowledge::has("config-calls", full) {
            let library = full.split('.').next().unwrap_or(full);
            self.outside(Outside::Configure(library.to_owned()));
        }
    }

    fn note_nondeterministic(&mut self, construct: &str, line: usize) {
        self.found.marks.nondeterministic.push(Note {
            construct: construct.to_owned(),
            line,
        });
    }

    fn file_call(
        &mut self,
        full: Option<&str>,
        callee: &Callee,
        arguments: &[(Option<String>, Value)],
    ) {
        let argument = |position: usize, keywords: &[&str]| -> Option<(FilePath, bool)> {
            let keyword = arguments
                .iter()
                .find(|(name, _)| name.as_deref().is_some_and(|name| keywords.contains(&name)));
            let value = match keyword {
                Some((_, value)) => value,
                None => {
                    &arguments
                        .get(position)
                        .filter(|(name, _)| name.is_none())?
                        .1
                }
            };
            Some((
                self.file_path(value),
                value.kind == Kind::Scalar || value.text.is_some(),
            ))
        };
        let names = [
            "path",
            "file",
            "filename",
            "fname",
            "filepath_or_buffer",
            "path_or_buf",
            "filepath",
            "name",
            "f",
        ];
        let mode = |position: usize| {
            let mode = arguments.get(position).filter(|(name, _)| name.is_none());
            let mode = arguments
                .iter()
                .find(|(name, _)| name.as_deref() == Some("mode"))
                .or(mode);
            mode.map_or(Some("r".to_owned()), |(_, value)| value.text.clone())
        };
        let opened = |path: FilePath, mode: Option<String>| match mode {
            Some(mode) if !mode.contains(['w', 'a', 'x', '+']) => vec![Outside::FileRead(path)],
            Some(mode) if mode.starts_with(['w', 'x']) && !mode.contains('+') => {
                vec![Outside::FileWrite(path)]
            }
            // Appending depends on what was there.
            _ => vec![Outside::FileRead(path.clone()), Outside::FileWrite(path)],
        };
        let mut effects = Vec::new();
        match callee {
            Callee::Name(name) if name == "open" => {
                if let Some((path, _)) = argument(0, &["file"]) {
                    effects = opened(path, mode(1));
                }
            }
            Callee::Method {
                receiver, method, ..
            } if knowledge::value("path-methods", method).is_some() => {
                let path = self.file_path(receiver);
                effects.push(match knowledge::value("path-methods", method) {
                    Some("w") => Outside::FileWrite(path),
                    _ => Outside::FileRead(path),
                });
            }
            Callee::Method {
                receiver, method, ..
            } if method == "open" && receiver.text.is_some() => {
                effects = opened(self.file_path(receiver), mode(0));
            }
            Callee::Method {
                receiver, method, ..
            } if matches!(
                method.as_str(),
                "exists" | "is_file" | "unlink" | "mkdir" | "touch"
            ) && receiver.text.is_some() =>
            {
                let path = self.file_path(receiver);
                effects.push(if matches!(method.as_str(), "exists" | "is_file") {
                    Outside::FileRead(path)
                } else {
                    Outside::FileWrite(path)
                });
            }
            _ => {
                let known = full.and_then(|full| knowledge::value("file-functions", full));
                if let Some((how, position)) = known.and_then(|known| known.split_once(':')) {
                    if let Some((path, _)) = argument(position.parse().unwrap_or(0), &names) {
                        effects.push(if how == "w" {
                            Outside::FileWrite(path)
                        } else {
                            Outside::FileRead(path)
                        });
                    }
                    if let Some(
                        "shutil.copy" | "shutil.copyfile" | "shutil.copy2" | "shutil.move"
                        | "os.rename" | "os.replace",
                    ) = full
                        && let Some((path, _)) = argument(1, &["dst"])
                    {
                        effects.push(Outside::FileWrite(path));
                    }
                } else {
                    let last = match callee {
                        Callee::Method { method, .. } => method.as_str(),
                        Callee::Name(_) => full
                            .and_then(|full| full.rsplit('.').next())
                            .unwrap_or_default(),
                        Callee::Other(_) => "",
                    };
                    if let Some(position) = knowledge::value("file-readers", last)
                        && let Some((path, _)) = argument(position.parse().unwrap_or(0), &names)
                    {
                        effects.push(Outside::FileRead(path));
                    }
                    if let Some(position) = knowledge::value("file-writers", last)
                        && let Some((path, _)) = argument(position.parse().unwrap_or(0), &names)
                    {
                        if mode(usize::MAX).is_some_and(|mode| mode.starts_with('a')) {
                            effects.push(Outside::FileRead(path.clone()));
                        }
                        effects.push(Outside::FileWrite(path));
                    }
                }
            }
        }
        for effect in effects {
            self.outside(effect);
        }
    }

    fn file_path(&self, value: &Value) -> FilePath {
        if let Some(text) = &value.text {
            return FilePath::Literal(text.clone());
        }
        match &value.sources[..] {
            [(Source::Name(name), Relation::Same)] => match self
                .module_values
                .get(name)
                .and_then(|value| value.text.clone())
            {
                Some(text) if !self.in_function() => FilePath::Literal(text),
                _ => FilePath::Name(name.clone()),
            },
            _ => FilePath::Unknown,
        }
    }

    /// Strings that a library evaluates: `df.query("a > @limit")`.
    fn evaluated_strings(&mut self, full: Option<&str>, callee: &Callee, node: &ast::ExprCall) {
        let (last, is_frame_method) = match callee {
            Callee::Method { method, path, .. } => {
                let of_module = path.as_ref().is_some_and(|path| {
                    self.imports.contains_key(&path.root)
                        || knowledge::value("aliases", &path.root).is_some()
                });
                (
                    method.as_str(),
                    !of_module && matches!(method.as_str(), "query" | "eval"),
                )
            }
            Callee::Name(_) => (
                full.and_then(|full| full.rsplit('.').next())
                    .unwrap_or_default(),
                false,
            ),
            Callee::Other(_) => return,
        };
        if !knowledge::has("string-evaluators", last) {
            return;
        }
        let mut names = BTreeSet::new();
        for argument in node.arguments.iter_source_order() {
            string_constants(argument.value(), &mut |text| {
                if is_frame_method {
                    // Inside a frame only `@name` is a variable; bare names are columns first.
                    for (at, _) in text.match_indices('@') {
                        names.extend(identifiers(&text[at + 1..]).next());
                    }
                } else {
                    names.extend(identifiers(text));
                }
            });
        }
        match self.frame() {
            Some(frame) => frame.string_names.extend(names),
            None if !names.is_empty() => self.op(Op::StringNames(names.into_iter().collect())),
            None => {}
        }
    }

    fn is_module(&self, name: &str) -> bool {
        self.imports.contains_key(name)
            || (!self.module_values.contains_key(name)
                && (knowledge::value("aliases", name).is_some()
                    || (knowledge::has("pure-modules", name) && !self.found.writes.contains(name))))
    }

    fn judge(&self, full: Option<&str>, callee: &Callee, is_inplace: bool) -> Judgement {
        judge(full, callee, is_inplace, |name| self.is_module(name))
    }

    fn apply(
        &mut self,
        judgement: &Judgement,
        callee: &Callee,
        arguments: &[(Option<String>, Value)],
    ) {
        if judgement.changes_receiver
            && let Callee::Method { receiver, .. } = callee
        {
            self.record_mutation(&receiver.clone());
        }
        let own_function = match callee {
            Callee::Name(name) => self.found.named_functions.get(name).copied(),
            Callee::Other(value) => value.sources.iter().find_map(|(source, _)| match source {
                Source::Function(id) => Some(*id),
                _ => None,
            }),
            Callee::Method { .. } => None,
        };
        if let Some(id) = own_function {
            for (position, (keyword, value)) in arguments.iter().enumerate() {
                if self.found.functions[id].changes_argument(position, keyword.as_deref()) {
                    self.record_mutation(value);
                }
            }
            let passed_on = !self.found.functions[id].passed_on.is_empty();
            if !passed_on {
                return;
            }
        }
        if judgement.is_open
            && self.in_function()
            && let Callee::Name(name) = callee
        {
            let passed: Vec<Vec<Source>> = arguments
                .iter()
                .map(|(_, value)| {
                    let sources = value
                        .sources
                        .iter()
                        .filter(|(_, relation)| *relation != Relation::Holds);
                    sources.map(|(source, _)| source.clone()).collect()
                })
                .collect();
            let name = name.clone();
            if let Some(frame) = self.frame() {
                frame.passed_on.push((name, passed));
            }
            return;
        }
        for (position, (keyword, value)) in arguments.iter().enumerate() {
            let is_changed = match &judgement.changed_arguments {
                None => true,
                Some(positions) => {
                    keyword.is_none() && positions.contains(&position)
                        || keyword.as_deref() == Some("out")
                }
            };
            if is_changed {
                self.record_mutation(value);
            }
        }
    }

    // ---- IPython -----------------------------------------------------------------------------------------------

    /// A line that is not Python.
    pub(crate) fn escape(&mut self, kind: IpyEscapeKind, text: &str, line: usize) {
        match kind {
            IpyEscapeKind::Help | IpyEscapeKind::Help2 => {
                let text = text.trim().trim_matches('?');
                if !text.starts_with('%') {
                    self.embedded_expression(text, line);
                }
            }
            IpyEscapeKind::Shell | IpyEscapeKind::ShCap => {
                self.note_process(
                    &format!("!{}", text.split_whitespace().next().unwrap_or_default()),
                    line,
                );
                self.expanded_names(text, line);
            }
            IpyEscapeKind::Magic | IpyEscapeKind::Magic2 => self.line_magic(text, line),
            IpyEscapeKind::Quote | IpyEscapeKind::Quote2 | IpyEscapeKind::Paren => {
                // `/f a b` calls `f(a, b)`; `,f a b` passes the words as strings.
                let mut words = text.split_whitespace();
                let callee = words.next().unwrap_or_default();
                let rest: Vec<&str> = words.collect();
                let call = if kind == IpyEscapeKind::Paren {
                    format!(
                        "{callee}({})",
                        rest.join(" ").split(',').collect::<Vec<_>>().join(",")
                    )
                } else {
                    format!("{callee}()")
                };
                self.embedded(&call, line, callee);
            }
        }
    }

    fn note_process(&mut self, construct: &str, line: usize) {
        self.found.marks.process.push(Note {
            construct: construct.to_owned(),
            line,
        });
        self.outside(Outside::Varies(Varies::Process));
        self.outside(Outside::EnvironmentRead(None));
        self.outside(Outside::FileRead(FilePath::Unknown));
        self.outside(Outside::FileWrite(FilePath::Unknown));
    }

    /// Names in `{expression}` and `$name` of a shell line or an opaque magic.
    pub(crate) fn expanded_names(&mut self, text: &str, line: usize) {
        let mut rest = text;
        while let Some(at) = rest.find(['{', '$']) {
            let after = &rest[at + 1..];
            if rest[at..].starts_with('{') {
                let Some(end) = after.find('}') else { break };
                self.embedded_expression(&after[..end], line);
                rest = &after[end + 1..];
            } else {
                if let Some(name) = identifiers(after).next()
                    && after.starts_with(name.as_str())
                {
                    self.read_path(&name, Vec::new(), How::Load, line);
                }
                rest = after.strip_prefix('$').unwrap_or(after);
            }
        }
    }

    fn embedded_expression(&mut self, text: &str, line: usize) {
        if let Some(expr) = parse_expression(text) {
            let outer = self.fixed_line.replace(line);
            self.expr(&expr);
            self.fixed_line = outer;
        }
    }

    fn line_magic(&mut self, text: &str, line: usize) {
        let text = text.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        if knowledge::has("python-line-magics", name) {
            let code = without_options(rest);
            if name == "time" {
                self.embedded(code, line, "%time");
            } else {
                self.as_function(code, line);
            }
            return;
        }
        match name {
            "env" | "set_env" => match rest.split_once(['=', ' ']) {
                Some((variable, value)) => {
                    self.expanded_names(value, line);
                    self.found.marks.environment.push(Note {
                        construct: format!("%{name}"),
                        line,
                    });
                    self.outside(Outside::EnvironmentWrite(Some(variable.trim().to_owned())));
                    self.unknown(&format!("%{name}"), line);
                }
                None => {
                    self.found.marks.environment.push(Note {
                        construct: "%env".to_owned(),
                        line,
                    });
                    let variable = (!rest.is_empty()).then(|| rest.to_owned());
                    self.outside(Outside::EnvironmentRead(variable));
                }
            },
            "sx" | "system" => {
                self.note_process(&format!("%{name}"), line);
                self.expanded_names(rest, line);
            }
            "psource" | "pinfo2" | "pfile" => {
                self.found.marks.reads_source.push(Note {
                    construct: format!("%{name}"),
                    line,
                });
                self.embedded_expression(rest, line);
            }
            "pinfo" | "pdoc" | "pdef" => self.embedded_expression(rest, line),
            "store" if !rest.starts_with("-r") => {
                self.embedded_expression(rest, line);
                self.unknown("%store", line);
            }
            "xdel" => {
                if let Some(variable) = identifiers(rest).last() {
                    self.read_path(&variable, Vec::new(), How::Store, line);
                    self.unbind(&variable);
                }
            }
            _ if knowledge::has("pure-line-magics", name) => self.expanded_names(rest, line),
            _ => {
                self.expanded_names(rest, line);
                // `obj.magic x` of an unknown extension often takes names.
                for word in rest.split_whitespace() {
                    self.embedded_expression(word, line);
                }
                self.unknown(&format!("%{name}"), line);
            }
        }
    }

    /// Code that runs in a function's scope of its own, as `%timeit` does: it reads names but binds none.
    pub(crate) fn as_function(&mut self, code: &str, line: usize) {
        let Some(parsed) = parse(code) else {
            self.unknown("%timeit", line);
            return;
        };
        let outer = self.fixed_line.replace(line);
        self.body_as_function(&parsed.body);
        self.fixed_line = outer;
    }

    pub(crate) fn body_as_function(&mut self, body: &[Stmt]) {
        let bindings = binder::of_body(body, self.class_name());
        let id = self.function(None, bindings, |this| this.body(body));
        if !self.in_function() {
            self.record_invocation(id);
            self.op(Op::Invoke(id));
        }
    }

    /// A binding made by a magic, such as `%%capture out`.
    pub(crate) fn bind_name(&mut self, name: &str) {
        self.bind(name, Value::default());
    }

    pub(crate) fn write_file(&mut self, path: &str) {
        let literal = !path.contains(['$', '{']);
        let path = if literal {
            FilePath::Literal(path.to_owned())
        } else {
            FilePath::Unknown
        };
        self.outside(Outside::FileWrite(path));
    }

    pub(crate) fn run_process(&mut self, construct: &str, line: usize) {
        self.note_process(construct, line);
        self.unknown(construct, line);
    }
}

impl FunctionFacts {
    /// Whether the argument at this position, or with this keyword, may change.
    pub(crate) fn changes_argument(&self, position: usize, keyword: Option<&str>) -> bool {
        let index = match keyword {
            Some(keyword) => match self.params.iter().position(|param| param == keyword) {
                Some(index) => index,
                // Taken by `**kwargs`, the last parameter.
                None => self.params.len().saturating_sub(1),
            },
            None => match self.vararg {
                Some(vararg) if position >= vararg => vararg,
                _ => position,
            },
        };
        self.mutated_params.contains(&index)
    }
}

pub(crate) fn judge(
    full: Option<&str>,
    callee: &Callee,
    is_inplace: bool,
    is_module: impl Fn(&str) -> bool,
) -> Judgement {
    let mut judgement = Judgement {
        changes_receiver: false,
        changed_arguments: None,
        is_open: false,
        is_fresh: false,
    };
    match callee {
        Callee::Name(name) => {
            let full = full.unwrap_or(name);
            judgement.changed_arguments = knowledge::mutated_arguments(full);
            judgement.is_open = judgement.changed_arguments.is_none();
            judgement.is_fresh = knowledge::has("fresh-builtins", full)
                || (full.contains('.') && !judgement.is_open && is_plain_function(full));
        }
        Callee::Method { path, method, .. } => {
            if let (Some(path), Some(full)) = (path, full)
                && is_module(&path.root)
            {
                judgement.changed_arguments = knowledge::mutated_arguments(full);
                judgement.is_fresh =
                    judgement.changed_arguments.is_some() && is_plain_function(full);
                return judgement;
            }
            if is_inplace {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(Vec::new());
            } else if knowledge::has("fills-argument-methods", method) {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(vec![0]);
            } else if knowledge::has("pure-methods", method) {
                judgement.changed_arguments = Some(Vec::new());
                judgement.is_fresh = !knowledge::has("view-methods", method);
            } else if knowledge::has("receiver-only-methods", method) {
                judgement.changes_receiver = true;
                judgement.changed_arguments = Some(Vec::new());
            } else {
                judgement.changes_receiver = true;
            }
        }
        Callee::Other(_) => {}
    }
    judgement
}

/// Functions of known libraries give new objects; classes keep what they are given.
pub(crate) fn is_plain_function(full: &str) -> bool {
    let last = full.rsplit('.').next().unwrap_or(full);
    !knowledge::has("view-functions", full) && !last.starts_with(|first: char| first.is_uppercase())
        || knowledge::has("frame-makers", full)
}

// ---- small questions about syntax ------------------------------------------------------------------------------

fn literal(expr: &Expr) -> Value {
    Value {
        kind: Kind::Scalar,
        literal: Some(fingerprint::expression(expr)),
        ..Value::default()
    }
}

/// `a.b.c` as text.
fn dotted(expr: &Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut at = expr;
    loop {
        match at {
            Expr::Attribute(node) => {
                parts.push(node.attr.as_str());
                at = &node.value;
            }
            Expr::Name(node) => {
                parts.push(node.id.as_str());
                parts.reverse();
                return (!parts.contains(&"")).then(|| parts.join("."));
            }
            _ => return None,
        }
    }
}

/// The key of a constant subscript. The prefix keeps `d['1']` and `d[1]` apart.
fn constant_key(slice: &Expr) -> Key {
    match slice {
        Expr::StringLiteral(node) => Key::Item(format!("s:{}", node.value.to_str())),
        Expr::NumberLiteral(node) => match &node.value {
            crate::syntax::Number::Int(int) => Key::Item(format!("i:{int}")),
            _ => Key::Any,
        },
        _ => Key::Any,
    }
}

/// The text of a constant string key.
fn item_text(key: &Key) -> Option<String> {
    match key {
        Key::Item(item) => item.strip_prefix("s:").map(str::to_owned),
        _ => None,
    }
}

fn items(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(node) => Some(&node.elts),
        Expr::List(node) => Some(&node.elts),
        _ => None,
    }
}

fn is_false(expr: &Expr) -> bool {
    matches!(expr, Expr::BooleanLiteral(node) if !node.value)
}

fn terminates(body: &[Stmt]) -> bool {
    matches!(
        body.last(),
        Some(Stmt::Raise(_) | Stmt::Return(_) | Stmt::Continue(_) | Stmt::Break(_))
    )
}

fn is_only_imports(stmt: &Stmt) -> bool {
    let all = |body: &[Stmt]| {
        body.iter()
            .all(|stmt| is_only_imports(stmt) || matches!(stmt, Stmt::Pass(_)))
            && body.iter().any(is_only_imports)
    };
    match stmt {
        Stmt::Import(_) => true,
        Stmt::ImportFrom(node) => node.names.iter().all(|alias| alias.name.as_str() != "*"),
        Stmt::Try(node) => {
            all(&node.body)
                && node
                    .handlers
                    .iter()
                    .all(|ExceptHandler::ExceptHandler(handler)| {
                        handler
                            .body
                            .iter()
                            .all(|stmt| is_only_imports(stmt) || matches!(stmt, Stmt::Pass(_)))
                    })
                && node.orelse.iter().all(is_only_imports)
                && node.finalbody.iter().all(is_only_imports)
        }
        Stmt::If(node) => {
            all(&node.body)
                && node
                    .elif_else_clauses
                    .iter()
                    .all(|clause| all(&clause.body))
                && !has_call(&node.test)
        }
        _ => false,
    }
}

fn has_call(expr: &Expr) -> bool {
    struct Finder(bool);
    impl<'a> ast::visitor::Visitor<'a> for Finder {
        fn visit_expr(&mut self, expr: &'a Expr) {
            self.0 |= expr.is_call_expr();
            deeper(|| ast::visitor::walk_expr(self, expr));
        }
    }
    let mut finder = Finder(false);
    ast::visitor::Visitor::visit_expr(&mut finder, expr);
    finder.0
}

fn string_constants(expr: &Expr, found: &mut dyn FnMut(&str)) {
    struct Finder<'f>(&'f mut dyn FnMut(&str));
    impl<'a> ast::visitor::Visitor<'a> for Finder<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::StringLiteral(node) = expr {
                (self.0)(node.value.to_str());
            }
            if let Expr::FString(node) = expr {
                for element in node.value.elements() {
                    if let InterpolatedStringElement::Literal(literal) = element {
                        (self.0)(&literal.value);
                    }
                }
            }
            deeper(|| ast::visitor::walk_expr(self, expr));
        }
    }
    ast::visitor::Visitor::visit_expr(&mut Finder(found), expr);
}

fn target_names(target: &Expr, found: &mut dyn FnMut(&str)) {
    match target {
        Expr::Name(node) => found(node.id.as_str()),
        Expr::Tuple(node) => node
            .elts
            .iter()
            .for_each(|target| target_names(target, found)),
        Expr::List(node) => node
            .elts
            .iter()
            .for_each(|target| target_names(target, found)),
        Expr::Starred(node) => target_names(&node.value, found),
        _ => {}
    }
}

fn identifiers(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(|first: char| first.is_alphabetic() || first == '_'))
        .map(str::to_owned)
}

pub(crate) fn is_history_name(name: &str) -> bool {
    if matches!(
        name,
        "_" | "__"
            | "___"
            | "Out"
            | "In"
            | "_i"
            | "_ii"
            | "_iii"
            | "_ih"
            | "_oh"
            | "_dh"
            | "_exit_code"
    ) {
        return true;
    }
    let digits = name.strip_prefix("_i").or_else(|| name.strip_prefix('_'));
    digits.is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The code of `%timeit -n 10 -r3 code`.
pub(crate) fn without_options(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(option) = rest.strip_prefix('-') {
        let (word, after) = option
            .split_once(char::is_whitespace)
            .unwrap_or((option, ""));
        rest = after.trim_start();
        // `-n 10` takes the next word; `-n10` does not.
        if matches!(
            word,
            "n" | "r" | "t" | "p" | "s" | "l" | "f" | "T" | "D" | "m"
        ) && word.len() == 1
        {
            let (value, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if matches!(word, "s" | "l" | "T" | "D" | "f" | "m")
                || value.bytes().all(|byte| byte.is_ascii_digit())
            {
                rest = after.trim_start();
            }
        }
    }
    rest
}
