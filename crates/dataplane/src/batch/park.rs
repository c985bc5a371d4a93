//! Starting a model when the I/O thread has nothing left to read.
//!
//! A model's thread that the first request wakes makes batches of one, and one that takes whatever has
//! come while it predicted makes half a batch, since the clients that it has just answered ask again a
//! moment later. So a push does not wake it, and a thread that becomes free does not take at once: the
//! I/O thread says when, just before it goes to sleep itself, when every answer has been written and
//! every connection that was ready has been read. Full batches, and an I/O thread that does not come to
//! rest within `PATIENCE`, start the model too.

use super::here::Here;
use super::queue::Queue;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long a free model lets requests wait for an I/O thread that is busy. An answer needs that thread as
/// well, so waiting for it costs little; this is the work of a few hundred small requests.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);

/// Batches that follow each other so closely are called on the I/O thread.
const BUSY: Duration = Duration::from_millis(5);

/// When the I/O thread calls short models itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallHere {
    /// Somebody else does the I/O, who calls none.
    Never,
    /// When batches follow each other closely: whoever watches over it has to be woken first.
    WhenBusy,
    /// Always.
    Always,
}

/// Queues with requests whose model's thread waits for the I/O thread to come to rest.
#[derive(Debug, Default)]
pub struct Parking {
    pending: Mutex<Vec<Arc<Queue>>>,
    at_rest: AtomicBool,
    call_here: AtomicU8,
    driven: Mutex<Driven>,
}

/// What the thread that drives the runtime is told.
#[derive(Debug, Default)]
struct Driven {
    waker: Option<Waker>,
    chosen: Vec<Here>,
    /// Requests that waited for them at the last look.
    waiting: usize,
    last_rest: Option<Instant>,
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
        if pending.is_empty() {
            return;
        }
        let call_here = self.calls_here();
        for queue in pending.drain(..) {
            match call_here.then(|| queue.claim()).flatten() {
                Some(here) => self.driven().chosen.push(here),
                None => queue.wake(),
            }
        }
        let driven = self.driven();
        if let (false, Some(waker)) = (driven.chosen.is_empty(), &driven.waker) {
            waker.wake_by_ref();
        }
    }

    fn calls_here(&self) -> bool {
        let mode = self.call_here.load(Ordering::Acquire);
        if mode == CallHere::Never as u8 {
            return false;
        }
        let now = Instant::now();
        let last = self.driven().last_rest.replace(now);
        mode == CallHere::Always as u8 || last.is_some_and(|last| now - last < BUSY)
    }

    /// Whether models are called on the thread that drives the runtime. That has to take what is `chosen`.
    pub(crate) fn set_call_here(&self, when: CallHere) {
        self.call_here.store(when as u8, Ordering::Release);
    }

    /// The runtime is driven by who can be woken so.
    pub(crate) fn driven_by(&self, waker: &Waker) {
        let mut driven = self.driven();
        if !driven.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            driven.waker = Some(waker.clone());
        }
    }

    /// Wakes whoever drives the runtime.
    pub(crate) fn summon(&self) {
        if let Some(waker) = &self.driven().waker {
            waker.wake_by_ref();
        }
    }

    /// The models to be called now by who drives the runtime. Where several requests wait already, more may have come
    /// meanwhile: then there is nothing yet, and the driver is woken to ask again when it has read them.
    pub(crate) fn chosen(&self) -> Vec<Here> {
        let mut driven = self.driven();
        let waiting: usize = driven.chosen.iter().map(Here::waiting).sum();
        if waiting > driven.waiting.max(1) && !driven.chosen.iter().any(Here::is_full) {
            driven.waiting = waiting;
            if let Some(waker) = &driven.waker {
                waker.wake_by_ref();
                return Vec::new();
            }
        }
        driven.waiting = 0;
        std::mem::take(&mut driven.chosen)
    }

    /// The I/O thread leaves the runtime to call models.
    pub(crate) fn go(&self) {
        self.at_rest.store(true, Ordering::Release);
    }

    fn driven(&self) -> MutexGuard<'_, Driven> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
