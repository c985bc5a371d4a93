//! gRPC: a call's path from an HTTP/2 request to its answer.
//!
//! `GrpcRoutes::call` notes the deadline, picks the service by path and hands over to tonic, which frames,
//! limits and (de)compresses messages: `service` answers all but inference itself, which is `infer`.
//! Beside it stand health checking and server reflection.

mod context;
mod counted;
pub mod health;
mod infer;
mod service;

use crate::budget::Share;
use crate::codec::grpc::proto::grpc_inference_service_server::{GrpcInferenceServiceServer, SERVICE_NAME};
use crate::error::Error;
use crate::listen::request_id::{self, RequestId};
use crate::model::Server;
use bytes::Bytes;
use context::Arrival;
use counted::Counted;
use health::proto::health_server::{self, HealthServer};
use http::{HeaderMap, HeaderValue, Uri};
use service::Inference;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, CompressionEncoding, Service, StdError};
use tonic::{Code, Status};

/// gRPC's descriptors of the services here, as an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!("../../generated/descriptors.bin");

/// What the server can do beyond the protocol's core: KServe's name for its extension, then Triton's.
pub const EXTENSIONS: [&str; 5] = [
    "model_repository_extension",
    "model_repository",
    "model_configuration",
    "statistics",
    "binary_tensor_data",
];

/// Every gRPC service of a server.
#[derive(Clone)]
pub struct GrpcRoutes {
    server: Arc<Server>,
    inference: GrpcInferenceServiceServer<Inference>,
    health: HealthServer<health::Health>,
}

type Handler = Arc<dyn Fn(http::Request<Body>) -> BoxFuture<http::Response<Body>, Infallible> + Send + Sync>;

/// Reflection, built when somebody asks first: its index takes two megabytes, and most processes are never asked.
/// The descriptors are fixed, so building fails never, or in the first test.
static REFLECTION: LazyLock<Option<Handler>> = LazyLock::new(|| reflection().build_v1().ok().map(handler));
static REFLECTION_ALPHA: LazyLock<Option<Handler>> =
    LazyLock::new(|| reflection().build_v1alpha().ok().map(handler));

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}

/// The gRPC services of a server.
pub fn service(server: Arc<Server>) -> GrpcRoutes {
    let limit = server.limits.body_bytes;
    let inference = GrpcInferenceServiceServer::new(Inference::new(Arc::clone(&server)))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    let health = HealthServer::new(health::Health::new(Arc::clone(&server)));
    GrpcRoutes { server, inference, health }
}

/// A service whose type has no name.
fn handler<S>(service: S) -> Handler
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Arc::new(move |request| Box::pin(service.clone().call(request)))
}

impl GrpcRoutes {
    /// Answers one call, with its id. Errors are answers too: a gRPC status in the headers or the trailers.
    pub async fn call<B>(&self, mut request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        let mut response = self.answer(request).await;
        response.headers_mut().insert(request_id::NAME, id.into_header());
        response
    }

    async fn answer<B>(&self, mut request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        match Arrival::now(request.headers()) {
            Ok(arrival) => request.extensions_mut().insert(arrival),
            Err(error) => return Status::from(error).into_http(),
        };
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let answer = match service {
            SERVICE_NAME => {
                let mut inference = self.inference.clone();
                if let Some(encoding) = asked_encoding(request.headers()) {
                    inference = inference.send_compressed(encoding);
                }
                let called = request.uri().clone();
                // Until a single request is answered; of a stream, as its messages are.
                let share = Arc::new(Share::of(&self.server.bodies));
                request.extensions_mut().insert(Arc::clone(&share));
                let request = request.map(|body| Counted::new(body, &self.server, &share));
                inference.call(request).await.map(|response| self.explain(response, &called))
            }
            health_server::SERVICE_NAME => self.health.clone().call(request).await,
            REFLECTION_V1 => hand(REFLECTION.as_ref(), request).await,
            REFLECTION_V1ALPHA => hand(REFLECTION_ALPHA.as_ref(), request).await,
            _ => Ok(unknown_service(service)),
        };
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// tonic's own refusals, with words that help.
    fn explain(&self, response: http::Response<Body>, called: &Uri) -> http::Response<Body> {
        match Status::from_header_map(response.headers()) {
            Some(error) if is_too_large(&error) => infer::refuse_too_large(&self.server).into_http(),
            Some(error) if error.code() == Code::Unimplemented && error.message().is_empty() => {
                let method = called.path().rsplit('/').next().unwrap_or_default();
                Status::unimplemented(format!("{SERVICE_NAME} has no method {method:?} on this server."))
                    .into_http()
            }
            Some(error) => explain_garbage(&error).map_or(response, Status::into_http),
            None => response,
        }
    }
}

/// A message that is none of its method is its sender's fault, not the server's, as tonic has it.
fn explain_garbage(error: &Status) -> Option<Status> {
    let what = error.message().strip_prefix("failed to decode Protobuf message: ")?;
    (error.code() == Code::Internal)
        .then(|| Status::invalid_argument(format!("The message is not what the method takes: {what}.")))
}

/// Whether tonic speaks of a message beyond the limit. It says OUT_OF_RANGE, and RESOURCE_EXHAUSTED when
/// the message outgrows the limit while it is unpacked. We say the latter always, as other servers do.
fn is_too_large(error: &Status) -> bool {
    error.code() == Code::OutOfRange
        || error.code() == Code::ResourceExhausted
            && error.message().starts_with("Error decompressing: size limit")
}

impl std::fmt::Debug for GrpcRoutes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("GrpcRoutes").field("server", &self.server).finish_non_exhaustive()
    }
}

const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

async fn hand<B>(
    handler: Option<&Handler>,
    request: http::Request<B>,
) -> Result<http::Response<Body>, Infallible>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    match handler {
        Some(handler) => handler(request.map(Body::new)).await,
        None => Ok(unknown_service("reflection")),
    }
}

fn unknown_service(name: &str) -> http::Response<Body> {
    Status::unimplemented(format!("There is no service {name:?} here. Its names: {SERVICE_NAME}, {}.", {
        health_server::SERVICE_NAME
    }))
    .into_http()
}

/// The compression that the client asks for by compressing its own message. Most clients say that they
/// accept gzip without meaning to pay for it.
fn asked_encoding(headers: &HeaderMap) -> Option<CompressionEncoding> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        Some(b"gzip") => Some(CompressionEncoding::Gzip),
        Some(b"deflate") => Some(CompressionEncoding::Deflate),
        _ => None,
    }
}

/// The gRPC status that tells a client of an error. It travels in a header, so it is kept short.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        const LONGEST: usize = 1500;
        let mut message = error.message;
        if message.len() > LONGEST {
            let mut end = LONGEST;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            message.push('…');
        }
        Self::new(Code::from(error.kind.grpc()), message)
    }
}
