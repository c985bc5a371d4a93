//! The load generator, for `modelport bench`.

use modelport_load::args::{self, Command};
use modelport_load::measure::measure;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Loads a server as `modelport-load ARGUMENTS` does, and returns the report as JSON.
#[pyfunction]
pub(crate) fn load_test(py: Python<'_>, arguments: Vec<String>) -> PyResult<String> {
    let measured = py.detach(|| match args::parse(arguments)? {
        Command::Load(load) => measure(&load),
        Command::Help | Command::Sink(_) => Err("the first argument must be rest or grpc".to_owned()),
    });
    let report = measured.map_err(PyValueError::new_err)?;
    serde_json::to_string(&report).map_err(|error| PyValueError::new_err(error.to_string()))
}
