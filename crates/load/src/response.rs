//! Reads one HTTP/1.1 response from the front of a buffer: status, length, body, and no more.
//!
//! Incomplete, malformed and complete are three different answers, so that the caller knows whether
//! to read on, to give the connection up, or to judge what came.

use std::borrow::Cow;

use thiserror::Error;

const MAX_HEADERS: usize = 64;

/// A complete response at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The body, joined together if it came in chunks.
    pub body: Cow<'a, [u8]>,
    /// Whether the server leaves the connection open.
    pub keep_alive: bool,
    /// How many bytes of the buffer the response took.
    pub consumed: usize,
}

/// Why bytes are not a response that this reader knows.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// The head is not HTTP/1.
    #[error("the response's head is not HTTP/1.1: {0}")]
    Head(httparse::Error),
    /// A header that says how long the body is cannot be read.
    #[error("content-length is not a number")]
    Length,
    /// Neither content-length nor chunked: the body would end with the connection.
    #[error("the response has neither content-length nor transfer-encoding: chunked")]
    NoLength,
    /// A chunk's size line or its end is wrong.
    #[error("the chunked body is broken at byte {at}")]
    Chunk {
        /// Where, counted from the start of the response.
        at: usize,
    },
}

/// The response at the front of `bytes`, or `None` while some of it is still to come.
pub fn parse(bytes: &[u8]) -> Result<Option<Response<'_>>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let start = match head.parse(bytes).map_err(Malformed::Head)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let status = head.code.unwrap_or(0);
    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = head.version == Some(1);
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(decimal(header.value).ok_or(Malformed::Length)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = header.value.eq_ignore_ascii_case(b"chunked");
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = !header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let (body, consumed) = if chunked {
        match unchunk(bytes, start)? {
            None => return Ok(None),
            Some((body, end)) => (Cow::Owned(body), end),
        }
    } else {
        let length = match length {
            Some(length) => length,
            None if matches!(status, 204 | 304) => 0,
            None => return Err(Malformed::NoLength),
        };
        let end = start.checked_add(length).ok_or(Malformed::Length)?;
        match bytes.get(start..end) {
            None => return Ok(None),
            Some(body) => (Cow::Borrowed(body), end),
        }
    };
    Ok(Some(Response { status, body, keep_alive, consumed }))
}

fn decimal(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The joined chunks from `at` on and where they end; `None` while some are still to come.
fn unchunk(bytes: &[u8], mut at: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
    let mut body = Vec::new();
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (head, size) = match httparse::parse_chunk_size(rest) {
            Err(_) => return Err(Malformed::Chunk { at }),
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(found)) => found,
        };
        at += head;
        if size == 0 {
            return trailer_end(bytes, at).map(|end| end.map(|end| (body, end)));
        }
        let size = usize::try_from(size).map_err(|_| Malformed::Chunk { at })?;
        let end = at.checked_add(size).ok_or(Malformed::Chunk { at })?;
        let Some(chunk) = bytes.get(at..end) else { return Ok(None) };
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => {}
            Some(_) => return Err(Malformed::Chunk { at: end }),
        }
        body.extend_from_slice(chunk);
        at = end + 2;
    }
}

/// Where the trailer section that begins at `at` ends (mostly two bytes on: it is empty).
fn trailer_end(bytes: &[u8], at: usize) -> Result<Option<usize>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes.get(at..).unwrap_or_default(), &mut headers) {
        Err(_) => Err(Malformed::Chunk { at }),
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(at + length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(bytes: &[u8]) -> Response<'_> {
        match parse(bytes) {
            Ok(Some(response)) => response,
            other => panic!("expected a complete response, got {other:?}"),
        }
    }

    #[test]
    fn content_length_bounds_the_body_and_leaves_what_follows() {
        let response = complete(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 ");
        assert_eq!(response.status, 200);
        assert_eq!(&*response.body, b"hello");
        assert!(response.keep_alive);
        assert_eq!(response.consumed, 43);
    }

    #[test]
    fn chunks_are_joined() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        let response = complete(bytes);
        assert_eq!(&*response.body, b"abc0123456789");
        assert_eq!(response.consumed, bytes.len());
    }

    #[test]
    fn trailers_belong_to_the_response() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(complete(bytes).consumed, bytes.len());
    }

    #[test]
    fn every_proper_prefix_is_incomplete() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
            &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"[..],
        ] {
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "the first {end} bytes");
            }
            assert!(matches!(parse(bytes), Ok(Some(_))));
        }
    }

    #[test]
    fn an_empty_answer_needs_no_length() {
        assert_eq!(&*complete(b"HTTP/1.1 204 No Content\r\n\r\n").body, b"");
    }

    #[test]
    fn close_is_noticed() {
        assert!(!complete(b"HTTP/1.1 500 E\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").keep_alive);
        assert!(!complete(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").keep_alive);
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        let error = parse(b"SSH-2.0-OpenSSH\r\n\r\n").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("the response's head is not HTTP/1.1: invalid HTTP version"));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Malformed::NoLength));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), Err(Malformed::Length));
        let broken = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n";
        assert_eq!(parse(broken), Err(Malformed::Chunk { at: 53 }));
    }
}
