//! `CloudEvents`: what is one, what is a malformed one, and the event that answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use modelport_dataplane::codec::cloudevents::{self, Event, Mode, Settings};
use modelport_dataplane::error::Kind;
use proptest::prelude::*;
use serde_json::{json, Value};

const BINARY: [(&str, &str); 5] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "36077800"),
    ("ce-source", "io.kserve.e2e"),
    ("ce-type", "io.kserve.input"),
    ("content-type", "application/json"),
];

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    pairs.iter().map(parse).collect()
}

fn decode(pairs: &[(&str, &str)], body: &str) -> Result<Option<Event>, String> {
    cloudevents::decode(&headers(pairs), &Bytes::copy_from_slice(body.as_bytes())).map_err(|error| {
        assert_eq!(error.kind, Kind::InvalidInput);
        error.message
    })
}

fn structured(event: &Value) -> Result<Option<Event>, String> {
    decode(&[("content-type", "application/cloudevents+json; charset=utf-8")], &event.to_string())
}

fn event() -> Value {
    json!({"specversion": "1.0", "id": "7", "source": "here", "type": "t", "data": {"instances": [1]}})
}

/// Of two, one server would read the first and another the last; each attribute takes eight times its text.
#[test]
fn structured_events_say_each_thing_once_and_few_things() {
    let twice = r#"{"specversion":"1.0","id":"7","source":"h","type":"t","data":{"instances":[1]},"data":1}"#;
    let told = decode(&[("content-type", "application/cloudevents+json")], twice).expect_err("twice");
    assert!(told.contains("data: given twice"), "{told}");
    let with = |count: usize| {
        let mut event = event();
        for index in 0..count {
            event[format!("x{index}")] = json!("y");
        }
        structured(&event)
    };
    assert!(with(252).unwrap().is_some());
    assert!(with(253).expect_err("many").contains("256 attributes"));
}

#[test]
fn binary_events_carry_their_attributes_in_headers() {
    let mut pairs = BINARY.to_vec();
    pairs.push(("CE-Customer", "a%20%C3%A4%"));
    let event = decode(&pairs, r#"{"instances":[1]}"#).unwrap().unwrap();
    assert_eq!(event.mode, Mode::Binary);
    assert_eq!(event.attribute("id"), Some("36077800"));
    assert_eq!(event.attribute("customer"), Some("a ä%"));
    assert_eq!(event.data, r#"{"instances":[1]}"#);
    assert_eq!(event.data_content_type.as_deref(), Some("application/json"));
}

#[test]
fn structured_events_carry_data_in_three_ways() {
    let found = structured(&event()).unwrap().unwrap();
    assert_eq!((found.mode, found.data), (Mode::Structured, Bytes::from(r#"{"instances":[1]}"#)));
    let mut text = event();
    text["data"] = json!("a\nb");
    text["datacontenttype"] = json!("text/plain");
    let found = structured(&text).unwrap().unwrap();
    assert_eq!((found.data.as_ref(), found.data_content_type.as_deref()), (&b"a\nb"[..], Some("text/plain")));
    assert_eq!(found.attribute("datacontenttype"), None);
    text["datacontenttype"] = json!("application/vnd.x+json");
    assert_eq!(structured(&text).unwrap().unwrap().data, "\"a\\nb\"");
    let mut coded = event();
    coded.as_object_mut().unwrap().remove("data");
    coded["data_base64"] = json!("/wA=");
    coded["flag"] = json!(true);
    coded["count"] = json!(5);
    coded["absent"] = Value::Null;
    let found = structured(&coded).unwrap().unwrap();
    assert_eq!(found.data.as_ref(), [255, 0]);
    assert_eq!(found.attribute("flag"), Some("true"));
    assert_eq!(found.attribute("count"), Some("5"));
    assert_eq!(found.attribute("absent"), None);
}

#[test]
fn json_that_looks_like_an_event_is_one() {
    for content_type in [&[("content-type", "application/json")][..], &[]] {
        assert!(decode(content_type, &event().to_string()).unwrap().is_some());
        assert_eq!(decode(content_type, r#"{"instances":[1]}"#), Ok(None));
        assert_eq!(decode(content_type, r#"{"instances":["\"specversion\""]}"#), Ok(None));
        assert_eq!(decode(content_type, r#"{"instances":[],"specversion":"1.0"}"#), Ok(None));
        assert_eq!(decode(content_type, r#"{"specversion""#), Ok(None));
    }
    assert_eq!(decode(&[("content-type", "text/plain")], &event().to_string()), Ok(None));
    assert_eq!(decode(&[("ce-customer", "x")], "{}"), Ok(None));
}

#[test]
fn malformed_events_name_what_is_wrong() {
    for (index, name) in ["specversion", "id", "source", "type"].iter().enumerate() {
        let mut pairs = BINARY.to_vec();
        pairs.remove(index);
        let message = format!("Cloud Event Exceptions: attribute \"{name}\" is missing");
        assert_eq!(decode(&pairs, "{}").unwrap_err(), message);
        let mut without = event();
        without.as_object_mut().unwrap().remove(*name);
        assert_eq!(structured(&without).unwrap_err(), message);
        let mut empty = event();
        empty[*name] = json!("");
        let message = format!("Cloud Event Exceptions: attribute \"{name}\" is empty");
        assert_eq!(structured(&empty).unwrap_err(), message);
    }
    let with = |key: &str, value: Value| {
        let mut event = event();
        event[key] = value;
        structured(&event).unwrap_err()
    };
    assert_eq!(
        with("specversion", json!("2.0")),
        "Cloud Event Exceptions: attribute \"specversion\": expected \"1.0\" or \"0.3\", got \"2.0\""
    );
    assert_eq!(
        with("data_base64", json!("AA==")),
        "Cloud Event Exceptions: has both \"data\" and \"data_base64\""
    );
    assert_eq!(
        with("subject", json!([])),
        "Cloud Event Exceptions: subject: expected a string, a number or a bool, got an array"
    );
    let mut coded = event();
    coded.as_object_mut().unwrap().remove("data");
    assert_eq!(structured(&coded).unwrap_err(), "Cloud Event Exceptions: \"data\" is missing");
    coded["data_base64"] = json!("!");
    assert!(structured(&coded).unwrap_err().starts_with("Cloud Event Exceptions: data_base64: "));
    let media = [("content-type", "application/cloudevents+json")];
    assert_eq!(
        decode(&media, "{").unwrap_err(),
        "Cloud Event Exceptions: invalid JSON at byte 1: expected a key in double quotes, got the end of the text"
    );
    assert_eq!(
        decode(&media, r#"{"id":"1","id":"2"}"#).unwrap_err(),
        "Cloud Event Exceptions: attribute \"id\" is given twice"
    );
    let batch = decode(&[("content-type", "application/cloudevents-batch+json")], "[]").unwrap_err();
    assert_eq!(batch, "Cloud Event Exceptions: batches are not supported. Send one event a request");
    let twice = [BINARY.as_slice(), &[("ce-id", "2")]].concat();
    assert_eq!(decode(&twice, "{}").unwrap_err(), "Cloud Event Exceptions: attribute \"id\" is given twice");
}

fn answer(
    request: &Event,
    settings: &Settings,
    body: &'static str,
    content_type: &str,
) -> (Vec<(String, String)>, Bytes) {
    cloudevents::encode(
        request,
        settings,
        "ä/m",
        "new",
        "2026-01-02T03:04:05Z",
        &Bytes::from(body),
        content_type,
    )
}

#[test]
fn binary_events_are_answered_by_binary_events() {
    let pairs = [BINARY.as_slice(), &[("ce-time", "then"), ("ce-customer", "a%20b")]].concat();
    let request = decode(&pairs, "{}").unwrap().unwrap();
    let own = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", "new"),
        ("ce-source", "io.kserve.inference.%C3%A4/m"),
        ("ce-type", "io.kserve.inference.response"),
        ("ce-time", "2026-01-02T03:04:05Z"),
    ];
    let check = |settings: &Settings, extra: &[(&str, &str)]| {
        let (headers, body) = answer(&request, settings, "{\"predictions\":[]}", "application/json");
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [own.as_slice(), extra, &[("content-type", "application/json")]].concat());
        assert_eq!(body, "{\"predictions\":[]}");
    };
    check(&Settings::default(), &[]);
    check(&Settings { merge: true, ..Settings::default() }, &[("ce-customer", "a%20b")]);
}

#[test]
fn structured_events_are_answered_by_structured_events() {
    let request = structured(&event()).unwrap().unwrap();
    let settings = Settings { r#type: "my".to_owned(), source: Some("us".to_owned()), merge: true };
    let read = |body: &'static str, content_type: &str| -> Value {
        let (headers, body) = answer(&request, &settings, body, content_type);
        assert_eq!(headers, [("content-type".to_owned(), "application/cloudevents+json".to_owned())]);
        serde_json::from_slice(&body).unwrap()
    };
    let mut expected = json!({
        "specversion": "1.0", "id": "new", "source": "us", "type": "my", "time": "2026-01-02T03:04:05Z",
        "datacontenttype": "application/json", "data": {"predictions": [1.5]},
    });
    assert_eq!(read(r#"{"predictions": [1.5]}"#, "application/json"), expected);
    expected["datacontenttype"] = json!("text/plain");
    expected["data"] = json!("a\"b");
    assert_eq!(read("a\"b", "text/plain"), expected);
    let broken = read("{\"a\":", "application/json");
    assert_eq!((&broken["data"], &broken["data_base64"]), (&Value::Null, &json!("eyJhIjo=")));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>) {
        let _ = cloudevents::decode(&headers(&[("content-type", "application/cloudevents+json")]), &body.into());
    }

    #[test]
    fn answers_can_be_read(value in ".*", body: Vec<u8>, structured: bool, text: bool) {
        let mode = if structured { Mode::Structured } else { Mode::Binary };
        let attributes = [("specversion", "1.0"), ("subject", value.as_str())];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let request = Event { mode, attributes, data: Bytes::new(), data_content_type: None };
        let settings = Settings { merge: true, ..Settings::default() };
        let content_type = if text { "text/plain" } else { "application/json" };
        let (pairs, out) = cloudevents::encode(&request, &settings, "m", "1", "now", &body.clone().into(), content_type);
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let event = cloudevents::decode(&headers(&pairs), &out).unwrap().unwrap();
        prop_assert_eq!(event.mode, mode);
        prop_assert_eq!(event.attribute("subject"), Some(value.as_str()));
        prop_assert_eq!(event.data.as_ref(), body.as_slice());
        prop_assert_eq!(event.data_content_type.as_deref(), Some(content_type));
    }
}
