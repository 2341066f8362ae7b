//! The store as Python sees it: fingerprints are hex text, payloads are JSON text, errors are one class per action.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nbrewind_store::{
    DamageKind, Fingerprint, GcOptions, Mode, Record, Store as CoreStore, StoreError as CoreError,
};
use pyo3::buffer::PyBuffer;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};
use serde_json::{Value, json};

create_exception!(
    nbrewind,
    StoreError,
    PyException,
    "The store refused; the message says what to do next."
);
create_exception!(
    nbrewind,
    DamagedError,
    StoreError,
    "Stored bytes do not match their name."
);
create_exception!(
    nbrewind,
    MissingError,
    StoreError,
    "Stored bytes are not here (any more)."
);
create_exception!(
    nbrewind,
    NewerFormatError,
    StoreError,
    "The store was written by a newer version."
);
create_exception!(
    nbrewind,
    NotAStoreError,
    StoreError,
    "The folder is not a store."
);
create_exception!(
    nbrewind,
    CannotWriteError,
    StoreError,
    "The store cannot be written: read-only, no permission, or full."
);

/// The one place where the store's errors become Python's.
pub(crate) fn into_error(error: CoreError) -> PyErr {
    let text = error.to_string();
    match error {
        CoreError::DamagedChunk { .. } => DamagedError::new_err(text),
        CoreError::MissingChunk { .. } => MissingError::new_err(text),
        CoreError::NewerFormat { .. } => NewerFormatError::new_err(text),
        CoreError::NotAStore { .. } => NotAStoreError::new_err(text),
        CoreError::ReadOnly { .. }
        | CoreError::PermissionDenied { .. }
        | CoreError::DiskFull { .. } => CannotWriteError::new_err(text),
        _ => StoreError::new_err(text),
    }
}

fn fingerprint(text: &str) -> PyResult<Fingerprint> {
    Fingerprint::from_str(text)
        .map_err(|_| PyValueError::new_err(format!("{text} is not a fingerprint of 64 hex digits")))
}

pub(crate) fn fingerprints(texts: &[String]) -> PyResult<Vec<Fingerprint>> {
    texts.iter().map(|text| fingerprint(text)).collect()
}

/// A store folder. Safe to share between threads; after a fork the child writes under a name of its own.
#[pyclass(module = "nbrewind._native", frozen)]
pub struct Store {
    pub(crate) inner: CoreStore,
}

#[pymethods]
impl Store {
    /// Open (mode "rw": create when absent) the store in `path`.
    #[new]
    #[pyo3(signature = (path, mode="rw"))]
    fn new(py: Python<'_>, path: &str, mode: &str) -> PyResult<Self> {
        let mode = match mode {
            "rw" => Mode::ReadWrite,
            "r" => Mode::ReadOnly,
            _ => return Err(PyValueError::new_err("mode is \"r\" or \"rw\"")),
        };
        let inner = py
            .detach(|| CoreStore::open(Path::new(path), mode))
            .map_err(into_error)?;
        Ok(Self { inner })
    }

    /// The folder.
    #[getter]
    fn path(&self) -> String {
        self.inner.dir().display().to_string()
    }

    /// Store bytes (any contiguous buffer); returns the names of their chunks. Durable after `commit`.
    pub(crate) fn put(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        let buffer = PyBuffer::<u8>::get(data)?;
        let chunks = if buffer.is_c_contiguous() {
            // SAFETY: the buffer stays exported, so it cannot be freed or resized. The caller must not write to it
            // meanwhile; the kernel stores between cells, when no user code runs.
            let bytes = unsafe {
                std::slice::from_raw_parts(buffer.buf_ptr() as *const u8, buffer.len_bytes())
            };
            py.detach(|| self.inner.put(bytes))
        } else {
            let bytes = buffer.to_vec(py)?;
            py.detach(|| self.inner.put(&bytes))
        };
        Ok(chunks
            .map_err(into_error)?
            .iter()
            .map(ToString::to_string)
            .collect())
    }

    /// The bytes of these chunks, each checked against its name.
    fn get<'py>(&self, py: Python<'py>, chunks: Vec<String>) -> PyResult<Bound<'py, PyByteArray>> {
        let chunks = fingerprints(&chunks)?;
        let len = self.inner.len_of(&chunks).map_err(into_error)?;
        let found = PyByteArray::new(py, &[]);
        found.resize(len)?;
        // SAFETY: nobody else has seen this object yet, so nothing reads or resizes it while it is filled.
        let bytes = unsafe { found.as_bytes_mut() };
        py.detach(|| self.inner.get_into(&chunks, bytes))
            .map_err(into_error)?;
        Ok(found)
    }

    /// True when the chunk is known.
    fn has(&self, chunk: &str) -> PyResult<bool> {
        Ok(self.inner.has(&fingerprint(chunk)?))
    }

    /// Add a record (payload: JSON text) to the next commit; `needs` are the chunks that it names.
    #[pyo3(signature = (kind, key, payload, needs=Vec::new()))]
    fn append(&self, kind: &str, key: &str, payload: &str, needs: Vec<String>) -> PyResult<()> {
        let payload = serde_json::from_str(payload)
            .map_err(|error| PyValueError::new_err(format!("the payload is not JSON: {error}")))?;
        self.inner
            .append(kind, key, &payload, &fingerprints(&needs)?)
            .map_err(into_error)
    }

    /// Make everything put and appended so far durable.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.commit()).map_err(into_error)
    }

    /// Read what other writers have added.
    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.inner.refresh()).map_err(into_error)
    }

    /// Records of one kind (and key), oldest first, as dicts; `payload` is JSON text.
    #[pyo3(signature = (kind, key=None))]
    fn records<'py>(
        &self,
        py: Python<'py>,
        kind: &str,
        key: Option<&str>,
    ) -> PyResult<Bound<'py, PyList>> {
        into_list(py, self.inner.records(kind, key))
    }

    /// Records of one kind that `gc` has retired and whose content is still there, as `records` gives them.
    fn retired_records<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyList>> {
        into_list(py, self.inner.retired_records(kind))
    }

    /// The writers whose process lives, or may live.
    fn live_writers(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        py.detach(|| self.inner.live_writers()).map_err(into_error)
    }

    /// Clean up; `crate/nbrewind-store/src/gc.rs` says how. `drop` are groups of (writer, number), the first to go first.
    #[pyo3(signature = (budget=None, drop=Vec::new(), revive=Vec::new(), grace=600.0, dry_run=false))]
    fn gc<'py>(
        &self,
        py: Python<'py>,
        budget: Option<u64>,
        drop: Vec<Vec<(String, u64)>>,
        revive: Vec<(String, u64)>,
        grace: f64,
        dry_run: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let grace = Duration::try_from_secs_f64(grace)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let options = GcOptions {
            budget,
            drop,
            revive,
            grace,
            is_dry_run: dry_run,
        };
        let report = py.detach(|| self.inner.gc(&options)).map_err(into_error)?;
        loads(
            py,
            &json!({
                "bytes_before": report.bytes_before,
                "bytes_after": report.bytes_after,
                "n_retired": report.n_retired,
                "n_moved_writers": report.n_moved_writers,
                "n_deleted_writers": report.n_deleted_writers,
                "n_waiting_writers": report.n_waiting_writers,
                "waiting_bytes": report.waiting_bytes,
                "waiting_seconds": report.waiting.as_secs_f64(),
                "n_live_writers": report.n_live_writers,
                "over_budget_bytes": report.over_budget_bytes,
                "is_disk_full": report.is_disk_full,
            }),
        )
    }

    /// Check every stored byte; returns one dict per damaged place.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let damages = py.detach(|| self.inner.verify()).map_err(into_error)?;
        let items: Vec<Value> = damages
            .iter()
            .map(|damage| {
                let records: Vec<Value> = damage
                    .records
                    .iter()
                    .map(|affected| json!({"kind": affected.kind, "key": affected.key, "count": affected.count}))
                    .collect();
                let what = match damage.what {
                    DamageKind::Chunk(chunk) => json!({"chunk": chunk.to_string()}),
                    DamageKind::Frame => json!("frame"),
                };
                json!({"file": damage.file, "offset": damage.offset, "what": what, "records": records})
            })
            .collect();
        loads(py, &Value::from(items))
    }

    /// Sizes and counts, as a dict.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stats = self.inner.stats();
        loads(
            py,
            &json!({
                "n_chunks": stats.n_chunks,
                "raw_bytes": stats.raw_bytes,
                "stored_bytes": stats.stored_bytes,
                "n_records": stats.n_records,
                "n_writers": stats.n_writers,
                "n_missing_chunks": stats.n_missing_chunks,
                "n_damaged_logs": stats.n_damaged_logs,
            }),
        )
    }
}

fn into_list(py: Python<'_>, records: Vec<Record>) -> PyResult<Bound<'_, PyList>> {
    let found = PyList::empty(py);
    for record in records {
        let item = PyDict::new(py);
        item.set_item("kind", record.kind)?;
        item.set_item("key", record.key)?;
        item.set_item("time_ns", record.time_ns)?;
        item.set_item("writer", record.writer)?;
        item.set_item("seq", record.seq)?;
        item.set_item("payload", record.payload.to_string())?;
        found.append(item)?;
    }
    Ok(found)
}

/// JSON as Python's own objects.
fn loads<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?
        .call_method1("loads", (value.to_string(),))
}

/// Add the class and its errors to the module.
pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add_class::<Store>()?;
    m.add("StoreError", py.get_type::<StoreError>())?;
    m.add("DamagedError", py.get_type::<DamagedError>())?;
    m.add("MissingError", py.get_type::<MissingError>())?;
    m.add("NewerFormatError", py.get_type::<NewerFormatError>())?;
    m.add("NotAStoreError", py.get_type::<NotAStoreError>())?;
    m.add("CannotWriteError", py.get_type::<CannotWriteError>())?;
    Ok(())
}
