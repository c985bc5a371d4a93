//! TLS to a collector: the authorities that we trust.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions keep the authorities that they trust, as one PEM file (Go's crypto/x509 looks in
/// the same places).
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How to speak TLS with a collector; the error is a sentence.
pub(super) fn configure(given: Option<&PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let hint = "Name a PEM file of the collector's authority in OTEL_EXPORTER_OTLP_CERTIFICATE.";
    let system = || SYSTEM.iter().map(Path::new).find(|path| path.is_file());
    let path = given.map(PathBuf::as_path).or_else(system).ok_or_else(|| {
        format!("OTEL_EXPORTER_OTLP_ENDPOINT: https needs certificates of authorities, and this system has none. {hint}")
    })?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}. {hint}", path.display()))?;
    let mut roots = RootCertStore::empty();
    // Systems keep odd ones that nobody needs; none at all is a mistake.
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("{}: no certificate of an authority in it. {hint}", path.display()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
