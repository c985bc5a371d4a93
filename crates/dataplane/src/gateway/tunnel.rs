//! Websockets: once an endpoint has switched protocols, bytes go both ways as fast as the slower side takes them.
//!
//! The gateway reads no more of them than where a frame ends: there it says goodbye (1001) when it ends itself, or
//! when nobody has said anything for too long, and both sides know that they may come again.

use super::cluster::{Load, UnderWay};
use super::exchange::Exchange;
use super::run::Stage;
use bytes::Bytes;
use http::header::{HeaderValue, CONNECTION, UPGRADE};
use http::{HeaderMap, Method, Request, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// So much is under way in each direction, beside what the kernel holds.
const BUFFER: usize = 16 << 10;

/// So long both sides have to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// "Going away", to a client; and to a server, masked as a client's frames are (with a mask of zeros).
const CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
const CLOSE_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// What a request that wants a websocket is to be spoken over; nothing for all others.
pub(super) fn asked(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let named = |name, wanted: &str| {
        let values = request.headers().get_all(name).into_iter();
        let mut tokens = values.flat_map(|value: &HeaderValue| value.as_bytes().split(|byte| *byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let is_one = request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && named(CONNECTION, "upgrade")
        && named(UPGRADE, "websocket");
    is_one.then(|| hyper::upgrade::on(request))
}

/// Says on the next hop what was said on the last one.
pub(super) fn ask(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// A websocket.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) endpoint: TcpStream,
    /// What the endpoint has sent behind its answer.
    pub(super) read: Bytes,
    pub(super) exchange: Exchange,
    /// Without a byte either way it ends after so long.
    pub(super) idle: Duration,
    /// They count while it lasts.
    pub(super) guards: (Load, UnderWay),
}

impl Tunnel {
    /// Carries it to its end.
    pub(super) async fn run(self, stage: watch::Receiver<Stage>) {
        let Self { client, endpoint, read, mut exchange, idle, guards } = self;
        // The client may have gone before it could be told.
        let Ok(client) = client.await else { return };
        let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
        let (endpoint_read, endpoint_write) = endpoint.into_split();
        let counts = [AtomicU64::new(0), AtomicU64::new(0)];
        let [to_client, to_endpoint] = &counts;
        let (end, ended) = watch::channel(false);
        let down = pump((&*read).chain(endpoint_read), client_write, CLOSE, to_client, ended.clone());
        let up = pump(client_read, endpoint_write, CLOSE_MASKED, to_endpoint, ended);
        let watched = async {
            until_over(stage, &counts, idle).await;
            end.send_replace(true);
            sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = async { tokio::join!(down, up) } => {}
            () = watched => {}
        }
        exchange.sent(to_client.load(Relaxed) as usize);
        exchange.end();
        drop(guards);
    }
}

/// Waits until the gateway ends, or nothing has moved for so long.
async fn until_over(mut stage: watch::Receiver<Stage>, counts: &[AtomicU64; 2], idle: Duration) {
    let all = || counts.iter().map(|count| count.load(Relaxed)).sum::<u64>();
    let still = async {
        let mut before = all();
        loop {
            sleep(idle).await;
            let now = all();
            if now == before {
                return;
            }
            before = now;
        }
    };
    tokio::select! {
        _ = stage.wait_for(|stage| *stage >= Stage::Finishing) => {}
        () = still => {}
    }
}

/// Moves bytes one way, until their source has no more; says goodbye between two frames when that is over.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    goodbye: &[u8],
    moved: &AtomicU64,
    mut ended: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; BUFFER];
    let mut frames = Frames::default();
    loop {
        let is_over = *ended.borrow();
        if is_over && frames.is_between() {
            // After this no frame may follow: what still comes is heard out, so that nobody sees a reset.
            if to.write_all(goodbye).await.is_ok() && to.flush().await.is_ok() {
                while matches!(timeout(FAREWELL, from.read(&mut buffer)).await, Ok(Ok(1..))) {}
            }
            break;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = ended.wait_for(|ended| *ended), if !is_over => continue,
        };
        let Ok(read @ 1..) = read else { break };
        let part = buffer.get(..read).unwrap_or_default();
        if to.write_all(part).await.is_err() || to.flush().await.is_err() {
            break;
        }
        frames.pass(part);
        moved.fetch_add(read as u64, Relaxed);
    }
    // The other side learns of it as from the source itself.
    let _ = to.shutdown().await;
}

/// Where frames end (RFC 6455, 5.2).
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: u64,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len() as u64);
                self.left -= skipped;
                bytes = bytes.get(skipped as usize..).unwrap_or_default();
                continue;
            }
            self.head.push(*first);
            bytes = rest;
            if let Some(length) = payload(&self.head) {
                self.left = length;
                self.head.clear();
            }
        }
    }
}

/// The length of a frame's payload, once its head is whole.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extra, short) = match second & 0x7f {
        126 => (2, None),
        127 => (8, None),
        short => (0, Some(u64::from(short))),
    };
    if head.len() < 2 + extra + mask {
        return None;
    }
    let long = head.get(2..2 + extra)?.iter().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
    Some(short.unwrap_or(long))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65_536 => {
                frame.push(mask + 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask + 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([7; 4].iter().take(if masked { 4 } else { 0 }));
        frame.extend(vec![0x88; length]);
        frame
    }

    #[test]
    fn ends_of_frames_are_found_however_they_are_cut() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            for masked in [false, true] {
                let bytes = frame(length, masked);
                for cut in [1, 2, 3, 7, 4096] {
                    let mut frames = Frames::default();
                    let parts: Vec<_> = bytes.chunks(cut).collect();
                    for (number, part) in parts.iter().enumerate() {
                        frames.pass(part);
                        let is_last = number + 1 == parts.len();
                        assert_eq!(frames.is_between(), is_last, "{length} {masked} {cut} {number}");
                    }
                }
                let mut frames = Frames::default();
                frames.pass(&[bytes.clone(), bytes].concat());
                assert!(frames.is_between());
            }
        }
        let mut frames = Frames::default();
        frames.pass(CLOSE);
        frames.pass(CLOSE_MASKED);
        assert!(frames.is_between());
    }
}
