//! The analysis as Python sees it: text in, JSON text out.

use nbrewind_analysis as analysis;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn into_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn decode<T: DeserializeOwned>(text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(into_error)
}

fn encode(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(into_error)
}

/// The effects of one cell, as JSON text. Never fails on broken code.
#[pyfunction]
pub fn analyze_cell(py: Python<'_>, source: &str) -> PyResult<String> {
    encode(&py.detach(|| analysis::analyze_cell(source)))
}

/// Effects of all cells (JSON: `[{id, source, tags}]`), and the edges between them.
#[pyfunction]
pub fn analyze_notebook(py: Python<'_>, cells: &str) -> PyResult<String> {
    let cells: Vec<analysis::CellInput> = decode(cells)?;
    encode(&py.detach(|| analysis::analyze_notebook(&cells)))
}

/// Which cells of `edited` no longer match the run of `audited`, and why. `facts` may be left out.
#[pyfunction]
#[pyo3(signature = (audited, edited, facts=None))]
pub fn stale(py: Python<'_>, audited: &str, edited: &str, facts: Option<&str>) -> PyResult<String> {
    let audited: Vec<analysis::CellInput> = decode(audited)?;
    let edited: Vec<analysis::CellInput> = decode(edited)?;
    let facts: Option<analysis::RecordedFacts> = facts.map(decode).transpose()?;
    encode(&py.detach(|| analysis::stale(&audited, &edited, facts.as_ref())))
}

/// The dataflow graph as `mermaid`, `dot`, `json` or `svg`.
#[pyfunction]
pub fn graph(py: Python<'_>, cells: &str, format: &str) -> PyResult<String> {
    let cells: Vec<analysis::CellInput> = decode(cells)?;
    let format = format
        .parse()
        .map_err(|error: analysis::UnknownFormat| into_error(error))?;
    Ok(py.detach(|| analysis::graph(&cells, format)))
}
