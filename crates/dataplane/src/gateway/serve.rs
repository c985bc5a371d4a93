//! Connections of clients: accepted, bounded in number, closed without a lost answer.

use super::alarm::Alarm;
use super::arriving::Arriving;
use super::bell::Flag;
use super::conversation::Conversation;
use super::deliver::call;
use super::forward::{self, Origin};
use super::greeting::{greet, Greeted};
use super::headers::From;
use super::joined::Joined;
use super::route::Side;
use super::run::{Gateway, Stage};
use super::target::LastHost;
use super::tunnel;
use super::watch::{Activity, Bounds, Counted, Spoken, Watch};
use crate::listen::tls::Tls;
use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::server::Connection;
use http::header::HeaderValue;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{pending, poll_fn, Future};
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{pin, Pin};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{watch, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, Instant};

/// A listener with everything that its accept loop needs.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) gateway: Arc<Gateway>,
    pub(super) side: Side,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) room: Arc<Semaphore>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) builder: Arc<Builders>,
}

/// How HTTP is spoken with clients.
pub(super) struct Builders {
    http1: http1::Builder,
    http2: h2::server::Builder,
}

/// The same for all connections.
pub(super) fn builder(gateway: &Gateway) -> Builders {
    let limits = &gateway.limits;
    let mut http1 = http1::Builder::new();
    http1
        // hyper's own would cost each request a timer; `watch` sees to it.
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .keep_alive(true);
    let mut http2 = h2::server::Builder::new();
    http2
        .initial_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(64 << 10)
        .max_concurrent_streams(1024)
        .max_header_list_size(limits.header_bytes as u32)
        // Against floods of requests that are reset at once (CVE-2023-44487, CVE-2025-8671).
        .max_pending_accept_reset_streams(64)
        .max_local_error_reset_streams(Some(1024))
        .max_send_buffer_size(4 << 20);
    Builders { http1, http2 }
}

impl Door {
    /// Accepts until the gateway drains. The socket stays open elsewhere: whoever connects from then on waits for
    /// our successor.
    pub(super) async fn serve(self, listener: TcpListener) {
        let mut stage = self.stage.clone();
        let closed = stage.wait_for(|stage| *stage >= Stage::LameDuck);
        tokio::select! {
            biased;
            _ = closed => {}
            () = self.accept_all(&listener) => {}
        }
    }

    async fn accept_all(&self, listener: &TcpListener) {
        let mut crowded = false;
        loop {
            let permit = if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                permit
            } else {
                if !crowded {
                    crowded = true;
                    self.gateway.log.warn("the connection limit is reached; new connections wait");
                }
                let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
                permit
            };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Without it an answer may wait 40 ms for an acknowledgement.
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(self.clone().greet(stream, peer, permit));
                }
                Err(error) if is_fault_of_the_peer(&error) => {}
                Err(error) => {
                    // EMFILE and its like pass when connections end.
                    self.gateway.log.warn(format_args!("accepting a connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn greet(self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let Some(tls) = &self.tls else { return self.converse(stream, peer, permit).await };
        let handshake = tls.acceptor().accept(stream);
        // A failed handshake is the client's to notice.
        if let Ok(Ok(stream)) = tokio::time::timeout(self.gateway.limits.header_timeout, handshake).await {
            self.converse(stream, peer, permit).await;
        }
    }

    /// Serves one connection to its end.
    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let metrics = &self.gateway.metrics;
        metrics.connections.fetch_add(1, Relaxed);
        metrics.connections_open.fetch_add(1, Relaxed);
        let _closed = Closed(&self.gateway);
        let activity = Arc::new(Activity::default());
        let stream = Counted::new(Joined(stream), &activity);
        let origin = Arc::new(Origin {
            side: self.side,
            from: self.from(peer),
            alarm: Alarm::default(),
            host: LastHost::default(),
            tunnel: Mutex::default(),
        });
        let limits = &self.gateway.limits;
        let mut watch = Watch::new(Bounds { head: limits.header_timeout, idle: limits.idle_timeout });
        let mut greeted = None;
        let greeting = async { greeted = greet(stream, &self.builder.http2).await };
        // Who has not said how it speaks is told nothing.
        let _ = self.until_finishing(pin!(greeting), &activity, &mut watch).await;
        match greeted {
            Some(Greeted::Http1(stream)) => self.speak_http1(stream, &origin, &activity, &mut watch).await,
            Some(Greeted::Http2(wire)) => self.speak_http2(*wire, &origin, &activity, &mut watch).await,
            None => {}
        }
        let tunnel = origin.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tunnel) = tunnel {
            tunnel.run(self.stage.clone()).await;
        }
        drop(permit);
    }

    async fn speak_http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: &Arc<Origin>,
        activity: &Arc<Activity>,
        watch: &mut Watch,
    ) {
        let service = service_fn(|mut request: Request<Incoming>| {
            let waiting = activity.asked(false);
            let upgrade = tunnel::asked(&mut request);
            let (gateway, origin) = (Arc::clone(&self.gateway), Arc::clone(origin));
            let answer = forward::answer(gateway, origin, request.map(Arriving::Http1), upgrade, waiting);
            answer.map(Ok::<_, Infallible>)
        });
        let stream = TokioIo::new(stream);
        let mut connection = pin!(self.builder.http1.serve_connection(stream, service).with_upgrades());
        let next = self.until_finishing(connection.as_mut(), activity, watch).await;
        if next == Next::ShutDown {
            connection.as_mut().graceful_shutdown();
            // A broken connection is the client's to notice.
            let _ = watched(connection.as_mut(), pending::<()>(), activity, watch).await;
        }
    }

    async fn speak_http2(
        &self,
        wire: Connection<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Bytes>,
        origin: &Arc<Origin>,
        activity: &Arc<Activity>,
        watch: &mut Watch,
    ) {
        let answer = |request, respond| {
            let (gateway, origin) = (Arc::clone(&self.gateway), Arc::clone(origin));
            let called = call(gateway, origin, request, respond, activity.asked(true));
            // What goes wrong with one call is no matter of the others.
            AssertUnwindSafe(called).catch_unwind().map(drop)
        };
        let mut conversation = Conversation::new(wire, activity, answer);
        let next = self.until_finishing(Pin::new(&mut conversation), activity, watch).await;
        if next == Next::ShutDown {
            conversation.shut_down();
            let _ = watched(Pin::new(&mut conversation), pending::<()>(), activity, watch).await;
        }
    }

    /// Runs the connection until it is over or should be shut down.
    async fn until_finishing<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        activity: &Activity,
        watch: &mut Watch,
    ) -> Next {
        let mut stage = self.stage.clone();
        let lame = stage.wait_for(|stage| *stage >= Stage::LameDuck);
        let next = watched(connection.as_mut(), lame, activity, watch).await;
        // HTTP/2 has a word for it (GOAWAY); HTTP/1.1 can only say it in its next answer, so it gets the time for
        // one. So does who has not asked for anything yet: it may come from a connection that was just told to go.
        if next == Next::Over || activity.spoken() == Spoken::Http2 {
            return next;
        }
        let mut stage = self.stage.clone();
        let finishing = stage.wait_for(|stage| *stage >= Stage::Finishing);
        watched(connection, finishing, activity, watch).await
    }

    fn from(&self, peer: SocketAddr) -> From {
        let address = peer.ip().to_canonical().to_string();
        From {
            client: HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown")),
            scheme: HeaderValue::from_static(if self.tls.is_some() { "https" } else { "http" }),
            trusted: self.gateway.trust_forwarded,
        }
    }
}

/// What to do with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It has ended, or should be dropped.
    Over,
    /// It may finish what it has begun.
    ShutDown,
}

/// Runs the connection until it ends, has had its time, or `until` comes.
async fn watched<C: Future>(
    mut connection: Pin<&mut C>,
    until: impl Future,
    activity: &Activity,
    watch: &mut Watch,
) -> Next {
    let mut until = pin!(until);
    let mut tick = pin!(sleep(watch.tick()));
    // The connection is polled for every request, all else when it rings.
    let flag = Flag::up();
    let waker = Waker::from(Arc::clone(&flag));
    poll_fn(|task| {
        if connection.as_mut().poll(task).is_ready() {
            return Poll::Ready(Next::Over);
        }
        while flag.taken(task) {
            let mut own = Context::from_waker(&waker);
            if until.as_mut().poll(&mut own).is_ready() {
                return Poll::Ready(Next::ShutDown);
            }
            while tick.as_mut().poll(&mut own).is_ready() {
                if watch.is_over(activity) {
                    return Poll::Ready(Next::Over);
                }
                tick.as_mut().reset(Instant::now() + watch.tick());
            }
        }
        Poll::Pending
    })
    .await
}

/// Counts the end of a connection, also when the gateway ends around it.
struct Closed<'a>(&'a Gateway);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections_open.fetch_sub(1, Relaxed);
    }
}

fn is_fault_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
