//! One attempt: a request to one endpoint, by a kept connection or a new one, until the head of its answer is here.

use super::cluster::{Cluster, Endpoint};
use super::forward::Call;
use super::http1::{Answer, Http1, Unanswered};
use super::http2::Http2;
use super::message::{Message, Unsent};
use super::pool::IDLE;
use super::refusal::Refusal;
use super::reply::{Source, StreamGuard};
use super::table::Speech;
use super::way::Way;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer of so many bytes is taken at once where it is there, so that its connection is free before the
/// client has read it.
const SMALL_ANSWER: u64 = 64 << 10;

/// A request that may not be sent twice takes a kept connection only if it was used within this time: the peer
/// may close it just when the request is under way.
const FRESH: Duration = Duration::from_secs(1);

/// Endpoints are looked after when they have been silent for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why an attempt failed.
pub(super) enum Failed {
    /// Nothing was sent: it may be tried as often as it takes.
    NotSent,
    /// The endpoint went away with the request.
    Died,
    /// It sent something that is no answer: why.
    Garbled(String),
    /// No answer came in time.
    TooSlow,
    /// There is no use in trying again.
    Refused(Refusal),
}

impl Call<'_> {
    /// Sends the request to one endpoint and waits for the head of its answer.
    pub(super) async fn attempt(
        &self,
        message: &mut Message,
        way: &Way<'_>,
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Response<Answer>, Source, Option<Bytes>), Failed> {
        if message.by_http2(cluster, Some(endpoint)) {
            let mut connection = self.http2(cluster, endpoint).await?;
            // It may have left the table while the connection was opened.
            if endpoint.pool.is_retired() {
                return Err(Failed::NotSent);
            }
            let stream = connection.enter();
            let (request, fate) = message.take(way, self.gateway, true)?;
            match connection.send(request).await {
                Ok(mut response) => Ok(match small_call(&mut response).await {
                    Unary::Whole(bytes, trailers) => {
                        (response, Source::Whole(trailers.map(Box::new)), Some(bytes))
                    }
                    Unary::Part(first) => (response, Source::Http2(StreamGuard(stream)), first),
                }),
                Err(failed) => {
                    endpoint.pool.drop_shared(&connection);
                    Err(message.failed(self.gateway, failed, fate.as_deref()))
                }
            }
        } else {
            let (mut connection, new) = self.http1(message, cluster, endpoint).await?;
            if endpoint.pool.is_retired() {
                return Err(Failed::NotSent);
            }
            message.copy_kept();
            let shaped = message.shaped(way);
            let sent = if let Some(asking) = message.lend(shaped.as_ref()) {
                connection.ask(&asking).await.map_err(|unanswered| match unanswered {
                    Unanswered::Unsent => Failed::NotSent,
                    Unanswered::Died => Failed::Died,
                    Unanswered::Garbled(why) => Failed::Garbled(why),
                })
            } else {
                let (request, fate) = message.take(way, self.gateway, false)?;
                let sent = connection.send(request).await;
                sent.map_err(|failed| message.failed(self.gateway, failed, fate.as_deref()))
            };
            match sent {
                // Without a wish for it, it would be an answer that never ends.
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    if !message.upgrades {
                        return Err(Failed::Refused(died(cluster, 1)));
                    }
                    Ok((response, Source::Http1(Some(connection)), None))
                }
                Ok(mut response) => match small_answer(&mut connection, &mut response).await {
                    Small::Whole(bytes, reusable) => {
                        if reusable {
                            endpoint.pool.put(connection);
                        }
                        Ok((response, Source::Whole(None), Some(bytes)))
                    }
                    Small::Part(first) => Ok((response, Source::Http1(Some(connection)), first)),
                    Small::Broken => Err(Failed::Refused(died(cluster, 1))),
                },
                Err(failed) => {
                    if new && matches!(failed, Failed::NotSent) {
                        // It takes connections and closes them: as good as refusing.
                        cluster.refused(endpoint);
                    }
                    Err(failed)
                }
            }
        }
    }

    async fn http1(
        &self,
        message: &Message,
        cluster: &Cluster,
        endpoint: &Endpoint,
    ) -> Result<(Http1, bool), Failed> {
        let within = if message.repeatable && matches!(message.body, Unsent::Kept(_)) { IDLE } else { FRESH };
        if !message.upgrades {
            if let Some(kept) = endpoint.pool.take(within).await {
                return Ok((kept, false));
            }
        }
        let stream = Box::pin(self.connect(cluster, endpoint)).await?;
        Ok((Http1::open(stream), true))
    }

    async fn http2(&self, cluster: &Cluster, endpoint: &Endpoint) -> Result<Http2, Failed> {
        if let Some(shared) = endpoint.pool.share(cluster.speech() == Speech::Both) {
            return Ok(shared);
        }
        // Apart: what seldom happens is no part of every request's memory.
        Box::pin(self.open_http2(cluster, endpoint)).await
    }

    async fn open_http2(&self, cluster: &Cluster, endpoint: &Endpoint) -> Result<Http2, Failed> {
        let _opening = endpoint.pool.opening.lock().await;
        // Somebody else may have opened one meanwhile, or found out that there is nobody.
        if let Some(shared) = endpoint.pool.share(cluster.speech() == Speech::Both) {
            return Ok(shared);
        }
        if endpoint.refuses_now() {
            return Err(Failed::NotSent);
        }
        let stream = self.connect(cluster, endpoint).await?;
        let opened = Http2::open(stream).await.map_err(|_| Failed::NotSent)?;
        endpoint.pool.put_shared(&opened);
        Ok(opened)
    }

    async fn connect(&self, cluster: &Cluster, endpoint: &Endpoint) -> Result<TcpStream, Failed> {
        let connecting = TcpStream::connect(endpoint.address);
        let Ok(Ok(stream)) = timeout(self.gateway.limits.connect_timeout, connecting).await else {
            cluster.refused(endpoint);
            return Err(Failed::NotSent);
        };
        // Without it a request may wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        // A machine that is gone without a word would hold its requests for ever.
        let keepalive =
            TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4).with_retries(4);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        cluster.connected(endpoint);
        Ok(stream)
    }
}

/// What is there of an answer's body right behind its head.
enum Small {
    /// All of it; and whether the connection may be used again.
    Whole(Bytes, bool),
    /// So much, or nothing yet.
    Part(Option<Bytes>),
    /// It broke off.
    Broken,
}

async fn small_answer(connection: &mut Http1, response: &mut Response<Answer>) -> Small {
    let body = response.body_mut();
    let length = body.size_hint().exact();
    if length.is_none_or(|length| length > SMALL_ANSWER) {
        return Small::Part(None);
    }
    poll_fn(|task| {
        let part = if body.is_end_stream() { Poll::Ready(None) } else { connection.poll_frame(body, task) };
        Poll::Ready(match part {
            Poll::Pending => Small::Part(None),
            Poll::Ready(Some(Err(_))) => Small::Broken,
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) if body.is_end_stream() => Small::Whole(bytes, connection.is_usable(task)),
                Ok(bytes) => Small::Part(Some(bytes)),
                // An answer that says its length has no trailers.
                Err(_) => Small::Broken,
            },
            Poll::Ready(None) => Small::Whole(Bytes::new(), connection.is_usable(task)),
        })
    })
    .await
}

/// What is there of an HTTP/2 answer right behind its head.
enum Unary {
    /// All of it: one part at most, and trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// So much, or nothing yet.
    Part(Option<Bytes>),
}

async fn small_call(response: &mut Response<Answer>) -> Unary {
    let Answer::Stream(body) = response.body_mut() else { return Unary::Part(None) };
    poll_fn(|task| {
        let first = match body.poll_data(task) {
            Poll::Ready(Some(Ok(part))) => Some(part),
            Poll::Ready(None) => None,
            // It shows again.
            Poll::Ready(Some(Err(_))) | Poll::Pending => return Poll::Ready(Unary::Part(None)),
        };
        Poll::Ready(match body.poll_trailers(task) {
            Poll::Ready(Ok(trailers)) => Unary::Whole(first.unwrap_or_default(), trailers),
            Poll::Ready(Err(_)) | Poll::Pending => Unary::Part(first),
        })
    })
    .await
}

pub(super) fn died(cluster: &Cluster, deaths: u32) -> Refusal {
    let name = &cluster.name;
    let words = if deaths > 1 {
        format!(
            "{name} was asked twice, and both times the connection was closed before there was an answer."
        )
    } else {
        format!("The endpoint of {name} closed the connection before it answered.")
    };
    Refusal::new(StatusCode::BAD_GATEWAY, words)
}

pub(super) fn garbled(cluster: &Cluster, why: &str) -> Refusal {
    let words = format!("The endpoint of {} sent what is no answer in HTTP/1.1: {why}.", cluster.name);
    Refusal::new(StatusCode::BAD_GATEWAY, words)
}
