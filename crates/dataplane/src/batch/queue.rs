//! The bounded queue before one model: many connections push, the model's threads take what is there.

use super::apart::{too_late, Apart};
use super::completion::{Completions, Outcome, Reply};
use super::here::{Caller, Usual};
use super::pace::Pace;
use super::park::{Parking, PATIENCE};
use crate::error::{Error, Kind, Result};
use crate::message::{Answer, Call, Payload};
use crate::trace::BatchSize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How a queue forms batches.
#[derive(Clone, Debug)]
pub struct Batching {
    /// Most rows a batch; 1 switches batching off.
    pub max_rows: usize,
    /// How long to wait for more rows once one is there. Zero: take what is queued, never wait.
    pub delay: Duration,
    /// No more rows than are predicted in so long. Zero: `max_rows` alone counts.
    pub latency: Duration,
    /// Most requests that wait; one more is refused with 429.
    pub queue_limit: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_rows: 256, delay: Duration::ZERO, latency: Duration::ZERO, queue_limit: 1024 }
    }
}

/// Of a request that never reached the model.
const ALONE: BatchSize = BatchSize { requests: 1, rows: 0 };

pub(super) struct Waiting {
    call: Call,
    reply: Reply,
    queued_at: Instant,
}

pub(super) struct Running {
    pub(super) taken_at: Instant,
    /// Each with its rows.
    pub(super) replies: Vec<Option<(Reply, usize)>>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) running: HashMap<u64, Running>,
    pub(super) sleepers: usize,
    pub(super) wake_pending: bool,
    /// The I/O thread calls the model.
    pub(super) here: bool,
    pub(super) closed: bool,
    /// What is answered apart from the work that it was taken with.
    pub(super) apart: Apart,
    next_ticket: u64,
}

/// What a model's thread took: requests, and the ticket under which their answers are returned.
#[derive(Debug)]
pub struct Work {
    /// The requests, oldest first; never empty.
    pub calls: Vec<Call>,
    /// Names this work in `complete`, `detach` and in the watchdog's eyes.
    pub ticket: u64,
}

/// Why a queue did not take a request.
#[derive(Debug)]
pub enum Refused {
    /// It is closed. The request comes back: the model's successor may take it.
    Closed(Box<Call>),
    /// So many requests wait already.
    Full {
        /// Requests that wait.
        waiting: usize,
    },
}

/// The queue before one model.
pub struct Queue {
    pub(super) batching: Batching,
    pace: Pace,
    pub(super) usual: Usual,
    pub(super) caller: Mutex<Option<Caller>>,
    inner: Mutex<Inner>,
    pub(super) filled: Condvar,
    pub(super) completions: Arc<Completions>,
    parking: Arc<Parking>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Queue").field("batching", &self.batching).finish_non_exhaustive()
    }
}

impl Queue {
    /// An empty queue whose answers go through `completions` and whose wake-ups through `parking`.
    pub fn new(batching: Batching, completions: Arc<Completions>, parking: Arc<Parking>) -> Arc<Self> {
        let pace = Pace::new(batching.max_rows, batching.latency);
        let (usual, caller) = (Usual::default(), Mutex::default());
        let (inner, filled) = (Mutex::default(), Condvar::new());
        Arc::new(Self { batching, pace, usual, caller, inner, filled, completions, parking })
    }

    /// The limits that this queue was made with.
    pub fn batching(&self) -> &Batching {
        &self.batching
    }

    /// Takes note of how long so many rows took to predict together.
    pub fn predicted(&self, rows: usize, took: Duration) {
        self.pace.see(rows, took);
        self.usual.see(took);
    }

    /// Requests that wait now.
    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether more would not fit into the next batch.
    pub(super) fn is_full(&self) -> bool {
        self.depth() >= self.pace.rows()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting.is_empty() && inner.running.is_empty()
    }

    /// Queues a request that comes now; its answer comes by the receiver.
    pub fn push(
        self: &Arc<Self>,
        call: Call,
        now: Instant,
    ) -> std::result::Result<oneshot::Receiver<Outcome>, Refused> {
        let (reply, answer) = oneshot::channel();
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed(Box::new(call)));
        }
        if inner.waiting.len() >= self.batching.queue_limit {
            return Err(Refused::Full { waiting: inner.waiting.len() });
        }
        inner.waiting.push_back(Waiting { call, reply, queued_at: now });
        if inner.sleepers == 0 {
            return Ok(answer); // a busy thread takes what is queued when it becomes free
        }
        let oldest = inner.waiting.front().map_or(now, |first| first.queued_at);
        if inner.waiting.len() >= self.pace.rows() || now - oldest > PATIENCE {
            drop(inner);
            self.filled.notify_one();
        } else if !inner.wake_pending {
            inner.wake_pending = true;
            drop(inner);
            self.parking.add(Arc::clone(self));
        }
        Ok(answer)
    }

    pub(super) fn wake(&self) {
        self.lock().wake_pending = false;
        self.filled.notify_one();
    }

    /// Waits for requests and takes those that are there, as many rows as a batch may have (one request
    /// may hold more by itself). Requests that nobody waits for any more are dropped, those beyond
    /// their deadline answered so. `None`: the queue is closed and empty.
    pub fn take(self: &Arc<Self>) -> Option<Work> {
        let free_since = Instant::now();
        let mut inner = self.lock();
        loop {
            if inner.waiting.is_empty() || inner.here {
                if inner.closed && inner.waiting.is_empty() {
                    return None;
                }
                inner.sleepers += 1;
                inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.sleepers -= 1;
            } else if let Some(left) = self.patience(&inner, free_since) {
                if !inner.wake_pending {
                    inner.wake_pending = true;
                    drop(inner); // `Parking` calls `wake`, which locks
                    self.parking.add(Arc::clone(self));
                    inner = self.lock();
                    continue; // it may have come to rest meanwhile
                }
                inner.sleepers += 1;
                inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
                inner.sleepers -= 1;
            } else {
                inner = self.linger(inner);
                if let Some(work) = self.pick(&mut inner) {
                    return Some(work);
                }
            }
        }
    }

    /// How much longer to wait for the I/O thread to read what is ready; `None`: take now.
    fn patience(&self, inner: &Inner, free_since: Instant) -> Option<Duration> {
        if inner.closed || inner.waiting.len() >= self.pace.rows() || self.parking.is_at_rest() {
            return None;
        }
        PATIENCE.checked_sub(free_since.elapsed()).filter(|left| !left.is_zero())
    }

    /// Waits up to the configured delay, counted from the oldest request, for a full batch.
    fn linger<'a>(&self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        while !self.batching.delay.is_zero() && !inner.closed && inner.waiting.len() < self.pace.rows() {
            let Some(first) = inner.waiting.front() else { break };
            let Some(left) = self.batching.delay.checked_sub(first.queued_at.elapsed()) else { break };
            if left.is_zero() {
                break;
            }
            inner.sleepers += 1;
            inner = self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
            inner.sleepers -= 1;
        }
        inner
    }

    pub(super) fn pick(&self, inner: &mut Inner) -> Option<Work> {
        let taken_at = Instant::now();
        let mut late = Vec::new();
        let (mut rows, most) = (0, self.pace.rows());
        let room = inner.waiting.len().min(most);
        let (mut calls, mut replies) = (Vec::with_capacity(room), Vec::with_capacity(room));
        while let Some(next) = inner.waiting.front() {
            let more = rows_of(&next.call);
            if !calls.is_empty() && rows + more > most {
                break;
            }
            let Some(next) = inner.waiting.pop_front() else { break };
            if next.reply.is_closed() {
                continue;
            }
            if next.call.deadline.is_some_and(|deadline| deadline <= taken_at) {
                let answer = Err(Error::new(
                    Kind::Timeout,
                    "The request's deadline passed while it waited in the queue.",
                ));
                late.push((next.reply, Outcome { answer, taken_at, done_at: taken_at, batch: ALONE }));
                continue;
            }
            rows += more;
            calls.push(next.call);
            replies.push(Some((next.reply, more)));
        }
        if !late.is_empty() {
            self.completions.push(late);
        }
        if calls.is_empty() {
            return None;
        }
        let ticket = inner.next_ticket;
        inner.next_ticket += 1;
        inner.running.insert(ticket, Running { taken_at, replies });
        Some(Work { calls, ticket })
    }

    /// Returns answers of a piece of work, each with its index in `Work::calls`. The work is over when
    /// all its requests are answered. Answers that the watchdog has given already are dropped.
    pub fn complete(&self, ticket: u64, answers: impl IntoIterator<Item = (usize, Result<Answer>)>) {
        let done_at = Instant::now();
        let mut inner = self.lock();
        let Some(running) = inner.running.get_mut(&ticket) else { return };
        let taken_at = running.taken_at;
        let answers = answers.into_iter();
        let mut done = Vec::with_capacity(answers.size_hint().0);
        let mut rows = 0;
        for (index, answer) in answers {
            if let Some((reply, more)) = running.replies.get_mut(index).and_then(Option::take) {
                rows += more;
                done.push((reply, answer));
            }
        }
        if running.replies.iter().all(Option::is_none) {
            inner.running.remove(&ticket);
        }
        drop(inner);
        self.parking.stir();
        let batch = BatchSize { requests: done.len(), rows };
        self.completions.push(
            done.into_iter().map(|(reply, answer)| (reply, Outcome { answer, taken_at, done_at, batch })),
        );
    }

    /// Answers with 504 all requests of work that has run longer than `timeout`, and those answered apart from it;
    /// true if work was among them, whose thread is lost, or something apart that nothing could end: then so is,
    /// in the end, the process.
    pub fn expire(&self, timeout: Duration) -> bool {
        let now = Instant::now();
        let mut inner = self.lock();
        let stuck: Vec<u64> = inner
            .running
            .iter()
            .filter(|(_, running)| now - running.taken_at > timeout)
            .map(|(&ticket, _)| ticket)
            .collect();
        let mut done = Vec::new();
        for ticket in &stuck {
            let Some(running) = inner.running.remove(ticket) else { continue };
            for (reply, rows) in running.replies.into_iter().flatten() {
                done.push((reply, too_late(timeout, running.taken_at, now, rows)));
            }
        }
        let is_lost = inner.apart.expire(timeout, now, &mut done) || !stuck.is_empty();
        drop(inner);
        self.completions.push(done);
        is_lost
    }

    /// Answers everything that waits with this error, because nothing will take it any more.
    pub fn refuse(&self, error: &Error) {
        let now = Instant::now();
        let waiting = std::mem::take(&mut self.lock().waiting);
        self.completions.push(waiting.into_iter().map(|waiting| {
            let answer = Err(error.clone());
            (waiting.reply, Outcome { answer, taken_at: now, done_at: now, batch: ALONE })
        }));
    }

    /// Refuses new requests. What waits is still served; then `take` returns `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows_of(call: &Call) -> usize {
    match &call.payload {
        Payload::Tensors(request) => request.inputs.first().map_or(1, crate::tensor::Tensor::rows).max(1),
        Payload::Raw(_) => 1,
    }
}
