//! Wakers for futures that a task drives beside others. `Driver`: what a future rings while it is being polled is heard
//! at once, without another turn of the task. `Flag`: a future is polled only when it has rung. `Bells`: several futures,
//! both of that.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Rings go to the task.
const OPEN: u8 = 0;
/// Rings are noted.
const MUTED: u8 = 1;
/// One was noted.
const RUNG: u8 = 2;

/// So often is polled again at once; a future that only wants others to have their turn rings for ever.
const MOST_TURNS: usize = 3;

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

/// Wakes its task, and remembers that it was it who did.
#[derive(Debug)]
pub(crate) struct Flag {
    up: AtomicBool,
    task: AtomicWaker,
}

impl Flag {
    /// One that is up: the first look is free.
    pub(crate) fn up() -> Arc<Self> {
        Arc::new(Self { up: AtomicBool::new(true), task: AtomicWaker::new() })
    }

    /// Whether it has been up since the last time; it wakes this task from now on.
    pub(crate) fn taken(&self, task: &Context<'_>) -> bool {
        // Registered first: what comes after the swap wakes.
        self.task.register(task.waker());
        self.up.swap(false, SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.up.store(true, SeqCst);
        self.task.wake();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Exactly one of two: whoever mutes sees RUNG when it opens again, or the task is woken.
        if let Err(OPEN) = self.state.compare_exchange(MUTED, RUNG, SeqCst, SeqCst) {
            self.task.wake();
        }
    }
}

/// Drives one future.
#[derive(Debug)]
pub(crate) struct Driver {
    bell: Arc<Bell>,
    waker: Waker,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(OPEN), task: AtomicWaker::new() });
        Self { waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Calls `work` with the context for its future until nothing rings any more, or it is ready.
    pub(crate) fn drive<T>(
        &self,
        task: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.bell.task.register(task.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..MOST_TURNS {
            self.bell.state.store(MUTED, SeqCst);
            let polled = work(&mut own);
            let rung = self.bell.state.swap(OPEN, SeqCst) == RUNG;
            if polled.is_ready() || !rung {
                return polled;
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nobody waits for it any more.
    pub(super) fn leave(&self) {
        drop(self.bell.task.take());
    }
}

/// Bells of several futures that one task drives, a bit each: they wake the task, unless it is at work.
#[derive(Debug)]
pub(super) struct Bells {
    up: AtomicU8,
    task: AtomicWaker,
}

/// The task is at work and will look again.
const AT_WORK: u8 = 0x80;

/// The bell of one of them.
#[derive(Debug)]
struct OneOf {
    bells: Arc<Bells>,
    bit: u8,
}

impl Wake for OneOf {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.bells.up.fetch_or(self.bit, SeqCst);
        if before & (AT_WORK | self.bit) == 0 {
            self.bells.task.wake();
        }
    }
}

impl Bells {
    /// Bells that have rung, all of them: the first look is free.
    pub(super) fn rung() -> Arc<Self> {
        Arc::new(Self { up: AtomicU8::new(!AT_WORK), task: AtomicWaker::new() })
    }

    /// The waker for the future with this bit.
    pub(super) fn waker(self: &Arc<Self>, bit: u8) -> Waker {
        Waker::from(Arc::new(OneOf { bells: Arc::clone(self), bit }))
    }

    /// Whether this one has rung since the last time.
    pub(super) fn taken(&self, bit: u8) -> bool {
        self.up.load(SeqCst) & bit != 0 && self.up.fetch_and(!bit, SeqCst) & bit != 0
    }

    /// It has to be looked at once more.
    pub(super) fn ring(&self, bit: u8) {
        self.up.fetch_or(bit, SeqCst);
    }

    /// Calls `work` until none of `bits` is up any more, or it is ready.
    pub(super) fn drive<T>(
        &self,
        bits: u8,
        task: &mut Context<'_>,
        mut work: impl FnMut() -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(task.waker());
        self.up.fetch_or(AT_WORK, SeqCst);
        for _ in 0..MOST_TURNS {
            if self.up.load(SeqCst) & bits != 0 {
                if let Poll::Ready(given) = work() {
                    return Poll::Ready(given);
                }
            }
            // What rings from here on wakes the task.
            let before = self.up.fetch_and(!AT_WORK, SeqCst);
            if before & bits == 0 {
                return Poll::Pending;
            }
            self.up.fetch_or(AT_WORK, SeqCst);
        }
        self.up.fetch_and(!AT_WORK, SeqCst);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn task() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn what_rings_inside_is_polled_again_and_wakes_nobody() {
        let (count, waker) = task();
        let driver = Driver::new();
        let mut turns = 0;
        let polled = driver.drive(&mut Context::from_waker(&waker), |own| {
            turns += 1;
            if turns < 3 {
                own.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(turns)
        });
        assert_eq!((polled, count.0.load(SeqCst)), (Poll::Ready(3), 0));
    }

    #[test]
    fn who_rings_for_ever_gives_others_their_turn() {
        let (count, waker) = task();
        let mut turns = 0;
        let polled: Poll<()> = Driver::new().drive(&mut Context::from_waker(&waker), |own| {
            turns += 1;
            own.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!((polled, turns, count.0.load(SeqCst)), (Poll::Pending, MOST_TURNS, 1));
    }

    #[test]
    fn what_rings_later_wakes_the_task_that_waits_now() {
        let ((first, one), (second, two)) = (task(), task());
        let driver = Driver::new();
        let mut kept = None;
        let mut wait = |own: &mut Context<'_>| -> Poll<()> {
            kept = Some(own.waker().clone());
            Poll::Pending
        };
        assert!(driver.drive(&mut Context::from_waker(&one), &mut wait).is_pending());
        assert!(driver.drive(&mut Context::from_waker(&two), &mut wait).is_pending());
        let Some(bell) = kept else { return };
        bell.wake_by_ref();
        assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 1));
        driver.leave();
        bell.wake_by_ref();
        assert_eq!(second.0.load(SeqCst), 1);
    }

    #[test]
    fn no_ring_is_lost_between_threads() {
        for _ in 0..500 {
            let (count, waker) = task();
            let driver = Driver::new();
            let bell = driver.waker.clone();
            let mut seen = 0;
            let polled: Poll<()> = std::thread::scope(|scope| {
                scope.spawn(move || bell.wake_by_ref());
                driver.drive(&mut Context::from_waker(&waker), |_| {
                    seen += 1;
                    Poll::Pending
                })
            });
            // Before the first turn it rings for nobody: whoever polls then looks anyway.
            assert!(polled.is_pending());
            assert!(seen >= 1 && count.0.load(SeqCst) <= 1);
        }
    }

    #[test]
    fn what_rings_at_work_is_seen_to_and_what_rings_later_wakes() {
        let (count, waker) = task();
        let bells = Bells::rung();
        let (one, other) = (bells.waker(1), bells.waker(2));
        let mut seen = Vec::new();
        let polled: Poll<()> = bells.drive(3, &mut Context::from_waker(&waker), || {
            seen.push((bells.taken(1), bells.taken(2)));
            if seen.len() < 3 {
                one.wake_by_ref();
            }
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((seen, count.0.load(SeqCst)), (vec![(true, true), (true, false), (true, false)], 0));
        // Now each wakes, once.
        other.wake_by_ref();
        other.wake_by_ref();
        assert_eq!(count.0.load(SeqCst), 1);
        assert!(!bells.taken(1) && bells.taken(2) && !bells.taken(2));
    }

    #[test]
    fn bells_that_ring_for_ever_give_others_their_turn() {
        let (count, waker) = task();
        let bells = Bells::rung();
        let (one, mut turns) = (bells.waker(1), 0);
        let polled: Poll<()> = bells.drive(1, &mut Context::from_waker(&waker), || {
            turns += 1;
            assert!(bells.taken(1));
            one.wake_by_ref();
            Poll::Pending
        });
        assert_eq!((polled, turns, count.0.load(SeqCst)), (Poll::Pending, MOST_TURNS, 1));
    }

    #[test]
    fn no_ring_of_several_is_lost_between_threads() {
        for _ in 0..500 {
            let (count, waker) = task();
            let bells = Bells::rung();
            let one = bells.waker(1);
            let mut seen = 0;
            let polled: Poll<()> = std::thread::scope(|scope| {
                scope.spawn(move || one.wake_by_ref());
                bells.drive(1, &mut Context::from_waker(&waker), || {
                    seen += usize::from(bells.taken(1));
                    Poll::Pending
                })
            });
            // It was seen to, or it wakes, or it came with the first look.
            assert!(polled.is_pending());
            assert!(bells.taken(1) == (count.0.load(SeqCst) > 0), "{seen}");
        }
    }
}
