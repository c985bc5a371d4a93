//! Calling a model on the I/O thread, where its calls are short: handing a batch to another thread and back costs two
//! wake-ups, more than such a call.

use super::queue::{Queue, Work};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
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

impl Queue {
    /// How the I/O thread may call the model, which has one thread; with nothing, not at all.
    pub fn set_caller(&self, caller: Option<Caller>) {
        // The old one goes after the lock.
        let _old =
            std::mem::replace(&mut *self.caller.lock().unwrap_or_else(PoisonError::into_inner), caller);
    }

    /// Has the I/O thread call the model, if its calls are short and its own thread is not in one.
    pub(super) fn claim(self: &Arc<Self>) -> Option<Here> {
        if !self.usual.is_short() || !self.batching.delay.is_zero() {
            return None;
        }
        let caller = self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let mut inner = self.lock();
        let is_free = inner.sleepers > 0 && inner.running.is_empty() && !inner.here;
        if !is_free || inner.waiting.is_empty() {
            return None;
        }
        inner.here = true;
        inner.wake_pending = false;
        Some(Here::new(Arc::clone(self), caller))
    }

    /// What is queued, for who has claimed it.
    pub(super) fn take_here(&self) -> Option<Work> {
        self.pick(&mut self.lock())
    }

    /// Ends a claim. What is left is for the model's thread.
    pub(super) fn leave(&self) {
        let mut inner = self.lock();
        inner.here = false;
        let left = inner.closed || !inner.waiting.is_empty();
        drop(inner);
        if left {
            self.filled.notify_one();
        }
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
