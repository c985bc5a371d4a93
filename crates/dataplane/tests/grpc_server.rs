//! Every gRPC call over a real HTTP/2 connection, with a model that does what its parameters say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use futures_util::{stream, StreamExt};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use modelport_dataplane::batch::merge::group;
use modelport_dataplane::batch::{Batching, Completions, Parking};
use modelport_dataplane::budget::Share;
use modelport_dataplane::codec::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use modelport_dataplane::codec::grpc::proto::infer_parameter::ParameterChoice;
use modelport_dataplane::codec::grpc::proto::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use modelport_dataplane::codec::grpc::proto::{self, InferParameter, ModelInferRequest};
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::listen::grpc::health::proto::health_check_response::ServingStatus;
use modelport_dataplane::listen::grpc::health::proto::health_client::HealthClient;
use modelport_dataplane::listen::grpc::health::proto::HealthCheckRequest;
use modelport_dataplane::listen::grpc::{self, EXTENSIONS};
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
use tonic::codegen::{CompressionEncoding, Service};
use tonic::{Code, Request, Status};

// The model.

/// Answers with its inputs. The parameter `do` makes it fail, answer otherwise, or hold the request
/// until one comes that says `release`.
fn run_model(model: &Model) {
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

fn word(call: &Call) -> Option<String> {
    let Payload::Tensors(request) = &call.payload else { return None };
    request.parameters.iter().find_map(|(name, value)| match value {
        Param::Str(word) if name == "do" => Some(word.clone()),
        _ => None,
    })
}

fn answer(call: &Call) -> Result<Answer, Error> {
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

fn raw(status: u16, body: &'static [u8]) -> Answer {
    let body = Bytes::from_static(body);
    Answer::Raw { status, content_type: "application/json".into(), headers: Vec::new(), body }
}

/// Tells what it saw in headers of its own.
fn echo(call: &Call) -> Answer {
    let Payload::Tensors(request) = &call.payload else { panic!("{:?}", call.payload) };
    let mut headers: Vec<(String, String)> =
        call.headers.iter().map(|(name, value)| (format!("saw-{name}"), value.clone())).collect();
    headers.push(("saw-id".into(), call.request_id.clone()));
    headers.extend([
        ("Content-Length".into(), "7".into()),
        ("grpc-status".into(), "9".into()),
        ("bad name".into(), "x".into()),
        ("bad-value".into(), "\n".into()),
    ]);
    let outputs = request.inputs.clone();
    Answer::Tensors(InferResponse { outputs, parameters: Vec::new(), headers })
}

// The server.

type Log = Arc<Mutex<Vec<String>>>;

struct Shelf(Log);

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
struct Bench {
    server: Arc<Server>,
    address: std::net::SocketAddr,
    log: Log,
}

const ROWS: i64 = -1;

impl Bench {
    /// Runs a test against a server whose client messages may have `body_bytes`.
    fn run<F: Future<Output = ()>>(body_bytes: usize, test: impl FnOnce(Self) -> F) {
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

    async fn channel(&self) -> Channel {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Channel(sender)
    }

    async fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::with_origin(self.channel().await, ORIGIN.parse().unwrap())
            .max_decoding_message_size(usize::MAX)
    }

    /// Yields until the text of the metrics has this line; shows the text when it never has.
    async fn until_metrics_say(&self, line: &str) {
        for _ in 0..20_000 {
            if render(&self.server).lines().any(|written| written == line) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("no line {line} in\n{}", render(&self.server));
    }
}

const ORIGIN: &str = "http://127.0.0.1";
const MIB: usize = 1 << 20;

/// A connection of hyper's as a tower service, which is all that a tonic client needs.
#[derive(Clone)]
struct Channel(hyper::client::conn::http2::SendRequest<Body>);

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

fn one_float(model: &str, value: f32) -> ModelInferRequest {
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

fn doing(what: &str) -> ModelInferRequest {
    let mut request = one_float("echo", 1.0);
    let choice = Some(ParameterChoice::StringParam(what.into()));
    request.parameters.insert("do".into(), InferParameter { parameter_choice: choice });
    request
}

fn with_id(id: &str, mut request: ModelInferRequest) -> ModelInferRequest {
    request.id = id.into();
    request
}

// The tests.

#[test]
fn the_server_describes_itself() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        assert!(client.server_live(proto::ServerLiveRequest {}).await.unwrap().into_inner().live);
        let ready = client.server_ready(proto::ServerReadyRequest {}).await.unwrap().into_inner();
        assert!(!ready.ready, "the model asleep is not ready");
        bench.server.registry.remove("asleep");
        let ready = client.server_ready(proto::ServerReadyRequest {}).await.unwrap().into_inner();
        assert!(ready.ready);
        let metadata = client.server_metadata(proto::ServerMetadataRequest {}).await.unwrap().into_inner();
        assert_eq!((metadata.name.as_str(), metadata.version.as_str()), ("bench", "0.1"));
        assert_eq!(metadata.extensions, EXTENSIONS);
    });
}

#[test]
fn models_describe_themselves() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let ready = |name: &str, version: &str| proto::ModelReadyRequest {
            name: name.into(),
            version: version.into(),
        };
        assert!(client.model_ready(ready("echo", "")).await.unwrap().into_inner().ready);
        assert!(client.model_ready(ready("echo", "1")).await.unwrap().into_inner().ready);
        assert!(!client.model_ready(ready("asleep", "")).await.unwrap().into_inner().ready);
        assert_eq!(client.model_ready(ready("none", "")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(client.model_ready(ready("echo", "3")).await.unwrap_err().code(), Code::NotFound);

        let asked = proto::ModelMetadataRequest { name: "echo".into(), version: String::new() };
        let metadata = client.model_metadata(asked).await.unwrap().into_inner();
        assert_eq!(metadata.versions, ["1", "2"]);
        assert_eq!(metadata.platform, "echo_echo");
        assert_eq!(metadata.inputs[0].datatype, "FP32");
        assert_eq!(metadata.outputs[0].shape, [-1, 4]);

        let asked = proto::ModelConfigRequest { name: "echo".into(), version: String::new() };
        let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
        assert_eq!((config.max_batch_size, config.input[0].dims.as_slice()), (256, &[4][..]));
        assert_eq!(config.output[0].data_type(), proto::DataType::TypeString);
        let asked = proto::ModelConfigRequest { name: "full".into(), version: String::new() };
        let config = client.model_config(asked).await.unwrap().into_inner().config.unwrap();
        assert_eq!((config.max_batch_size, config.input[0].dims.as_slice()), (0, &[-1, 4][..]));
    });
}

#[test]
fn predictions_come_back_as_they_were_sent() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let answer = client.model_infer(with_id("7", one_float("echo", 1.5))).await.unwrap().into_inner();
        assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("echo", "2"));
        assert_eq!((answer.id.as_str(), answer.outputs.len()), ("7", 1));
        assert_eq!(answer.raw_output_contents, [1.5_f32.to_le_bytes().as_slice()]);

        let mut typed = one_float("echo", 0.0);
        typed.model_version = "1".into();
        typed.raw_input_contents.clear();
        typed.inputs[0].contents =
            Some(proto::InferTensorContents { fp32_contents: vec![2.5], ..Default::default() });
        let answer = client.model_infer(typed).await.unwrap().into_inner();
        assert_eq!(answer.model_version, "1");
        assert!(answer.raw_output_contents.is_empty());
        assert_eq!(answer.outputs[0].contents.as_ref().unwrap().fp32_contents, [2.5]);
        assert_eq!(answer.id.len(), 36, "an id of ours: {:?}", answer.id);
    });
}

#[test]
fn mistakes_and_failures_have_their_codes() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut short = one_float("echo", 1.0);
        short.inputs[0].shape = vec![2];
        let mut unwanted = one_float("echo", 1.0);
        unwanted.outputs = vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }];
        let mut old = one_float("echo", 1.0);
        old.model_version = "3".into();
        for (request, code, message) in [
            (
                short,
                Code::InvalidArgument,
                "inputs[0] (\"x\"): its shape and FP32 need 8 bytes of raw contents, got 4.",
            ),
            (
                unwanted,
                Code::InvalidArgument,
                "outputs[0].name: the model has no output \"y\". It has \"x\".",
            ),
            (old, Code::NotFound, "Model with name echo has no version 3. Its versions: 1, 2."),
            (one_float("none", 1.0), Code::NotFound, "Model with name none does not exist."),
            (one_float("asleep", 1.0), Code::Unavailable, "Model with name asleep is not ready."),
            (
                one_float("full", 1.0),
                Code::ResourceExhausted,
                "The queue of model full is full (0 requests wait). Retry later.",
            ),
            (doing("fail"), Code::Internal, "ValueError: no such flower"),
            (doing("status"), Code::ResourceExhausted, "too many flowers"),
            (doing("raw"), Code::Internal, "model answered with a body that gRPC cannot carry"),
            (doing("raw-error"), Code::PermissionDenied, "no"),
            (
                doing("stream"),
                Code::Unimplemented,
                "Model echo answers with a stream, which gRPC does not carry here. Ask it over HTTP.",
            ),
        ] {
            let error = client.model_infer(request).await.unwrap_err();
            assert_eq!((error.code(), error.message()), (code, message));
        }
        let long = client.model_infer(doing("long")).await.unwrap_err();
        assert!(long.message().len() < 2000 && long.message().ends_with('…'));
        bench
            .until_metrics_say("modelport_rejected_total{model_name=\"full\",reason=\"queue_full\"} 1")
            .await;
    });
}

#[test]
fn a_deadline_ends_the_wait() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        for timeout in ["0n", "1m"] {
            let mut request = Request::new(doing("hold"));
            request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
            let error = client.model_infer(request).await.unwrap_err();
            assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
        }
        let mut request = Request::new(doing("echo"));
        request.metadata_mut().insert("grpc-timeout", "99999999H".parse().unwrap());
        client.model_infer(request).await.unwrap();
        let mut request = Request::new(doing("echo"));
        request.metadata_mut().insert("grpc-timeout", "1 minute".parse().unwrap());
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        bench
            .until_metrics_say(
                "modelport_rejected_total{model_name=\"echo\",version=\"2\",reason=\"deadline\"} 2",
            )
            .await;
    });
}

#[test]
fn a_client_that_goes_away_is_counted_as_cancelled() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let waiting = tokio::spawn(async move { client.model_infer(doing("hold")).await });
        let flying = "modelport_in_flight_requests{model_name=\"echo\",version=\"2\"}";
        bench.until_metrics_say(&format!("{flying} 1")).await;
        waiting.abort();
        bench.until_metrics_say(&format!("{flying} 0")).await;
        bench
            .until_metrics_say(
                "modelport_rejected_total{model_name=\"echo\",version=\"2\",reason=\"cancelled\"} 1",
            )
            .await;
    });
}

#[test]
fn large_tensors_pass_both_ways() {
    Bench::run(8 * MIB, |bench| async move {
        let mut client = bench.client().await;
        let elements = 5 * MIB / 4;
        let content: Bytes = (0..elements).flat_map(|index| (index as f32).to_le_bytes()).collect();
        let mut request = one_float("echo", 0.0);
        request.inputs[0].shape = vec![1, elements as i64];
        request.raw_input_contents = vec![content.clone()];
        let answer = client.model_infer(request).await.unwrap().into_inner();
        assert!(answer.raw_output_contents == [content]);
    });
}

#[test]
fn the_limit_on_messages_is_exact() {
    use prost::Message as _;
    // A model without a version, so that the answer is as long as the request.
    let request = with_id(&"i".repeat(1000), one_float("listener", 1.0));
    let size = request.encoded_len();
    for (limit, passes) in [(size, true), (size - 1, false)] {
        let request = request.clone();
        Bench::run(limit, |bench| async move {
            let mut client = bench.client().await;
            match client.model_infer(request).await {
                Ok(answer) => {
                    assert!(passes);
                    assert_eq!(answer.get_ref().encoded_len(), size);
                }
                Err(error) if passes => panic!("{error:?}"),
                Err(error) => {
                    assert_eq!(error.code(), Code::ResourceExhausted);
                    assert_eq!(
                        error.message(),
                        format!("The message is larger than the limit of {limit} bytes. Send fewer rows at a time, or raise the limit.")
                    );
                    bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"too_large\"} 1").await;
                }
            }
        });
    }
}

#[test]
fn answers_are_compressed_for_clients_that_compress() {
    Bench::run(MIB, |bench| async move {
        let encoding = |response: &tonic::Response<_>| {
            let _: &tonic::Response<proto::ModelInferResponse> = response;
            response.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned())
        };
        for (compression, name) in
            [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Deflate, "deflate")]
        {
            let mut client = bench.client().await.accept_compressed(compression).send_compressed(compression);
            let answer = client.model_infer(one_float("echo", 3.0)).await.unwrap();
            assert_eq!(encoding(&answer).as_deref(), Some(name));
            assert_eq!(answer.into_inner().raw_output_contents, [3.0_f32.to_le_bytes().as_slice()]);
        }
        // Accepting alone is not asking.
        let mut client = bench.client().await.accept_compressed(CompressionEncoding::Gzip);
        let answer = client.model_infer(one_float("echo", 3.0)).await.unwrap();
        assert_eq!(encoding(&answer), None);
    });
}

#[test]
fn a_compressed_message_may_not_unpack_beyond_the_limit() {
    Bench::run(MIB, |bench| async move {
        let gzip = CompressionEncoding::Gzip;
        let mut client = bench.client().await.send_compressed(gzip).accept_compressed(gzip);
        let mut request = one_float("echo", 0.0);
        request.inputs[0].shape = vec![MIB as i64];
        request.raw_input_contents = vec![vec![0; 4 * MIB].into()];
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
        bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"too_large\"} 1").await;
    });
}

#[test]
fn very_many_empty_tensors_are_refused_unpacked() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut request = one_float("echo", 0.0);
        request.inputs = vec![InferInputTensor::default(); 1 << 17];
        let error = client.model_infer(request).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
    });
}

#[test]
fn metadata_reaches_models_that_want_it_and_comes_back() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut ask = async |model: &str| {
            let mut request = Request::new(with_id("of-the-message", one_float(model, 1.0)));
            let metadata = request.metadata_mut();
            metadata.insert("x-colour", "blue".parse().unwrap());
            metadata.insert_bin("x-data-bin", tonic::metadata::MetadataValue::from_bytes(b"\0"));
            metadata.insert("x-request-id", "of-the-call".parse().unwrap());
            client.model_infer(request).await.unwrap()
        };
        let answer = ask("listener").await;
        let saw = |name: &str| answer.metadata().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(saw("saw-x-colour"), Some("blue"));
        assert_eq!(saw("saw-x-request-id"), Some("of-the-call"));
        for hidden in ["saw-x-data-bin", "saw-te", "saw-content-type", "content-length", "bad-value"] {
            assert_eq!(saw(hidden), None, "{hidden}");
        }
        assert_eq!(saw("saw-id"), Some("of-the-call"));
        assert_eq!(answer.get_ref().id, "of-the-message");

        let answer = ask("echo").await;
        assert!(answer.metadata().get("saw-x-colour").is_none(), "it does not want headers");
    });
}

#[test]
fn the_repository_answers_in_both_forms() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let asked = proto::RepositoryIndexRequest::default();
        let index = client.repository_index(asked.clone()).await.unwrap().into_inner().models;
        assert_eq!(index.len(), 2);
        assert_eq!((index[1].state.as_str(), index[1].reason.as_str()), ("UNAVAILABLE", "not loaded"));
        let asked = proto::RepositoryIndexRequest { ready: true, ..asked };
        let index = client.repository_index(asked).await.unwrap().into_inner().models;
        assert_eq!((index.len(), index[0].name.as_str()), (1, "echo"));

        let kserve = proto::RepositoryModelLoadRequest { model_name: "iris".into(), ..Default::default() };
        let loaded = client.repository_model_load(kserve).await.unwrap().into_inner();
        assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("iris", true));
        let choice = proto::model_repository_parameter::ParameterChoice::StringParam("{}".into());
        let triton = proto::RepositoryModelLoadRequest {
            model_name: "the repository".into(),
            triton_model_name: "rose".into(),
            parameters: [(
                "config".into(),
                proto::ModelRepositoryParameter { parameter_choice: Some(choice) },
            )]
            .into(),
        };
        let loaded = client.repository_model_load(triton).await.unwrap().into_inner();
        assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("rose", true));
        let missing =
            proto::RepositoryModelLoadRequest { model_name: "missing".into(), ..Default::default() };
        assert_eq!(client.repository_model_load(missing).await.unwrap_err().code(), Code::NotFound);
        let nameless = proto::RepositoryModelLoadRequest::default();
        assert_eq!(client.repository_model_load(nameless).await.unwrap_err().code(), Code::InvalidArgument);
        let choice = proto::model_repository_parameter::ParameterChoice::BytesParam(Bytes::new());
        let files = proto::RepositoryModelLoadRequest {
            model_name: "iris".into(),
            parameters: [(
                "file:1/model".into(),
                proto::ModelRepositoryParameter { parameter_choice: Some(choice) },
            )]
            .into(),
            ..Default::default()
        };
        assert_eq!(client.repository_model_load(files).await.unwrap_err().code(), Code::InvalidArgument);

        let triton =
            proto::RepositoryModelUnloadRequest { triton_model_name: "rose".into(), ..Default::default() };
        let unloaded = client.repository_model_unload(triton).await.unwrap().into_inner();
        assert_eq!((unloaded.model_name.as_str(), unloaded.is_unloaded), ("rose", true));
        assert_eq!(
            *bench.log.lock().unwrap(),
            ["load iris []", "load rose [(\"config\", Str(\"{}\"))]", "load missing []", "unload rose"]
        );
    });
}

#[test]
fn statistics_count_requests() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        client.model_infer(one_float("echo", 1.0)).await.unwrap();
        client.model_infer(doing("fail")).await.unwrap_err();
        let asked = |name: &str, version: &str| proto::ModelStatisticsRequest {
            name: name.into(),
            version: version.into(),
        };
        let all = client.model_statistics(asked("", "")).await.unwrap().into_inner().model_stats;
        assert_eq!(all.len(), 5);
        let versions = client.model_statistics(asked("echo", "")).await.unwrap().into_inner().model_stats;
        assert_eq!(versions.len(), 2);
        let one = client.model_statistics(asked("echo", "2")).await.unwrap().into_inner().model_stats;
        assert_eq!((one.len(), one[0].inference_count, one[0].execution_count), (1, 2, 2));
        let times = one[0].inference_stats.as_ref().unwrap();
        let counts = [&times.success, &times.fail, &times.queue, &times.compute_input, &times.compute_output]
            .map(|total| total.as_ref().unwrap().count);
        assert_eq!(counts, [1, 1, 2, 2, 1]);
        let error = client.model_statistics(asked("none", "")).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        bench
            .until_metrics_say(
                "modelport_requests_total{model_name=\"echo\",version=\"2\",protocol=\"grpc\",code=\"200\"} 1",
            )
            .await;
    });
}

#[test]
fn streams_answer_as_they_are_ready_and_outlive_errors() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let mut wrong = one_float("echo", 1.0);
        wrong.inputs[0].datatype = "FLOAT".into();
        let requests = [
            with_id("held", doing("hold")),
            with_id("wrong", wrong),
            with_id("missing", one_float("none", 1.0)),
            with_id("release", doing("release")),
        ];
        let answers = client.model_stream_infer(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        let of = |id: &str| {
            let found = answers.iter().position(|one| one.infer_response.as_ref().unwrap().id == id);
            let position = found.unwrap_or_else(|| panic!("no answer to {id}: {answers:?}"));
            (position, answers[position].error_message.as_str())
        };
        assert_eq!(answers.len(), 4);
        assert_eq!((of("held").1, of("release").1), ("", ""));
        assert!(of("wrong").1.starts_with("inputs[0].datatype"), "{answers:?}");
        assert_eq!(of("missing").1, "Model with name none does not exist.");
        assert!(of("wrong").0 < of("held").0, "{answers:?}");
    });
}

#[test]
fn a_stream_ends_with_a_message_beyond_the_limit() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let requests = [one_float("echo", 1.0), with_id(&"i".repeat(MIB), one_float("echo", 1.0))];
        let answers = client.model_stream_infer(stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.collect().await;
        let last = answers.last().unwrap().as_ref().unwrap_err();
        assert_eq!(last.code(), Code::ResourceExhausted, "{last:?}");
    });
}

/// Many messages that each keep to the limit must not take all of the machine's memory.
#[test]
fn all_messages_together_have_a_bound() {
    Bench::run(MIB, |bench| async move {
        let mut client = bench.client().await;
        let bodies = Arc::clone(&bench.server.bodies);
        let other = Share::of(&bodies);
        other.more(2 * MIB - 10_000).unwrap();
        let large = || {
            let mut request = one_float("echo", 0.0);
            request.inputs[0].shape = vec![1, (MIB / 8) as i64];
            request.raw_input_contents = vec![vec![0; MIB / 2].into()];
            request
        };
        let refused = client.model_infer(large()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().starts_with("There is no room for a body of "), "{refused:?}");
        bench.until_metrics_say("modelport_rejected_bodies_total{reason=\"no_room\"} 1").await;
        assert!(client.model_infer(one_float("echo", 1.0)).await.is_ok());
        let gzip = CompressionEncoding::Gzip;
        let mut packing = client.clone().send_compressed(gzip).accept_compressed(gzip);
        let refused = packing.model_infer(large()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        drop(other);
        packing.model_infer(large()).await.unwrap();

        // A long stream holds what is under way, not all that it ever brought.
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let requests = stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)));
        send.send(large()).await.unwrap();
        let mut answers = client.model_stream_infer(requests).await.unwrap().into_inner();
        for _ in 0..20 {
            let answer = answers.next().await.unwrap().unwrap();
            assert_eq!(answer.error_message, "");
            send.send(large()).await.unwrap();
        }
        drop(send);
        while answers.next().await.is_some() {}
        drop((client, packing));
        bench.until_metrics_say("modelport_request_body_bytes 0").await;
    });
}

#[test]
fn health_is_checked_and_watched() {
    Bench::run(MIB, |bench| async move {
        let mut client = HealthClient::with_origin(bench.channel().await, ORIGIN.parse().unwrap());
        let of = |service: &str| HealthCheckRequest { service: service.into() };
        let mut check = async |service: &str| -> Result<ServingStatus, Status> {
            Ok(client.check(of(service)).await?.into_inner().status())
        };
        assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
        assert_eq!(check("echo").await.unwrap(), ServingStatus::Serving);
        assert_eq!(check("asleep").await.unwrap(), ServingStatus::NotServing);
        assert_eq!(check("none").await.unwrap_err().code(), Code::NotFound);
        let asleep = bench.server.registry.get("asleep", None).unwrap();
        let mut unknown = client.clone().watch(of("none")).await.unwrap().into_inner();
        let mut states = client.watch(of("asleep")).await.unwrap().into_inner();
        let mut next = async || states.message().await.unwrap().map(|answer| answer.status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        asleep.set_ready(true);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        let server = client.check(of("inference.GRPCInferenceService")).await.unwrap();
        assert_eq!(server.into_inner().status(), ServingStatus::Serving);
        bench.server.drain();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None, "watching does not keep a draining server alive");
        let told = unknown.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::ServiceUnknown);
    });
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[test]
        fn $name() {
            use tonic_reflection::pb::$version as pb;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            Bench::run(MIB, |bench| async move {
                let mut client =
                    ServerReflectionClient::with_origin(bench.channel().await, ORIGIN.parse().unwrap());
                let ask = |message| pb::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(message),
                };
                let questions = [
                    ask(MessageRequest::ListServices(String::new())),
                    ask(MessageRequest::FileContainingSymbol("inference.ModelInferRequest".into())),
                    ask(MessageRequest::FileContainingSymbol("grpc.health.v1.Health".into())),
                ];
                let answers = client.server_reflection_info(stream::iter(questions)).await.unwrap();
                let answers: Vec<_> = answers
                    .into_inner()
                    .map(|answer| answer.unwrap().message_response.unwrap())
                    .collect()
                    .await;
                let MessageResponse::ListServicesResponse(list) = &answers[0] else {
                    panic!("{:?}", answers[0]);
                };
                let mut names: Vec<&str> = list.service.iter().map(|one| one.name.as_str()).collect();
                names.sort_unstable();
                let expected = [
                    "grpc.health.v1.Health",
                    "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection",
                    "inference.GRPCInferenceService",
                ];
                assert_eq!(names, expected);
                for answer in &answers[1..] {
                    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
                }
            });
        }
    };
}

reflection_test!(reflection_v1_lists_the_services, v1);
reflection_test!(reflection_v1alpha_lists_the_services, v1alpha);

#[test]
fn unknown_services_and_methods_are_unimplemented() {
    Bench::run(MIB, |bench| async move {
        for path in ["/inference.GRPCInferenceService/Dream", "/no.Such/Thing", "/"] {
            let request = http::Request::post(format!("{ORIGIN}{path}"))
                .header("content-type", "application/grpc")
                .body(Body::empty())
                .unwrap();
            let response = bench.channel().await.call(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], "12", "{path}");
            assert_eq!(response.headers()["content-type"], "application/grpc", "{path}");
            let name = path.rsplit('/').next().unwrap_or_default();
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(path.contains(".Such") || message.contains(name), "{path}: {message}");
        }
    });
}
