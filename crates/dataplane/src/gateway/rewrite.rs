//! Another URL: for the client, which is sent there, or for the endpoint, which sees it instead.

use super::table::{self, ChangeKind};
use super::target::Host;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, StatusCode};

/// Where the client is sent to. What is not said stays as it asked.
#[derive(Debug)]
pub(super) struct Redirect {
    scheme: Option<String>,
    hostname: Option<String>,
    port: Option<u16>,
    path: Option<Change>,
    pub(super) status: StatusCode,
}

/// What the endpoint sees instead of what the client asked for.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) host: Option<Authority>,
    path: Option<Change>,
}

/// Another path.
#[derive(Debug)]
enum Change {
    /// Instead of all of it.
    Full(String),
    /// Instead of the prefix that fit; without the slash at its end.
    Prefix(String),
}

impl Change {
    fn compile(told: table::PathChange, at: &str) -> Result<Self, String> {
        let value = told.value;
        let is_path = value.starts_with('/')
            && !value.contains(['?', '#'])
            && PathAndQuery::try_from(value.as_str()).is_ok();
        if !is_path && !value.is_empty() {
            return Err(format!("{at}: must be a path that begins with \"/\", got {value:?}."));
        }
        Ok(match told.kind {
            ChangeKind::Full if value.is_empty() => Self::Full("/".to_owned()),
            ChangeKind::Full => Self::Full(value),
            ChangeKind::Prefix => Self::Prefix(value.trim_end_matches('/').to_owned()),
        })
    }

    /// The path instead of this one; `prefix` is the part of it that fit. The query stays.
    fn apply(&self, target: &PathAndQuery, prefix: Option<&str>) -> PathAndQuery {
        let path = target.path();
        let mut changed = match self {
            Self::Full(path) => path.clone(),
            Self::Prefix(instead) => {
                let rest = path.strip_prefix(prefix.unwrap_or_default()).unwrap_or(path);
                format!("{instead}{rest}")
            }
        };
        if changed.is_empty() {
            changed.push('/');
        }
        if let Some(query) = target.query() {
            changed.push('?');
            changed.push_str(query);
        }
        // Made of parts of two paths, so it is one.
        PathAndQuery::try_from(changed).unwrap_or_else(|_| target.clone())
    }
}

impl Redirect {
    pub(super) fn compile(told: table::Redirect, at: &str) -> Result<Self, String> {
        let status = StatusCode::from_u16(told.status).ok().filter(StatusCode::is_redirection);
        let status = status.ok_or_else(|| format!("{at}.status: must be a 3xx, got {}.", told.status))?;
        if let Some(scheme) = told.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
            return Err(format!("{at}.scheme: must be http or https, got {scheme:?}."));
        }
        if let Some(hostname) = &told.hostname {
            authority(hostname, &format!("{at}.hostname"))?;
        }
        let path = told.path.map(|change| Change::compile(change, &format!("{at}.path"))).transpose()?;
        Ok(Self { scheme: told.scheme, hostname: told.hostname, port: told.port, path, status })
    }

    /// The URL to go to.
    pub(super) fn location(
        &self,
        scheme: &str,
        host: &Host,
        target: &PathAndQuery,
        prefix: Option<&str>,
    ) -> HeaderValue {
        let to_scheme = self.scheme.as_deref().unwrap_or(scheme);
        // Another scheme has a port of its own; else it is the one by which the client came.
        let port = self.port.or(if self.scheme.is_some() { None } else { host.port });
        let port = port.filter(|port| !matches!((to_scheme, port), ("http", 80) | ("https", 443)));
        let hostname = self.hostname.as_deref().unwrap_or_else(|| host.authority.host());
        let path = self.path.as_ref().map(|change| change.apply(target, prefix));
        let path = path.as_ref().unwrap_or(target);
        let location = match port {
            Some(port) => format!("{to_scheme}://{hostname}:{port}{path}"),
            None => format!("{to_scheme}://{hostname}{path}"),
        };
        // Of parts that headers and URLs may have.
        HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"))
    }
}

impl Rewrite {
    pub(super) fn compile(told: table::Rewrite, at: &str) -> Result<Self, String> {
        let host = told.hostname.map(|name| authority(&name, &format!("{at}.hostname"))).transpose()?;
        let path = told.path.map(|change| Change::compile(change, &format!("{at}.path"))).transpose()?;
        Ok(Self { host, path })
    }

    /// The path instead of this one, where it is another.
    pub(super) fn path(&self, target: &PathAndQuery, prefix: Option<&str>) -> Option<PathAndQuery> {
        self.path.as_ref().map(|change| change.apply(target, prefix))
    }
}

fn authority(name: &str, at: &str) -> Result<Authority, String> {
    let parsed = Authority::try_from(name).ok().filter(|parsed| parsed.as_str() == parsed.host());
    parsed.ok_or_else(|| format!("{at}: must be a host's name, got {name:?}."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;
    use serde_json::{json, Value};

    fn rewritten(change: &Value, prefix: Option<&str>, path: &str) -> String {
        let told = serde_json::from_value(json!({"path": change})).unwrap();
        let rewrite = Rewrite::compile(told, "r").unwrap();
        rewrite.path(&path.parse().unwrap(), prefix).unwrap().to_string()
    }

    #[test]
    fn prefixes_are_replaced_as_gateway_api_lists_it() {
        for (path, prefix, instead, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "", "/xyz", "/xyz/foo/bar"),
            ("/foo?a=%20b", "/foo", "/xyz", "/xyz?a=%20b"),
        ] {
            let change = json!({"type": "prefix", "value": instead});
            assert_eq!(rewritten(&change, Some(prefix), path), expected, "{path} {prefix} {instead}");
        }
        assert_eq!(rewritten(&json!({"type": "full", "value": "/x"}), None, "/foo/bar?q"), "/x?q");
        assert_eq!(rewritten(&json!({"type": "full", "value": ""}), None, "/foo"), "/");
    }

    #[test]
    fn a_redirect_changes_what_it_names() {
        let head = Request::get("/foo/bar?q=1").header("host", "h.org:8080").body(()).unwrap().into_parts().0;
        let host = super::super::target::host(&head).unwrap();
        for (told, expected) in [
            (json!({}), "http://h.org:8080/foo/bar?q=1"),
            (json!({"scheme": "https"}), "https://h.org/foo/bar?q=1"),
            (json!({"scheme": "https", "port": 8443}), "https://h.org:8443/foo/bar?q=1"),
            (json!({"scheme": "https", "port": 443}), "https://h.org/foo/bar?q=1"),
            (json!({"hostname": "o.org"}), "http://o.org:8080/foo/bar?q=1"),
            (json!({"hostname": "o.org", "port": 80}), "http://o.org/foo/bar?q=1"),
            (json!({"path": {"type": "full", "value": "/x"}}), "http://h.org:8080/x?q=1"),
            (json!({"path": {"type": "prefix", "value": "/x"}}), "http://h.org:8080/x/bar?q=1"),
        ] {
            let redirect = Redirect::compile(serde_json::from_value(told.clone()).unwrap(), "r").unwrap();
            let target = head.uri.path_and_query().unwrap();
            assert_eq!(redirect.location("http", &host, target, Some("/foo")), expected, "{told}");
            assert_eq!(redirect.status, StatusCode::FOUND);
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (told, words) in [
            (json!({"status": 200}), "must be a 3xx"),
            (json!({"scheme": "ftp"}), "must be http or https"),
            (json!({"hostname": "a:80"}), "must be a host's name"),
            (json!({"hostname": "a b"}), "must be a host's name"),
            (json!({"path": {"type": "full", "value": "x"}}), "must be a path"),
            (json!({"path": {"type": "full", "value": "/x?y"}}), "must be a path"),
            (json!({"path": {"type": "prefix", "value": "/x\n"}}), "must be a path"),
        ] {
            let said = Redirect::compile(serde_json::from_value(told).unwrap(), "r").unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }
}
