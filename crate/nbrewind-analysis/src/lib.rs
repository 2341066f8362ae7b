//! Static analysis of notebook cells: cell source -> effects -> dataflow graph -> stale cells and reasons.
//!
//! Pure: opens no file, reads no clock, knows neither Python's runtime nor JavaScript. A user's broken cell is not an
//! error; it gives partial facts and `parse_errors`.

#![allow(
    clippy::mutable_key_type,
    reason = "a name is hashed and compared by its number; what it keeps beside that are answers of tables"
)]

mod ahead;
mod binder;
mod cell;
mod dataflow;
mod drawing;
mod effects;
mod facts;
mod fingerprint;
mod graph;
mod judge;
mod knowledge;
mod memo;
mod name;
mod notebook;
mod printing;
mod program;
mod reason;
mod session;
mod sorted;
mod syntax;
#[cfg(feature = "types")]
mod types;
mod verdict;
mod visit;

pub use effects::{
    CellEffects, Directives, FunctionEffects, Marks, Note, ParseError, StatementEffects,
    StatementKind,
};
pub use graph::{GraphFormat, UnknownFormat, graph};
pub use notebook::{
    CellInput, CellReport, CellState, DefUseEdge, NotebookEffects, RecordedCell, RecordedFacts,
    Staleness, analyze_notebook, stale,
};
pub use session::Workbench;
pub use verdict::{Because, RunHow, RunInput, RunStatus, Verdict, VerdictState, Why};

#[cfg(feature = "types")]
pub use types::typescript;

/// Facts about one cell. Never an error: broken code gives partial facts and `parse_errors`.
pub fn analyze_cell(source: &str) -> CellEffects {
    cell::analyze(&source.into(), &[], &[], cell::Detail::Everything).effects
}
