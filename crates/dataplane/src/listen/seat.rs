//! Who drives the runtime: its own thread, which calls short models itself, or, while a call takes long, another thread.
//!
//! A model's thread costs each batch two wake-ups, a third of what a lone client's request takes. So the I/O thread leaves
//! the runtime when nothing is left to read and calls the model itself, if its calls are short (`batch::here`). A model
//! that is suddenly slow, or hangs, must not keep health checks waiting: the relief looks every `TICK` whether it is still
//! the same call, and then drives the runtime until the I/O thread is back. It never calls a model itself.

use super::run::Ended;
use crate::batch::{CallHere, Completions, Here, Parking};
use std::future::{poll_fn, Future};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{park, park_timeout, Scope, Thread};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// How often the relief looks. After one to two of them it takes over.
const TICK: Duration = Duration::from_millis(2);
/// It sleeps after so many looks without a call in between.
const PATIENT_LOOKS: u32 = 8;
/// The relief drives.
const TAKEN: u64 = 1 << 63;

/// How the thread that drives comes out of the runtime.
enum Turn {
    /// The server has ended.
    Ended(Ended),
    /// Models want to be called here.
    Call(Vec<Here>),
    /// The I/O thread is back.
    Back,
}

/// What the I/O thread and its relief say to each other.
struct Seat<'r> {
    runtime: &'r Runtime,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    /// Calls begun and ended: odd while the I/O thread is in one.
    calls: AtomicU64,
    dozes: AtomicBool,
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    /// The server's end, while nobody drives.
    ending: Option<oneshot::Receiver<Ended>>,
    relieved: bool,
    back: bool,
    ended: Option<Ended>,
}

/// Drives the runtime until the server ends. `ending` tells its end. Models are called on this thread only with
/// `abandon`, which is called when the server ends while a model does not return here, and must end the process.
pub(super) fn drive(
    runtime: &Runtime,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    ending: oneshot::Receiver<Ended>,
    abandon: Option<Box<dyn Fn(Ended) + Send>>,
) -> Ended {
    let seat = Seat {
        runtime,
        completions,
        parking,
        calls: AtomicU64::new(0),
        dozes: AtomicBool::new(true),
        shared: Mutex::new(Shared { ending: Some(ending), ..Shared::default() }),
        changed: Condvar::new(),
    };
    let Some(abandon) = abandon else { return seat.drive_alone() };
    std::thread::scope(|scope| match seat.start_relief(scope, abandon) {
        Ok(relief) => {
            let ended = seat.drive(&relief);
            relief.unpark();
            ended
        }
        // Without it, models have their own threads as well.
        Err(_) => seat.drive_alone(),
    })
}

impl Seat<'_> {
    fn start_relief<'s, 'e: 's>(
        &'e self,
        scope: &'s Scope<'s, 'e>,
        abandon: Box<dyn Fn(Ended) + Send>,
    ) -> std::io::Result<Thread> {
        let builder = std::thread::Builder::new().name("modelport-relief".to_owned());
        let relief = builder.spawn_scoped(scope, move || self.relieve(&*abandon))?;
        Ok(relief.thread().clone())
    }

    fn drive_alone(&self) -> Ended {
        loop {
            if let Turn::Ended(ended) = self.turn() {
                return self.end(ended);
            }
        }
    }

    /// The I/O thread's life.
    fn drive(&self, relief: &Thread) -> Ended {
        loop {
            let dozes = self.dozes.load(SeqCst);
            self.parking.set_call_here(if dozes { CallHere::WhenBusy } else { CallHere::Always });
            match self.turn() {
                Turn::Ended(ended) => return self.end(ended),
                Turn::Call(models) => {
                    let call = self.calls.fetch_add(1, SeqCst) + 1;
                    if self.dozes.swap(false, SeqCst) {
                        relief.unpark();
                    }
                    self.completions.hold();
                    self.parking.go();
                    for model in models {
                        model.call();
                    }
                    self.parking.stir();
                    if self.calls.compare_exchange(call, call + 1, SeqCst, SeqCst).is_err() {
                        if let Some(ended) = self.take_back() {
                            return ended;
                        }
                        self.calls.store(call + 1, SeqCst);
                    }
                }
                Turn::Back => {}
            }
        }
    }

    /// One stay in the runtime.
    fn turn(&self) -> Turn {
        let Some(mut ending) = self.lock().ending.take() else { return Turn::Ended(Ended::DrainTimedOut) };
        let turn = {
            let mut ending = pin!(&mut ending);
            self.runtime.block_on(poll_fn(|task| {
                self.parking.driven_by(task.waker());
                self.completions.hand_out();
                if let Poll::Ready(ended) = ending.as_mut().poll(task) {
                    return Poll::Ready(Turn::Ended(ended.unwrap_or(Ended::DrainTimedOut)));
                }
                match self.parking.chosen() {
                    models if models.is_empty() => {}
                    models => return Poll::Ready(Turn::Call(models)),
                }
                if self.calls.load(SeqCst) & TAKEN != 0 && self.lock().back {
                    return Poll::Ready(Turn::Back);
                }
                Poll::Pending
            }))
        };
        self.lock().ending = Some(ending);
        turn
    }

    /// Waits until the relief has left the seat; or, if the server has ended meanwhile, how.
    fn take_back(&self) -> Option<Ended> {
        let mut shared = self.lock();
        shared.back = true;
        self.parking.summon();
        self.changed.notify_all();
        while shared.relieved && shared.ended.is_none() {
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        if shared.ended.is_none() {
            shared.back = false;
        }
        shared.ended
    }

    /// The relief's life.
    fn relieve(&self, abandon: &dyn Fn(Ended)) {
        let (mut seen, mut still) = (self.calls.load(SeqCst), 0);
        loop {
            if self.lock().ended.is_some() {
                return;
            }
            if still > PATIENT_LOOKS {
                self.parking.set_call_here(CallHere::WhenBusy);
                self.dozes.store(true, SeqCst);
                while self.dozes.load(SeqCst) && self.lock().ended.is_none() {
                    park();
                }
                still = 0;
            }
            park_timeout(TICK);
            let now = self.calls.load(SeqCst);
            let same = now == seen;
            seen = now;
            still = if same { still + 1 } else { 0 };
            if !same || now.is_multiple_of(2) {
                continue;
            }
            self.lock().relieved = true;
            if self.calls.compare_exchange(now, now | TAKEN, SeqCst, SeqCst).is_err() {
                self.lock().relieved = false;
                continue;
            }
            self.parking.set_call_here(CallHere::Never);
            self.parking.stir();
            loop {
                match self.turn() {
                    Turn::Ended(ended) => {
                        self.end(ended);
                        // Whoever is in the model may be so for ever.
                        let (shared, patience) = (self.lock(), TICK);
                        let wait = self.changed.wait_timeout_while(shared, patience, |shared| !shared.back);
                        if ended != Ended::Drained && wait.map_or(true, |(shared, _)| !shared.back) {
                            abandon(ended);
                        }
                        return;
                    }
                    // Chosen just before it took over.
                    Turn::Call(models) => drop::<Vec<Here>>(models),
                    Turn::Back => break,
                }
            }
            self.lock().relieved = false;
            self.changed.notify_all();
            (seen, still) = (self.calls.load(SeqCst), 0);
        }
    }

    fn end(&self, ended: Ended) -> Ended {
        self.lock().ended = Some(ended);
        self.changed.notify_all();
        ended
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
