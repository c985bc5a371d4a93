//! Which requests a rule is for, what it changes about them, and where they go.

use serde::Deserialize;

/// What to do with the requests that any of its matches fits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Rule {
    #[serde(default)]
    pub(in crate::gateway) matches: Vec<Match>,
    #[serde(default)]
    pub(in crate::gateway) filters: Filters,
    #[serde(default)]
    pub(in crate::gateway) backends: Vec<Backend>,
    #[serde(default)]
    pub(in crate::gateway) timeout_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::gateway) backend_timeout_ms: Option<u64>,
    #[serde(default = "yes")]
    pub(in crate::gateway) retry: bool,
    #[serde(default)]
    pub(in crate::gateway) again: Option<Again>,
    #[serde(default)]
    pub(in crate::gateway) sticky: Option<Sticky>,
}

/// Which answers are asked for again, how often, and after how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Again {
    pub(in crate::gateway) codes: Vec<u16>,
    #[serde(default = "one")]
    pub(in crate::gateway) attempts: u32,
    #[serde(default)]
    pub(in crate::gateway) backoff_ms: u64,
}

/// How a client stays where it was.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Sticky {
    pub(in crate::gateway) by: StickyBy,
    /// Of the cookie or header.
    pub(in crate::gateway) name: String,
    /// A cookie lives so long; without it, as long as the browser.
    #[serde(default)]
    pub(in crate::gateway) max_age_s: Option<u64>,
}

/// What tells where a client was.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum StickyBy {
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
pub(in crate::gateway) struct Match {
    #[serde(default)]
    pub(in crate::gateway) path: PathMatch,
    #[serde(default)]
    pub(in crate::gateway) headers: Vec<ValueMatch>,
    #[serde(default)]
    pub(in crate::gateway) query: Vec<ValueMatch>,
    #[serde(default)]
    pub(in crate::gateway) method: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum PathKind {
    Exact,
    Prefix,
    Regex,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct PathMatch {
    #[serde(default = "prefix", rename = "type")]
    pub(in crate::gateway) kind: PathKind,
    #[serde(default = "root")]
    pub(in crate::gateway) value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::Prefix, value: root() }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum ValueKind {
    Exact,
    Regex,
}

/// How the value of a header or of a query parameter must look.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct ValueMatch {
    pub(in crate::gateway) name: String,
    #[serde(default = "exact", rename = "type")]
    pub(in crate::gateway) kind: ValueKind,
    pub(in crate::gateway) value: String,
}

/// What to do to headers, in the order set, add, remove.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct HeaderEdit {
    #[serde(default)]
    pub(in crate::gateway) set: Vec<(String, String)>,
    #[serde(default)]
    pub(in crate::gateway) add: Vec<(String, String)>,
    #[serde(default)]
    pub(in crate::gateway) remove: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Filters {
    #[serde(default)]
    pub(in crate::gateway) request_headers: HeaderEdit,
    #[serde(default)]
    pub(in crate::gateway) response_headers: HeaderEdit,
    #[serde(default)]
    pub(in crate::gateway) redirect: Option<Redirect>,
    #[serde(default)]
    pub(in crate::gateway) rewrite: Option<Rewrite>,
    #[serde(default)]
    pub(in crate::gateway) mirrors: Vec<Mirror>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum ChangeKind {
    Full,
    Prefix,
}

/// Another path: instead of all of it, or instead of the prefix that fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct PathChange {
    #[serde(rename = "type")]
    pub(in crate::gateway) kind: ChangeKind,
    pub(in crate::gateway) value: String,
}

/// Where the client is sent to. What is not said stays as it asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Redirect {
    #[serde(default)]
    pub(in crate::gateway) scheme: Option<String>,
    #[serde(default)]
    pub(in crate::gateway) hostname: Option<String>,
    #[serde(default)]
    pub(in crate::gateway) port: Option<u16>,
    #[serde(default)]
    pub(in crate::gateway) path: Option<PathChange>,
    #[serde(default = "found")]
    pub(in crate::gateway) status: u16,
}

/// What the endpoint sees instead of what the client asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Rewrite {
    #[serde(default)]
    pub(in crate::gateway) hostname: Option<String>,
    #[serde(default)]
    pub(in crate::gateway) path: Option<PathChange>,
}

/// A copy of `numerator` in `denominator` requests goes there too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Mirror {
    pub(in crate::gateway) cluster: String,
    #[serde(default = "hundred")]
    pub(in crate::gateway) numerator: u32,
    #[serde(default = "hundred")]
    pub(in crate::gateway) denominator: u32,
}

/// A share of a rule's requests: to a cluster, or to a 500 with the words in `failure`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::gateway) struct Backend {
    #[serde(default)]
    pub(in crate::gateway) cluster: Option<String>,
    #[serde(default)]
    pub(in crate::gateway) failure: Option<String>,
    #[serde(default = "one")]
    pub(in crate::gateway) weight: u32,
    #[serde(default)]
    pub(in crate::gateway) filters: Option<Filters>,
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
