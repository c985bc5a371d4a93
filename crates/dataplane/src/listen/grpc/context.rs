//! What the headers of a call say: its deadline, its id, and what models want to see of them.

use crate::error::{Error, Result};
use http::{HeaderMap, HeaderValue};
use std::time::{Duration, Instant};
use tonic::metadata::{KeyAndValueRef, MetadataMap};

/// When a call came and when nobody waits for it any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    pub(super) deadline: Option<Instant>,
}

impl Arrival {
    /// A call with these headers that has come now.
    pub(super) fn now(headers: &HeaderMap) -> Result<Self> {
        let at = Instant::now();
        let deadline = match headers.get("grpc-timeout") {
            None => None,
            // One beyond the clock's end is none.
            Some(value) => at.checked_add(parse_timeout(value)?),
        };
        Ok(Self { at, deadline })
    }
}

impl Default for Arrival {
    /// Now, with no deadline.
    fn default() -> Self {
        Self { at: Instant::now(), deadline: None }
    }
}

/// gRPC's form of a timeout: one to eight digits and a unit.
fn parse_timeout(value: &HeaderValue) -> Result<Duration> {
    parse_timeout_text(value.as_bytes()).ok_or_else(|| {
        Error::invalid(format!(
            "grpc-timeout: must be up to 8 digits and one of H, M, S, m, u, n, got {value:?}."
        ))
    })
}

fn parse_timeout_text(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The metadata that a model sees as headers: text only, and without what belongs to the transport.
pub(super) fn visible(metadata: &MetadataMap) -> Vec<(String, String)> {
    metadata
        .iter()
        .filter_map(|entry| match entry {
            KeyAndValueRef::Ascii(key, value) => {
                let name = key.as_str();
                let ours = name.starts_with("grpc-") || matches!(name, "te" | "content-type");
                let value = value.to_str().ok()?;
                (!ours).then(|| (name.to_owned(), value.to_owned()))
            }
            KeyAndValueRef::Binary(..) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("0n", Some(Duration::ZERO)),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("+1S", None),
            ("1s", None),
            ("1.5S", None),
        ] {
            assert_eq!(parse_timeout_text(text.as_bytes()), expected, "{text}");
        }
    }
}
