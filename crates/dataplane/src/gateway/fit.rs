//! Whether a request fits what a rule says of its path, method, headers and query.

use super::route::Side;
use super::table::{self, PathKind, ValueKind};
use super::target::percent;
use http::{HeaderMap, HeaderName, Method};
use regex::bytes::{Regex, RegexBuilder};

/// Compiled, an expression may take so much memory.
const EXPRESSION_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Match {
    path: PathRule,
    method: Option<Method>,
    headers: Vec<(HeaderName, ValueRule)>,
    query: Vec<(String, ValueRule)>,
}

#[derive(Debug)]
enum PathRule {
    Any,
    Exact(String),
    /// Without the slash at its end.
    Prefix(String),
    Regex(Regex),
}

#[derive(Debug)]
enum ValueRule {
    Exact(String),
    Regex(Regex),
}

/// The part of a request that routes look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) side: Side,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
}

impl Match {
    /// Every request fits.
    pub(super) const fn anything() -> Self {
        Self { path: PathRule::Any, method: None, headers: Vec::new(), query: Vec::new() }
    }

    /// The prefix of a path that fits, without the slash at its end, where it goes by one.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.path.prefix()
    }

    pub(super) fn compile(wanted: table::Match, at: &str) -> Result<Self, String> {
        let value = wanted.path.value;
        let path = match wanted.path.kind {
            PathKind::Exact => PathRule::Exact(value),
            PathKind::Prefix => match value.trim_end_matches('/') {
                "" => PathRule::Any,
                prefix => PathRule::Prefix(prefix.to_owned()),
            },
            PathKind::Regex => PathRule::Regex(expression(&value, &format!("{at}.path"))?),
        };
        let method = wanted.method.map(|method| {
            Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("{at}.method: {method:?} is no method."))
        });
        let mut headers = Vec::with_capacity(wanted.headers.len());
        for header in wanted.headers {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| format!("{at}.headers: {:?} is no header's name.", header.name))?;
            let at = format!("{at}.headers[{name}]");
            headers.push((name, ValueRule::compile(header.kind, header.value, &at)?));
        }
        let mut query = Vec::with_capacity(wanted.query.len());
        for parameter in wanted.query {
            let at = format!("{at}.query[{}]", parameter.name);
            query.push((parameter.name, ValueRule::compile(parameter.kind, parameter.value, &at)?));
        }
        Ok(Self { path, method: method.transpose()?, headers, query })
    }

    pub(super) fn fits(&self, asked: &Asked<'_>) -> bool {
        self.path.fits(asked.path)
            && self.method.as_ref().is_none_or(|method| method == asked.method)
            && self.headers.iter().all(|(name, rule)| rule.fits_header(asked.headers, name))
            && self.query.iter().all(|(name, rule)| rule.fits_query(asked.query, name))
    }
}

impl PathRule {
    fn prefix(&self) -> Option<&str> {
        match self {
            Self::Any => Some(""),
            Self::Prefix(prefix) => Some(prefix),
            Self::Exact(_) | Self::Regex(_) => None,
        }
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => path == wanted,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(wanted) => wanted.is_match(path.as_bytes()),
        }
    }
}

impl ValueRule {
    fn compile(kind: ValueKind, value: String, at: &str) -> Result<Self, String> {
        Ok(match kind {
            ValueKind::Exact => Self::Exact(value),
            ValueKind::Regex => Self::Regex(expression(&value, at)?),
        })
    }

    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted.as_bytes() == value,
            Self::Regex(wanted) => wanted.is_match(value),
        }
    }

    fn fits_header(&self, headers: &HeaderMap, name: &HeaderName) -> bool {
        let mut values = headers.get_all(name).iter();
        let Some(first) = values.next() else { return false };
        let mut rest = values.peekable();
        if rest.peek().is_none() {
            return self.fits(first.as_bytes());
        }
        // Several lines mean the same as one with commas (RFC 9110, 5.3).
        let mut joined = first.as_bytes().to_vec();
        for value in rest {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        self.fits(&joined)
    }

    /// The first parameter with this name counts, as it does in Envoy.
    fn fits_query(&self, query: Option<&str>, name: &str) -> bool {
        let pairs = query.unwrap_or_default().split('&');
        let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let found = pairs.find(|(key, _)| spaced(key) == name);
        found.is_some_and(|(_, value)| self.fits(spaced(value).as_bytes()))
    }
}

/// A part of a query as its writer meant it: `+` is a space there.
fn spaced(text: &str) -> String {
    percent::decode(&text.replace('+', " ")).into_owned()
}

fn expression(text: &str, at: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(EXPRESSION_BYTES).dfa_size_limit(EXPRESSION_BYTES).build()
    };
    // By itself first: `a)|(?:b` is an expression only between our brackets.
    build(text)
        .and_then(|_| build(&format!("^(?:{text})$")))
        .map_err(|error| format!("{at}: {text:?} is no regular expression that can be used: {error}"))
}
