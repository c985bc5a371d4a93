//! Whether a client's connection still goes somewhere: a coarse look now and then, so that a request costs no timer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a connection's client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// It has asked for nothing yet.
    Unknown,
    Http1,
    Http2,
}

/// What happens on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    read: AtomicU64,
    written: AtomicU64,
    /// Requests that have come, and what had been read when the last one did.
    requests: AtomicU64,
    read_then: AtomicU64,
    /// Requests whose answer we owe, and bodies that their endpoints owe us.
    waiting: AtomicU32,
    spoken: AtomicU8,
}

impl Activity {
    /// A request has come.
    pub(crate) fn asked(self: &Arc<Self>, http2: bool) -> Waiting {
        self.spoken.store(if http2 { 2 } else { 1 }, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        Waiting::new(self)
    }

    /// So many bytes have come.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    pub(crate) fn spoken(&self) -> Spoken {
        match self.spoken.load(Relaxed) {
            0 => Spoken::Unknown,
            1 => Spoken::Http1,
            _ => Spoken::Http2,
        }
    }
}

/// Something is awaited from elsewhere: the client is not to blame for silence.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Activity>);

impl Waiting {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.waiting.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }

    /// The same connection's activity.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.read_then.store(self.0.read.load(Relaxed), Relaxed);
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// How long what may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// For a head to come, once it has begun; and for the first one after connecting.
    pub(crate) head: Duration,
    /// Without a byte either way.
    pub(crate) idle: Duration,
}

/// Looks at a connection's activity once a `tick`.
#[derive(Debug)]
pub(crate) struct Watch {
    bounds: Bounds,
    tick: Duration,
    seen: (u64, u64, u64),
    still: Duration,
    partial: Duration,
}

impl Watch {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let tick = (bounds.head.min(bounds.idle) / 4).max(Duration::from_millis(1));
        Self { bounds, tick, seen: (0, 0, 0), still: Duration::ZERO, partial: Duration::ZERO }
    }

    /// How often to look.
    pub(crate) const fn tick(&self) -> Duration {
        self.tick
    }

    /// One tick later: whether the connection has had its time.
    pub(crate) fn is_over(&mut self, activity: &Activity) -> bool {
        let now =
            (activity.read.load(Relaxed), activity.written.load(Relaxed), activity.requests.load(Relaxed));
        let waits = activity.waiting.load(Relaxed) > 0;
        if waits || now != self.seen {
            self.still = Duration::ZERO;
        } else {
            self.still += self.tick;
        }
        // HTTP/2 reads more than heads, and bounds those itself.
        let in_head = match activity.spoken() {
            Spoken::Unknown => true,
            Spoken::Http1 => !waits && now.0 > activity.read_then.load(Relaxed),
            Spoken::Http2 => false,
        };
        if in_head && now.2 == self.seen.2 {
            self.partial += self.tick;
        } else {
            self.partial = Duration::ZERO;
        }
        self.seen = now;
        self.still >= self.bounds.idle || self.partial >= self.bounds.head
    }
}

/// A connection that counts what goes over it.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, activity: &Arc<Activity>) -> Self {
        Self { stream, activity: Arc::clone(activity) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(task, into);
        let read = into.filled().len() - before;
        if read > 0 {
            self.activity.read.fetch_add(read as u64, Relaxed);
        }
        polled
    }
}

impl<S> Counted<S> {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.activity.written.fetch_add(*written as u64, Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(task, parts);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { head: Duration::from_secs(8), idle: Duration::from_secs(40) };

    /// How many looks until it is over, with something done before each.
    fn looks(watch: &mut Watch, activity: &Activity, mut before: impl FnMut(usize)) -> Option<usize> {
        (0..100).find(|&number| {
            before(number);
            watch.is_over(activity)
        })
    }

    fn read_a_byte(activity: &Activity) {
        activity.read.fetch_add(1, Relaxed);
    }

    #[test]
    fn a_client_has_time_for_its_first_head_and_no_more() {
        let activity = Activity::default();
        let trickle = |_| read_a_byte(&activity);
        assert_eq!(looks(&mut Watch::new(BOUNDS), &activity, trickle), Some(3));
        assert_eq!(looks(&mut Watch::new(BOUNDS), &Activity::default(), |_| {}), Some(3));
    }

    #[test]
    fn a_later_head_may_not_trickle_but_silence_between_requests_is_fine() {
        let activity = Arc::new(Activity::default());
        activity.read.store(10, Relaxed);
        drop(activity.asked(false));
        let mut watch = Watch::new(BOUNDS);
        assert!(!watch.is_over(&activity));
        assert_eq!(looks(&mut watch, &activity, |_| {}), Some(19));
        let mut watch = Watch::new(BOUNDS);
        let trickle = |_| read_a_byte(&activity);
        assert!(looks(&mut watch, &activity, trickle).is_some_and(|looks| looks <= 5));
    }

    #[test]
    fn who_waits_for_an_answer_is_not_to_blame() {
        let activity = Arc::new(Activity::default());
        let waiting = activity.asked(false);
        let mut watch = Watch::new(BOUNDS);
        assert_eq!(looks(&mut watch, &activity, |_| {}), None);
        drop(waiting);
        assert_eq!(looks(&mut watch, &activity, |_| {}), Some(19));
    }

    #[test]
    fn who_does_not_read_its_answer_is() {
        let activity = Arc::new(Activity::default());
        drop(activity.asked(true));
        let mut watch = Watch::new(BOUNDS);
        let slow = |number: usize| {
            activity.written.fetch_add(u64::from(number < 50), Relaxed);
        };
        assert_eq!(looks(&mut watch, &activity, slow), Some(69));
    }
}
