//! Headers that belong to one connection, and headers that tell endpoints where a request came from.

use super::target::Host;
use http::header::{
    HeaderName, HeaderValue, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Where a request came from.
#[derive(Clone, Debug)]
pub(super) struct From {
    /// The client's address.
    pub(super) client: HeaderValue,
    /// `http` or `https`.
    pub(super) scheme: HeaderValue,
    /// Another proxy of ours is in front: what it says of the client is kept.
    pub(super) trusted: bool,
}

/// Removes what was meant for this hop alone (RFC 9110, 7.6.1), and what we say anew.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH); // written anew for the body that is sent
    headers.remove(TE);
    if headers.keys().any(is_for_one_hop) {
        strip(headers);
        headers.remove(TRAILER);
        headers.remove(EXPECT); // answered here
        headers.remove(PROXY_AUTHORIZATION);
        headers.remove(HTTP2_SETTINGS);
    }
}

/// Whether any of what is removed here has this name, but for what every request has. To look at each name costs less
/// than to look for each of these.
fn is_for_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "upgrade"
            | "trailer"
            | "expect"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "http2-settings"
    )
}

/// The same for an answer. Its length stays: an answer to HEAD has one without a body.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if headers.keys().any(is_for_one_hop) {
        strip(headers);
        headers.remove(PROXY_AUTHENTICATE);
    }
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            // Nobody may talk us out of these.
            if name != HOST && name != super::request_id::NAME {
                headers.remove(name);
            }
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// Tells the endpoint who asked, and how.
pub(super) fn forward(headers: &mut HeaderMap, from: &From, host: &Host) {
    let named = match headers.get(HOST) {
        Some(given) if given == host.authority.as_str() => given.clone(),
        _ => {
            // An authority has no bytes that a header may not have.
            let named = HeaderValue::try_from(host.authority.as_str());
            let named = named.unwrap_or(HeaderValue::from_static(""));
            headers.insert(HOST, named.clone());
            named
        }
    };
    if headers.contains_key(FORWARDED_FOR) {
        // Whoever asks may claim anything; the last entry is what we saw.
        let mut list = Vec::new();
        for value in headers.get_all(FORWARDED_FOR) {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(from.client.as_bytes());
        if let Ok(list) = HeaderValue::from_bytes(&list) {
            headers.insert(FORWARDED_FOR, list);
        }
    } else {
        headers.insert(FORWARDED_FOR, from.client.clone());
    }
    if !(from.trusted && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, from.scheme.clone());
    }
    if !(from.trusted && headers.contains_key(FORWARDED_HOST)) {
        headers.insert(FORWARDED_HOST, named);
    }
}

/// HTTP/2 may split cookies into several lines; HTTP/1.1 may not (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap, came: Version) {
    if came < Version::HTTP_2 || headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_for_this_hop_is_not_passed_on() {
        let mut map = headers(&[
            ("connection", "close, X-Mine ,host"),
            ("connection", "x-request-id"),
            ("x-mine", "1"),
            ("x-request-id", "id"),
            ("host", "h"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("expect", "100-continue"),
            ("traceparent", "kept"),
        ]);
        strip_request(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "traceparent", "x-request-id"]);
    }

    #[test]
    fn an_answer_keeps_its_length() {
        let mut map = headers(&[("content-length", "5"), ("connection", "keep-alive"), ("keep-alive", "x")]);
        strip_response(&mut map);
        assert_eq!(map, headers(&[("content-length", "5")]));
    }

    #[test]
    fn the_endpoint_learns_who_asked() {
        let from = |trusted| From {
            client: HeaderValue::from_static("10.0.0.1"),
            scheme: HeaderValue::from_static("https"),
            trusted,
        };
        let request = Request::get("/").header(HOST, "h:1").body(()).unwrap().into_parts().0;
        let host = super::super::target::host(&request).unwrap();
        let mut map = headers(&[
            ("host", "h:1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "claimed"),
        ]);
        let mut trusted = map.clone();
        forward(&mut map, &from(false), &host);
        assert_eq!(map["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "https");
        assert_eq!(map["x-forwarded-host"], "h:1");
        forward(&mut trusted, &from(true), &host);
        assert_eq!(trusted["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 10.0.0.1");
        assert_eq!(trusted["x-forwarded-proto"], "http");
        assert_eq!(trusted["x-forwarded-host"], "claimed");
    }

    #[test]
    fn cookies_become_one_line() {
        let mut map = headers(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut map, Version::HTTP_2);
        assert_eq!(map.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }
}
