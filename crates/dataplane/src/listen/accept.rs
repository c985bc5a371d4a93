//! Connections: accepted, bounded in number, served as HTTP/1.1 or HTTP/2, closed without a lost answer.

use super::log::Log;
use super::rest::{self, Shared};
use super::tls::Tls;
use crate::gateway::bell::{Driver, Flag};
use crate::gateway::watch::{Activity, Bounds, Counted, Spoken, Watch};
use crate::metrics::ServerMetrics;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::{pending, poll_fn, Future};
use std::io;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, Instant};

/// Why a listener serves: what may be asked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// REST; gRPC too, where `grpc` is set.
    Http {
        /// gRPC is answered here as well.
        grpc: bool,
    },
    /// gRPC alone.
    Grpc,
    /// Metrics and health.
    Metrics,
    /// Sibling processes: all of REST, for this process alone.
    Control,
}

/// How long a connection may take to ask for something while the server finishes.
const NEWCOMER: Duration = Duration::from_millis(50);

/// Most bytes read at once, and of a request's head. Bodies are copied from here to where they lie aligned: a
/// buffer that stays in the processor's cache meanwhile made large tensors 10% cheaper than hyper's 408 KiB,
/// and a connection keeps it for as long as it is open.
const READ_BUFFER: usize = 64 << 10;

/// How far the server has come with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Everything is served.
    Serving,
    /// No new connections.
    Closed,
    /// Connections end with their current requests.
    Finishing,
}

/// Everything an accept loop needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) port: Port,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) room: Arc<Semaphore>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) log: Log,
    pub(super) builder: Arc<auto::Builder<TokioExecutor>>,
}

/// How HTTP is spoken on every connection.
pub(super) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // hyper's own would cost each request a timer; `watch` sees to it.
        .header_read_timeout(None)
        .keep_alive(true)
        .max_buf_size(READ_BUFFER)
        // One buffer, one write. Not `pipeline_flush`, which does so too: with it hyper takes a stream as fast as
        // it is made, whatever the client reads, and loses the last answer where bytes follow its request.
        .writev(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(64 << 10)
        .max_concurrent_streams(1024)
        .max_pending_accept_reset_streams(64)
        .max_send_buf_size(4 << 20)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// A listening socket of either kind.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    /// Accepts until the server closes.
    pub(super) async fn serve(self, listener: Listener) {
        let mut stage = self.stage.clone();
        let closed = stage.wait_for(|stage| *stage >= Stage::Closed);
        tokio::select! {
            biased;
            _ = closed => {}
            () = self.accept_all(&listener) => {}
        }
        // Those that the kernel has accepted already would be reset when the socket closes.
        while let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            match self.accept_one(&listener, permit).now_or_never() {
                Some(Ok(())) => {}
                Some(Err(error)) if is_fault_of_the_peer(&error) => {}
                _ => break,
            }
        }
    }

    async fn accept_all(&self, listener: &Listener) {
        let mut crowded = false;
        loop {
            let permit = if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                permit
            } else {
                if !crowded {
                    crowded = true;
                    self.log.warn("the connection limit is reached; new connections wait");
                }
                let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
                permit
            };
            if let Err(error) = self.accept_one(listener, permit).await {
                // EMFILE and its like pass when connections end; ECONNABORTED and its like at once.
                if !is_fault_of_the_peer(&error) {
                    self.log.warn(format_args!("accepting a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept_one(&self, listener: &Listener, permit: OwnedSemaphorePermit) -> io::Result<()> {
        match listener {
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(self.clone().converse(stream, permit));
            }
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it an answer may wait 40 ms for an acknowledgement.
                let _ = stream.set_nodelay(true);
                self.bound_reading(&stream);
                let Some(tls) = &self.tls else {
                    tokio::spawn(self.clone().converse(stream, permit));
                    return Ok(());
                };
                let handshake = tls.acceptor().accept(stream);
                let door = self.clone();
                tokio::spawn(async move {
                    let limit = door.shared.server.limits.header_timeout;
                    // A failed handshake is the client's to notice.
                    if let Ok(Ok(stream)) = tokio::time::timeout(limit, handshake).await {
                        door.converse(stream, permit).await;
                    }
                });
            }
        }
        Ok(())
    }

    /// A client that does not read its answer holds it in memory: the kernel ends the connection when
    /// nothing of it was taken for as long as a body may take to come.
    fn bound_reading(&self, stream: &TcpStream) {
        #[cfg(target_os = "linux")]
        {
            let limit = self.shared.server.limits.body_timeout.as_millis();
            let limit = u32::try_from(limit).unwrap_or(u32::MAX).clamp(1, u32::MAX / 2);
            // Without it the connection is served just as well.
            let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, limit);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = stream;
    }

    /// Serves one connection to its end.
    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        permit: OwnedSemaphorePermit,
    ) {
        let metrics = &self.shared.server.metrics;
        metrics.connection_opened();
        let _closed = Closed(metrics);
        let activity = Arc::new(Activity::default());
        let service = {
            let (shared, port, activity) = (Arc::clone(&self.shared), self.port, Arc::clone(&activity));
            service_fn(move |request: Request<Incoming>| {
                let waiting = activity.asked(request.version() == Version::HTTP_2);
                rest::answer(Arc::clone(&shared), port, request, waiting)
            })
        };
        let stream = TokioIo::new(Counted::new(stream, &activity));
        let mut connection = pin!(self.builder.serve_connection(stream, service));
        let limit = self.shared.server.limits.header_timeout;
        let mut watch = Watch::new(Bounds { head: limit, idle: limit });
        let mut stage = self.stage.clone();
        let finishing = stage.wait_for(|stage| *stage >= Stage::Finishing);
        let mut over = watched(connection.as_mut(), finishing, &activity, &mut watch).await;
        if !over && activity.spoken() == Spoken::Unknown {
            // Accepted just now: its first request may be in the socket already.
            over = tokio::time::timeout(NEWCOMER, connection.as_mut()).await.is_ok();
        }
        if !over {
            connection.as_mut().graceful_shutdown();
            // A broken connection is the client's to notice.
            watched(connection, pending::<()>(), &activity, &mut watch).await;
        }
        drop(permit);
    }
}

/// Counts the end of a connection, also when the server ends around it.
struct Closed<'a>(&'a ServerMetrics);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.connection_closed();
    }
}

/// Runs the connection; true when it is over or has had its time, false when it should be shut down.
async fn watched<C: Future>(
    mut connection: Pin<&mut C>,
    finishing: impl Future,
    activity: &Activity,
    watch: &mut Watch,
) -> bool {
    let mut finishing = pin!(finishing);
    let mut tick = pin!(sleep(watch.tick()));
    // The connection is polled for every request, all else when it rings.
    let driver = Driver::new();
    let flag = Flag::up();
    let waker = Waker::from(Arc::clone(&flag));
    poll_fn(|task| {
        if driver.drive(task, |own| connection.as_mut().poll(own).map(|_| ())).is_ready() {
            return Poll::Ready(true);
        }
        while flag.taken(task) {
            let mut own = Context::from_waker(&waker);
            if finishing.as_mut().poll(&mut own).is_ready() {
                return Poll::Ready(false);
            }
            while tick.as_mut().poll(&mut own).is_ready() {
                // HTTP/2 asks a client that is silent whether it is still there.
                if watch.is_over(activity) && activity.spoken() != Spoken::Http2 {
                    return Poll::Ready(true);
                }
                tick.as_mut().reset(Instant::now() + watch.tick());
            }
        }
        Poll::Pending
    })
    .await
}

fn is_fault_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
