//! How many requests may be sent again: a share of those that come, and a few a second whatever comes, so
//! that a dying cluster is not finished off by retries.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of a hundred requests, so many may be sent again.
const SHARE_PERCENT: u64 = 20;
/// A retry costs so much; a request brings `SHARE_PERCENT`, a second `PER_SECOND` retries.
const COST: u64 = 100;
const PER_SECOND: u64 = 10;
/// So many retries may be saved up.
const LARGEST: u64 = 100 * COST;

/// What is left for retries.
#[derive(Debug)]
pub(super) struct Budget {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u64,
    filled: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { left: PER_SECOND * COST, filled: Instant::now() }) }
    }

    /// Takes one retry out, if there is one. `requests` have come since the last call.
    pub(super) fn withdraw(&self, requests: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = (now - state.filled).as_millis() as u64 * PER_SECOND * COST / 1000;
        // What is too short to earn anything is not lost.
        if earned > 0 {
            state.filled = now.max(state.filled + Duration::from_millis(earned * 1000 / (PER_SECOND * COST)));
        }
        state.left = (state.left + earned + requests.saturating_mul(SHARE_PERCENT)).min(LARGEST);
        match state.left.checked_sub(COST) {
            Some(left) => {
                state.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(budget: &Budget) -> usize {
        (0..1000).take_while(|_| budget.withdraw(0)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_a_second_are_free() {
        let budget = Budget::new();
        assert_eq!(drawn(&budget), 10);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(drawn(&budget), 5);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(drawn(&budget), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_earn_a_share() {
        let budget = Budget::new();
        assert_eq!(drawn(&budget), 10);
        assert!(budget.withdraw(50)); // ten, of which this takes one
        assert_eq!(drawn(&budget), 9);
    }
}
