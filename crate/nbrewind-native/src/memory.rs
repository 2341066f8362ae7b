//! The large buffers of a kernel as Python sees them: one `Memory` for the walks of a session, and the way from it into
//! the store.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use nbrewind_memory::digests_of;
use nbrewind_memory::{
    Layout, Memory as CoreMemory, SLICE, Sources as CoreSources, copy_slice, copy_slices,
    interleave as fill, mark_of as mark,
};
use nbrewind_store::{Aligned, Fingerprint};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};

use crate::store::{Store, fingerprints, into_error};

/// Smaller buffers are fed to the hasher of the walk itself, and stored without looking for what is known of them.
pub const LARGE: usize = 64 << 10;

/// Slices that are copied before they are written: fewer where it costs nothing to see that nobody writes to them meanwhile.
const STAGED: [usize; 2] = [64, 16];

/// Where a buffer is: address, items, bytes from one item to the next, bytes of an item, and the address and length of
/// the memory that it is a part of.
#[derive(FromPyObject)]
pub struct Place(usize, usize, usize, usize, usize, usize);

impl Place {
    /// Bytes that belong to nothing larger.
    pub fn of(bytes: &[u8]) -> Self {
        let (start, len) = (bytes.as_ptr() as usize, bytes.len());
        Self(start, len, 1, 1, start, len)
    }

    /// Bytes of content.
    pub fn n_bytes(&self) -> usize {
        self.1 * self.3
    }

    pub fn layout(&self) -> PyResult<Layout> {
        Layout::items(self.0, self.1, self.2, self.3).ok_or_else(|| {
            PyValueError::new_err(format!(
                "items of {} bytes that lie {} bytes apart must be copied first",
                self.3, self.2
            ))
        })
    }

    pub fn owner(&self) -> Range<usize> {
        self.4..self.4 + self.5
    }
}

/// Fingerprints of large buffers, kept from one look at the namespace to the next.
#[pyclass(module = "nbrewind._native", frozen)]
pub struct Memory {
    inner: Mutex<CoreMemory>,
}

impl Memory {
    pub fn lock(&self) -> MutexGuard<'_, CoreMemory> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Memory {
    /// Track pages where the kernel can (`tracks_pages`), else hash.
    #[new]
    #[pyo3(signature = (tracks_pages=true))]
    fn new(tracks_pages: bool) -> Self {
        Self {
            inner: Mutex::new(CoreMemory::new(tracks_pages)),
        }
    }

    /// Whether pages are tracked.
    #[getter]
    fn tracks_pages(&self) -> bool {
        self.lock().tracks_pages()
    }

    /// From here on, buffers may have changed, and others may be where they were.
    fn begin_look(&self) {
        self.lock().begin_look();
    }

    /// False when memory that the kernel tracks was written, or given back, since it was last looked at.
    fn is_untouched(&self) -> bool {
        self.lock().is_untouched()
    }

    /// What the current look cost, as a dict of bytes and numbers.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.lock().counts();
        let found = PyDict::new(py);
        found.set_item("hashed", counts.hashed)?;
        found.set_item("known", counts.known)?;
        found.set_item("n_tracked", counts.n_tracked)?;
        found.set_item("n_regions", counts.n_regions)?;
        Ok(found)
    }

    /// Fingerprint `n` buffers of one shape that interleave, each `between` bytes after the one before.
    fn prepare(&self, first: Place, n: usize, between: usize) -> PyResult<()> {
        let layout = first.layout()?;
        let layouts: Vec<Layout> = (0..n)
            .map(|index| Layout {
                start: layout.start + index * between,
                ..layout
            })
            .collect();
        // SAFETY: the caller holds the array that the addresses were taken from, and the GIL.
        unsafe { self.lock().prepare(&first.owner(), &layouts) };
        Ok(())
    }

    /// Store a contiguous buffer; slices that the store has are neither hashed nor written. Returns the chunks' names.
    fn put(&self, py: Python<'_>, store: &Store, data: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        let buffer = PyBuffer::<u8>::get(data)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("the buffer is not contiguous"));
        }
        let (start, len) = (buffer.buf_ptr() as usize, buffer.len_bytes());
        if len < LARGE {
            return store.put(py, data);
        }
        let layout = Layout::bytes(start, len);
        // SAFETY: the buffer is exported while this runs, and the GIL is held.
        unsafe { put_slices(py, store, self, &(start..start + len), &layout) }
    }

    /// Take over memory at `owner` (address, bytes) that was just made, and parts of it that were filled from the store:
    /// place, names of the chunks. They are not hashed again; parts that the names do not fit are.
    fn adopt(&self, owner: (usize, usize), parts: Vec<(Place, Vec<String>)>) -> PyResult<()> {
        let owner = owner.0..owner.0 + owner.1;
        let mut known = Vec::with_capacity(parts.len());
        for (place, names) in parts {
            let layout = place.layout()?;
            let is_inside = owner.start <= layout.span().start && layout.span().end <= owner.end;
            if is_inside && layout.len() >= LARGE && names.len() == layout.n_slices() {
                let names = fingerprints(&names)?;
                let digests = names.iter().map(|name| *name.as_bytes()).collect();
                known.push((layout, digests));
            }
        }
        // SAFETY: the caller has made the array, holds it and the GIL, and has shown it to nobody.
        unsafe { self.lock().adopt(&owner, known) };
        Ok(())
    }

    /// Where content is in memory now, to be loaded from there; `None` reads from the store alone.
    fn sources(&self) -> Sources {
        Sources {
            inner: self.lock().sources(),
        }
    }

    /// Store items that lie apart, as one run of bytes.
    fn put_items(&self, py: Python<'_>, store: &Store, place: Place) -> PyResult<Vec<String>> {
        let layout = place.layout()?;
        // SAFETY: the caller holds the array that the addresses were taken from, and the GIL.
        unsafe { put_slices(py, store, self, &place.owner(), &layout) }
    }
}

/// Put what the store lacks of a buffer; returns the names of all its chunks.
///
/// Nothing is hashed that was hashed before. So that a chunk never differs from its name, the bytes are copied, and then it is
/// seen whether the memory is still what it was when it was hashed: native code may write while the GIL is held.
///
/// # Safety
/// The memory of the owner must be readable as long as the GIL is held or `data` is exported.
unsafe fn put_slices(
    py: Python<'_>,
    store: &Store,
    memory: &Memory,
    owner: &Range<usize>,
    layout: &Layout,
) -> PyResult<Vec<String>> {
    // SAFETY: promised by the caller; the GIL is held.
    let digests = || unsafe { memory.lock().digests(owner, layout).to_vec() };
    let found = digests();
    let names: Vec<Fingerprint> = found.iter().copied().map(Fingerprint::from_bytes).collect();
    let missing: Vec<usize> = (0..names.len())
        .filter(|slice| !store.inner.has(&names[*slice]))
        .collect();
    let n_staged = STAGED[usize::from(memory.tracks_pages())];
    // New memory costs as much as a copy: one room for all.
    let mut room = Aligned::new((missing.len().min(n_staged) * SLICE).min(layout.len()));
    for batch in missing.chunks(n_staged) {
        // SAFETY: as above.
        let copies = unsafe { copy_slices(layout, batch, &mut room) };
        memory.lock().begin_look();
        if digests() != found {
            return Err(PyRuntimeError::new_err(
                "it changed while it was being stored: something writes to it all the time",
            ));
        }
        let named = batch.iter().map(|slice| names[*slice]);
        let chunks: Vec<(Fingerprint, &[u8])> = named.zip(copies).collect();
        py.detach(|| store.inner.put_chunks(&chunks))
            .map_err(into_error)?;
    }
    Ok(names.iter().map(ToString::to_string).collect())
}

/// The fingerprints of a buffer's slices, from what is known of it, or by hashing.
///
/// # Safety
/// The memory at the place must be readable, and nobody may write to it meanwhile.
pub unsafe fn digests(memory: Option<&Memory>, place: &Place) -> PyResult<Vec<[u8; 32]>> {
    let layout = place.layout()?;
    if let Some(memory) = memory {
        // SAFETY: promised by the caller.
        return Ok(unsafe { memory.lock().digests(&place.owner(), &layout).to_vec() });
    }
    if layout.stride == layout.item {
        // SAFETY: promised by the caller.
        let bytes = unsafe { std::slice::from_raw_parts(layout.start as *const u8, layout.len()) };
        return Ok(digests_of(bytes));
    }
    Ok((0..layout.n_slices())
        // SAFETY: promised by the caller.
        .flat_map(|slice| digests_of(&unsafe { copy_slice(&layout, slice) }))
        .collect())
}

const _: () = assert!(LARGE <= SLICE);

/// Content that is in memory, and the store for all else.
#[pyclass(module = "nbrewind._native", frozen)]
pub struct Sources {
    inner: CoreSources,
}

#[pymethods]
impl Sources {
    /// Nothing in memory.
    #[new]
    fn new() -> Self {
        Self {
            inner: CoreSources::default(),
        }
    }

    /// Fill a buffer with the content of these chunks, each compared with its name, wherever it comes from.
    fn fill(
        &self,
        py: Python<'_>,
        store: &Store,
        chunks: Vec<String>,
        into: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let buffer = PyBuffer::<u8>::get(into)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("the buffer cannot be filled"));
        }
        let chunks = fingerprints(&chunks)?;
        // SAFETY: the buffer is new and known to nobody else, and stays exported meanwhile.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes())
        };
        py.detach(|| {
            store.inner.get_into_from(&chunks, bytes, |name, part| {
                self.inner.copy(name.as_bytes(), part)
            })
        })
        .map_err(into_error)
    }
}

/// Fill a table that is stored by rows from the bytes of its columns, items of `item` bytes.
#[pyfunction]
pub fn interleave(
    py: Python<'_>,
    columns: Vec<Bound<'_, PyByteArray>>,
    item: usize,
    into: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let table = PyBuffer::<u8>::get(into)?;
    let n_bytes: usize = columns.iter().map(|column| column.len()).sum();
    let is_even = columns
        .windows(2)
        .all(|pair| pair[0].len() == pair[1].len());
    if table.readonly() || !table.is_c_contiguous() || table.len_bytes() != n_bytes || !is_even {
        return Err(PyValueError::new_err("the columns do not fill the table"));
    }
    // SAFETY: the byte arrays and the table are new and known to nobody else; the GIL is held.
    let (columns, table) = unsafe {
        let columns: Vec<&[u8]> = columns.iter().map(|column| column.as_bytes()).collect();
        let bytes = std::slice::from_raw_parts_mut(table.buf_ptr().cast::<u8>(), n_bytes);
        (columns, bytes)
    };
    py.detach(|| fill(&columns, item, table));
    Ok(())
}

/// A number that tells whether a contiguous buffer holds what it held before. It is no fingerprint.
#[pyfunction]
pub fn mark_of(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<u128> {
    let buffer = PyBuffer::<u8>::get(data)?;
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err("the buffer is not contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(0);
    }
    // SAFETY: the buffer is exported while this runs. Other threads may write to it, as they may in any hash of live
    // memory: the number is then that of no moment, and differs from the next one.
    let bytes =
        unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    if bytes.len() < LARGE {
        return Ok(mark(bytes));
    }
    Ok(py.detach(|| mark(bytes)))
}
