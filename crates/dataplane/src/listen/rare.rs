//! Headers that concern an inference request and that few requests have.

use http::HeaderMap;

/// Which of them a request has, found by one look at each of its names: a search in the map hashes the name that it looks
/// for, which costs more than all of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    /// `Inference-Header-Content-Length`.
    pub(super) json_length: bool,
    /// One of those that say how long the client waits.
    pub(super) deadline: bool,
    /// `Content-Encoding`.
    pub(super) encoding: bool,
    /// `X-Request-Id`.
    pub(super) request_id: bool,
}

impl Rare {
    /// Those of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut rare = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "inference-header-content-length" => rare.json_length = true,
                "x-request-timeout" | "x-envoy-expected-rq-timeout-ms" => rare.deadline = true,
                "content-encoding" => rare.encoding = true,
                "x-request-id" => rare.request_id = true,
                _ => {}
            }
        }
        rare
    }
}
