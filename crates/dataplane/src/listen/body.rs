//! Request bodies: within the limits, decompressed, and placed so that tensors can be viewed in place.

use super::encoding::Encoding;
use crate::budget::Share;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use http::header::EXPECT;
use http::HeaderMap;
use http_body::Body;
use std::future::{poll_fn, Future};
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// NumPy and most vector code are happy with this.
const BOUNDARY: usize = 64;

/// How a body is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Most bytes, after decompression.
    pub(super) limit: usize,
    /// How long the client may take.
    pub(super) timeout: Duration,
    /// When nobody waits any more.
    pub(super) deadline: Option<Instant>,
    /// Offset that should lie on a 64-byte boundary: the end of the JSON before binary tensors.
    pub(super) align_at: Option<usize>,
    /// How it is compressed.
    pub(super) encoding: Option<Encoding>,
}

/// Reads a request's body; `share` holds what it takes.
pub(super) async fn read<B>(body: &mut B, terms: Terms, share: &Share) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let claimed = body.size_hint().exact().or(Some(body.size_hint().lower())).unwrap_or(0);
    if claimed > terms.limit as u64 {
        return Err(too_large(claimed, terms.limit));
    }
    let claimed = claimed as usize;
    share.check(claimed)?;
    let read = collect(body, claimed, terms, share).await?;
    let Some(encoding) = terms.encoding else { return Ok(read) };
    let packed = read.len();
    let read = encoding.undo(read, terms).await?;
    share.less(packed);
    share.more(read.len())?;
    Ok(read)
}

fn too_large(got: u64, limit: usize) -> Error {
    Error::new(Kind::TooLarge, format!("The body has {got} bytes, but this server takes at most {limit}."))
}

pub(super) fn grew_too_large(limit: usize) -> Error {
    Error::new(Kind::TooLarge, format!("The body has more than {limit} bytes, the most this server takes."))
}

async fn collect<B>(body: &mut B, claimed: usize, terms: Terms, share: &Share) -> Result<Bytes>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut patience = Patience::new(terms);
    let align_at = terms.align_at.filter(|_| terms.encoding.is_none());
    let Some(first) = next(body, &mut patience).await? else { return Ok(Bytes::new()) };
    if first.len() > terms.limit {
        return Err(grew_too_large(terms.limit));
    }
    share.more(first.len())?;
    if body.is_end_stream() && align_at.is_none_or(|offset| is_aligned(&first, offset)) {
        return Ok(first);
    }
    // The claim has been checked against the limit; memory is only touched as bytes come.
    let mut buffer = Buffer::new(claimed.max(first.len()), align_at)?;
    buffer.extend(&first);
    drop(first);
    while let Some(part) = next(body, &mut patience).await? {
        if buffer.len() + part.len() > terms.limit {
            return Err(grew_too_large(terms.limit));
        }
        share.more(part.len())?;
        buffer.extend(&part);
    }
    buffer.into_bytes()
}

async fn next<B>(body: &mut B, patience: &mut Patience) -> Result<Option<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        let frame = poll_fn(|task| match Pin::new(&mut *body).poll_frame(task) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => patience.poll(task).map(Err),
        })
        .await?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Error::invalid(format!("The body ended early or is malformed: {error}.")));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_) => {} // trailers
            },
        }
    }
}

/// A timer that is set only when the body does not come at once, which it mostly does.
struct Patience {
    terms: Terms,
    polled: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(terms: Terms) -> Self {
        Self { terms, polled: false, sleep: None }
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Error> {
        if !self.polled {
            // The connection reads only when asked: look once more before a timer is set.
            self.polled = true;
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let terms = self.terms;
        let sleep = self.sleep.get_or_insert_with(|| {
            let end = Instant::now().checked_add(terms.timeout);
            let end = match (end, terms.deadline) {
                (Some(end), Some(deadline)) => end.min(deadline),
                (Some(end), None) | (None, Some(end)) => end,
                (None, None) => Instant::now() + Duration::from_secs(86_400),
            };
            Box::pin(tokio::time::sleep_until(end.into()))
        });
        match sleep.as_mut().poll(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Error::new(
                Kind::Status(408),
                match terms.deadline {
                    Some(deadline) if deadline <= Instant::now() => {
                        "The request's deadline passed before its body had come.".to_owned()
                    }
                    _ => format!("The body did not come within {} s.", terms.timeout.as_secs_f64()),
                },
            )),
        }
    }
}

/// Bytes with a padding before them, so that one offset lies on a boundary.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    padding: usize,
    align_at: Option<usize>,
}

impl Buffer {
    pub(super) fn new(capacity: usize, align_at: Option<usize>) -> Result<Self> {
        let slack = if align_at.is_some() { BOUNDARY } else { 0 };
        let mut bytes = Vec::new();
        // Where memory is accounted strictly, a few large claims must not end the process.
        bytes.try_reserve_exact(capacity.saturating_add(slack)).map_err(|_| {
            Error::new(Kind::Overloaded, format!("There is no memory for a body of {capacity} bytes now."))
        })?;
        let padding = align_at.map_or(0, |offset| padding_for(bytes.as_ptr(), offset));
        bytes.resize(padding, 0);
        Ok(Self { bytes, padding, align_at })
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.padding
    }

    fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// Reads to the end; false if that is beyond the limit.
    pub(super) fn fill(&mut self, from: impl Read, limit: usize) -> std::io::Result<bool> {
        from.take(limit as u64 + 1).read_to_end(&mut self.bytes)?;
        Ok(self.len() <= limit)
    }

    pub(super) fn into_bytes(self) -> Result<Bytes> {
        let offset = match self.align_at {
            Some(offset) if offset < self.len() => offset,
            _ => return Ok(Bytes::from(self.bytes).slice(self.padding..)),
        };
        // It grew and moved (its length was not known): once more, with the length known.
        if padding_for(self.bytes.as_ptr(), offset + self.padding) != 0 {
            let mut placed = Self::new(self.len(), Some(offset))?;
            placed.extend(self.bytes.get(self.padding..).unwrap_or_default());
            return Ok(Bytes::from(placed.bytes).slice(placed.padding..));
        }
        Ok(Bytes::from(self.bytes).slice(self.padding..))
    }
}

fn padding_for(start: *const u8, offset: usize) -> usize {
    (BOUNDARY - (start.addr().wrapping_add(offset)) % BOUNDARY) % BOUNDARY
}

fn is_aligned(bytes: &Bytes, offset: usize) -> bool {
    offset >= bytes.len() || padding_for(bytes.as_ptr(), offset) == 0
}

/// Most bytes read from a client that was refused before it had sent its body.
const COURTESY: usize = 16 << 20;

/// Goes on reading a refused request's body for a moment: a socket closed with unread bytes is reset,
/// and the client would see that instead of our answer.
pub(super) fn discard<B>(headers: &HeaderMap, mut body: B)
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
{
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    tokio::spawn(async move {
        let drain = async {
            let mut seen = 0;
            while seen < COURTESY {
                match poll_fn(|task| Pin::new(&mut body).poll_frame(task)).await {
                    Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), drain).await;
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::listen::encoding::{INFLATING, INFLATING_AT_ONCE};
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use flate2::Compression;
    use http::header::CONTENT_ENCODING;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::convert::Infallible;
    use std::io::Write;

    fn terms(limit: usize, align_at: Option<usize>) -> Terms {
        Terms { limit, timeout: Duration::from_secs(3600), deadline: None, align_at, encoding: None }
    }

    async fn read_parts(parts: &[&[u8]], encoding: Option<&'static str>, terms: Terms) -> Result<Bytes> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.parse().expect("a value"));
        }
        let frames: Vec<std::result::Result<_, Infallible>> =
            parts.iter().map(|part| Ok(http_body::Frame::data(Bytes::copy_from_slice(part)))).collect();
        let stream = futures_util::stream::iter(frames);
        let terms = Terms { encoding: Encoding::of(&headers)?, ..terms };
        read(&mut StreamBody::new(stream).boxed(), terms, &Share::of(&Budget::new(1 << 30))).await
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        let body = [7_u8; 100];
        assert_eq!(
            read_parts(&[&body[..60], &body[60..]], None, terms(100, None)).await.expect("fits").len(),
            100
        );
        let refused =
            read_parts(&[&body[..60], &body[60..]], None, terms(99, None)).await.expect_err("too large");
        assert_eq!(refused.kind, Kind::TooLarge);
        assert!(refused.message.contains("99"), "{refused}");
        let mut claimed = Full::new(Bytes::from_static(&[0; 100]));
        let refused = read(&mut claimed, terms(99, None), &Share::of(&Budget::new(1 << 30)))
            .await
            .expect_err("too large");
        assert!(refused.message.contains("100") && refused.message.contains("99"), "{refused}");
    }

    #[tokio::test]
    async fn the_binary_part_is_aligned_however_it_comes() {
        let body: Vec<u8> = (0..10_000_usize).map(|index| index as u8).collect();
        for offset in [0, 1, 63, 64, 65, 777, 9_999, 10_000, 20_000] {
            for cut in [0, 1, 500, 9_999] {
                let (one, other) = body.split_at(cut);
                let read =
                    read_parts(&[one, other], None, terms(1 << 20, Some(offset))).await.expect("a body");
                assert_eq!(read, body);
                assert!(is_aligned(&read, offset), "offset {offset}, cut {cut}");
            }
            let packed = pack(GzEncoder::new(Vec::new(), Compression::fast()), &body, GzEncoder::finish);
            let read =
                read_parts(&[&packed], Some("gzip"), terms(1 << 20, Some(offset))).await.expect("a body");
            assert_eq!(read, body);
            assert!(is_aligned(&read, offset), "offset {offset}, gzip");
        }
    }

    #[tokio::test]
    async fn a_body_without_room_is_refused_and_room_comes_back() {
        let budget = Budget::new(1000);
        let share = Share::of(&budget);
        let mut body = Full::new(Bytes::from_static(&[0; 600]));
        assert_eq!(read(&mut body, terms(1000, None), &share).await.expect("room").len(), 600);
        assert_eq!(budget.used(), 600);
        let other = Share::of(&budget);
        let mut body = Full::new(Bytes::from_static(&[0; 401]));
        let refused = read(&mut body, terms(1000, None), &other).await.expect_err("no room");
        assert_eq!(refused.kind, Kind::Overloaded);
        assert!(!body.is_end_stream(), "it was read before it was refused");
        // Nothing says how long this one is.
        let frames: Vec<std::result::Result<_, Infallible>> =
            (0..5).map(|_| Ok(http_body::Frame::data(Bytes::from_static(&[0; 100])))).collect();
        let mut body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
        let refused = read(&mut body, terms(1000, None), &other).await.expect_err("no room");
        assert_eq!(refused.kind, Kind::Overloaded);
        drop((share, other));
        assert_eq!(budget.used(), 0);
    }

    fn pack<W: Write>(
        mut packer: W,
        bytes: &[u8],
        finish: impl Fn(W) -> std::io::Result<Vec<u8>>,
    ) -> Vec<u8> {
        packer.write_all(bytes).expect("memory");
        finish(packer).expect("memory")
    }

    /// Five hundred threads that inflate a bomb each would take more memory than the machine has.
    #[tokio::test]
    async fn few_bodies_are_inflated_at_once() {
        let body: Vec<u8> = (0..40_000).map(|_| fastrand::u8(..)).collect();
        let packed = pack(GzEncoder::new(Vec::new(), Compression::fast()), &body, GzEncoder::finish);
        let all = INFLATING.acquire_many(INFLATING_AT_ONCE as u32).await.expect("never closed");
        let parts = [packed.as_slice()];
        let mut reading = Box::pin(read_parts(&parts, Some("gzip"), terms(1 << 20, None)));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut reading).await;
        assert!(early.is_err(), "it did not wait for its turn");
        drop(all);
        assert_eq!(reading.await.expect("a body"), body);
    }

    #[tokio::test]
    async fn compressed_bodies_are_inflated_within_the_limit() {
        let body = vec![b'x'; 50_000];
        let gzip = pack(GzEncoder::new(Vec::new(), Compression::best()), &body, GzEncoder::finish);
        let zlib = pack(ZlibEncoder::new(Vec::new(), Compression::best()), &body, ZlibEncoder::finish);
        let bare = pack(DeflateEncoder::new(Vec::new(), Compression::best()), &body, DeflateEncoder::finish);
        for (encoding, packed) in [("gzip", &gzip), ("X-GZIP", &gzip), ("deflate", &zlib), ("deflate", &bare)]
        {
            let read = read_parts(&[packed], Some(encoding), terms(50_000, None)).await.expect("fits");
            assert_eq!(read, body);
            let bomb =
                read_parts(&[packed], Some(encoding), terms(49_999, None)).await.expect_err("too large");
            assert_eq!(bomb.kind, Kind::TooLarge);
            let broken =
                read_parts(&[&packed[..packed.len() / 2]], Some(encoding), terms(50_000, None)).await;
            assert_eq!(broken.expect_err("broken").kind, Kind::InvalidInput);
        }
        // Capacity overflow stands for an allocator that refuses.
        assert_eq!(Buffer::new(usize::MAX, None).map(|_| ()).expect_err("huge").kind, Kind::Overloaded);
        let unknown = read_parts(&[&body], Some("br"), terms(50_000, None)).await.expect_err("unknown");
        assert_eq!(unknown.kind, Kind::Status(415));
        assert!(unknown.message.contains("\"br\""), "{unknown}");
    }
}
