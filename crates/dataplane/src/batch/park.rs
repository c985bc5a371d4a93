//! Starting a model when the I/O thread has nothing left to read.
//!
//! A model's thread that the first request wakes makes batches of one, and one that takes whatever has
//! come while it predicted makes half a batch, since the clients that it has just answered ask again a
//! moment later. So a push does not wake it, and a thread that becomes free does not take at once: the
//! I/O thread says when, just before it goes to sleep itself, when every answer has been written and
//! every connection that was ready has been read. Full batches, and an I/O thread that does not come to
//! rest within `PATIENCE`, start the model too.

use super::queue::Queue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a free model lets requests wait for an I/O thread that is busy. An answer needs that thread as
/// well, so waiting for it costs little; this is the work of a few hundred small requests.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);

/// Queues with requests whose model's thread waits for the I/O thread to come to rest.
#[derive(Debug, Default)]
pub struct Parking {
    pending: Mutex<Vec<Arc<Queue>>>,
    at_rest: AtomicBool,
}

impl Parking {
    pub(super) fn add(&self, queue: Arc<Queue>) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// Whether the I/O thread sleeps, with nothing given to it since.
    pub(super) fn is_at_rest(&self) -> bool {
        self.at_rest.load(Ordering::Acquire)
    }

    /// The I/O thread has something to do.
    pub fn stir(&self) {
        self.at_rest.store(false, Ordering::Release);
    }

    /// To be called by the runtime just before the I/O thread parks; `stir` when it wakes.
    pub fn rest(&self) {
        self.at_rest.store(true, Ordering::Release);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in pending.drain(..) {
            queue.wake();
        }
    }
}
