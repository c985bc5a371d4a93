//! The route table as it lies on disk: JSON, the twin of `src/modelport/wire/table.py`.
//!
//! Reading it is total: any bytes give a table or a sentence that says what is wrong with them. Fields that
//! are not known are refused, so that nothing that was asked for is silently left out.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Everything that the gateway knows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) version: u64,
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) clusters: BTreeMap<String, Cluster>,
    #[serde(default)]
    pub(super) auth: Option<Auth>,
}

/// Rules for hosts, in the order in which they are tried.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) service: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) limit: Option<RateLimit>,
}

/// So many requests in so long a time, for each key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimit {
    pub(super) requests: u32,
    pub(super) per_ms: u64,
    pub(super) burst: u32,
    #[serde(default)]
    pub(super) by: LimitBy,
    /// The header's name, where it goes by one.
    #[serde(default)]
    pub(super) header: Option<String>,
}

/// What a rate limit is counted by.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum LimitBy {
    /// All requests together.
    #[default]
    Route,
    /// The client's address.
    Client,
    /// Who the credentials show; without any, the client's address.
    Caller,
    /// A header's value; all requests without it together.
    Header,
}

/// What to do with the requests that any of its matches fits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) matches: Vec<Match>,
    #[serde(default)]
    pub(super) filters: Filters,
    #[serde(default)]
    pub(super) backends: Vec<Backend>,
    #[serde(default)]
    pub(super) timeout_ms: Option<u64>,
    #[serde(default)]
    pub(super) backend_timeout_ms: Option<u64>,
    #[serde(default = "yes")]
    pub(super) retry: bool,
    #[serde(default)]
    pub(super) again: Option<Again>,
    #[serde(default)]
    pub(super) sticky: Option<Sticky>,
}

/// Which answers are asked for again, how often, and after how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Again {
    pub(super) codes: Vec<u16>,
    #[serde(default = "one")]
    pub(super) attempts: u32,
    #[serde(default)]
    pub(super) backoff_ms: u64,
}

/// How a client stays where it was.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sticky {
    pub(super) by: StickyBy,
    /// Of the cookie or header.
    pub(super) name: String,
    /// A cookie lives so long; without it, as long as the browser.
    #[serde(default)]
    pub(super) max_age_s: Option<u64>,
}

/// What tells where a client was.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum StickyBy {
    /// A cookie that the gateway sets: the same endpoint.
    Cookie,
    /// A header that the gateway sets and the client sends back: the same endpoint.
    Header,
    /// The hash of a header that the client sends: the same backend.
    Hash,
}

/// A request fits when all of this holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Match {
    #[serde(default)]
    pub(super) path: PathMatch,
    #[serde(default)]
    pub(super) headers: Vec<ValueMatch>,
    #[serde(default)]
    pub(super) query: Vec<ValueMatch>,
    #[serde(default)]
    pub(super) method: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum PathKind {
    Exact,
    Prefix,
    Regex,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathMatch {
    #[serde(default = "prefix", rename = "type")]
    pub(super) kind: PathKind,
    #[serde(default = "root")]
    pub(super) value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::Prefix, value: root() }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum ValueKind {
    Exact,
    Regex,
}

/// How the value of a header or of a query parameter must look.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueMatch {
    pub(super) name: String,
    #[serde(default = "exact", rename = "type")]
    pub(super) kind: ValueKind,
    pub(super) value: String,
}

/// What to do to headers, in the order set, add, remove.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderEdit {
    #[serde(default)]
    pub(super) set: Vec<(String, String)>,
    #[serde(default)]
    pub(super) add: Vec<(String, String)>,
    #[serde(default)]
    pub(super) remove: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filters {
    #[serde(default)]
    pub(super) request_headers: HeaderEdit,
    #[serde(default)]
    pub(super) response_headers: HeaderEdit,
    #[serde(default)]
    pub(super) redirect: Option<Redirect>,
    #[serde(default)]
    pub(super) rewrite: Option<Rewrite>,
    #[serde(default)]
    pub(super) mirrors: Vec<Mirror>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChangeKind {
    Full,
    Prefix,
}

/// Another path: instead of all of it, or instead of the prefix that fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PathChange {
    #[serde(rename = "type")]
    pub(super) kind: ChangeKind,
    pub(super) value: String,
}

/// Where the client is sent to. What is not said stays as it asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redirect {
    #[serde(default)]
    pub(super) scheme: Option<String>,
    #[serde(default)]
    pub(super) hostname: Option<String>,
    #[serde(default)]
    pub(super) port: Option<u16>,
    #[serde(default)]
    pub(super) path: Option<PathChange>,
    #[serde(default = "found")]
    pub(super) status: u16,
}

/// What the endpoint sees instead of what the client asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rewrite {
    #[serde(default)]
    pub(super) hostname: Option<String>,
    #[serde(default)]
    pub(super) path: Option<PathChange>,
}

/// A copy of `numerator` in `denominator` requests goes there too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    pub(super) cluster: String,
    #[serde(default = "hundred")]
    pub(super) numerator: u32,
    #[serde(default = "hundred")]
    pub(super) denominator: u32,
}

/// A share of a rule's requests: to a cluster, or to a 500 with the words in `failure`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) failure: Option<String>,
    #[serde(default = "one")]
    pub(super) weight: u32,
    #[serde(default)]
    pub(super) filters: Option<Filters>,
}

/// How a cluster's endpoints are spoken to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speech {
    /// gRPC as h2c, all else as HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 whatever comes.
    Http1,
    /// HTTP/2 whatever comes.
    H2c,
}

/// Endpoints, and how long requests wait for one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    #[serde(default)]
    pub(super) endpoints: Vec<String>,
    #[serde(default)]
    pub(super) protocol: Speech,
    #[serde(default = "hold_ms")]
    pub(super) hold_ms: u64,
    #[serde(default = "hold_limit")]
    pub(super) hold_limit: usize,
    #[serde(default)]
    pub(super) outlier: Option<Outlier>,
}

/// When an endpoint that fails is left alone, and for how long at first.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Outlier {
    pub(super) failures: u32,
    pub(super) eject_ms: u64,
}

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
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Predict, Self::Explain, Self::Admin].into_iter().find(|verb| verb.name() == name)
    }
}

/// Verbs on the services that `service` fits: `namespace/name`, `namespace/*` or `*/*`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scope {
    pub(super) service: String,
    pub(super) verbs: Vec<Verb>,
}

/// A key that callers may present, by its hash.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiKey {
    pub(super) id: String,
    pub(super) sha256: String,
    #[serde(default)]
    pub(super) scopes: Vec<Scope>,
}

/// Whose tokens are accepted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    #[serde(rename = "issuer")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) audience: Option<String>,
    pub(super) keys: Map<String, Value>,
    #[serde(default = "scope_claim")]
    pub(super) scopes_claim: Option<String>,
}

/// Who may call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    #[serde(default)]
    pub(super) keys: Vec<ApiKey>,
    #[serde(default)]
    pub(super) jwks: Vec<Issuer>,
    #[serde(default)]
    pub(super) anonymous: Vec<Scope>,
}

const fn yes() -> bool {
    true
}

const fn prefix() -> PathKind {
    PathKind::Prefix
}

fn root() -> String {
    "/".to_owned()
}

const fn exact() -> ValueKind {
    ValueKind::Exact
}

const fn one() -> u32 {
    1
}

const fn hundred() -> u32 {
    100
}

const fn found() -> u16 {
    302
}

const fn hold_ms() -> u64 {
    60_000
}

const fn hold_limit() -> usize {
    1_000
}

#[allow(clippy::unnecessary_wraps)] // serde wants the field's type
fn scope_claim() -> Option<String> {
    Some("scope".to_owned())
}
