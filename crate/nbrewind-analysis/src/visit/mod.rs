//! One walk over a cell's syntax tree. It resolves every name as CPython does and writes down two things: the summary
//! that [`crate::CellEffects`] shows, and the operations of each top-level statement that the dataflow pass replays.
//!
//! Terms: a *frame* is a function whose body is being walked (none: the cell's own statements run); a *scope* is where
//! a name is looked up. A class body and a comprehension are scopes but not frames: they run where they stand.
//!
//! Invariant: whatever a frame finds goes to the frame's [`FunctionFacts`], never to the statement, because it happens
//! only when the function is called.

mod calls;
mod definitions;
mod expressions;
mod magics;
mod names;
mod questions;
mod scopes;
mod statements;
mod tables;

pub(crate) use questions::without_options;

use crate::binder;
use crate::cell::Detail;
use crate::effects::{Marks, Note, StatementEffects, StatementKind};
use crate::facts::{FunctionFacts, FunctionId, Op, StatementFacts, Value};
use crate::fingerprint;
use crate::name::Name;
use crate::syntax::{Expr, Stmt};
use questions::{dotted, shows_no_table};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::collections::{BTreeMap, BTreeSet};

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
            values: HashMap::default(),
            bound_so_far: HashSet::default(),
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
    /// Only where the summary of statements is wanted.
    names: Option<StatementNames>,
    ops: Vec<Op>,
    n_calls: usize,
}

/// What the summary of a statement says of names.
#[derive(Default)]
struct StatementNames {
    reads: BTreeSet<String>,
    writes: BTreeSet<String>,
    mutates: BTreeSet<String>,
    deletes: BTreeSet<String>,
    calls: BTreeSet<String>,
    attribute_stores: BTreeSet<String>,
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

pub(crate) struct Visitor<'t> {
    detail: Detail,
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
    /// For texts that are looked up and dropped.
    buffer: String,
    /// The name to which the statement that comes only adds something.
    adding_to: Option<String>,
    /// Of tables whose names stand at these offsets, the columns that are looked at.
    columns: HashMap<usize, Vec<String>>,
}

impl<'t> Visitor<'t> {
    /// `imports`: what other cells import under the names that this one uses.
    pub(crate) fn new(
        line_of: &'t dyn Fn(usize) -> usize,
        imports: &[(Name, Name)],
        detail: Detail,
    ) -> Self {
        Visitor {
            detail,
            line_of,
            fixed_line: None,
            scopes: Vec::new(),
            frames: Vec::new(),
            found: Found::default(),
            current: CurrentStatement::default(),
            statement_index: 0,
            definite: HashMap::default(),
            undo: Vec::new(),
            n_conditions: 0,
            imports: imports
                .iter()
                .map(|(name, module)| (name.text().to_owned(), module.text().to_owned()))
                .collect(),
            module_values: HashMap::default(),
            has_lazy_annotations: false,
            history: Vec::new(),
            buffer: String::new(),
            adding_to: None,
            columns: HashMap::default(),
        }
    }

    /// Walks a top-level statement. Offsets and lines are filled in by the caller.
    pub(crate) fn top_level(&mut self, stmt: &Stmt) {
        self.begin();
        let kind = self.kind_of(stmt);
        let discarded = match stmt {
            Stmt::Expr(node) if self.detail == Detail::Everything => match &*node.value {
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
        let (fingerprint, values) = fingerprint::with_values(stmt);
        self.finish(fingerprint, kind, discarded);
        if let Some((facts, _)) = self.found.statements.last_mut() {
            facts.names_value = stmt.is_assign_stmt() && values.is_some();
            facts.values = values;
            if let Stmt::Expr(node) = stmt {
                facts.is_expression = true;
                facts.shows_tables = !shows_no_table(&node.value);
            }
        }
    }

    fn begin(&mut self) {
        self.current = CurrentStatement {
            names: (self.detail == Detail::Everything).then(StatementNames::default),
            ..CurrentStatement::default()
        };
    }

    /// Adds to the summary of the statement, where one is wanted.
    fn summarize<T>(&mut self, add: impl FnOnce(&mut StatementNames) -> T) {
        if let Some(names) = &mut self.current.names {
            add(names);
        }
    }

    fn finish(
        &mut self,
        fingerprint: fingerprint::Hash,
        kind: StatementKind,
        discarded_call: Option<String>,
    ) {
        let current = std::mem::take(&mut self.current);
        let names = current.names.unwrap_or_default();
        self.found.statements.push((
            StatementFacts {
                fingerprint,
                values: None,
                ops: current.ops,
                is_expression: false,
                names_value: false,
                shows_tables: false,
                covers_cell: false,
            },
            StatementEffects {
                kind,
                reads: names.reads.into_iter().collect(),
                writes: names.writes.into_iter().collect(),
                mutates: names.mutates.into_iter().collect(),
                deletes: names.deletes.into_iter().collect(),
                calls: names.calls.into_iter().collect(),
                discarded_call,
                attribute_stores: names.attribute_stores.into_iter().collect(),
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
}
