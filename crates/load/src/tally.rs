//! What a run saw: counts, errors by kind, latencies.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use crate::exchange::Failure;

/// Longest latency that is told apart; longer ones count as this.
const LONGEST_NS: u64 = 600_000_000_000;

/// The part of a run that counts: after the warm-up, before the end.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// First instant that counts.
    pub from: Instant,
    /// First instant that no longer counts.
    pub until: Instant,
}

impl Window {
    /// Whether `at` counts.
    pub fn holds(&self, at: Instant) -> bool {
        self.from <= at && at < self.until
    }
}

/// Shared by all workers of a run, which live on one thread: the lock is never waited for.
#[derive(Debug)]
pub struct Tally {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    latency: Histogram<u64>,
    sent_late: Histogram<u64>,
    errors: BTreeMap<String, ErrorCount>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct ErrorCount {
    count: u64,
    first: String,
}

impl Tally {
    /// An empty one.
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        let histogram = Histogram::new_with_max(LONGEST_NS, 3)?;
        let sent_late = histogram.clone();
        Ok(Self {
            seen: Mutex::new(Seen { latency: histogram, sent_late, errors: BTreeMap::new(), last: None }),
        })
    }

    /// A right answer, `latency` after the request was due, at `now`.
    pub fn success(&self, latency: Duration, now: Instant) {
        self.with(|seen| {
            seen.latency.saturating_record(nanoseconds(latency));
            seen.last = Some(now);
        });
    }

    /// A request without a right answer.
    pub fn failure(&self, failure: &Failure) {
        self.with(|seen| {
            let kind = failure.kind();
            let entry = seen
                .errors
                .entry(kind)
                .or_insert_with(|| ErrorCount { count: 0, first: failure.to_string() });
            entry.count += 1;
        });
    }

    /// How long after it was due an open-loop request left: near zero, or the generator (or its
    /// pool of connections) was the bottleneck.
    pub fn sent(&self, late: Duration) {
        self.with(|seen| seen.sent_late.saturating_record(nanoseconds(late)));
    }

    /// The figures, `open` with how punctual the requests were.
    pub fn report(&self, window: Window, open: bool) -> Report {
        self.with(|seen| {
            // An overloaded open loop finishes its requests after the window: its rate is lower.
            let until = seen.last.map_or(window.until, |last| last.max(window.until));
            let seconds = (until - window.from).as_secs_f64();
            let requests = seen.latency.len();
            Report {
                requests,
                errors: seen.errors.values().map(|error| error.count).sum(),
                errors_by_kind: seen.errors.iter().map(|(kind, error)| (kind.clone(), error.count)).collect(),
                first_errors: seen
                    .errors
                    .iter()
                    .map(|(kind, error)| (kind.clone(), error.first.clone()))
                    .collect(),
                seconds,
                requests_per_s: requests as f64 / seconds,
                latency_us: Quantiles::of(&seen.latency),
                sent_late_us: open.then(|| Quantiles::of(&seen.sent_late)),
            }
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is printed, as JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Right answers within the window.
    pub requests: u64,
    /// All other outcomes within the window.
    pub errors: u64,
    /// The same, by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// The first error of each kind, in words.
    pub first_errors: BTreeMap<String, String>,
    /// Length of the window.
    pub seconds: f64,
    /// Right answers a second.
    pub requests_per_s: f64,
    /// From the moment a request was due to its answer; in a closed loop it is due when it is sent.
    pub latency_us: Quantiles,
    /// Open loop only: from the moment a request was due to when it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_late_us: Option<Quantiles>,
}

/// Microseconds.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // the names say it
pub struct Quantiles {
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let us = |nanoseconds: u64| (nanoseconds as f64 / 100.0).round() / 10.0;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        let min = if histogram.is_empty() { 0.0 } else { us(histogram.min()) };
        Self { min, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: us(histogram.max()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: Instant, seconds: u64) -> Window {
        Window { from, until: from + Duration::from_secs(seconds) }
    }

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_in_microseconds() -> Result<(), hdrhistogram::CreationError> {
        let (tally, start) = (Tally::new()?, Instant::now());
        for milliseconds in 1..=100 {
            tally.success(Duration::from_millis(milliseconds), start);
        }
        let report = tally.report(window(start, 2), false);
        assert_eq!(report.requests, 100);
        assert!((report.requests_per_s - 50.0).abs() < 1e-9);
        assert!((report.latency_us.p50 / 50_000.0 - 1.0).abs() < 0.001, "{:?}", report.latency_us);
        assert!((report.latency_us.min / 1_000.0 - 1.0).abs() < 0.001, "{:?}", report.latency_us);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn answers_after_the_window_lower_the_rate() -> Result<(), hdrhistogram::CreationError> {
        let (tally, start) = (Tally::new()?, Instant::now());
        tally.success(Duration::from_secs(4), start + Duration::from_secs(4));
        assert!((tally.report(window(start, 2), true).seconds - 4.0).abs() < 1e-9);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_counted_by_kind_with_the_first_in_words() -> Result<(), hdrhistogram::CreationError> {
        let (tally, start) = (Tally::new()?, Instant::now());
        tally.failure(&Failure::Status { status: 503, body: "busy".into() });
        tally.failure(&Failure::Status { status: 503, body: "still busy".into() });
        tally.failure(&Failure::Closed);
        let report = tally.report(window(start, 1), false);
        assert_eq!((report.requests, report.errors), (0, 3));
        assert_eq!(report.errors_by_kind.get("status_503"), Some(&2));
        assert_eq!(report.first_errors.get("status_503").map(String::as_str), Some("status 503: busy"));
        assert_eq!(report.latency_us.max, 0.0);
        Ok(())
    }
}
