//! Answers that the gateway gives itself.

use super::reply::Reply;
use super::request_id::RequestId;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde::Serialize;
use std::fmt::Write;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a request is not answered by an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// A sentence for the caller.
    pub(super) message: String,
    /// What credentials are asked for.
    pub(super) challenge: Option<&'static str>,
    /// Where to go instead.
    pub(super) location: Option<HeaderValue>,
    /// After how many seconds it is worth another try.
    pub(super) retry_after_s: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), challenge: None, location: None, retry_after_s: None }
    }

    /// The answer, in the shape that the caller's protocol has for errors.
    pub(super) fn answer(&self, id: &RequestId, grpc: bool) -> Response<Reply> {
        let mut response = match &self.location {
            Some(location) => self.elsewhere(location),
            None if grpc => self.grpc(id),
            None => self.json(id),
        };
        let headers = response.headers_mut();
        headers.insert(super::request_id::NAME, id.clone().into_header());
        if matches!(self.status.as_u16(), 429 | 503) {
            headers.insert(RETRY_AFTER, HeaderValue::from(self.retry_after_s.unwrap_or(1)));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    /// A redirect, whose status and headers say it all.
    fn elsewhere(&self, location: &HeaderValue) -> Response<Reply> {
        let mut response = Response::new(Reply::whole(Bytes::new()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location.clone());
        response
    }

    fn json(&self, id: &RequestId) -> Response<Reply> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            request_id: &'a str,
        }
        let body = Body { error: &self.message, request_id: id.as_str() };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Reply::whole(Bytes::from(body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn grpc(&self, id: &RequestId) -> Response<Reply> {
        let mut response = Response::new(Reply::whole(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc_code(self.status)));
        let text = encode(&format!("{} (request {})", self.message, id.as_str()));
        if let Ok(text) = HeaderValue::try_from(text) {
            headers.insert(GRPC_MESSAGE, text);
        }
        response
    }
}

/// gRPC's code for a refusal with this HTTP status.
fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,            // INTERNAL, as gRPC maps it
        401 => 16,            // UNAUTHENTICATED
        403 => 7,             // PERMISSION_DENIED
        404 | 500 => 12,      // UNIMPLEMENTED: nobody serves this
        408 | 504 => 4,       // DEADLINE_EXCEEDED
        413 | 429 | 431 => 8, // RESOURCE_EXHAUSTED
        _ => 14,              // UNAVAILABLE
    }
}

/// The HTTP status that fits a gRPC code, for metrics.
pub(super) fn http_status(grpc: u16) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Percent-encodes what a gRPC message may not have as it is.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn errors_name_the_request_in_both_shapes() {
        let mut given = HeaderMap::new();
        given.insert(super::super::request_id::NAME, HeaderValue::from_static("r-1"));
        let id = RequestId::of(&given);
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no ready endpoint, 100 % – none");
        let response = refusal.answer(&id, false);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-request-id"]),
            (503, &"r-1".parse().unwrap_or(HeaderValue::from_static("")))
        );
        assert_eq!(response.headers()["retry-after"], "1");
        let response = refusal.answer(&id, true);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &HeaderValue::from_static("14"))
        );
        assert_eq!(
            response.headers()["grpc-message"],
            "no ready endpoint, 100 %25 %E2%80%93 none (request r-1)"
        );
    }
}
