//! What makes workers ask: the closed and the open loop.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout_at, Instant};

use crate::exchange::{Exchange, Failure};
use crate::schedule::Poisson;
use crate::tally::{Tally, Window};

/// A worker pauses this long after a failure: a dead server must not become a busy loop.
const PAUSE: Duration = Duration::from_millis(1);

/// Gaps longer than this are slept, the rest of each is spun: tokio's timer ticks once a
/// millisecond, far too coarse for thousands of arrivals a second.
const SPIN: Duration = Duration::from_millis(3);

/// How a run is paced.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Each worker asks again as soon as it was answered.
    Closed,
    /// Poisson arrivals, taken by whichever worker is free.
    Open {
        /// Arrivals a second.
        rate: f64,
        /// Same seed, same arrivals.
        seed: u64,
    },
}

/// How long a run lasts.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Not counted.
    pub warmup: Duration,
    /// Counted.
    pub duration: Duration,
    /// How long answers are waited for after the end.
    pub grace: Duration,
}

/// Runs all workers to the end and returns the window that was counted.
pub async fn run<E: Exchange>(workers: Vec<E>, pace: Pace, times: Times, tally: &Arc<Tally>) -> Window {
    let start = Instant::now();
    let from = start + times.warmup;
    let window = Window { from, until: from + times.duration };
    let deadline = window.until + times.grace;
    match pace {
        Pace::Closed => all(workers, |worker| closed(worker, window, deadline, Arc::clone(tally))).await,
        Pace::Open { rate, seed } => {
            let queue = Arc::new(Queue::default());
            let arrivals = arrive(Poisson::new(rate, seed), start, window.until, Arc::clone(&queue));
            let arrivals = tokio::spawn(arrivals);
            all(workers, |worker| open(worker, Arc::clone(&queue), window, deadline, Arc::clone(tally)))
                .await;
            arrivals.abort();
            // Arrivals that no worker came to take are requests that were never answered.
            while let Some(due) = queue.take() {
                if window.holds(due) {
                    tally.failure(&Failure::Unfinished);
                }
            }
        }
    }
    window
}

async fn all<E, F>(workers: Vec<E>, work: impl Fn(E) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks: JoinSet<()> = workers.into_iter().map(work).collect();
    while tasks.join_next().await.is_some() {}
}

/// Counts what *ends* in the window; a request under way at its end is not counted, unless it is
/// still unanswered when the grace period is over.
async fn closed<E: Exchange>(mut worker: E, window: Window, deadline: Instant, tally: Arc<Tally>) {
    let mut sent = Instant::now();
    while sent < window.until {
        let Ok(outcome) = timeout_at(deadline, worker.ask()).await else {
            tally.failure(&Failure::Unfinished);
            return;
        };
        let now = Instant::now();
        let failed = outcome.is_err();
        if window.holds(now) {
            match outcome {
                Ok(()) => tally.success(now - sent, now),
                Err(failure) => tally.failure(&failure),
            }
        }
        sent = if failed {
            sleep(PAUSE).await;
            Instant::now()
        } else {
            now
        };
    }
}

/// Counts what was *due* in the window, from when it was due: waiting for a free worker, for the
/// connection or for a stalled server is part of the latency (no coordinated omission).
async fn open<E: Exchange>(
    mut worker: E,
    queue: Arc<Queue>,
    window: Window,
    deadline: Instant,
    tally: Arc<Tally>,
) {
    while let Ok(Some(due)) = timeout_at(deadline, queue.next()).await {
        let counts = window.holds(due);
        if counts {
            tally.sent(due.elapsed());
        }
        let outcome = timeout_at(deadline, worker.ask()).await.unwrap_or(Err(Failure::Unfinished));
        let now = Instant::now();
        let failed = outcome.is_err();
        if counts {
            match outcome {
                Ok(()) => tally.success(now - due, now),
                Err(failure) => tally.failure(&failure),
            }
        }
        if failed {
            sleep(PAUSE).await;
        }
    }
}

/// Puts arrivals into the queue when they are due.
async fn arrive(schedule: Poisson, start: Instant, until: Instant, queue: Arc<Queue>) {
    for due in schedule.map(|offset| start + offset).take_while(|due| *due < until) {
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if left > SPIN {
                sleep_until(due - SPIN * 2 / 3).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        queue.put(due);
    }
    queue.close();
}

/// Requests that are due and that no worker has taken yet.
#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    due: VecDeque<Instant>,
    closed: bool,
}

impl Queue {
    fn put(&self, due: Instant) {
        self.with(|waiting| waiting.due.push_back(due));
        self.wake.notify_last(); // the connection that was used last: idle ones may be closed
    }

    fn take(&self) -> Option<Instant> {
        self.with(|waiting| waiting.due.pop_front())
    }

    fn close(&self) {
        self.with(|waiting| waiting.closed = true);
        self.wake.notify_waiters();
    }

    /// The next request due, or `None` when there will be no more.
    async fn next(&self) -> Option<Instant> {
        loop {
            // Created before the look, so that what arrives in between wakes it.
            let woken = self.wake.notified();
            let (due, closed) = self.with(|waiting| (waiting.due.pop_front(), waiting.closed));
            if due.is_some() || closed {
                return due;
            }
            woken.await;
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after a fixed time; its `stall`th request takes that much longer.
    struct Mock {
        takes: Duration,
        asked: u32,
        stall: Option<(u32, Duration)>,
    }

    impl Exchange for Mock {
        async fn ask(&mut self) -> Result<(), Failure> {
            self.asked += 1;
            let extra =
                self.stall.filter(|(at, _)| *at == self.asked).map_or(Duration::ZERO, |(_, extra)| extra);
            sleep(self.takes + extra).await;
            Ok(())
        }
    }

    fn mock(milliseconds: u64) -> Mock {
        Mock { takes: Duration::from_millis(milliseconds), asked: 0, stall: None }
    }

    const TIMES: Times = Times {
        warmup: Duration::from_secs(1),
        duration: Duration::from_secs(10),
        grace: Duration::from_secs(5),
    };

    async fn tally(
        workers: Vec<Mock>,
        pace: Pace,
    ) -> Result<crate::tally::Report, hdrhistogram::CreationError> {
        let tally = Arc::new(Tally::new()?);
        let window = run(workers, pace, TIMES, &tally).await;
        Ok(tally.report(window, matches!(pace, Pace::Open { .. })))
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_asks_as_fast_as_it_is_answered() -> Result<(), hdrhistogram::CreationError> {
        let report = tally(vec![mock(100), mock(100)], Pace::Closed).await?;
        assert!((199..=201).contains(&report.requests), "{report:?}");
        assert!((report.latency_us.p50 / 100_000.0 - 1.0).abs() < 0.02, "{report:?}");
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_an_error() -> Result<(), hdrhistogram::CreationError> {
        let report = tally(vec![mock(3_600_000)], Pace::Closed).await?;
        assert_eq!((report.requests, report.errors), (0, 1));
        assert!(report.errors_by_kind.contains_key("unfinished"));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_hands_out_what_is_due_in_order_and_then_ends() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.put(start);
        queue.put(start + Duration::from_millis(1));
        queue.close();
        assert_eq!(queue.next().await, Some(start));
        assert_eq!(queue.next().await, Some(start + Duration::from_millis(1)));
        assert_eq!(queue.next().await, None);
    }

    /// One stall of a second delays everything that is due meanwhile. A loop that measured from the
    /// moment of sending would see one slow request in thousands.
    #[tokio::test]
    async fn a_stall_is_charged_to_all_who_wait() -> Result<(), hdrhistogram::CreationError> {
        let tally = Arc::new(Tally::new()?);
        let stall = Some((200, Duration::from_millis(300)));
        let workers = vec![Mock { takes: Duration::ZERO, asked: 0, stall }];
        let times =
            Times { warmup: Duration::ZERO, duration: Duration::from_secs(1), grace: Duration::from_secs(1) };
        let window = run(workers, Pace::Open { rate: 400.0, seed: 1 }, times, &tally).await;
        let report = tally.report(window, true);
        assert_eq!(report.errors, 0, "{report:?}");
        assert!(report.requests > 300, "{report:?}");
        assert!(
            report.latency_us.p90 > 100_000.0,
            "a third of all requests were due in the stall: {report:?}"
        );
        Ok(())
    }
}
