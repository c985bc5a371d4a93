//! What a request asks for: its host and its path, cleaned so that what is matched is what is forwarded.

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Version};
use percent::decoded_dots;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// The host that a request is for, in lower case, and its port where one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As it goes into the upstream request.
    pub(super) authority: Authority,
    /// What routes are looked up by.
    pub(super) name: Arc<str>,
    /// What was behind the colon.
    pub(super) port: Option<u16>,
}

/// Why a request's target is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTarget {
    #[error("Host: there must be exactly one Host header.")]
    NoHost,
    #[error("Host: is no host name or address.")]
    BadHost,
    #[error("Host: differs from the request's :authority.")]
    TwoHosts,
    #[error("CONNECT: tunnels are not served here.")]
    Tunnel,
    #[error("the request's target must be a path.")]
    NoPath,
}

/// The host that a connection asked for last, so that it is read once and not with every request.
#[derive(Debug, Default)]
pub(super) struct LastHost(Mutex<Option<Host>>);

impl LastHost {
    /// The host of a request; see `host`.
    pub(super) fn of(&self, head: &Parts) -> Result<Host, BadTarget> {
        let mut headers = head.headers.get_all(HOST).iter();
        // HTTP/2 mostly says it as the authority alone.
        let given = match (headers.next(), headers.next(), head.uri.authority()) {
            (Some(header), None, None) => header.as_bytes(),
            (None, None, Some(authority)) => authority.as_str().as_bytes(),
            _ => return host(head),
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if known.authority.as_str().as_bytes() == given && head.method != Method::CONNECT => {
                Ok(known.clone())
            }
            _ => {
                let host = host(head)?;
                *last = Some(host.clone());
                Ok(host)
            }
        }
    }
}

/// The host of a request. An authority in the target outdoes the Host header (RFC 9112, 3.2.2); in HTTP/2 the
/// two must agree (RFC 9113, 8.3.1).
pub(super) fn host(head: &Parts) -> Result<Host, BadTarget> {
    if head.method == Method::CONNECT {
        return Err(BadTarget::Tunnel);
    }
    let mut headers = head.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(BadTarget::NoHost);
    }
    let given = header.map(|value| parse(value.as_bytes())).transpose()?;
    match (head.uri.authority(), given) {
        (Some(authority), given) => {
            let target = parse(authority.as_str().as_bytes())?;
            match given {
                Some(given) if head.version >= Version::HTTP_2 && given != target => Err(BadTarget::TwoHosts),
                _ => Ok(target),
            }
        }
        (None, Some(given)) => Ok(given),
        (None, None) => Err(BadTarget::NoHost),
    }
}

fn parse(text: &[u8]) -> Result<Host, BadTarget> {
    // Whoever has user information in a host means to deceive.
    if text.is_empty() || text.contains(&b'@') {
        return Err(BadTarget::BadHost);
    }
    let authority = Authority::try_from(text).map_err(|_| BadTarget::BadHost)?;
    let port = match authority.port() {
        Some(port) => Some(port.as_u16()),
        None if authority.as_str().len() > authority.host().len() => return Err(BadTarget::BadHost),
        None => None,
    };
    let name: Arc<str> = authority.host().trim_end_matches('.').to_ascii_lowercase().into();
    if name.is_empty() {
        return Err(BadTarget::BadHost);
    }
    Ok(Host { authority, name, port })
}

/// The path and query of a request, without dot segments.
pub(super) fn path(head: &Parts) -> Result<PathAndQuery, BadTarget> {
    let given = head.uri.path_and_query().ok_or(BadTarget::NoPath)?;
    match clean(given.path()) {
        Cow::Borrowed(path) if path.starts_with('/') => Ok(given.clone()),
        // `OPTIONS *` speaks to the gateway itself, which has nothing to say.
        Cow::Borrowed(_) => Err(BadTarget::NoPath),
        Cow::Owned(mut path) => {
            if let Some(query) = given.query() {
                path.push('?');
                path.push_str(query);
            }
            PathAndQuery::try_from(path).map_err(|_| BadTarget::NoPath)
        }
    }
}

/// Writes a path in the one way in which all see the same (RFC 3986, 6.2.2): letters and digits as themselves, no
/// dot segments. Otherwise `/open/../closed` and `/%63losed` escape the rule for `/closed` here and reach it in a
/// server that reads them so.
pub(super) fn clean(path: &str) -> Cow<'_, str> {
    match percent::plain(path) {
        Cow::Borrowed(path) => without_dots(path),
        Cow::Owned(path) => Cow::Owned(without_dots(&path).into_owned()),
    }
}

/// Removes `.` and `..` segments (RFC 3986, 5.2.4), spelled with `%2e` too.
fn without_dots(path: &str) -> Cow<'_, str> {
    if !path.contains("/.") && !path.contains("/%2") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut changed = false;
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match decoded_dots(segment) {
            0 => kept.push(segment),
            dots => {
                changed = true;
                if dots == 2 {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
        }
    }
    if !changed {
        return Cow::Borrowed(path);
    }
    let mut cleaned = String::with_capacity(path.len());
    for segment in kept {
        cleaned.push('/');
        cleaned.push_str(segment);
    }
    Cow::Owned(cleaned)
}

/// Percent-encoding, as far as a gateway has to see through it.
pub(super) mod percent {
    use std::borrow::Cow;

    /// 1 for `.`, 2 for `..`, in any spelling; 0 for all else.
    pub(in crate::gateway) fn decoded_dots(segment: &str) -> usize {
        if segment.len() > 6 || !segment.starts_with(['.', '%']) {
            return 0;
        }
        match decode(segment).as_ref() {
            "." => 1,
            ".." => 2,
            _ => 0,
        }
    }

    /// Decodes `%xx` of letters, digits and `-._~`, which mean the same either way; all else stays.
    pub(in crate::gateway) fn plain(path: &str) -> Cow<'_, str> {
        if !path.contains('%') {
            return Cow::Borrowed(path);
        }
        let mut parts = path.split('%');
        let mut plain = String::new();
        let mut changed = false;
        plain.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let byte = part
                .as_bytes()
                .get(..2)
                .and_then(|hex| Some(digit(*hex.first()?)? << 4 | digit(*hex.get(1)?)?));
            let byte = byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
            if let Some(byte) = byte {
                changed = true;
                plain.push(char::from(byte));
                plain.push_str(part.get(2..).unwrap_or_default());
            } else {
                plain.push('%');
                plain.push_str(part);
            }
        }
        if changed {
            Cow::Owned(plain)
        } else {
            Cow::Borrowed(path)
        }
    }

    /// Decodes `%xx`; what is no such thing stays. Bytes that are no UTF-8 become U+FFFD.
    pub(in crate::gateway) fn decode(text: &str) -> Cow<'_, str> {
        if !text.contains('%') {
            return Cow::Borrowed(text);
        }
        let mut decoded = Vec::with_capacity(text.len());
        let mut bytes = text.as_bytes();
        while let [first, rest @ ..] = bytes {
            bytes = rest;
            let hex = (*first == b'%').then(|| rest.get(..2)).flatten();
            match hex.and_then(|hex| Some(digit(*hex.first()?)? << 4 | digit(*hex.get(1)?)?)) {
                Some(byte) => {
                    decoded.push(byte);
                    bytes = rest.get(2..).unwrap_or_default();
                }
                None => decoded.push(*first),
            }
        }
        Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
    }

    fn digit(byte: u8) -> Option<u8> {
        char::from(byte).to_digit(16).map(|digit| digit as u8)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;

    fn head(uri: &str, hosts: &[&str], version: Version) -> Parts {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_host_is_read_without_case_port_and_final_dot() {
        for (given, name, port) in [
            ("Iris.Example.COM", "iris.example.com", None),
            ("iris.example.com.:8080", "iris.example.com", Some(8080)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:8080", "[::1]", Some(8080)),
        ] {
            let host = host(&head("/", &[given], Version::HTTP_11)).unwrap();
            assert_eq!((&*host.name, host.port), (name, port));
        }
    }

    #[test]
    fn a_host_that_could_be_read_in_two_ways_is_refused() {
        for bad in ["", "a b", "a@b", "a:b", "a:", "a:99999", "a/b", "a?b", "[::1", "."] {
            let refused = host(&head("/", &[bad], Version::HTTP_11)).unwrap_err();
            assert_eq!(refused, BadTarget::BadHost, "{bad}");
        }
        assert_eq!(host(&head("/", &[], Version::HTTP_11)).unwrap_err(), BadTarget::NoHost);
        assert_eq!(host(&head("/", &["a", "a"], Version::HTTP_11)).unwrap_err(), BadTarget::NoHost);
    }

    #[test]
    fn the_targets_own_host_outdoes_the_header() {
        let named = |version, header: &[&str]| host(&head("http://target/x", header, version));
        assert_eq!(named(Version::HTTP_11, &["other"]).unwrap().name.as_ref(), "target");
        assert_eq!(named(Version::HTTP_2, &["target"]).unwrap().name.as_ref(), "target");
        assert_eq!(named(Version::HTTP_2, &[]).unwrap().name.as_ref(), "target");
        assert_eq!(named(Version::HTTP_2, &["other"]).unwrap_err(), BadTarget::TwoHosts);
    }

    #[test]
    fn what_a_connection_asked_before_does_not_stand_for_what_it_asks_now() {
        let last = LastHost::default();
        let name =
            |host: &str| last.of(&head("/", &[host], Version::HTTP_11)).map(|host| host.name.to_string());
        for host in ["a", "a", "b", "a"] {
            assert_eq!(name(host).unwrap(), host);
        }
        assert_eq!(name("a b").unwrap_err(), BadTarget::BadHost);
        assert_eq!(name("a").unwrap(), "a");
        assert!(last.of(&head("/", &["a", "b"], Version::HTTP_11)).is_err());
        assert_eq!(last.of(&head("http://c/", &["a"], Version::HTTP_11)).unwrap().name.as_ref(), "c");
        let named = |uri: &str| last.of(&head(uri, &[], Version::HTTP_2)).unwrap().name;
        assert_eq!(
            ["http://d/", "http://d/", "http://e/", "http://d/"].map(named),
            ["d", "d", "e", "d"].map(Arc::from)
        );
        let mut tunnel = head("http://d/", &[], Version::HTTP_2);
        tunnel.method = Method::CONNECT;
        assert_eq!(last.of(&tunnel).unwrap_err(), BadTarget::Tunnel);
    }

    #[test]
    fn dot_segments_are_removed_in_every_spelling() {
        for (given, cleaned) in [
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e", "/a/"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/a/...", "/a/..."),
            ("/a/.well-known", "/a/.well-known"),
            ("/a%2f..%2fb", "/a%2f..%2fb"),
            ("/%63losed/%7E%2D%5F", "/closed/~-_"),
            ("/a%2", "/a%2"),
            ("/a%zz%41", "/a%zzA"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/%E4%41", "/%E4A"),
            ("/v1/models/m%20x:predict", "/v1/models/m%20x:predict"),
        ] {
            assert_eq!(clean(given), cleaned, "{given}");
        }
    }

    #[test]
    fn the_query_stays_when_the_path_is_cleaned() {
        let head = head("/a/../b?c=../d", &["h"], Version::HTTP_11);
        assert_eq!(path(&head).unwrap().as_str(), "/b?c=../d");
    }
}
