//! The body of an answer on its way to the client, as fast as the client takes it.

use super::arriving::Failure;
use super::cluster::{Load, UnderWay};
use super::exchange::Exchange;
use super::http1::{Answer, Http1};
use super::http2::Stream;
use super::refusal;
use super::watch::{Activity, Waiting};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{sleep_until, Instant, Sleep};

/// A body.
#[derive(Debug)]
pub(super) enum Reply {
    /// All of it, and what comes behind.
    Whole(Bytes, Option<Box<HeaderMap>>),
    /// As the endpoint sends it.
    Passed(Box<Passed>),
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// As long as it likes.
    None,
    /// Until then.
    Until(Instant),
    /// A stream: no longer silent than this.
    Silence(Duration),
}

/// The connection that an answer comes by.
#[derive(Debug)]
pub(super) enum Source {
    Http1(Option<Http1>),
    Http2(#[allow(dead_code)] StreamGuard),
    /// None any more: all of it is here, and its trailers.
    Whole(Option<Box<HeaderMap>>),
}

/// Counts the stream while it lasts.
pub(super) struct StreamGuard(#[allow(dead_code)] pub(super) Stream);

impl std::fmt::Debug for StreamGuard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("StreamGuard")
    }
}

/// A body that an endpoint still sends.
#[derive(Debug)]
pub(super) struct Passed {
    first: Option<Frame<Bytes>>,
    body: Answer,
    source: Source,
    load: Load,
    exchange: Exchange,
    limit: Limit,
    alarm: Option<Pin<Box<Sleep>>>,
    ended: bool,
    /// It broke off. Told one turn later, so that what came before it reaches the client.
    broken: Option<Failure>,
    activity: Arc<Activity>,
    /// The endpoint owes us the next part. Otherwise the client has to take the last one first.
    waiting: Option<Waiting>,
    _under_way: UnderWay,
}

#[derive(Debug, thiserror::Error)]
#[error("the endpoint took too long to answer")]
struct TooSlow;

impl Reply {
    /// All of an answer.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self::Whole(bytes, None)
    }

    #[allow(clippy::too_many_arguments)] // everything that lives as long as the body
    pub(super) fn passed(
        first: Option<Frame<Bytes>>,
        body: Answer,
        source: Source,
        load: Load,
        mut exchange: Exchange,
        limit: Limit,
        under_way: UnderWay,
        waiting: Waiting,
    ) -> Self {
        // A gRPC call that failed at once is a head alone: clients refuse it with an empty frame behind it.
        let ended = first.is_none() && matches!(source, Source::Http2(_)) && body.is_end_stream();
        if ended {
            exchange.end();
        }
        Self::Passed(Box::new(Passed {
            first,
            body,
            source,
            load,
            exchange,
            limit,
            alarm: None,
            ended,
            broken: None,
            activity: Arc::clone(waiting.activity()),
            waiting: Some(waiting),
            _under_way: under_way,
        }))
    }
}

/// What a gRPC call's trailers say of its outcome, as an HTTP status.
pub(super) fn grpc_status(trailers: &HeaderMap) -> Option<u16> {
    let code = trailers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    Some(refusal::http_status(code))
}

impl Passed {
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.ended {
            return Poll::Ready(self.broken.take().map(Err));
        }
        let polled = match self.first.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => match &mut self.source {
                Source::Http1(Some(connection)) => connection.poll_frame(&mut self.body, task),
                Source::Http1(None) | Source::Whole(_) => Poll::Ready(None),
                Source::Http2(_) => self.body.poll_alone(task),
            },
        };
        if polled.is_ready() {
            self.waiting = None;
        } else if self.waiting.is_none() {
            self.waiting = Some(Waiting::new(&self.activity));
        }
        match polled {
            Poll::Pending => self.watch(task),
            Poll::Ready(None) => {
                self.end(task);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(502);
                self.broken = Some(error);
                task.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.alarm = None;
                if let Some(part) = frame.data_ref() {
                    self.exchange.sent(part.len());
                } else if let Some(status) = frame.trailers_ref().and_then(grpc_status) {
                    self.exchange.grpc_outcome(status);
                }
                // The last part may be all that the server asks for.
                if self.first.is_none() && self.body.is_end_stream() {
                    self.end(task);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Nothing came: sets the alarm, or hears it.
    fn watch(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let until = match self.limit {
            Limit::None => return Poll::Pending,
            Limit::Until(until) => until,
            Limit::Silence(longest) => Instant::now() + longest,
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if alarm.as_mut().poll(task).is_pending() {
            return Poll::Pending;
        }
        self.fail(504);
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn end(&mut self, task: &mut Context<'_>) {
        self.ended = true;
        if let Source::Http1(connection) = &mut self.source {
            if let Some(mut connection) = connection.take() {
                if connection.is_usable(task) {
                    self.load.0.pool.put(connection);
                }
            }
        }
        self.exchange.end();
    }

    fn fail(&mut self, status: u16) {
        self.ended = true;
        if let Source::Http1(connection) = &mut self.source {
            *connection = None;
        }
        self.exchange.fail(status);
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
            Self::Whole(bytes, trailers) if bytes.is_empty() => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Self::Whole(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Passed(passed) => passed.poll(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, trailers) => bytes.is_empty() && trailers.is_none(),
            Self::Passed(passed) => passed.ended && passed.broken.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, None) => SizeHint::with_exact(bytes.len() as u64),
            Self::Whole(..) => SizeHint::default(),
            Self::Passed(passed) => {
                let first = passed.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
                match passed.body.size_hint().exact() {
                    Some(rest) => SizeHint::with_exact(first + rest),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
