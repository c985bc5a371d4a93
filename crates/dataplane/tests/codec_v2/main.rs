//! Open Inference Protocol v2: what is read, what is refused and in which words, and that reading
//! undoes writing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agreement;
mod binary;
mod read;
mod refused;
mod written;

use bytes::Bytes;
use modelport_dataplane::codec::v2;
use modelport_dataplane::codec::v2::Head;
use modelport_dataplane::error::Kind;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, RequestedOutput};
use modelport_dataplane::tensor::{Data, Datatype, Tensor};

pub(crate) const HEAD: Head<'static> = Head { model_name: "m", model_version: None, id: "7" };

pub(crate) fn decode(body: &str) -> Result<InferRequest, String> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    v2::decode(&body, None, &Limits::default()).map_err(|error| {
        assert_eq!(error.kind, Kind::InvalidInput);
        error.message
    })
}

/// One input `x` of this datatype, shape and data.
pub(crate) fn one(datatype: &str, shape: &str, data: &str) -> Result<Tensor, String> {
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

pub(crate) fn fixed(tensor: &Tensor) -> &[u8] {
    match &tensor.data {
        Data::Fixed(bytes) => bytes,
        Data::Strings(_) => panic!("{tensor:?}"),
    }
}

pub(crate) fn tensor(name: &str, datatype: Datatype, shape: &[usize], data: Data) -> Tensor {
    Tensor { name: name.to_owned(), datatype, shape: shape.to_vec(), data, nulls: vec![], parameters: vec![] }
}

pub(crate) fn floats(name: &str, values: &[f32]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, Datatype::Fp32, &[values.len()], Data::Fixed(bytes.into()))
}

pub(crate) fn wanted(name: &str, binary: Option<bool>) -> RequestedOutput {
    RequestedOutput { name: name.to_owned(), binary, parameters: vec![] }
}
