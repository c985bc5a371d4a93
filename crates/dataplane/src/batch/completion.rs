//! Answers on their way back from a model's thread to the connections.
//!
//! A model's thread must not wake the I/O thread once an answer (an `eventfd` write each, which cost
//! 43% of throughput in a prototype) but once a batch: it leaves the answers here, and one task on the
//! I/O thread hands them out with wake-ups that stay inside the runtime.

use crate::error::Result;
use crate::message::Answer;
use crate::trace::BatchSize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{oneshot, Notify};

/// A model's answer and when its stages ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the model said.
    pub answer: Result<Answer>,
    /// When the request left the queue.
    pub taken_at: Instant,
    /// When the model had answered.
    pub done_at: Instant,
    /// The requests that were answered with it.
    pub batch: BatchSize,
}

/// Where one answer goes. Dropping it unanswered tells the client that we failed.
pub(super) type Reply = oneshot::Sender<Outcome>;

/// Answers not yet handed to their connections.
#[derive(Debug, Default)]
pub struct Completions {
    done: Mutex<Vec<(Reply, Outcome)>>,
    some: Notify,
}

impl Completions {
    /// Leaves answers for the I/O thread and wakes it once.
    pub fn push(&self, answers: impl IntoIterator<Item = (Reply, Outcome)>) {
        self.lock().extend(answers);
        self.some.notify_one();
    }

    /// Hands answers out for ever; runs as a task of the I/O thread.
    pub async fn deliver(&self) {
        loop {
            self.some.notified().await;
            let done = std::mem::take(&mut *self.lock());
            for (reply, outcome) in done {
                // The receiver may be gone: then nobody waits for this answer any more.
                let _ = reply.send(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Reply, Outcome)>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
