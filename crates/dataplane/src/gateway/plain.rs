//! Plain exchanges over an HTTP/1.1 connection to an endpoint, with no client library in between: a small request
//! that is here whole, and an answer that says its length. They are nearly all there are.
//!
//! Whatever else comes back (chunks, an answer without a length, 1xx, a head that cannot be read) is left to hyper,
//! which reads it from its first byte: see `http1`.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue, CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode};
use std::future::{poll_fn, Future};
use std::mem::MaybeUninit;
use std::pin::{pin, Pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A request with a larger body is not plain.
const LARGEST_BODY: usize = 64 << 10;

/// A longer head of an answer is hyper's.
const LONGEST_HEAD: usize = 64 << 10;

/// So are more lines.
const MOST_LINES: usize = 64;

/// There is room for so many bytes before an answer is read; most have fewer.
const ROOM: usize = 4 << 10;

/// A larger buffer is not kept for the next request.
const LARGEST_KEPT: usize = 16 << 10;

/// Parts of a body are read in pieces of so many bytes at most.
const LARGEST_PART: u64 = 64 << 10;

/// A smaller part is copied, so that the room for the next answer need not be made anew.
const COPIED: usize = 4 << 10;

/// A connection between or within plain exchanges.
#[derive(Debug)]
pub(super) struct Plain {
    stream: TcpStream,
    /// What was read and not yet understood.
    read: BytesMut,
    /// Room for the next request.
    room: Vec<u8>,
    /// So much of an answer's body was not handed out yet.
    owed: u64,
    /// It takes no further request.
    over: bool,
}

/// What came of a request.
#[derive(Debug)]
pub(super) enum Sent {
    /// The head of an answer with a body of so many bytes.
    Answer(Response<u64>),
    /// An answer that is not plain, or not an answer at all; its first bytes wait in the connection.
    Other,
    /// None. Whether nothing of the request was written.
    Nothing { unsent: bool },
}

/// The endpoint closed the connection within an answer.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint broke off with {0} bytes of its answer to come")]
pub(super) struct BrokenOff(u64);

/// A plain request. Its headers say nothing of its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    method: &'a Method,
    target: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl<'a> Asking<'a> {
    /// A request, if it is a plain one.
    pub(super) fn new(
        method: &'a Method,
        target: &'a str,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Option<Self> {
        // An answer to HEAD says a length and has none. The rest frames a body or asks for more than an answer.
        let is_plain = body.len() <= LARGEST_BODY
            && !matches!(*method, Method::HEAD | Method::CONNECT)
            && ![CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, EXPECT]
                .iter()
                .any(|name| headers.contains_key(name));
        is_plain.then_some(Self { method, target, headers, body })
    }

    /// Writes its bytes into a buffer.
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.reserve(1024 + self.body.len());
        bytes.extend_from_slice(self.method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(self.target.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in self.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        if !self.body.is_empty() || matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) {
            bytes.extend_from_slice(b"content-length: ");
            bytes.extend_from_slice(itoa::Buffer::new().format(self.body.len()).as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body);
    }
}

/// What the bytes read so far begin with.
#[derive(Debug)]
enum Head {
    /// More is needed to tell.
    Part,
    Other,
    /// A plain head of so many bytes; whether the connection ends behind its answer.
    Plain {
        response: Response<u64>,
        bytes: usize,
        last: bool,
    },
}

fn parse(read: &[u8]) -> Head {
    if read.is_empty() {
        return Head::Part;
    }
    let mut lines = [const { MaybeUninit::uninit() }; MOST_LINES];
    let mut parsed = httparse::Response::new(&mut []);
    let strictly = httparse::ParserConfig::default();
    let bytes = match strictly.parse_response_with_uninit_headers(&mut parsed, read, &mut lines) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if read.len() <= LONGEST_HEAD => return Head::Part,
        _ => return Head::Other,
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status.filter(|_| parsed.version == Some(1)) else { return Head::Other };
    if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Head::Other;
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 4);
    let (mut length, mut last) = (None, false);
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line.value)) else { return Head::Other };
        if name == TRANSFER_ENCODING {
            return Head::Other;
        } else if name == CONTENT_LENGTH {
            // Two that agree are for somebody with more patience.
            let Some(told) = digits(line.value).filter(|_| length.is_none()) else { return Head::Other };
            length = Some(told);
        } else if name == CONNECTION {
            last |= line.value.split(|byte| *byte == b',').any(|word| {
                let word = word.trim_ascii();
                word.eq_ignore_ascii_case(b"close") || word.eq_ignore_ascii_case(b"upgrade")
            });
        }
        headers.append(name, value);
    }
    let Some(length) = length else { return Head::Other };
    let mut response = Response::new(length);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Head::Plain { response, bytes, last }
}

/// The lengths of the plain head that these bytes of an endpoint begin with, and of the body that it tells; and whether
/// it takes more bytes to say so. For fuzzing.
#[doc(hidden)]
pub fn read_plainly(bytes: &[u8]) -> (Option<(usize, u64)>, bool) {
    match parse(bytes) {
        Head::Part => (None, true),
        Head::Other => (None, false),
        Head::Plain { response, bytes, .. } => (Some((bytes, *response.body())), false),
    }
}

/// A number of digits alone, if it is one that can be.
fn digits(text: &[u8]) -> Option<u64> {
    let fits = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

impl Plain {
    pub(super) const fn new(stream: TcpStream, read: BytesMut) -> Self {
        Self { stream, read, room: Vec::new(), owed: 0, over: false }
    }

    /// The stream, what was read from it and not understood, and whether it takes no further request.
    pub(super) fn into_parts(self) -> (TcpStream, BytesMut, bool) {
        (self.stream, self.read, self.over)
    }

    /// Whether the peer still takes requests, as far as this end knows. Wakes the task when that changes.
    pub(super) fn is_usable(&mut self, task: &mut Context<'_>) -> bool {
        if self.over || self.owed > 0 || !self.read.is_empty() {
            return false;
        }
        let mut byte = [0];
        // There is nothing to be read: not the end, and no answer that nobody asked for.
        self.over = Pin::new(&mut self.stream).poll_read(task, &mut ReadBuf::new(&mut byte)).is_ready();
        !self.over
    }

    /// Sends a plain request and waits for the head of its answer.
    pub(super) async fn send(&mut self, asking: &Asking<'_>) -> Sent {
        let mut bytes = std::mem::take(&mut self.room);
        asking.encode(&mut bytes);
        let mut left: &[u8] = &bytes;
        let sent = poll_fn(|task| {
            while !left.is_empty() {
                match Pin::new(&mut self.stream).poll_write(task, left) {
                    Poll::Ready(Ok(written)) if written > 0 => left = left.get(written..).unwrap_or_default(),
                    Poll::Pending => break,
                    Poll::Ready(_) if left.len() == bytes.len() => {
                        return Poll::Ready(Sent::Nothing { unsent: true })
                    }
                    // It may have answered before it closed.
                    Poll::Ready(_) => {
                        self.over = true;
                        left = &[];
                    }
                }
            }
            loop {
                match parse(&self.read) {
                    // hyper reads and never writes for us: the request has to be out.
                    Head::Other if left.is_empty() => return Poll::Ready(Sent::Other),
                    Head::Other if self.read.len() > LONGEST_HEAD => {
                        return Poll::Ready(Sent::Nothing { unsent: false })
                    }
                    Head::Part | Head::Other => {}
                    Head::Plain { response, bytes, last } => {
                        self.read.advance(bytes);
                        self.owed = *response.body();
                        // Who answers before it has heard all does not want to hear the rest.
                        self.over |= last || !left.is_empty();
                        return Poll::Ready(Sent::Answer(response));
                    }
                }
                match self.poll_more(ROOM, task) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Sent::Nothing { unsent: false }),
                }
            }
        })
        .await;
        if bytes.capacity() <= LARGEST_KEPT {
            self.room = bytes;
        }
        self.over |= matches!(sent, Sent::Nothing { .. });
        sent
    }

    /// The next part of an answer's body.
    pub(super) fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if self.owed == 0 {
            return Poll::Ready(None);
        }
        if self.read.is_empty() {
            let room = self.owed.clamp(ROOM as u64, LARGEST_PART) as usize;
            match self.poll_more(room, task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(BrokenOff(self.owed))));
                }
            }
        }
        let length = usize::try_from(self.owed).unwrap_or(usize::MAX).min(self.read.len());
        self.owed -= length as u64;
        let part = if length <= COPIED {
            let part = Bytes::copy_from_slice(self.read.get(..length).unwrap_or_default());
            self.read.advance(length);
            part
        } else {
            self.read.split_to(length).freeze()
        };
        Poll::Ready(Some(Ok(part)))
    }

    /// How much of an answer's body is still to be handed out.
    pub(super) const fn owed(&self) -> u64 {
        self.owed
    }

    /// Reads what there is; false when nothing comes any more.
    fn poll_more(&mut self, room: usize, task: &mut Context<'_>) -> Poll<bool> {
        self.read.reserve(room);
        let reading = pin!(self.stream.read_buf(&mut self.read));
        reading.poll(task).map(|read| matches!(read, Ok(length) if length > 0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn written(method: &Method, headers: &[(&'static str, &'static str)], body: &str) -> Option<String> {
        let pairs =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let headers: HeaderMap = pairs.collect();
        let mut bytes = b"what was there before".to_vec();
        Asking::new(method, "/a?b", &headers, body.as_bytes())?.encode(&mut bytes);
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_request_is_written_with_one_length() {
        let text = written(&Method::POST, &[("host", "h"), ("x", "1"), ("x", "2")], "{}").unwrap();
        assert_eq!(text, "POST /a?b HTTP/1.1\r\nhost: h\r\nx: 1\r\nx: 2\r\ncontent-length: 2\r\n\r\n{}");
        let text = written(&Method::PUT, &[], "").unwrap();
        assert_eq!(text, "PUT /a?b HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(written(&Method::GET, &[], "").unwrap(), "GET /a?b HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn what_frames_a_body_another_way_is_not_plain() {
        assert!(written(&Method::HEAD, &[], "").is_none());
        assert!(written(&Method::POST, &[], &"a".repeat(LARGEST_BODY + 1)).is_none());
        for header in [
            ("transfer-encoding", "chunked"),
            ("content-length", "2"),
            ("content-length", "0"),
            ("connection", "close"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
        ] {
            assert!(written(&Method::POST, &[header], "{}").is_none(), "{header:?}");
        }
    }

    #[test]
    fn a_head_is_plain_only_with_one_length_and_nothing_else() {
        let whole = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..whole.len() - 3 {
            assert!(matches!(parse(&whole[..end]), Head::Part), "{end}");
        }
        let Head::Plain { response, bytes, last } = parse(whole) else { panic!("not plain") };
        assert_eq!((*response.body(), bytes, last), (3, whole.len() - 3, false));
        assert_eq!(response.headers().get("a").unwrap(), "b");
        for close in ["close", "Close", "x, CLOSE", "upgrade"] {
            let text = format!("HTTP/1.1 200 OK\r\nConnection: {close}\r\nContent-Length: 3\r\n\r\n");
            assert!(matches!(parse(text.as_bytes()), Head::Plain { last: true, .. }), "{close}");
        }
    }

    #[test]
    fn whatever_is_in_doubt_is_left_to_hyper() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA\x01: b\r\nContent-Length: 3\r\n\r\n",
            "HTTP/2 200 OK\r\nContent-Length: 3\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert!(matches!(parse(head.as_bytes()), Head::Other), "{head:?}");
        }
        let lines = "A: b\r\n".repeat(MOST_LINES);
        let many = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 3\r\n\r\n");
        assert!(matches!(parse(many.as_bytes()), Head::Other));
        let long = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(LONGEST_HEAD));
        assert!(matches!(parse(long.as_bytes()), Head::Other));
    }
}
