//! Who may call what.

use serde::Deserialize;
use serde_json::{Map, Value};

/// What a caller may do.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Ask for predictions and read metadata.
    Predict,
    /// Ask for explanations.
    Explain,
    /// Load and unload models.
    Admin,
}

impl Verb {
    /// As it is spelled in scopes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Explain => "explain",
            Self::Admin => "admin",
        }
    }

    /// The verb with this name.
    pub(in crate::gateway) fn named(name: &str) -> Option<Self> {
        [Self::Predict, Self::Explain, Self::Admin].into_iter().find(|verb| verb.name() == name)
    }
}

/// Verbs on the services that `service` fits: `namespace/name`, `namespace/*` or `*/*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Scope {
    pub(in crate::gateway) service: String,
    pub(in crate::gateway) verbs: Vec<Verb>,
}

/// A key that callers may present, by its hash.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct ApiKey {
    pub(in crate::gateway) id: String,
    pub(in crate::gateway) sha256: String,
    #[serde(default)]
    pub(in crate::gateway) scopes: Vec<Scope>,
}

/// Whose tokens are accepted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Issuer {
    #[serde(rename = "issuer")]
    pub(in crate::gateway) name: String,
    #[serde(default)]
    pub(in crate::gateway) audience: Option<String>,
    pub(in crate::gateway) keys: Map<String, Value>,
    #[serde(default = "scope_claim")]
    pub(in crate::gateway) scopes_claim: Option<String>,
}

/// Who may call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Auth {
    #[serde(default)]
    pub(in crate::gateway) keys: Vec<ApiKey>,
    #[serde(default)]
    pub(in crate::gateway) jwks: Vec<Issuer>,
    #[serde(default)]
    pub(in crate::gateway) anonymous: Vec<Scope>,
}

#[allow(clippy::unnecessary_wraps)] // serde wants the field's type
fn scope_claim() -> Option<String> {
    Some("scope".to_owned())
}
