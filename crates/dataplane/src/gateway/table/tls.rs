//! Which certificate is shown to whom asks for a name. Certificates and keys lie in files of their own: the
//! table is no place for secrets.

use serde::Deserialize;

/// The certificates for a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct TlsName {
    /// `namespace/gateway/listener`, for words.
    pub(in crate::gateway) listener: String,
    /// `a.example.com`, `*.example.com` (one label in front) or `*`.
    pub(in crate::gateway) host: String,
    /// The first that the client can check is shown.
    pub(in crate::gateway) certificates: Vec<Certificate>,
}

/// A chain with its key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Certificate {
    /// `namespace/name` of the Secret, for words.
    pub(in crate::gateway) secret: String,
    /// SHA-256 of the file's content, in hex: its name in the folder `certificates` beside the table.
    pub(in crate::gateway) file: String,
}
