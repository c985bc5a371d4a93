//! Bodies on their way out over HTTP/2, as fast as the peer takes them.

use super::arriving::Failure;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::{Body, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

/// A first part of so many bytes goes out without a look at the peer's room: nearly every body has no other.
const FIRST_PART: usize = 16 << 10;

/// What ended a body before its end; its stream has been reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut;

/// Sends a body to its end.
pub(super) async fn pour<B>(body: &mut B, stream: &mut SendStream<Bytes>) -> Result<(), Cut>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    let mut first = true;
    loop {
        let Some(frame) = poll_fn(|task| poll_next(body, stream, task)).await? else {
            return stream.send_data(Bytes::new(), true).map_err(|_| Cut);
        };
        match frame.into_data() {
            Ok(part) => {
                let last = body.is_end_stream();
                let is_small = part.is_empty() || first && part.len() <= FIRST_PART;
                if !is_small {
                    // The part is here: room is not asked for what may never come.
                    stream.reserve_capacity(1);
                    poll_fn(|task| poll_room(stream, task)).await?;
                }
                first = false;
                stream.send_data(part, last).map_err(|_| Cut)?;
                if last {
                    return Ok(());
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.reserve_capacity(0);
                    return stream.send_trailers(trailers).map_err(|_| Cut);
                }
            }
        }
    }
}

/// The next of a body, unless the peer wants no more of it.
fn poll_next<B>(
    body: &mut B,
    stream: &mut SendStream<Bytes>,
    task: &mut Context<'_>,
) -> Poll<Result<Option<Frame<Bytes>>, Cut>>
where
    B: Body<Data = Bytes, Error = Failure> + Unpin,
{
    match Pin::new(body).poll_frame(task) {
        Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
        Poll::Ready(None) => Poll::Ready(Ok(None)),
        Poll::Ready(Some(Err(failure))) => {
            stream.send_reset(reason_of(&*failure));
            Poll::Ready(Err(Cut))
        }
        Poll::Pending => stream.poll_reset(task).map(|_| Err(Cut)),
    }
}

fn poll_room(stream: &mut SendStream<Bytes>, task: &mut Context<'_>) -> Poll<Result<(), Cut>> {
    while stream.capacity() == 0 {
        match ready!(stream.poll_capacity(task)) {
            Some(Ok(_)) => {}
            // It was reset, or has ended.
            Some(Err(_)) | None => return Poll::Ready(Err(Cut)),
        }
    }
    Poll::Ready(Ok(()))
}

/// What the next hop is told of a failure: what the last one said.
fn reason_of(failure: &(dyn std::error::Error + 'static)) -> Reason {
    let mut cause = Some(failure);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
