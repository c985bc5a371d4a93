//! gRPC: a prebuilt message over streams of shared HTTP/2 connections.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Uri};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::exchange::{Exchange, Expect, Failure};
use crate::target::Target;

/// Length of the prefix before each message: compressed or not, then the length.
const PREFIX: usize = 5;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A message with its prefix.
pub fn frame(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Some(framed.freeze())
}

/// What all streams of a run send.
#[derive(Debug)]
pub struct Call {
    target: Target,
    uri: Uri,
    headers: HeaderMap,
    message: Bytes,
    expect: Expect,
}

impl Call {
    /// A call of `method` (`package.Service/Method`) with a message that [`frame`] made.
    pub fn new(
        target: Target,
        method: &str,
        headers: HeaderMap,
        message: Bytes,
        expect: Expect,
    ) -> Result<Self, http::uri::InvalidUri> {
        let uri = format!("http://{}/{}", target.authority, method.trim_start_matches('/')).parse()?;
        Ok(Self { target, uri, headers, message, expect })
    }
}

/// An HTTP/2 connection that several [`Stream`]s share.
#[derive(Debug)]
pub struct Channel {
    call: Arc<Call>,
    live: Mutex<Live>,
}

/// The current connection and which one it is, so that a failure is blamed on the right one.
#[derive(Debug, Default)]
struct Live {
    generation: u64,
    sender: Option<SendRequest<Bytes>>,
}

impl Channel {
    /// Connects at the first request.
    pub fn new(call: Arc<Call>) -> Self {
        Self { call, live: Mutex::default() }
    }

    async fn sender(&self) -> Result<(u64, SendRequest<Bytes>), Failure> {
        let mut live = self.live.lock().await;
        if let Some(sender) = &live.sender {
            return Ok((live.generation, sender.clone()));
        }
        let tcp = TcpStream::connect(self.call.target.address).await.map_err(Failure::Connect)?;
        tcp.set_nodelay(true).map_err(Failure::Connect)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            .handshake(tcp)
            .await?;
        tokio::spawn(connection); // its errors reach the streams
        live.generation += 1;
        live.sender = Some(sender.clone());
        Ok((live.generation, sender))
    }

    async fn forget(&self, generation: u64) {
        let mut live = self.live.lock().await;
        if live.generation == generation {
            live.sender = None;
        }
    }
}

/// One of a channel's concurrent streams.
#[derive(Debug)]
pub struct Stream {
    channel: Arc<Channel>,
    sender: Option<(u64, SendRequest<Bytes>)>,
}

impl Stream {
    /// A worker on `channel`.
    pub fn new(channel: Arc<Channel>) -> Self {
        Self { channel, sender: None }
    }

    async fn exchange(&self, sender: SendRequest<Bytes>) -> Result<SendRequest<Bytes>, Failure> {
        let call = &self.channel.call;
        let mut request =
            Request::post(call.uri.clone()).version(http::Version::HTTP_2).body(()).unwrap_or_default();
        *request.headers_mut() = call.headers.clone();
        let mut sender = sender.ready().await?;
        let (response, mut upload) = sender.send_request(request, false)?;
        upload.send_data(call.message.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.status != 200 {
            return Err(Failure::Status { status: head.status.as_u16(), body: String::new() });
        }
        let mut received = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            received.extend_from_slice(&chunk);
        }
        // An answer that failed at once has its status among the headers, without trailers.
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        check_status(&trailers)?;
        call.expect.check(received.get(PREFIX..).unwrap_or_default())?;
        Ok(sender)
    }
}

impl Exchange for Stream {
    async fn ask(&mut self) -> Result<(), Failure> {
        let (generation, sender) = match self.sender.take() {
            Some(found) => found,
            None => self.channel.sender().await?,
        };
        let mut turn = (generation, self.exchange(sender).await);
        if matches!(&turn.1, Err(Failure::Http2(error)) if was_not_taken(error)) {
            self.channel.forget(turn.0).await;
            let (generation, sender) = self.channel.sender().await?;
            turn = (generation, self.exchange(sender).await);
        }
        match turn {
            (generation, Ok(sender)) => {
                self.sender = Some((generation, sender));
                Ok(())
            }
            (generation, Err(failure)) => {
                if matches!(failure, Failure::Http2(_)) {
                    self.channel.forget(generation).await;
                }
                Err(failure)
            }
        }
    }
}

/// Whether the server was going away in peace and has not begun with the request (RFC 9113, 6.8): every gRPC client
/// then sends it again, on a new connection.
fn was_not_taken(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

fn check_status(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        code => Err(Failure::Grpc {
            code: code.unwrap_or("missing").to_owned(),
            message: text("grpc-message").unwrap_or_default().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_prefixed_with_its_length() {
        assert_eq!(frame(b"abc").as_deref(), Some(&b"\0\0\0\0\x03abc"[..]));
    }

    #[test]
    fn only_status_zero_is_success() -> Result<(), Box<dyn std::error::Error>> {
        let mut trailers = HeaderMap::new();
        let kind = |trailers: &HeaderMap| check_status(trailers).err().map(|failure| failure.kind());
        assert_eq!(kind(&trailers).as_deref(), Some("grpc_missing"));
        trailers.insert("grpc-status", "5".parse()?);
        assert_eq!(kind(&trailers).as_deref(), Some("grpc_5"));
        trailers.insert("grpc-status", "0".parse()?);
        assert_eq!(kind(&trailers), None);
        Ok(())
    }
}
