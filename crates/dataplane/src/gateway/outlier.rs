//! Endpoints on which request after request fails: left alone for a while, which grows each time.

use http::StatusCode;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;

/// An endpoint is left alone no longer than this.
const LONGEST: Duration = Duration::from_secs(300);

/// How an endpoint has done.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Failures one after the other.
    failures: AtomicU32,
    /// How often it was left alone; one less for each time that it was good for as long.
    times: AtomicU32,
    /// Milliseconds since the beginning of time here.
    until: AtomicU64,
}

/// Whether an answer with this status speaks against its endpoint. What a model says of an input (500) does not.
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 502..=504)
}

fn now_ms() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    // So that 0 is past.
    BEGINNING.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

impl Record {
    /// It is left alone now.
    pub(super) fn is_out(&self) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && now_ms() < until
    }

    /// One more failure; true where there were as many as it takes.
    pub(super) fn failed(&self, most: u32) -> bool {
        self.failures.fetch_add(1, Relaxed) + 1 >= most
    }

    /// It has answered.
    pub(super) fn answered(&self) {
        // Mostly so: no write that other threads would feel.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.times.store(0, Relaxed);
        }
    }

    /// Leaves it alone from now on, for `first` the first time.
    pub(super) fn eject(&self, first: Duration) {
        self.failures.store(0, Relaxed);
        let times = self.times.fetch_add(1, Relaxed) + 1;
        let pause = first.saturating_mul(times).min(LONGEST);
        self.until.store(now_ms() + pause.as_millis() as u64, Relaxed);
    }
}
