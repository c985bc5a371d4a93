//! When requests arrive in an open loop.

use std::time::Duration;

/// Arrival times of a Poisson process, as offsets from the start of the run; it never ends.
///
/// The same rate and seed give the same arrivals, so that two servers see the same bursts.
#[derive(Debug, Clone)]
pub struct Poisson {
    random: fastrand::Rng,
    mean_gap_s: f64,
    at_s: f64,
}

impl Poisson {
    /// Arrivals at `rate` a second on average.
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), mean_gap_s: 1.0 / rate, at_s: 0.0 }
    }
}

impl Iterator for Poisson {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // f64() is in [0, 1), so that 1 - u is in (0, 1] and the logarithm is finite.
        self.at_s -= (1.0 - self.random.f64()).ln() * self.mean_gap_s;
        Some(Duration::from_secs_f64(self.at_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let first: Vec<_> = Poisson::new(1000.0, 7).take(100).collect();
        let second: Vec<_> = Poisson::new(1000.0, 7).take(100).collect();
        let other: Vec<_> = Poisson::new(1000.0, 8).take(100).collect();
        assert_eq!(first, second);
        assert_ne!(first, other);
    }

    #[test]
    fn arrivals_never_go_back_in_time() {
        let arrivals: Vec<_> = Poisson::new(50_000.0, 1).take(10_000).collect();
        assert!(arrivals.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn the_mean_gap_is_one_over_the_rate() {
        let last = Poisson::new(2000.0, 3).nth(199_999).unwrap_or_default();
        assert!((last.as_secs_f64() - 100.0).abs() < 1.0, "200,000 arrivals at 2,000/s took {last:?}");
    }

    /// What tells Poisson arrivals from evenly spaced ones: the count in a second varies by its
    /// square root, and gaps longer than three means make up e^-3 = 5 %.
    #[test]
    fn gaps_are_exponential() {
        let arrivals: Vec<_> = Poisson::new(1000.0, 5).take(100_000).collect();
        let long = arrivals.windows(2).filter(|pair| pair[1] > pair[0] + Duration::from_millis(3)).count();
        assert!((4_700..5_300).contains(&long), "{long} of 100,000 gaps were longer than three means");
    }
}
