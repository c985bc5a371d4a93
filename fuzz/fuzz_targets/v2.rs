//! Any V2 JSON body is answered, and what is read is the same after writing and reading it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::codec::v2::{self, Head};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::InferResponse;

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let Ok(request) = v2::decode(&Bytes::copy_from_slice(body), None, &limits) else { return };
    let response = InferResponse { outputs: request.inputs, ..InferResponse::default() };
    let head = Head { model_name: "", model_version: None, id: "" };
    for binary in [false, true] {
        let encoded = v2::encode(&response, &head, &[], binary).expect("what was read");
        let (json, raw) = encoded.body.split_at(encoded.json_length.unwrap_or(encoded.body.len()));
        let tensors =
            json.strip_prefix(b"{\"model_name\":\"\",\"id\":\"\",\"outputs\":".as_slice()).expect("the head");
        let json = [b"{\"inputs\":".as_slice(), tensors].concat();
        let length = encoded.json_length.map(|_| json.len());
        let again = v2::decode(&[&json, raw].concat().into(), length, &limits).expect("what was written");
        for (one, other) in again.inputs.iter().zip(&response.outputs) {
            assert_eq!((&one.name, one.datatype, &one.shape), (&other.name, other.datatype, &other.shape));
            // NaN has more than one pattern, but null is read as the same one.
            assert_eq!(one.data, other.data);
        }
    }
});
