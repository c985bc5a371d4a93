//! A server on a port of its own, with a model that does what its parameters say, and requests for it.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use modelport_dataplane::batch::merge::group;
use modelport_dataplane::batch::{Batching, Completions, Parking};
use modelport_dataplane::codec::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use modelport_dataplane::codec::grpc::proto::infer_parameter::ParameterChoice;
use modelport_dataplane::codec::grpc::proto::model_infer_request::InferInputTensor;
use modelport_dataplane::codec::grpc::proto::{InferParameter, ModelInferRequest};
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::listen::grpc::{self};
use modelport_dataplane::message::{Answer, Call, InferResponse, Payload};
use modelport_dataplane::metrics::{render, ModelMetrics};
use modelport_dataplane::model::{
    IndexEntry, Metadata, Model, Operation, Options, Repository, Server, TensorSpec,
};
use modelport_dataplane::tensor::{Param, Params};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codegen::Service;

// The model.

/// Answers with its inputs. The parameter `do` makes it fail, answer otherwise, or hold the request
/// until one comes that says `release`.
pub(crate) fn run_model(model: &Model) {
    let mut held = Vec::new();
    while let Some(work) = model.queue.take() {
        for members in group(&work.calls, model.queue.batching().max_rows) {
            model.metrics.batch(members.len(), members.len());
            for index in members {
                match word(&work.calls[index]).as_deref() {
                    Some("hold") => held.extend(model.queue.detach(work.ticket, index)),
                    Some("release") => {
                        model.queue.complete(work.ticket, [(index, Ok(echo(&work.calls[index])))]);
                        for waiting in held.drain(..) {
                            waiting.answer(Ok(Answer::Tensors(InferResponse::default())));
                        }
                    }
                    _ => model.queue.complete(work.ticket, [(index, answer(&work.calls[index]))]),
                }
            }
        }
    }
}

pub(crate) fn word(call: &Call) -> Option<String> {
    let Payload::Tensors(request) = &call.payload else { return None };
    request.parameters.iter().find_map(|(name, value)| match value {
        Param::Str(word) if name == "do" => Some(word.clone()),
        _ => None,
    })
}

pub(crate) fn answer(call: &Call) -> Result<Answer, Error> {
    match word(call).as_deref() {
        Some("fail") => Err(Error::new(Kind::Model, "ValueError: no such flower")),
        Some("status") => Err(Error::new(Kind::Status(429), "too many flowers")),
        Some("long") => Err(Error::new(Kind::Model, "é".repeat(100_000))),
        Some("raw") => Ok(raw(200, b"{}")),
        Some("raw-error") => Ok(raw(403, b"no")),
        Some("stream") => Ok(Answer::Stream {
            content_type: "text/event-stream".into(),
            headers: Vec::new(),
            parts: mpsc::channel(1).1,
        }),
        _ => Ok(echo(call)),
    }
}

pub(crate) fn raw(status: u16, body: &'static [u8]) -> Answer {
    let body = Bytes::from_static(body);
    Answer::Raw { status, content_type: "application/json".into(), headers: Vec::new(), body }
}

/// Tells what it saw in headers of its own.
pub(crate) fn echo(call: &Call) -> Answer {
    let Payload::Tensors(request) = &call.payload else { panic!("{:?}", call.payload) };
    let mut headers: Vec<(String, String)> =
        call.headers.iter().map(|(name, value)| (format!("saw-{name}"), value.clone())).collect();
    headers.push(("saw-id".into(), call.request_id.clone()));
    headers.extend([
        ("Content-Length".into(), "7".into()),
        ("grpc-status".into(), "9".into()),
        ("X-Request-Id".into(), "forged".into()),
        ("bad name".into(), "x".into()),
        ("bad-value".into(), "\n".into()),
    ]);
    let outputs = request.inputs.clone();
    Answer::Tensors(InferResponse { outputs, parameters: Vec::new(), headers })
}

// The server.

pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) struct Shelf(Log);

impl Repository for Shelf {
    fn index(&self) -> Vec<IndexEntry> {
        let entry = |name: &str, state: &str, reason: &str| IndexEntry {
            name: name.into(),
            version: "1".into(),
            state: state.into(),
            reason: reason.into(),
        };
        vec![entry("echo", "READY", ""), entry("other", "UNAVAILABLE", "not loaded")]
    }

    fn load(&self, name: String, parameters: Params) -> Operation {
        self.0.lock().unwrap().push(format!("load {name} {parameters:?}"));
        Box::pin(async move {
            match name.as_str() {
                "missing" => Err(Error::model_not_found(&name)),
                _ => Ok(()),
            }
        })
    }

    fn unload(&self, name: String, _parameters: Params) -> Operation {
        self.0.lock().unwrap().push(format!("unload {name}"));
        Box::pin(async { Ok(()) })
    }
}

/// A server on a port of its own.
pub(crate) struct Bench {
    pub server: Arc<Server>,
    pub address: std::net::SocketAddr,
    pub log: Log,
}

pub(crate) const ROWS: i64 = -1;

impl Bench {
    /// Runs a test against a server whose client messages may have `body_bytes`.
    pub(crate) fn run<F: Future<Output = ()>>(body_bytes: usize, test: impl FnOnce(Self) -> F) {
        let (completions, parking) = (Arc::new(Completions::default()), Arc::new(Parking::default()));
        let waker = Arc::clone(&parking);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park({
                let waker = Arc::clone(&waker);
                move || waker.rest()
            })
            .on_thread_unpark(move || waker.stir())
            .build()
            .unwrap();
        let log = Log::default();
        let limits = Limits { body_bytes, bodies_bytes: 2 * body_bytes, ..Limits::default() };
        let server = Server::new("bench".into(), "0.1".into(), Box::new(Shelf(Arc::clone(&log))), limits);
        let model = |name: &str, version: Option<&str>, options: Options| {
            let spec = |name: &str, datatype: &str| TensorSpec {
                name: name.into(),
                datatype: datatype.into(),
                shape: vec![ROWS, 4],
                ..TensorSpec::default()
            };
            let metadata = Metadata {
                name: name.into(),
                version: version.map(str::to_owned),
                platform: "echo_echo".into(),
                inputs: vec![spec("x", "FP32")],
                outputs: vec![spec("x", "BYTES")],
                ..Metadata::default()
            };
            let model = Model::new(metadata, options, Arc::<ModelMetrics>::default(), &completions, &parking);
            server.registry.put(Arc::clone(&model));
            model
        };
        let listening = Options { wants_headers: true, ..Options::default() };
        let narrow = Options {
            batching: Batching { max_rows: 1, queue_limit: 0, ..Batching::default() },
            ..Options::default()
        };
        let served = [
            model("echo", Some("1"), Options::default()),
            model("echo", Some("2"), Options::default()),
            model("listener", None, listening),
            model("full", None, narrow),
        ];
        model("asleep", None, Options::default());
        for model in &served {
            model.set_ready(true);
            let model = Arc::clone(model);
            std::thread::spawn(move || run_model(&model));
        }
        runtime.block_on(async {
            tokio::spawn(async move { completions.deliver().await });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let routes = grpc::service(Arc::clone(&server));
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let routes = routes.clone();
                    let service = hyper::service::service_fn(move |request| {
                        let routes = routes.clone();
                        async move { Ok::<_, Infallible>(routes.call(request).await) }
                    });
                    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(connection);
                }
            });
            test(Self { server, address, log }).await;
        });
        for model in &served {
            model.queue.close();
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Channel(sender)
    }

    pub(crate) async fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::with_origin(self.channel().await, ORIGIN.parse().unwrap())
            .max_decoding_message_size(usize::MAX)
    }

    /// Yields until the text of the metrics has this line; shows the text when it never has.
    pub(crate) async fn until_metrics_say(&self, line: &str) {
        for _ in 0..20_000 {
            if render(&self.server).lines().any(|written| written == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("no line {line} in\n{}", render(&self.server));
    }
}

pub(crate) const ORIGIN: &str = "http://127.0.0.1";
pub(crate) const MIB: usize = 1 << 20;

/// A connection of hyper's as a tower service, which is all that a tonic client needs.
#[derive(Clone)]
pub(crate) struct Channel(hyper::client::conn::http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

// Requests.

pub(crate) fn one_float(model: &str, value: f32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: "FP32".into(),
            shape: vec![1],
            ..Default::default()
        }],
        raw_input_contents: vec![Bytes::copy_from_slice(&value.to_le_bytes())],
        ..Default::default()
    }
}

pub(crate) fn doing(what: &str) -> ModelInferRequest {
    let mut request = one_float("echo", 1.0);
    let choice = Some(ParameterChoice::StringParam(what.into()));
    request.parameters.insert("do".into(), InferParameter { parameter_choice: choice });
    request
}

pub(crate) fn with_id(id: &str, mut request: ModelInferRequest) -> ModelInferRequest {
    request.id = id.into();
    request
}
