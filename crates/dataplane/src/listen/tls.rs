//! TLS from files that may be replaced while the server runs.
//!
//! A handshake looks at most once a second whether the files changed. A broken replacement keeps the
//! certificate that worked, and says so once. Whoever knows certificates for more names is asked first.
//!
//! A client that resumes a session is shown no certificate and goes on with the one that it saw. So sessions end with
//! the certificates of their time: those of the files with their configuration, those of other names with their mark.

use super::log::Log;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio_rustls::TlsAcceptor;

/// Sessions that may be resumed, rustls' own number.
const SESSIONS: usize = 256;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the TLS material lies, as PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate and its chain.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Authorities of client certificates. With it, clients must show one (mTLS).
    pub client_ca: Option<PathBuf>,
}

/// What tells one state of a file from another.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// Knows certificates for names that clients ask for.
pub(crate) trait ByName: std::fmt::Debug + Send + Sync {
    /// The one for this client; None: the server's own.
    fn pick(&self, hello: &ClientHello<'_>, own: &CertifiedKey) -> Option<Arc<CertifiedKey>>;

    /// Another number whenever a name has another certificate.
    fn mark(&self) -> u64;
}

/// Which certificate is shown.
#[derive(Debug)]
struct Shown {
    own: Arc<CertifiedKey>,
    others: Option<Arc<dyn ByName>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let other = self.others.as_ref().and_then(|others| others.pick(&hello, &self.own));
        Some(other.unwrap_or_else(|| Arc::clone(&self.own)))
    }
}

/// The TLS side of a listener.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    others: Option<Arc<dyn ByName>>,
    current: Mutex<Current>,
    log: Log,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// Of the other names, when the sessions that may be resumed began.
    mark: u64,
    loaded: Stamp,
    refused: Option<Stamp>,
    looked: Instant,
}

impl Tls {
    /// Reads the files; they must be right at the start. `others` has certificates beside that of the files.
    pub(crate) fn load(files: TlsFiles, log: Log, others: Option<Arc<dyn ByName>>) -> io::Result<Self> {
        let loaded = stamp(&files);
        let config = configure(&files, others.clone())?;
        let mark = others.as_ref().map_or(0, |others| others.mark());
        let current = Current { config, mark, loaded, refused: None, looked: Instant::now() };
        Ok(Self { files, others, current: Mutex::new(current), log })
    }

    /// What the next handshake uses.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            self.reload(&mut current);
        }
        let mark = self.others.as_ref().map_or(0, |others| others.mark());
        if mark != current.mark {
            let mut config = (*current.config).clone();
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
            current.config = Arc::new(config);
            current.mark = mark;
        }
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    fn reload(&self, current: &mut Current) {
        let now = stamp(&self.files);
        if now == current.loaded {
            current.refused = None;
            return;
        }
        match configure(&self.files, self.others.clone()) {
            Ok(config) => {
                current.config = config;
                current.loaded = now;
                current.refused = None;
                self.log.warn("TLS: took up the changed certificate files");
            }
            // Certificate and key change one after the other: a mismatch may mend itself.
            Err(error) => {
                if current.refused.as_ref() != Some(&now) {
                    self.log.warn(format_args!("TLS: {error}. The certificate in use stays."));
                    current.refused = Some(now);
                }
            }
        }
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        })
        .collect()
}

fn configure(files: &TlsFiles, others: Option<Arc<dyn ByName>>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| at(path, error))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| at(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| at(&files.key, error))?;
    let own = CertifiedKey::from_der(certificates(&files.certificate)?, key, &provider)
        .map_err(|error| at(&files.certificate, error))?;
    let mut config = builder.with_cert_resolver(Arc::new(Shown { own: Arc::new(own), others }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| at(path, error))?;
    if found.is_empty() {
        return Err(at(path, "no certificate in it"));
    }
    Ok(found)
}

fn at(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}
