//! gRPC messages to tensors and back.
//!
//! Raw contents become tensors without a copy when they happen to be aligned to their element type.

mod contents;
mod wire;

pub use wire::WireCodec;

use crate::error::{Error, Kind, Result};
use crate::limits::Limits;
use crate::message::{InferRequest, InferResponse, RequestedOutput};
use crate::tensor::{Datatype, Param, Params, Tensor, MAX_AXES};
use bytes::Bytes;
use proto::infer_parameter::ParameterChoice;
use proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use proto::model_infer_response::InferOutputTensor;
use proto::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use std::collections::{HashMap, HashSet};

/// The protocol's messages, client and server.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
pub mod proto {
    include!("../../generated/inference.rs");
}

/// A decoded `ModelInferRequest`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The model asked for.
    pub model: String,
    /// Its version, where one was named.
    pub version: Option<String>,
    /// The request. Its `binary_output` says whether it came raw, and so how it is answered.
    pub request: InferRequest,
}

/// What `encode` needs to know of the request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The model that answered.
    pub model: String,
    /// Its version, or empty.
    pub version: String,
    /// The id to answer with.
    pub id: String,
    /// Whether the request was raw.
    pub raw: bool,
    /// The outputs wanted, in this order; none means all.
    pub outputs: Vec<RequestedOutput>,
}

/// A request from its message.
pub fn decode(message: ModelInferRequest, limits: &Limits) -> Result<Decoded> {
    check_count("outputs", message.outputs.len(), limits)?;
    check_unique("outputs", message.outputs.iter().map(|output| output.name.as_str()))?;
    let raw = !message.raw_input_contents.is_empty();
    let inputs = decode_tensors("input", message.inputs, message.raw_input_contents, limits)?;
    let outputs = message
        .outputs
        .into_iter()
        .enumerate()
        .map(|(index, output)| decode_output(&format!("outputs[{index}]"), output))
        .collect::<Result<_>>()?;
    let request = InferRequest {
        id: (!message.id.is_empty()).then_some(message.id),
        parameters: decode_parameters("parameters", message.parameters)?,
        inputs,
        outputs,
        binary_output: raw,
    };
    let version = (!message.model_version.is_empty()).then_some(message.model_version);
    Ok(Decoded { model: message.model_name, version, request })
}

/// The tensors of one message; `side` is `input` or `output`.
fn decode_tensors(
    side: &str,
    tensors: Vec<InferInputTensor>,
    raw_contents: Vec<Bytes>,
    limits: &Limits,
) -> Result<Vec<Tensor>> {
    let field = format!("{side}s");
    check_count(&field, tensors.len(), limits)?;
    if !raw_contents.is_empty() && raw_contents.len() != tensors.len() {
        return Err(Error::invalid(format!(
            "raw_{side}_contents: must have one entry for each of the {} {field}, got {}. Send all raw, or none.",
            tensors.len(),
            raw_contents.len()
        )));
    }
    check_unique(&field, tensors.iter().map(|tensor| tensor.name.as_str()))?;
    let mut raw_contents = raw_contents.into_iter();
    tensors
        .into_iter()
        .enumerate()
        .map(|(index, tensor)| decode_tensor(&format!("{field}[{index}]"), tensor, raw_contents.next()))
        .collect()
}

fn decode_tensor(at: &str, input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor> {
    let name = input.name;
    let datatype = Datatype::parse(&input.datatype).ok_or_else(|| {
        Error::invalid(format!(
            "{at}.datatype: must be one of {}, got {:?}.",
            Datatype::ALL.map(Datatype::name).join(", "),
            clip(&input.datatype)
        ))
    })?;
    let shape = decode_shape(at, &input.shape)?;
    let count = Tensor::count(&shape).ok_or_else(|| {
        Error::invalid(format!("{at}.shape: {:?} has more elements than memory.", clip_shape(&input.shape)))
    })?;
    if input.parameters.contains_key("shared_memory_region") {
        return Err(Error::new(
            Kind::Unimplemented,
            format!("{at}: shared memory is not supported. Send the tensor's elements."),
        ));
    }
    let parameters = decode_parameters(&format!("{at}.parameters"), input.parameters)?;
    let place = contents::Place { at, name: clip(&name), datatype, count };
    let data = match (raw, input.contents) {
        (Some(raw), None) => place.raw(raw)?,
        (Some(raw), Some(typed)) if typed == InferTensorContents::default() => place.raw(raw)?,
        (Some(_), Some(_)) => {
            return Err(Error::invalid(format!(
                "{at}.contents: must be empty beside raw contents. Send the elements of {:?} once.",
                clip(&name)
            )));
        }
        (None, typed) => place.typed(typed.unwrap_or_default())?,
    };
    Ok(Tensor { name, datatype, shape, data, nulls: Vec::new(), parameters })
}

fn decode_shape(at: &str, shape: &[i64]) -> Result<Vec<usize>> {
    if shape.len() > MAX_AXES {
        return Err(Error::invalid(format!(
            "{at}.shape: must have at most {MAX_AXES} axes, got {}.",
            shape.len()
        )));
    }
    shape
        .iter()
        .enumerate()
        .map(|(axis, &length)| {
            usize::try_from(length)
                .map_err(|_| Error::invalid(format!("{at}.shape[{axis}]: must be at least 0, got {length}.")))
        })
        .collect()
}

fn decode_output(at: &str, output: InferRequestedOutputTensor) -> Result<RequestedOutput> {
    let parameters = decode_parameters(&format!("{at}.parameters"), output.parameters)?;
    Ok(RequestedOutput { name: output.name, binary: None, parameters })
}

/// Parameters, sorted by name: a protobuf map has no order, and batches join requests with equal ones.
fn decode_parameters(at: &str, parameters: HashMap<String, InferParameter>) -> Result<Params> {
    let mut decoded = Params::with_capacity(parameters.len());
    for (name, parameter) in parameters {
        let value = match parameter.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Param::Bool(value),
            Some(ParameterChoice::Int64Param(value)) => Param::Int(value),
            Some(ParameterChoice::StringParam(value)) => Param::Str(value),
            Some(ParameterChoice::DoubleParam(value)) => Param::Double(value),
            Some(ParameterChoice::Uint64Param(value)) => Param::Int(value.try_into().map_err(|_| {
                Error::invalid(format!("{at}[{:?}]: must be at most {}, got {value}.", clip(&name), i64::MAX))
            })?),
            None => {
                return Err(Error::invalid(format!(
                    "{at}[{:?}]: has no value. Set bool_param, int64_param, string_param or double_param.",
                    clip(&name)
                )));
            }
        };
        decoded.push((name, value));
    }
    decoded.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(decoded)
}

fn check_count(at: &str, count: usize, limits: &Limits) -> Result<()> {
    if count <= limits.tensors {
        return Ok(());
    }
    Err(Error::invalid(format!("{at}: must be at most {} tensors, got {count}.", limits.tensors)))
}

fn check_unique<'a>(at: &str, names: impl ExactSizeIterator<Item = &'a str>) -> Result<()> {
    if names.len() < 2 {
        return Ok(()); // the common case needs no set
    }
    let mut seen = HashSet::with_capacity(names.len());
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(Error::invalid(format!(
                "{at}[{index}].name: must be unique, got {:?} again.",
                clip(name)
            )));
        }
    }
    Ok(())
}

/// The message that answers a request: raw when the request was raw, or when an output has a datatype
/// that no typed field takes.
pub fn encode(response: InferResponse, envelope: Envelope) -> Result<ModelInferResponse> {
    let outputs = select(response.outputs, &envelope.outputs)?;
    let raw = envelope.raw
        || outputs.iter().any(|output| matches!(output.datatype, Datatype::Fp16 | Datatype::Bf16));
    let mut message = ModelInferResponse {
        model_name: envelope.model,
        model_version: envelope.version,
        id: envelope.id,
        parameters: encode_parameters(response.parameters),
        outputs: Vec::with_capacity(outputs.len()),
        raw_output_contents: Vec::with_capacity(if raw { outputs.len() } else { 0 }),
    };
    for output in outputs {
        let contents = if raw {
            message.raw_output_contents.push(contents::raw_of(&output.name, output.data)?);
            None
        } else {
            Some(contents::typed_of(output.datatype, output.data))
        };
        message.outputs.push(InferOutputTensor {
            name: output.name,
            datatype: output.datatype.name().to_owned(),
            shape: output.shape.iter().map(|&axis| axis as i64).collect(),
            parameters: encode_parameters(output.parameters),
            contents,
        });
    }
    Ok(message)
}

/// The outputs that were asked for, in that order.
fn select(mut outputs: Vec<Tensor>, wanted: &[RequestedOutput]) -> Result<Vec<Tensor>> {
    if wanted.is_empty() {
        return Ok(outputs);
    }
    let names: Vec<String> = outputs.iter().map(|output| output.name.clone()).collect();
    wanted
        .iter()
        .enumerate()
        .map(|(index, want)| {
            let found = outputs.iter().position(|output| output.name == want.name);
            found.map(|position| outputs.swap_remove(position)).ok_or_else(|| {
                let known: Vec<String> = names.iter().map(|name| format!("{:?}", clip(name))).collect();
                Error::invalid(format!(
                    "outputs[{index}].name: the model has no output {:?}. It has {}.",
                    clip(&want.name),
                    known.join(", ")
                ))
            })
        })
        .collect()
}

fn encode_parameters(parameters: Params) -> HashMap<String, InferParameter> {
    parameters
        .into_iter()
        .map(|(name, value)| {
            let choice = match value {
                Param::Bool(value) => ParameterChoice::BoolParam(value),
                Param::Int(value) => ParameterChoice::Int64Param(value),
                Param::Double(value) => ParameterChoice::DoubleParam(value),
                Param::Str(value) => ParameterChoice::StringParam(value),
            };
            (name, InferParameter { parameter_choice: Some(choice) })
        })
        .collect()
}

/// The message that asks a model: the other way round of `decode`, for tests and for servers that ask
/// other servers. Raw where the request says `binary_output` or has FP16 or BF16 inputs.
pub fn encode_request(decoded: Decoded) -> Result<ModelInferRequest> {
    let Decoded { model, version, request } = decoded;
    let raw = request.binary_output
        || request.inputs.iter().any(|input| matches!(input.datatype, Datatype::Fp16 | Datatype::Bf16));
    let mut message = ModelInferRequest {
        model_name: model,
        model_version: version.unwrap_or_default(),
        id: request.id.unwrap_or_default(),
        parameters: encode_parameters(request.parameters),
        outputs: request
            .outputs
            .into_iter()
            .map(|output| InferRequestedOutputTensor {
                name: output.name,
                parameters: encode_parameters(output.parameters),
            })
            .collect(),
        ..ModelInferRequest::default()
    };
    for input in request.inputs {
        let contents = if raw {
            message.raw_input_contents.push(contents::raw_of(&input.name, input.data)?);
            None
        } else {
            Some(contents::typed_of(input.datatype, input.data))
        };
        message.inputs.push(InferInputTensor {
            name: input.name,
            datatype: input.datatype.name().to_owned(),
            shape: input.shape.iter().map(|&axis| axis as i64).collect(),
            parameters: encode_parameters(input.parameters),
            contents,
        });
    }
    Ok(message)
}

/// The answer in a message: the other way round of `encode`.
pub fn decode_response(message: ModelInferResponse, limits: &Limits) -> Result<InferResponse> {
    let tensors = message.outputs.into_iter().map(|output| InferInputTensor {
        name: output.name,
        datatype: output.datatype,
        shape: output.shape,
        parameters: output.parameters,
        contents: output.contents,
    });
    Ok(InferResponse {
        outputs: decode_tensors("output", tensors.collect(), message.raw_output_contents, limits)?,
        parameters: decode_parameters("parameters", message.parameters)?,
        headers: Vec::new(),
    })
}

/// As much of a client's word as an error repeats.
fn clip(word: &str) -> &str {
    const LONGEST: usize = 100;
    let mut end = word.len().min(LONGEST);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    word.get(..end).unwrap_or(word)
}

fn clip_shape(shape: &[i64]) -> &[i64] {
    shape.get(..16).unwrap_or(shape)
}
