//! An HTTP/2 connection to an endpoint, shared by its requests.
//!
//! A request writes into the connection's buffers itself and waits for its own answer; the connection's task moves
//! bytes, for all of them at once.

use super::arriving::{Received, Sending};
use super::bell::Flag;
use super::http1::{Answer, NotSent};
use super::joined::Joined;
use super::outgoing::Outgoing;
use super::pool::STREAMS;
use super::pour::pour;
use super::pulse::Pulse;
use super::watch::{Activity, Counted};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body as _;
use std::future::{poll_fn, Future as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Without requests, a connection is closed after so long.
const IDLE: Duration = Duration::from_secs(60);

/// A peer that is gone without a word would hold its requests for ever: asked after so long without a byte, it has
/// so long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// So many requests at once, until the peer says how many.
const FIRST_STREAMS: usize = 100;

/// So many bytes of an answer wait here for a client that does not read. All that share a connection have room for as many,
/// so that a slow reader is its own trouble alone.
const WINDOW: u32 = 512 << 10;

type Wire = Connection<Counted<Joined<TcpStream>>, Bytes>;

/// One connection.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    streams: AtomicUsize,
    /// Requests that have come.
    requests: AtomicU64,
    /// How many there were at the last look, and since when.
    seen: Mutex<(u64, Instant)>,
    over: AtomicBool,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Http2").field("streams", &self.streams()).finish_non_exhaustive()
    }
}

/// A request on a shared connection.
pub(super) struct Stream(Arc<Shared>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

impl Http2 {
    pub(super) async fn open(stream: TcpStream) -> Result<Self, h2::Error> {
        let activity = Arc::new(Activity::default());
        let stream = Counted::new(Joined(stream), &activity);
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * STREAMS as u32)
            .max_frame_size(64 << 10)
            .max_send_buffer_size(4 << 20)
            .max_header_list_size(64 << 10)
            .initial_max_send_streams(FIRST_STREAMS)
            .enable_push(false);
        let (sender, connection) = builder.handshake(stream).await?;
        let shared = Arc::new(Shared {
            streams: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            seen: Mutex::new((0, Instant::now())),
            over: AtomicBool::new(false),
        });
        tokio::spawn(drive(connection, activity, Arc::clone(&shared)));
        Ok(Self { sender, shared })
    }

    /// Requests that are under way on it.
    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.shared.over.load(Relaxed)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether it has had no requests for a while. To be asked now and then.
    pub(super) fn is_idle_since(&self, now: Instant) -> bool {
        let requests = self.shared.requests.load(Relaxed);
        let mut seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if self.streams() > 0 || seen.0 != requests {
            *seen = (requests, now);
        }
        now.saturating_duration_since(seen.1) > IDLE
    }

    /// Counts a request on it.
    pub(super) fn enter(&self) -> Stream {
        self.shared.requests.fetch_add(1, Relaxed);
        self.shared.streams.fetch_add(1, Relaxed);
        Stream(Arc::clone(&self.shared))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Answer>, NotSent> {
        let (head, body) = request.into_parts();
        let sent = self.sender.send_request(Request::from_parts(head, ()), body.is_end_stream());
        let Ok((answer, mut stream)) = sent else {
            // It takes no more requests; if it does, then not this one.
            let usable = self.sender.poll_ready(&mut Context::from_waker(Waker::noop()));
            let unsent = matches!(usable, Poll::Ready(Err(_))).then(|| Box::new(body));
            return Err(NotSent { unsent, unprocessed: false, garbled: None });
        };
        let sending = match body {
            Outgoing::Kept(bytes) => {
                if !bytes.is_empty() {
                    // Where it fails, so does the answer.
                    let _ = stream.send_data(bytes, true);
                }
                None
            }
            body @ Outgoing::Passed(_) => Some(pass(body, stream)),
        };
        match answer.await {
            Ok(response) => {
                let (head, stream) = response.into_parts();
                let body = Received::new(stream, &head.headers).beside(sending);
                Ok(Response::from_parts(head, Answer::Stream(body)))
            }
            Err(error) => Err(NotSent { unsent: None, unprocessed: is_unprocessed(&error), garbled: None }),
        }
    }
}

/// Moves the connection's bytes to its end, which shows in the answers of its requests.
async fn drive(mut connection: Wire, activity: Arc<Activity>, shared: Arc<Shared>) {
    let pings = connection.ping_pong();
    let mut pulse = pings.map(|pings| Pulse::new(pings, PING_EVERY, PING_PATIENCE));
    // The connection is polled for every request, its pulse when that rings.
    let flag = Flag::up();
    let waker = Waker::from(Arc::clone(&flag));
    poll_fn(|task| {
        if Pin::new(&mut connection).poll(task).is_ready() {
            return Poll::Ready(());
        }
        let Some(pulse) = &mut pulse else { return Poll::Pending };
        if !flag.taken(task) {
            return Poll::Pending;
        }
        let wanted = shared.streams.load(Relaxed) > 0;
        pulse.poll_lost(activity.bytes_read(), wanted, &mut Context::from_waker(&waker))
    })
    .await;
    shared.over.store(true, Relaxed);
}

/// Sends a body as it comes, beside whatever is done with the answer.
fn pass(mut body: Outgoing, mut stream: SendStream<Bytes>) -> Sending {
    let (sending, given_up) = Sending::begin();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            Ok(()) = given_up => stream.send_reset(Reason::CANCEL),
            // What goes wrong shows in the answer.
            _ = pour(&mut body, &mut stream) => {}
        }
    });
    sending
}

/// Whether the peer has certainly not begun with the request: it said so (RFC 9113, 8.7), or it went away
/// (GOAWAY) before it came to it.
fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}
