//! A collector: a real HTTP server that decodes what it is sent, and what tests read of it.

use crate::support::wait_for;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use modelport_dataplane::metrics::render;
use modelport_dataplane::model::Server;
use modelport_dataplane::trace::Settings;
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// What the collector does with a request.
#[derive(Clone)]
pub(crate) enum Manner {
    Answer(u16),
    Reject(i64),
    Silent,
}

#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    pub(crate) got: Arc<Mutex<Vec<(http::HeaderMap, ExportTraceServiceRequest)>>>,
    pub(crate) asked: Arc<AtomicUsize>,
    /// For the next requests; then all is well.
    pub(crate) manners: Arc<Mutex<VecDeque<Manner>>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::with(None, [])
    }

    pub(crate) fn that(manners: impl IntoIterator<Item = Manner>) -> Self {
        Self::with(None, manners)
    }

    pub(crate) fn with(tls: Option<TlsAcceptor>, manners: impl IntoIterator<Item = Manner>) -> Self {
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

    pub(crate) async fn serve(&self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            Ok::<_, Infallible>(self.answer(request).await)
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    pub(crate) async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
    ) -> http::Response<Full<Bytes>> {
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

    pub(crate) fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let scopes =
            got.iter().flat_map(|(_, request)| &request.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The only SERVER span, and its children.
    pub(crate) fn only(&self) -> (Span, Vec<Span>) {
        wait_for("a span", || !self.spans().is_empty());
        let (mut servers, children): (Vec<_>, Vec<_>) =
            self.spans().into_iter().partition(|span| span.kind == 2);
        assert_eq!(servers.len(), 1, "{servers:?}");
        (servers.remove(0), children)
    }

    pub(crate) fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let endpoint = format!("http://{}", self.address);
        let mut all =
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "5")];
        all.extend(more);
        settings(&all).unwrap().unwrap()
    }
}

pub(crate) fn settings(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    Settings::read(|name| variables.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value))
}

pub(crate) fn attributes(list: &[KeyValue]) -> BTreeMap<&str, String> {
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn error_code(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

/// The value of a metric of this process.
pub(crate) fn counted(server: &Server, name: &str) -> usize {
    let text = render(server);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

pub(crate) const DROPPED: &str = "modelport_spans_dropped_total";
pub(crate) const EXPORTED: &str = "modelport_spans_exported_total";
