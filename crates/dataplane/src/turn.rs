//! Whose turn it is to hold a lock that all models of a process share, as Python's interpreter has one: a model's
//! thread that has requests in hand goes before one that loads a model.
//!
//! A lock that is handed over after so much time gives both an even share: who predicts waits a turn for it, loses it
//! after a turn, and takes twice its time. So who loads asks at every step, and waits without the lock until the batch
//! that somebody has in hand is over. Where requests come at all, it sleeps for a moment now and then besides: what
//! wakes to read and to answer them has the processor then, which the system would leave to who loads for a tick, 4 ms
//! on many systems, once the others have had their share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a step waits: what takes longer will mostly not hold the lock all the time.
pub const PATIENCE: Duration = Duration::from_millis(1);
/// Who has waited may then go on for this part of that time, so that models that are always busy do not keep it from
/// loading: it has a quarter of the time at least.
const SHARE: u32 = 3;
/// How long it goes on before it sleeps.
const WORK: Duration = Duration::from_micros(100);
const SLEEP: Duration = Duration::from_micros(50);
/// How long after a batch more are expected.
const RECENT: Duration = Duration::from_millis(20);

/// What the threads of a process know of each other.
#[derive(Debug)]
pub struct Turns {
    in_hand: AtomicUsize,
    /// Batches that are over.
    over: AtomicU64,
    waiting: AtomicUsize,
    ended: (Mutex<()>, Condvar),
}

impl Turns {
    /// Nobody has anything in hand.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            in_hand: AtomicUsize::new(0),
            over: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            ended: (Mutex::new(()), Condvar::new()),
        }
    }

    /// Whether a model's thread has a batch in hand, or waits for the lock with one.
    pub fn is_wanted(&self) -> bool {
        self.in_hand.load(SeqCst) > 0
    }

    /// Waits until a batch is over, or none is in hand any more; false where that took too long.
    fn wait(&self, over: u64, patience: Duration) -> bool {
        let busy = || self.is_wanted() && self.over.load(SeqCst) == over;
        self.waiting.fetch_add(1, SeqCst);
        let locked = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.ended.1.wait_timeout_while(locked, patience, |()| busy()));
        self.waiting.fetch_sub(1, SeqCst);
        !busy()
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

/// A model's thread, and whether it has a batch in hand.
#[derive(Debug)]
pub struct Turn<'a> {
    turns: &'a Turns,
    in_hand: bool,
}

impl<'a> Turn<'a> {
    /// Of a thread that has none yet.
    #[must_use]
    pub const fn new(turns: &'a Turns) -> Self {
        Self { turns, in_hand: false }
    }

    /// It has one from now on; to be called before it asks for the lock.
    pub fn begin(&mut self) {
        if !std::mem::replace(&mut self.in_hand, true) {
            self.turns.in_hand.fetch_add(1, SeqCst);
        }
    }

    /// It has none any more.
    pub fn end(&mut self) {
        if !std::mem::take(&mut self.in_hand) {
            return;
        }
        self.turns.over.fetch_add(1, SeqCst);
        self.turns.in_hand.fetch_sub(1, SeqCst);
        if self.turns.waiting.load(SeqCst) > 0 {
            let _locked = self.turns.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
            self.turns.ended.1.notify_all();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a thread that loads has fared until now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Courtesy {
    /// Until when it let others go first, and how long.
    rested: Option<(Instant, Duration)>,
    /// What was over when it had waited long enough: the same batch is not waited for again.
    given_up: Option<u64>,
    seen: u64,
    /// When it saw that another batch was over.
    busy: Option<Instant>,
}

impl Courtesy {
    /// Waits, or sleeps, where it is due; `unlocked` calls what it is given without the lock.
    pub fn step(
        &mut self,
        turns: &Turns,
        patience: Duration,
        unlocked: impl FnOnce(&mut (dyn FnMut() -> bool + Send)) -> bool,
    ) {
        let (now, over) = (Instant::now(), turns.over.load(SeqCst));
        if self.seen != over {
            (self.seen, self.busy) = (over, Some(now));
        }
        let (rested, took) = *self.rested.get_or_insert((now, Duration::ZERO));
        let worked = now - rested;
        let waits = turns.is_wanted() && self.given_up != Some(over);
        let sleeps = worked > WORK && self.busy.is_some_and(|busy| now - busy < RECENT);
        if worked < took / SHARE || !(waits || sleeps) {
            return;
        }
        let is_over = unlocked(&mut || {
            if !waits {
                std::thread::sleep(SLEEP);
            }
            !waits || turns.wait(over, patience)
        });
        let until = Instant::now();
        self.rested = Some((until, until - now));
        if !is_over {
            self.given_up = Some(over);
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);

    fn step(courtesy: &mut Courtesy, turns: &Turns, patience: Duration) -> bool {
        let mut waited = false;
        courtesy.step(turns, patience, |wait| {
            waited = true;
            wait()
        });
        waited
    }

    #[test]
    fn who_loads_waits_until_the_batch_is_over() {
        // Else a neighbour's requests take twice as long while a model is loaded.
        let turns = Turns::new();
        let mut turn = Turn::new(&turns);
        turn.begin();
        let (done, has_ended) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(step(&mut Courtesy::default(), &turns, LONG));
                done.send(turns.is_wanted()).expect("the test waits for it");
            });
            while turns.waiting.load(SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(has_ended.try_recv().is_err());
            turn.end();
            assert!(!has_ended.recv().expect("the thread says so"));
        });
    }

    #[test]
    fn a_batch_that_takes_long_is_waited_for_once() {
        // A model that predicts for a second does not hold the lock all the time: loading goes on beside it.
        let turns = Turns::new();
        let mut turn = Turn::new(&turns);
        turn.begin();
        let mut courtesy = Courtesy::default();
        assert!(step(&mut courtesy, &turns, Duration::ZERO));
        courtesy.rested = None;
        assert!(!step(&mut courtesy, &turns, LONG));
        turn.end();
        turn.begin();
        courtesy.rested = None;
        assert!(step(&mut courtesy, &turns, Duration::ZERO));
    }

    #[test]
    fn who_has_waited_goes_on_for_a_while() {
        // A model that is always busy would keep another from being loaded for ever.
        let turns = Turns::new();
        let mut courtesy = Courtesy { rested: Some((Instant::now(), LONG)), ..Courtesy::default() };
        let mut turn = Turn::new(&turns);
        turn.begin();
        assert!(!step(&mut courtesy, &turns, LONG));
    }

    #[test]
    fn who_loads_sleeps_now_and_then_where_requests_come() {
        // Where none come, nobody is there to wait, and loading is not to take longer.
        let turns = Turns::new();
        let long_ago = Instant::now().checked_sub(WORK * 2).expect("the clock does not begin now");
        let mut courtesy = Courtesy { rested: Some((long_ago, Duration::ZERO)), ..Courtesy::default() };
        assert!(!step(&mut courtesy, &turns, LONG));
        let mut turn = Turn::new(&turns);
        turn.begin();
        turn.end();
        assert!(step(&mut courtesy, &turns, LONG));
        let (_, slept) = courtesy.rested.expect("it has slept");
        assert!(slept >= SLEEP);
    }

    #[test]
    fn one_that_ends_with_a_batch_in_hand_keeps_nobody_waiting() {
        let turns = Turns::new();
        let mut turn = Turn::new(&turns);
        turn.begin();
        turn.begin();
        assert!(turns.is_wanted());
        drop(turn);
        assert!(!turns.is_wanted());
    }
}
