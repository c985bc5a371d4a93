//! Deadlines of the requests of one connection, for the price of as many timers as it has requests at once: a later
//! deadline only moves one.

use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use tokio::time::{sleep_until, Instant, Sleep};

/// So many timers are kept for later requests.
const MOST_KEPT: usize = 64;

/// The timers of a connection, while no request has them.
#[derive(Debug, Default)]
pub(super) struct Alarm(Mutex<Vec<Pin<Box<Sleep>>>>);

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate;

/// A timer, with one request.
struct Lent<'a> {
    from: &'a Alarm,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut kept = self.from.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.extend(self.sleep.take());
        }
    }
}

impl Alarm {
    /// What the future gives, if it does before `until`. Ready at once, it costs no timer at all. It stays where it is
    /// pinned: moved in here, it would take its room twice.
    pub(super) async fn within<F: Future>(
        &self,
        until: Instant,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, TooLate> {
        let mut lent: Option<Lent<'_>> = None;
        poll_fn(|task| {
            if let std::task::Poll::Ready(given) = future.as_mut().poll(task) {
                return std::task::Poll::Ready(Ok(given));
            }
            let lent = lent.get_or_insert_with(|| self.lend(until));
            // It is there until the end of `lent`.
            let Some(sleep) = &mut lent.sleep else { return std::task::Poll::Pending };
            sleep.as_mut().poll(task).map(|()| Err(TooLate))
        })
        .await
    }

    fn lend(&self, until: Instant) -> Lent<'_> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let sleep = match kept {
            Some(mut kept) => {
                kept.as_mut().reset(until);
                kept
            }
            // Other requests have all there are.
            None => Box::pin(sleep_until(until)),
        };
        Lent { from: self, sleep: Some(sleep) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn deadlines_follow_each_other_on_one_timer() {
        let alarm = Alarm::default();
        let begun = Instant::now();
        for (limit, takes, late) in [(100, 50, false), (200, 300, true), (50, 300, true), (500, 400, false)] {
            let before = Instant::now();
            let work = pin!(sleep(Duration::from_millis(takes)));
            let outcome = alarm.within(before + Duration::from_millis(limit), work).await;
            assert_eq!(outcome.is_err(), late, "{limit} {takes}");
            assert_eq!((Instant::now() - before).as_millis() as u64, takes.min(limit));
        }
        assert_eq!(begun.elapsed().as_millis(), 50 + 200 + 50 + 400);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_have_deadlines_of_their_own() {
        let alarm = Alarm::default();
        let now = Instant::now();
        let works = (pin!(sleep(Duration::from_millis(20))), pin!(sleep(Duration::from_millis(20))));
        let one = alarm.within(now + Duration::from_millis(10), works.0);
        let two = alarm.within(now + Duration::from_millis(30), works.1);
        assert_eq!(tokio::join!(one, two), (Err(TooLate), Ok(())));
    }
}
