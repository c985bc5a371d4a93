//! Certificates: those that the platform makes for itself, and those that users bring.

use modelport_dataplane::certificate;
use modelport_dataplane::certified::Certified;
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

/// When a certificate is good and whether for a host, if the key fits it; see `_dataplane.pyi`.
#[pyfunction]
pub(crate) fn read_certificate(certificate: &[u8], key: &[u8], host: &str) -> PyResult<(i64, i64, bool)> {
    let found = Certified::read(certificate, key).map_err(PyValueError::new_err)?;
    Ok((found.not_before, found.not_after, found.fits(host)))
}
