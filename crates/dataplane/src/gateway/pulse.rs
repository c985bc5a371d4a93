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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt as _;

    const EVERY: Duration = Duration::from_secs(20);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// After so many seconds the pulse is lost, if it is within an hour. `deaf`: nobody answers.
    async fn lost_after(deaf: bool, wanted: bool) -> Option<u64> {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let peer = tokio::spawn(async move {
            if deaf {
                while server.read(&mut [0; 64]).await.unwrap_or(0) > 0 {}
            } else {
                let mut peer = h2::server::handshake(server).await.unwrap();
                let _ = poll_fn(|task| peer.poll_closed(task)).await;
            }
        });
        let (_sender, mut wire) = h2::client::handshake(client).await.unwrap();
        let mut pulse = Pulse::new(wire.ping_pong().unwrap(), EVERY, PATIENCE);
        let driver = tokio::spawn(wire);
        let begun = Instant::now();
        let lost = poll_fn(|task| pulse.poll_lost(0, wanted, task));
        let lost = tokio::time::timeout(Duration::from_secs(3600), lost).await;
        let after = (Instant::now() - begun).as_secs();
        driver.abort();
        peer.abort();
        lost.is_ok().then_some(after)
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_is_there_and_who_does_not_is_gone() {
        assert_eq!(lost_after(true, true).await, Some(30));
        assert_eq!(lost_after(false, true).await, None);
        // Nobody cares.
        assert_eq!(lost_after(true, false).await, None);
    }
}
