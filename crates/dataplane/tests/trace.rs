//! Traces, as a collector sees them: a real HTTP server that decodes what it is sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use modelport_dataplane::batch::{Batching, Completions, Parking, Queue};
use modelport_dataplane::codec::grpc::proto::model_infer_request::InferInputTensor;
use modelport_dataplane::codec::grpc::proto::{ModelInferRequest, ModelStreamInferResponse};
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::listen::Ended;
use modelport_dataplane::message::{Answer, Call, InferRequest, Payload, Protocol, Verb};
use modelport_dataplane::metrics::render;
use modelport_dataplane::model::{Options, Server};
use modelport_dataplane::trace::{BatchSize, Context, Root, Sampler, Settings};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{numbers, row, tensor, wait_for, Gate, Running, Setup};
use tokio_rustls::TlsAcceptor;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const BODY: &str = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}"#;

// The collector.

/// What the collector does with a request.
#[derive(Clone)]
enum Manner {
    Answer(u16),
    Reject(i64),
    Silent,
}

#[derive(Clone)]
struct Collector {
    address: SocketAddr,
    got: Arc<Mutex<Vec<(http::HeaderMap, ExportTraceServiceRequest)>>>,
    asked: Arc<AtomicUsize>,
    /// For the next requests; then all is well.
    manners: Arc<Mutex<VecDeque<Manner>>>,
}

impl Collector {
    fn start() -> Self {
        Self::with(None, [])
    }

    fn that(manners: impl IntoIterator<Item = Manner>) -> Self {
        Self::with(None, manners)
    }

    fn with(tls: Option<TlsAcceptor>, manners: impl IntoIterator<Item = Manner>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            asked: Arc::default(),
            manners: Arc::new(Mutex::new(manners.into_iter().collect())),
        };
        let this = collector.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (this, tls) = (this.clone(), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => this.serve(stream).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    this.serve(stream).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        collector
    }

    async fn serve(&self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(self.answer(request).await)
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: http::Request<hyper::body::Incoming>) -> http::Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        let mut body = body.collect().await.unwrap().to_bytes();
        if head.headers.contains_key("content-encoding") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
            body = plain.into();
        }
        let manner = self.manners.lock().unwrap().pop_front().unwrap_or(Manner::Answer(200));
        let (status, rejected_spans) = match manner {
            Manner::Answer(status) => (status, 0),
            Manner::Reject(count) => (200, count),
            Manner::Silent => std::future::pending().await,
        };
        if status == 200 {
            let decoded = ExportTraceServiceRequest::decode(body).unwrap();
            self.got.lock().unwrap().push((head.headers, decoded));
        }
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: String::new() };
        let partial_success = (rejected_spans > 0).then_some(partial);
        let answer = ExportTraceServiceResponse { partial_success }.encode_to_vec();
        http::Response::builder().status(status).body(Full::new(answer.into())).unwrap()
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let scopes =
            got.iter().flat_map(|(_, request)| &request.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The only SERVER span, and its children.
    fn only(&self) -> (Span, Vec<Span>) {
        wait_for("a span", || !self.spans().is_empty());
        let (mut servers, children): (Vec<_>, Vec<_>) =
            self.spans().into_iter().partition(|span| span.kind == 2);
        assert_eq!(servers.len(), 1, "{servers:?}");
        (servers.remove(0), children)
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let endpoint = format!("http://{}", self.address);
        let mut all =
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "5")];
        all.extend(more);
        settings(&all).unwrap().unwrap()
    }
}

fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    Settings::read(|name| variables.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value))
}

fn attributes(list: &[KeyValue]) -> BTreeMap<&str, String> {
    list.iter()
        .map(|attribute| {
            let value = match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
                Value::StringValue(text) => text.clone(),
                Value::IntValue(number) => number.to_string(),
                Value::BoolValue(truth) => truth.to_string(),
                other => panic!("{other:?}"),
            };
            (attribute.key.as_str(), value)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn error_code(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

/// The value of a metric of this process.
fn counted(server: &Server, name: &str) -> usize {
    let text = render(server);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

const DROPPED: &str = "modelport_spans_dropped_total";
const EXPORTED: &str = "modelport_spans_exported_total";

// The server.

/// `sum`; `listener`, which answers with what it saw of the trace; `fails`.
fn server(tracing: Option<Settings>) -> Running {
    let mut setup = Setup::new();
    setup.sum(None);
    let listening = Options { wants_headers: true, ..Options::default() };
    setup.function("listener", listening, |call| {
        let saw = |name: &str| {
            let mut values =
                call.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
            let value = values.next();
            assert_eq!(values.next(), None, "{name} comes twice");
            value
        };
        let body = serde_json::json!([saw("traceparent"), saw("tracestate")]).to_string();
        if call.protocol == Protocol::Grpc {
            return Err(Error::new(Kind::Status(409), body));
        }
        let content_type = "application/json".to_owned();
        Ok(Answer::Raw { status: 200, content_type, headers: Vec::new(), body: body.into() })
    });
    setup.function("fails", Options::default(), |_| {
        Err(Error::new(Kind::Model, "ValueError: no such flower"))
    });
    setup.config.tracing = tracing;
    setup.start()
}

fn post(running: &Running, path: &str, headers: &[(&str, &str)], body: &str) -> support::Reply {
    running.client().request("POST", path, headers, body.as_bytes())
}

/// A call over HTTP/2: its headers and trailers, and its message.
fn call_grpc(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> (http::HeaderMap, Bytes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            sender.send_request(request.body(Full::new(Bytes::from(framed))).unwrap()).await.unwrap();
        let mut headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        headers.extend(body.trailers().cloned().unwrap_or_default());
        let body = body.to_bytes();
        (headers, if body.len() > 5 { body.slice(5..) } else { Bytes::new() })
    })
}

fn grpc_row(model: &str) -> Vec<u8> {
    let x = InferInputTensor {
        name: "x".into(),
        datatype: "FP64".into(),
        shape: vec![1, 4],
        ..InferInputTensor::default()
    };
    let values: Vec<u8> = [1.0f64; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
    ModelInferRequest {
        model_name: model.into(),
        id: "mine".into(),
        inputs: vec![x],
        raw_input_contents: vec![values.into()],
        ..ModelInferRequest::default()
    }
    .encode_to_vec()
}

// What is recorded.

#[test]
fn a_request_is_a_span_with_its_stages_below_it() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[
        ("OTEL_SERVICE_NAME", "flowers"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,team=a%20b,service.name=lost"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20secret,x-scope=1"),
    ])));
    let headers = [("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("x-request-id", "mine")];
    assert_eq!(post(&running, "/v2/models/sum/infer?q=secret", &headers, &row([1.0; 4])).status, 200);

    let (span, children) = collector.only();
    assert_eq!(span.name, "POST /v2/models/{model}/infer");
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_ne!(hex(&span.span_id), "b7ad6b7169203331");
    assert_eq!((span.flags, error_code(&span)), (0x301, 0));
    assert_eq!(span.trace_state, "a=1,b=2");
    let expected = BTreeMap::from([
        ("http.request.method", "POST".to_owned()),
        ("http.response.status_code", "200".to_owned()),
        ("http.route", "/v2/models/{model}/infer".to_owned()),
        ("modelport.model.name", "sum".to_owned()),
        ("modelport.protocol", "v2".to_owned()),
        ("modelport.request.id", "mine".to_owned()),
        ("url.path", "/v2/models/sum/infer".to_owned()),
    ]);
    assert_eq!(attributes(&span.attributes), expected);

    let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["decode", "queue", "predict", "encode"]);
    let mut ids = vec![span.span_id.clone()];
    let mut last = span.start_time_unix_nano;
    for child in &children {
        assert_eq!((&child.trace_id, &child.parent_span_id), (&span.trace_id, &span.span_id));
        assert_eq!((child.kind, child.flags, child.trace_state.as_str()), (1, 0x101, "a=1,b=2"));
        assert!(last <= child.start_time_unix_nano && child.start_time_unix_nano <= child.end_time_unix_nano);
        last = child.start_time_unix_nano;
        assert!(child.end_time_unix_nano <= span.end_time_unix_nano);
        ids.push(child.span_id.clone());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    let batch = BTreeMap::from([
        ("modelport.batch.requests", "1".to_owned()),
        ("modelport.batch.rows", "1".to_owned()),
    ]);
    assert_eq!(attributes(&children[2].attributes), batch);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert!(now.abs_diff(u128::from(span.start_time_unix_nano)) < 60_000_000_000);

    wait_for("the count", || counted(&running.server, EXPORTED) == 5);
    let got = collector.got.lock().unwrap();
    let (headers, request) = &got[0];
    assert_eq!(
        (&headers["authorization"], &headers["x-scope"]),
        (&"Bearer secret".parse().unwrap(), &"1".parse().unwrap())
    );
    let resource = attributes(&request.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("flowers", "a b"));
    assert_eq!(resource["service.version"], "1.2.3");
    assert_eq!(resource["deployment.environment"], "test");
    assert!(resource.contains_key("service.instance.id"));
}

#[test]
fn names_are_routes_and_failures_of_ours_are_errors() {
    for (path, body, name, status, message) in [
        (
            "/v1/models/sum:predict",
            r#"{"instances": [[1, 2, 3, 4]]}"#,
            "POST /v1/models/{model}:predict",
            200,
            None,
        ),
        ("/v1/models/sum:explain", "{}", "POST /v1/models/{model}:explain", 501, Some("no explainer")),
        ("/v2/models/sum/infer", "{}", "POST /v2/models/{model}/infer", 400, None),
        ("/v2/models/none/infer", "{}", "POST /v2/models/{model}/infer", 404, None),
        (
            "/v2/models/sum/versions/3/infer",
            "{}",
            "POST /v2/models/{model}/versions/{version}/infer",
            404,
            None,
        ),
        ("/v2/models/fails/infer", BODY, "POST /v2/models/{model}/infer", 500, Some("no such flower")),
    ] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        assert_eq!(post(&running, path, &[], body).status, status, "{path}");
        let (span, _) = collector.only();
        assert_eq!(span.name, name);
        assert!(span.parent_span_id.is_empty(), "{path}");
        assert_eq!(span.flags, 0x101);
        let given = attributes(&span.attributes);
        assert_eq!(given["http.response.status_code"], status.to_string());
        assert_eq!(given.get("error.type").cloned(), message.map(|_| status.to_string()), "{path}");
        assert_eq!(error_code(&span), if message.is_some() { 2 } else { 0 }, "{path}");
        if let Some(message) = message {
            assert!(span.status.unwrap().message.contains(message), "{path}");
        }
    }
}

#[test]
fn health_metadata_and_metrics_are_not_traced() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    for path in [
        "/",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
        "/v2/models/sum",
        "/v1/models/sum",
        "/nothing",
    ] {
        running.client().request("GET", path, &[("traceparent", PARENT)], b"");
    }
    call_grpc(running.address, "/inference.GRPCInferenceService/ServerLive", &[("traceparent", PARENT)], b"");
    let server = Arc::clone(&running.server);
    drop(running);
    assert_eq!((collector.asked(), counted(&server, DROPPED), counted(&server, EXPORTED)), (0, 0, 0));
}

#[test]
fn a_grpc_call_is_a_span_too() {
    for (model, code, http) in [("sum", "0", 200), ("none", "5", 404), ("fails", "13", 500)] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        let (headers, _) = call_grpc(running.address, INFER, &[("traceparent", PARENT)], &grpc_row(model));
        assert_eq!(headers["grpc-status"], code);
        let (span, children) = collector.only();
        assert_eq!(span.name, "inference.GRPCInferenceService/ModelInfer");
        assert_eq!(
            (hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()),
            (TRACE, "b7ad6b7169203331")
        );
        let mut expected = BTreeMap::from([
            ("modelport.model.name", model.to_owned()),
            ("modelport.protocol", "grpc".to_owned()),
            ("modelport.request.id", "mine".to_owned()),
            ("rpc.grpc.status_code", code.to_owned()),
            ("rpc.method", "ModelInfer".to_owned()),
            ("rpc.service", "inference.GRPCInferenceService".to_owned()),
            ("rpc.system", "grpc".to_owned()),
        ]);
        if http == 500 {
            expected.insert("error.type", code.to_owned());
        }
        assert_eq!(attributes(&span.attributes), expected);
        assert_eq!(error_code(&span), if http == 500 { 2 } else { 0 });
        let names: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        let all = ["decode", "queue", "predict", "encode"];
        assert_eq!(
            names,
            &all[..match http {
                200 => 4,
                500 => 3,
                _ => 0,
            }],
            "{model}"
        );
    }
}

#[test]
fn a_grpc_call_that_no_handler_sees_has_its_span() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    let (headers, _) = call_grpc(running.address, INFER, &[], b"\xff\xff\xff");
    assert_ne!(headers["grpc-status"], "0");
    let (span, children) = collector.only();
    assert_eq!(
        attributes(&span.attributes)["rpc.grpc.status_code"],
        headers["grpc-status"].to_str().unwrap()
    );
    assert!(children.is_empty());
}

#[test]
fn each_request_of_a_grpc_stream_is_a_span() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[])));
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let (_, answer) = call_grpc(running.address, path, &[("traceparent", PARENT)], &grpc_row("sum"));
    assert_eq!(ModelStreamInferResponse::decode(answer).unwrap().error_message, "");
    let (span, children) = collector.only();
    assert_eq!(span.name, "inference.GRPCInferenceService/ModelStreamInfer");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!(children.len(), 4);
}

/// A model that streams two parts, the second when the gate opens, and then fails if told so.
fn streaming(fails: bool) -> (Setup, Arc<Gate>) {
    let setup = Setup::new();
    let gate = Arc::new(Gate::default());
    let wait = Arc::clone(&gate);
    setup.function("stream", Options::default(), move |_| {
        let (parts, receiver) = tokio::sync::mpsc::channel(4);
        let wait = Arc::clone(&wait);
        std::thread::spawn(move || {
            parts.blocking_send(Ok(Bytes::from_static(b"data: 1\n\n"))).unwrap();
            wait.wait();
            let last =
                if fails { Err(Error::new(Kind::Model, "out of words")) } else { Ok("data: 2\n\n".into()) };
            let _ = parts.blocking_send(last);
        });
        Ok(Answer::Stream { content_type: "text/event-stream".into(), headers: Vec::new(), parts: receiver })
    });
    (setup, gate)
}

#[test]
fn a_span_ends_with_its_stream() {
    for fails in [false, true] {
        let collector = Collector::start();
        let (mut setup, gate) = streaming(fails);
        setup.config.tracing = Some(collector.settings(&[]));
        let running = setup.start();
        let mut client = running.client();
        client.begin("POST", "/v2/models/stream/infer", &[], BODY.as_bytes());
        let model = running.server.registry.get("stream", None).unwrap();
        wait_for("the stream", || model.queue.is_idle() && model.metrics.in_flight() == 1);
        // A request that comes later and ends earlier.
        running.post("/v2/models/none/infer", "{}");
        let (other, _) = collector.only();
        assert_eq!(attributes(&other.attributes)["modelport.model.name"], "none");
        collector.got.lock().unwrap().clear();
        gate.open();
        assert_eq!(client.read().unwrap().status, 200);
        let (span, _) = collector.only();
        assert_eq!(attributes(&span.attributes)["http.response.status_code"], "200");
        assert_eq!(error_code(&span), if fails { 2 } else { 0 });
    }
}

#[test]
fn a_client_that_goes_away_leaves_a_span() {
    let collector = Collector::start();
    let mut setup = Setup::new();
    let gate = Arc::new(Gate::default());
    let wait = Arc::clone(&gate);
    setup.function("slow", Options::default(), move |_| {
        wait.wait();
        Ok(numbers(&[1.0]))
    });
    setup.config.tracing = Some(collector.settings(&[]));
    let running = setup.start();
    let mut lost = running.client();
    lost.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    let model = running.server.registry.get("slow", None).unwrap();
    wait_for("the request", || model.metrics.in_flight() == 1);
    drop(lost);
    let (span, _) = collector.only();
    let given = attributes(&span.attributes);
    assert_eq!(given["modelport.cancelled"], "true");
    assert!(!given.contains_key("http.response.status_code"));
    gate.open();
}

#[test]
fn requests_of_one_batch_share_its_size_and_interval() {
    let completions = Arc::new(Completions::default());
    let queue = Queue::new(Batching::default(), Arc::clone(&completions), Arc::<Parking>::default());
    let push = |rows: usize| {
        let mut x = tensor("x", &vec![1.0; rows]);
        x.shape = vec![rows];
        let request = InferRequest { inputs: vec![x], ..InferRequest::default() };
        let call = Call {
            request_id: String::new(),
            verb: Verb::Predict,
            protocol: Protocol::V2,
            headers: Vec::new(),
            payload: Payload::Tensors(request),
            deadline: None,
        };
        queue.push(call, Instant::now()).unwrap()
    };
    let answers = [push(2), push(3), push(4)];
    let work = queue.take().unwrap();
    queue.complete(work.ticket, [(0, Ok(numbers(&[]))), (1, Ok(numbers(&[])))]);
    queue.complete(work.ticket, [(2, Ok(numbers(&[])))]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [one, two, alone] = runtime.block_on(async {
        tokio::spawn(async move { completions.deliver().await });
        let mut outcomes = Vec::new();
        for answer in answers {
            outcomes.push(answer.await.unwrap());
        }
        outcomes.try_into().unwrap()
    });
    assert_eq!((one.batch, two.batch), (BatchSize { requests: 2, rows: 5 }, one.batch));
    assert_eq!((one.taken_at, one.done_at), (two.taken_at, two.done_at));
    assert_eq!(alone.batch, BatchSize { requests: 1, rows: 4 });
}

// Which are recorded, and what goes on to the model.

#[test]
fn samplers_decide_as_the_specification_says() {
    use Root::{AlwaysOff, AlwaysOn, Ratio};
    let parent = |text: &str| {
        let mut headers = http::HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        Context::of(&headers)
    };
    // Lower half 8448eb21…: about 0.52 of all.
    let trace_id = u128::from_str_radix(TRACE, 16).unwrap();
    let incoming = [None, parent(PARENT), parent(UNSAMPLED)];
    for (name, ratio, parent_based, root, decisions) in [
        ("always_on", None, false, AlwaysOn, [true; 3]),
        ("always_off", None, false, AlwaysOff, [false; 3]),
        ("traceidratio", Some("0.5"), false, Ratio(0.5), [false; 3]),
        ("traceidratio", Some("0.6"), false, Ratio(0.6), [true; 3]),
        ("traceidratio", None, false, Ratio(1.0), [true; 3]),
        ("parentbased_always_on", None, true, AlwaysOn, [true, true, false]),
        ("parentbased_always_off", None, true, AlwaysOff, [false, true, false]),
        ("parentbased_traceidratio", Some("0.5"), true, Ratio(0.5), [false, true, false]),
        ("parentbased_traceidratio", Some("0.6"), true, Ratio(0.6), [true, true, false]),
    ] {
        let mut variables = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_TRACES_SAMPLER", name)];
        variables.extend(ratio.map(|ratio| ("OTEL_TRACES_SAMPLER_ARG", ratio)));
        let sampler = settings(&variables).unwrap().unwrap().sampler;
        assert_eq!(sampler, Sampler { parent_based, root });
        assert_eq!(incoming.map(|parent| sampler.samples(parent, trace_id)), decisions, "{name} {ratio:?}");
    }
}

/// Decisions of `TraceIdRatioBased` of opentelemetry-sdk 1.45.2 for Python.
#[test]
fn ratios_agree_with_other_sdks() {
    for (ratio, trace_id, sampled) in [
        (0.0, 0xe8e2_5d94_0ed9_0475_0000_0000_0000_0000, false),
        (1e-9, 0xf28c_105d_1fb1_7c23_0000_0004_4b82_fa09, true),
        (1e-9, 0xa170_b338_3926_3059_0000_0004_4b82_fa0a, false),
        (0.01, 0x0fd6_30f1_f29d_0da9_953f_48f1_a09f_76b5, false),
        (0.01, 0x2217_bead_dbc4_96cb_028f_5c28_f5c2_8f5f, true),
        (0.01, 0x6b4c_b242_4a23_d596_028f_5c28_f5c2_8f60, false),
        (0.1, 0x3018_50c5_a38f_d547_1999_9999_9999_99ff, true),
        (0.1, 0x18f1_35d2_5f55_7203_1999_9999_9999_9a00, false),
        (0.25, 0x7731_af10_506b_f2ef_3fff_ffff_ffff_ffff, true),
        (0.25, 0xec66_a787_95e7_61d1_4000_0000_0000_0000, false),
        (0.5, 0x7ebf_f206_8673_4721_7fff_ffff_ffff_ffff, true),
        (0.5, 0x57ee_05cd_e009_02c7_8000_0000_0000_0000, false),
        (2.0 / 3.0, 0xeeea_cbe2_26e8_7555_aaaa_aaaa_aaaa_a7ff, true),
        (2.0 / 3.0, 0x6bf4_6c69_7d2c_af82_aaaa_aaaa_aaaa_a800, false),
        (0.999, 0x59a5_4a7b_b1fe_e08f_ffbe_76c8_b439_57ff, true),
        (0.999, 0x7f26_144b_9828_9fcd_ffbe_76c8_b439_5800, false),
        (1.0, 0x4f42_6dcb_b394_fb36_ffff_ffff_ffff_ffff, true),
    ] {
        let sampler = Sampler { parent_based: false, root: Root::Ratio(ratio) };
        assert_eq!(sampler.samples(None, trace_id), sampled, "{ratio} {trace_id:032x}");
    }
}

/// What a model sees of the trace, over REST or gRPC.
fn seen(running: &Running, grpc: bool, headers: &[(&str, &str)]) -> [Option<String>; 2] {
    if grpc {
        let (answer, _) = call_grpc(running.address, INFER, headers, &grpc_row("listener"));
        assert_eq!(answer["grpc-status"], "10");
        let message = answer["grpc-message"].to_str().unwrap();
        let plain = message.replace("%22", "\"").replace("%5B", "[").replace("%5D", "]");
        serde_json::from_str(&plain).unwrap()
    } else {
        let reply = post(running, "/v2/models/listener/infer", headers, BODY);
        serde_json::from_slice(&reply.body).unwrap()
    }
}

#[test]
fn a_model_sees_our_span_as_the_parent_of_what_it_asks() {
    for grpc in [false, true] {
        let collector = Collector::start();
        let running = server(Some(collector.settings(&[])));
        let given = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
        let [parent, state] = seen(&running, grpc, &given);
        let (span, _) = collector.only();
        assert_eq!(parent.unwrap(), format!("00-{TRACE}-{}-01", hex(&span.span_id)));
        assert_eq!(state.as_deref(), Some("a=1,b=2"));
        assert_eq!(span.trace_state, "a=1,b=2");

        // Not recorded, since the caller does not: the same trace goes on, and no span comes of it.
        let [parent, state] = seen(&running, grpc, &[("traceparent", UNSAMPLED), ("tracestate", "a=1")]);
        let parent = parent.unwrap();
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
        assert_ne!(parent, UNSAMPLED);
        assert_eq!(state.as_deref(), Some("a=1"));

        // A caller that cannot be understood begins nothing, and its state means nothing.
        let broken = PARENT.to_uppercase();
        let [parent, state] = seen(&running, grpc, &[("traceparent", &broken), ("tracestate", "a=1")]);
        let parent = parent.unwrap();
        assert!(!parent.contains(TRACE) && parent.ends_with("-01"), "{parent}");
        assert_eq!(state, None);
        let [parent, state] = seen(&running, grpc, &[]);
        assert!(parent.unwrap().ends_with("-01"));
        assert_eq!(state, None);
        wait_for("three spans", || collector.spans().iter().filter(|span| span.kind == 2).count() == 3);
    }
}

#[test]
fn without_tracing_the_headers_reach_the_model_as_they_came() {
    let running = server(None);
    for grpc in [false, true] {
        let odd = PARENT.to_uppercase();
        let given = [("traceparent", odd.as_str()), ("tracestate", "odd")];
        assert_eq!(seen(&running, grpc, &given), [Some(odd.clone()), Some("odd".to_owned())]);
        assert_eq!(seen(&running, grpc, &[]), [None, None]);
    }
    assert_eq!((counted(&running.server, DROPPED), counted(&running.server, EXPORTED)), (0, 0));
}

// The exporter, and collectors of all kinds.

#[test]
fn what_waits_is_exported_when_the_server_ends() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[("OTEL_BSP_SCHEDULE_DELAY", "3600000")])));
    for _ in 0..20 {
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    }
    assert_eq!(collector.asked(), 0);
    let server = Arc::clone(&running.server);
    running.handle.stop();
    assert_eq!(running.ended(), Ended::Drained);
    assert_eq!(collector.spans().len(), 100);
    assert_eq!((counted(&server, EXPORTED), counted(&server, DROPPED)), (100, 0));
}

#[test]
fn a_full_batch_does_not_wait() {
    let collector = Collector::start();
    let more = [("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
    let running = server(Some(collector.settings(&more)));
    for _ in 0..2 {
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    }
    wait_for("the batch", || collector.spans().len() == 10);
}

#[test]
fn a_collector_that_never_answers_costs_a_bounded_queue() {
    let collector = Collector::that((0..100).map(|_| Manner::Silent));
    let more = [("OTEL_BSP_MAX_QUEUE_SIZE", "50"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")];
    let running = server(Some(collector.settings(&more)));
    let mut client = running.client();
    let mut ask = || {
        let reply = client.request("POST", "/v2/models/sum/infer", &[], row([1.0; 4]).as_bytes());
        assert_eq!(reply.status, 200);
    };
    ask();
    wait_for("the collector to be asked", || collector.asked() == 1);
    for _ in 0..200 {
        ask();
    }
    // 5 of the first request are on their way, 50 wait; nothing else is kept.
    wait_for("the last span", || counted(&running.server, DROPPED) == 201 * 5 - 55);
    let server = Arc::clone(&running.server);
    running.handle.stop();
    let begun = Instant::now();
    assert_eq!(running.ended(), Ended::Drained);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed()); // 2 s, on a busy machine
    assert_eq!((counted(&server, DROPPED), counted(&server, EXPORTED)), (201 * 5, 0));
}

#[test]
fn a_busy_collector_is_asked_again_and_a_refusing_one_is_not() {
    let all_well = |asked: usize| (asked, 5, 0);
    for (manners, expected) in [
        (vec![Manner::Answer(503), Manner::Answer(429)], all_well(3)),
        (vec![Manner::Silent, Manner::Answer(502)], all_well(3)),
        (vec![Manner::Answer(400)], (1, 0, 5)),
        (vec![Manner::Answer(500)], (1, 0, 5)),
        (vec![Manner::Answer(504); 9], (5, 0, 5)),
        (vec![Manner::Reject(2)], (1, 3, 2)),
    ] {
        let collector = Collector::that(manners);
        let settings = collector.settings(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "500")]);
        let running = server(Some(Settings { retry: Duration::from_millis(1), ..settings }));
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
        let counts = || (counted(&running.server, EXPORTED), counted(&running.server, DROPPED));
        wait_for("the outcome", || counts().0 + counts().1 == 5);
        assert_eq!((collector.asked(), counts().0, counts().1), expected);
        // The next batch goes by a connection that still works.
        if expected.0 < 5 {
            post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
            wait_for("the next spans", || counts().0 == expected.1 + 5);
        }
    }
}

#[test]
fn nobody_listening_is_a_loss_that_is_counted() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let collector = Collector { address: gone, ..Collector::start() };
    let settings = Settings { retry: Duration::from_millis(1), ..collector.settings(&[]) };
    let running = server(Some(settings));
    assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    wait_for("the loss", || counted(&running.server, DROPPED) == 5);
}

#[test]
fn spans_are_compressed_if_wanted() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")])));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    assert_eq!(collector.only().1.len(), 4);
    assert_eq!(collector.got.lock().unwrap()[0].0["content-encoding"], "gzip");
}

#[test]
fn a_collector_behind_tls_must_be_known() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("collector.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let collector = Collector::with(Some(TlsAcceptor::from(Arc::new(config))), []);
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let known = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap()),
    ];
    let running = server(Some(collector.settings(&known)));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    collector.only();

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let settings = Settings { retry: Duration::from_millis(1), ..collector.settings(&known) };
    let running = server(Some(settings));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    wait_for("the loss", || counted(&running.server, DROPPED) == 5);

    std::fs::write(&file, "no PEM").unwrap();
    let error = collector.settings(&known).check().unwrap_err();
    assert!(error.contains("collector.pem") && error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
}

// The environment.

#[test]
fn tracing_is_off_unless_an_endpoint_is_set() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    for off in [
        vec![],
        vec![("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        vec![endpoint, ("OTEL_SDK_DISABLED", "TRUE")],
        vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        assert!(settings(&off).unwrap().is_none(), "{off:?}");
    }
    let read = settings(&[endpoint]).unwrap().unwrap();
    assert_eq!(read.endpoint, "http://collector:4318/v1/traces");
    assert_eq!((read.queue, read.batch, read.gzip), (2048, 512, false));
    assert_eq!((read.delay, read.timeout), (Duration::from_secs(5), Duration::from_secs(10)));
    assert_eq!(read.resource["service.name"], "modelport");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[::1]/ingest?key=1");
    assert_eq!(settings(&[endpoint, own]).unwrap().unwrap().endpoint, own.1);
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    for (given, words) in [
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "scheme, host and port"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")], "ftp://collector"),
        (vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nothing")], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "must be http/protobuf, got grpc"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")], "TRACES_PROTOCOL"),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], "zipkin"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,secret")], "entry 2"),
    ] {
        let error = settings(&given).unwrap_err();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
    let odd = [
        endpoint,
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden"),
    ];
    // The specification has these ignored with a warning.
    let read = settings(&odd).unwrap().unwrap();
    assert_eq!(read.warnings.len(), 5, "{:?}", read.warnings);
    assert_eq!((read.sampler, read.queue), (Sampler::default(), 2048));
    assert!(!format!("{read:?}").contains("hidden"));
    let ratio = [endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let read = settings(&ratio).unwrap().unwrap();
    assert_eq!((read.sampler.root, read.warnings.len()), (Root::Ratio(1.0), 1));
}
