//! Certificates, for the platform's own servers.

use modelport_dataplane::certificate;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The PEM of an authority, a certificate and its key; see `_dataplane.pyi`.
#[pyfunction]
pub(crate) fn self_signed(
    py: Python<'_>,
    names: Vec<String>,
    days: u32,
) -> PyResult<(String, String, String)> {
    let made = py.detach(|| certificate::self_signed(names, days)).map_err(PyValueError::new_err)?;
    Ok((made.authority, made.certificate, made.key))
}
