//! Copies of requests for whoever wants to see real traffic without answering it.
//!
//! A copy is sent once all of the request's body is here, by a task of its own; its answer is thrown away. The
//! request itself never waits for it. All copies together take so much memory and no more: what finds no room is
//! dropped and counted.

use super::cluster::{Choice, Cluster, UnderWay};
use super::http1::{Answer, Http1};
use super::http2::Http2;
use super::metrics::Metrics;
use super::outgoing::Outgoing;
use super::pool::IDLE;
use super::run::Gateway;
use super::table;
use bytes::Bytes;
use http::header::{HeaderValue, CONTENT_LENGTH};
use http::{Method, Request};
use hyper::body::Body as _;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, Instant};

/// All copies together may have so many KiB, heads and bodies that are not whole yet included.
const ROOM_KIB: usize = 64 << 10;

/// A copy counts for so many KiB beside its body: connection, task, head.
const OVERHEAD_KIB: u32 = 64;

/// A larger body is not copied.
const LARGEST: usize = 1 << 20;

/// So long a copy may take, from its sending to the end of its answer.
const LONGEST: Duration = Duration::from_secs(30);

/// Where a share of the requests goes too.
#[derive(Debug)]
pub(super) struct Mirror {
    /// The cluster's number.
    pub(super) cluster: usize,
    numerator: u32,
    denominator: u32,
}

impl Mirror {
    pub(super) fn compile(
        told: &table::Mirror,
        clusters: &BTreeMap<&str, usize>,
        at: &str,
    ) -> Result<Self, String> {
        let cluster = clusters.get(told.cluster.as_str());
        let cluster = *cluster.ok_or_else(|| format!("{at}: there is no cluster {:?}.", told.cluster))?;
        if told.denominator == 0 {
            return Err(format!("{at}.denominator: must not be 0."));
        }
        Ok(Self { cluster, numerator: told.numerator, denominator: told.denominator })
    }

    /// Whether this request is one of those.
    pub(super) fn draw(&self) -> bool {
        self.numerator >= self.denominator || fastrand::u32(..self.denominator) < self.numerator
    }
}

/// The memory that copies have.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }
}

/// Copies of one request whose body is not whole yet.
pub(super) struct Copies {
    gateway: Arc<Gateway>,
    state: Mutex<Option<Gathering>>,
}

struct Gathering {
    copies: Vec<Copy>,
    body: Vec<u8>,
    permit: OwnedSemaphorePermit,
}

/// A copy, but for its body.
struct Copy {
    cluster: Arc<Cluster>,
    http2: bool,
    head: Request<()>,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Copies")
    }
}

impl Copies {
    /// Copies for these clusters; `head` makes the request as it is over HTTP/2, or not. Nothing where there is no
    /// room.
    pub(super) fn begin(
        gateway: &Arc<Gateway>,
        goals: Vec<(Arc<Cluster>, bool)>,
        head: impl Fn(bool) -> Request<()>,
    ) -> Option<Arc<Self>> {
        let kib = OVERHEAD_KIB * goals.len() as u32;
        let Ok(permit) = Arc::clone(&gateway.mirrors.0).try_acquire_many_owned(kib) else {
            gateway.metrics.mirrors_dropped.fetch_add(goals.len() as u64, Relaxed);
            return None;
        };
        let copies = goals.into_iter().map(|(cluster, http2)| Copy { cluster, http2, head: head(http2) });
        let gathering = Gathering { copies: copies.collect(), body: Vec::new(), permit };
        let state = Mutex::new(Some(gathering));
        Some(Arc::new(Self { gateway: Arc::clone(gateway), state }))
    }

    /// A part of the body has gone by.
    pub(super) fn part(&self, part: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gathering) = &mut *state else { return };
        let kib = u32::try_from(part.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.gateway.mirrors.0);
        let more = (gathering.body.len() + part.len() <= LARGEST)
            .then(|| room.try_acquire_many_owned(kib).ok())
            .flatten();
        if let Some(more) = more {
            gathering.permit.merge(more);
            gathering.body.extend_from_slice(part);
        } else {
            self.gateway.metrics.mirrors_dropped.fetch_add(gathering.copies.len() as u64, Relaxed);
            *state = None;
        }
    }

    /// The body is whole: sends them.
    pub(super) fn whole(&self) {
        let Some(gathering) = self.state.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let body = Bytes::from(gathering.body);
        let permit = Arc::new(gathering.permit);
        for copy in gathering.copies {
            let (gateway, body, permit) = (Arc::clone(&self.gateway), body.clone(), Arc::clone(&permit));
            gateway.metrics.mirrors.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let sent = timeout(LONGEST, copy.send(&gateway, body)).await;
                if !matches!(sent, Ok(Some(()))) {
                    gateway.metrics.mirrors_failed.fetch_add(1, Relaxed);
                }
                drop(permit);
            });
        }
    }

    /// The same, with a body that is here at once.
    pub(super) fn send(&self, body: &[u8]) {
        self.part(body);
        self.whole();
    }
}

impl Copy {
    async fn send(self, gateway: &Gateway, body: Bytes) -> Option<()> {
        let Choice::Endpoint(endpoint) = self.cluster.choose(None) else { return None };
        let _under_way = UnderWay::begin(&self.cluster, gateway.started, Instant::now());
        let load = endpoint.enter();
        let mut request = self.head.map(|()| Outgoing::Kept(body));
        let connect = async {
            let connecting = TcpStream::connect(endpoint.address);
            let Ok(Ok(stream)) = timeout(gateway.limits.connect_timeout, connecting).await else {
                self.cluster.refused(&endpoint);
                return None;
            };
            let _ = stream.set_nodelay(true);
            self.cluster.connected(&endpoint);
            Some(stream)
        };
        if self.http2 {
            let mut connection = if let Some(shared) = endpoint.pool.share(false) {
                shared
            } else {
                let opened = Http2::open(connect.await?).await.ok()?;
                endpoint.pool.put_shared(&opened);
                opened
            };
            let _stream = connection.enter();
            let mut answer = connection.send(request).await.ok()?.into_body();
            while let Some(frame) = poll_fn(|task| answer.poll_alone(task)).await {
                frame.ok()?;
            }
        } else {
            if matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
                && request.body().is_end_stream()
            {
                request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            let mut connection = match endpoint.pool.take(IDLE).await {
                Some(kept) => kept,
                None => Http1::open(connect.await?),
            };
            let mut answer = connection.send(request).await.ok()?.into_body();
            discard(&mut connection, &mut answer).await?;
            if poll_fn(|task| std::task::Poll::Ready(connection.is_usable(task))).await {
                load.0.pool.put(connection);
            }
        }
        Some(())
    }
}

async fn discard(connection: &mut Http1, answer: &mut Answer) -> Option<()> {
    while !answer.is_end_stream() {
        match poll_fn(|task| connection.poll_frame(answer, task)).await {
            None => break,
            Some(frame) => drop(frame.ok()?),
        }
    }
    Some(())
}

/// Counts of copies, for metrics.
pub(super) fn counts(metrics: &Metrics) -> [(&'static str, u64); 3] {
    [
        ("modelport_gateway_mirrored_total", metrics.mirrors.load(Relaxed)),
        ("modelport_gateway_mirror_failures_total", metrics.mirrors_failed.load(Relaxed)),
        ("modelport_gateway_mirrors_dropped_total", metrics.mirrors_dropped.load(Relaxed)),
    ]
}
