//! A call's body, counted as it comes.

use crate::budget::Share;
use crate::metrics::BodyFault;
use crate::model::Server;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::codegen::StdError;
use tonic::Status;

/// A body of which the request's share of the server's memory for bodies holds what has come. Beyond that
/// memory it ends with RESOURCE_EXHAUSTED.
pub(super) struct Counted<B> {
    body: Pin<Box<B>>,
    server: Arc<Server>,
    share: Arc<Share>,
}

impl<B> Counted<B> {
    pub(super) fn new(body: B, server: &Arc<Server>, share: &Arc<Share>) -> Self {
        Self { body: Box::pin(body), server: Arc::clone(server), share: Arc::clone(share) }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = match self.body.as_mut().poll_frame(task) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(data) = frame.data_ref() {
            if let Err(error) = self.share.more(data.len()) {
                self.server.metrics.body_rejected(BodyFault::NoRoom);
                return Poll::Ready(Some(Err(Status::from(error).into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
