//! Any V2 body with raw tensors is answered; the first two bytes say how long its JSON is.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use modelport_dataplane::codec::v2::{self, Head};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::InferResponse;

fuzz_target!(|input: &[u8]| {
    let Some((length, body)) = input.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length));
    let limits = Limits::default();
    let Ok(request) = v2::decode(&Bytes::copy_from_slice(body), Some(length), &limits) else { return };
    let response = InferResponse { outputs: request.inputs, ..InferResponse::default() };
    let head = Head { model_name: "m", model_version: Some("1"), id: "" };
    let _ = v2::encode(&response, &head, &request.outputs, request.binary_output);
    let _ = v2::encode(&response, &head, &[], false);
    v2::encode(&response, &head, &[], true).expect("binary carries everything");
});
