//! An HTTP/1.1 connection to an endpoint, driven by the request that uses it.
//!
//! Between requests it is `Plain`, and stays so where the request and its answer are. hyper takes it over for
//! whatever is not, and gives it back behind the answer. A request that was sent plainly and whose answer turns out
//! to be another kind is not sent again: hyper asks a question of its own, which nobody hears, and reads the answer.

use super::arriving::{Failure, Received};
use super::bell::Driver;
use super::joined::Joined;
use super::outgoing::Outgoing;
use super::plain::{Asking, Plain, Sent};
use super::replay::Replay;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;

/// What hyper drives.
type Wire = Connection<TokioIo<Replay<Joined<TcpStream>>>, Outgoing>;

/// One connection.
#[derive(Debug)]
pub(super) enum Http1 {
    Plain(Plain),
    Hyper(Box<Hyper>),
    /// hyper could not take it over.
    Lost,
}

/// A connection that hyper has.
pub(super) struct Hyper {
    sender: SendRequest<Outgoing>,
    connection: Pin<Box<Wire>>,
    /// The connection has ended and must not be polled again.
    over: bool,
    /// It takes no request behind this one, whatever hyper thinks.
    last: bool,
    driver: Driver,
}

impl std::fmt::Debug for Hyper {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Hyper").field("over", &self.over).finish_non_exhaustive()
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// So many bytes are still to come, out of a plain connection.
    Plain(u64),
    Hyper(Incoming),
    Stream(Received),
}

impl Answer {
    /// Nothing more will come.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(rest) => *rest == 0,
            Self::Hyper(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    /// How much is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(rest) => SizeHint::with_exact(*rest),
            Self::Hyper(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }

    /// The next part of a body that needs no connection driven.
    pub(super) fn poll_alone(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
            Self::Stream(body) => body.poll_frame(task).map_err(Into::into),
            Self::Plain(_) | Self::Hyper(_) => Poll::Ready(None),
        }
    }
}

/// Why a request got no answer.
pub(super) struct NotSent {
    /// Its body, where nothing of the request was written.
    pub(super) unsent: Option<Box<Outgoing>>,
    /// It may have been written, but the peer says that it has not begun with it.
    pub(super) unprocessed: bool,
    /// Something came back that is no answer: why.
    pub(super) garbled: Option<String>,
}

/// Why a plain request got no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing of it was written.
    Unsent,
    /// The peer went away with it.
    Died,
    /// Something came back that is no answer: why.
    Garbled(String),
}

/// hyper could not take the connection over.
struct Unusable;

impl From<TrySendError<Request<Outgoing>>> for NotSent {
    fn from(mut failed: TrySendError<Request<Outgoing>>) -> Self {
        let unsent = failed.take_message().map(|request| Box::new(request.into_body()));
        let error = failed.error();
        Self { unsent, unprocessed: false, garbled: error.is_parse().then(|| error.to_string()) }
    }
}

impl Http1 {
    pub(super) fn open(stream: TcpStream) -> Self {
        Self::Plain(Plain::new(stream, bytes::BytesMut::new()))
    }

    /// Whether the peer still takes requests, as far as this end knows.
    pub(super) fn is_usable(&mut self, task: &mut Context<'_>) -> bool {
        match self {
            Self::Plain(plain) => plain.is_usable(task),
            Self::Hyper(hyper) => hyper.is_usable(task),
            Self::Lost => false,
        }
    }

    /// Sends a plain request and waits for the head of its answer.
    pub(super) async fn ask(&mut self, asking: &Asking<'_>) -> Result<Response<Answer>, Unanswered> {
        let Self::Plain(plain) = self else { return Err(Unanswered::Unsent) };
        match plain.send(asking).await {
            Sent::Answer(response) => return Ok(response.map(Answer::Plain)),
            Sent::Nothing { unsent: true } => return Err(Unanswered::Unsent),
            Sent::Nothing { unsent: false } => return Err(Unanswered::Died),
            Sent::Other => {}
        }
        // The request itself is out, whatever becomes of this one.
        let hyper = Box::pin(self.take_over(true)).await.map_err(|_| Unanswered::Died)?;
        let heard = Box::pin(hyper.send(Request::new(Outgoing::Kept(Bytes::new())))).await;
        heard.map_err(|failed| failed.garbled.map_or(Unanswered::Died, Unanswered::Garbled))
    }

    /// Sends any request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Answer>, NotSent> {
        match Box::pin(self.take_over(false)).await {
            Ok(hyper) => Box::pin(hyper.send(request)).await,
            Err(Unusable) => Err(NotSent {
                unsent: Some(Box::new(request.into_body())),
                unprocessed: false,
                garbled: None,
            }),
        }
    }

    /// Gives the connection to hyper; `heard`: it only reads from then on, and first what was read already.
    async fn take_over(&mut self, heard: bool) -> Result<&mut Hyper, Unusable> {
        if let Self::Plain(plain) = std::mem::replace(self, Self::Lost) {
            let (stream, read, last) = plain.into_parts();
            let opened = Hyper::open(Replay::new(Joined(stream), read, heard), last).await;
            *self = Self::Hyper(Box::new(opened.map_err(|_| Unusable)?));
        }
        match self {
            Self::Hyper(hyper) => Ok(hyper),
            _ => Err(Unusable),
        }
    }

    /// The next part of an answer's body.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Answer,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match (self, body) {
            (Self::Plain(plain), Answer::Plain(rest)) => {
                let polled = plain.poll_part(task);
                *rest = plain.owed();
                polled.map(|part| part.map(|part| part.map(Frame::data).map_err(Into::into)))
            }
            (Self::Hyper(hyper), Answer::Hyper(body)) => hyper.poll_frame(body, task).map_err(Into::into),
            // They never part.
            _ => Poll::Ready(None),
        }
    }

    /// The stream itself, once the peer has switched to another protocol, and what it has said in that already.
    pub(super) async fn switched(self) -> Option<(TcpStream, Bytes)> {
        match self {
            Self::Hyper(hyper) => Some(hyper.switched().await),
            _ => None,
        }
    }

    /// What is kept of it while nobody uses it; nothing, if something is still on its way.
    pub(super) fn rest(self) -> Option<Self> {
        let mut plain = match self {
            Self::Plain(plain) => plain,
            Self::Hyper(hyper) => hyper.into_plain()?,
            Self::Lost => return None,
        };
        // Nobody is to be woken any more.
        plain.is_usable(&mut Context::from_waker(Waker::noop())).then_some(Self::Plain(plain))
    }
}

impl Hyper {
    async fn open(stream: Replay<Joined<TcpStream>>, last: bool) -> Result<Self, hyper::Error> {
        let (sender, connection) =
            http1::Builder::new().max_headers(256).handshake(TokioIo::new(stream)).await?;
        let mut connection =
            Self { sender, connection: Box::pin(connection), over: false, last, driver: Driver::new() };
        // The first look at the socket tells hyper that it may send.
        poll_fn(|task| Poll::Ready(connection.is_usable(task))).await;
        Ok(connection)
    }

    fn is_usable(&mut self, task: &mut Context<'_>) -> bool {
        let (connection, over) = (&mut self.connection, &mut self.over);
        let _ = self.driver.drive(task, |own| {
            turn(connection, over, own);
            Poll::Ready(())
        });
        !self.over && self.sender.is_ready()
    }

    async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Answer>, NotSent> {
        // Without tokio's budget: out of it, the answer would ring a bell that nobody hears.
        let mut answer = pin!(tokio::task::unconstrained(self.sender.try_send_request(request)));
        let (connection, over, driver) = (&mut self.connection, &mut self.over, &self.driver);
        let response = poll_fn(|task| {
            driver.drive(task, |own| {
                turn(connection, over, own);
                // Only the connection can bring it, and that rings.
                answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })
        })
        .await?;
        Ok(response.map(Answer::Hyper))
    }

    fn poll_frame(
        &mut self,
        body: &mut Incoming,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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

    async fn switched(mut self) -> (TcpStream, Bytes) {
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
        (parts.io.into_inner().into_inner().0, parts.read_buf)
    }

    /// The connection without hyper, if hyper is done with it.
    fn into_plain(mut self) -> Option<Plain> {
        if self.last || !self.is_usable(&mut Context::from_waker(Waker::noop())) {
            return None;
        }
        self.driver.leave();
        let parts = Pin::into_inner(self.connection).into_parts();
        let replay = parts.io.into_inner();
        let whole = parts.read_buf.is_empty() && replay.is_read();
        whole.then(|| Plain::new(replay.into_inner().0, bytes::BytesMut::new()))
    }
}

/// Moves bytes; whatever ends the connection shows in the request's or the body's own result.
fn turn(connection: &mut Pin<Box<Wire>>, over: &mut bool, own: &mut Context<'_>) {
    if !*over {
        *over = connection.as_mut().poll(own).is_ready();
    }
}
