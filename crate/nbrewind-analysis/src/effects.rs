//! What `analyze_cell` returns: the same shape in Rust, in Python's JSON and in the browser.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Facts about one cell. Broken code gives partial facts and `parse_errors`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct CellEffects {
    /// 64 hex digits over the normalised tree; comments and formatting do not count.
    pub fingerprint: String,
    /// 64 hex digits over the text as it is, line endings folded.
    pub exact_fingerprint: String,
    /// Names that the cell takes from the namespace when it runs.
    pub reads: Vec<String>,
    /// Every global name loaded anywhere in the cell, function bodies included.
    pub loads: Vec<String>,
    /// Names the cell binds.
    pub writes: Vec<String>,
    /// Names whose object may change.
    pub mutates: Vec<String>,
    /// Names the cell deletes.
    pub deletes: Vec<String>,
    /// What the bodies of functions and classes defined at top level do when called.
    pub functions: BTreeMap<String, FunctionEffects>,
    /// Identifiers inside string constants.
    pub string_names: Vec<String>,
    /// Literal paths of files read.
    pub files_read: Vec<String>,
    /// Literal paths of files written.
    pub files_written: Vec<String>,
    /// Constructs whose effects cannot be known.
    pub unknown: Vec<Note>,
    /// Constructs that touch the world outside the namespace.
    pub marks: Marks,
    /// One entry per top-level statement.
    pub statements: Vec<StatementEffects>,
    /// What the user declared in `# nbrewind:` comments and tags.
    pub directives: Directives,
    /// Syntax errors.
    pub parse_errors: Vec<ParseError>,
}

/// What a function's body does when it is called; for a class, what its methods do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct FunctionEffects {
    /// Global names the body loads.
    pub reads: Vec<String>,
    /// Global names the body binds.
    pub writes: Vec<String>,
    /// Global names whose object the body may change.
    pub mutates: Vec<String>,
    /// Positions of parameters whose object the body may change.
    pub mutated_params: Vec<usize>,
    /// Dotted names the body calls.
    pub calls: Vec<String>,
}

/// A construct and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Note {
    /// The construct as a reader would name it, such as `exec` or `os.environ`.
    pub construct: String,
    /// 1-based line.
    pub line: usize,
}

/// Constructs by what they touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Marks {
    /// Clocks, unique ids and random draws.
    pub nondeterministic: Vec<Note>,
    /// Environment variables, home and current folder.
    pub environment: Vec<Note>,
    /// Other processes.
    pub process: Vec<Note>,
    /// The network.
    pub network: Vec<Note>,
    /// Code that reads source text, so that comments matter.
    pub reads_source: Vec<Note>,
    /// IPython's history names: `_`, `Out`, `_i3`.
    pub history: Vec<Note>,
}

/// One top-level statement; offsets are UTF-8 bytes of the cell's text, lines 1-based.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct StatementEffects {
    /// First byte, decorators included.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// First line.
    pub line: usize,
    /// Last line.
    pub end_line: usize,
    /// `import`, `config`, `magic`, `definition` or `other`.
    pub kind: StatementKind,
    /// Names read.
    pub reads: Vec<String>,
    /// Names bound.
    pub writes: Vec<String>,
    /// Names whose object may change.
    pub mutates: Vec<String>,
    /// Names deleted.
    pub deletes: Vec<String>,
    /// Dotted callees.
    pub calls: Vec<String>,
    /// The dotted callee of an expression statement.
    pub discarded_call: Option<String>,
    /// Dotted targets of attribute stores, such as `math.kk`.
    pub attribute_stores: Vec<String>,
}

/// What a statement is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum StatementKind {
    /// Only imports.
    Import,
    /// A configuration call of a library.
    Config,
    /// A magic without effects on names.
    Magic,
    /// `def` or `class`.
    Definition,
    /// Anything else.
    #[default]
    Other,
}

/// What the user declared about a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct Directives {
    /// Declared reads.
    pub reads: Vec<String>,
    /// Declared writes.
    pub writes: Vec<String>,
    /// Tag `nbrewind-always-run`.
    pub always_run: bool,
    /// Tag `nbrewind-never-record`.
    pub never_record: bool,
    /// True when effects were declared: unknown constructs of this cell are then covered by the declaration.
    pub declared: bool,
}

/// A syntax error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "types", derive(ts_rs::TS))]
pub struct ParseError {
    /// What the parser says.
    pub message: String,
    /// 1-based line.
    pub line: usize,
}
