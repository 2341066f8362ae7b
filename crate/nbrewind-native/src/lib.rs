//! Kernel face: the analysis, the plan, the store and the object walker as Python sees them.
//!
//! Every function here decodes, calls one core function and encodes; errors become Python's in one place per crate.

mod analysis;
mod files;
mod memory;
mod numpy;
mod plan;
mod spans;
mod store;
mod tasks;
mod walk;
mod watch;

use pyo3::prelude::*;

/// The native module of the `nbrewind` package.
#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(walk::walk, m)?)?;
    m.add_function(wrap_pyfunction!(walk::walk_namespace, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::analyze_cell, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::analyze_notebook, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::stale, m)?)?;
    m.add_function(wrap_pyfunction!(analysis::graph, m)?)?;
    m.add_function(wrap_pyfunction!(plan::choose, m)?)?;
    m.add_function(wrap_pyfunction!(plan::slice, m)?)?;
    m.add_function(wrap_pyfunction!(watch::watch_start, m)?)?;
    m.add_function(wrap_pyfunction!(watch::watch_stop, m)?)?;
    m.add_function(wrap_pyfunction!(watch::watch_hears_variables, m)?)?;
    m.add_function(wrap_pyfunction!(watch::watch_mark, m)?)?;
    m.add_function(wrap_pyfunction!(watch::watch_since, m)?)?;
    m.add_class::<memory::Memory>()?;
    m.add_class::<memory::Sources>()?;
    m.add_function(wrap_pyfunction!(memory::interleave, m)?)?;
    m.add_function(wrap_pyfunction!(memory::mark_of, m)?)?;
    store::register(m)?;
    m.add_function(wrap_pyfunction!(files::file_digest, m)?)?;
    m.add_class::<tasks::Encoder>()?;
    m.add_function(wrap_pyfunction!(tasks::scalar_digest, m)?)?;
    m.add_function(wrap_pyfunction!(tasks::record_texts, m)?)?;
    m.add_function(wrap_pyfunction!(tasks::task_flags, m)?)?;
    m.add_function(wrap_pyfunction!(tasks::newest_tasks, m)?)?;
    Ok(())
}
