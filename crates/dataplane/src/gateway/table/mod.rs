//! The route table as it lies on disk: JSON, the twin of `src/modelport/wire/table.py`.
//!
//! Reading it is total: any bytes give a table or a sentence that says what is wrong with them. Fields that
//! are not known are refused, so that nothing that was asked for is silently left out.

mod auth;
mod rule;
mod tls;

use serde::Deserialize;
use std::collections::BTreeMap;

pub use auth::Verb;
pub(super) use auth::{Auth, Issuer, Scope};
pub(super) use rule::{
    Backend, ChangeKind, Filters, HeaderEdit, Match, Mirror, PathChange, PathKind, Redirect, Rewrite, Rule,
    Sticky, StickyBy, ValueKind,
};
pub(super) use tls::TlsName;

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
    #[serde(default)]
    pub(super) tls: Vec<TlsName>,
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
    /// Both on one port: gRPC as h2c, all else as whichever costs less.
    Both,
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

const fn hold_ms() -> u64 {
    60_000
}

const fn hold_limit() -> usize {
    1_000
}
