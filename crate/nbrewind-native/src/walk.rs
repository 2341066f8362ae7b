//! The object walker: canonical content fingerprints of live Python objects.
//!
//! One pass over an object feeds a blake3 hasher with tagged, length-prefixed parts, so that two different objects
//! cannot give the same bytes by concatenation. Scalars and exact builtin containers are read here; everything else
//! is described by the `facts` callable, which returns a `Fact` (`nbrewind/fingerprint.py`).
//!
//! Invariants:
//! * The fingerprint does not depend on the process, the hash seed, or on whether equal immutable objects are one
//!   object. It does depend on which mutable objects are shared, through back references in order of first visit.
//! * What no fact covers makes the whole walk opaque: an opaque value has no fingerprint.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use memchr::memmem::Finder;
use nbrewind_store::PartHasher;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet,
    PyString, PyTuple, PyType,
};
use rustc_hash::FxHashMap;

use crate::memory::{LARGE, Memory, Place, digests, digests_of};
use crate::numpy::{Numpy, Raw};
use crate::spans::{Span, find, join, merged, overlaps, span};

/// The tag of objects of libraries that are described by their reduction (`walker.py`).
const LIBRARY_OBJECT: &str = "library object";
/// The tag of facts that say that an array counts as if it owned its memory.
const BY_ITSELF: &str = "array by itself";

/// The tag of what any process can import by its name.
const IMPORT: &str = "import";

/// Deeper nesting than this is opaque rather than a crash of the stack.
const MAX_DEPTH: u32 = 1200;

/// What a walk finds besides the fingerprint.
#[derive(Default)]
struct Findings {
    opaque: BTreeSet<String>,
    refs: BTreeSet<String>,
    idents: BTreeSet<String>,
    marks: BTreeSet<String>,
    handles: BTreeSet<String>,
    files: BTreeMap<String, String>,
    components: Vec<(String, String)>,
    /// Address, length, and the holder that copies on write (0: a plain array; `READ_ONLY`, `FOREIGN`).
    buffers: Vec<(usize, usize, usize)>,
    n_bytes: u64,
    /// How often something opaque was met.
    n_opaque: u64,
}

impl Findings {
    fn extend(&mut self, other: Self) {
        self.opaque.extend(other.opaque);
        self.refs.extend(other.refs);
        self.idents.extend(other.idents);
        self.marks.extend(other.marks);
        self.handles.extend(other.handles);
        self.files.extend(other.files);
        self.components.extend(other.components);
        self.buffers.extend(other.buffers);
        self.n_bytes += other.n_bytes;
        self.n_opaque += other.n_opaque;
    }
}

/// True for texts, numbers, and tuples and frozen sets of them: what they are, nothing else has to do with.
fn is_plain(obj: &Bound<'_, PyAny>) -> bool {
    if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
        tuple.iter().all(|item| is_plain(&item))
    } else if let Ok(set) = obj.cast_exact::<PyFrozenSet>() {
        set.iter().all(|item| is_plain(&item))
    } else {
        obj.is_none()
            || obj.is_exact_instance_of::<PyString>()
            || obj.is_exact_instance_of::<PyInt>()
            || obj.is_exact_instance_of::<PyFloat>()
            || obj.is_exact_instance_of::<PyBool>()
            || obj.is_exact_instance_of::<PyBytes>()
            || obj.is_exact_instance_of::<PyComplex>()
    }
}

/// True for an array over memory that another object has, and that others may write to.
fn is_lent(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let arrays = array.py().import("nbrewind.fingerprint.arrays")?;
    Ok(!arrays.call_method1("lender_of", (array,))?.is_none())
}

/// The first byte of the object that lends an array its memory, when that may write to it.
fn owner_byte(array: &Bound<'_, PyAny>) -> PyResult<Option<(usize, usize, usize)>> {
    let arrays = array.py().import("nbrewind.fingerprint.arrays")?;
    let owner = arrays.call_method1("outside_owner", (array,))?;
    Ok((!owner.is_none()).then(|| (owner.as_ptr() as usize, 1, 0)))
}

/// How deep a first look at an item of a set goes, and how many objects it meets. It puts the items in order, no more.
const LOOK_DEPTH: u32 = 6;
const LOOK_STEPS: u32 = 12;
/// The same for items that look alike at first.
const LONG_LOOK_STEPS: u32 = 100;

/// The holder of memory that arrow and polars use, and never write: it may be an array's, who does.
const FOREIGN: usize = usize::MAX;
/// The holder of plain arrays that nobody writes through.
const READ_ONLY: usize = usize::MAX - 1;
/// The holder of the first byte of an object that may have given arrays its memory.
const OWNER: usize = usize::MAX - 2;
/// Of holders that copy on write, this bit says that they cannot write at all.
const READS: usize = 1;

/// True for arrays, and for frames that write where they are.
const fn writes(holder: usize) -> bool {
    holder == 0 || (holder != READ_ONLY && holder & READS == 0)
}

/// The mark of values that hold one of a module's values that are not numbers: their pickles must keep which it is.
const NAN: &str = "nan";
const MODULES_WITH_NAN: [&str; 2] = ["numpy", "math"];

/// What the modules that are loaded call `nan`.
fn nans_of<'py>(py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyAny>, &'static str)>> {
    let modules = py.import("sys")?.getattr("modules")?;
    Ok(MODULES_WITH_NAN
        .into_iter()
        .filter_map(|name| Some((modules.get_item(name).ok()?.getattr("nan").ok()?, name)))
        .collect())
}

/// What a plain dtype is called.
type DtypeKey = Rc<[u8]>;

/// A walk that does not go to the end.
#[derive(Clone, Copy)]
struct Look {
    /// The depth of the walk at which it ends.
    depth: u32,
    n_left: u32,
    /// True when there was more.
    is_cut: bool,
}

impl Look {
    fn new(depth: u32, n_left: u32) -> Self {
        Self {
            depth,
            n_left,
            is_cut: false,
        }
    }
}

struct Walker<'py> {
    py: Python<'py>,
    facts: Bound<'py, PyAny>,
    /// What is known of large buffers.
    memory: Option<&'py Memory>,
    paths: Option<Bound<'py, PyAny>>,
    /// A folder whose name inside any string is worth a mark: that value would differ elsewhere.
    root: Option<Rc<Finder<'static>>>,
    /// Mutable objects by address, numbered in order of first visit.
    memo: FxHashMap<usize, u32>,
    /// Mutable objects seen anywhere in this walk, sets included; some of them more than once.
    ids: Vec<usize>,
    /// Objects that facts made for us: kept alive, so that no address is used twice.
    keep: Vec<Bound<'py, PyAny>>,
    labels: Vec<String>,
    found: Findings,
    depth: u32,
    /// While items without an order are looked at for the first time.
    look: Option<Look>,
    numpy: Option<Rc<Numpy<'py>>>,
    /// Values that are not numbers and of which a module has only one, with its name: `np.nan in values` asks which it is.
    nans: Vec<(Bound<'py, PyAny>, &'static str)>,
    /// Facts of classes and functions of libraries, which thousands of objects have in common, as `dtypes`.
    imports: FxHashMap<usize, (Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    /// By address, which the reference keeps from being used again.
    dtypes: FxHashMap<usize, (Bound<'py, PyAny>, Option<DtypeKey>)>,
}

impl<'py> Walker<'py> {
    fn new(
        facts: Bound<'py, PyAny>,
        memory: Option<&'py Memory>,
        paths: Option<Bound<'py, PyAny>>,
        root: Option<Rc<Finder<'static>>>,
        numpy: Option<Rc<Numpy<'py>>>,
    ) -> Self {
        Self {
            py: facts.py(),
            facts,
            memory,
            paths,
            root,
            memo: FxHashMap::default(),
            ids: Vec::new(),
            keep: Vec::new(),
            labels: Vec::new(),
            found: Findings::default(),
            depth: 0,
            look: None,
            numpy,
            nans: Vec::new(),
            imports: FxHashMap::default(),
            dtypes: FxHashMap::default(),
        }
    }

    /// True when the object was seen before in this walk; then only a back reference is fed.
    fn seen(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) -> bool {
        let address = obj.as_ptr() as usize;
        let n_seen = self.memo.len() as u32;
        match self.memo.entry(address) {
            Entry::Occupied(index) => {
                hasher.put_len(b'R', *index.get() as usize);
                true
            }
            Entry::Vacant(place) => {
                place.insert(n_seen);
                self.ids.push(address);
                false
            }
        }
    }

    fn feed(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.depth >= MAX_DEPTH {
            self.note_opaque(format!("nested more than {MAX_DEPTH} levels deep"));
            return Ok(());
        }
        if let Some(look) = &mut self.look {
            if self.depth >= look.depth || look.n_left == 0 {
                look.is_cut = true;
                hasher.update(b".");
                return Ok(());
            }
            look.n_left -= 1;
        }
        self.depth += 1;
        let done = self.feed_inner(hasher, obj);
        self.depth -= 1;
        done
    }

    fn feed_inner(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        if obj.is_none() {
            hasher.update(b"N");
        } else if let Ok(text) = obj.cast_exact::<PyString>() {
            self.feed_text(hasher, text)?;
        } else if let Ok(flag) = obj.cast_exact::<PyBool>() {
            hasher.update(if flag.is_true() { b"T" } else { b"F" });
        } else if let Ok(number) = obj.cast_exact::<PyInt>() {
            match number.extract::<i64>() {
                Ok(value) => {
                    hasher.put_word(b'i', value.to_le_bytes());
                }
                Err(_) => {
                    let n_bits: usize = number.call_method0("bit_length")?.extract()?;
                    let options = PyDict::new(self.py);
                    options.set_item("signed", true)?;
                    let bytes = number.call_method(
                        "to_bytes",
                        (n_bits / 8 + 1, "little"),
                        Some(&options),
                    )?;
                    hasher.put_bytes(b'I', bytes.cast::<PyBytes>()?.as_bytes());
                }
            }
        } else if let Ok(number) = obj.cast_exact::<PyFloat>() {
            hasher.put_word(b'f', number.value().to_bits().to_le_bytes());
            if number.value().is_nan() {
                self.note_nan(hasher, obj);
            }
        } else if let Ok(number) = obj.cast_exact::<PyComplex>() {
            hasher.update(b"c");
            hasher.update(&number.real().to_bits().to_le_bytes());
            hasher.update(&number.imag().to_bits().to_le_bytes());
        } else if let Ok(bytes) = obj.cast_exact::<PyBytes>() {
            self.put_content(hasher, b'b', bytes.as_bytes())?;
        } else if let Ok(tuple) = obj.cast_exact::<PyTuple>() {
            hasher.put_len(b't', tuple.len());
            for item in tuple.iter() {
                self.feed(hasher, &item)?;
            }
        } else if let Ok(list) = obj.cast_exact::<PyList>() {
            if !self.seen(hasher, obj) {
                hasher.put_len(b'l', list.len());
                for item in list.iter() {
                    self.feed(hasher, &item)?;
                }
            }
        } else if let Ok(dict) = obj.cast_exact::<PyDict>() {
            if !self.seen(hasher, obj) {
                hasher.put_len(b'd', dict.len());
                // What describes an item may fill the dictionary, and other threads may.
                let pairs: Vec<_> = dict.iter().collect();
                for (key, value) in pairs {
                    self.feed(hasher, &key)?;
                    self.feed(hasher, &value)?;
                }
            }
        } else if let Ok(set) = obj.cast_exact::<PySet>() {
            if !self.seen(hasher, obj) {
                let items: Vec<_> = set.iter().collect();
                self.feed_unordered(hasher, b's', &items)?;
            }
        } else if let Ok(set) = obj.cast_exact::<PyFrozenSet>() {
            let items: Vec<_> = set.iter().collect();
            self.feed_unordered(hasher, b'z', &items)?;
        } else if let Ok(bytes) = obj.cast_exact::<PyByteArray>() {
            if !self.seen(hasher, obj) {
                // SAFETY: the GIL is held and no Python code runs while the bytes are read.
                self.put_content(hasher, b'B', unsafe { bytes.as_bytes() })?;
            }
        } else if let Some(name) = self.class_to_name(obj)? {
            hasher.put_bytes(b'C', name.as_bytes());
        } else if !self.feed_numpy(hasher, obj)? {
            self.feed_fact(hasher, obj)?;
        }
        Ok(())
    }

    /// A value that is not a number is in a list when it is the same object.
    fn note_nan(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) {
        if let Some((_, name)) = self.nans.iter().find(|(nan, _)| nan.is(obj)) {
            hasher.put_bytes(b'n', name.as_bytes());
            self.found.marks.insert(NAN.to_owned());
        }
    }

    /// In a first look at an item of a set: the name of a class of the notebook, which the others have in common.
    fn class_to_name(&mut self, obj: &Bound<'py, PyAny>) -> PyResult<Option<String>> {
        let (Some(look), Ok(class)) = (&mut self.look, obj.cast::<PyType>()) else {
            return Ok(None);
        };
        if class
            .getattr(pyo3::intern!(self.py, "__module__"))?
            .ne("__main__")?
        {
            return Ok(None);
        }
        look.is_cut = true;
        Ok(Some(class.qualname()?.to_str()?.to_owned()))
    }

    /// Arrays that own their memory, and scalars of numpy: there may be very many of them. False when this is something
    /// else, which `facts` describes.
    fn feed_numpy(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) -> PyResult<bool> {
        let Some(numpy) = &self.numpy else {
            return Ok(false);
        };
        if obj.get_type().is(&numpy.ndarray) {
            return self.feed_array(hasher, obj, false);
        }
        let kind = obj.get_type().as_ptr() as usize;
        let Some(key) = numpy.scalars.get(&kind) else {
            return Ok(false);
        };
        let Some(buffer) = Raw::get(obj) else {
            return Ok(false);
        };
        hasher.put_bytes(b'g', key);
        // SAFETY: the buffer is exported, and a scalar never changes.
        hasher.update(unsafe { buffer.bytes() });
        Ok(true)
    }

    /// False when only `facts` can describe it. `by_itself`: whose memory it shows does not matter.
    fn feed_array(
        &mut self,
        hasher: &mut PartHasher,
        obj: &Bound<'py, PyAny>,
        by_itself: bool,
    ) -> PyResult<bool> {
        let py = self.py;
        let dtype = obj.getattr(pyo3::intern!(py, "dtype"))?;
        let Some(key) = self.dtype_key(&dtype)? else {
            return Ok(false);
        };
        let Some(buffer) = Raw::get(obj) else {
            return Ok(false);
        };
        let Some(order) = buffer.order() else {
            return Ok(false);
        };
        let base = obj.getattr(pyo3::intern!(py, "base"))?;
        if let Some(numpy) = &self.numpy
            && !by_itself
            && !buffer.is_empty()
            && !base.is_none()
            && base.is_instance(&numpy.ndarray)?
        {
            // A view shares what it shows; a view of nothing shares nothing.
            return Ok(false);
        }
        if !by_itself && !buffer.is_empty() && !base.is_none() && is_lent(obj)? {
            return Ok(false);
        }
        if self.seen(hasher, obj) {
            return Ok(true);
        }
        if !base.is_none() {
            self.found.buffers.extend(owner_byte(obj)?);
        }
        hasher.put_bytes(b'A', &key);
        hasher.update(&[order, u8::from(buffer.is_read_only())]);
        hasher.put_len(b'p', buffer.shape().len());
        for length in buffer.shape() {
            hasher.update(&length.to_le_bytes());
        }
        // SAFETY: the buffer is exported while it is read, the array is alive until the walk has ended (the namespace or
        // the fact that it is a part of holds it), and the GIL is held.
        let bytes = unsafe { buffer.bytes() };
        let holder = if buffer.is_read_only() { READ_ONLY } else { 0 };
        self.found
            .buffers
            .push((bytes.as_ptr() as usize, bytes.len(), holder));
        self.put_content(hasher, b'm', bytes)?;
        Ok(true)
    }

    /// What a plain dtype is called; None when only `facts` can tell, as of items that are objects.
    fn dtype_key(&mut self, dtype: &Bound<'py, PyAny>) -> PyResult<Option<DtypeKey>> {
        let py = self.py;
        let address = dtype.as_ptr() as usize;
        if let Some((_, key)) = self.dtypes.get(&address) {
            return Ok(key.clone());
        }
        // By what it is, not by which object it is: an unpickled dtype does not know that it is built in.
        let kind: String = dtype.getattr(pyo3::intern!(py, "kind"))?.extract()?;
        let is_plain = matches!(kind.as_str(), "b" | "i" | "u" | "f" | "c" | "S" | "U")
            && dtype.getattr(pyo3::intern!(py, "metadata"))?.is_none();
        let key = if is_plain {
            let name: String = dtype.getattr(pyo3::intern!(py, "str"))?.extract()?;
            Some(Rc::from(name.into_bytes()))
        } else {
            None
        };
        self.dtypes.insert(address, (dtype.clone(), key.clone()));
        Ok(key)
    }

    fn feed_text(&mut self, hasher: &mut PartHasher, text: &Bound<'py, PyString>) -> PyResult<()> {
        let Ok(content) = text.to_str() else {
            // Lone surrogates have no UTF-8; "surrogatepass" keeps them apart.
            let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
            self.put_copy(hasher, b'u', bytes.cast::<PyBytes>()?.as_bytes());
            return Ok(());
        };
        if let Some(paths) = &self.paths
            && !content.is_empty()
            && content.len() < 1024
            && !content.contains(['\n', '\0'])
            && std::fs::metadata(content).is_ok()
        {
            let fact = paths.call1((text,))?;
            if !fact.is_none() {
                return self.feed_described(hasher, text.as_any(), &fact);
            }
        }
        if let Some(root) = &self.root
            && content.len() >= root.needle().len()
            && root.find(content.as_bytes()).is_some()
        {
            self.found.marks.insert("rooted".to_owned());
        }
        self.put_content(hasher, b'u', content.as_bytes())
    }

    /// Bytes that stay where they are until the walk has ended.
    fn put_content(&mut self, hasher: &mut PartHasher, tag: u8, bytes: &[u8]) -> PyResult<()> {
        if bytes.len() < LARGE {
            self.put_copy(hasher, tag, bytes);
            return Ok(());
        }
        // SAFETY: the bytes are borrowed, and the GIL is held.
        unsafe { self.put_place(hasher, tag, &Place::of(bytes)) }
    }

    /// Bytes that are at another place at every walk.
    fn put_copy(&mut self, hasher: &mut PartHasher, tag: u8, bytes: &[u8]) {
        self.found.n_bytes += bytes.len() as u64;
        if bytes.len() < LARGE {
            hasher.put_bytes(tag, bytes);
        } else {
            hasher.put_digests(tag, bytes.len(), &digests_of(bytes));
        }
    }

    /// A buffer that stays where it is until the walk has ended.
    ///
    /// # Safety
    /// Its memory must be readable, and nobody may write to it meanwhile.
    unsafe fn put_place(
        &mut self,
        hasher: &mut PartHasher,
        tag: u8,
        place: &Place,
    ) -> PyResult<()> {
        let n_bytes = place.n_bytes();
        // SAFETY: promised by the caller.
        let found = unsafe { digests(self.memory, place)? };
        self.found.n_bytes += n_bytes as u64;
        hasher.put_digests(tag, n_bytes, &found);
        Ok(())
    }

    /// Items in no order: by what a first look at each tells. What that did not see to its end is then fed in this order,
    /// once, like everything else: items of sets may lead to each other, and to the set.
    fn feed_unordered(
        &mut self,
        hasher: &mut PartHasher,
        tag: u8,
        items: &[Bound<'py, PyAny>],
    ) -> PyResult<()> {
        let outer = self.look.take();
        let look = match &outer {
            None => Look::new(self.depth + LOOK_DEPTH, LOOK_STEPS),
            // Half of what is left, in equal parts: whichever comes first.
            Some(outer) => Look::new(outer.depth, outer.n_left / 2 / items.len().max(1) as u32),
        };
        if let Some(outer) = outer.filter(|_| look.n_left == 0) {
            hasher.put_len(tag, items.len());
            self.look = Some(Look {
                is_cut: true,
                ..outer
            });
            return Ok(());
        }
        let mut looked = Vec::with_capacity(items.len());
        for item in items {
            let (digest, is_all) = if is_plain(item) {
                let mut inner = PartHasher::new();
                self.feed(&mut inner, item)?;
                (*inner.finalize().as_bytes(), true)
            } else {
                self.look_at(item, look)?
            };
            looked.push((digest, (!is_all).then_some(item)));
        }
        looked.sort_by_key(|(digest, _)| *digest);
        if outer.is_none() {
            self.look_longer(&mut looked)?;
        }
        hasher.put_len(tag, looked.len());
        for (digest, _) in &looked {
            hasher.update(digest);
        }
        let mut rest = looked.into_iter().filter_map(|(_, item)| item);
        if let Some(outer) = outer {
            let is_cut = outer.is_cut || rest.next().is_some();
            self.look = Some(Look {
                is_cut,
                ..Look::new(outer.depth, outer.n_left / 2)
            });
            return Ok(());
        }
        for item in rest {
            self.feed(hasher, item)?;
        }
        Ok(())
    }

    /// Put what looks alike in order by longer looks: in a set of many objects that lead to each other, most differ soon.
    fn look_longer(
        &mut self,
        looked: &mut [([u8; 32], Option<&Bound<'py, PyAny>>)],
    ) -> PyResult<()> {
        let look = Look::new(self.depth + LOOK_DEPTH, LONG_LOOK_STEPS);
        for alike in looked.chunk_by_mut(|(one, _), (other, _)| one == other) {
            if alike.len() < 2 {
                continue;
            }
            for (digest, item) in alike.iter_mut() {
                if let Some(open) = item {
                    let (longer, is_all) = self.look_at(open, look)?;
                    *digest = longer;
                    if is_all {
                        *item = None;
                    }
                }
            }
            alike.sort_by_key(|(digest, _)| *digest);
        }
        Ok(())
    }

    /// The digest of an item by itself, as far as the look goes; and whether it tells all, which it does not of what others
    /// may share.
    fn look_at(&mut self, item: &Bound<'py, PyAny>, look: Look) -> PyResult<([u8; 32], bool)> {
        let memo = std::mem::take(&mut self.memo);
        let found = std::mem::take(&mut self.found);
        self.look = Some(look);
        let mut inner = PartHasher::new();
        let done = self.feed(&mut inner, item);
        let is_cut = self.look.take().is_some_and(|look| look.is_cut);
        let is_all = !is_cut && self.memo.is_empty();
        self.memo = memo;
        let seen = std::mem::replace(&mut self.found, found);
        done?;
        if is_all {
            self.found.extend(seen);
        }
        Ok((*inner.finalize().as_bytes(), is_all))
    }

    fn feed_fact(&mut self, hasher: &mut PartHasher, obj: &Bound<'py, PyAny>) -> PyResult<()> {
        let address = obj.as_ptr() as usize;
        if let Some(index) = self.memo.get(&address) {
            hasher.put_len(b'R', *index as usize);
            return Ok(());
        }
        if let Some((_, fact)) = self.imports.get(&address) {
            let fact = fact.clone();
            return self.feed_described(hasher, obj, &fact);
        }
        let fact = match self.facts.call1((obj,)) {
            Ok(fact) => fact,
            Err(error) if error.is_instance_of::<PyRecursionError>(self.py) => {
                self.note_opaque("nested too deep for Python's stack".to_owned());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if fact.getattr(pyo3::intern!(self.py, "tag"))?.eq(IMPORT)? {
            self.imports.insert(address, (obj.clone(), fact.clone()));
        }
        self.feed_described(hasher, obj, &fact)
    }

    fn feed_described(
        &mut self,
        hasher: &mut PartHasher,
        obj: &Bound<'py, PyAny>,
        fact: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        self.keep.push(fact.clone());
        let py = self.py;
        let tag: String = fact.getattr(pyo3::intern!(py, "tag"))?.extract()?;
        if tag == BY_ITSELF {
            let array = fact.getattr(pyo3::intern!(py, "array"))?;
            if self.feed_array(hasher, &array, true)? {
                return Ok(());
            }
        }
        let opaque = fact.getattr(pyo3::intern!(py, "opaque"))?;
        if !opaque.is_none() {
            self.note_opaque(opaque.extract()?);
        }
        if fact.getattr(pyo3::intern!(py, "mutable"))?.is_truthy()? && self.seen(hasher, obj) {
            return Ok(());
        }
        let handle = fact.getattr(pyo3::intern!(py, "handle"))?;
        if !handle.is_none() {
            self.found.handles.insert(handle.extract()?);
        }
        for name in fact.getattr(pyo3::intern!(py, "refs"))?.try_iter()? {
            self.found.refs.insert(name?.extract()?);
        }
        for name in fact.getattr(pyo3::intern!(py, "idents"))?.try_iter()? {
            self.found.idents.insert(name?.extract()?);
        }
        for mark in fact.getattr(pyo3::intern!(py, "marks"))?.try_iter()? {
            self.found.marks.insert(mark?.extract()?);
        }
        let files = fact.getattr(pyo3::intern!(py, "files"))?;
        if !files.is_none() {
            self.found
                .files
                .extend(files.extract::<BTreeMap<String, String>>()?);
        }
        for buffer in fact.getattr(pyo3::intern!(py, "buffers"))?.try_iter()? {
            self.found.buffers.push(buffer?.extract()?);
        }

        let label = fact.getattr(pyo3::intern!(py, "label"))?;
        if label.is_none() {
            hasher.put_bytes(b'x', tag.as_bytes());
            return if tag == LIBRARY_OBJECT {
                self.feed_all_or_nothing(hasher, fact)
            } else {
                self.feed_body(hasher, fact)
            };
        }
        self.labels.push(label.extract()?);
        let mut inner = PartHasher::new();
        let done = self.feed_body(&mut inner, fact);
        let digest = inner.finalize();
        self.found
            .components
            .push((self.labels.join(" -> "), digest.to_hex().to_string()));
        self.labels.pop();
        done?;
        hasher.put_bytes(b'y', tag.as_bytes());
        hasher.update(digest.as_bytes());
        Ok(())
    }

    /// Of what a library holds beside something opaque, nothing can be expected to come again: pools, caches.
    fn feed_all_or_nothing(
        &mut self,
        hasher: &mut PartHasher,
        fact: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let before = hasher.clone();
        let (n_opaque, n_seen) = (self.found.n_opaque, self.memo.len() as u32);
        self.feed_body(hasher, fact)?;
        if self.found.n_opaque > n_opaque {
            *hasher = before;
            // What it holds counts where it is met again.
            self.memo.retain(|_, index| *index < n_seen);
        }
        Ok(())
    }

    fn note_opaque(&mut self, why: String) {
        self.found.opaque.insert(why);
        self.found.n_opaque += 1;
    }

    fn feed_body(&mut self, hasher: &mut PartHasher, fact: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let place = fact.getattr(pyo3::intern!(py, "place"))?;
        let data = fact.getattr(pyo3::intern!(py, "data"))?;
        if !place.is_none() {
            // SAFETY: `data` is the array that is there; the fact, which is kept until the walk has ended, holds it.
            unsafe { self.put_place(hasher, b'm', &place.extract()?)? };
        } else if !data.is_none() {
            let buffer = PyBuffer::<u8>::get(&data)?;
            // SAFETY: the buffer is C-contiguous bytes (checked by the type and below) and stays exported while it is
            // read; the GIL is held, so no Python code changes it meanwhile.
            if buffer.is_c_contiguous() {
                let bytes = unsafe {
                    std::slice::from_raw_parts(buffer.buf_ptr() as *const u8, buffer.len_bytes())
                };
                self.put_copy(hasher, b'm', bytes);
            } else {
                self.put_copy(hasher, b'm', &buffer.to_vec(py)?);
            }
            // A contiguous copy must not outlive its hashing, though the fact itself is kept.
            fact.setattr(pyo3::intern!(py, "data"), py.None())?;
        }
        let derived = fact.getattr(pyo3::intern!(py, "derived"))?;
        if !derived.is_none() {
            self.put_derived(hasher, &derived)?;
        }
        let parts = fact.getattr(pyo3::intern!(py, "parts"))?;
        let parts: Vec<Bound<'py, PyAny>> = parts.try_iter()?.collect::<PyResult<_>>()?;
        if fact.getattr(pyo3::intern!(py, "unordered"))?.is_truthy()? {
            self.feed_unordered(hasher, b'o', &parts)
        } else {
            hasher.put_len(b'p', parts.len());
            for part in &parts {
                self.feed(hasher, part)?;
            }
            Ok(())
        }
    }

    /// Bytes that a function computes from nothing but some pieces of memory: computed again when those change.
    fn put_derived(
        &mut self,
        hasher: &mut PartHasher,
        derived: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let (key, spans, compute): (Vec<u8>, Vec<(usize, usize)>, Bound<'py, PyAny>) =
            derived.extract()?;
        let spans: Vec<Range<usize>> = spans
            .into_iter()
            .map(|(start, len)| start..start + len)
            .collect();
        if let Some(memory) = self.memory {
            // SAFETY: the object that the memory belongs to is being walked, and the GIL is held.
            let mut memory = memory.lock();
            if let Some(found) = unsafe { memory.derived(&key, &spans) } {
                hasher.put_digests(b'e', 0, found);
                return Ok(());
            }
        }
        let data = compute.call0()?;
        let buffer = PyBuffer::<u8>::get(&data)?;
        let found = digests_of(&buffer.to_vec(self.py)?);
        hasher.put_digests(b'e', 0, &found);
        if let Some(memory) = self.memory {
            // SAFETY: as above; what computes bytes writes to no memory that is there already.
            unsafe { memory.lock().remember_derived(key, spans, found) };
        }
        Ok(())
    }

    fn finish(self, hasher: PartHasher) -> PyResult<(Bound<'py, PyDict>, Vec<usize>)> {
        let result = PyDict::new(self.py);
        // Around what is opaque lies what can be compared.
        let seen = hasher.finalize().to_hex().to_string();
        let fp = self.found.opaque.is_empty().then_some(&seen);
        result.set_item("fp", fp)?;
        result.set_item("seen", &seen)?;
        result.set_item("opaque", self.found.opaque.into_iter().collect::<Vec<_>>())?;
        result.set_item("refs", self.found.refs.into_iter().collect::<Vec<_>>())?;
        result.set_item("idents", self.found.idents.into_iter().collect::<Vec<_>>())?;
        result.set_item("marks", self.found.marks.into_iter().collect::<Vec<_>>())?;
        result.set_item(
            "handles",
            self.found.handles.into_iter().collect::<Vec<_>>(),
        )?;
        result.set_item("files", self.found.files)?;
        result.set_item("components", self.found.components)?;
        let spans: Vec<Span> = self.found.buffers.iter().map(|it| span(it, 0)).collect();
        let shares = overlaps(merged(spans)).any(|(one, other)| one.holder != other.holder);
        result.set_item("shares", shares)?;
        result.set_item("buffers", self.found.buffers)?;
        result.set_item("n_bytes", self.found.n_bytes)?;
        Ok((result, self.ids))
    }
}

/// Walk one object. Returns a dict: `fp` (64 hex digits, or None when opaque), `seen` (the same, of all that is not opaque),
/// and what was found on the way.
///
/// With `memory`, this is a look of its own: what was found in an earlier one is known where no memory was written since.
#[pyfunction]
#[pyo3(signature = (obj, facts, paths=None, memory=None))]
pub fn walk<'py>(
    obj: Bound<'py, PyAny>,
    facts: Bound<'py, PyAny>,
    paths: Option<Bound<'py, PyAny>>,
    memory: Option<&'py Bound<'py, Memory>>,
) -> PyResult<Bound<'py, PyDict>> {
    let memory = memory.map(Bound::get);
    if let Some(memory) = memory {
        memory.lock().begin_look();
    }
    let numpy = Numpy::loaded(facts.py())?;
    // What tasks are given goes to other processes, which have values that are not numbers of their own.
    let nans = match paths {
        None => nans_of(facts.py())?,
        Some(_) => Vec::new(),
    };
    let mut walker = Walker::new(facts, memory, paths, None, numpy);
    walker.nans = nans;
    let mut hasher = PartHasher::new();
    walker.feed(&mut hasher, &obj)?;
    Ok(walker.finish(hasher)?.0)
}

/// Walk every value of a namespace and group the names that share mutable objects or memory.
///
/// Returns `(walks, groups, mixed, lent)`: one walk per value, in order; the co-variables as lists of positions; the
/// positions whose memory is shared between several holders that copy on write and a plain array, which no pickle keeps;
/// and those where arrow or polars use the memory of an array.
/// `frames_copy`: these holders copy what they share before they write; otherwise they share it as arrays do.
/// A string that contains `root` marks its walk as `rooted`.
#[pyfunction]
#[pyo3(signature = (values, facts, frames_copy, root=None, memory=None))]
#[allow(clippy::type_complexity)] // four lists, named in the docstring
pub fn walk_namespace<'py>(
    values: Vec<Bound<'py, PyAny>>,
    facts: Bound<'py, PyAny>,
    frames_copy: bool,
    root: Option<String>,
    memory: Option<&'py Bound<'py, Memory>>,
) -> PyResult<(
    Vec<Bound<'py, PyDict>>,
    Vec<Vec<usize>>,
    Vec<usize>,
    Vec<usize>,
)> {
    let memory = memory.map(Bound::get);
    if let Some(memory) = memory {
        memory.lock().begin_sweep();
    }
    let numpy = Numpy::loaded(facts.py())?;
    let nans = nans_of(facts.py())?;
    let root = root.map(|folder| Rc::new(Finder::new(&folder).into_owned()));
    let mut walks = Vec::with_capacity(values.len());
    let mut parents: Vec<usize> = (0..values.len()).collect();
    let mut first_owner: FxHashMap<usize, usize> = FxHashMap::default();
    let mut spans: Vec<Span> = Vec::new();
    // What facts made is kept until the last walk has ended: an address that was used twice would join strangers.
    let mut kept = Vec::new();
    for (position, value) in values.iter().enumerate() {
        let mut walker = Walker::new(facts.clone(), memory, None, root.clone(), numpy.clone());
        walker.nans.clone_from(&nans);
        let mut hasher = PartHasher::new();
        walker.feed(&mut hasher, value)?;
        spans.extend(walker.found.buffers.iter().map(|it| span(it, position)));
        kept.append(&mut walker.keep);
        let (result, ids) = walker.finish(hasher)?;
        first_owner.reserve(ids.len());
        for id in ids {
            let owner = *first_owner.entry(id).or_insert(position);
            if owner != position {
                join(&mut parents, owner, position);
            }
        }
        walks.push(result);
    }
    drop(kept);

    let mut holders: BTreeMap<usize, BTreeSet<(usize, usize)>> = BTreeMap::new();
    let mut lent = BTreeSet::new();
    for (mut one, mut other) in overlaps(merged(spans)) {
        let is_owned = one.holder == OWNER || other.holder == OWNER;
        if is_owned || one.holder == FOREIGN || other.holder == FOREIGN {
            // What an object gives for its pickle may have its memory, too.
            let is_apart = !is_owned || one.position != other.position;
            if is_apart && (writes(one.holder) || writes(other.holder)) {
                join(&mut parents, one.position, other.position);
                lent.extend([one.position, other.position]);
            }
            continue;
        }
        for side in [&mut one, &mut other] {
            if side.holder == READ_ONLY {
                side.holder = 0;
            }
            side.holder &= !READS;
        }
        let are_frames = one.holder != 0 && other.holder != 0;
        if are_frames && (one.holder == other.holder || frames_copy) {
            continue;
        }
        join(&mut parents, one.position, other.position);
        let shared = holders.entry(find(&mut parents, one.position)).or_default();
        for side in [one, other] {
            if side.holder != 0 {
                shared.insert((side.holder, side.position));
            }
        }
    }
    let mut mixed = BTreeSet::new();
    for shared in holders.into_values().filter(|_| frames_copy) {
        let distinct: BTreeSet<usize> = shared.iter().map(|(holder, _)| *holder).collect();
        if distinct.len() > 1 {
            mixed.extend(shared.into_iter().map(|(_, position)| position));
        }
    }

    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for position in 0..values.len() {
        groups
            .entry(find(&mut parents, position))
            .or_default()
            .push(position);
    }
    Ok((
        walks,
        groups.into_values().collect(),
        mixed.into_iter().collect(),
        lent.into_iter().collect(),
    ))
}
