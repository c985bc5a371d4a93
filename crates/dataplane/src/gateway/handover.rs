//! Hands the listening sockets to whoever restarts: a supervisor that was killed cannot bind them anew while
//! this process has them.
//!
//! Each connection gets one message: JSON that says how many sockets of each kind come, and the descriptors
//! (`SCM_RIGHTS`), public ones first.

use super::socket::{is_ours, Socket};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// So many descriptors fit in one message.
pub(super) const MOST: usize = 16;

/// Answers until the process ends.
pub(super) async fn serve(socket: Socket, public: usize, descriptors: Arc<Vec<OwnedFd>>) {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) if is_ours(&stream) => {
                // Whoever does not read gets nothing; the next one is not kept waiting.
                let _ = hand_over(&stream, public, &descriptors).await;
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn hand_over(stream: &UnixStream, public: usize, descriptors: &[OwnedFd]) -> io::Result<()> {
    let text = format!("{{\"listen\":{public},\"internal\":{}}}\n", descriptors.len() - public);
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many sockets for one message"));
            }
            let sent = sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
            // A new stream has room for so few bytes.
            debug_assert_eq!(sent, text.len());
            Ok(())
        })
        .await
}
