//! Requests and answers between the protocols and the models, whatever protocol they travel by.

use crate::error::Error;
use crate::tensor::{Params, Tensor};
use bytes::Bytes;
use std::time::Instant;
use tokio::sync::mpsc;

/// An output that a client asked for by name.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedOutput {
    /// Name of the output.
    pub name: String,
    /// `binary_data`: whether it should come as binary; `None` leaves it to the request.
    pub binary: Option<bool>,
    /// Other parameters.
    pub parameters: Params,
}

/// A decoded inference request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferRequest {
    /// The client's id for it, echoed in the answer.
    pub id: Option<String>,
    /// Parameters of the whole request, without `binary_data_output`.
    pub parameters: Params,
    /// Input tensors, with unique names.
    pub inputs: Vec<Tensor>,
    /// Outputs asked for; empty means all.
    pub outputs: Vec<RequestedOutput>,
    /// `binary_data_output`: the default for outputs that say nothing themselves.
    pub binary_output: bool,
}

/// What a model answered, before it is encoded for a protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InferResponse {
    /// Output tensors.
    pub outputs: Vec<Tensor>,
    /// Parameters of the whole response.
    pub parameters: Params,
    /// Headers (gRPC: metadata) that the model sets.
    pub headers: Vec<(String, String)>,
}

/// What the client wants from the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// V1 `:predict`, V2 `infer`.
    Predict,
    /// V1 `:explain`.
    Explain,
}

/// The protocol that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// KServe V1, REST.
    V1,
    /// Open Inference Protocol v2, REST.
    V2,
    /// Open Inference Protocol v2, gRPC.
    Grpc,
}

impl Protocol {
    /// The spelling used in metrics and given to models.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Grpc => "grpc",
        }
    }
}

/// What is asked of the model: tensors where the protocol and the model allow it, else the body.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Decoded tensors.
    Tensors(InferRequest),
    /// A V1 body for a model that reads V1 payloads itself, as it came (already decompressed).
    Raw(Bytes),
}

/// One request to a model.
#[derive(Debug)]
pub struct Call {
    /// Id of the request: the client's header `x-request-id`, or one of ours.
    pub request_id: String,
    /// What is wanted.
    pub verb: Verb,
    /// How it came.
    pub protocol: Protocol,
    /// HTTP headers or gRPC metadata, names in lower case. Left empty for models that do not ask
    /// for them (`Options::wants_headers`).
    pub headers: Vec<(String, String)>,
    /// The request itself.
    pub payload: Payload,
    /// When nobody waits any more.
    pub deadline: Option<Instant>,
}

/// A model's answer.
#[derive(Debug)]
pub enum Answer {
    /// Tensors, to be encoded for the protocol of the request.
    Tensors(InferResponse),
    /// A whole body, sent as it is.
    Raw {
        /// HTTP status.
        status: u16,
        /// Media type of the body.
        content_type: String,
        /// Headers that the model sets.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// A body that comes in parts. The sender's end closes it; an error ends it early.
    Stream {
        /// Media type of the body.
        content_type: String,
        /// Headers that the model sets.
        headers: Vec<(String, String)>,
        /// The parts, with back-pressure.
        parts: mpsc::Receiver<Result<Bytes, Error>>,
    },
}
