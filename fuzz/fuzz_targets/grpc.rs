//! Any ModelInferRequest is answered, and what is read is the same after writing and reading it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelport_dataplane::codec::grpc::proto::ModelInferRequest;
use modelport_dataplane::codec::grpc::{decode, encode_request};
use modelport_dataplane::limits::Limits;
use prost::Message;

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let Ok(message) = ModelInferRequest::decode(body) else { return };
    let Ok(request) = decode(message, &limits) else { return };
    let written = encode_request(request.clone()).expect("what was read");
    let again = decode(written, &limits).expect("what was written");
    for (one, other) in again.request.inputs.iter().zip(&request.request.inputs) {
        assert_eq!((&one.name, one.datatype, &one.shape), (&other.name, other.datatype, &other.shape));
        assert_eq!(one.data, other.data);
    }
});
