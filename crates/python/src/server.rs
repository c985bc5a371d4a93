//! `Server`: models and ports of this process, as Python puts them together.

use crate::executor::{self, Mode};
use crate::repository::PyRepository;
use modelport_dataplane::batch::{Batching, Completions, Parking};
use modelport_dataplane::codec::cloudevents;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::listen::{self, Config, Ended, Handle, TlsFiles};
use modelport_dataplane::metrics::ModelMetrics;
use modelport_dataplane::model::{self, IndexEntry, Metadata, Options};
use modelport_dataplane::trace;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Exit code of a process whose model did not return in time.
const STUCK: i32 = 86;

/// A server in this process; see `_dataplane.pyi`.
#[pyclass(frozen, module = "modelport._dataplane")]
pub(crate) struct Server {
    server: Arc<model::Server>,
    index: Arc<Mutex<Vec<IndexEntry>>>,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    config: Mutex<Option<Config>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    handle: Handle,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (*, version, repository, http_fd=None, grpc_fd=None, metrics_fd=None, control_fd=None,
        both_on_http=false, tls=None, body_bytes=268_435_456, bodies_bytes=4_294_967_296, drain_timeout_s=30.0, drain_delay_s=0.0,
        signals=true, docs=true, access_log=false, tracing=None,
        cloudevents=("io.kserve.inference.response".to_owned(), None, false), max_connections=10_000, on_stuck=None))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // keyword arguments of one constructor
    fn new(
        version: String,
        repository: Py<PyAny>,
        http_fd: Option<RawFd>,
        grpc_fd: Option<RawFd>,
        metrics_fd: Option<RawFd>,
        control_fd: Option<RawFd>,
        both_on_http: bool,
        tls: Option<(String, String, Option<String>)>,
        body_bytes: usize,
        bodies_bytes: usize,
        drain_timeout_s: f64,
        drain_delay_s: f64,
        signals: bool,
        docs: bool,
        access_log: bool,
        tracing: Option<HashMap<String, String>>,
        cloudevents: (String, Option<String>, bool),
        max_connections: usize,
        on_stuck: Option<(RawFd, Vec<u8>)>,
    ) -> PyResult<Self> {
        let (r#type, source, merge) = cloudevents;
        let config = Config {
            http: http_fd.map(|fd| owned(fd).into()),
            grpc: grpc_fd.map(|fd| owned(fd).into()),
            metrics: metrics_fd.map(|fd| owned(fd).into()),
            control: control_fd.map(|fd| owned(fd).into()),
            tls: tls.map(|(certificate, key, client_ca)| TlsFiles {
                certificate: certificate.into(),
                key: key.into(),
                client_ca: client_ca.map(Into::into),
            }),
            both_on_http,
            drain_timeout: seconds("drain_timeout_s", drain_timeout_s)?,
            drain_delay: seconds("drain_delay_s", drain_delay_s)?,
            docs,
            access_log,
            tracing: tracing.as_ref().map(tracing_settings).transpose()?.flatten(),
            cloudevents: cloudevents::Settings { r#type, source, merge },
            max_connections,
            signals,
            // This is the process's main thread then, and there is no way back into Python.
            abandon: signals.then(|| Box::new(abandon) as Box<dyn Fn(Ended) + Send>),
            on_stuck: on_stuck.map(|(fd, line)| {
                // Without Python: a model that does not return may hold the GIL.
                let tell = move || {
                    // SAFETY: `line` is as long as it says; a descriptor that was closed gives an error.
                    let _ = unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
                };
                Box::new(tell) as Box<dyn Fn() + Send>
            }),
        };
        let limits = Limits { body_bytes, bodies_bytes, ..Limits::default() };
        let index = Arc::new(Mutex::default());
        let repository = PyRepository::new(repository, Arc::clone(&index));
        Ok(Self {
            server: model::Server::new("modelport".to_owned(), version, Box::new(repository), limits),
            index,
            completions: Arc::default(),
            parking: Arc::default(),
            config: Mutex::new(Some(config)),
            threads: Mutex::default(),
            handle: Handle::default(),
        })
    }

    #[pyo3(signature = (metadata, executor, *, tensors, raw_v1=false, explains=false, wants_headers=false,
        max_batch_size=256, batch_delay_s=0.0, batch_latency_s=0.0, queue_limit=1024, predict_timeout_s=None, threads=1))]
    #[allow(clippy::too_many_arguments)] // keyword arguments of one method
    fn put(
        &self,
        py: Python<'_>,
        metadata: &str,
        executor: Py<PyAny>,
        tensors: bool,
        raw_v1: bool,
        explains: bool,
        wants_headers: bool,
        max_batch_size: usize,
        batch_delay_s: f64,
        batch_latency_s: f64,
        queue_limit: usize,
        predict_timeout_s: Option<f64>,
        threads: usize,
    ) -> PyResult<()> {
        let metadata: Metadata = serde_json::from_str(metadata)
            .map_err(|error| PyValueError::new_err(format!("metadata: {error}")))?;
        let options = Options {
            batching: Batching {
                max_rows: if tensors { max_batch_size.max(1) } else { 1 },
                delay: seconds("batch_delay_s", batch_delay_s)?,
                latency: seconds("batch_latency_s", batch_latency_s)?,
                queue_limit: queue_limit.max(1),
            },
            predict_timeout: predict_timeout_s
                .map(|timeout| seconds("predict_timeout_s", timeout))
                .transpose()?,
            raw_v1,
            explains,
            wants_headers,
        };
        let metrics = self
            .server
            .registry
            .get(&metadata.name, metadata.version.as_deref())
            .map_or_else(|_| Arc::new(ModelMetrics::default()), |old| Arc::clone(&old.metrics));
        let model = model::Model::new(metadata, options, metrics, &self.completions, &self.parking);
        let mode = if tensors { Mode::Tensors } else { Mode::Requests };
        {
            let mut running = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|thread| !thread.is_finished());
            for _ in 0..threads.max(1) {
                let (model, executor) = (Arc::clone(&model), executor.clone_ref(py));
                running.push(executor::spawn(py, model, executor, mode, threads <= 1)?);
            }
        }
        model.set_ready(true);
        if let Some(old) = self.server.registry.put(Arc::clone(&model)) {
            old.retire(Some(model));
        }
        Ok(())
    }

    #[pyo3(signature = (name, version=None))]
    fn remove(&self, name: &str, version: Option<&str>) -> bool {
        let removed = match version {
            Some(_) => self.server.registry.remove_version(name, version).into_iter().collect(),
            None => self.server.registry.remove(name),
        };
        for model in &removed {
            model.retire(None);
        }
        !removed.is_empty()
    }

    fn set_ready(&self, name: &str, ready: bool) {
        for model in self.server.registry.versions(name) {
            model.set_ready(ready);
        }
    }

    fn set_index(&self, entries: Vec<(String, String, String, String)>) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = entries
            .into_iter()
            .map(|(name, version, state, reason)| IndexEntry { name, version, state, reason })
            .collect();
    }

    fn set_peers(&self, sockets: Vec<String>) {
        *self.server.peers.write().unwrap_or_else(PoisonError::into_inner) =
            sockets.into_iter().map(Into::into).collect();
    }

    fn run(&self, py: Python<'_>) -> PyResult<&'static str> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).take();
        let config = config.ok_or_else(|| PyRuntimeError::new_err("The server has run already."))?;
        let owns_process = config.signals;
        let ended = py
            .detach(|| {
                let ended = listen::run(
                    Arc::clone(&self.server),
                    Arc::clone(&self.completions),
                    Arc::clone(&self.parking),
                    config,
                    self.handle.clone(),
                );
                if owns_process && matches!(ended, Ok(Ended::Stuck)) {
                    // The model may hold the GIL for ever: there is no way back into Python.
                    // SAFETY: ends the process at once; everything that was answered has been flushed.
                    unsafe { libc::_exit(STUCK) }
                }
                ended
            })
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        for model in self.server.registry.all() {
            model.queue.close();
        }
        Ok(match ended {
            Ended::Drained => {
                let threads =
                    std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
                py.detach(|| threads.into_iter().for_each(|thread| drop(thread.join())));
                "drained"
            }
            Ended::DrainTimedOut => "drain timed out",
            Ended::Stuck => "stuck",
        })
    }

    fn stop(&self) {
        self.handle.stop();
    }
}

/// Ends the process at once.
fn abandon(ended: Ended) {
    // SAFETY: everything that was answered has been flushed.
    unsafe { libc::_exit(if ended == Ended::Stuck { STUCK } else { 0 }) }
}

/// Where the traces of a server with these variables go; see `_dataplane.pyi`.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // what PyO3 makes of a dict
pub(crate) fn tracing_endpoint(variables: HashMap<String, String>) -> PyResult<Option<String>> {
    let Some(settings) = tracing_settings(&variables)? else { return Ok(None) };
    settings.check().map_err(PyValueError::new_err)?;
    Ok(Some(settings.address()))
}

fn tracing_settings(variables: &HashMap<String, String>) -> PyResult<Option<trace::Settings>> {
    trace::Settings::read(|name| variables.get(name).map(String::as_str)).map_err(PyValueError::new_err)
}

pub(crate) fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the contract of `Server(…)`: descriptors are bound sockets that the caller gives away.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub(crate) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!("{name}: must be a time in seconds, at least 0, got {value}."))
    })
}
