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
use crate::facts::{FunctionFacts, FunctionId, Key, Op, StatementFacts, Value};
use crate::fingerprint;
use crate::name::Name;
use crate::sorted::{Map, Set};
use crate::syntax::{Expr, Stmt};
use questions::{dotted, shows_no_table};
use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};

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
    values: HashMap<Name, Value>,
    /// Names a class body has bound so far; before that the lookup goes on to the globals.
    bound_so_far: HashSet<Name>,
    class_name: Option<Name>,
    methods: Map<FunctionId>,
    /// Those of them that are properties.
    implied: Set<Name>,
}

impl Scope {
    fn new(kind: ScopeKind, bindings: binder::Bindings) -> Self {
        Scope {
            kind,
            bindings,
            values: HashMap::default(),
            bound_so_far: HashSet::default(),
            class_name: None,
            methods: Map::default(),
            implied: Set::default(),
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
    names: Option<Box<StatementNames>>,
    ops: Vec<Op>,
    n_calls: usize,
}

/// What the summary of a statement says of names.
#[derive(Default)]
struct StatementNames {
    reads: Set<Name>,
    writes: Set<Name>,
    mutates: Set<Name>,
    deletes: Set<Name>,
    calls: Set<Name>,
    attribute_stores: Set<Name>,
}

/// What the walk found in a whole cell.
#[derive(Default)]
pub(crate) struct Found {
    pub reads: Set<Name>,
    pub loads: Set<Name>,
    pub writes: Set<Name>,
    pub mutates: Set<Name>,
    pub deletes: Set<Name>,
    pub string_names: Set<Name>,
    pub files_read: Set<Name>,
    pub files_written: Set<Name>,
    pub unknown: Vec<Note>,
    pub marks: Marks,
    pub named_functions: Map<FunctionId>,
    pub functions: Vec<FunctionFacts>,
    /// With their summaries, where these are wanted.
    pub statements: Vec<(StatementFacts, Option<Box<StatementEffects>>)>,
    pub imports: Map<Name>,
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
    definite: HashMap<Name, usize>,
    undo: Vec<(Name, Option<usize>)>,
    n_conditions: usize,
    /// Import bindings of this cell: name to dotted name.
    imports: Map<Name>,
    /// What the names this cell binds may refer to.
    module_values: HashMap<Name, Value>,
    has_lazy_annotations: bool,
    history: Vec<(Name, usize)>,
    /// The name to which the statement that comes only adds something.
    adding_to: Option<Name>,
    /// Of tables whose names stand at these offsets, the columns that are looked at.
    columns: Vec<(usize, Box<[Key]>)>,
    /// What names of loops over constant strings stand for.
    spelled: Vec<(Name, Box<[Name]>)>,
}

impl<'t> Visitor<'t> {
    /// `imports`: what other cells import under the names that this one uses.
    pub(crate) fn new(
        line_of: &'t dyn Fn(usize) -> usize,
        imports: &[(Name, Name)],
        detail: Detail,
    ) -> Self {
        let mut own_imports = Map::default();
        for &(name, module) in imports {
            own_imports.insert(name, module);
        }
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
            imports: own_imports,
            module_values: HashMap::default(),
            spelled: Vec::new(),
            has_lazy_annotations: false,
            history: Vec::new(),
            adding_to: None,
            columns: Vec::new(),
        }
    }

    /// Walks a top-level statement. Offsets and lines are filled in by the caller.
    pub(crate) fn top_level(&mut self, stmt: &Stmt) {
        self.begin();
        let kind = if self.detail.is_everything() {
            self.kind_of(stmt)
        } else {
            StatementKind::default()
        };
        let discarded = match stmt {
            Stmt::Expr(node) if self.detail.is_everything() => match &*node.value {
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
        let (fingerprint, values) = fingerprint::with_values(stmt, self.detail);
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
        self.current.names = (self.detail.is_everything()).then(Box::default);
        self.current.ops.clear();
        self.current.n_calls = 0;
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
        discarded_call: Option<Name>,
    ) {
        let effects = self.current.names.take().map(|names| StatementEffects {
            kind,
            reads: names.reads.texts(),
            writes: names.writes.texts(),
            mutates: names.mutates.texts(),
            deletes: names.deletes.texts(),
            calls: names.calls.texts(),
            discarded_call: discarded_call.map(|name| name.text().to_owned()),
            attribute_stores: names.attribute_stores.texts(),
            ..StatementEffects::default()
        });
        self.found.statements.push((
            StatementFacts {
                fingerprint,
                values: None,
                // What held them serves the next statement.
                ops: self.current.ops.drain(..).collect(),
                is_expression: false,
                names_value: false,
                shows_tables: false,
                covers_cell: false,
            },
            effects.map(Box::new),
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
        self.found.imports = std::mem::take(&mut self.imports);
        self.found.imports.retain(|name| writes.has(name));
        let mut history: Vec<Note> = self
            .history
            .drain(..)
            .filter(|(name, _)| !writes.has(*name))
            .map(|(name, line)| Note {
                construct: name.text().to_owned(),
                line,
            })
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
            &mut self.found.unknown,
        ] {
            notes.sort();
            notes.dedup();
        }
        self.found
    }
}
