//! Whether the other end of an HTTP/2 connection is still there: where nothing has come for a while, it is asked.

use h2::{Ping, PingPong};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::time::{sleep, Instant, Sleep};

/// Asks, and waits for the answer.
pub(super) struct Pulse {
    pings: PingPong,
    every: Duration,
    patience: Duration,
    alarm: Pin<Box<Sleep>>,
    /// What had been read when it was looked at last.
    seen: u64,
    asked: bool,
}

impl Pulse {
    /// Asks after so long without a byte, and waits so long for an answer.
    pub(super) fn new(pings: PingPong, every: Duration, patience: Duration) -> Self {
        Self { pings, every, patience, alarm: Box::pin(sleep(every)), seen: 0, asked: false }
    }

    /// Ready when nobody is there any more. `read`: so many bytes have come in all; `wanted`: somebody cares.
    pub(super) fn poll_lost(&mut self, read: u64, wanted: bool, task: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.asked && self.pings.poll_pong(task).is_ready() {
                self.asked = false;
                self.look_again(read, self.every);
            }
            ready!(self.alarm.as_mut().poll(task));
            if read != self.seen {
                // What comes instead of an answer shows as much.
                self.look_again(read, if self.asked { self.patience } else { self.every });
            } else if self.asked {
                return Poll::Ready(());
            } else if wanted && self.pings.send_ping(Ping::opaque()).is_ok() {
                self.asked = true;
                self.look_again(read, self.patience);
            } else {
                self.look_again(read, self.every);
            }
        }
    }

    fn look_again(&mut self, read: u64, after: Duration) {
        self.seen = read;
        self.alarm.as_mut().reset(Instant::now() + after);
    }
}
