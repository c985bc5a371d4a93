//! Open Inference Protocol v2: what is read, what is refused and in which words, and that reading
//! undoes writing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use modelport_dataplane::codec::v2::{self, Encoded, Head};
use modelport_dataplane::error::Kind;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, InferResponse, RequestedOutput};
use modelport_dataplane::tensor::{Data, Datatype, Param, Strings, Tensor};
use proptest::prelude::*;
use serde_json::Value;
use std::fmt::Write as _;

const HEAD: Head<'static> = Head { model_name: "m", model_version: None, id: "7" };

fn decode(body: &str) -> Result<InferRequest, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    v2::decode(&body, None, &Limits::default()).map_err(|error| {
        assert_eq!(error.kind, Kind::InvalidInput);
        error.message
    })
}

/// One input `x` of this datatype, shape and data.
fn one(datatype: &str, shape: &str, data: &str) -> Result<Tensor, String> {
    let text = format!(r#"{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}"#);
    let straight = decode(&format!(r#"{{"inputs":[{text}]}}"#));
    // Data that comes before its shape is read later, to the same end.
    let text = format!(r#"{{"data":{data},"shape":{shape},"datatype":"{datatype}","name":"x"}}"#);
    let later = decode(&format!(r#"{{"inputs":[{text}]}}"#));
    let syntax = |message: &String| message.starts_with("invalid JSON");
    match (&straight, &later) {
        (Err(one), Err(other)) if syntax(one) && syntax(other) => {}
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (one, other) => assert_eq!(one, other),
    }
    straight.map(|mut request| request.inputs.remove(0))
}

fn fixed(tensor: &Tensor) -> &[u8] {
    match &tensor.data {
        Data::Fixed(bytes) => bytes,
        Data::Strings(_) => panic!("{tensor:?}"),
    }
}

#[test]
fn malformed_bodies_are_refused_with_the_path() {
    let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"INT32","shape":[2]{rest}}}]}}"#);
    let cases = [
        ("", "invalid JSON at byte 0: expected an object, got the end of the text"),
        ("[]", "expected an object, got an array"),
        ("{", "invalid JSON at byte 1: expected a key in double quotes, got the end of the text"),
        ("{'a':1}", "invalid JSON at byte 1: expected a key in double quotes, got '''"),
        ("{\"a\":}", "invalid JSON at byte 5: expected a value, got '}' (in a)"),
        ("{\"a\":1,}", "invalid JSON at byte 7: trailing comma before '}'"),
        ("{\"a\":NaN}", "invalid JSON at byte 5: expected a value, got 'N' (in a)"),
        ("{\"a\":[1,]}", "invalid JSON at byte 8: trailing comma before ']' (in a)"),
        ("{\"a\":01}", "invalid JSON at byte 5: a number must not start with 0 (in a)"),
        ("{\"a\":\"\\x\"}", "invalid JSON at byte 6: unknown escape in a string (in a)"),
        ("{\"a\":\"\\ud800\"}", "invalid JSON at byte 6: a surrogate without its pair in a string (in a)"),
        ("{\"a\":\"\u{1}\"}", "invalid JSON at byte 6: control character in a string (in a)"),
        ("{\"a\":1 \"b\":2}", "invalid JSON at byte 7: expected ',' or '}', got '\"'"),
        ("{}", "request body: \"inputs\" is missing. Send {\"inputs\": [...]}"),
        (r#"{"inputs":[]}"#, "inputs: is empty. Send one tensor at least"),
        (r#"{"inputs":{}}"#, "inputs: expected an array, got an object"),
        (r#"{"inputs":[5]}"#, "inputs[0]: expected an object, got 5"),
        (r#"{"inputs":[{}]}"#, "inputs[0]: 'name' is missing"),
        (r#"{"inputs":[{"name":"x"}]}"#, "inputs[0]: 'datatype' is missing"),
        (r#"{"inputs":[{"name":"x","datatype":"INT8"}]}"#, "inputs[0]: 'shape' is missing"),
        (r#"{"inputs":[{"name":5}]}"#, "inputs[0].name: expected a string, got 5"),
        (r#"{"inputs":[{"datatype":"FP31"}]}"#, "inputs[0].datatype: \"FP31\" is no datatype. Use one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES"),
        (&input(""), "inputs[0]: 'data' field is missing for input 'x'"),
        (&input(r#","data":null"#), "inputs[0]: 'data' field is missing for input 'x'"),
        (&input(r#","data":5"#), "inputs[0].data: expected an array, got 5"),
        (&input(r#","data":[1,2],"data":[1,2]"#), "inputs[0].data: given twice"),
        (&input(r#","data":[1,2]}]} x"#), "invalid JSON at byte 70: expected the end of the text, got 'x'"),
        (&input(r#","data":[1,2],"parameters":{"binary_data_size":8}"#), "inputs[0]: input 'x' has both 'data' and binary_data_size. Send one of them"),
        (&input(r#","data":[1,2],"parameters":{"a":[1]}"#), "inputs[0].parameters.a: expected a bool, a number or a string, got an array"),
        (&input(r#","data":[1,2],"parameters":{"a b":null}"#), "inputs[0].parameters[\"a b\"]: expected a bool, a number or a string, got null"),
        (&input(r#","data":[1,2],"parameters":{"a":9223372036854775808}"#), "inputs[0].parameters.a: 9223372036854775808 does not fit a signed 64-bit integer"),
        (&input(r#","data":[1,2],"parameters":{"a":1,"a":2}"#), "inputs[0].parameters.a: given twice"),
        (r#"{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]},{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}"#, "inputs[1].name: the name \"x\" is taken by another one"),
        (r#"{"id":[]}"#, "id: expected a string, got an array"),
        (r#"{"parameters":{"binary_data_output":1}}"#, "parameters.binary_data_output: expected true or false, got 1"),
        (r#"{"outputs":[{"name":"y","parameters":{"binary_data":"yes"}}]}"#, "outputs[0].parameters.binary_data: expected true or false, got \"yes\""),
        (r#"{"outputs":[{}]}"#, "outputs[0]: 'name' is missing"),
        (r#"{"outputs":[{"name":"y"},{"name":"y"}]}"#, "outputs[1].name: the name \"y\" is taken by another one"),
    ];
    for (body, message) in cases {
        let found = decode(body).expect_err(body);
        assert_eq!(found, message, "{body}");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let cases = [
        ("UINT8", "[3]", "[1,2,300]", "inputs[0].data[2]: 300 does not fit UINT8"),
        ("UINT8", "[1]", "[-1]", "inputs[0].data[0]: -1 does not fit UINT8"),
        ("INT32", "[2]", "[1,2147483648]", "inputs[0].data[1]: 2147483648 does not fit INT32"),
        (
            "INT64",
            "[1]",
            "[9223372036854775808]",
            "inputs[0].data[0]: 9223372036854775808 does not fit INT64",
        ),
        (
            "UINT64",
            "[1]",
            "[18446744073709551616]",
            "inputs[0].data[0]: 18446744073709551616 does not fit UINT64",
        ),
        ("UINT64", "[1]", "[1e400]", "inputs[0].data[0]: 1e400 does not fit UINT64"),
        ("INT16", "[1]", "[3.5]", "inputs[0].data[0]: 3.5 is not a whole number, which INT16 needs"),
        ("INT16", "[1]", "[1e-1]", "inputs[0].data[0]: 1e-1 is not a whole number, which INT16 needs"),
        ("INT16", "[1]", "[true]", "inputs[0].data[0]: expected a number for INT16, got true"),
        ("INT32", "[2]", "[1,null]", "inputs[0].data[1]: null, which INT32 cannot hold (input 'x')"),
        ("BOOL", "[2]", "[true,null]", "inputs[0].data[1]: null, which BOOL cannot hold (input 'x')"),
        ("BOOL", "[1]", "[2]", "inputs[0].data[0]: 2 does not fit BOOL"),
        (
            "BOOL",
            "[1]",
            "[\"true\"]",
            "inputs[0].data[0]: expected true or false for BOOL, got the string \"true\"",
        ),
        ("FP32", "[1]", "[1e39]", "inputs[0].data[0]: 1e39 does not fit FP32"),
        ("FP64", "[1]", "[-1e309]", "inputs[0].data[0]: -1e309 does not fit FP64"),
        ("FP16", "[1]", "[65520]", "inputs[0].data[0]: 65520 does not fit FP16"),
        ("BF16", "[1]", "[3.4e38]", "inputs[0].data[0]: 3.4e38 does not fit BF16"),
        ("FP32", "[1]", "[\"1.5\"]", "inputs[0].data[0]: expected a number for FP32, got the string \"1.5\""),
        ("BYTES", "[1]", "[1]", "inputs[0].data[0]: expected a string for BYTES (input 'x'), got 1"),
        ("FP32", "[3]", "[1,2]", "inputs[0].data: has 2 elements, but shape [3] needs 3"),
        ("FP32", "[2,2]", "[1]", "inputs[0].data: has 1 element, but shape [2, 2] needs 4"),
        ("FP32", "[]", "[1,2]", "inputs[0].data: has 2 elements, but shape [] needs 1"),
        ("FP32", "[2,2]", "[[1,2],[3]]", "inputs[0].data[1]: has length 1, but axis 1 of shape [2, 2] is 2"),
        (
            "FP32",
            "[2,2]",
            "[[1,2],[3,4],[5,6]]",
            "inputs[0].data: has length 3, but axis 0 of shape [2, 2] is 2",
        ),
        ("FP32", "[2,2]", "[[1,2],3]", "inputs[0].data[1]: expected an array, got 3"),
        ("FP32", "[4]", "[[1,2],[3,4]]", "inputs[0].data[0]: expected a number for FP32, got an array"),
        ("FP32", "[2,2,1]", "[[1,2],[3,4]]", "inputs[0].data[0][0]: expected an array, got 1"),
        ("INT8", "[2,2]", "[[1,2],[3,400]]", "inputs[0].data[1][1]: 400 does not fit INT8"),
        ("FP32", "[-1]", "[]", "inputs[0].shape[0]: expected a length of 0 or more, got -1"),
        ("FP32", "[2,1.5]", "[]", "inputs[0].shape[1]: expected a length of 0 or more, got 1.5"),
        ("FP32", "[1e30]", "[]", "inputs[0].shape[0]: expected a length of 0 or more, got 1e30"),
        (
            "FP32",
            "[4294967296,4294967296]",
            "[]",
            "inputs[0].shape: [4294967296, 4294967296] has too many elements",
        ),
        (
            "FP32",
            "[1000000000]",
            "[1]",
            "inputs[0].data: has 1 element, but shape [1000000000] needs 1000000000",
        ),
        ("FP32", "2", "[]", "inputs[0].shape: expected an array, got 2"),
    ];
    for (datatype, shape, data, message) in cases {
        let found = one(datatype, shape, data).expect_err(data);
        assert_eq!(found, message, "{datatype} {shape} {data}");
    }
    for data in [
        "[1,]", "[,1]", "[1 2]", "[.5]", "[1.]", "[+1]", "[1e]", "[-]", "[tru]", "[nul]", "[00]", "[0x1]",
        "[1", "[",
    ] {
        let found = one("FP32", "[1]", data).expect_err(data);
        assert!(found.starts_with("invalid JSON at byte "), "{data}: {found}");
        assert!(found.contains("inputs[0].data"), "{data}: {found}");
    }
}

#[test]
fn good_values_are_read() {
    assert_eq!(fixed(&one("INT8", "[3]", "[3.0, -1e2, 0.00]").unwrap()), [3, 156, 0]);
    assert_eq!(fixed(&one("BOOL", "[4]", "[true,false,1,0.0]").unwrap()), [1, 0, 1, 0]);
    assert_eq!(fixed(&one("UINT64", "[1]", "[18446744073709551615.0]").unwrap()), u64::MAX.to_le_bytes());
    assert_eq!(
        fixed(&one("INT64", "[1]", "[9007199254740993.0]").unwrap()),
        9_007_199_254_740_993_i64.to_le_bytes()
    );
    assert_eq!(fixed(&one("FP64", "[1]", "[-0.0]").unwrap()), (-0.0_f64).to_le_bytes());
    assert_eq!(fixed(&one("FP32", "[2,0]", "[[],[]]").unwrap()), [0_u8; 0]);
    assert_eq!(fixed(&one("FP32", "[2,0]", "[]").unwrap()), [0_u8; 0]);
    assert_eq!(fixed(&one("FP32", "[]", "[1]").unwrap()), 1_f32.to_le_bytes());
    assert_eq!(fixed(&one("FP16", "[2]", "[0.5,-2]").unwrap()), [0, 0x38, 0, 0xc0]);
    assert_eq!(fixed(&one("BF16", "[1]", "[1]").unwrap()), [0x80, 0x3f]);
    for datatype in ["FP16", "BF16", "FP32", "FP64"] {
        let tensor = one(datatype, "[2,2]", "[[1,null],[null,1]]").unwrap();
        assert_eq!(tensor.nulls, [1, 2]);
    }
    let tensor = one("BYTES", "[2,2]", r#"[["a\u00e4\ud83d\ude00",null],["","\n\/"]]"#).unwrap();
    let Data::Strings(strings) = &tensor.data else { panic!() };
    let strings: Vec<_> = strings.iter().map(|element| std::str::from_utf8(element).unwrap()).collect();
    assert_eq!(strings, ["aä😀", "", "", "\n/"]);
    assert_eq!(tensor.nulls, [1]);
}

#[test]
fn buffers_are_aligned_for_their_elements() {
    for (datatype, size) in [("FP32", 4), ("FP64", 8), ("INT64", 8), ("UINT32", 4), ("FP16", 2)] {
        for count in 1..20 {
            let tensor = one(datatype, &format!("[{count}]"), &format!("{:?}", vec![1; count])).unwrap();
            assert_eq!(fixed(&tensor).as_ptr() as usize % size, 0);
        }
    }
}

#[test]
fn top_level_keys_are_read() {
    let body = r#" {"unknown":{"a":[{}]},"outputs":[{"name":"y","parameters":{"binary_data":true,"k":1}},{"name":"z"}],
        "id":1.50,"parameters":{"a":true,"b":-5,"c":1e1,"d":"s","binary_data_output":true},
        "inputs":[{"extra":null,"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{"content_type":"np"}}]} "#;
    let request = decode(body).unwrap();
    assert_eq!(request.id.as_deref(), Some("1.50"));
    assert!(request.binary_output);
    let parameters: Vec<_> = request.parameters.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(
        parameters,
        [Param::Bool(true), Param::Int(-5), Param::Double(10.0), Param::Str("s".to_owned())]
    );
    assert_eq!(request.inputs[0].parameters, [("content_type".to_owned(), Param::Str("np".to_owned()))]);
    assert_eq!(request.outputs[0].binary, Some(true));
    assert_eq!(request.outputs[0].parameters, [("k".to_owned(), Param::Int(1))]);
    assert_eq!(request.outputs[1].binary, None);
    let nothing = r#"{"id":null,"parameters":null,"outputs":null,"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":null}]}"#;
    assert_eq!(decode(nothing).unwrap().id, None);
}

#[test]
fn limits_hold_at_the_exact_value() {
    let limits = Limits { json_depth: 6, tensors: 2, ..Limits::default() };
    let decode = |body: String| v2::decode(&body.into(), None, &limits).map_err(|error| error.message);
    // Body, inputs, input and data are four levels.
    let nested = |shape: &str, data: &str| {
        format!(r#"{{"inputs":[{{"name":"x","datatype":"INT8","shape":{shape},"data":{data}}}]}}"#)
    };
    assert!(decode(nested("[1,1,1]", "[[[1]]]")).is_ok());
    let error = decode(nested("[1,1,1,1]", "[[[[1]]]]")).unwrap_err();
    assert_eq!(error, "inputs[0].data[0][0][0]: JSON nests deeper than 6 levels (byte 69)");
    let tensors = |count: usize| {
        let mut text = String::new();
        for index in 0..count {
            let comma = if index > 0 { "," } else { "" };
            write!(text, r#"{comma}{{"name":"{index}","datatype":"INT8","shape":[1],"data":[1]}}"#).unwrap();
        }
        format!(r#"{{"inputs":[{text}]}}"#)
    };
    assert!(decode(tensors(2)).is_ok());
    assert_eq!(decode(tensors(3)).unwrap_err(), "inputs: has more than 2 tensors, the limit of this server");
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert!(decode(deep).unwrap_err().starts_with("a: JSON nests deeper than 6 levels"));
    let axes = |count: usize| nested(&format!("{:?}", vec![1; count]), "[1]");
    assert!(decode(axes(64)).is_ok());
    assert_eq!(decode(axes(65)).unwrap_err(), "inputs[0].shape: has more than 64 axes");
    // NumPy has no array of such a shape, though it has no element: the model must not be asked for it.
    assert!(decode(nested("[0, 1152921504606846975]", "[]")).is_ok());
    let empty = decode(nested("[0, 1152921504606846976]", "[]")).unwrap_err();
    assert_eq!(empty, "inputs[0].shape: [0, 1152921504606846976] has too many elements");
}

fn with_raw(inputs: &str, raw: &[u8], length: Option<usize>) -> Result<InferRequest, String> {
    let json = format!(r#"{{"inputs":[{inputs}]}}"#);
    let length = length.unwrap_or(json.len());
    let body: Bytes = [json.as_bytes(), raw].concat().into();
    v2::decode(&body, Some(length), &Limits::default()).map_err(|error| error.message)
}

#[test]
fn binary_sizes_must_agree_to_the_byte() {
    let x = |datatype: &str, shape: &str, size: &str| {
        format!(
            r#"{{"name":"x","datatype":"{datatype}","shape":{shape},"parameters":{{"binary_data_size":{size}}}}}"#
        )
    };
    let size = "inputs[0].parameters.binary_data_size: ";
    let cases: [(String, &[u8], String); 12] = [
        (x("INT16", "[2]", "4"), &[0; 3], format!("{size}4 bytes, but only 3 of the body are left for this input")),
        (x("INT16", "[2]", "4"), &[0; 5], "request body: 5 bytes follow the JSON, but the inputs' binary_data_size add up to 4".to_owned()),
        (x("INT16", "[2]", "3"), &[0; 3], "inputs[0]: binary data of input 'x': 3 bytes, but shape [2] of INT16 needs 4".to_owned()),
        (x("INT16", "[2]", "-1"), &[], format!("{size}expected a number of bytes, got -1")),
        (x("INT16", "[2]", "\"4\""), &[0; 4], format!("{size}expected a number of bytes, got \"4\"")),
        (x("BOOL", "[2]", "2"), &[0, 2], "inputs[0]: binary data of input 'x': BOOL element 1 is neither 0 nor 1".to_owned()),
        (x("BYTES", "[1]", "3"), &[0; 3], "inputs[0]: binary data of input 'x': element 0 has 3 bytes of its 4-byte length, at byte 0".to_owned()),
        (x("BYTES", "[1]", "5"), &[2, 0, 0, 0, 1], "inputs[0]: binary data of input 'x': element 0 claims 2 bytes at byte 0, but 1 are left".to_owned()),
        (x("BYTES", "[1]", "4"), &[255; 4], "inputs[0]: binary data of input 'x': element 0 claims 4294967295 bytes at byte 0, but 0 are left".to_owned()),
        (x("BYTES", "[2]", "4"), &[0; 4], "inputs[0]: binary data of input 'x': has 1 elements, but shape [2] needs 2".to_owned()),
        (x("BYTES", "[1]", "8"), &[0; 8], "inputs[0]: binary data of input 'x': has 2 elements, but shape [1] needs 1".to_owned()),
        (x("FP64", "[1000000000]", "8"), &[0; 8], "inputs[0]: binary data of input 'x': 8 bytes, but shape [1000000000] of FP64 needs 8000000000".to_owned()),
    ];
    for (input, raw, message) in cases {
        assert_eq!(with_raw(&input, raw, None).expect_err(&input), message);
    }
    let both = r#"{"name":"x","datatype":"INT8","shape":[1],"data":[1],"parameters":{"binary_data_size":1}}"#;
    let message = with_raw(both, &[1], None).unwrap_err();
    assert_eq!(message, "inputs[0]: input 'x' has both 'data' and binary_data_size. Send one of them");
    let message = with_raw("", &[], Some(1000)).unwrap_err();
    assert_eq!(
        message,
        "header Inference-Header-Content-Length: 1000 is more than the body, which has 13 bytes"
    );
    let no_header = format!(r#"{{"inputs":[{}]}}"#, x("INT8", "[1]", "1")) + "\u{1}";
    let message = decode(&no_header).unwrap_err();
    assert_eq!(message, format!("{size}needs header Inference-Header-Content-Length, which is missing"));
    let cut = with_raw(&x("INT8", "[1]", "1"), &[1], Some(20)).unwrap_err();
    assert!(cut.starts_with("invalid JSON at byte 20"), "{cut}");
}

#[test]
fn binary_tensors_are_views_of_the_body() {
    let input = r#"{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8,"k":1}}"#;
    let json = format!(r#"{{"inputs":[{input}]}}"#);
    let body: Bytes = [json.as_bytes(), &[1; 8]].concat().into();
    let request = v2::decode(&body, Some(json.len()), &Limits::default()).unwrap();
    let tensor = &request.inputs[0];
    assert_eq!(fixed(tensor).as_ptr(), body[json.len()..].as_ptr());
    assert_eq!(tensor.parameters, [("k".to_owned(), Param::Int(1))]);
}

fn tensor(name: &str, datatype: Datatype, shape: &[usize], data: Data) -> Tensor {
    Tensor { name: name.to_owned(), datatype, shape: shape.to_vec(), data, nulls: vec![], parameters: vec![] }
}

fn floats(name: &str, values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, Datatype::Fp32, &[values.len()], Data::Fixed(bytes.into()))
}

fn wanted(name: &str, binary: Option<bool>) -> RequestedOutput {
    RequestedOutput { name: name.to_owned(), binary, parameters: vec![] }
}

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

/// Any tensor without NaN, which is not equal to itself, and with UTF-8 for `BYTES`.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    let shape = proptest::collection::vec(0_usize..4, 0..4);
    (0..Datatype::ALL.len(), shape, any::<u64>(), ".{0,6}").prop_map(|(kind, shape, seed, text)| {
        let datatype = Datatype::ALL[kind];
        let count: usize = shape.iter().product();
        let mut random = fastrand::Rng::with_seed(seed);
        let data = if datatype == Datatype::Bytes {
            let mut strings = Strings::default();
            (0..count).for_each(|index| strings.push(format!("{text}{index}").as_bytes()));
            Data::Strings(strings)
        } else {
            let mut bytes = Vec::new();
            for _ in 0..count {
                let bits = random.u64(..);
                match datatype {
                    Datatype::Bool => bytes.push(u8::from(random.bool())),
                    // Masks an exponent bit, so that no value is NaN or infinite.
                    Datatype::Fp64 => bytes.extend_from_slice(&(bits & !(1 << 62)).to_le_bytes()),
                    Datatype::Fp32 => bytes.extend_from_slice(&(bits as u32 & !(1 << 30)).to_le_bytes()),
                    Datatype::Fp16 | Datatype::Bf16 => {
                        bytes.extend_from_slice(&(bits as u16 & !(1 << 14)).to_le_bytes());
                    }
                    other => bytes.extend_from_slice(&bits.to_le_bytes()[..other.size().unwrap()]),
                }
            }
            Data::Fixed(bytes.into())
        };
        tensor("x", datatype, &shape, data)
    })
}

/// A response read back as a request: their tensors have the same form. (By its text: `serde_json`
/// does not read every float to the nearest.)
fn back(encoded: &Encoded) -> InferRequest {
    let (json, raw) = encoded.body.split_at(encoded.json_length.unwrap_or(encoded.body.len()));
    let tensors = std::str::from_utf8(json).unwrap().strip_prefix(r#"{"model_name":"m","id":"7","outputs":"#);
    let json = format!(r#"{{"inputs":{}"#, tensors.unwrap());
    let length = encoded.json_length.map(|_| json.len());
    v2::decode(&[json.as_bytes(), raw].concat().into(), length, &Limits::default()).unwrap()
}

/// The texts of the elements of a response's only output.
fn texts(encoded: &Encoded) -> Vec<String> {
    let value: Value = serde_json::from_slice(&encoded.body).unwrap();
    let data = value["outputs"][0]["data"].as_array().unwrap();
    if data.iter().any(Value::is_string) {
        return data.iter().map(Value::to_string).collect();
    }
    let text = std::str::from_utf8(&encoded.body).unwrap();
    let list = text.split_once(r#""data":["#).unwrap().1.trim_end_matches("]}]}");
    list.split(',').map(str::to_owned).collect()
}

/// Writes elements nested, as clients do; the writer under test is always flat.
fn nest(flat: &[String], shape: &[usize]) -> String {
    match shape.split_first() {
        None => flat[0].clone(),
        Some((axis, inner)) => {
            let stride: usize = inner.iter().product();
            let parts = (0..*axis).map(|index| nest(&flat[index * stride..(index + 1) * stride], inner));
            format!("[{}]", parts.collect::<Vec<_>>().join(" , "))
        }
    }
}

/// The value of a number's text by the standard library; `None` where it is infinite.
fn reference<T: std::str::FromStr + Into<f64> + Copy>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| (*value).into().is_finite())
}

fn same_floats(text: &str) {
    let double = one("FP64", "[2]", &format!("[0.5, {text}]")).ok();
    let double = double.map(|tensor| fixed(&tensor)[8..].to_vec());
    assert_eq!(double, reference::<f64>(text).map(|value| value.to_le_bytes().to_vec()), "{text}");
    let single = one("FP32", "[2]", &format!("[0.5,{text} ]")).ok();
    let single = single.map(|tensor| fixed(&tensor)[4..].to_vec());
    assert_eq!(single, reference::<f32>(text).map(|value| value.to_le_bytes().to_vec()), "{text}");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>, length in proptest::option::of(0_usize..200)) {
        let _ = v2::decode(&body.into(), length, &Limits::default());
    }

    #[test]
    fn broken_requests_are_answered(seed: u64, at: prop::sample::Index, byte: u8, length in proptest::option::of(100_usize..180)) {
        let mut body = format!(r#"{{"id":"{seed}","inputs":[{{"name":"x","shape":[2,1],"datatype":"FP32","data":[[1.5],[-2e1]],"parameters":{{"binary_data_size":4}}}}]}}0123456"#).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = v2::decode(&body.into(), length, &Limits::default());
    }

    #[test]
    fn writing_and_reading_back_is_the_identity(tensor in any_tensor(), binary: bool) {
        let response = InferResponse { outputs: vec![tensor.clone()], ..InferResponse::default() };
        let encoded = v2::encode(&response, &HEAD, &[], binary).unwrap();
        prop_assert_eq!(encoded.json_length.is_some(), binary);
        prop_assert_eq!(&back(&encoded).inputs, &[tensor]);
    }

    #[test]
    fn nested_data_is_flat_data(tensor in any_tensor().prop_filter("nested scalars are no array", |t| !t.shape.is_empty())) {
        let response = InferResponse { outputs: vec![tensor.clone()], ..InferResponse::default() };
        let encoded = v2::encode(&response, &HEAD, &[], false).unwrap();
        let nested = nest(&texts(&encoded), &tensor.shape);
        let found = one(tensor.datatype.name(), &format!("{:?}", tensor.shape), &nested).unwrap();
        prop_assert_eq!(found, tensor);
    }

    #[test]
    fn floats_are_the_nearest(text in r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,26})?([eE][+-]?[0-9]{1,2})?") {
        same_floats(&text);
    }

    #[test]
    fn floats_beside_a_midpoint_are_the_nearest(bits in 0_u32..0x7f00_0000, digits in 5_usize..25) {
        let middle = f64::midpoint(f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 1)));
        same_floats(&format!("{middle:.digits$}"));
        same_floats(&format!("{middle}"));
        same_floats(&format!("{middle:.digits$e}"));
    }

    #[test]
    fn whole_numbers_are_exact(value: i64, large: u64) {
        let tensor = one("INT64", "[2]", &format!("[1, {value}]")).unwrap();
        prop_assert_eq!(&fixed(&tensor)[8..], value.to_le_bytes());
        let tensor = one("UINT64", "[2]", &format!("[{large}.000,{large}]")).unwrap();
        prop_assert_eq!(&fixed(&tensor)[8..], large.to_le_bytes());
        prop_assert_eq!(&fixed(&tensor)[..8], large.to_le_bytes());
    }
}
