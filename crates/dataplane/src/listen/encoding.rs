//! Compressed request bodies, undone within the limits.

use super::body::{grew_too_large, Buffer, Terms};
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::CONTENT_ENCODING;
use http::HeaderMap;
use tokio::sync::Semaphore;

/// Compressed bodies beyond this are inflated on another thread: they may grow a thousandfold.
const INFLATE_HERE: usize = 4096;
/// Bodies that are inflated at once: the others wait, or five hundred small ones could become five hundred
/// of the largest that there may be.
pub(super) const INFLATING_AT_ONCE: usize = 4;
pub(super) static INFLATING: Semaphore = Semaphore::const_new(INFLATING_AT_ONCE);

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or 1951 as some clients have it.
    Deflate,
}

impl Encoding {
    /// What `Content-Encoding` says; nothing: the body is as it is.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            let what = "Content-Encoding: must be given once, got several. Compress the body once.";
            return Err(Error::new(Kind::Status(415), what));
        }
        let name = value.as_bytes().trim_ascii();
        for (known, encoding) in [
            (&b"gzip"[..], Some(Self::Gzip)),
            (b"x-gzip", Some(Self::Gzip)),
            (b"deflate", Some(Self::Deflate)),
            (b"identity", None),
            (b"", None),
        ] {
            if name.eq_ignore_ascii_case(known) {
                return Ok(encoding);
            }
        }
        Err(Error::new(
            Kind::Status(415),
            format!(
                "Content-Encoding: must be gzip, deflate or identity, got {:?}.",
                String::from_utf8_lossy(name)
            ),
        ))
    }

    /// The body as it was before.
    pub(super) async fn undo(self, body: Bytes, terms: Terms) -> Result<Bytes> {
        if body.len() <= INFLATE_HERE {
            return self.inflate(&body, terms);
        }
        // It is never closed, so there is always a turn.
        let _turn = INFLATING.acquire().await;
        tokio::task::spawn_blocking(move || self.inflate(&body, terms))
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "Decompressing the body failed.")))
    }

    fn inflate(self, bytes: &[u8], terms: Terms) -> Result<Bytes> {
        let mut buffer = Buffer::new(bytes.len().saturating_mul(2).min(terms.limit), terms.align_at)?;
        let outcome = match self {
            Self::Gzip => buffer.fill(MultiGzDecoder::new(bytes), terms.limit),
            // "deflate" is zlib (RFC 9110, 8.4.1.2), but some clients send the bare format.
            Self::Deflate if looks_like_zlib(bytes) => buffer.fill(ZlibDecoder::new(bytes), terms.limit),
            Self::Deflate => buffer.fill(DeflateDecoder::new(bytes), terms.limit),
        };
        match outcome {
            Ok(true) => buffer.into_bytes(),
            Ok(false) => Err(grew_too_large(terms.limit)),
            Err(error) => Err(Error::invalid(format!("The body does not decompress: {error}."))),
        }
    }
}

fn looks_like_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [method, flags, ..] => {
            method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31)
        }
        _ => false,
    }
}
