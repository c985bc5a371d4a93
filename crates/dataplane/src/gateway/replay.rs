//! A connection within an exchange: whoever takes it over hears what was read already, and what it writes is not sent,
//! since the request is out.

use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection.
#[derive(Debug)]
pub(super) struct Replay<S> {
    stream: S,
    read: BytesMut,
    mute: Mute,
}

#[derive(Debug)]
enum Mute {
    /// What is written is sent.
    No,
    /// It is not. Nothing is heard before something was written: an answer that comes before its question is none.
    Asleep(Option<Waker>),
    /// It is not, and the question was asked.
    Asked,
}

impl<S> Replay<S> {
    /// With what was `read` first. `mute`: nothing that is written is sent.
    pub(super) fn new(stream: S, read: BytesMut, mute: bool) -> Self {
        Self { stream, read, mute: if mute { Mute::Asleep(None) } else { Mute::No } }
    }

    /// All that was read before was heard.
    pub(super) fn is_read(&self) -> bool {
        self.read.is_empty()
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Whether what is written is to be thrown away.
    fn swallows(&mut self) -> bool {
        if let Mute::Asleep(waiting) = &mut self.mute {
            if let Some(waiting) = waiting.take() {
                waiting.wake();
            }
            self.mute = Mute::Asked;
        }
        matches!(self.mute, Mute::Asked)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Mute::Asleep(waiting) = &mut self.mute {
            *waiting = Some(task.waker().clone());
            return Poll::Pending;
        }
        if !self.read.is_empty() {
            let length = self.read.len().min(into.remaining());
            into.put_slice(self.read.get(..length).unwrap_or_default());
            self.read.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(task, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.swallows() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.swallows() {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(task, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
