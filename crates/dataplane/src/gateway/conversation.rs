//! A client's HTTP/2 connection. One task answers all of its calls and moves all of its bytes, so that what happens at
//! once is written at once, and a call costs no task.

use super::bell::Bells;
use super::pulse::Pulse;
use super::watch::Activity;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::server::{Connection, SendResponse};
use h2::RecvStream;
use http::Request;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A client that says nothing for so long is asked whether it is there, and has so long to answer.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// Bells: of the calls, of the connection, of its pulse.
const CALLS: u8 = 1;
const WIRE: u8 = 2;
const PULSE: u8 = 4;

/// The room of so many calls is kept for later ones: it takes some kilobytes, and its allocation time.
const MOST_SPARE: usize = 4;

/// Room for a call; empty, for the next one.
type Room<F> = Pin<Box<Option<F>>>;

/// A call in its room, which it gives back when it has ended.
struct Call<F>(Option<Room<F>>);

impl<F: Future<Output = ()>> Future for Call<F> {
    type Output = Option<Room<F>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.0.as_mut().and_then(|room| room.as_mut().as_pin_mut());
        if call.is_some_and(|call| call.poll(task).is_pending()) {
            return Poll::Pending;
        }
        let mut room = self.0.take();
        if let Some(room) = &mut room {
            room.set(None);
        }
        Poll::Ready(room)
    }
}

/// A connection with the calls that are under way on it.
pub(super) struct Conversation<S, A, F> {
    wire: Connection<S, Bytes>,
    answer: A,
    calls: FuturesUnordered<Call<F>>,
    spare: Vec<Room<F>>,
    pulse: Option<Pulse>,
    activity: Arc<Activity>,
    bells: Arc<Bells>,
    wakers: [Waker; 3],
}

impl<S, A, F> Conversation<S, A, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    pub(super) fn new(mut wire: Connection<S, Bytes>, activity: &Arc<Activity>, answer: A) -> Self {
        let pulse = wire.ping_pong().map(|pings| Pulse::new(pings, PING_EVERY, PING_PATIENCE));
        let bells = Bells::rung();
        let wakers = [CALLS, WIRE, PULSE].map(|bit| bells.waker(bit));
        let (calls, activity) = (FuturesUnordered::new(), Arc::clone(activity));
        Self { wire, answer, calls, spare: Vec::new(), pulse, activity, bells, wakers }
    }

    /// Tells the client to go elsewhere with its next call.
    pub(super) fn shut_down(&mut self) {
        self.wire.graceful_shutdown();
        self.bells.ring(WIRE);
    }

    /// One turn: calls first, so that what they say leaves with what the connection has to say itself.
    fn turn(&mut self) -> Poll<()> {
        let [calls, wire, pulse] = &self.wakers;
        if self.bells.taken(CALLS) {
            let mut task = Context::from_waker(calls);
            while let Poll::Ready(Some(room)) = Pin::new(&mut self.calls).poll_next(&mut task) {
                self.spare.extend(room.filter(|_| self.spare.len() < MOST_SPARE));
            }
        }
        if self.bells.taken(WIRE) {
            let mut task = Context::from_waker(wire);
            loop {
                match self.wire.poll_accept(&mut task) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let mut room = self.spare.pop().unwrap_or_else(|| Box::pin(None));
                        room.set(Some((self.answer)(request, respond)));
                        self.calls.push(Call(Some(room)));
                        self.bells.ring(CALLS);
                    }
                    // Whatever broke it is the client's to notice.
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
        }
        if self.bells.taken(PULSE) {
            if let Some(asking) = &mut self.pulse {
                return asking.poll_lost(self.activity.bytes_read(), true, &mut Context::from_waker(pulse));
            }
        }
        Poll::Pending
    }
}

impl<S, A, F> Future for Conversation<S, A, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: FnMut(Request<RecvStream>, SendResponse<Bytes>) -> F + Unpin,
    F: Future<Output = ()>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let bells = Arc::clone(&this.bells);
        bells.drive(CALLS | WIRE | PULSE, task, || this.turn())
    }
}
