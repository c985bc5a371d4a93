//! KServe's V1 protocol, with CloudEvents.

use super::reply::{self, Reply, JSON};
use super::rest::Exchange;
use super::v2::{Encoded, Ready};
use crate::clock::rfc3339_now;
use crate::codec::{self, cloudevents};
use crate::error::{Error, Kind, Result};
use crate::message::{Answer, Call, Payload, Protocol, Verb};
use crate::metrics::Stage;
use crate::model::{Model, Server};
use crate::trace::Operation;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, CONTENT_TYPE};
use http::Response;
use serde_json::json;
use std::time::Instant;

/// `GET /v1/models`, `GET /v2/models`
pub(super) fn models(server: &Server) -> Response<Reply> {
    reply::json(&json!({"models": server.registry.names()}))
}

/// `GET /v1/models/{m}`
pub(super) fn ready(server: &Server, name: &str) -> Result<Response<Reply>> {
    let model = server.registry.get(name, None)?;
    if model.is_ready() {
        Ok(reply::json(&Ready { name, ready: true }))
    } else {
        Err(Error::model_not_ready(name))
    }
}

/// `POST /v1/models/{m}:predict` and `:explain`
pub(super) async fn call(exchange: &mut Exchange<'_>, name: &str, verb: Verb) -> Result<Response<Reply>> {
    let operation = match verb {
        Verb::Predict => Operation::V1Predict,
        Verb::Explain => Operation::V1Explain,
    };
    exchange.begin_trace(operation, name, None);
    let model = exchange.shared.server.registry.get(name, None)?;
    let counted = model.metrics.begin(Protocol::V1, exchange.begun);
    match ask(exchange, &model, verb).await {
        Ok(answer) => Ok(answer.respond(counted)),
        Err(error) => {
            counted.end(error.kind.http());
            Err(error)
        }
    }
}

async fn ask(exchange: &mut Exchange<'_>, model: &Model, verb: Verb) -> Result<Encoded> {
    let name = &model.metadata.name;
    if !model.is_ready() {
        return Err(Error::model_not_ready(name));
    }
    if verb == Verb::Explain && !model.options.explains {
        return Err(Error::new(Kind::Unimplemented, format!("Model {name} has no explainer.")));
    }
    let deadline = exchange.deadline()?;
    let body = exchange.body(None, deadline).await?;

    let decoding = Instant::now();
    let event = cloudevents::decode(&exchange.head.headers, &body)?;
    let body = event.as_ref().map_or(body, |event| event.data.clone());
    let payload = if verb == Verb::Explain || model.options.raw_v1 {
        Payload::Raw(body)
    } else {
        let limits = &exchange.shared.server.limits;
        let decoded = codec::v1::decode_for(&body, limits, &model.metadata.inputs)?;
        drop(body);
        Payload::Tensors(decoded)
    };
    exchange.stage(model, Stage::Decode, decoding);

    let call = Call {
        request_id: exchange.id.as_str().to_owned(),
        verb,
        protocol: Protocol::V1,
        headers: exchange.headers_for(model, &payload),
        payload,
        deadline,
    };
    exchange.let_go();
    let answer = model.call(call, exchange.trace.as_mut()).await.map_err(without_tensors)?;
    let encoding = Instant::now();
    let mut response = match answer {
        Answer::Tensors(response) => {
            let mut answer = reply::full(200, JSON, codec::v1::encode(&response)?);
            reply::add_model_headers(answer.headers_mut(), response.headers);
            answer
        }
        other => match (event.is_some(), Encoded::AsIs(other)) {
            (true, Encoded::AsIs(Answer::Raw { status, content_type, headers, body })) if status < 300 => {
                let content_type = content_type.parse().unwrap_or(JSON);
                let mut answer = reply::full(status, content_type, body);
                reply::add_model_headers(answer.headers_mut(), headers);
                answer
            }
            // Streams and errors are no events.
            (_, as_is) => return Ok(as_is),
        },
    };
    if let Some(event) = &event {
        wrap(exchange, model, event, &mut response);
    }
    exchange.stage(model, Stage::Encode, encoding);
    Ok(Encoded::Done(response))
}

/// What is wrong without the place in V2's message, `inputs[0].shape: `, where V1's clients sent no such thing.
fn without_tensors(mut error: Error) -> Error {
    let place = error.message.split_once(": ").filter(|(place, _)| {
        let place = place.strip_prefix("inputs").unwrap_or("?");
        let field = place.trim_start_matches(|c: char| c == '[' || c == ']' || c.is_ascii_digit());
        field.is_empty() || matches!(field, ".shape" | ".datatype" | ".data")
    });
    if let Some((_, what)) = place.filter(|_| error.kind == Kind::InvalidInput) {
        error.message = what.to_owned();
    }
    error
}

/// Makes the answer a CloudEvent, because the request was one.
fn wrap(exchange: &Exchange<'_>, model: &Model, event: &cloudevents::Event, response: &mut Response<Reply>) {
    let Reply::Full(body) = response.body_mut() else { return };
    let body: Bytes = std::mem::take(body);
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (headers, body) = cloudevents::encode(
        event,
        &exchange.shared.cloudevents,
        &model.metadata.name,
        exchange.id.as_str(),
        &rfc3339_now(),
        &body,
        content_type.unwrap_or("application/json"),
    );
    for (name, value) in headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            continue;
        };
        response.headers_mut().insert(name, value);
    }
    *response.body_mut() = Reply::Full(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sent_rows_is_not_told_of_tensors() {
        for (message, told) in [
            ("inputs[0].shape: the model takes 4 columns, got 3.", "the model takes 4 columns, got 3."),
            ("inputs[12].datatype: column \"a\" takes text: x.", "column \"a\" takes text: x."),
            ("inputs: \"a\" is missing.", "\"a\" is missing."),
            ("inputs[0].data: element [2] is null", "element [2] is null"),
            ("row 1, column \"a\": null", "row 1, column \"a\": null"),
            ("inputs of mine: none", "inputs of mine: none"),
        ] {
            assert_eq!(without_tensors(Error::invalid(message)).message, told);
        }
        let failed = Error::new(Kind::Model, "inputs: gone");
        assert_eq!(without_tensors(failed).message, "inputs: gone");
    }
}
