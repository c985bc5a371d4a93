//! The route table as it is asked: which rule is for this host, path, method and these headers.

pub(super) use super::fit::Asked;
use super::limit::Limiter;
pub(super) use super::rule::{Backend, Rule};
use super::table;
use std::collections::{BTreeMap, HashMap};

/// Routes that were checked and compiled.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) all: Vec<Route>,
    /// Rules that cannot be carried out, by the names of their routes: their requests are answered 500.
    pub(super) problems: Vec<Problem>,
    public: Hosts,
    internal: Hosts,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) route: String,
    pub(super) message: String,
}

/// The rule for a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The number of its route.
    pub(super) route: usize,
    pub(super) rule: &'a Rule,
    /// The prefix of the path that fit, without the slash at its end, where it was one.
    pub(super) prefix: Option<&'a str>,
}

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    /// Of the HTTPRoute.
    pub(super) name: String,
    /// Whom credentials must be good for, and whose metrics count.
    pub(super) service: String,
    /// Served on internal listeners only.
    pub(super) internal: bool,
    /// How many requests it takes.
    pub(super) limiter: Option<Limiter>,
    rules: Vec<Rule>,
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
            let mut rules = Vec::with_capacity(route.rules.len());
            for (index, rule) in route.rules.into_iter().enumerate() {
                let (rule, problem) = Rule::compile(rule, clusters, &format!("{at}.rules[{index}]"));
                rules.push(rule);
                let problem = problem.map(|message| Problem { route: route.name.clone(), message });
                compiled.problems.extend(problem);
            }
            let limiter = route.limit.map(|limit| Limiter::compile(limit, &format!("{at}.limit")));
            compiled.all.push(Route {
                name: route.name,
                service: route.service,
                internal: route.internal,
                limiter: limiter.transpose()?,
                rules,
            });
        }
        Ok(compiled)
    }

    /// The first rule that fits.
    pub(super) fn find<'a>(&'a self, asked: &Asked<'_>) -> Option<Found<'a>> {
        let hosts = if asked.side == Side::Internal { &self.internal } else { &self.public };
        hosts.find(asked.host, asked.port).iter().find_map(|&route| {
            let rules = &self.all.get(route)?.rules;
            rules.iter().find_map(|rule| Some(Found { route, rule, prefix: rule.fits(asked)?.prefix() }))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, Method};
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
        let route = |name: &str, hosts: &[&str]| json!({"name": name, "service": name, "hosts": hosts, "rules": [{"backends": [{"cluster": "a"}]}]});
        let routes = compile(&json!([
            route("any", &["*"]),
            route("wide", &["*.org"]),
            route("narrow", &["*.foo.org"]),
            route("exact", &["A.foo.ORG"]),
        ]))
        .unwrap();
        let service = |host: &str| {
            let headers = HeaderMap::new();
            let found = routes.find(&asked(host, "/", &headers)).unwrap();
            routes.all[found.route].service.clone()
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
            let found = routes.find(&Asked { side, port, ..asked(host, "/", &headers) })?;
            Some(routes.all[found.route].service.as_str())
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
        let timeout =
            |path| routes.find(&asked("h", path, &headers)).unwrap().rule.timeout.unwrap().as_millis();
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
        let rule = routes.find(&asked("h", "/", &headers)).unwrap().rule;
        let drawn = |wanted| {
            (0..10_000).filter(|_| rule.draw(None).unwrap().backend == Backend::Cluster(wanted)).count()
        };
        let first = drawn(0);
        // Ten standard deviations.
        assert!((8_700..9_300).contains(&first), "{first}");
        // By a key they are as large, and the same key draws the same.
        let by_key = |key| rule.draw(Some(key)).unwrap().backend;
        assert_eq!((0..100).filter(|&key| by_key(key) == Backend::Cluster(0)).count(), 90);
        let none = one(&json!(["h"]), &json!({}));
        assert!(none.find(&asked("h", "/", &headers)).unwrap().rule.draw(None).is_none());
    }

    #[test]
    fn a_broken_rule_answers_for_its_own_requests_alone() {
        let route = |rule: Value| json!([{"name": "n/r", "service": "s", "hosts": ["h"], "rules": [rule, {"backends": [{"cluster": "a"}]}]}]);
        let regex = |value: &str| json!({"path": {"type": "regex", "value": value}});
        for (rule, words) in [
            (
                json!({"backends": [{"cluster": "z"}]}),
                "routes[0] (n/r).rules[0].backends[0].cluster: there is no cluster",
            ),
            (json!({"backends": [{}]}), "must have either cluster or failure"),
            (json!({"matches": [regex("("), {"path": {"value": "/x"}}]}), "rules[0].matches[0].path: \"(\""),
            (json!({"matches": [regex("(((a{100}){100}){100})"), {}]}), "size limit"),
            (json!({"matches": [{"method": "G T"}, {}]}), "is no method"),
            (json!({"matches": [{"headers": [{"name": "a b", "value": ""}]}, {}]}), "is no header's name"),
            (json!({"filters": {"request_headers": {"set": [["te", "x"]]}}}), "te cannot be changed"),
        ] {
            let routes = compile(&route(rule)).unwrap();
            let [problem] = routes.problems.as_slice() else { panic!("{:?}", routes.problems) };
            assert!(problem.route == "n/r" && problem.message.contains(words), "{problem:?}");
            let headers = HeaderMap::new();
            let found = routes.find(&asked("h", "/x", &headers)).unwrap();
            assert_eq!(found.rule.draw(None).unwrap().backend, Backend::Failure(&problem.message));
        }
        // Where nothing of it could fit, it has no requests.
        let routes = compile(&route(json!({"matches": [regex("(")]}))).unwrap();
        let headers = HeaderMap::new();
        let found = routes.find(&asked("h", "/x", &headers)).unwrap();
        assert_eq!(found.rule.draw(None).unwrap().backend, Backend::Cluster(0));
    }

    #[test]
    fn a_broken_table_says_where() {
        for (routes, words) in [
            (
                json!([{"name": "n/r", "service": "s", "hosts": [], "rules": []}]),
                "routes[0] (n/r).hosts: is empty",
            ),
            (json!([{"name": "n/r", "service": "s", "hosts": ["a.*"], "rules": []}]), "is no host"),
            (
                json!([{"name": "n/r", "service": "s", "hosts": ["h"], "rules": [{"mirror": "b"}]}]),
                "unknown field `mirror`",
            ),
        ] {
            let said = compile(&routes).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
