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

    /// One of ours.
    pub(crate) fn random() -> Self {
        Self(HeaderValue::from_bytes(&random_uuid()).unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    /// As a header. HTTP/2 is not to keep it in its tables (RFC 7541, 7.1.3): it never comes again, and would push out
    /// what does.
    pub(crate) fn into_header(self) -> HeaderValue {
        let mut header = self.0;
        header.set_sensitive(true);
        header
    }
}

/// A random UUID (version 4, RFC 9562) as text.
pub(crate) fn random_uuid() -> [u8; 36] {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let [a0, a1, a2, a3, a4, a5, a6, a7] = hex((bits >> 96) as u32);
    let [b0, b1, b2, b3, c0, c1, c2, c3] = hex((bits >> 64) as u32);
    let [d0, d1, d2, d3, e0, e1, e2, e3] = hex((bits >> 32) as u32);
    let [e4, e5, e6, e7, e8, e9, ea, eb] = hex(bits as u32);
    [
        a0, a1, a2, a3, a4, a5, a6, a7, b'-', b0, b1, b2, b3, b'-', c0, c1, c2, c3, b'-', d0, d1, d2, d3,
        b'-', e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, ea, eb,
    ]
}

/// Eight hexadecimal digits, all at once.
fn hex(number: u32) -> [u8; 8] {
    // A digit a byte, the first one highest.
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (digits + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, u32::MAX, 0x9a9a_0f0f] {
            assert_eq!(hex(number), *format!("{number:08x}").as_bytes(), "{number}");
        }
    }

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
