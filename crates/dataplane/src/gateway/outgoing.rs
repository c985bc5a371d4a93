//! The body of a request on its way to an endpoint: kept, so that it can be sent again, or passed on as it comes.

use super::arriving::{Arriving, Failure};
use super::mirror::Copies;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::Arc;
use std::task::{Context, Poll};

/// A body.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// All of it, perhaps for the second time.
    Kept(Bytes),
    /// As the client sends it.
    Passed(Box<Passed>),
}

/// A body that cannot be sent again once it was touched.
#[derive(Debug)]
pub(super) struct Passed {
    /// What was read already.
    read: VecDeque<Bytes>,
    rest: Arriving,
    /// So many bytes may still come.
    room: u64,
    fate: Arc<Fate>,
    /// Who else gets it.
    copies: Option<Arc<Copies>>,
}

/// How a passed body fared, for whoever has to explain the failure of its request.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

const TOUCHED: u8 = 1;
const TOO_LARGE: u8 = 2;
const BROKEN: u8 = 4;

impl Fate {
    fn mark(&self, what: u8) {
        self.0.fetch_or(what, Relaxed);
    }

    /// Some of it may have been sent.
    pub(super) fn is_touched(&self) -> bool {
        self.0.load(Relaxed) & TOUCHED != 0
    }

    /// It was larger than it may be.
    pub(super) fn is_too_large(&self) -> bool {
        self.0.load(Relaxed) & TOO_LARGE != 0
    }

    /// The client's own fault: bad framing, or it went away.
    pub(super) fn is_broken(&self) -> bool {
        self.0.load(Relaxed) & BROKEN != 0
    }
}

/// The client's body, as far as it was read.
#[derive(Debug)]
pub(super) enum Taken {
    /// All of it.
    Whole(Bytes),
    /// So much, and more to come.
    Part(VecDeque<Bytes>, Arriving),
    /// It came with bad framing, or not at all.
    Broken(Failure),
}

/// Reads a body, unless it turns out to be longer than `limit`.
pub(super) async fn take(mut body: Arriving, limit: usize) -> Taken {
    use http_body_util::BodyExt as _;
    let mut read: VecDeque<Bytes> = VecDeque::new();
    let mut length = 0;
    // Mostly it came with the head, in one part.
    match body.frame().await {
        None => return Taken::Whole(Bytes::new()),
        Some(Err(error)) => return Taken::Broken(error),
        Some(Ok(frame)) => {
            if let Ok(part) = frame.into_data() {
                if body.is_end_stream() && part.len() <= limit {
                    return Taken::Whole(part);
                }
                length = part.len();
                read.push_back(part);
            }
        }
    }
    while length <= limit {
        match body.frame().await {
            // Trailers of requests are nobody's here.
            Some(Ok(frame)) => {
                if let Ok(part) = frame.into_data() {
                    length += part.len();
                    read.push_back(part);
                }
            }
            Some(Err(error)) => return Taken::Broken(error),
            None => return Taken::Whole(join(read, length)),
        }
    }
    Taken::Part(read, body)
}

fn join(mut parts: VecDeque<Bytes>, length: usize) -> Bytes {
    if parts.len() == 1 {
        return parts.pop_front().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(length);
    for part in parts {
        all.extend_from_slice(&part);
    }
    all.into()
}

impl Outgoing {
    /// Passes a body on, at most so many bytes of it.
    pub(super) fn passed(
        read: VecDeque<Bytes>,
        rest: Arriving,
        room: u64,
        copies: Option<Arc<Copies>>,
    ) -> (Self, Arc<Fate>) {
        let fate = Arc::new(Fate::default());
        (Self::Passed(Box::new(Passed { read, rest, room, fate: Arc::clone(&fate), copies })), fate)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request's body is larger than it may be")]
struct TooLarge;

impl Passed {
    /// What it is made of, if none of it was taken.
    pub(super) fn untouched(self) -> Option<(VecDeque<Bytes>, Arriving)> {
        (!self.fate.is_touched()).then_some((self.read, self.rest))
    }

    fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.fate.mark(TOUCHED);
        if let Some(part) = self.read.pop_front() {
            return self.count(part);
        }
        match Pin::new(&mut self.rest).poll_frame(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.whole();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fate.mark(BROKEN);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(part) => self.count(part),
                Err(trailers) => {
                    self.whole();
                    Poll::Ready(Some(Ok(trailers)))
                }
            },
        }
    }

    fn whole(&mut self) {
        if let Some(copies) = self.copies.take() {
            copies.whole();
        }
    }

    fn count(&mut self, part: Bytes) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Some(room) = self.room.checked_sub(part.len() as u64) else {
            self.fate.mark(TOO_LARGE);
            return Poll::Ready(Some(Err(TooLarge.into())));
        };
        self.room = room;
        if let Some(copies) = &self.copies {
            copies.part(&part);
        }
        // Nobody may ask again behind the last part.
        if self.read.is_empty() && self.rest.is_end_stream() {
            self.whole();
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Passed(passed) => passed.poll_part(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Kept(bytes) => bytes.is_empty(),
            Self::Passed(passed) => passed.read.is_empty() && passed.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Kept(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Passed(passed) => {
                let rest = passed.rest.size_hint();
                let read: u64 = passed.read.iter().map(|part| part.len() as u64).sum();
                match rest.exact() {
                    Some(rest) => SizeHint::with_exact(read + rest),
                    None => SizeHint::default(),
                }
            }
        }
    }
}
