//! Counters and histograms, and their Prometheus text.
//!
//! Recording is a few relaxed atomic additions, no lock and no allocation: listeners and model threads
//! do it for every request. Reading (`render`, `snapshot`) happens once a scrape and may cost more.
//! Nothing here knows a protocol's bytes or does I/O, but for `/proc`.

mod family;
mod histogram;
mod merge;
mod process;
mod render;

pub use family::{Family, FamilyKind, Merge, FAMILIES};
pub use merge::merge;
pub use render::{render, CONTENT_TYPE};

use crate::message::Protocol;
use crate::model::Model;
pub(crate) use histogram::Histogram;
use histogram::{ROWS, SECONDS};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes to tensors.
    Decode,
    /// Waiting for the model.
    Queue,
    /// In the model, as a batch; Python's part of the work included.
    Predict,
    /// Tensors to bytes.
    Encode,
    /// In the model's explainer.
    Explain,
}

impl Stage {
    /// Every stage, in the order of a request's walk.
    pub const ALL: [Self; 5] = [Self::Decode, Self::Queue, Self::Predict, Self::Encode, Self::Explain];

    /// The spelling used as a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Predict => "predict",
            Self::Encode => "encode",
            Self::Explain => "explain",
        }
    }
}

/// Why a request got no answer from the model. A client that went away is not among them: it counts as
/// cancelled when the request finishes with status 499.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue was full.
    QueueFull,
    /// The client's deadline passed.
    Deadline,
    /// The model took longer than it may.
    PredictTimeout,
}

const PROTOCOLS: [Protocol; 3] = [Protocol::V1, Protocol::V2, Protocol::Grpc];
const CANCELLED: u16 = 499;
/// Statuses with an atomic counter of their own; models may choose others.
const CODES: [u16; 15] = [200, 400, 401, 403, 404, 405, 409, 413, 422, 429, CANCELLED, 500, 501, 503, 504];

#[derive(Debug)]
struct Requests {
    by_code: [AtomicU64; CODES.len()],
    rare: Mutex<BTreeMap<u16, u64>>,
    duration: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        Self { by_code: Default::default(), rare: Mutex::default(), duration: Histogram::new(&SECONDS) }
    }
}

impl Requests {
    fn count(&self, status: u16) {
        match CODES.iter().zip(&self.by_code).find(|(code, _)| **code == status) {
            Some((_, counter)) => {
                counter.fetch_add(1, Relaxed);
            }
            None => *self.rare.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1,
        }
    }

    /// Statuses that occurred, ascending.
    fn counts(&self) -> BTreeMap<u16, u64> {
        let mut counts = self.rare.lock().unwrap_or_else(PoisonError::into_inner).clone();
        counts.extend(CODES.iter().zip(&self.by_code).filter_map(|(&code, counter)| {
            let count = counter.load(Relaxed);
            (count > 0).then_some((code, count))
        }));
        counts
    }
}

/// The counters of one model; kept when a new version of its artifact replaces it.
#[derive(Debug)]
pub struct ModelMetrics {
    requests: [Requests; PROTOCOLS.len()],
    stages: [Histogram; Stage::ALL.len()],
    batch_requests: Histogram,
    batch_rows: Histogram,
    in_flight: AtomicI64,
    refusals: [AtomicU64; 3],
    success_ns: AtomicU64,
    failure_ns: AtomicU64,
    last_inference_ms: AtomicU64,
}

impl Default for ModelMetrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            stages: std::array::from_fn(|_| Histogram::new(&SECONDS)),
            batch_requests: Histogram::new(&ROWS),
            batch_rows: Histogram::new(&ROWS),
            in_flight: AtomicI64::default(),
            refusals: Default::default(),
            success_ns: AtomicU64::default(),
            failure_ns: AtomicU64::default(),
            last_inference_ms: AtomicU64::default(),
        }
    }
}

impl ModelMetrics {
    /// A request has begun. Each `started` needs one `finished`; `begin` sees to that by itself.
    pub fn started(&self, _protocol: Protocol) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// It has ended with this HTTP status (gRPC: its equivalent), after this time in all.
    pub fn finished(&self, protocol: Protocol, status: u16, total: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        let requests = self.of(protocol);
        requests.count(status);
        requests.duration.observe(nanos(total));
        let sum = if status < 400 { &self.success_ns } else { &self.failure_ns };
        sum.fetch_add(nanos(total), Relaxed);
    }

    /// A request has begun, at `since`. It ends when the guard is told how, or as cancelled when the
    /// guard is dropped, as it is with the future of a client that went away.
    pub fn begin(self: &Arc<Self>, protocol: Protocol, since: Instant) -> InFlight {
        self.started(protocol);
        InFlight { metrics: Arc::clone(self), protocol, since, status: CANCELLED }
    }

    /// One stage of it took this long.
    pub fn stage(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].observe(nanos(took));
    }

    /// A batch of so many requests with so many rows went to the model.
    pub fn batch(&self, requests: usize, rows: usize) {
        self.batch_requests.observe(requests as u64);
        self.batch_rows.observe(rows as u64);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_inference_ms.store(now.as_millis() as u64, Relaxed);
    }

    /// The model was not asked, or did not answer in time.
    pub fn refused(&self, why: Refusal) {
        self.refusals[why as usize].fetch_add(1, Relaxed);
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed).try_into().unwrap_or(0)
    }

    fn of(&self, protocol: Protocol) -> &Requests {
        &self.requests[protocol as usize]
    }
}

/// A request that has begun, to be counted once when it ends.
#[derive(Debug)]
#[must_use]
pub struct InFlight {
    metrics: Arc<ModelMetrics>,
    protocol: Protocol,
    since: Instant,
    status: u16,
}

impl InFlight {
    /// It has ended with this HTTP status (gRPC: its equivalent).
    pub fn end(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.finished(self.protocol, self.status, self.since.elapsed());
    }
}

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It was larger than the limit, before or after decompression.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// It was no valid HTTP or gRPC framing, or could not be decompressed.
    Malformed,
    /// There was no room for it beside the bodies of other requests.
    NoRoom,
}

/// Counters that belong to no model.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    connections_open: AtomicI64,
    connections: AtomicU64,
    log_lines_dropped: AtomicU64,
    bodies_rejected: [AtomicU64; 4],
    /// What became of traces' spans.
    pub spans: Arc<SpanCounts>,
}

/// Spans on their way to the collector.
#[derive(Debug, Default)]
pub struct SpanCounts {
    dropped: AtomicU64,
    exported: AtomicU64,
}

impl SpanCounts {
    /// So many were thrown away: there was no room, or the collector did not take them.
    pub fn dropped(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
    }

    /// The collector has taken so many.
    pub fn exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Relaxed);
    }
}

impl ServerMetrics {
    /// A client has connected.
    pub fn connection_opened(&self) {
        self.connections_open.fetch_add(1, Relaxed);
        self.connections.fetch_add(1, Relaxed);
    }

    /// A connection has ended. Each `connection_opened` needs one.
    pub fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Relaxed);
    }

    /// Connections that are open now.
    pub fn connections_open(&self) -> u64 {
        self.connections_open.load(Relaxed).try_into().unwrap_or(0)
    }

    /// So many log lines were thrown away because nobody took them in time.
    pub fn log_lines_dropped(&self, count: u64) {
        self.log_lines_dropped.fetch_add(count, Relaxed);
    }

    /// A body was not taken.
    pub fn body_rejected(&self, why: BodyFault) {
        self.bodies_rejected[why as usize].fetch_add(1, Relaxed);
    }
}

/// A count and the time that it took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// How often.
    pub count: u64,
    /// How long, all together, in nanoseconds.
    pub ns: u64,
}

/// The times of a model's requests, under the names of the protocol's statistics extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InferStatistics {
    /// Requests that went well, from first byte to answer.
    pub success: Total,
    /// Requests that did not.
    pub fail: Total,
    /// Waiting for the model.
    pub queue: Total,
    /// Bytes to tensors.
    pub compute_input: Total,
    /// In the model; a batch counts once for each of its requests.
    pub compute_infer: Total,
    /// Tensors to bytes.
    pub compute_output: Total,
}

/// What a model has done so far, as a row of the protocol's statistics extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// The model.
    pub name: String,
    /// Its version, or empty.
    pub version: String,
    /// When the last batch went to the model, in milliseconds since 1970; 0 when there was none.
    pub last_inference: u64,
    /// Rows.
    pub inference_count: u64,
    /// Batches.
    pub execution_count: u64,
    /// Times.
    pub inference_stats: InferStatistics,
}

/// What a model has done so far.
pub fn snapshot(model: &Model) -> Statistics {
    let metrics = &model.metrics;
    let of = |stage: Stage| {
        let histogram = &metrics.stages[stage as usize];
        Total { count: histogram.count(), ns: histogram.sum() }
    };
    let mut success = Total { count: 0, ns: metrics.success_ns.load(Relaxed) };
    let mut fail = Total { count: 0, ns: metrics.failure_ns.load(Relaxed) };
    for (status, count) in metrics.requests.iter().flat_map(Requests::counts) {
        let total = if status < 400 { &mut success } else { &mut fail };
        total.count += count;
    }
    Statistics {
        name: model.metadata.name.clone(),
        version: model.metadata.version.clone().unwrap_or_default(),
        last_inference: metrics.last_inference_ms.load(Relaxed),
        inference_count: metrics.batch_rows.sum(),
        execution_count: metrics.batch_rows.count(),
        inference_stats: InferStatistics {
            success,
            fail,
            queue: of(Stage::Queue),
            compute_input: of(Stage::Decode),
            compute_infer: of(Stage::Predict),
            compute_output: of(Stage::Encode),
        },
    }
}

/// Nanoseconds; 584 years fit.
fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}
