//! `Request`, `Reply` and `Stream`: one request to a model that reads payloads itself, and its answer.

use crate::convert;
use bytes::Bytes;
use modelport_dataplane::batch::{Detached, Queue};
use modelport_dataplane::error::{Error, Result as Served};
use modelport_dataplane::message::{Answer, Call, Payload, Verb};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Parts of a stream that may wait for a slow client.
const PARTS: usize = 16;

/// One request, as `_dataplane.pyi` has it.
#[pyclass(frozen, get_all, module = "modelport._dataplane")]
pub(crate) struct Request {
    request_id: String,
    id: Option<String>,
    verb: &'static str,
    protocol: &'static str,
    headers: Py<PyDict>,
    parameters: Py<PyDict>,
    inputs: Option<Py<PyList>>,
    input_parameters: Option<Py<PyList>>,
    outputs: Py<PyList>,
    body: Option<Py<PyBytes>>,
}

impl Request {
    pub(crate) fn new(py: Python<'_>, call: &Call) -> PyResult<Self> {
        let mut request = Self {
            request_id: call.request_id.clone(),
            id: None,
            verb: match call.verb {
                Verb::Predict => "predict",
                Verb::Explain => "explain",
            },
            protocol: call.protocol.name(),
            headers: convert::headers(py, &call.headers)?.unbind(),
            parameters: PyDict::new(py).unbind(),
            inputs: None,
            input_parameters: None,
            outputs: PyList::empty(py).unbind(),
            body: None,
        };
        match &call.payload {
            Payload::Raw(body) => request.body = Some(PyBytes::new(py, body).unbind()),
            Payload::Tensors(tensors) => {
                request.id.clone_from(&tensors.id);
                request.parameters = convert::parameters(py, &tensors.parameters)?.unbind();
                let inputs = PyList::empty(py);
                let input_parameters = PyList::empty(py);
                for tensor in &tensors.inputs {
                    inputs.append(convert::input(py, tensor)?)?;
                    input_parameters.append(convert::parameters(py, &tensor.parameters)?)?;
                }
                request.inputs = Some(inputs.unbind());
                request.input_parameters = Some(input_parameters.unbind());
                let outputs = PyList::empty(py);
                for output in &tensors.outputs {
                    outputs.append((&output.name, convert::parameters(py, &output.parameters)?))?;
                }
                request.outputs = outputs.unbind();
            }
        }
        Ok(request)
    }
}

enum State {
    /// Still part of the work that the model's thread took: the watchdog sees it.
    Taken {
        queue: Arc<Queue>,
        ticket: u64,
        index: usize,
    },
    /// To be answered later, from elsewhere.
    Later(Detached),
    /// Its answer is being sent in parts.
    Streaming(mpsc::WeakSender<Served<Bytes>>),
    Answered,
}

/// Where the answer to one request goes, exactly once, from any thread.
#[pyclass(frozen, module = "modelport._dataplane")]
pub(crate) struct Reply {
    state: Mutex<State>,
}

impl Reply {
    pub(crate) fn new(queue: Arc<Queue>, ticket: u64, index: usize) -> Self {
        Self { state: Mutex::new(State::Taken { queue, ticket, index }) }
    }

    /// The model's thread goes on to the next request: whoever holds the reply answers it later.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Taken { queue, ticket, index } = &*state {
            let detached = queue.detach(*ticket, *index);
            *state = detached.map_or(State::Answered, State::Later);
        }
    }

    pub(crate) fn answer(&self, answer: Served<Answer>) -> PyResult<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Answered) {
            State::Taken { queue, ticket, index } => queue.complete(ticket, [(index, answer)]),
            State::Later(detached) => detached.answer(answer),
            State::Streaming(_) | State::Answered => {
                return Err(PyRuntimeError::new_err("The request has been answered already."))
            }
        }
        Ok(())
    }
}

#[pymethods]
impl Reply {
    fn tensors(&self, outputs: &Bound<'_, PyAny>) -> PyResult<()> {
        self.answer(Ok(Answer::Tensors(convert::response(outputs)?)))
    }

    fn body(
        &self,
        status: u16,
        content_type: String,
        headers: &Bound<'_, PyAny>,
        body: &Bound<'_, PyBytes>,
    ) -> PyResult<()> {
        let headers = convert::to_headers(Some(headers))?;
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.answer(Ok(Answer::Raw { status, content_type, headers, body }))
    }

    fn stream(&self, content_type: String, headers: &Bound<'_, PyAny>) -> PyResult<Stream> {
        let headers = convert::to_headers(Some(headers))?;
        let (sender, parts) = mpsc::channel(PARTS);
        self.answer(Ok(Answer::Stream { content_type, headers, parts }))?;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Streaming(sender.downgrade());
        Ok(Stream { sender: Mutex::new(Some(sender)) })
    }

    fn fail(&self, status: u16, message: String) -> PyResult<()> {
        self.answer(Err(Error::new(convert::kind_of(status), message)))
    }

    #[getter]
    fn cancelled(&self) -> bool {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Later(detached) => detached.is_cancelled(),
            State::Streaming(sender) => sender.upgrade().is_some_and(|sender| sender.is_closed()),
            State::Taken { .. } | State::Answered => false,
        }
    }
}

/// A body that is sent in parts.
#[pyclass(frozen, module = "modelport._dataplane")]
pub(crate) struct Stream {
    sender: Mutex<Option<mpsc::Sender<Served<Bytes>>>>,
}

impl Stream {
    fn sender(&self) -> Option<mpsc::Sender<Served<Bytes>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn end(&self) -> Option<mpsc::Sender<Served<Bytes>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Stream {
    fn send(&self, py: Python<'_>, part: &Bound<'_, PyBytes>) -> bool {
        let Some(sender) = self.sender() else { return false };
        let part = Bytes::copy_from_slice(part.as_bytes());
        py.detach(|| sender.blocking_send(Ok(part)).is_ok())
    }

    /// True: sent. False: the client is slow, try again later. None: the client is gone.
    fn offer(&self, part: &Bound<'_, PyBytes>) -> Option<bool> {
        let sender = self.sender()?;
        match sender.try_send(Ok(Bytes::copy_from_slice(part.as_bytes()))) {
            Ok(()) => Some(true),
            Err(mpsc::error::TrySendError::Full(_)) => Some(false),
            Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    fn close(&self) {
        drop(self.end());
    }

    fn fail(&self, py: Python<'_>, status: u16, message: String) {
        if let Some(sender) = self.end() {
            let error = Error::new(convert::kind_of(status), message);
            py.detach(|| drop(sender.blocking_send(Err(error))));
        }
    }
}
