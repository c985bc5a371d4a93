//! The access log: a JSON line a request.

use super::log::Log;
use super::reply::Reply;
use super::route::Route;
use crate::clock::rfc3339_now;
use crate::trace::context::{self, Context};
use crate::trace::cut;
use http::request::Parts;
use http::{Extensions, HeaderMap, Response};
use serde::Serialize;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    method: &'a str,
    path: &'a str,
    status: u16,
    /// A call's own status, which HTTP's never is: that is 200 for a refused one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    us: u64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// The model of a gRPC call, for its line: its message names it, which is read after the head. A stream's line is
/// written before its first message comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Named(Arc<OnceLock<String>>);

impl Named {
    /// Keeps the name where a line will be written.
    pub(super) fn note(extensions: &Extensions, model: &str) {
        if let Some(named) = extensions.get::<Self>().filter(|_| !model.is_empty()) {
            named.0.get_or_init(|| cut(model));
        }
    }

    /// The name, if the message has been read and has one.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Writes the line of one request; `trace` is our span, where there is one; `named` is the model that
/// a call's message names. Bodies that come in parts have no size yet.
pub(super) fn line(
    log: &Log,
    head: &Parts,
    response: &Response<Reply>,
    id: &str,
    begun: Instant,
    trace: Option<Context>,
    named: Option<&str>,
) {
    let route = Route::parse(&head.method, head.uri.path()).ok();
    let model = match &route {
        Some(Route::V1Ready(name) | Route::V1Call(name, _) | Route::Load(name) | Route::Unload(name)) => {
            Some(name.as_ref())
        }
        Some(Route::V2Model(target, _)) => Some(target.name.as_ref()),
        _ => named,
    };
    let line = Line {
        time: rfc3339_now(),
        method: head.method.as_str(),
        path: head.uri.path(),
        status: response.status().as_u16(),
        grpc_status: matches!(response.body(), Reply::Grpc(_)).then(|| grpc_status(response.headers())),
        bytes: response.body().known_len(),
        us: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        request_id: id,
        model,
        trace_id: trace
            .or_else(|| Context::of(&head.headers))
            .map(|context| context::spell(context.trace_id)),
    };
    if let Ok(line) = serde_json::to_string(&line) {
        log.line(line);
    }
}

/// What is known of it with the head: 0 while a stream goes on.
pub(super) fn grpc_status(headers: &HeaderMap) -> i32 {
    tonic::Status::from_header_map(headers).map_or(0, |status| status.code() as i32)
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
        line(&log, &head, &reply::constant("{}"), "id\"1", Instant::now(), None, None);
        crate::listen::log::finish(log, &ended);
        let line: serde_json::Value = serde_json::from_slice(&sink.0.lock().unwrap()).unwrap();
        assert_eq!(line["method"], "POST");
        assert_eq!(line["path"], "/v2/models/a%22b/infer");
        assert_eq!(line["model"], "a\"b");
        assert_eq!(line["request_id"], "id\"1");
        assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &2.into()));
        assert!(line["us"].is_u64() && line["time"].is_string());
        assert!(line.get("trace_id").is_none());
    }

    /// Who looks for failures in the log would find no gRPC call among them.
    #[test]
    fn a_line_says_how_a_grpc_call_ended() {
        let sink = Sink::default();
        let (log, ended) = Log::to(sink.clone(), |_| {}).unwrap();
        let head =
            Request::post("/inference.GRPCInferenceService/ModelInfer").body(()).unwrap().into_parts().0;
        for response in
            [tonic::Status::not_found("no").into_http(), Response::new(tonic::body::Body::empty())]
        {
            line(&log, &head, &response.map(Reply::Grpc), "id", Instant::now(), None, None);
        }
        crate::listen::log::finish(log, &ended);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["status"], &lines[0]["grpc_status"]), (&200.into(), &5.into()));
        assert_eq!(lines[1]["grpc_status"], 0);
    }

    #[test]
    fn a_line_names_the_trace() {
        let sink = Sink::default();
        let (log, ended) = Log::to(sink.clone(), |_| {}).unwrap();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = Request::post("/v2/models/m/infer").header("traceparent", parent);
        let head = request.body(()).unwrap().into_parts().0;
        let ours = Context { trace_id: 0xabc, span_id: 1, flags: 0 };
        for trace in [None, Some(ours)] {
            line(&log, &head, &reply::constant("{}"), "id", Instant::now(), trace, None);
        }
        crate::listen::log::finish(log, &ended);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let ids: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["trace_id"].take())
            .collect();
        assert_eq!(ids, ["0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000abc"]);
    }
}
