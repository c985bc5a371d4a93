//! The access log: a JSON line a request.

use super::clock::rfc3339_now;
use super::log::Log;
use super::reply::Reply;
use super::route::Route;
use http::request::Parts;
use http::Response;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    us: u64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
}

/// Writes the line of one request. Bodies that come in parts have no size yet.
pub(super) fn line(log: &Log, head: &Parts, response: &Response<Reply>, id: &str, begun: Instant) {
    let route = Route::parse(&head.method, head.uri.path()).ok();
    let model = match &route {
        Some(Route::V1Ready(name) | Route::V1Call(name, _) | Route::Load(name) | Route::Unload(name)) => {
            Some(name.as_ref())
        }
        Some(Route::V2Model(target, _)) => Some(target.name.as_ref()),
        _ => None,
    };
    let line = Line {
        time: rfc3339_now(),
        method: head.method.as_str(),
        path: head.uri.path(),
        status: response.status().as_u16(),
        bytes: response.body().known_len(),
        us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id: id,
        model,
    };
    if let Ok(line) = serde_json::to_string(&line) {
        log.line(line);
    }
}
