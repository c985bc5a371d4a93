//! The id of a request: the client's, or one of ours.

use http::header::{HeaderName, HeaderValue};
use http::HeaderMap;

/// The header that carries it, both ways.
pub(crate) const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are replaced: they go into logs and answers.
const LONGEST: usize = 256;

/// A request's id, always printable ASCII.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id if it is a sensible one, else a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(&NAME) {
            Some(given) if !given.is_empty() && given.len() <= LONGEST && given.to_str().is_ok() => {
                // A copy: the original holds the connection's read buffer.
                HeaderValue::from_bytes(given.as_bytes()).map_or_else(|_| Self::random(), Self)
            }
            _ => Self::random(),
        }
    }

    /// A random UUID (version 4, RFC 9562).
    fn random() -> Self {
        let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let mut text = [b'-'; 36];
        // Two digits each, around the four dashes.
        let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        for (byte, place) in bits.to_be_bytes().into_iter().zip(places) {
            if let Some([high, low]) = text.get_mut(place..place + 2) {
                (*high, *low) = (digit(byte >> 4), digit(byte & 0xf));
            }
        }
        Self(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header. HTTP/2 is not to keep it in its tables (RFC 7541, 7.1.3): it never comes again, and would push out
    /// what does.
    pub(crate) fn into_header(self) -> HeaderValue {
        let mut header = self.0;
        header.set_sensitive(true);
        header
    }
}

/// A hexadecimal digit.
const fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_version_4_uuids_and_theirs_are_kept() {
        let mut headers = HeaderMap::new();
        let one = RequestId::of(&headers);
        assert_eq!(one.as_str().len(), 36);
        assert_eq!(one.as_str().split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(one.as_str().as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_str().as_bytes()[19]));
        assert_ne!(one.as_str(), RequestId::of(&headers).as_str());
        headers.insert(NAME, HeaderValue::from_static("mine"));
        assert_eq!(RequestId::of(&headers).as_str(), "mine");
        headers.insert(NAME, HeaderValue::try_from("x".repeat(300)).expect("a value"));
        assert_eq!(RequestId::of(&headers).as_str().len(), 36);
        headers.insert(NAME, HeaderValue::from_bytes(b"\xff").expect("a value"));
        assert_eq!(RequestId::of(&headers).as_str().len(), 36);
    }
}
