//! A prediction over gRPC, from its message to the message that answers it.

use super::context::{visible, Arrival};
use crate::codec::grpc::proto::{ModelInferRequest, ModelInferResponse};
use crate::codec::grpc::{decode, encode, Envelope};
use crate::error::{Error, Kind, Result};
use crate::listen::request_id::RequestId;
use crate::message::{Answer, Call, InferResponse, Payload, Protocol, Verb};
use crate::metrics::{BodyFault, Stage};
use crate::model::{Model, Server};
use crate::trace::Active;
use std::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::Status;

/// What a request brings beside its message.
pub(super) struct Context<'a> {
    pub(super) arrival: Arrival,
    pub(super) metadata: &'a MetadataMap,
    /// The call's id, where a call is one request.
    pub(super) call_id: Option<RequestId>,
    /// The request's span, where it has one.
    pub(super) trace: Option<Active>,
}

/// The answer, and the metadata that the model sets.
pub(super) struct Answered {
    pub(super) message: ModelInferResponse,
    pub(super) headers: Vec<(String, String)>,
}

/// Finds the model, asks it, and counts the request.
pub(super) async fn infer(
    server: &Server,
    message: ModelInferRequest,
    mut context: Context<'_>,
) -> Result<Answered> {
    let mut trace = context.trace.take();
    if let Some(trace) = &mut trace {
        let version = Some(message.model_version.as_str()).filter(|version| !version.is_empty());
        trace.note(|span| {
            span.set_model(&message.model_name, version);
            span.set_request_id(context.call_id.as_ref().map_or(&message.id, RequestId::as_str));
        });
    }
    let answered = count(server, message, context, trace.as_mut()).await;
    if let Some(mut trace) = trace {
        if let Err(error) = &answered {
            trace.fail(error);
        }
        trace.end(status(&answered));
    }
    answered
}

fn status(answered: &Result<Answered>) -> u16 {
    answered.as_ref().map_or_else(|error| error.kind.http(), |_| 200)
}

async fn count(
    server: &Server,
    message: ModelInferRequest,
    context: Context<'_>,
    trace: Option<&mut Active>,
) -> Result<Answered> {
    let version = Some(message.model_version.as_str()).filter(|version| !version.is_empty());
    let model = server.registry.get(&message.model_name, version)?;
    let request = model.metrics.begin(Protocol::Grpc, context.arrival.at);
    let answered = ask(server, &model, message, context, trace).await;
    request.end(status(&answered));
    answered
}

async fn ask(
    server: &Server,
    model: &Model,
    message: ModelInferRequest,
    context: Context<'_>,
    mut trace: Option<&mut Active>,
) -> Result<Answered> {
    if !model.is_ready() {
        return Err(Error::model_not_ready(&model.metadata.name)); // before decoding costs anything
    }
    let decoding = Instant::now();
    let request = decode(message, &server.limits)?.request;
    let decoded = Instant::now();
    model.metrics.stage(Stage::Decode, decoded - decoding);

    let request_id = match (&context.call_id, &request.id) {
        (Some(id), _) => id.as_str().to_owned(),
        (None, Some(id)) => id.clone(),
        (None, None) => RequestId::random().as_str().to_owned(),
    };
    if let Some(trace) = &mut trace {
        trace.stage(Stage::Decode, decoding, decoded);
        trace.note(|span| span.set_request_id(&request_id));
    }
    let envelope = Envelope {
        model: model.metadata.name.clone(),
        version: model.metadata.version.clone().unwrap_or_default(),
        id: request.id.clone().unwrap_or_else(|| request_id.clone()),
        raw: request.binary_output,
        outputs: request.outputs.clone(),
    };
    let mut headers = if model.options.wants_headers { visible(context.metadata) } else { Vec::new() };
    if let (true, Some(trace)) = (model.options.wants_headers, &trace) {
        trace.pass_on(context.metadata.as_ref(), &mut headers);
    }
    let call = Call {
        request_id,
        verb: Verb::Predict,
        protocol: Protocol::Grpc,
        headers,
        payload: Payload::Tensors(request),
        deadline: context.arrival.deadline,
    };
    let mut response = tensors(model.call(call, trace.as_deref_mut()).await?, model)?;

    let encoding = Instant::now();
    let headers = std::mem::take(&mut response.headers);
    let message = encode(response, envelope)?;
    let encoded = Instant::now();
    model.metrics.stage(Stage::Encode, encoded - encoding);
    if let Some(trace) = trace {
        trace.stage(Stage::Encode, encoding, encoded);
    }
    Ok(Answered { message, headers })
}

/// The answer's tensors, if it has any.
fn tensors(answer: Answer, model: &Model) -> Result<InferResponse> {
    match answer {
        Answer::Tensors(response) => Ok(response),
        Answer::Raw { status, body, .. } if status >= 400 => {
            Err(Error::new(Kind::Status(status), String::from_utf8_lossy(&body)))
        }
        Answer::Raw { .. } => {
            Err(Error::new(Kind::Internal, "model answered with a body that gRPC cannot carry"))
        }
        Answer::Stream { .. } => Err(Error::new(
            Kind::Unimplemented,
            format!(
                "Model {} answers with a stream, which gRPC does not carry here. Ask it over HTTP.",
                model.metadata.name
            ),
        )),
    }
}

/// Counts a message beyond the limit, and says what its client hears.
pub(super) fn refuse_too_large(server: &Server) -> Status {
    server.metrics.body_rejected(BodyFault::TooLarge);
    Status::from(Error::new(
        Kind::TooLarge,
        format!(
            "The message is larger than the limit of {} bytes. Send fewer rows at a time, or raise the limit.",
            server.limits.body_bytes
        ),
    ))
}
