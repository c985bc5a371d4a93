//! Loading and unloading by Python, one at a time, on a thread of its own: neither the I/O thread nor a
//! model's thread waits for it.

use crate::convert;
use modelport_dataplane::error::{Error, Kind, Result as Served};
use modelport_dataplane::model::{IndexEntry, Operation, Repository};
use modelport_dataplane::tensor::Params;
use pyo3::intern;
use pyo3::prelude::*;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

enum Order {
    Load(String, Params),
    Unload(String, Params),
}

pub(crate) struct PyRepository {
    orders: mpsc::Sender<(Order, oneshot::Sender<Served<()>>)>,
    index: Arc<Mutex<Vec<IndexEntry>>>,
}

impl PyRepository {
    pub(crate) fn start(callbacks: Py<PyAny>, index: Arc<Mutex<Vec<IndexEntry>>>) -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel::<(Order, oneshot::Sender<Served<()>>)>();
        std::thread::Builder::new().name("repository".to_owned()).spawn(move || {
            for (order, done) in received {
                let outcome = Python::try_attach(|py| carry_out(py, &callbacks, order));
                let gone = || Err(Error::new(Kind::NotReady, "The server is shutting down."));
                let _ = done.send(outcome.unwrap_or_else(gone));
            }
        })?;
        Ok(Self { orders, index })
    }

    fn send(&self, order: Order) -> Operation {
        let (done, outcome) = oneshot::channel();
        let sent = self.orders.send((order, done));
        Box::pin(async move {
            let ended = |_| Error::new(Kind::Internal, "The repository's thread has ended.");
            sent.map_err(|_| Error::new(Kind::Internal, "The repository's thread has ended."))?;
            outcome.await.map_err(ended)?
        })
    }
}

impl Repository for PyRepository {
    fn index(&self) -> Vec<IndexEntry> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn load(&self, name: String, parameters: Params) -> Operation {
        self.send(Order::Load(name, parameters))
    }

    fn unload(&self, name: String, parameters: Params) -> Operation {
        self.send(Order::Unload(name, parameters))
    }
}

fn carry_out(py: Python<'_>, callbacks: &Py<PyAny>, order: Order) -> Served<()> {
    let call = || -> PyResult<()> {
        match order {
            Order::Load(name, parameters) => {
                let parameters = convert::parameters(py, &parameters)?;
                callbacks.call_method1(py, intern!(py, "load"), (name, parameters))?;
            }
            Order::Unload(name, parameters) => {
                let parameters = convert::parameters(py, &parameters)?;
                callbacks.call_method1(py, intern!(py, "unload"), (name, parameters))?;
            }
        }
        Ok(())
    };
    call().map_err(|raised| convert::error(py, &raised))
}
