//! A model's thread: take what is queued, join it, call Python once a batch, part the answers.
//!
//! The thread stays attached to the interpreter for its whole life and lets go of the GIL while it waits
//! and while it joins and parts: attaching anew cost 2.8 µs a batch, this costs 1.0 µs. Short models are called on the
//! I/O thread instead, where that is the interpreter's main one, which has been attached before.

use crate::convert;
use crate::memory;
use crate::reply::{Reply, Request};
use crate::turn::TURNS;
use modelport_dataplane::batch::{merge, Caller, Work};
use modelport_dataplane::error::Result as Served;
use modelport_dataplane::message::{Answer, Call, InferRequest, InferResponse, Payload};
use modelport_dataplane::model::Model;
use modelport_dataplane::tensor::{Params, Tensor};
use modelport_dataplane::turn::Turn;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the model is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Batches of tensors, by `run`.
    Tensors,
    /// One request at a time, by `handle`.
    Requests,
}

/// Starts one thread of a model; it ends when the model's queue is closed and empty. If it is the `only` one, the I/O
/// thread may call the model as well.
pub(crate) fn spawn(
    py: Python<'_>,
    model: Arc<Model>,
    executor: Py<PyAny>,
    mode: Mode,
    only: bool,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = format!("model {}", model.metadata.name);
    let course = Arc::new(Mutex::new(Course::of(&model)));
    if only && mode == Mode::Tensors {
        model.queue.set_caller(Some(caller(&model, executor.clone_ref(py), Arc::clone(&course))));
    }
    std::thread::Builder::new().name(name).spawn(move || {
        // The interpreter may be on its way out: then there is nobody left to serve.
        Python::try_attach(|py| {
            let executor = executor.into_bound(py);
            match mode {
                Mode::Tensors => serve_tensors(py, &model, &executor, &course),
                Mode::Requests => serve_requests(py, &model, &executor),
            }
            // Here, not after the closure: without the interpreter it would only be noted for later.
            model.queue.set_caller(None);
            drop(executor);
        });
        memory::give_back();
    })
}

/// Requests of the same form, joined.
struct Batch {
    /// Their places in the work.
    members: Vec<usize>,
    /// Rows of each.
    rows: Vec<usize>,
    inputs: Vec<Tensor>,
    parameters: Params,
    headers: Vec<(String, String)>,
}

/// How fast a model is, to see whether joining pays: it copies every row once.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Seconds a row, a moving average; nothing before the first call.
    row_s: Option<f64>,
}

/// What memory takes that was not touched before.
const COPY_BYTES_PER_S: f64 = 8e9;

impl Pace {
    fn see(&mut self, took: Duration, rows: usize) {
        let now = took.as_secs_f64() / rows.max(1) as f64;
        self.row_s = Some(self.row_s.map_or(now, |before| before.mul_add(0.9, now * 0.1)));
    }

    /// Whether rows of this size are copied in much less time than they are predicted in.
    fn joins(self, row_bytes: usize) -> bool {
        self.row_s.is_none_or(|row_s| row_s > 2.0 * row_bytes as f64 / COPY_BYTES_PER_S)
    }
}

fn row_bytes(call: &Call) -> usize {
    let Payload::Tensors(request) = &call.payload else { return 0 };
    let bytes: usize = request.inputs.iter().map(|tensor| tensor.data.byte_len()).sum();
    bytes / request.inputs.first().map_or(1, Tensor::rows).max(1)
}

fn prepare(work: &mut Work, max_rows: usize, joins: bool, pace: Pace) -> Vec<Batch> {
    let pays = || work.calls.iter().all(|call| pace.joins(row_bytes(call)));
    let groups = if joins && work.calls.len() > 1 && pays() {
        merge::group(&work.calls, max_rows)
    } else {
        (0..work.calls.len()).map(|index| vec![index]).collect()
    };
    let is_raw = |members: &Vec<usize>| {
        members
            .iter()
            .any(|&index| matches!(work.calls.get(index), Some(Call { payload: Payload::Raw(_), .. })))
    };
    let groups: Vec<_> = groups.into_iter().filter(|members| !is_raw(members)).collect();
    groups.into_iter().map(|members| batch(work, members)).collect()
}

/// Takes the tensors of one request out of the work, joins those of several.
fn batch(work: &mut Work, members: Vec<usize>) -> Batch {
    let calls: Vec<&Call> = members.iter().filter_map(|&index| work.calls.get(index)).collect();
    let requests: Vec<&InferRequest> = calls
        .iter()
        .filter_map(|call| match &call.payload {
            Payload::Tensors(request) => Some(request),
            Payload::Raw(_) => None,
        })
        .collect();
    let mut batch = Batch {
        rows: requests.iter().map(|request| request.inputs.first().map_or(1, Tensor::rows)).collect(),
        inputs: if requests.len() > 1 { merge::join(&requests) } else { Vec::new() },
        parameters: requests.first().map(|request| request.parameters.clone()).unwrap_or_default(),
        headers: calls.first().map(|call| call.headers.clone()).unwrap_or_default(),
        members,
    };
    if let [only] = batch.members.as_slice() {
        if let Some(Payload::Tensors(request)) = work.calls.get_mut(*only).map(|call| &mut call.payload) {
            // Not copied, and no reference is left behind: a large request's memory is free again once it
            // was predicted, not once all that were taken with it have been.
            batch.inputs = std::mem::take(&mut request.inputs);
        }
    }
    batch
}

/// What a model's batches have shown so far.
#[derive(Debug)]
struct Course {
    max_rows: usize,
    joins: bool,
    pace: Pace,
}

impl Course {
    fn of(model: &Model) -> Self {
        let max_rows = model.options.batching.max_rows;
        Self { max_rows, joins: max_rows > 1 && !model.options.wants_headers, pace: Pace::default() }
    }

    fn prepare(&self, mut work: Work) -> (Work, Vec<Batch>) {
        let batches = prepare(&mut work, self.max_rows, self.joins, self.pace);
        (work, batches)
    }
}

fn lock(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve_tensors(py: Python<'_>, model: &Arc<Model>, executor: &Bound<'_, PyAny>, course: &Mutex<Course>) {
    let mut turn = Turn::new(&TURNS);
    while let Some(prepared) = py.detach(|| {
        turn.end();
        let work = model.queue.take()?;
        let prepared = lock(course).prepare(work);
        turn.begin();
        Some(prepared)
    }) {
        serve(py, model, executor, prepared, course);
    }
}

/// How the I/O thread calls the model.
fn caller(model: &Arc<Model>, executor: Py<PyAny>, course: Arc<Mutex<Course>>) -> Caller {
    let model = Arc::downgrade(model); // whose queue keeps this
    Arc::new(move |work| {
        let Some(model) = model.upgrade() else { return };
        let prepared = lock(&course).prepare(work);
        let mut turn = Turn::new(&TURNS);
        turn.begin();
        Python::try_attach(|py| serve(py, &model, executor.bind(py), prepared, &course));
    })
}

/// Answers a piece of work. Of a model with one thread, that or the I/O thread is here, never both.
fn serve(
    py: Python<'_>,
    model: &Arc<Model>,
    executor: &Bound<'_, PyAny>,
    (mut work, batches): (Work, Vec<Batch>),
    course: &Mutex<Course>,
) {
    for (index, call) in work.calls.iter().enumerate() {
        if matches!(call.payload, Payload::Raw(_)) {
            answer_alone(py, model, executor, (work.ticket, index), call);
        }
    }
    for mut batch in batches {
        let begun = Instant::now();
        let outcome = run(py, model, executor, &mut batch);
        let (took, rows) = (begun.elapsed(), batch.rows.iter().sum());
        lock(course).pace.see(took, rows);
        model.queue.predicted(rows, took);
        let ticket = work.ticket;
        if let [only] = batch.members.as_slice() {
            let answer = outcome.map(Answer::Tensors);
            py.detach(|| model.queue.complete(ticket, [(*only, answer)]));
            continue;
        }
        let parted = py.detach(|| outcome.map(|response| merge::part(&response, &batch.rows)));
        match parted {
            Ok(Ok(parts)) => py.detach(|| {
                let answers = parts.into_iter().map(|part| Ok(Answer::Tensors(part)));
                model.queue.complete(ticket, batch.members.iter().copied().zip(answers));
            }),
            // One bad row must not fail its neighbours, and a model whose outputs don't follow its
            // rows must not be joined at all: each request is asked for alone.
            failed => {
                if matches!(failed, Ok(Err(_))) {
                    lock(course).joins = false;
                }
                for &member in &batch.members {
                    let mut alone = self::batch(&mut work, vec![member]);
                    let answer = run(py, model, executor, &mut alone).map(Answer::Tensors);
                    py.detach(|| model.queue.complete(ticket, [(member, answer)]));
                }
            }
        }
    }
}

/// Calls Python. The batch's inputs are gone afterwards, unless the model has kept them.
fn run(
    py: Python<'_>,
    model: &Model,
    executor: &Bound<'_, PyAny>,
    batch: &mut Batch,
) -> Served<InferResponse> {
    model.metrics.batch(batch.members.len(), batch.rows.iter().sum());
    let mut called = || -> PyResult<InferResponse> {
        let inputs = PyList::empty(py);
        for tensor in std::mem::take(&mut batch.inputs) {
            inputs.append(convert::input(py, &tensor)?)?;
        }
        let parameters = convert::parameters(py, &batch.parameters)?;
        let headers = convert::headers(py, &batch.headers)?;
        let outputs = executor.call_method1(intern!(py, "run"), (inputs, parameters, headers))?;
        convert::response(&outputs)
    };
    called().map_err(|raised| convert::error(py, &raised))
}

fn serve_requests(py: Python<'_>, model: &Arc<Model>, executor: &Bound<'_, PyAny>) {
    let mut turn = Turn::new(&TURNS);
    while let Some(work) = py.detach(|| {
        turn.end();
        let work = model.queue.take()?;
        turn.begin();
        Some(work)
    }) {
        for (index, call) in work.calls.iter().enumerate() {
            answer_alone(py, model, executor, (work.ticket, index), call);
        }
    }
}

fn answer_alone(
    py: Python<'_>,
    model: &Arc<Model>,
    executor: &Bound<'_, PyAny>,
    (ticket, index): (u64, usize),
    call: &Call,
) {
    model.metrics.batch(1, 1);
    if let Err(raised) = handle(py, model, executor, (ticket, index), call) {
        let error = convert::error(py, &raised);
        // It may have been answered before it raised: then this changes nothing.
        model.queue.complete(ticket, [(index, Err(error))]);
    }
}

fn handle(
    py: Python<'_>,
    model: &Arc<Model>,
    executor: &Bound<'_, PyAny>,
    (ticket, index): (u64, usize),
    call: &Call,
) -> PyResult<()> {
    let request = Bound::new(py, Request::new(py, call)?)?;
    let reply = Bound::new(py, Reply::new(Arc::clone(&model.queue), ticket, index))?;
    executor.call_method1(intern!(py, "handle"), (request, &reply))?;
    reply.get().leave();
    Ok(())
}
