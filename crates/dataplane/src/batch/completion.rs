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

#[derive(Debug, Default)]
struct Done {
    answers: Vec<(Reply, Outcome)>,
    /// The I/O thread will look by itself.
    held: bool,
}

/// Answers not yet handed to their connections.
#[derive(Debug, Default)]
pub struct Completions {
    done: Mutex<Done>,
    some: Notify,
}

impl Completions {
    /// Leaves answers for the I/O thread and wakes it once, unless it looks by itself.
    pub fn push(&self, answers: impl IntoIterator<Item = (Reply, Outcome)>) {
        let mut done = self.lock();
        done.answers.extend(answers);
        let held = done.held;
        drop(done);
        if !held {
            self.some.notify_one();
        }
    }

    /// The I/O thread leaves the runtime, and hands out what has come when it is back.
    pub(crate) fn hold(&self) {
        self.lock().held = true;
    }

    /// Hands out what has come.
    pub(crate) fn hand_out(&self) {
        let mut done = self.lock();
        done.held = false;
        let answers = std::mem::take(&mut done.answers);
        drop(done);
        for (reply, outcome) in answers {
            // The receiver may be gone: then nobody waits for this answer any more.
            let _ = reply.send(outcome);
        }
    }

    /// Hands answers out for ever; runs as a task of the I/O thread.
    pub async fn deliver(&self) {
        loop {
            self.some.notified().await;
            self.hand_out();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
