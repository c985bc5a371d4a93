//! Answers: keys, order, binary outputs, and what they cannot carry.

use crate::{floats, tensor, wanted, HEAD};
use modelport_dataplane::codec::v2;
use modelport_dataplane::codec::v2::{Encoded, Head};
use modelport_dataplane::error::Kind;
use modelport_dataplane::message::InferResponse;
use modelport_dataplane::tensor::{Data, Datatype, Param, Strings};

#[test]
fn responses_have_the_protocol_s_keys_in_order() {
    let mut score = floats("score", &[1.0, 0.1, f32::NAN, f32::INFINITY, 1e20]);
    score.parameters.push(("unit".to_owned(), Param::Str("m\"".to_owned())));
    let mut text = Strings::default();
    for element in ["a\n\u{1}", "", "ä"] {
        text.push(element.as_bytes());
    }
    let mut label = tensor("label", Datatype::Bytes, &[3], Data::Strings(text));
    label.nulls.push(1);
    let response = InferResponse {
        outputs: vec![score, label],
        parameters: vec![("n".to_owned(), Param::Int(1)), ("d".to_owned(), Param::Double(f64::NAN))],
        headers: vec![],
    };
    let head = Head { model_version: Some("2"), ..HEAD };
    let Encoded { body, json_length } = v2::encode(&response, &head, &[], false).unwrap();
    assert_eq!(json_length, None);
    assert_eq!(
        std::str::from_utf8(&body).unwrap(),
        concat!(
            r#"{"model_name":"m","model_version":"2","id":"7","parameters":{"n":1,"d":null},"outputs":["#,
            r#"{"name":"score","datatype":"FP32","shape":[5],"parameters":{"unit":"m\""},"data":[1.0,0.1,null,null,1e20]},"#,
            r#"{"name":"label","datatype":"BYTES","shape":[3],"data":["a\n\u0001",null,"ä"]}]}"#
        )
    );
}

#[test]
fn requested_outputs_filter_order_and_choose_binary() {
    let response =
        InferResponse { outputs: vec![floats("a", &[1.0]), floats("b", &[2.0])], ..InferResponse::default() };
    // An output's own choice goes before the request's; the others follow the request's.
    let outputs = [wanted("b", None), wanted("a", Some(false))];
    let Encoded { body, json_length } = v2::encode(&response, &HEAD, &outputs, true).unwrap();
    let (json, raw) = body.split_at(json_length.unwrap());
    assert_eq!(
        std::str::from_utf8(json).unwrap(),
        concat!(
            r#"{"model_name":"m","id":"7","outputs":[{"name":"b","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},"#,
            r#"{"name":"a","datatype":"FP32","shape":[1],"data":[1.0]}]}"#
        )
    );
    assert_eq!(raw, 2_f32.to_le_bytes());
    let error = v2::encode(&response, &HEAD, &[wanted("c", None)], true).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert_eq!(error.message, "outputs[0].name: the model has no output \"c\". It has \"a\", \"b\".");
}

#[test]
fn what_json_cannot_carry_and_what_models_get_wrong_is_told() {
    let mut raw = Strings::default();
    raw.push(b"ok");
    raw.push(b"\xff");
    let bytes = tensor("image", Datatype::Bytes, &[2], Data::Strings(raw));
    let response = InferResponse { outputs: vec![bytes], ..InferResponse::default() };
    let error = v2::encode(&response, &HEAD, &[], false).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert_eq!(error.message, "output \"image\": element 1 is not valid UTF-8, so JSON cannot carry it. Ask for binary output (\"binary_data\": true, V2).");
    let Encoded { body, json_length } = v2::encode(&response, &HEAD, &[], true).unwrap();
    assert_eq!(&body[json_length.unwrap()..], b"\x02\0\0\0ok\x01\0\0\0\xff");
    let mut short = floats("y", &[1.0]);
    short.shape = vec![2, 2];
    let response = InferResponse { outputs: vec![short], ..InferResponse::default() };
    let error = v2::encode(&response, &HEAD, &[], false).unwrap_err();
    assert_eq!(error.kind, Kind::Model);
    assert_eq!(error.message, "output \"y\": 1 elements, but shape [2, 2] needs 4");
}
