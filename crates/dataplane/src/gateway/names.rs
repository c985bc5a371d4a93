//! Which certificate a client is shown: by the name that it asks for (SNI), out of those that the table names.
//!
//! The exact name wins over the wildcard, and both over a listener for all names, which stands back where the
//! gateway's own certificate is good for the name. Whoever asks for no name gets the gateway's own.

use super::auth::parse_hash;
use super::live::Live;
use super::table::TlsName;
use crate::certified::{fits, Certified};
use crate::listen::tls::ByName;
use ring::digest::{digest, SHA256};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// More is no certificate: a Secret holds at most this.
const FILE_BYTES: u64 = 1 << 20;

/// The certificates of one name, in the order in which they are preferred.
type Choice = Vec<Arc<CertifiedKey>>;

/// The certificates of a table.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, Choice>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Choice>,
    all: Choice,
    files: HashMap<String, Arc<CertifiedKey>>,
    /// Of which names have which certificates.
    mark: u64,
}

/// Whether a table's names can be used; the files are not read yet. The error is a sentence.
pub(super) fn check(told: &[TlsName]) -> Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    for (index, name) in told.iter().enumerate() {
        let at = format!("tls[{index}] ({})", name.listener);
        let host = name.host.as_str();
        let labels = if host == "*" { "" } else { host.strip_prefix("*.").unwrap_or(host) };
        if host.is_empty() || labels.contains('*') || host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(format!(
                "{at}.host: must be a name in lower case, *.name or *, got {:?}.",
                name.host
            ));
        }
        if !seen.insert(host) {
            return Err(format!("{at}.host: {host:?} stands here twice."));
        }
        if name.certificates.is_empty() {
            return Err(format!("{at}.certificates: is empty."));
        }
        for certificate in &name.certificates {
            if parse_hash(&certificate.file).is_none() {
                return Err(format!(
                    "{at}.certificates ({}): file must be 64 hexadecimal digits, got {:?}.",
                    certificate.secret, certificate.file
                ));
            }
        }
    }
    Ok(())
}

impl Names {
    /// Reads the files that `before` has not read yet. The error is a sentence.
    pub(super) fn load(told: &[TlsName], folder: &Path, before: &Self) -> Result<Self, String> {
        let mut names = Self::default();
        let mut mark = DefaultHasher::new();
        for name in told {
            name.host.hash(&mut mark);
            let mut choice = Choice::new();
            for certificate in &name.certificates {
                certificate.file.hash(&mut mark);
                let known =
                    names.files.get(&certificate.file).or_else(|| before.files.get(&certificate.file));
                let key = match known {
                    Some(key) => Arc::clone(key),
                    None => read(folder, &certificate.file)
                        .map_err(|words| format!("tls ({}): {words}", certificate.secret))?,
                };
                names.files.insert(certificate.file.clone(), Arc::clone(&key));
                choice.push(key);
            }
            if name.host == "*" {
                names.all = choice;
            } else if let Some(rest) = name.host.strip_prefix("*.") {
                names.wildcard.insert(rest.to_owned(), choice);
            } else {
                names.exact.insert(name.host.clone(), choice);
            }
        }
        names.mark = mark.finish();
        Ok(names)
    }

    fn named(&self, name: &str) -> Option<&Choice> {
        let wild = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wild)
    }

    fn pick(&self, hello: &ClientHello<'_>, own: &CertifiedKey) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        let choice = match self.named(name) {
            Some(choice) => choice,
            None if self.all.is_empty() || fits(own, name) => return None,
            None => &self.all,
        };
        if let [only] = choice.as_slice() {
            return Some(Arc::clone(only));
        }
        let can_check = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let best = choice.iter().filter(can_check).find(|key| fits(key, name));
        best.or_else(|| choice.iter().find(can_check)).or_else(|| choice.first()).map(Arc::clone)
    }
}

fn read(folder: &Path, file: &str) -> Result<Arc<CertifiedKey>, String> {
    let path = folder.join(file);
    let at = |words: String| format!("{}: {words}", path.display());
    let mut content = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut content))
        .map_err(|error| at(format!("{error}.")))?;
    if parse_hash(file).as_ref().map(<[u8; 32]>::as_slice) != Some(digest(&SHA256, &content).as_ref()) {
        return Err(at("its content is not that which it is named by.".to_owned()));
    }
    Ok(Certified::read(&content, &content).map_err(at)?.key)
}

/// The names of the table in force.
#[derive(Debug)]
pub(super) struct InForce(pub(super) watch::Receiver<Arc<Live>>);

impl ByName for InForce {
    fn pick(&self, hello: &ClientHello<'_>, own: &CertifiedKey) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().names.pick(hello, own)
    }

    fn mark(&self) -> u64 {
        self.0.borrow().names.mark
    }
}
