//! `Buffer`: a tensor's bytes as Python sees them, and Python's buffers as bytes.

use bytes::Bytes;
use modelport_dataplane::batch::merge::AlignedVec;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// Bytes of a tensor, with the buffer protocol; `numpy.frombuffer` makes a view of it, without a copy.
#[pyclass(frozen, module = "modelport._dataplane")]
pub(crate) struct Buffer {
    bytes: Bytes,
}

impl Buffer {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

#[pymethods]
impl Buffer {
    fn __len__(&self) -> usize {
        self.bytes.len()
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = &slf.get().bytes;
        let start = bytes.as_ptr().cast_mut().cast();
        let length = bytes.len() as isize;
        // SAFETY: `bytes` lives as long as the object that the view keeps alive. It is given as writable
        // because models work in place: no Rust code reads a tensor again once it was handed to Python
        // (a batch is tried again from its requests, whose bytes were copied when they were joined).
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, 0, flags) };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// Copies what a Python object with the buffer protocol holds; it must be C-contiguous.
pub(crate) fn copy_out(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Bytes> {
    let buffer = PyUntypedBuffer::get(object)?;
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err(format!("output {name:?}: the array must be C-contiguous.")));
    }
    let length = buffer.len_bytes();
    if length == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the view is contiguous and `len_bytes` long while `buffer` lives, and the GIL is held.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), length) };
    let mut copy = AlignedVec::with_capacity(length);
    copy.extend(bytes);
    Ok(copy.into_bytes())
}
