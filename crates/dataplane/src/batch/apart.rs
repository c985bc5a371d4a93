//! Requests that are answered apart from the batch that they were taken with, as async models answer theirs.

use super::completion::{Outcome, Reply};
use super::queue::Queue;
use crate::error::{Error, Kind, Result};
use crate::message::Answer;
use crate::trace::BatchSize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of a queue.
#[derive(Default)]
pub(super) struct Apart {
    open: HashMap<u64, Open>,
    next: u64,
}

struct Open {
    /// `None`: the watchdog has answered, and whoever holds the request has not let it go yet.
    reply: Option<Reply>,
    taken_at: Instant,
    rows: usize,
}

impl Apart {
    /// Answers those that have taken longer than `timeout`. They should be let go of then; true: one was not,
    /// for as long again.
    pub(super) fn expire(
        &mut self,
        timeout: Duration,
        now: Instant,
        done: &mut Vec<(Reply, Outcome)>,
    ) -> bool {
        let mut is_lost = false;
        self.open.retain(|_, open| {
            let taken = now - open.taken_at;
            if taken <= timeout {
                return true;
            }
            if let Some(reply) = open.reply.take() {
                done.push((reply, too_late(timeout, open.taken_at, now, open.rows)));
            }
            is_lost |= taken > timeout * 2;
            taken <= timeout * 2 // told once
        });
        is_lost
    }
}

/// What a request gets whose model takes too long.
pub(super) fn too_late(timeout: Duration, taken_at: Instant, done_at: Instant, rows: usize) -> Outcome {
    let seconds = timeout.as_secs_f64();
    let text = format!("The model did not answer within the predict timeout ({seconds} s).");
    let batch = BatchSize { requests: 1, rows };
    Outcome { answer: Err(Error::new(Kind::Timeout, text)), taken_at, done_at, batch }
}

/// One of them.
#[derive(Debug)]
pub struct Detached {
    queue: Arc<Queue>,
    id: u64,
}

impl Queue {
    /// Takes one request out of a piece of work, to be answered later from anywhere.
    pub fn detach(self: &Arc<Self>, ticket: u64, index: usize) -> Option<Detached> {
        let mut inner = self.lock();
        let running = inner.running.get_mut(&ticket)?;
        let taken_at = running.taken_at;
        let (reply, rows) = running.replies.get_mut(index).and_then(Option::take)?;
        if running.replies.iter().all(Option::is_none) {
            inner.running.remove(&ticket);
        }
        let id = inner.apart.next;
        inner.apart.next += 1;
        inner.apart.open.insert(id, Open { reply: Some(reply), taken_at, rows });
        Some(Detached { queue: Arc::clone(self), id })
    }
}

impl Detached {
    /// Sends the answer, unless it comes too late.
    pub fn answer(self, answer: Result<Answer>) {
        let Some(Open { reply: Some(reply), taken_at, rows }) = self.take() else { return };
        let batch = BatchSize { requests: 1, rows };
        self.queue.completions.push([(reply, Outcome { answer, taken_at, done_at: Instant::now(), batch })]);
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_cancelled(&self) -> bool {
        let inner = self.queue.lock();
        inner.apart.open.get(&self.id).and_then(|open| open.reply.as_ref()).is_none_or(Reply::is_closed)
    }

    fn take(&self) -> Option<Open> {
        self.queue.lock().apart.open.remove(&self.id)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        drop(self.take());
    }
}
