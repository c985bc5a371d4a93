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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::listen::reply;
    use http::Request;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_json_whatever_the_client_sent() {
        let sink = Sink::default();
        let (log, ended) = Log::to(sink.clone(), |_| {}).unwrap();
        let head = Request::post("/v2/models/a%22b/infer?q=1").body(()).unwrap().into_parts().0;
        line(&log, &head, &reply::constant("{}"), "id\"1", Instant::now());
        crate::listen::log::finish(log, &ended);
        let line: serde_json::Value = serde_json::from_slice(&sink.0.lock().unwrap()).unwrap();
        assert_eq!(line["method"], "POST");
        assert_eq!(line["path"], "/v2/models/a%22b/infer");
        assert_eq!(line["model"], "a\"b");
        assert_eq!(line["request_id"], "id\"1");
        assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &2.into()));
        assert!(line["us"].is_u64() && line["time"].is_string());
    }
}
