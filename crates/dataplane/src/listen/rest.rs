//! REST: one request from its head to its answer.

use super::accept::Port;
use super::body::{self, Terms};
use super::encoding::Encoding;
use super::log::Log;
use super::rare::Rare;
use super::reply::{self, Reply};
use super::request_id::{self, RequestId};
use super::route::{describe_miss, Aspect, Miss, Route};
use super::{access, docs, openapi, peers, repository, v1, v2};
use crate::budget::Share;
use crate::codec::cloudevents;
use crate::error::{Error, Kind, Result};
use crate::gateway::watch::Waiting;
use crate::listen::grpc::GrpcRoutes;
use crate::message::Payload;
use crate::metrics::{BodyFault, Stage};
use crate::model::{Model, Server};
use crate::trace::{Active, Operation, Slot};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HeaderValue, CONNECTION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all requests share.
pub(super) struct Shared {
    pub(super) server: Arc<Server>,
    pub(super) docs: bool,
    pub(super) cloudevents: cloudevents::Settings,
    pub(super) access: Option<Log>,
    pub(super) grpc: GrpcRoutes,
    pub(super) http_port: Option<u16>,
}

/// One request: its head, and what was made of it so far.
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Shared,
    pub(super) head: Parts,
    pub(super) rare: Rare,
    pub(super) id: RequestId,
    pub(super) begun: Instant,
    /// Its span, where it has one.
    pub(super) trace: Option<Active>,
    body: Incoming,
    body_read: bool,
    /// What its body takes of the server's memory for them, until it is answered.
    share: Share,
}

/// Answers any request; the only way out of here is an answer. Boxed, since HTTP/2 moves it several times.
pub(super) fn answer(
    shared: Arc<Shared>,
    port: Port,
    request: Request<Incoming>,
    waiting: Waiting,
) -> BoxFuture<'static, std::result::Result<Response<Reply>, Infallible>> {
    let begun = Instant::now();
    if matches!(port, Port::Grpc | Port::Http { grpc: true }) && is_grpc(request.headers()) {
        return Box::pin(async move { Ok(grpc(&shared, request, begun).await) });
    }
    Box::pin(rest(shared, port, request, begun, waiting))
}

async fn rest(
    shared: Arc<Shared>,
    port: Port,
    request: Request<Incoming>,
    begun: Instant,
    waiting: Waiting,
) -> std::result::Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let rare = Rare::of(&head.headers);
    let id = if rare.request_id { RequestId::of(&head.headers) } else { RequestId::random() };
    let share = Share::of(&shared.server.bodies);
    let mut exchange =
        Exchange { shared: &shared, head, rare, id, begun, trace: None, body, body_read: false, share };
    let outcome = match port {
        Port::Http { .. } | Port::Control => route(&mut exchange, port).await,
        Port::Metrics => Box::pin(metrics_port(&exchange)).await,
        Port::Grpc => Err(grpc_only(&shared)),
    };
    if let (Some(trace), Err(error)) = (&mut exchange.trace, &outcome) {
        trace.fail(error);
    }
    let mut response = outcome.unwrap_or_else(|error| reply::refuse(&error));
    let Exchange { head, id, body, body_read, trace, .. } = exchange;
    if !body_read {
        body::discard(&head.headers, body);
    }
    if shared.server.is_draining() && head.version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(log) = &shared.access {
        access::line(log, &head, &response, id.as_str(), begun, trace.as_ref().map(Active::context), None);
    }
    if let Some(trace) = trace {
        let status = response.status().as_u16();
        response.body_mut().end_span(trace, status);
    }
    response.headers_mut().insert(request_id::NAME, id.into_header());
    response.body_mut().wait(waiting);
    Ok(response)
}

/// The routes, the hot ones first; the futures of the others are boxed to keep this one small.
async fn route(exchange: &mut Exchange<'_>, port: Port) -> Result<Response<Reply>> {
    // A copy, so that the head can be let go of while the model works.
    let path = exchange.head.uri.path().to_owned();
    let method = exchange.head.method.clone();
    match Route::parse(&method, &path) {
        Ok(Route::V2Model(target, Aspect::Infer)) => v2::infer(exchange, &target).await,
        Ok(Route::V1Call(name, verb)) => v1::call(exchange, &name, verb).await,
        Ok(route) => Box::pin(other(exchange, port, route)).await,
        Err(Miss::Path) => Err(Error::new(Kind::NotFound, describe_miss(&method, &path))),
        Err(Miss::Escape) => {
            Err(Error::invalid(format!("The path {path} has a percent-escape that is broken or no UTF-8.")))
        }
        Err(Miss::Method(allow)) => {
            let text = format!("{path} does not take {method}, only {allow}.");
            Ok(reply::wrong_method(&Error::new(Kind::MethodNotAllowed, text), allow))
        }
    }
}

async fn other(exchange: &mut Exchange<'_>, port: Port, route: Route<'_>) -> Result<Response<Reply>> {
    let server = &exchange.shared.server;
    match route {
        Route::Alive => Ok(reply::constant(r#"{"status":"alive"}"#)),
        Route::V2Live => Ok(reply::constant(r#"{"live":true}"#)),
        Route::V2Ready => ready(server),
        Route::Metrics => Ok(peers::metrics(server, port == Port::Control).await),
        Route::Docs | Route::OpenApi if !exchange.shared.docs => {
            Err(Error::new(Kind::NotFound, "The documentation is switched off on this server."))
        }
        Route::Docs => Ok(docs::page(server)),
        Route::OpenApi => Ok(openapi::openapi(server)),
        Route::V1Models | Route::V2Models => Ok(v1::models(server)),
        Route::V1Ready(name) => v1::ready(server, &name),
        Route::V2Server => Ok(v2::server(server)),
        Route::V2Model(target, aspect) => v2::describe(server, &target, aspect),
        Route::Index => repository::index(exchange).await,
        Route::Load(name) => repository::load(exchange, port, &name).await,
        Route::Unload(name) => repository::unload(exchange, port, &name).await,
        Route::V1Call(name, verb) => v1::call(exchange, &name, verb).await,
    }
}

async fn metrics_port(exchange: &Exchange<'_>) -> Result<Response<Reply>> {
    let head = &exchange.head;
    let server = &exchange.shared.server;
    match Route::parse(&head.method, head.uri.path()) {
        Ok(Route::Metrics) => Ok(peers::metrics(server, false).await),
        Ok(Route::Alive) => Ok(reply::constant(r#"{"status":"alive"}"#)),
        Ok(Route::V2Live) => Ok(reply::constant(r#"{"live":true}"#)),
        Ok(Route::V2Ready) => ready(server),
        _ => Err(Error::new(
            Kind::NotFound,
            "This port has /metrics and /v2/health/… alone; the models are on the HTTP port.",
        )),
    }
}

fn ready(server: &Server) -> Result<Response<Reply>> {
    if server.is_ready() {
        Ok(reply::constant(r#"{"ready":true}"#))
    } else {
        Err(Error::new(Kind::NotReady, "Server is not ready."))
    }
}

/// Largest body of a call on the repository: read as a tree, it takes thirty times its size.
const OPTIONS_BYTES: usize = 1 << 20;
const INFER_PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A gRPC call. The handler takes the span of an inference out of its slot.
async fn grpc(shared: &Shared, mut request: Request<Incoming>, begun: Instant) -> Response<Reply> {
    let tracer = shared.server.tracer.get().filter(|_| request.uri().path() == INFER_PATH);
    let traced = tracer.map(|tracer| {
        let active = tracer.begin(Operation::GrpcInfer, request.headers(), begun);
        let context = active.context();
        let slot = Slot::new(active);
        request.extensions_mut().insert(slot.clone());
        (slot, context)
    });
    let logged = shared.access.as_ref().map(|log| {
        let named = access::Named::default();
        request.extensions_mut().insert(named.clone());
        let mut head = Request::new(()).into_parts().0;
        head.method.clone_from(request.method());
        head.uri.clone_from(request.uri());
        head.headers.clone_from(request.headers());
        (log, head, named)
    });
    let response = shared.grpc.call(request).await.map(Reply::Grpc);
    if let Some((log, head, named)) = logged {
        let id = response.headers().get(request_id::NAME).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let context = traced.as_ref().map(|(_, context)| *context);
        access::line(log, &head, &response, id, begun, context, named.get());
    }
    if let Some((slot, _)) = traced {
        slot.end_unclaimed(access::grpc_status(response.headers()));
    }
    response
}

fn grpc_only(shared: &Shared) -> Error {
    let hint = match shared.http_port {
        Some(port) => format!("REST is on port {port}."),
        None => "This server has no REST port.".to_owned(),
    };
    Error::new(Kind::Status(415), format!("This port speaks gRPC alone. {hint}"))
}

impl Exchange<'_> {
    /// Reads the body; `align_at` is where binary tensors begin in it.
    pub(super) async fn body(&mut self, align_at: Option<usize>, deadline: Option<Instant>) -> Result<Bytes> {
        let encoding = self.encoding();
        self.body_as(encoding, self.shared.server.limits.body_bytes, align_at, deadline).await
    }

    /// Reads a body of a few options.
    pub(super) async fn options(&mut self) -> Result<Bytes> {
        let encoding = self.encoding();
        let limit = self.shared.server.limits.body_bytes.min(OPTIONS_BYTES);
        self.body_as(encoding, limit, None, None).await
    }

    /// As `body`, where nothing of the head is needed afterwards.
    pub(super) async fn body_alone(
        &mut self,
        align_at: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<Bytes> {
        let encoding = self.encoding();
        self.let_go();
        self.body_as(encoding, self.shared.server.limits.body_bytes, align_at, deadline).await
    }

    /// How the body is compressed.
    fn encoding(&self) -> Result<Option<Encoding>> {
        if self.rare.encoding {
            Encoding::of(&self.head.headers)
        } else {
            Ok(None)
        }
    }

    async fn body_as(
        &mut self,
        encoding: Result<Option<Encoding>>,
        limit: usize,
        align_at: Option<usize>,
        deadline: Option<Instant>,
    ) -> Result<Bytes> {
        let timeout = self.shared.server.limits.body_timeout;
        let read = match encoding {
            Ok(encoding) => {
                let terms = Terms { limit, timeout, deadline, align_at, encoding };
                body::read(&mut self.body, terms, &self.share).await
            }
            Err(unknown) => Err(unknown),
        };
        let bytes = read.inspect_err(|error| {
            self.shared.server.metrics.body_rejected(match error.kind {
                Kind::TooLarge => BodyFault::TooLarge,
                Kind::Overloaded => BodyFault::NoRoom,
                Kind::Status(408) => BodyFault::TooSlow,
                _ => BodyFault::Malformed,
            });
        })?;
        self.body_read = true;
        Ok(bytes)
    }

    /// Lets go of the head, which holds the connection's read buffer: without it, hyper takes a new one
    /// for the body, and for the next request.
    pub(super) fn let_go(&mut self) {
        if self.shared.access.is_none() {
            self.head.headers.clear();
            self.head.uri = http::Uri::default();
        }
    }

    /// The headers for a model that asks for them, or that reads the body itself.
    pub(super) fn headers_for(&self, model: &Model, payload: &Payload) -> Vec<(String, String)> {
        if !model.options.wants_headers && !matches!(payload, Payload::Raw(_)) {
            return Vec::new();
        }
        let headers = self.head.headers.iter();
        let mut seen: Vec<_> = headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        if let Some(trace) = &self.trace {
            trace.pass_on(&self.head.headers, &mut seen);
        }
        seen
    }

    /// Begins the request's span, where tracing is on.
    pub(super) fn begin_trace(&mut self, operation: Operation, model: &str, version: Option<&str>) {
        let Some(tracer) = self.shared.server.tracer.get() else { return };
        let mut trace = tracer.begin(operation, &self.head.headers, self.begun);
        trace.note(|span| {
            span.set_path(self.head.uri.path());
            span.set_model(model, version);
            span.set_request_id(self.id.as_str());
        });
        self.trace = Some(trace);
    }

    /// A stage of the request has ended.
    pub(super) fn stage(&mut self, model: &Model, stage: Stage, from: Instant) {
        let now = Instant::now();
        model.metrics.stage(stage, now - from);
        if let Some(trace) = &mut self.trace {
            trace.stage(stage, from, now);
        }
    }

    /// When nobody waits any more, from the headers that say so; the earlier one of two.
    pub(super) fn deadline(&self) -> Result<Option<Instant>> {
        if !self.rare.deadline {
            return Ok(None);
        }
        let headers = &self.head.headers;
        let mut deadline: Option<Instant> = None;
        for (name, unit) in [("x-request-timeout", 1.0), ("x-envoy-expected-rq-timeout-ms", 1e-3)] {
            let Some(value) = headers.get(name) else { continue };
            let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
            let seconds = seconds.filter(|number| number.is_finite() && *number > 0.0).ok_or_else(|| {
                let unit = if unit < 1.0 { "milliseconds" } else { "seconds" };
                Error::invalid(format!("{name}: must be a positive number of {unit}, got {value:?}."))
            })?;
            // A year is as good as for ever, and does not overflow.
            let after = Duration::from_secs_f64((seconds * unit).min(31_536_000.0));
            let end = self.begun + after;
            deadline = Some(deadline.map_or(end, |other| other.min(end)));
        }
        Ok(deadline)
    }
}
