//! A connection that joins small parts before it writes them: one write costs the kernel less than a list of two.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Parts that have so many bytes together are joined: a head and a small body.
const JOINED: usize = 2048;

/// A connection.
#[derive(Debug)]
pub(super) struct Joined<S>(pub(super) S);

/// The parts as one, if they are small.
fn join<'a>(parts: &[IoSlice<'_>], into: &'a mut [u8; JOINED]) -> Option<&'a [u8]> {
    let mut length = 0;
    for part in parts {
        into.get_mut(length..length + part.len())?.copy_from_slice(part);
        length += part.len();
    }
    into.get(..length)
}

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; JOINED];
        match join(parts, &mut joined) {
            Some(bytes) if !bytes.is_empty() => Pin::new(&mut self.0).poll_write(task, bytes),
            _ => Pin::new(&mut self.0).poll_write_vectored(task, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_joined_to_the_last_byte() {
        let (whole, half) = (vec![1; JOINED], vec![2; JOINED / 2]);
        let mut into = [0; JOINED];
        let parts = [IoSlice::new(&half), IoSlice::new(&half)];
        assert_eq!(join(&parts, &mut into).map(<[u8]>::len), Some(JOINED));
        assert_eq!(join(&[IoSlice::new(&whole), IoSlice::new(&[3])], &mut into), None);
        let parts = [IoSlice::new(b"a"), IoSlice::new(b""), IoSlice::new(b"bc")];
        assert_eq!(join(&parts, &mut into), Some(&b"abc"[..]));
    }
}
