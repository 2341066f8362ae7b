//! What every task of a graph pays for: the scalar and Merkle part of its fingerprint, and looking up its records.
//!
//! An argument becomes tagged, length-prefixed bytes, so that no two arguments look alike. What is no scalar is left to
//! the caller as a *literal* (`nbrewind.tasks.fingerprint`), and a reference to another task enters as its position
//! among the references; the fingerprints of those tasks follow. Without them the same bytes are the *stem*: what the
//! task does, whatever it is given.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use nbrewind_store::Store as CoreStore;
use pyo3::exceptions::{PyRecursionError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyString, PyTuple,
    PyType,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::store::Store;

/// Longer tuples are literals.
const MAX_TUPLE: usize = 16;
/// Longer texts name no files.
const MAX_PATH: usize = 1024;
/// Containers nested deeper than this are refused rather than a crash of the stack.
const MAX_DEPTH: u32 = 500;
/// Longer scalars enter as their hash.
const LONG: usize = 4096;

/// Encodes the tasks of one graph.
#[pyclass(module = "nbrewind._native", frozen)]
pub struct Encoder {
    task_ref: Py<PyType>,
    graph_node: Py<PyType>,
    alias: Py<PyType>,
    data_node: Py<PyType>,
    containers: Vec<(Py<PyType>, &'static str)>,
    /// The tails of the graph's keys, which may turn up inside arguments.
    tokens: Py<PyFrozenSet>,
    salt: String,
    /// Is this function a library's?
    is_library: Py<PyAny>,
    /// Text -> does it name a file?
    texts: Mutex<HashMap<String, bool>>,
}

/// What `Encoder::task` gives: digest, stem (none when positions do not say which input is which), literals, and the
/// fingerprint if it is known already.
type Encoded<'py> = (String, Option<String>, Bound<'py, PyList>, Option<String>);

#[pymethods]
impl Encoder {
    /// `spec` is the module `dask._task_spec`, or something that has the same classes except for containers.
    #[new]
    fn new(
        spec: &Bound<'_, PyAny>,
        tokens: Bound<'_, PyFrozenSet>,
        salt: String,
        is_library: Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let class = |name: &str| -> PyResult<Py<PyType>> {
            Ok(spec.getattr(name)?.cast_into::<PyType>()?.unbind())
        };
        Ok(Self {
            task_ref: class("TaskRef")?,
            graph_node: class("GraphNode")?,
            alias: class("Alias")?,
            data_node: class("DataNode")?,
            containers: ["List", "Tuple", "Set", "Dict"]
                .into_iter()
                .filter_map(|name| Some((class(name).ok()?, name)))
                .collect(),
            tokens: tokens.unbind(),
            salt,
            is_library: is_library.unbind(),
            texts: Mutex::default(),
        })
    }

    /// Encode a task. `refs`: key -> node, in the order of arguments; `func_fp`: the fingerprint of its function, if it
    /// has one that counts.
    fn task<'py>(
        &self,
        py: Python<'py>,
        spec: &Bound<'py, PyAny>,
        refs: &Bound<'py, PyDict>,
        is_library: bool,
        func_fp: Option<&str>,
    ) -> PyResult<Encoded<'py>> {
        let mut encoding = Encoding::new(py, self, refs);
        encoding.call(spec, is_library)?;
        encoding.finish(func_fp)
    }

    /// Encode a value that is in the graph.
    fn data<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
        let refs = PyDict::new(py);
        let mut encoding = Encoding::new(py, self, &refs);
        encoding.out.push(b'v');
        encoding.value(value, false)?;
        encoding.finish(None)
    }

    /// The fingerprint of what was encoded, with the fingerprints of its function and literals.
    fn combine(&self, encoded: &str, fps: Vec<String>) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut put = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        put(&self.salt);
        put(encoded);
        for fp in &fps {
            put(fp);
        }
        hasher.finalize().to_hex().to_string()
    }
}

struct Encoding<'a, 'py> {
    py: Python<'py>,
    encoder: &'a Encoder,
    refs: &'a Bound<'py, PyDict>,
    out: Vec<u8>,
    /// Index of a node -> its position among the inputs.
    positions: HashMap<u64, u32>,
    /// The fingerprints of the inputs, by position.
    inputs: Vec<u8>,
    literals: Bound<'py, PyList>,
    /// Inside a set there are no positions.
    n_sets: u32,
    is_positional: bool,
    is_known: bool,
    depth: u32,
}

impl<'a, 'py> Encoding<'a, 'py> {
    fn new(py: Python<'py>, encoder: &'a Encoder, refs: &'a Bound<'py, PyDict>) -> Self {
        Self {
            py,
            encoder,
            refs,
            out: Vec::with_capacity(128),
            positions: HashMap::new(),
            inputs: Vec::new(),
            literals: PyList::empty(py),
            n_sets: 0,
            is_positional: true,
            is_known: true,
            depth: 0,
        }
    }

    fn finish(self, func_fp: Option<&str>) -> PyResult<Encoded<'py>> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.out.len() as u64).to_le_bytes());
        hasher.update(&self.out);
        let stem = self
            .is_positional
            .then(|| hasher.finalize().to_hex().to_string());
        hasher.update(&self.inputs);
        let encoded = hasher.finalize().to_hex().to_string();
        let fp = (self.is_known && self.literals.is_empty()).then(|| {
            let fps = func_fp.map(ToOwned::to_owned).into_iter().collect();
            self.encoder.combine(&encoded, fps)
        });
        Ok((encoded, stem, self.literals, fp))
    }

    fn put(&mut self, tag: u8, bytes: &[u8]) {
        self.out.push(tag);
        self.out
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        if bytes.len() > LONG {
            self.out.extend_from_slice(blake3::hash(bytes).as_bytes());
        } else {
            self.out.extend_from_slice(bytes);
        }
    }

    fn put_len(&mut self, tag: u8, len: usize) {
        self.out.push(tag);
        self.out.extend_from_slice(&(len as u64).to_le_bytes());
    }

    fn container_name(&self, spec: &Bound<'py, PyAny>) -> Option<&'static str> {
        let kind = spec.get_type();
        self.encoder
            .containers
            .iter()
            .find(|(class, _)| kind.is(class))
            .map(|(_, name)| *name)
    }

    /// A task or a container node.
    fn call(&mut self, spec: &Bound<'py, PyAny>, is_library: bool) -> PyResult<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(PyRecursionError::new_err("arguments nested too deep"));
        }
        let args = spec.getattr(pyo3::intern!(self.py, "args"))?;
        let args = args.cast::<PyTuple>()?;
        if let Some(name) = self.container_name(spec) {
            self.put(b'c', name.as_bytes());
            if name == "Set" {
                self.set(args)?;
            } else {
                self.put_len(b'(', args.len());
                for item in args.iter() {
                    self.value(&item, false)?;
                }
            }
        } else {
            self.put_len(b'(', args.len());
            for item in args.iter() {
                self.value(&item, is_library)?;
            }
            let kwargs = spec.getattr(pyo3::intern!(self.py, "kwargs"))?;
            let kwargs = kwargs.cast::<PyDict>()?;
            self.put_len(b'{', kwargs.len());
            if !kwargs.is_empty() {
                let mut named: BTreeMap<String, Bound<'py, PyAny>> = BTreeMap::new();
                for (name, value) in kwargs.iter() {
                    named.insert(name.extract()?, value);
                }
                for (name, value) in named {
                    self.put(b'=', name.as_bytes());
                    self.value(&value, is_library)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The children of a set, sorted by what they are.
    fn set(&mut self, items: &Bound<'py, PyTuple>) -> PyResult<()> {
        let before = std::mem::take(&mut self.out);
        self.n_sets += 1;
        let mut children = Vec::with_capacity(items.len());
        for item in items.iter() {
            self.value(&item, false)?;
            children.push(std::mem::take(&mut self.out));
        }
        self.n_sets -= 1;
        self.out = before;
        children.sort_unstable();
        self.put_len(b'(', children.len());
        for child in children {
            self.out.extend_from_slice(&child);
        }
        Ok(())
    }

    fn value(&mut self, value: &Bound<'py, PyAny>, is_library: bool) -> PyResult<()> {
        let py = self.py;
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.text(text, is_library);
        }
        if scalar(&mut |tag, bytes| self.put(tag, bytes), value)? {
            return Ok(());
        }
        if value.is_instance(self.encoder.task_ref.bind(py))? {
            return self.input(&value.getattr(pyo3::intern!(py, "key"))?);
        }
        if value.is_instance(self.encoder.graph_node.bind(py))? {
            if value.is_instance(self.encoder.alias.bind(py))? {
                return self.input(&value.getattr(pyo3::intern!(py, "target"))?);
            }
            if value.is_instance(self.encoder.data_node.bind(py))? {
                return self.value(&value.getattr(pyo3::intern!(py, "value"))?, is_library);
            }
            if self.container_name(value).is_some() {
                return self.call(value, false);
            }
            // A call nested in an argument: its function is a literal like any other.
            let func = value.getattr(pyo3::intern!(py, "func"))?;
            let is_library = self.encoder.is_library.bind(py).call1((&func,))?;
            self.literal(&func)?;
            self.out.push(b'n');
            return self.call(value, is_library.is_truthy()?);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>()
            && tuple.len() <= MAX_TUPLE
        {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(PyRecursionError::new_err("arguments nested too deep"));
            }
            self.put_len(b't', tuple.len());
            for item in tuple.iter() {
                self.value(&item, is_library)?;
            }
            self.depth -= 1;
            return Ok(());
        }
        self.literal(value)
    }

    fn literal(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        self.literals.append(value)?;
        self.put_len(b'l', self.literals.len());
        Ok(())
    }

    fn input(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let node = self.refs.as_any().get_item(key)?;
        let fp = node.getattr(pyo3::intern!(py, "fp"))?;
        let fp = fp.cast::<PyString>().ok();
        self.is_known &= fp.is_some();
        let text = match fp {
            Some(fp) => fp.to_str()?,
            None => "",
        };
        if self.n_sets > 0 {
            self.is_positional = false;
            self.put(b'R', text.as_bytes());
            return Ok(());
        }
        let index: u64 = node.getattr(pyo3::intern!(py, "idx"))?.extract()?;
        let next = self.positions.len() as u32;
        let position = *self.positions.entry(index).or_insert(next);
        if position == next {
            self.inputs
                .extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.inputs.extend_from_slice(text.as_bytes());
        }
        self.put_len(b'r', position as usize);
        Ok(())
    }

    fn text(&mut self, text: &Bound<'py, PyString>, is_library: bool) -> PyResult<()> {
        let Ok(content) = text.to_str() else {
            // Lone surrogates.
            return self.literal(text.as_any());
        };
        if is_library && content.len() >= 32 {
            for n_token in [content.len().min(36), 32] {
                let (head, tail) = content.split_at_checked(content.len() - n_token).unzip();
                if let (Some(head), Some(tail)) = (head, tail)
                    && self.encoder.tokens.bind(self.py).contains(tail)?
                {
                    // An identity made up for this graph, such as a shuffle's: what it stands for is in the inputs.
                    self.put(b'k', head.as_bytes());
                    return Ok(());
                }
            }
        }
        if content.contains("://") || self.names_file(content) {
            return self.literal(text.as_any());
        }
        self.put(b'u', content.as_bytes());
        Ok(())
    }

    fn names_file(&self, text: &str) -> bool {
        if text.is_empty() || text.len() >= MAX_PATH {
            return false;
        }
        let Ok(mut known) = self.encoder.texts.lock() else {
            return true;
        };
        if let Some(found) = known.get(text) {
            return *found;
        }
        let found = std::fs::metadata(text).is_ok();
        known.insert(text.to_owned(), found);
        found
    }
}

/// Give tag and bytes of an exact scalar that is no text; false when it is something else.
fn scalar(put: &mut impl FnMut(u8, &[u8]), value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_none() {
        put(b'N', b"");
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        put(b'b', &[u8::from(flag.is_true())]);
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        match number.extract::<i64>() {
            Ok(small) => put(b'i', &small.to_le_bytes()),
            Err(_) => put(
                b'I',
                number
                    .call_method0("__str__")?
                    .extract::<String>()?
                    .as_bytes(),
            ),
        }
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        put(b'f', &number.value().to_bits().to_le_bytes());
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        put(b'y', bytes.as_bytes());
    } else if let Ok(number) = value.cast_exact::<PyComplex>() {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.real().to_bits().to_le_bytes());
        bytes[8..].copy_from_slice(&number.imag().to_bits().to_le_bytes());
        put(b'j', &bytes);
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn feed(hasher: &mut blake3::Hasher, value: &Bound<'_, PyAny>, depth: u32) -> PyResult<()> {
    if depth > MAX_DEPTH {
        return Err(PyRecursionError::new_err("nested too deep"));
    }
    let mut put = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    if let Ok(text) = value.cast_exact::<PyString>() {
        put(b'u', text.to_str()?.as_bytes());
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        put(b't', &(tuple.len() as u64).to_le_bytes());
        for item in tuple.iter() {
            feed(hasher, &item, depth + 1)?;
        }
    } else if !scalar(&mut put, value)? {
        let kind = value.get_type();
        return Err(PyTypeError::new_err(format!(
            "{kind} in a tuple of scalars"
        )));
    }
    Ok(())
}

/// Fingerprint of a tuple of scalars and tuples.
#[pyfunction]
pub fn scalar_digest(parts: &Bound<'_, PyTuple>) -> PyResult<String> {
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, parts, 0)?;
    Ok(hasher.finalize().to_hex().to_string())
}

// ---- records

/// A stored text with its time.
type Text = (u64, String);

/// Time and JSON text of the records of one kind and key, oldest first.
#[pyfunction]
pub fn record_texts(store: &Bound<'_, Store>, kind: &str, key: &str) -> Vec<Text> {
    store.get().inner.record_texts(kind, key)
}

#[derive(Deserialize)]
struct Flags {
    status: String,
    reason: Option<String>,
    #[serde(default)]
    files: Vec<IgnoredAny>,
}

/// Of these task fingerprints, those whose records say more: (do they depend on more than the fingerprint covers, what
/// does the task write).
#[pyfunction]
pub fn task_flags<'py>(
    py: Python<'py>,
    store: &Bound<'py, Store>,
    fps: Vec<String>,
) -> PyResult<Bound<'py, PyDict>> {
    let store: &CoreStore = &store.get().inner;
    let found = PyDict::new(py);
    for fp in fps {
        let (mut is_observed, mut writes) = (false, None);
        for (_, text) in store.record_texts("task", &fp) {
            let Ok(flags) = serde_json::from_str::<Flags>(&text) else {
                continue;
            };
            is_observed |= !flags.files.is_empty() || flags.status == "not captured";
            if flags.status == "writer" {
                writes = Some(flags.reason.unwrap_or_default());
            }
        }
        if is_observed || writes.is_some() {
            found.set_item(fp, (is_observed, writes))?;
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Named {
    name: String,
    components: Option<IgnoredAny>,
}

/// The newest records of tasks that say what their fingerprints are made of, by name: `limit` each, oldest first.
#[pyfunction]
pub fn newest_tasks<'py>(
    py: Python<'py>,
    store: &Bound<'py, Store>,
    limit: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let store: &CoreStore = &store.get().inner;
    let mut by_name: BTreeMap<String, Vec<Text>> = BTreeMap::new();
    py.detach(|| {
        store.each_record_text("task", |time_ns, text| {
            let Ok(named) = serde_json::from_str::<Named>(text) else {
                return;
            };
            if named.components.is_none() {
                return;
            }
            let newest = by_name.entry(named.name).or_default();
            let position = newest.partition_point(|(other, _)| *other <= time_ns);
            if newest.len() < limit || position > 0 {
                newest.insert(position, (time_ns, text.to_owned()));
                if newest.len() > limit {
                    newest.remove(0);
                }
            }
        });
    });
    let found = PyDict::new(py);
    for (name, texts) in by_name {
        found.set_item(name, texts)?;
    }
    Ok(found)
}
