//! The binary extension: sizes to the byte, views of the body.

use crate::{decode, fixed};
use bytes::Bytes;
use modelport_dataplane::codec::v2;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::InferRequest;
use modelport_dataplane::tensor::Param;

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
