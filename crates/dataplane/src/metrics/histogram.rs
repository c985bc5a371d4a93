//! A histogram with fixed buckets. Observing is a short search and two relaxed additions; bucket counts
//! are added up when they are read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of times, in nanoseconds: 1 µs to 10 s. From 5 ms on they are the Prometheus clients'
/// default buckets, so that one histogram serves KServe's dashboards as well.
pub(super) static SECONDS: [u64; 25] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// The first of the Prometheus clients' default buckets, in nanoseconds.
pub(super) const DEFAULTS_FROM: u64 = 5_000_000;

/// Upper bounds of rows and requests in a batch.
pub(super) static ROWS: [u64; 13] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// How many fell into each bucket; the last has no upper bound.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Of times in nanoseconds.
    pub(crate) fn seconds() -> Self {
        Self::new(&SECONDS)
    }

    pub(super) fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: u64) {
        let index = self.bounds.partition_point(|&bound| bound < value);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// Upper bounds with the number of values up to each, and the number of all values.
    pub(crate) fn cumulative(&self) -> (Vec<(u64, u64)>, u64) {
        let mut so_far = 0;
        let mut counts = self.buckets.iter().map(|bucket| {
            so_far += bucket.load(Relaxed);
            so_far
        });
        let bounded = self.bounds.iter().copied().zip(counts.by_ref()).collect();
        let all = counts.next().unwrap_or_default();
        (bounded, all)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = Histogram::new(&ROWS);
        for value in [0, 1, 2, 3, 4096, 4097] {
            histogram.observe(value);
        }
        let (bounded, all) = histogram.cumulative();
        assert_eq!(bounded[..3], [(1, 2), (2, 3), (4, 4)]);
        assert_eq!(bounded.last().unwrap(), &(4096, 5));
        assert_eq!((all, histogram.count(), histogram.sum()), (6, 6, 8199));
    }

    #[test]
    fn bounds_ascend_and_include_the_prometheus_defaults() {
        assert!(SECONDS.is_sorted() && ROWS.is_sorted());
        let defaults: Vec<u64> = SECONDS.iter().copied().filter(|&bound| bound >= DEFAULTS_FROM).collect();
        let expected = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10_000];
        assert_eq!(defaults, expected.map(|ms| ms * 1_000_000));
    }
}
