//! Where requests go: the parts of `http://host:port/path`.

use std::net::{SocketAddr, ToSocketAddrs};

use http::Uri;

/// A resolved URL.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// `host:port`, for the Host header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Resolves `url`; the error says what is wrong with it and what to write.
    pub fn parse(url: &str) -> Result<Self, String> {
        let hint = "Write http://HOST:PORT/PATH.";
        let uri: Uri = url.parse().map_err(|error| format!("--url: {url}: {error}. {hint}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("--url: only http:// is supported, got {url}. {hint}"));
        }
        let authority = uri.authority().ok_or_else(|| format!("--url: no host in {url}. {hint}"))?;
        let port = authority.port_u16().unwrap_or(80);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        // RFC 6761, 6.3: loopback, whatever the resolver knows.
        let address = (if host.ends_with(".localhost") { "127.0.0.1" } else { host }, port)
            .to_socket_addrs()
            .map_err(|error| format!("--url: cannot resolve {host}: {error}"))?
            .next()
            .ok_or_else(|| format!("--url: {host} has no address"))?;
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Ok(Self { address, authority: authority.to_string(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() -> Result<(), String> {
        let target = Target::parse("http://127.0.0.1:8080/v2/models/iris/infer?x=1")?;
        assert_eq!(target.address.to_string(), "127.0.0.1:8080");
        assert_eq!(target.authority, "127.0.0.1:8080");
        assert_eq!(target.path, "/v2/models/iris/infer?x=1");
        let named = Target::parse("http://iris-default.localhost:8080/v1")?;
        assert_eq!(named.address.to_string(), "127.0.0.1:8080");
        assert_eq!(named.authority, "iris-default.localhost:8080");
        assert_eq!(Target::parse("http://[::1]")?.address.to_string(), "[::1]:80");
        Ok(())
    }

    #[test]
    fn a_wrong_url_says_what_to_write() {
        let error = Target::parse("https://localhost/x").err().unwrap_or_default();
        assert_eq!(
            error,
            "--url: only http:// is supported, got https://localhost/x. Write http://HOST:PORT/PATH."
        );
        assert!(Target::parse("localhost:80/x y").is_err());
    }
}
