//! A body that arrives: by HTTP/1.1 through hyper, or as a stream of HTTP/2.

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::header::{HeaderMap, CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// What a body may fail with.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The room that a smaller part took is given back with the next one: a body mostly has one.
const SMALL_PART: usize = 1 << 10;

/// A client's body.
#[derive(Debug)]
pub(super) enum Arriving {
    Http1(Incoming),
    Stream(Received),
}

/// What comes by a stream of HTTP/2.
#[derive(Debug)]
pub(super) struct Received {
    stream: RecvStream,
    /// As the head says.
    length: Option<u64>,
    /// So many bytes were handed out, and the peer was not told that it may send as many again.
    taken: usize,
    data_over: bool,
    /// What still goes the other way.
    sending: Option<Sending>,
}

/// A body that is being sent beside the answer to it. Dropped before that has ended, the sending is given up.
#[derive(Debug)]
pub(super) struct Sending(Option<oneshot::Sender<()>>);

impl Sending {
    /// With what resolves well when it is given up, and badly when the answer has ended.
    pub(super) fn begin() -> (Self, oneshot::Receiver<()>) {
        let (sender, given_up) = oneshot::channel();
        (Self(Some(sender)), given_up)
    }

    /// It goes on alone: the answer has ended.
    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            // It may have ended itself.
            let _ = sender.send(());
        }
    }
}

impl Received {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = length_of(headers);
        Self { stream, length, taken: 0, data_over: false, sending: None }
    }

    /// The same, as the answer to something that is still being sent.
    pub(super) fn beside(mut self, sending: Option<Sending>) -> Self {
        self.sending = sending;
        self.look_for_the_end();
        self
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// The next part of its data; nothing behind the last.
    pub(super) fn poll_data(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if self.data_over {
            return Poll::Ready(None);
        }
        self.release();
        let polled = self.stream.poll_data(task);
        match polled {
            Poll::Ready(Some(Ok(part))) => {
                self.taken = part.len();
                if self.taken > SMALL_PART {
                    self.release();
                }
                self.length = self.length.map(|length| length.saturating_sub(part.len() as u64));
                self.look_for_the_end();
                Poll::Ready(Some(Ok(part)))
            }
            // It has heard enough, or said enough (RFC 9113, 8.1).
            Poll::Ready(Some(Err(error))) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
            Poll::Ready(None) => {
                self.data_over = true;
                Poll::Ready(None)
            }
            other => other,
        }
    }

    /// What comes behind the data.
    pub(super) fn poll_trailers(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        let polled = match self.stream.poll_trailers(task) {
            Poll::Ready(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(Ok(None)),
            polled => polled,
        };
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.let_go();
        }
        polled
    }

    /// The next part of it, or its trailers.
    pub(super) fn poll_frame(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_over {
            match self.poll_data(task) {
                Poll::Ready(None) if self.data_over => {}
                polled => return polled.map(|part| part.map(|part| part.map(Frame::data))),
            }
        }
        self.poll_trailers(task).map(|trailers| trailers.map(|found| found.map(Frame::trailers)).transpose())
    }

    /// What is sent beside it goes on alone once it has ended.
    fn look_for_the_end(&mut self) {
        if self.sending.is_some() && self.is_end_stream() {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.let_go();
        }
    }

    /// Lets the peer send more.
    fn release(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // Fails where the stream is over, and there is nothing to let.
            let _ = self.stream.flow_control().release_capacity(taken);
        }
    }
}

/// The length that a head tells, if it tells one. That it is right is the codec's to check.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(task).map_err(Into::into),
            Self::Stream(body) => body.poll_frame(task).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
