//! Records as OTLP's messages. Names of attributes follow OpenTelemetry's semantic conventions.

use super::message::{
    AnyValue, ExportRequest, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span as Message, SpanKind,
    Status, StatusCode, Value,
};
use super::{Interval, Settings, Span};
use crate::message::Protocol;
use std::time::Instant;

/// `SpanFlags`: the next bit says whether the parent is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What all spans of this process are of.
pub(super) fn resource(settings: &Settings, version: &str) -> Resource {
    let mut attributes: Vec<KeyValue> =
        settings.resource.iter().map(|(key, value)| text(key, value)).collect();
    let own = [
        ("service.version", version.to_owned()),
        // Worker processes of one server are told apart by it.
        ("service.instance.id", format!("{:032x}", fastrand::u128(..))),
    ];
    for (key, value) in own {
        if !settings.resource.contains_key(key) {
            attributes.push(text(key, &value));
        }
    }
    attributes.push(number("process.pid", i64::from(std::process::id())));
    Resource { attributes }
}

/// The message of a batch.
pub(super) fn request(resource: &Resource, version: &str, batch: &[Span]) -> ExportRequest {
    let scope = Scope { name: "modelport".to_owned(), version: version.to_owned() };
    let mut spans = Vec::with_capacity(batch.iter().map(Span::count).sum());
    for span in batch {
        spans.push(server(span));
        spans.extend(span.stages.iter().map(|interval| child(span, interval)));
    }
    ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        }],
    }
}

fn server(span: &Span) -> Message {
    let parent = span.parent.map(|parent| parent.to_be_bytes().to_vec());
    let remote = if parent.is_some() { IS_REMOTE } else { 0 };
    let failed = span.status.is_some_and(|status| status >= 500);
    Message {
        span_id: span.context.span_id.to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        flags: u32::from(span.context.flags) | HAS_IS_REMOTE | remote,
        kind: SpanKind::Server.into(),
        attributes: attributes(span),
        status: failed.then(|| Status { message: span.message.clone(), code: StatusCode::Error.into() }),
        ..part(span, span.operation.name(), span.begun, span.ended)
    }
}

fn child(span: &Span, interval: &Interval) -> Message {
    let attributes = interval.batch.map(|batch| {
        vec![
            number("modelport.batch.requests", batch.requests as i64),
            number("modelport.batch.rows", batch.rows as i64),
        ]
    });
    Message {
        span_id: fastrand::u64(1..).to_be_bytes().to_vec(),
        parent_span_id: span.context.span_id.to_be_bytes().to_vec(),
        flags: u32::from(span.context.flags) | HAS_IS_REMOTE,
        kind: SpanKind::Internal.into(),
        attributes: attributes.unwrap_or_default(),
        ..part(span, interval.stage.name(), interval.from, interval.to)
    }
}

fn part(span: &Span, name: &str, from: Instant, to: Instant) -> Message {
    let at =
        |instant: Instant| span.begun_unix + instant.saturating_duration_since(span.begun).as_nanos() as u64;
    Message {
        trace_id: span.context.trace_id.to_be_bytes().to_vec(),
        trace_state: span.state.clone(),
        name: name.to_owned(),
        start_time_unix_nano: at(from),
        end_time_unix_nano: at(to),
        ..Message::default()
    }
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let protocol = span.operation.protocol();
    let mut all = vec![text("modelport.protocol", protocol.name())];
    let known = [
        ("modelport.model.name", Some(&span.model)),
        ("modelport.model.version", span.version.as_ref()),
        ("modelport.request.id", Some(&span.request_id)),
    ];
    for (key, value) in known {
        all.extend(value.filter(|value| !value.is_empty()).map(|value| text(key, value)));
    }
    if protocol == Protocol::Grpc {
        let (service, method) = span.operation.name().split_once('/').unwrap_or_default();
        all.push(text("rpc.system", "grpc"));
        all.push(text("rpc.service", service));
        all.push(text("rpc.method", method));
        if span.status.is_some() {
            all.push(number("rpc.grpc.status_code", i64::from(span.grpc)));
        }
    } else {
        let (method, route) = span.operation.name().split_once(' ').unwrap_or_default();
        all.push(text("http.request.method", method));
        all.push(text("http.route", route));
        all.push(text("url.path", &span.path));
        if let Some(status) = span.sent.or(span.status) {
            all.push(number("http.response.status_code", i64::from(status)));
        }
    }
    match span.status {
        Some(status) if status >= 500 && protocol == Protocol::Grpc => {
            all.push(text("error.type", &span.grpc.to_string()));
        }
        Some(status) if status >= 500 => all.push(text("error.type", &status.to_string())),
        Some(_) => {}
        None => all.push(attribute("modelport.cancelled", Value::Bool(true))),
    }
    all
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::String(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::Int(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
