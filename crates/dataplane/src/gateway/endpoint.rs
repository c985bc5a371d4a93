//! One endpoint of a cluster: its connections, how busy it is, and whether it refuses.

use super::outlier::Record;
use super::pool::{self, Pool};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// How long an endpoint that refused is left alone, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// With so many requests at once, an endpoint is crowded: sharing a connection, they share reads and writes.
const CROWD: usize = 6;

/// So many requests more are taken for part of a crowd: it seldom comes and goes between two of them.
const AFTER_CROWD: u32 = 64;

/// One address of a cluster.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) pool: Pool,
    pub(super) record: Record,
    in_flight: AtomicUsize,
    /// So many of the next requests are still taken for part of a crowd.
    crowded: AtomicU32,
    refuses: AtomicBool,
    pause: RwLock<Pause>,
}

/// When an endpoint that refuses is asked again.
#[derive(Debug, Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            pool: Pool::default(),
            record: Record::default(),
            in_flight: AtomicUsize::new(0),
            crowded: AtomicU32::new(0),
            refuses: AtomicBool::new(false),
            pause: RwLock::default(),
        }
    }

    /// Requests that it has.
    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Whether a request to it is one of many at once, though not of more than have room, or comes soon after them. To be
    /// asked once a request.
    pub(super) fn is_crowded(&self) -> bool {
        let load = self.load();
        if load >= CROWD {
            self.crowded.store(AFTER_CROWD, Relaxed);
            return load <= pool::ROOM;
        }
        let left = self.crowded.load(Relaxed);
        if left > 0 {
            // Two at once may count as one: it is a guess anyway.
            self.crowded.store(left - 1, Relaxed);
        }
        left > 0
    }

    /// It refused the last connection.
    pub(super) fn refuses(&self) -> bool {
        self.refuses.load(Relaxed)
    }

    /// It refused the last connection, and not long ago.
    pub(super) fn refuses_now(&self) -> bool {
        self.refuses() && self.again_at().is_some_and(|again| again > Instant::now())
    }

    /// When it may be tried again.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.pause.read().unwrap_or_else(PoisonError::into_inner).until
    }

    /// Whether the caller is the one who may try it again now; others wait for how that ends.
    pub(super) fn probe(&self, now: Instant) -> bool {
        let mut pause = self.pause.write().unwrap_or_else(PoisonError::into_inner);
        match pause.until {
            Some(until) if until > now => false,
            Some(_) => {
                pause.until = Some(now + LONGEST_PAUSE);
                true
            }
            None => true, // it has recovered meanwhile
        }
    }

    /// It refused a connection.
    pub(super) fn refuse(&self) {
        let mut pause = self.pause.write().unwrap_or_else(PoisonError::into_inner);
        pause.length = (pause.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        pause.until = Some(Instant::now() + pause.length);
        self.refuses.store(true, Relaxed);
    }

    /// It took a connection. True if it had refused before.
    pub(super) fn recover(&self) -> bool {
        if !self.refuses() {
            return false;
        }
        *self.pause.write().unwrap_or_else(PoisonError::into_inner) = Pause::default();
        self.refuses.swap(false, Relaxed)
    }

    /// Counts a request to it.
    pub(super) fn enter(self: &Arc<Self>) -> Load {
        self.in_flight.fetch_add(1, Relaxed);
        Load(Arc::clone(self))
    }
}

/// A request that an endpoint has.
#[derive(Debug)]
pub(super) struct Load(pub(super) Arc<Endpoint>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
