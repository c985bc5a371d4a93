//! REST: a prebuilt request over one HTTP/1.1 keep-alive connection.

use std::fmt::Write as _;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::exchange::{excerpt, Exchange, Expect, Failure};
use crate::response::parse;
use crate::target::Target;

const READ_AHEAD: usize = 4096;

/// The bytes of a POST (or, without a body, a GET), built once.
pub fn prebuild(target: &Target, headers: &[(String, String)], body: Option<&[u8]>) -> Bytes {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", target.path, target.authority);
    for (name, value) in headers {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if let Some(body) = body {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body.unwrap_or_default());
    request.into()
}

/// One connection that sends the same request again and again.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    request: Bytes,
    expect: Expect,
    stream: Option<TcpStream>,
    received: BytesMut,
}

impl Connection {
    /// Connects at the first request.
    pub fn new(target: Target, request: Bytes, expect: Expect) -> Self {
        Self { target, request, expect, stream: None, received: BytesMut::with_capacity(16 * 1024) }
    }

    async fn connect(&mut self) -> Result<TcpStream, Failure> {
        self.received.clear();
        let stream = TcpStream::connect(self.target.address).await.map_err(Failure::Connect)?;
        stream.set_nodelay(true).map_err(Failure::Connect)?;
        Ok(stream)
    }

    /// The verdict on the answer, and whether the connection may be used again.
    async fn exchange(&mut self, stream: &mut TcpStream) -> Result<(Result<(), Failure>, bool), Failure> {
        stream.write_all(&self.request).await.map_err(Failure::Io)?;
        loop {
            self.received.reserve(READ_AHEAD);
            if stream.read_buf(&mut self.received).await.map_err(Failure::Io)? == 0 {
                return Err(Failure::Closed);
            }
            if let Some(response) = parse(&self.received)? {
                let verdict = if response.status == 200 {
                    self.expect.check(&response.body)
                } else {
                    Err(Failure::Status { status: response.status, body: excerpt(&response.body) })
                };
                let (keep_alive, consumed) = (response.keep_alive, response.consumed);
                self.received.advance(consumed);
                return Ok((verdict, keep_alive));
            }
        }
    }
}

impl Exchange for Connection {
    async fn ask(&mut self) -> Result<(), Failure> {
        // Taken out, so that a cancelled or failed exchange leaves no half-read connection behind.
        let (mut stream, mut reused) = match self.stream.take() {
            Some(stream) => (stream, true),
            None => (self.connect().await?, false),
        };
        loop {
            match self.exchange(&mut stream).await {
                Ok((verdict, keep_alive)) => {
                    self.stream = keep_alive.then_some(stream);
                    return verdict;
                }
                // Servers may close an idle connection at any time; every client then tries once more.
                Err(Failure::Closed | Failure::Io(_)) if reused && self.received.is_empty() => {
                    stream = self.connect().await?;
                    reused = false;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_built_once_with_its_length() -> Result<(), String> {
        let target = Target::parse("http://127.0.0.1:1/a")?;
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        let request = prebuild(&target, &headers, Some(b"{}"));
        let expected =
            "POST /a HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(request, expected.as_bytes());
        assert!(prebuild(&target, &[], None).starts_with(b"GET /a HTTP/1.1\r\n"));
        Ok(())
    }
}
