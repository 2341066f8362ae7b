//! What the walker reads of numpy's objects by itself: their memory, through Python's buffer protocol.

use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;
use rustc_hash::FxHashMap;

/// Types whose bytes are all that they are, by their names in numpy.
const SCALARS: &[&str] = &[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "longlong",
    "ulonglong",
];

/// Numpy's types, when it is loaded.
pub struct Numpy<'py> {
    pub ndarray: Bound<'py, PyType>,
    /// The names of scalar types, by the address of the type.
    pub scalars: &'static FxHashMap<usize, Vec<u8>>,
}

impl<'py> Numpy<'py> {
    /// None when nothing has imported numpy: then there is nothing of its own to read.
    pub fn loaded(py: Python<'py>) -> PyResult<Option<Rc<Self>>> {
        let modules = py.import("sys")?.getattr("modules")?;
        let Ok(numpy) = modules.get_item("numpy") else {
            return Ok(None);
        };
        // While numpy is being imported for the first time, it has no arrays yet.
        let Ok(ndarray) = numpy.getattr("ndarray") else {
            return Ok(None);
        };
        // Types of numpy's own live as long as the process.
        static KNOWN: OnceLock<FxHashMap<usize, Vec<u8>>> = OnceLock::new();
        let scalars = match KNOWN.get() {
            Some(scalars) => scalars,
            None => match scalars_of(&numpy)? {
                Some(found) => KNOWN.get_or_init(|| found),
                None => return Ok(None),
            },
        };
        Ok(Some(Rc::new(Self {
            ndarray: ndarray.cast_into()?,
            scalars,
        })))
    }
}

/// None while some are not there yet.
fn scalars_of(numpy: &Bound<'_, PyAny>) -> PyResult<Option<FxHashMap<usize, Vec<u8>>>> {
    let mut scalars = FxHashMap::default();
    for name in SCALARS {
        let (Ok(kind), Ok(make)) = (numpy.getattr(*name), numpy.getattr("dtype")) else {
            return Ok(None);
        };
        if let Ok(dtype) = make.call1((&kind,)) {
            let key: String = dtype.getattr("str")?.extract()?;
            scalars.insert(kind.as_ptr() as usize, key.into_bytes());
        }
    }
    Ok(Some(scalars))
}

/// A buffer of items of any kind, exported as long as this lives.
pub struct Raw {
    view: ffi::Py_buffer,
}

impl Raw {
    /// None when the object does not give its memory away.
    pub fn get(obj: &Bound<'_, PyAny>) -> Option<Self> {
        let mut view = MaybeUninit::<ffi::Py_buffer>::zeroed();
        // SAFETY: the object is alive and the view is released once, when this is dropped, with the GIL held.
        unsafe {
            if ffi::PyObject_GetBuffer(obj.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_STRIDES) != 0 {
                ffi::PyErr_Clear();
                return None;
            }
            Some(Self {
                view: view.assume_init(),
            })
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.view.readonly != 0
    }

    pub fn is_empty(&self) -> bool {
        self.view.len == 0
    }

    /// Lengths of the dimensions, outermost first.
    pub fn shape(&self) -> &[isize] {
        let n = usize::try_from(self.view.ndim).unwrap_or(0);
        if n == 0 || self.view.shape.is_null() {
            return &[];
        }
        // SAFETY: an exporter that is asked for strides gives `ndim` lengths.
        unsafe { std::slice::from_raw_parts(self.view.shape, n) }
    }

    /// `C` or `F` when the items touch each other, row by row or column by column.
    pub fn order(&self) -> Option<u8> {
        let is_contiguous = |order: u8| {
            // SAFETY: the view is valid.
            unsafe {
                ffi::PyBuffer_IsContiguous(&raw const self.view, order as std::ffi::c_char) != 0
            }
        };
        [b'C', b'F'].into_iter().find(|order| is_contiguous(*order))
    }

    /// All items.
    ///
    /// # Safety
    /// The buffer must be contiguous, and nobody may write to it meanwhile.
    pub unsafe fn bytes(&self) -> &[u8] {
        let len = usize::try_from(self.view.len).unwrap_or(0);
        if len == 0 || self.view.buf.is_null() {
            return &[];
        }
        // SAFETY: promised by the caller; the exporter vouches for the length.
        unsafe { std::slice::from_raw_parts(self.view.buf.cast(), len) }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: it was got with the GIL held, in a walk that still holds it.
        unsafe { ffi::PyBuffer_Release(&raw mut self.view) };
    }
}
