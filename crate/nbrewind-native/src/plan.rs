//! The repeat rule and recipes as Python sees them: JSON text in, JSON text out.

use std::collections::BTreeSet;

use nbrewind_plan::Candidate;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::Value;

fn into_error(error: &serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("not of the expected form: {error}"))
}

/// Which of these run records (JSON texts, oldest first) may stand for an execution in this state (JSON text).
#[pyfunction]
pub fn choose(records: Vec<String>, state: &str) -> PyResult<String> {
    let candidates: Vec<Candidate> = records
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect::<Result<_, _>>()
        .map_err(|e| into_error(&e))?;
    let state = serde_json::from_str(state).map_err(|e| into_error(&e))?;
    let decision = nbrewind_plan::choose(&candidates, &state);
    serde_json::to_string(&decision).map_err(|e| into_error(&e))
}

/// The statements of a cell (JSON text) that rebuild the `wanted` names, and what they need.
#[pyfunction]
pub fn slice(statements: &str, wanted: BTreeSet<String>) -> PyResult<String> {
    let statements: Value = serde_json::from_str(statements).map_err(|e| into_error(&e))?;
    let found = nbrewind_plan::slice(&statements, &wanted).map_err(|e| into_error(&e))?;
    serde_json::to_string(&found).map_err(|e| into_error(&e))
}
