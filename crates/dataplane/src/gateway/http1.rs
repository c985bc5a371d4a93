//! An HTTP/1.1 connection to an endpoint, driven by the request that uses it.

use super::outgoing::Outgoing;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::task::{ready, Context, Poll, Waker};
use tokio::net::TcpStream;

/// One connection.
pub(super) struct Http1 {
    sender: SendRequest<Outgoing>,
    driver: Pin<Box<Connection<TokioIo<TcpStream>, Outgoing>>>,
    /// The driver has ended and must not be polled again.
    over: bool,
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
        let (sender, driver) = http1::Builder::new().max_headers(256).handshake(TokioIo::new(stream)).await?;
        let mut connection = Self { sender, driver: Box::pin(driver), over: false };
        // The first look at the socket tells hyper that it may send.
        poll_fn(|task| {
            connection.drive(task);
            Poll::Ready(())
        })
        .await;
        Ok(connection)
    }

    /// Moves bytes; whatever ends it shows in the request's or the body's own result.
    fn drive(&mut self, task: &mut Context<'_>) {
        if !self.over {
            self.over = self.driver.as_mut().poll(task).is_ready();
        }
    }

    /// Whether the peer still takes requests, as far as this end knows.
    pub(super) fn is_usable(&mut self, task: &mut Context<'_>) -> bool {
        self.drive(task);
        !self.over && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, NotSent> {
        // Without tokio's budget: out of it, the answer would ring a bell that nobody hears.
        let mut answer = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        let (driver, over) = (&mut self.driver, &mut self.over);
        poll_fn(|task| {
            if !*over {
                *over = driver.as_mut().poll(task).is_ready();
            }
            // Only the driver can bring it, and the driver wakes this task.
            let mut asleep = Context::from_waker(Waker::noop());
            match answer.as_mut().poll(&mut asleep) {
                Poll::Ready(answer) => Poll::Ready(answer.map_err(Into::into)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next part of an answer's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, hyper::Error>>> {
        let mut asleep = Context::from_waker(Waker::noop());
        // Asking first tells the driver that somebody wants it.
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut asleep) {
            return Poll::Ready(frame);
        }
        self.drive(task);
        Poll::Ready(ready!(Pin::new(body).poll_frame(&mut asleep)))
    }

    /// After an answer's end: whether another request may follow.
    pub(super) fn is_reusable(&mut self, task: &mut Context<'_>) -> bool {
        self.is_usable(task)
    }
}
