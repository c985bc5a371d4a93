//! The route table as it is asked: which rule is for this host, path, method and these headers.

use super::filter::Filters;
use super::table::{self, PathKind, ValueKind};
use super::target::percent;
use http::{HeaderMap, HeaderName, Method};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Compiled, an expression may take so much memory.
const EXPRESSION_BYTES: usize = 1 << 20;

/// Routes that were checked and compiled.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) all: Vec<Route>,
    public: Hosts,
    internal: Hosts,
}

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    /// Whom credentials must be good for, and whose metrics count.
    pub(super) service: String,
    /// Served on internal listeners only.
    pub(super) internal: bool,
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    matches: Vec<Match>,
    /// What is changed about requests and answers.
    pub(super) filters: Filters,
    backends: Backends,
    /// From arrival to the end of the answer.
    pub(super) timeout: Option<Duration>,
    /// Of one attempt.
    pub(super) attempt_timeout: Option<Duration>,
    /// May be sent again after its endpoint died.
    pub(super) retry: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend<'a> {
    /// To the cluster with this number.
    Cluster(usize),
    /// Nowhere, for this reason.
    Failure(&'a str),
}

/// The backends that have a weight.
#[derive(Debug, Default)]
struct Backends {
    /// With the sum of the weights up to each.
    shares: Vec<(u64, Share)>,
    total: u64,
}

#[derive(Debug)]
enum Share {
    Cluster(usize),
    Failure(String),
}

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Public,
    Internal,
}

/// Routes by host: the most specific host decides, and only its routes are asked.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<String, Vec<usize>>,
    /// By what is behind the `*.`.
    wildcard: HashMap<String, Vec<usize>>,
    any: Vec<usize>,
    /// Some hosts are told apart by their port.
    ports: bool,
}

#[derive(Debug)]
struct Match {
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

impl Routes {
    /// Checks and compiles; `clusters` are the names that backends may have, with their numbers.
    pub(super) fn compile(
        routes: Vec<table::Route>,
        clusters: &BTreeMap<&str, usize>,
    ) -> Result<Self, String> {
        let mut compiled = Self::default();
        for (number, route) in routes.into_iter().enumerate() {
            let at = format!("routes[{number}] ({})", route.name);
            if route.hosts.is_empty() {
                return Err(format!("{at}.hosts: is empty; write \"*\" for every host."));
            }
            for host in &route.hosts {
                let host = host.to_ascii_lowercase();
                compiled.internal.add(&host, number).map_err(|problem| format!("{at}.hosts: {problem}"))?;
                if !route.internal {
                    compiled.public.add(&host, number).map_err(|problem| format!("{at}.hosts: {problem}"))?;
                }
            }
            let rules = route.rules.into_iter().enumerate();
            let rules = rules
                .map(|(index, rule)| Rule::compile(rule, clusters, &format!("{at}.rules[{index}]")))
                .collect::<Result<_, _>>()?;
            compiled.all.push(Route { service: route.service, internal: route.internal, rules });
        }
        Ok(compiled)
    }

    /// The first rule that fits, with the number of its route.
    pub(super) fn find(&self, asked: &Asked<'_>) -> Option<(usize, &Rule)> {
        let hosts = if asked.side == Side::Internal { &self.internal } else { &self.public };
        hosts.find(asked.host, asked.port).iter().find_map(|&number| {
            let route = self.all.get(number)?;
            let rule = route.rules.iter().find(|rule| rule.fits(asked))?;
            Some((number, rule))
        })
    }
}

impl Hosts {
    fn add(&mut self, host: &str, route: usize) -> Result<(), String> {
        let list = if host == "*" {
            &mut self.any
        } else if let Some(parent) = host.strip_prefix("*.") {
            if parent.is_empty() || parent.contains('*') {
                return Err(format!("{host:?} is no host. A * may only stand first: *.example.com."));
            }
            self.wildcard.entry(parent.to_owned()).or_default()
        } else if host.is_empty() || host.contains('*') {
            return Err(format!("{host:?} is no host. A * may only stand first: *.example.com."));
        } else {
            self.ports |= host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            self.exact.entry(host.to_owned()).or_default()
        };
        if list.last() != Some(&route) {
            list.push(route);
        }
        Ok(())
    }

    fn find(&self, host: &str, port: Option<u16>) -> &[usize] {
        if self.ports {
            let with_port = format!("{host}:{}", port.unwrap_or(80));
            if let Some(found) = self.exact.get(&with_port) {
                return found;
            }
        }
        if let Some(found) = self.exact.get(host) {
            return found;
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((label, parent)) = rest.split_once('.') {
                // `.example.com` has no label that a * could stand for.
                if !label.is_empty() {
                    if let Some(found) = self.wildcard.get(parent) {
                        return found;
                    }
                }
                rest = parent;
            }
        }
        &self.any
    }
}

impl Rule {
    fn compile(rule: table::Rule, clusters: &BTreeMap<&str, usize>, at: &str) -> Result<Self, String> {
        let matches = rule.matches.into_iter().enumerate();
        let matches = matches
            .map(|(index, wanted)| Match::compile(wanted, &format!("{at}.matches[{index}]")))
            .collect::<Result<_, _>>()?;
        let mut backends = Backends::default();
        for (index, backend) in rule.backends.into_iter().enumerate() {
            let share = match (backend.cluster, backend.failure) {
                (Some(name), None) => match clusters.get(name.as_str()) {
                    Some(&cluster) => Share::Cluster(cluster),
                    None => {
                        return Err(format!("{at}.backends[{index}].cluster: there is no cluster {name:?}."))
                    }
                },
                (None, Some(words)) => Share::Failure(words),
                _ => return Err(format!("{at}.backends[{index}]: must have either cluster or failure.")),
            };
            if backend.weight > 0 {
                backends.total += u64::from(backend.weight);
                backends.shares.push((backends.total, share));
            }
        }
        Ok(Self {
            matches,
            filters: Filters::compile(rule.filters, at)?,
            backends,
            timeout: rule.timeout_ms.filter(|&ms| ms > 0).map(Duration::from_millis),
            attempt_timeout: rule.backend_timeout_ms.filter(|&ms| ms > 0).map(Duration::from_millis),
            retry: rule.retry,
        })
    }

    fn fits(&self, asked: &Asked<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|wanted| wanted.fits(asked))
    }

    /// Draws a backend by weight; nothing where none has any.
    pub(super) fn draw(&self) -> Option<Backend<'_>> {
        let share = match self.backends.shares.as_slice() {
            [] => return None,
            [(_, only)] => only,
            shares => {
                let drawn = fastrand::u64(..self.backends.total);
                shares.get(shares.partition_point(|(up_to, _)| *up_to <= drawn)).map(|(_, share)| share)?
            }
        };
        Some(match share {
            Share::Cluster(number) => Backend::Cluster(*number),
            Share::Failure(words) => Backend::Failure(words),
        })
    }
}

impl Match {
    fn compile(wanted: table::Match, at: &str) -> Result<Self, String> {
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
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("{at}.method: {method:?} is no method."))
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

    fn fits(&self, asked: &Asked<'_>) -> bool {
        self.path.fits(asked.path)
            && self.method.as_ref().is_none_or(|method| method == asked.method)
            && self.headers.iter().all(|(name, rule)| rule.fits_header(asked.headers, name))
            && self.query.iter().all(|(name, rule)| rule.fits_query(asked.query, name))
    }
}

impl PathRule {
    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => path == wanted,
            Self::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn compile(routes: &Value) -> Result<Routes, String> {
        let routes = serde_json::from_value(routes.clone()).map_err(|error| error.to_string())?;
        Routes::compile(routes, &BTreeMap::from([("a", 0), ("b", 1)]))
    }

    fn one(hosts: &Value, rule: &Value) -> Routes {
        compile(&json!([{"name": "n/r", "service": "n/r", "hosts": hosts, "rules": [rule]}])).unwrap()
    }

    fn asked<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Asked<'a> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        Asked { side: Side::Public, host, port: None, path, query, method: &Method::POST, headers }
    }

    fn fits(routes: &Routes, host: &str, path: &str) -> bool {
        routes.find(&asked(host, path, &HeaderMap::new())).is_some()
    }

    #[test]
    fn the_most_specific_host_decides() {
        let route = |name: &str, hosts: &[&str]| {
            json!({"name": name, "service": name, "hosts": hosts, "rules": [{"backends": [{"cluster": "a"}]}]})
        };
        let routes = compile(&json!([
            route("any", &["*"]),
            route("wide", &["*.org"]),
            route("narrow", &["*.foo.org"]),
            route("exact", &["A.foo.ORG"]),
        ]))
        .unwrap();
        let service = |host: &str| {
            let headers = HeaderMap::new();
            let (number, _) = routes.find(&asked(host, "/", &headers)).unwrap();
            routes.all[number].service.clone()
        };
        assert_eq!(service("a.foo.org"), "exact");
        assert_eq!(service("b.foo.org"), "narrow");
        assert_eq!(service("c.b.foo.org"), "narrow");
        assert_eq!(service("foo.org"), "wide");
        assert_eq!(service(".foo.org"), "wide");
        assert_eq!(service("org"), "any");
    }

    #[test]
    fn internal_routes_are_seen_from_inside_only_and_by_port() {
        let routes = compile(&json!([
            {"name": "p", "service": "p", "hosts": ["x.example.com"], "rules": [{}]},
            {"name": "i", "service": "i", "hosts": ["x.ns:80", "x.ns.svc"], "rules": [{}], "internal": true},
            {"name": "j", "service": "j", "hosts": ["x.ns:9000"], "rules": [{}], "internal": true},
        ]))
        .unwrap();
        let headers = HeaderMap::new();
        let service = |side, host, port| {
            let (number, _) = routes.find(&Asked { side, port, ..asked(host, "/", &headers) })?;
            Some(routes.all[number].service.as_str())
        };
        assert_eq!(service(Side::Internal, "x.ns", None), Some("i"));
        assert_eq!(service(Side::Internal, "x.ns", Some(80)), Some("i"));
        assert_eq!(service(Side::Internal, "x.ns", Some(9000)), Some("j"));
        assert_eq!(service(Side::Internal, "x.ns", Some(81)), None);
        assert_eq!(service(Side::Internal, "x.ns.svc", Some(81)), Some("i"));
        assert_eq!(service(Side::Internal, "x.example.com", None), Some("p"));
        assert_eq!(service(Side::Public, "x.ns", None), None);
        assert_eq!(service(Side::Public, "x.example.com", Some(8080)), Some("p"));
    }

    #[test]
    fn paths_fit_by_segments() {
        let path = |kind: &str, value: &str| {
            one(&json!(["h"]), &json!({"matches": [{"path": {"type": kind, "value": value}}]}))
        };
        for (kind, value, good, bad) in [
            ("prefix", "/v1", &["/v1", "/v1/", "/v1/x"][..], &["/v10", "/", "/V1"][..]),
            ("prefix", "/v1/", &["/v1", "/v1/x"], &["/v1x"]),
            ("prefix", "/", &["/", "/x"], &[]),
            ("exact", "/v1", &["/v1", "/v1?q=1"], &["/v1/", "/v1/x"]),
            ("regex", "/v[12]|/x", &["/v1", "/v2", "/x"], &["/v1/", "/v3", "/y/v1"]),
        ] {
            let routes = path(kind, value);
            for path in good {
                assert!(fits(&routes, "h", path), "{kind} {value} {path}");
            }
            for path in bad {
                assert!(!fits(&routes, "h", path), "{kind} {value} {path}");
            }
        }
    }

    #[test]
    fn headers_query_and_method_must_all_fit() {
        let routes = one(
            &json!(["h"]),
            &json!({"matches": [{
                "headers": [{"name": "X-Tier", "value": "gold"}, {"name": "x-n", "type": "regex", "value": "\\d+"}],
                "query": [{"name": "a b", "value": "c&d"}],
                "method": "POST",
            }]}),
        );
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect()
        };
        let good = headers(&[("x-tier", "gold"), ("x-n", "12")]);
        let query = "/?a+b=c%26d&a%20b=no";
        assert!(routes.find(&asked("h", query, &good)).is_some());
        assert!(routes.find(&Asked { method: &Method::GET, ..asked("h", query, &good) }).is_none());
        assert!(routes.find(&asked("h", "/?a+b=c", &good)).is_none());
        assert!(routes.find(&asked("h", "/", &good)).is_none());
        for bad in [&[("x-tier", "gold")][..], &[("x-tier", "gold"), ("x-n", "12a")]] {
            assert!(routes.find(&asked("h", query, &headers(bad))).is_none(), "{bad:?}");
        }
        let mut twice = good.clone();
        twice.append("x-tier", "silver".parse().unwrap());
        assert!(routes.find(&asked("h", query, &twice)).is_none());
    }

    #[test]
    fn the_first_rule_that_fits_wins() {
        let routes = compile(&json!([
            {"name": "r", "service": "r", "hosts": ["h"], "rules": [
                {"matches": [{"path": {"value": "/a/b"}}, {"path": {"value": "/c"}}], "timeout_ms": 1},
                {"matches": [{"path": {"value": "/a"}}], "timeout_ms": 2},
            ]},
            {"name": "s", "service": "s", "hosts": ["h"], "rules": [{"timeout_ms": 3}]},
        ]))
        .unwrap();
        let headers = HeaderMap::new();
        let timeout = |path| routes.find(&asked("h", path, &headers)).unwrap().1.timeout.unwrap().as_millis();
        assert_eq!(["/a/b/x", "/c", "/a/x", "/x"].map(timeout), [1, 1, 2, 3]);
    }

    #[test]
    fn shares_follow_weights() {
        let routes = one(
            &json!(["h"]),
            &json!({"backends": [
                {"cluster": "a", "weight": 90}, {"cluster": "b", "weight": 10},
                {"failure": "never", "weight": 0},
            ]}),
        );
        let headers = HeaderMap::new();
        let (_, rule) = routes.find(&asked("h", "/", &headers)).unwrap();
        let drawn = |wanted| (0..10_000).filter(|_| rule.draw() == Some(Backend::Cluster(wanted))).count();
        let first = drawn(0);
        // Ten standard deviations.
        assert!((8_700..9_300).contains(&first), "{first}");
        assert!(one(&json!(["h"]), &json!({})).find(&asked("h", "/", &headers)).unwrap().1.draw().is_none());
    }

    #[test]
    fn a_broken_table_says_where() {
        let route = |rule: Value| json!([{"name": "n/r", "service": "s", "hosts": ["h"], "rules": [rule]}]);
        for (routes, words) in [
            (route(json!({"backends": [{"cluster": "z"}]})), "rules[0].backends[0].cluster: there is no cluster"),
            (route(json!({"backends": [{}]})), "must have either cluster or failure"),
            (route(json!({"matches": [{"path": {"type": "regex", "value": "("}}]})), "matches[0].path: \"(\""),
            (route(json!({"matches": [{"method": "G T"}]})), "is no method"),
            (route(json!({"matches": [{"headers": [{"name": "a b", "value": ""}]}]})), "is no header's name"),
            (json!([{"name": "n/r", "service": "s", "hosts": [], "rules": []}]), "routes[0] (n/r).hosts: is empty"),
            (json!([{"name": "n/r", "service": "s", "hosts": ["a.*"], "rules": []}]), "is no host"),
            (route(json!({"mirror": "b"})), "unknown field `mirror`"),
        ] {
            let said = compile(&routes).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn an_expression_cannot_eat_the_memory() {
        let routes = json!([{"name": "r", "service": "r", "hosts": ["h"], "rules": [
            {"matches": [{"path": {"type": "regex", "value": "(((a{100}){100}){100})"}}]}]}]);
        assert!(compile(&routes).unwrap_err().contains("size limit"));
    }
}
