//! What is counted of a cluster's requests.

use super::budget::Budget;
use super::cluster::Cluster;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use tokio::time::Instant;

/// Numbers for the autoscaler and for metrics.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    /// Requests until the last retry, for the budget.
    budgeted: AtomicU64,
    pub(super) in_flight: AtomicUsize,
    pub(super) held: AtomicUsize,
    pub(super) held_ever: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) connects_failed: AtomicU64,
    /// Request time in nanoseconds: ends less begins, of all that have begun.
    work: AtomicI64,
}

impl Counts {
    /// Requests in the order of seconds that they were under way, in all: their mean concurrency between
    /// two looks is the difference divided by the time between them.
    pub(super) fn concurrency_seconds(&self, since: Instant) -> f64 {
        let now = since.elapsed().as_nanos() as i64;
        let open = self.in_flight.load(Relaxed) as i64;
        (self.work.load(Relaxed) + open * now) as f64 / 1e9
    }

    /// Takes a retry out of the budget.
    pub(super) fn may_retry(&self, budget: &Budget) -> bool {
        let all = self.requests.load(Relaxed);
        let before = self.budgeted.swap(all, Relaxed);
        budget.withdraw(all.saturating_sub(before))
    }
}

/// A request that is under way in a cluster, held or not.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) cluster: Arc<Cluster>,
    since: Instant,
}

impl UnderWay {
    /// `since`: when the gateway started; all times are measured from there.
    pub(super) fn begin(cluster: &Arc<Cluster>, since: Instant, now: Instant) -> Self {
        let counts = &cluster.counts;
        counts.requests.fetch_add(1, Relaxed);
        counts.in_flight.fetch_add(1, Relaxed);
        counts.work.fetch_sub((now - since).as_nanos() as i64, Relaxed);
        Self { cluster: Arc::clone(cluster), since }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let counts = &self.cluster.counts;
        counts.in_flight.fetch_sub(1, Relaxed);
        counts.work.fetch_add(self.since.elapsed().as_nanos() as i64, Relaxed);
    }
}

/// A request that waits for an endpoint.
#[derive(Debug)]
pub(super) struct Held<'a>(&'a Counts);

impl<'a> Held<'a> {
    /// One that was counted.
    pub(super) const fn new(counts: &'a Counts) -> Self {
        Self(counts)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn mean_concurrency_can_be_told_between_two_looks() {
        let since = Instant::now();
        let cluster = Arc::new(Cluster::new("c"));
        let begin = || UnderWay::begin(&cluster, since, Instant::now());
        let first = begin();
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = begin();
        tokio::time::advance(Duration::from_secs(3)).await;
        let seconds = || (cluster.counts.concurrency_seconds(since) * 1000.0).round() / 1000.0;
        assert_eq!(seconds(), 8.0);
        drop(first);
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(second);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(seconds(), 9.0);
    }
}
