//! An HTTP/1.1 connection to an endpoint, driven by the request that uses it.

use super::bell::Driver;
use super::joined::Joined;
use super::outgoing::Outgoing;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;

/// What hyper drives.
type Wire = Connection<TokioIo<Joined<TcpStream>>, Outgoing>;

/// One connection.
pub(super) struct Http1 {
    sender: SendRequest<Outgoing>,
    connection: Pin<Box<Wire>>,
    /// The connection has ended and must not be polled again.
    over: bool,
    driver: Driver,
}

impl std::fmt::Debug for Http1 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Http1").field("over", &self.over).finish_non_exhaustive()
    }
}

/// Why a request got no answer.
pub(super) struct NotSent {
    /// The request, where nothing of it was written.
    pub(super) unsent: Option<Box<Request<Outgoing>>>,
    pub(super) error: hyper::Error,
}

impl From<TrySendError<Request<Outgoing>>> for NotSent {
    fn from(mut failed: TrySendError<Request<Outgoing>>) -> Self {
        Self { unsent: failed.take_message().map(Box::new), error: failed.into_error() }
    }
}

impl Http1 {
    pub(super) async fn open(stream: TcpStream) -> Result<Self, hyper::Error> {
        let (sender, connection) =
            http1::Builder::new().max_headers(256).handshake(TokioIo::new(Joined(stream))).await?;
        let mut connection =
            Self { sender, connection: Box::pin(connection), over: false, driver: Driver::new() };
        // The first look at the socket tells hyper that it may send.
        poll_fn(|task| Poll::Ready(connection.is_usable(task))).await;
        Ok(connection)
    }

    /// Whether the peer still takes requests, as far as this end knows.
    pub(super) fn is_usable(&mut self, task: &mut Context<'_>) -> bool {
        let (connection, over) = (&mut self.connection, &mut self.over);
        let _ = self.driver.drive(task, |own| {
            turn(connection, over, own);
            Poll::Ready(())
        });
        !self.over && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, NotSent> {
        // Without tokio's budget: out of it, the answer would ring a bell that nobody hears.
        let mut answer = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        let (connection, over, driver) = (&mut self.connection, &mut self.over, &self.driver);
        poll_fn(|task| {
            driver.drive(task, |own| {
                turn(connection, over, own);
                // Only the connection can bring it, and that rings.
                answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })
        })
        .await
        .map_err(Into::into)
    }

    /// The next part of an answer's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, hyper::Error>>> {
        let (connection, over) = (&mut self.connection, &mut self.over);
        self.driver.drive(task, |own| {
            let mut asleep = Context::from_waker(Waker::noop());
            // Asking first tells the connection that somebody wants it.
            if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut asleep) {
                return Poll::Ready(frame);
            }
            turn(connection, over, own);
            Pin::new(&mut *body).poll_frame(&mut asleep)
        })
    }

    /// The stream itself, once the peer has switched to another protocol, and what it has said in that already.
    pub(super) async fn switched(mut self) -> Option<(TcpStream, Bytes)> {
        let (connection, over, driver) = (&mut self.connection, &mut self.over, &self.driver);
        poll_fn(|task| {
            driver.drive(task, |own| {
                turn(connection, over, own);
                if *over {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        })
        .await;
        let parts = Pin::into_inner(self.connection).into_parts();
        Some((parts.io.into_inner().0, parts.read_buf))
    }

    /// Nobody uses it for now.
    pub(super) fn rest(&self) {
        self.driver.leave();
    }
}

/// Moves bytes; whatever ends the connection shows in the request's or the body's own result.
fn turn(connection: &mut Pin<Box<Wire>>, over: &mut bool, own: &mut Context<'_>) {
    if !*over {
        *over = connection.as_mut().poll(own).is_ready();
    }
}
