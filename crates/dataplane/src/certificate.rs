//! Certificates that a platform makes for itself: an authority of its own, and one certificate below it.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// Clocks differ, and a certificate from the future is no certificate.
const BACKDATED: Duration = Duration::hours(1);

/// The longest that is taken, so that dates stay within what X.509 can say.
pub const LONGEST_DAYS: u32 = 36_500;

/// What `self_signed` makes, as PEM.
#[derive(Clone)]
pub struct SelfSigned {
    /// The authority's certificate: what clients trust.
    pub authority: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SelfSigned").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A server certificate for these names (DNS names and IP addresses), valid for so many days from now.
///
/// Its authority is made for it alone: that key is forgotten, so nobody can sign anything more with it.
/// Keys are ECDSA P-256. The error is a sentence.
pub fn self_signed(names: Vec<String>, days: u32) -> Result<SelfSigned, String> {
    if names.is_empty() {
        return Err("names: there must be at least one, such as localhost or 127.0.0.1.".to_owned());
    }
    if !(1..=LONGEST_DAYS).contains(&days) {
        return Err(format!("days: must be from 1 to {LONGEST_DAYS}, got {days}."));
    }
    let listed = names.join(", ");
    make(names, days).map_err(|error| format!("names: no certificate can be made for {listed}: {error}."))
}

fn make(names: Vec<String>, days: u32) -> Result<SelfSigned, rcgen::Error> {
    let now = OffsetDateTime::now_utc();
    let (from, until) = (now - BACKDATED, now + Duration::days(days.into()));

    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Modelport authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (from, until);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    // X.509 bounds it, and clients look at the alternative names only.
    params.distinguished_name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    params.use_authority_key_identifier_extension = true; // OpenSSL's strict mode wants it
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (from, until);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(SelfSigned { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::client::WebPkiServerVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{RootCertStore, ServerConfig};
    use std::sync::Arc;

    /// What a client that trusts the authority says to this name, at a time.
    fn verdict(made: &SelfSigned, name: &str, at: OffsetDateTime) -> Result<(), rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.authority.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let certificate = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_timestamp() as u64));
        let name = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(&certificate, &[], &name, &[], at).map(|_| ())
    }

    #[test]
    fn clients_that_trust_the_authority_accept_the_names_while_it_is_valid() {
        let made = self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()], 30).unwrap();
        let now = OffsetDateTime::now_utc();
        verdict(&made, "localhost", now).unwrap();
        verdict(&made, "127.0.0.1", now + Duration::days(29)).unwrap();
        verdict(&made, "127.0.0.2", now).unwrap_err();
        verdict(&made, "localhost", now + Duration::days(31)).unwrap_err();
        verdict(&made, "localhost", now - Duration::days(1)).unwrap_err();
        let other = self_signed(vec!["localhost".to_owned()], 30).unwrap();
        let mixed = SelfSigned { authority: other.authority, ..made };
        verdict(&mixed, "localhost", now).unwrap_err();
    }

    #[test]
    fn the_key_belongs_to_the_certificate() {
        let made = self_signed(vec!["localhost".to_owned()], 1).unwrap();
        let certificate = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
    }

    #[test]
    fn what_cannot_be_made_is_said() {
        let of = |names: &[&str], days| {
            self_signed(names.iter().map(|&name| name.to_owned()).collect(), days).unwrap_err()
        };
        assert!(of(&[], 1).starts_with("names: there must be at least one"));
        assert!(of(&["a"], 0).contains("got 0"));
        assert!(of(&["a"], LONGEST_DAYS + 1).contains("got 36501"));
        assert!(of(&["ä"], 1).contains("for ä"));
    }

    #[test]
    fn the_key_is_not_printed() {
        let made = self_signed(vec!["localhost".to_owned()], 1).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
