//! Waking a model's thread when the I/O thread has nothing left to read.
//!
//! A model's thread that the first request wakes makes batches of one. So a push does not wake it: the
//! I/O thread does, just before it goes to sleep itself, when every connection that was ready has been
//! read and decoded. Full queues and waits beyond `PATIENCE` wake at once.

use super::queue::Queue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A request that has waited so long wakes the model's thread even while the I/O thread is busy.
pub(super) const PATIENCE: Duration = Duration::from_micros(200);

/// Queues with requests whose model's thread still sleeps.
#[derive(Debug, Default)]
pub struct Parking {
    pending: Mutex<Vec<Arc<Queue>>>,
}

impl Parking {
    pub(super) fn add(&self, queue: Arc<Queue>) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// To be called by the runtime just before the I/O thread parks.
    pub fn wake_models(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in pending.drain(..) {
            queue.wake();
        }
    }
}
