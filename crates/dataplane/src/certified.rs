//! A certificate's chain with its private key, as a Secret of type `kubernetes.io/tls` holds them: read, and
//! checked to belong together. Words never repeat what was read: it may be a key.

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::sync::Arc;
use time::{Date, Month, PrimitiveDateTime, Time};

/// What can be shown to clients.
#[derive(Clone, Debug)]
pub struct Certified {
    /// As rustls takes it.
    pub(crate) key: Arc<CertifiedKey>,
    /// Seconds since 1970 from which on clients take it.
    pub not_before: i64,
    /// The last second in which they do.
    pub not_after: i64,
}

impl Certified {
    /// Reads PEM. The error is a sentence that begins with `tls.crt` or `tls.key`, whichever is to be changed.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_| {
                "tls.crt: is damaged PEM. Put the certificate there, its chain after it.".to_owned()
            })?;
        let Some(first) = chain.first() else {
            return Err("tls.crt: holds no certificate in PEM (-----BEGIN CERTIFICATE-----).".to_owned());
        };
        if let Err(error) = ParsedCertificate::try_from(first) {
            return Err(format!("tls.crt: its first certificate cannot be read: {error}."));
        }
        let (not_before, not_after) = validity(first)
            .ok_or("tls.crt: its first certificate does not say from when until when it is valid.")?;
        let Ok(secret) = PrivateKeyDer::from_pem_slice(key) else {
            return Err(if key.windows(9).any(|part| part == b"ENCRYPTED") {
                "tls.key: is encrypted, and the password is not known here. Take it off: openssl pkey -in FILE -out \
                 tls.key"
            } else {
                "tls.key: holds no private key in PEM (-----BEGIN PRIVATE KEY-----)."
            }
            .to_owned());
        };
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, secret, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "tls.key: does not fit the first certificate in tls.crt. The two must have been made together, and the \
                 server's certificate stands before its authorities'."
            }
            _ => {
                "tls.key: no key that can be used here: it must be RSA (2048 bits or more), ECDSA (P-256, P-384) or \
                 Ed25519."
            }
        })?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }

    /// Whether clients take it for a host: a name, `*.name`, or `*` where any name will do.
    pub fn fits(&self, host: &str) -> bool {
        host == "*" || fits(&self.key, &host.replacen('*', "any", 1))
    }
}

/// Whether clients that ask for this name take the certificate.
pub(crate) fn fits(key: &CertifiedKey, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
}

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when until when (RFC 5280, 4.1.2.5), in seconds since 1970.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (from_kind, from, rest) = element(validity)?;
    let (until_kind, until, _) = element(rest)?;
    Some((moment(from_kind, from)?, moment(until_kind, until)?))
}

/// An element of DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else { return None };
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|it| it.0.len() <= 4)?;
        (digits.iter().fold(0, |all, digit| (all << 8) | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn moment(kind: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let two = |at: usize| {
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] = digits.get(at..at + 2)? else { return None };
        Some((tens - b'0') * 10 + (ones - b'0'))
    };
    let (year, at) = match kind {
        UTC_TIME => {
            let year = i32::from(two(0)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        GENERALIZED_TIME => (i32::from(two(0)?) * 100 + i32::from(two(2)?), 4),
        _ => return None,
    };
    if digits.len() != at + 10 {
        return None;
    }
    let date = Date::from_calendar_date(year, Month::try_from(two(at)?).ok()?, two(at + 2)?).ok()?;
    let time = Time::from_hms(two(at + 4)?, two(at + 6)?, two(at + 8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::certificate::{self_signed, SelfSigned};
    use proptest::prelude::*;

    fn made() -> SelfSigned {
        self_signed(vec!["a.example.com".to_owned(), "*.shop.example".to_owned()], 3).unwrap()
    }

    fn refused(certificate: &str, key: &str) -> String {
        let words = Certified::read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(words.starts_with("tls.crt: ") || words.starts_with("tls.key: "), "{words}");
        words
    }

    #[test]
    fn a_pair_is_read_with_its_times_and_names() {
        let made = made();
        // Chain and key may lie in one file.
        let both = format!("{}{}", made.certificate, made.key);
        let found = Certified::read(both.as_bytes(), both.as_bytes()).unwrap();
        assert_eq!(found.not_after - found.not_before, 3 * 86_400 + 3600);
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        assert!((0..60).contains(&(now - 3600 - found.not_before)));
        assert!(fits(&found.key, "a.example.com") && fits(&found.key, "x.shop.example"));
        assert!(!fits(&found.key, "b.example.com") && !fits(&found.key, "x.y.shop.example"));
        assert!(!fits(&found.key, "no host"));
        assert!(found.fits("*.shop.example") && found.fits("*") && !found.fits("*.example.com"));
    }

    #[test]
    fn what_cannot_be_shown_is_told_by_the_entry_that_is_to_be_changed() {
        let (made, other) = (made(), made());
        assert!(refused(&made.certificate, &other.key).starts_with("tls.key: does not fit"));
        assert!(refused("", &made.key).starts_with("tls.crt: holds no certificate"));
        assert!(refused(&made.certificate, "").starts_with("tls.key: holds no private key"));
        assert!(refused(&made.certificate, &made.certificate).starts_with("tls.key: holds no private key"));
        let cut = &made.certificate[..made.certificate.len() / 2];
        assert!(refused(cut, &made.key).starts_with("tls.crt: "));
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(refused(&made.certificate, locked).contains("openssl pkey"));
        let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(refused(&made.certificate, empty).contains("must be RSA"));
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refused(no_certificate, &made.key).contains("cannot be read"));
        // A key in the wrong place is not repeated in words that many may read.
        let inner = made.key.lines().nth(1).unwrap();
        assert!(!refused(&made.key, &made.key).contains(inner));
        assert!(!refused(&made.certificate, &format!("-----BEGIN {inner}")).contains(inner));
    }

    #[test]
    fn times_are_read_in_both_spellings() {
        assert_eq!(moment(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(moment(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(moment(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(moment(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        for wrong in [&b"700101000000"[..], b"701301000000Z", b"7001010000Z", b"+70101000000Z", b"Z", b""] {
            assert_eq!(moment(UTC_TIME, wrong), None);
        }
        assert_eq!(moment(0x13, b"700101000000Z"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..400, with: u8) {
            let _ = validity(&bytes);
            bytes = CertificateDer::from_pem_slice(made().certificate.as_bytes()).unwrap().to_vec();
            if let Some(byte) = bytes.get_mut(at) { *byte = with; }
            let _ = validity(&bytes);
        }
    }
}
