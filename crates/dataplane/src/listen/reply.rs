//! What goes back to a client: bodies, JSON answers and errors in the one shape they have.

use crate::error::{Error, Kind};
use crate::gateway::watch::Waiting;
use crate::metrics::InFlight;
use crate::trace::{self, Active};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// What a body may fail with; it ends the connection.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// All at once.
    Full(Bytes),
    /// In parts, as the model makes them.
    Stream(Parts),
    /// From the gRPC service.
    Grpc(tonic::body::Body),
}

/// A model's stream.
#[derive(Debug)]
pub(super) struct Parts {
    source: mpsc::Receiver<Result<Bytes, Error>>,
    /// Server-sent events can tell of an error; anything else can only break off.
    events: bool,
    ended: bool,
    request: Option<InFlight>,
    trace: Option<Active>,
    /// It is the model that the client waits for.
    waiting: Option<Waiting>,
}

impl Reply {
    /// A body in parts; `request` ends when it does.
    pub(super) fn stream(
        parts: mpsc::Receiver<Result<Bytes, Error>>,
        events: bool,
        request: InFlight,
    ) -> Self {
        let (request, ended) = (Some(request), false);
        Self::Stream(Parts { source: parts, events, ended, request, trace: None, waiting: None })
    }

    /// Ends the request's span: now, or with the stream.
    pub(super) fn end_span(&mut self, mut trace: Active, status: u16) {
        match self {
            Self::Stream(parts) => {
                trace.sent(status);
                parts.trace = Some(trace);
            }
            Self::Full(_) | Self::Grpc(_) => trace.end(status),
        }
    }

    /// Goes on waiting while there is more to come from the model.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        if let Self::Stream(parts) = self {
            parts.waiting = Some(waiting);
        }
    }

    /// Its length, where it is known before it is sent.
    pub(super) fn known_len(&self) -> Option<usize> {
        match self {
            Self::Full(bytes) => Some(bytes.len()),
            Self::Stream(_) | Self::Grpc(_) => None,
        }
    }
}

impl Parts {
    fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            return match self.source.poll_recv(task) {
                Poll::Pending => Poll::Pending,
                // An empty chunk would end a chunked body.
                Poll::Ready(Some(Ok(part))) if part.is_empty() => continue,
                Poll::Ready(Some(Ok(part))) => Poll::Ready(Some(Ok(Frame::data(part)))),
                Poll::Ready(Some(Err(error))) => {
                    if let Some(trace) = &mut self.trace {
                        trace.fail(&error);
                    }
                    self.end(error.kind.http());
                    if self.events {
                        let event = format!("data: {}\n\n", error_json(&error.message));
                        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
                    } else {
                        Poll::Ready(Some(Err(Box::new(error))))
                    }
                }
                Poll::Ready(None) => {
                    self.end(200);
                    Poll::Ready(None)
                }
            };
        }
    }

    fn end(&mut self, status: u16) {
        self.ended = true;
        if let Some(request) = self.request.take() {
            request.end(status);
        }
        trace::end(self.trace.take(), status);
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(parts) => parts.poll_part(task),
            Self::Grpc(body) => Pin::new(body).poll_frame(task).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(parts) => parts.ended,
            Self::Grpc(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
            Self::Grpc(body) => body.size_hint(),
        }
    }
}

/// The media type of most answers.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer with this body.
pub(super) fn full(status: u16, content_type: HeaderValue, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::Full(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A JSON answer.
pub(super) fn json(value: &impl Serialize) -> Response<Reply> {
    match serde_json::to_vec(value) {
        Ok(body) => full(200, JSON, body.into()),
        Err(error) => refuse(&Error::new(Kind::Internal, format!("The answer is no JSON: {error}."))),
    }
}

/// A JSON answer that never changes.
pub(super) fn constant(body: &'static str) -> Response<Reply> {
    full(200, JSON, Bytes::from_static(body.as_bytes()))
}

/// An error, in the shape that all errors have.
pub(super) fn refuse(error: &Error) -> Response<Reply> {
    let status = error.kind.http();
    let mut response = full(status, JSON, error_json(&error.message).into());
    if status == 429 || status == 503 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// 405, with the methods that the route has.
pub(super) fn wrong_method(error: &Error, allow: &'static str) -> Response<Reply> {
    let mut response = refuse(error);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn error_json(message: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    serde_json::to_string(&Body { error: message }).unwrap_or_else(|_| r#"{"error":""}"#.to_owned())
}

/// Adds the headers that a model sets, but for those that are ours to say.
pub(super) fn add_model_headers(to: &mut HeaderMap, headers: Vec<(String, String)>) {
    for (name, value) in headers {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        let Ok(value) = HeaderValue::try_from(value) else { continue };
        if !is_ours(&name) {
            to.append(name, value);
        }
    }
}

fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "date"
            | "inference-header-content-length"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "x-request-id"
    )
}
