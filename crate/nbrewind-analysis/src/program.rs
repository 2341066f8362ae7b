//! What the visitor found in a cell, made ready for the dataflow pass, which goes through it again and again.

use crate::facts::StatementFacts;
use crate::fingerprint::Hash;
use crate::name::Name;
use std::cell::OnceCell;
use std::sync::Arc;

pub(crate) use crate::facts::{
    Call, Callee, FilePath, FunctionFacts as Function, Key, Keys, Op, Outside, Path, Relation,
    Source, Value, path_name,
};

/// One top-level statement; see [`StatementFacts`].
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// Of what it computes.
    pub fingerprint: Hash,
    /// Of the statement, where that is more.
    pub whole: Option<Hash>,
    pub ops: Box<[Op]>,
    /// Libraries that it sets up.
    pub configures: Box<[Name]>,
    /// See [`StatementFacts::names_value`].
    pub names_value: bool,
    /// See [`StatementFacts::shows_tables`].
    pub shows_tables: bool,
    /// An expression that may give something, so that `_` stands for it where a cell ends with it.
    pub gives_value: bool,
    pub covers_cell: bool,
    /// Where it begins.
    pub line: usize,
}

impl Statement {
    pub(crate) fn new(facts: StatementFacts) -> Self {
        let ops = facts.ops;
        let configures = ops.iter().filter_map(|op| match op {
            Op::Outside(Outside::Configure(library)) => Some(*library),
            _ => None,
        });
        let is_print = |op: &Op| match op {
            Op::Call(call) => matches!(call.callee, Callee::Name(name) if name.text() == "print"),
            _ => false,
        };
        Statement {
            fingerprint: facts.values.unwrap_or(facts.fingerprint),
            whole: facts.values.is_some().then_some(facts.fingerprint),
            gives_value: facts.is_expression && !ops.last().is_some_and(is_print),
            configures: configures.collect(),
            ops,
            names_value: facts.names_value,
            shows_tables: facts.shows_tables,
            covers_cell: facts.covers_cell,
            line: 1,
        }
    }
}

/// Everything the dataflow pass needs of a cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub statements: Box<[Statement]>,
    pub functions: Box<[Function]>,
    /// Over the text as it is.
    pub exact_fingerprint: Hash,
    /// The code looks at its own text.
    pub reads_source: bool,
    /// The text of the cell.
    pub text: Arc<str>,
    /// See [`Program::takes_prints`].
    pub takes_prints: OnceCell<bool>,
    pub declared_reads: Box<[Name]>,
    pub declared_writes: Box<[Name]>,
    /// Effects were declared: unknown constructs are covered.
    pub is_declared: bool,
}

/// Words of code that may make a value of what is printed, or of what code there is.
const TAKES_PRINTS: [&str; 11] = [
    // Many managers of contexts catch it: widgets, consoles, tests.
    "with ",
    "stdout",
    "redirect_std",
    "capture",
    "builtins",
    "__code__",
    "inspect",
    "cloudpickle",
    "dill",
    "marshal",
    "import dis",
];

impl Program {
    /// What is printed may end up in values here. Only asked where something is printed.
    pub(crate) fn takes_prints(&self) -> bool {
        let has = |word: &&str| self.text.contains(word);
        *self
            .takes_prints
            .get_or_init(|| TAKES_PRINTS.iter().any(has))
    }
}
