//! Loading and unloading by Python, each on a thread of its own: neither the I/O thread nor a model's thread
//! waits for it, and an order of a sibling process goes on while one of our own waits for that sibling.

use crate::convert;
use crate::memory;
use modelport_dataplane::error::{Error, Kind, Result as Served};
use modelport_dataplane::model::{IndexEntry, Operation, Repository};
use modelport_dataplane::tensor::Params;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

pub(crate) struct PyRepository {
    callbacks: Arc<Py<PyAny>>,
    index: Arc<Mutex<Vec<IndexEntry>>>,
}

impl PyRepository {
    pub(crate) fn new(callbacks: Py<PyAny>, index: Arc<Mutex<Vec<IndexEntry>>>) -> Self {
        Self { callbacks: Arc::new(callbacks), index }
    }

    fn order(&self, verb: &'static str, name: String, parameters: Params) -> Operation {
        let (done, outcome) = oneshot::channel();
        let callbacks = Arc::clone(&self.callbacks);
        let begun = std::thread::Builder::new().name("repository".to_owned()).spawn(move || {
            let gone = || Err(Error::new(Kind::NotReady, "The server is shutting down."));
            let outcome = Python::try_attach(|py| carry_out(py, &callbacks, verb, &name, &parameters))
                .unwrap_or_else(gone);
            let _ = done.send(outcome);
            memory::give_back();
        });
        Box::pin(async move {
            begun.map_err(|error| {
                Error::new(Kind::Internal, format!("No thread for the repository: {error}."))
            })?;
            outcome
                .await
                .map_err(|_| Error::new(Kind::Internal, "The operation on the repository broke off."))?
        })
    }
}

impl Repository for PyRepository {
    fn index(&self) -> Vec<IndexEntry> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn load(&self, name: String, parameters: Params) -> Operation {
        self.order("load", name, parameters)
    }

    fn unload(&self, name: String, parameters: Params) -> Operation {
        self.order("unload", name, parameters)
    }
}

fn carry_out(
    py: Python<'_>,
    callbacks: &Py<PyAny>,
    verb: &str,
    name: &str,
    parameters: &Params,
) -> Served<()> {
    convert::parameters(py, parameters)
        .and_then(|parameters| callbacks.call_method1(py, verb, (name, parameters)))
        .map(drop)
        .map_err(|raised| convert::error(py, &raised))
}
