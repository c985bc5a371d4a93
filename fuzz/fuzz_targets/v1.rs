//! Any V1 body is answered, and what is read can be written and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::codec::v1;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::InferResponse;
use modelport_dataplane::model::TensorSpec;

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let bytes = Bytes::copy_from_slice(body);
    // A model of columns, and one that says nothing, are asked the same.
    let spec = |name: &str, datatype: &str| TensorSpec {
        name: name.into(),
        datatype: datatype.into(),
        shape: vec![-1],
        ..TensorSpec::default()
    };
    if let Ok(request) = v1::decode_for(&bytes, &limits, &[spec("a", "FP64"), spec("b", "BYTES")]) {
        for tensor in &request.inputs {
            assert!(tensor.data.byte_len() <= 64 * (body.len() + (1 << 16)), "small bodies stay small");
        }
    }
    let Ok(request) = v1::decode(&bytes, &limits) else { return };
    let response = InferResponse { outputs: request.inputs, ..InferResponse::default() };
    let Ok(text) = v1::encode(&response) else { return };
    // The same values as rows; a lone scalar is no list of rows.
    let text = text.strip_prefix(b"{\"predictions\":".as_slice()).expect("the key");
    let again = [b"{\"inputs\":".as_slice(), text].concat();
    if text.first().is_some_and(|byte| matches!(byte, b'[' | b'{')) {
        v1::decode(&again.into(), &limits).expect("what was written");
    }
});
