//! Calling a model on the I/O thread, where its calls are short: handing a batch to another thread and back costs two
//! wake-ups, more than such a call.

use super::queue::{Queue, Work};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;

/// How long calls may take on average, in nanoseconds.
const SHORT: u32 = 100_000;
/// Where a model begins, as if it were slow: some twenty short calls make it one that is called here.
const UNKNOWN: u32 = 16 * SHORT;
/// The share of one call in the average.
const SHARE: u32 = 8;

/// Answers a piece of work, on the thread that calls this.
pub type Caller = Arc<dyn Fn(Work) + Send + Sync>;

/// How long a model's calls take: a moving average.
#[derive(Debug)]
pub(super) struct Usual(AtomicU32);

impl Default for Usual {
    fn default() -> Self {
        Self(AtomicU32::new(UNKNOWN))
    }
}

impl Usual {
    pub(super) fn see(&self, took: Duration) {
        let took = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
        let before = self.0.load(Relaxed);
        // Two threads may lose one of two calls to each other, which is no matter.
        self.0.store(before - before / SHARE + took / SHARE, Relaxed);
    }

    pub(super) fn is_short(&self) -> bool {
        self.0.load(Relaxed) < SHORT
    }
}

/// A model to be called on this thread. Nobody else takes its requests while this exists.
pub struct Here {
    queue: Arc<Queue>,
    caller: Caller,
}

impl Here {
    pub(super) fn new(queue: Arc<Queue>, caller: Caller) -> Self {
        Self { queue, caller }
    }

    /// Requests that wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.queue.depth()
    }

    /// Whether a batch is full.
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Calls it with what is queued.
    pub fn call(self) {
        if let Some(work) = self.queue.take_here() {
            (self.caller)(work);
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.queue.leave();
    }
}

impl std::fmt::Debug for Here {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Here").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_short_after_some_calls_and_no_longer_after_a_slow_one() {
        let usual = Usual::default();
        usual.see(Duration::from_micros(10));
        assert!(!usual.is_short(), "one call says little");
        (0..40).for_each(|_| usual.see(Duration::from_micros(10)));
        assert!(usual.is_short());
        usual.see(Duration::from_millis(2));
        assert!(!usual.is_short());
        usual.see(Duration::from_secs(3600));
        (0..100).for_each(|_| usual.see(Duration::from_micros(99)));
        assert!(usual.is_short());
    }
}
