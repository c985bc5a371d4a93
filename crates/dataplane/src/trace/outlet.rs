//! The bounded queue between the requests and the exporter.

use super::Span;
use crate::metrics::SpanCounts;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Where ended requests wait to be exported.
#[derive(Debug)]
pub(super) struct Outlet {
    waiting: Mutex<Waiting>,
    limit: usize,
    batch: usize,
    counts: Arc<SpanCounts>,
    /// A batch is full.
    pub(super) full: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Box<Span>>,
    spans: usize,
    closed: bool,
}

impl Outlet {
    pub(super) fn new(limit: usize, batch: usize, counts: Arc<SpanCounts>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), limit, batch, counts, full: Notify::new() })
    }

    /// Takes a request, or drops it where there is no room. One request fits into an empty queue always.
    pub(super) fn push(&self, request: Box<Span>) {
        let spans = request.count();
        let mut waiting = self.lock();
        if waiting.closed || waiting.spans > 0 && waiting.spans + spans > self.limit {
            drop(waiting);
            self.counts.dropped(spans);
            return;
        }
        let before = waiting.spans;
        waiting.spans += spans;
        waiting.requests.push_back(request);
        if before < self.batch && waiting.spans >= self.batch {
            drop(waiting);
            self.full.notify_one(); // once a batch, since it wakes a thread
        }
    }

    /// A batch of what waits, oldest first, and its number of spans.
    pub(super) fn take(&self) -> Option<(Vec<Span>, usize)> {
        let mut waiting = self.lock();
        let (mut requests, mut spans) = (Vec::new(), 0);
        while let Some(next) = waiting.requests.front().map(|next| next.count()) {
            if spans > 0 && spans + next > self.batch {
                break;
            }
            spans += next;
            requests.extend(waiting.requests.pop_front().map(|next| *next));
        }
        waiting.spans -= spans;
        (spans > 0).then_some((requests, spans))
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
