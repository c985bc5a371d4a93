//! A call of a client's HTTP/2 connection, from its head to the last byte of its answer.

use super::arriving::{Arriving, Received};
use super::forward::{self, Origin};
use super::pour::pour;
use super::reply::Reply;
use super::run::Gateway;
use super::watch::Waiting;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{HeaderValue, CONTENT_LENGTH, DATE, TE};
use http::{Request, Response};
use http_body::Body as _;
use std::cell::RefCell;
use std::future::{poll_fn, Future as _};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Answers a call, unless its client gives it up.
pub(super) async fn call(
    gateway: Arc<Gateway>,
    origin: Arc<Origin>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    waiting: Waiting,
) {
    let (head, stream) = request.into_parts();
    let body = Arriving::Stream(Received::new(stream, &head.headers));
    let response = {
        let mut answering =
            pin!(forward::answer(gateway, origin, Request::from_parts(head, body), None, waiting));
        poll_fn(|task| match answering.as_mut().poll(task) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            // Not there yet: does anybody still want it?
            Poll::Pending => respond.poll_reset(task).map(|_| None),
        })
        .await
    };
    if let Some(response) = response {
        deliver(response, &mut respond).await;
    }
}

/// Sends an answer to its end.
async fn deliver(response: Response<Reply>, respond: &mut SendResponse<Bytes>) {
    let (mut head, mut body) = response.into_parts();
    head.headers.entry(DATE).or_insert_with(date);
    // They would be another hop's; a rule may have set them.
    head.headers.remove(TE);
    head.headers.remove("proxy-connection");
    let ended = body.is_end_stream();
    if !ended {
        if let Some(length) = body.size_hint().exact() {
            head.headers.entry(CONTENT_LENGTH).or_insert_with(|| length.into());
        }
    }
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), ended) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    if ended {
        return;
    }
    // Where this fails, nobody listens any more.
    let _ = match body {
        Reply::Whole(bytes, None) => stream.send_data(bytes, true),
        Reply::Whole(bytes, Some(trailers)) => {
            stream.send_data(bytes, false).and_then(|()| stream.send_trailers(*trailers))
        }
        Reply::Passed(_) => {
            let _ = Box::pin(pour(&mut body, &mut stream)).await;
            Ok(())
        }
    };
}

/// The time of an answer, written once a second.
fn date() -> HeaderValue {
    thread_local!(static WRITTEN: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) });
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    WRITTEN.with_borrow_mut(|written| {
        if written.0 != seconds {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            *written = (seconds, HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("")));
        }
        written.1.clone()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_now() {
        let written = date();
        let read = httpdate::parse_http_date(written.to_str().unwrap()).unwrap();
        assert!(SystemTime::now().duration_since(read).unwrap() < Duration::from_secs(60));
    }
}
