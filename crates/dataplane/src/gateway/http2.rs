//! An HTTP/2 connection to an endpoint, shared by its requests.

use super::http1::{Answer, NotSent};
use super::outgoing::Outgoing;
use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Without requests, a connection is closed after so long.
const IDLE: Duration = Duration::from_secs(60);

/// One connection.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: SendRequest<Outgoing>,
    shared: Arc<Shared>,
}

struct Shared {
    streams: AtomicUsize,
    used: Mutex<Instant>,
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
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Http2 {
    pub(super) async fn open(stream: TcpStream) -> Result<Self, hyper::Error> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(64 << 10)
            .max_send_buf_size(4 << 20)
            .max_header_list_size(64 << 10)
            // A peer that is gone without a word would hold its requests for ever.
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        // Its end shows in the results of its requests.
        tokio::spawn(async move { drop(driver.await) });
        let shared = Shared { streams: AtomicUsize::new(0), used: Mutex::new(Instant::now()) };
        Ok(Self { sender, shared: Arc::new(shared) })
    }

    /// Requests that are under way on it.
    pub(super) fn streams(&self) -> usize {
        self.shared.streams.load(Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) fn is_idle_since(&self, now: Instant) -> bool {
        let used = *self.shared.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.streams() == 0 && now.saturating_duration_since(used) > IDLE
    }

    /// Counts a request on it.
    pub(super) fn enter(&self) -> Stream {
        self.shared.streams.fetch_add(1, Relaxed);
        Stream(Arc::clone(&self.shared))
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Answer>, NotSent> {
        Ok(self.sender.try_send_request(request).await?.map(Answer::Hyper))
    }
}

/// Whether the peer has certainly not begun with the request: it said so (RFC 9113, 8.7), or it went away
/// (GOAWAY) before it came to it.
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (refused || error.is_go_away());
        }
        cause = error.source();
    }
    false
}
