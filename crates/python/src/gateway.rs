//! The gateway, for `modelport gateway`.

use crate::server::{owned, seconds};
use modelport_dataplane::gateway::{run, Config, Ended, Handle, Limits};
use modelport_dataplane::listen::TlsFiles;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

/// Runs a gateway until a signal ends it; see `_dataplane.pyi`.
#[pyfunction]
#[pyo3(signature = (*, listen_fds, table, admin, internal_fds=Vec::new(), handover=None, tls=None, access_log=None,
    trust_forwarded=false, threads=1, max_connections=10_000, header_bytes=65_536, body_bytes=1_073_741_824,
    retry_body_bytes=1_048_576, header_timeout_s=30.0, idle_timeout_s=600.0, body_timeout_s=60.0, connect_timeout_s=2.0,
    drain_delay_s=0.3, drain_timeout_s=30.0))]
#[allow(clippy::too_many_arguments)] // keyword arguments of one function
pub(crate) fn gateway(
    py: Python<'_>,
    listen_fds: Vec<RawFd>,
    table: PathBuf,
    admin: PathBuf,
    internal_fds: Vec<RawFd>,
    handover: Option<PathBuf>,
    tls: Option<(String, String)>,
    access_log: Option<PathBuf>,
    trust_forwarded: bool,
    threads: usize,
    max_connections: usize,
    header_bytes: usize,
    body_bytes: u64,
    retry_body_bytes: usize,
    header_timeout_s: f64,
    idle_timeout_s: f64,
    body_timeout_s: f64,
    connect_timeout_s: f64,
    drain_delay_s: f64,
    drain_timeout_s: f64,
) -> PyResult<&'static str> {
    // The shortest that means anything: a wait of nothing at all would never end well.
    let waiting = |name, value| Ok::<_, PyErr>(seconds(name, value)?.max(Duration::from_millis(1)));
    let limits = Limits {
        connections: max_connections,
        header_bytes: header_bytes.clamp(8 << 10, 1 << 20), // hyper's least, and ours at most
        body_bytes,
        retry_body_bytes,
        header_timeout: waiting("header_timeout_s", header_timeout_s)?,
        idle_timeout: waiting("idle_timeout_s", idle_timeout_s)?,
        body_timeout: waiting("body_timeout_s", body_timeout_s)?,
        connect_timeout: waiting("connect_timeout_s", connect_timeout_s)?,
    };
    let config = Config {
        listeners: listen_fds.into_iter().map(|fd| owned(fd).into()).collect(),
        internal: internal_fds.into_iter().map(|fd| owned(fd).into()).collect(),
        table,
        admin,
        handover,
        tls: tls.map(|(certificate, key)| TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
        }),
        access_log,
        trust_forwarded,
        threads,
        limits,
        drain_delay: seconds("drain_delay_s", drain_delay_s)?,
        drain_timeout: seconds("drain_timeout_s", drain_timeout_s)?,
        signals: true,
    };
    let ended = py.detach(|| run(config, Handle::default()));
    Ok(match ended.map_err(|error| PyOSError::new_err(error.to_string()))? {
        Ended::Drained => "drained",
        Ended::CutOff => "cut off",
    })
}
