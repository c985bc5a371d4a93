//! How many rows a batch may have, so that predicting it takes no longer than was asked for.
//!
//! Found by trying, as in Clipper (Crankshaw et al., NSDI 2017): more rows as long as full batches are done in time,
//! fewer at once where one is not. Nothing is assumed of how the time grows with the rows.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The limit of one model's batches.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    objective: Duration,
    rows: AtomicUsize,
}

impl Pace {
    /// At most `most` rows; with an objective, which is not zero, as many as are predicted within it.
    pub(super) fn new(most: usize, objective: Duration) -> Self {
        let first = if objective.is_zero() { most } else { 1 };
        Self { most, objective, rows: AtomicUsize::new(first) }
    }

    /// Most rows of the next batch.
    pub(super) fn rows(&self) -> usize {
        self.rows.load(Relaxed)
    }

    /// Takes note of how long a batch took.
    pub(super) fn see(&self, rows: usize, took: Duration) {
        if !self.objective.is_zero() {
            let now = self.rows();
            let next = next(now, rows, took.as_secs_f64() / self.objective.as_secs_f64()).clamp(1, self.most);
            if next != now {
                self.rows.store(next, Relaxed);
            }
        }
    }
}

/// The limit after a batch of so many rows, which took that part of the objective.
fn next(limit: usize, rows: usize, part: f64) -> usize {
    if part > 1.0 {
        // As many as would have been in time had each row the same share, and a little less.
        return limit.min((rows as f64 * 0.9 / part) as usize).max(1);
    }
    // A batch that had room left says nothing of larger ones.
    let full = rows >= limit - limit / 4;
    match (full, part) {
        (true, ..0.5) => limit * 2,
        (true, ..0.9) => limit + 1 + limit / 8,
        _ => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the limit comes to rest for a model that takes `fixed + each * rows`, always asked for more.
    fn settled(pace: &Pace, fixed_us: u64, each_us: u64) -> usize {
        let mut largest = 0;
        for turn in 0..400 {
            let rows = pace.rows();
            pace.see(rows, Duration::from_micros(fixed_us + each_us * rows as u64));
            if turn >= 200 {
                largest = largest.max(rows);
            }
        }
        largest
    }

    #[test]
    fn without_an_objective_the_limit_stays() {
        let pace = Pace::new(256, Duration::ZERO);
        pace.see(256, Duration::from_secs(9));
        assert_eq!(pace.rows(), 256);
    }

    #[test]
    fn batches_grow_to_what_is_done_in_time() {
        let objective = Duration::from_millis(10);
        let rows = settled(&Pace::new(256, objective), 2_000, 100);
        assert!((60..=80).contains(&rows), "80 rows take 10 ms, got {rows}");
        assert_eq!(settled(&Pace::new(256, objective), 100, 1), 256, "never more than is allowed");
        assert_eq!(
            settled(&Pace::new(256, objective), 20_000, 1),
            1,
            "a model too slow for it goes on, row by row"
        );
    }

    #[test]
    fn a_model_that_becomes_slow_gets_less_at_once() {
        let pace = Pace::new(256, Duration::from_millis(10));
        settled(&pace, 0, 10);
        let before = pace.rows();
        pace.see(before, Duration::from_millis(100));
        assert!(pace.rows() <= before / 10);
    }

    #[test]
    fn a_batch_with_room_left_raises_nothing() {
        let pace = Pace::new(256, Duration::from_millis(10));
        settled(&pace, 0, 100);
        let before = pace.rows();
        pace.see(1, Duration::from_micros(100));
        assert_eq!(pace.rows(), before);
    }

    proptest! {
        #[test]
        fn the_limit_is_always_one_that_can_be(seen in proptest::collection::vec((0usize..5000, 0u64..1_000_000), 0..50)) {
            let pace = Pace::new(256, Duration::from_millis(10));
            for (rows, us) in seen {
                pace.see(rows, Duration::from_micros(us));
                prop_assert!((1..=256).contains(&pace.rows()));
            }
        }
    }
}
