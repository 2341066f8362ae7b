//! The analysis as Python sees it: text in, JSON text out.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The effects of one cell, as JSON text. Never fails on broken code.
#[pyfunction]
pub fn analyze_cell(py: Python<'_>, source: &str) -> PyResult<String> {
    let effects = py.detach(|| nbrewind_analysis::analyze_cell(source));
    serde_json::to_string(&effects).map_err(|error| PyValueError::new_err(error.to_string()))
}
