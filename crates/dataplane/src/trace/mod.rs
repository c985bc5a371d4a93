//! OpenTelemetry traces: a span a request, with the parts of its time below it.
//!
//! A request's `Active` decides at its begin whether it is recorded, notes what the listeners know and
//! measure anyway, and leaves the record in a bounded queue when it is dropped (`outlet`). A thread of its
//! own makes protobuf of the records (`otlp`) and posts it (`export`). Whatever the collector does, a
//! request never waits for it: records that find no room are counted and forgotten.

pub mod context;
mod export;
mod message;
mod otlp;
mod outlet;
mod sampler;
mod settings;
mod tls;

pub use context::Context;
pub use export::{start, Exporter};
pub use sampler::{Root, Sampler};
pub use settings::Settings;

use crate::error::Error;
use crate::message::Protocol;
use crate::metrics::Stage;
use http::HeaderMap;
use outlet::Outlet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Longest text of a client's that a span keeps, in bytes: so many spans wait, and their memory is bounded.
const LONGEST: usize = 512;

/// What is traced. Few, so that the names of spans are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// V1 `:predict`.
    V1Predict,
    /// V1 `:explain`.
    V1Explain,
    /// V2 over REST.
    V2Infer,
    /// V2 over REST, with the version in the path.
    V2InferVersion,
    /// V2 over gRPC.
    GrpcInfer,
    /// One request of a stream of them, V2 over gRPC.
    GrpcStreamInfer,
}

impl Operation {
    /// The span's name: method and route, for gRPC service and method.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1Predict => "POST /v1/models/{model}:predict",
            Self::V1Explain => "POST /v1/models/{model}:explain",
            Self::V2Infer => "POST /v2/models/{model}/infer",
            Self::V2InferVersion => "POST /v2/models/{model}/versions/{version}/infer",
            Self::GrpcInfer => "inference.GRPCInferenceService/ModelInfer",
            Self::GrpcStreamInfer => "inference.GRPCInferenceService/ModelStreamInfer",
        }
    }

    const fn protocol(self) -> Protocol {
        match self {
            Self::V1Predict | Self::V1Explain => Protocol::V1,
            Self::V2Infer | Self::V2InferVersion => Protocol::V2,
            Self::GrpcInfer | Self::GrpcStreamInfer => Protocol::Grpc,
        }
    }
}

/// Begins the traces of a server.
#[derive(Debug)]
pub struct Tracer {
    sampler: Sampler,
    outlet: Arc<Outlet>,
}

impl Tracer {
    /// A request with these headers has come.
    pub fn begin(&self, operation: Operation, headers: &HeaderMap, begun: Instant) -> Active {
        let parent = Context::of(headers);
        let trace_id = parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace_id);
        let sampled = self.sampler.samples(parent, trace_id);
        let flags = parent.map_or(0, |parent| parent.flags);
        let context = Context { trace_id, span_id: fastrand::u64(1..), flags }.with_sampled(sampled);
        let recording = sampled.then(|| {
            let span = Span {
                context,
                parent: parent.map(|parent| parent.span_id),
                state: parent.map(|_| context::state(headers)).unwrap_or_default(),
                operation,
                begun,
                begun_unix: unix_nanos(begun),
                ended: begun,
                path: String::new(),
                model: String::new(),
                version: None,
                request_id: String::new(),
                status: None,
                sent: None,
                grpc: 0,
                message: String::new(),
                stages: Vec::with_capacity(4),
            };
            (Box::new(span), Arc::clone(&self.outlet))
        });
        Active { context, has_parent: parent.is_some(), recording }
    }
}

fn unix_nanos(instant: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(instant.elapsed()).as_nanos() as u64
}

/// A record of one request.
#[derive(Debug)]
pub struct Span {
    context: Context,
    parent: Option<u64>,
    state: String,
    operation: Operation,
    begun: Instant,
    begun_unix: u64,
    ended: Instant,
    path: String,
    model: String,
    version: Option<String>,
    request_id: String,
    /// How it ended; nothing where the client went away.
    status: Option<u16>,
    /// The status that was sent before the end was known.
    sent: Option<u16>,
    grpc: i32,
    message: String,
    stages: Vec<Interval>,
}

impl Span {
    /// The URL's path, without its query.
    pub fn set_path(&mut self, path: &str) {
        self.path = cut(path);
    }

    /// The model, as the client names it.
    pub fn set_model(&mut self, name: &str, version: Option<&str>) {
        self.model = cut(name);
        self.version = version.map(cut);
    }

    /// The request's id.
    pub fn set_request_id(&mut self, id: &str) {
        self.request_id = cut(id);
    }

    /// So many spans it makes.
    fn count(&self) -> usize {
        1 + self.stages.len()
    }
}

/// A client's text, as much of it as we keep.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Requests that went to the model together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    /// How many requests.
    pub requests: usize,
    /// How many rows they have together.
    pub rows: usize,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    stage: Stage,
    from: Instant,
    to: Instant,
    batch: Option<BatchSize>,
}

/// A request that is under way, recorded or not. Dropped without an end, its client has gone away.
#[derive(Debug)]
pub struct Active {
    context: Context,
    has_parent: bool,
    recording: Option<(Box<Span>, Arc<Outlet>)>,
}

impl Active {
    /// Our span.
    pub fn context(&self) -> Context {
        self.context
    }

    /// Notes something, where it is recorded.
    pub fn note(&mut self, note: impl FnOnce(&mut Span)) {
        if let Some((span, _)) = &mut self.recording {
            note(span);
        }
    }

    /// A part of its time.
    pub fn stage(&mut self, stage: Stage, from: Instant, to: Instant) {
        self.note(|span| span.stages.push(Interval { stage, from, to, batch: None }));
    }

    /// Its time in the model, which it may have shared.
    pub fn predict(&mut self, stage: Stage, from: Instant, to: Instant, batch: BatchSize) {
        self.note(|span| span.stages.push(Interval { stage, from, to, batch: Some(batch) }));
    }

    /// Puts our span into the headers that a model sees, in place of the caller's.
    pub fn pass_on(&self, came: &HeaderMap, seen: &mut Vec<(String, String)>) {
        let state = if self.has_parent { context::state(came) } else { String::new() };
        context::write(self.context, &state, seen);
    }

    /// Why it fails. What is the caller's fault is no error of ours.
    pub fn fail(&mut self, error: &Error) {
        self.note(|span| {
            span.grpc = error.kind.grpc();
            if error.kind.http() >= 500 {
                span.message = cut(&error.message);
            }
        });
    }

    /// This status is sent, but its body goes on.
    pub(crate) fn sent(&mut self, status: u16) {
        self.note(|span| span.sent = Some(status));
    }

    /// It has ended with this HTTP status (gRPC: its equivalent).
    pub fn end(mut self, status: u16) {
        self.note(|span| span.status = Some(status));
    }

    /// It has ended with this gRPC status, before it was understood.
    fn end_grpc(mut self, code: i32) {
        // Those for which OpenTelemetry sees the fault with the server.
        let ours = matches!(code, 2 | 4 | 12 | 13 | 14 | 15);
        self.note(|span| span.grpc = code);
        self.end(if code == 0 {
            200
        } else if ours {
            500
        } else {
            400
        });
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some((mut span, outlet)) = self.recording.take() {
            span.ended = Instant::now();
            outlet.push(span);
        }
    }
}

/// Ends the span of an exchange that may not have one.
pub(crate) fn end(active: Option<Active>, status: u16) {
    if let Some(active) = active {
        active.end(status);
    }
}

/// Brings a call's span from the connection to the call's handler, among the extensions of the request.
#[derive(Clone, Debug)]
pub(crate) struct Slot(Arc<Mutex<Option<Active>>>);

impl Slot {
    pub(crate) fn new(active: Active) -> Self {
        Self(Arc::new(Mutex::new(Some(active))))
    }

    pub(crate) fn take(&self) -> Option<Active> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends a call that no handler has seen: its message was too large, or no message at all.
    pub(crate) fn end_unclaimed(&self, code: i32) {
        if let Some(active) = self.take() {
            active.end_grpc(code);
        }
    }
}
