//! The first bytes of a client's connection tell how it speaks: HTTP/2 begins with words of its own.

use super::replay::Replay;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much is read at first: mostly a whole request.
const FIRST_READ: usize = 2 << 10;

/// A connection, and how it speaks.
pub(super) enum Greeted<S> {
    Http1(Replay<S>),
    Http2(Box<Connection<Replay<S>, Bytes>>),
}

/// Reads the first bytes; nothing comes of a connection that is over already.
pub(super) async fn greet<S>(mut stream: S, builder: &Builder) -> Option<Greeted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut read = BytesMut::with_capacity(FIRST_READ);
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            break;
        }
    }
    let is_http2 = read.starts_with(PREFACE);
    let stream = Replay::new(stream, read, false);
    Some(if is_http2 {
        Greeted::Http2(Box::new(builder.handshake(stream).await.ok()?))
    } else {
        Greeted::Http1(stream)
    })
}
