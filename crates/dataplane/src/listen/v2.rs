//! The Open Inference Protocol v2 over REST.

use super::grpc::EXTENSIONS;
use super::reply::{self, Reply, JSON};
use super::rest::Exchange;
use super::route::{Aspect, Target};
use super::stats;
use crate::codec;
use crate::error::{Error, Result};
use crate::message::{Answer, Call, InferResponse, Payload, Protocol, RequestedOutput, Verb};
use crate::metrics::{InFlight, Stage};
use crate::model::{Model, Server, TensorSpec};
use crate::trace::Operation;
use http::header::{HeaderName, HeaderValue};
use http::Response;
use serde::Serialize;
use serde_json::{json, Value};
use std::time::Instant;

/// Length of the JSON before binary tensors.
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `POST /v2/models/{m}[/versions/{v}]/infer`
pub(super) async fn infer(exchange: &mut Exchange<'_>, target: &Target<'_>) -> Result<Response<Reply>> {
    let operation = if target.version.is_some() { Operation::V2InferVersion } else { Operation::V2Infer };
    exchange.begin_trace(operation, &target.name, target.version.as_deref());
    let model = exchange.shared.server.registry.get(&target.name, target.version.as_deref())?;
    let counted = model.metrics.begin(Protocol::V2, exchange.begun);
    match ask(exchange, &model).await {
        Ok(answer) => Ok(answer.respond(counted)),
        Err(error) => {
            counted.end(error.kind.http());
            Err(error)
        }
    }
}

async fn ask(exchange: &mut Exchange<'_>, model: &Model) -> Result<Encoded> {
    if !model.is_ready() {
        return Err(Error::model_not_ready(&model.metadata.name));
    }
    let json_length = json_length(exchange)?;
    let deadline = exchange.deadline()?;
    let body = if model.options.wants_headers {
        exchange.body(json_length, deadline).await?
    } else {
        exchange.body_alone(json_length, deadline).await?
    };

    let decoding = Instant::now();
    let request = codec::v2::decode(&body, json_length, &exchange.shared.server.limits)?;
    drop(body);
    exchange.stage(model, Stage::Decode, decoding);

    let id = request.id.clone();
    let (outputs, binary) = (request.outputs.clone(), request.binary_output);
    let payload = Payload::Tensors(request);
    let call = Call {
        request_id: exchange.id.as_str().to_owned(),
        verb: Verb::Predict,
        protocol: Protocol::V2,
        headers: exchange.headers_for(model, &payload),
        payload,
        deadline,
    };
    exchange.let_go();
    match model.call(call, exchange.trace.as_mut()).await? {
        Answer::Tensors(response) => {
            let id = id.as_deref().unwrap_or_else(|| exchange.id.as_str());
            let encoding = Instant::now();
            let encoded = encode(model, response, id, &outputs, binary)?;
            exchange.stage(model, Stage::Encode, encoding);
            Ok(encoded)
        }
        other => Ok(Encoded::AsIs(other)),
    }
}

fn encode(
    model: &Model,
    response: InferResponse,
    id: &str,
    outputs: &[RequestedOutput],
    binary: bool,
) -> Result<Encoded> {
    let head = codec::v2::Head {
        model_name: &model.metadata.name,
        model_version: model.metadata.version.as_deref(),
        id,
    };
    let encoded = codec::v2::encode(&response, &head, outputs, binary)?;
    let mut answer = match encoded.json_length {
        None => reply::full(200, JSON, encoded.body),
        Some(length) => {
            let binary = HeaderValue::from_static("application/octet-stream");
            let mut answer = reply::full(200, binary, encoded.body);
            answer.headers_mut().insert(JSON_LENGTH, length.into());
            answer
        }
    };
    reply::add_model_headers(answer.headers_mut(), response.headers);
    Ok(Encoded::Done(answer))
}

/// An answer on its way out.
pub(super) enum Encoded {
    /// Ready to be sent.
    Done(Response<Reply>),
    /// A body that the model made itself.
    AsIs(Answer),
}

impl Encoded {
    /// The response; `counted` ends now, or with the stream.
    pub(super) fn respond(self, counted: InFlight) -> Response<Reply> {
        let response = match self {
            Self::Done(response) => response,
            Self::AsIs(Answer::Raw { status, content_type, headers, body }) => {
                let mut response = reply::full(status, media_type(content_type), body);
                reply::add_model_headers(response.headers_mut(), headers);
                response
            }
            Self::AsIs(Answer::Stream { content_type, headers, parts }) => {
                let events = content_type.starts_with("text/event-stream");
                let mut response = Response::new(Reply::stream(parts, events, counted));
                response.headers_mut().insert(http::header::CONTENT_TYPE, media_type(content_type));
                if events {
                    let no = HeaderValue::from_static("no-cache");
                    response.headers_mut().insert(http::header::CACHE_CONTROL, no);
                }
                reply::add_model_headers(response.headers_mut(), headers);
                return response;
            }
            // Tensors are encoded before they come here.
            Self::AsIs(Answer::Tensors(_)) => {
                reply::refuse(&Error::new(crate::error::Kind::Internal, "The answer was not encoded."))
            }
        };
        counted.end(response.status().as_u16());
        response
    }
}

fn media_type(text: String) -> HeaderValue {
    if text == "application/json" {
        return JSON;
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn json_length(exchange: &Exchange<'_>) -> Result<Option<usize>> {
    if !exchange.rare.json_length {
        return Ok(None);
    }
    let mut values = exchange.head.headers.get_all(JSON_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("Inference-Header-Content-Length: must be given once, got several."));
    }
    let length = value.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
    length.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length: must be the length of the JSON in bytes, got {value:?}."
        ))
    })
}

/// `GET /v2`
pub(super) fn server(server: &Server) -> Response<Reply> {
    reply::json(&json!({"name": server.name, "version": server.version, "extensions": EXTENSIONS}))
}

/// `GET /v2/models/{m}` and what is below it.
pub(super) fn describe(server: &Server, target: &Target<'_>, aspect: Aspect) -> Result<Response<Reply>> {
    let found = server.registry.get(&target.name, target.version.as_deref());
    // Triton's `/v2/models/stats` is about all models.
    if found.is_err() && target.name == "stats" && target.version.is_none() && aspect == Aspect::Metadata {
        return Ok(reply::json(&stats::of(&server.registry.all())));
    }
    let model = found?;
    let name = &model.metadata.name;
    match aspect {
        Aspect::Ready if model.is_ready() => Ok(reply::json(&Ready { name, ready: true })),
        Aspect::Ready => Err(Error::model_not_ready(name)),
        Aspect::Config => Ok(reply::json(&config(&model))),
        Aspect::Stats => {
            let models = match target.version {
                None => server.registry.versions(name),
                Some(_) => vec![model],
            };
            Ok(reply::json(&stats::of(&models)))
        }
        Aspect::Metadata | Aspect::Infer => Ok(reply::json(&metadata(server, &model))),
    }
}

/// Both protocols' word for whether a model serves.
#[derive(Serialize)]
pub(super) struct Ready<'a> {
    pub(super) name: &'a str,
    pub(super) ready: bool,
}

#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    versions: Option<Vec<String>>,
    platform: &'a str,
    inputs: &'a [TensorSpec],
    outputs: &'a [TensorSpec],
}

fn metadata<'a>(server: &Server, model: &'a Model) -> Described<'a> {
    let versions: Vec<String> = server
        .registry
        .versions(&model.metadata.name)
        .iter()
        .filter_map(|model| model.metadata.version.clone())
        .collect();
    Described {
        name: &model.metadata.name,
        versions: (!versions.is_empty()).then_some(versions),
        platform: &model.metadata.platform,
        inputs: &model.metadata.inputs,
        outputs: &model.metadata.outputs,
    }
}

/// As much of Triton's model configuration as its clients and `perf_analyzer` read. `dims` leaves the
/// batch axis out where `max_batch_size` is not 0.
fn config(model: &Model) -> Value {
    let metadata = &model.metadata;
    let specs = || metadata.inputs.iter().chain(&metadata.outputs);
    let max_rows = model.options.batching.max_rows;
    let batches = max_rows > 1 && specs().count() > 0 && specs().all(|spec| spec.shape.first() == Some(&-1));
    let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
        specs
            .iter()
            .map(|spec| {
                let datatype = if spec.datatype == "BYTES" { "STRING" } else { spec.datatype.as_str() };
                let dims = spec.shape.get(usize::from(batches)..).unwrap_or_default();
                json!({"name": spec.name, "data_type": format!("TYPE_{datatype}"), "dims": dims})
            })
            .collect()
    };
    json!({
        "name": metadata.name,
        "platform": metadata.platform,
        "max_batch_size": if batches { max_rows } else { 0 },
        "input": tensors(&metadata.inputs),
        "output": tensors(&metadata.outputs),
    })
}
