//! Open Inference Protocol v2 over REST, with its binary tensor extension.

use super::fault::{clip, quote, Fault, Parse, Within as _};
use super::json::Cursor;
use super::{binary, element, param, write};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::message::{InferRequest, InferResponse, RequestedOutput};
use crate::tensor::{Datatype, Param, Params, Tensor, MAX_AXES};
use bytes::Bytes;
use std::borrow::Cow;

/// What the route and the request add to a response.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The model's name.
    pub model_name: &'a str,
    /// Its version, if it has one.
    pub model_version: Option<&'a str>,
    /// The request's id, or one of ours.
    pub id: &'a str,
}

/// An encoded response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// Length of its JSON part in bytes, when raw tensors follow it: the value of
    /// `Inference-Header-Content-Length`.
    pub json_length: Option<usize>,
}

/// Reads an inference request. `json_length` is the value of `Inference-Header-Content-Length`.
///
/// Binary tensors are slices of `body`, not copies. Any fault is `InvalidInput`, with the path of
/// the field.
pub fn decode(body: &Bytes, json_length: Option<usize>, limits: &Limits) -> Result<InferRequest> {
    let (json, raw) = match json_length {
        Some(length) => {
            let (json, raw) = binary::split(body, length)?;
            (json, Some(raw))
        }
        None => (body.as_ref(), None),
    };
    let mut cursor = Cursor::new(json, limits.json_depth);
    let mut reader = Reader { limits, raw: raw.clone(), used: 0 };
    let request = reader.request(&mut cursor)?;
    cursor.end()?;
    if let Some(raw) = raw {
        if reader.used != raw.len() {
            return Err(Error::invalid(format!(
                "request body: {} bytes follow the JSON, but the inputs' binary_data_size add up to {}",
                raw.len(),
                reader.used
            )));
        }
    }
    Ok(request)
}

struct Reader<'l> {
    limits: &'l Limits,
    /// The raw tensors, if the header is there.
    raw: Option<Bytes>,
    /// Bytes of `raw` that the inputs so far have claimed.
    used: usize,
}

impl Reader<'_> {
    fn request(&mut self, cursor: &mut Cursor<'_>) -> Parse<InferRequest> {
        let mut request = InferRequest::default();
        let mut seen = 0;
        let mut first = param::enter_body(cursor, "inputs")?;
        while let Some(key) = cursor.next_key(&mut first)? {
            param::once(cursor, &mut seen, &key, &["id", "parameters", "inputs", "outputs"])?;
            match key.as_ref() {
                "id" => request.id = id(cursor).key("id")?,
                "parameters" => {
                    let at = cursor.position();
                    request.parameters = param::read(cursor).key("parameters")?;
                    let binary = param::take_bool(&mut request.parameters, "binary_data_output", at);
                    request.binary_output = binary.key("parameters")?.unwrap_or_default();
                }
                "inputs" => request.inputs = self.inputs(cursor).key("inputs")?,
                "outputs" => request.outputs = self.outputs(cursor).key("outputs")?,
                _ => cursor.skip_value().key(&key)?,
            }
        }
        if request.inputs.is_empty() {
            return Err(Fault::value(0, "request body: \"inputs\" is missing. Send {\"inputs\": [...]}"));
        }
        Ok(request)
    }

    fn inputs(&mut self, cursor: &mut Cursor<'_>) -> Parse<Vec<Tensor>> {
        let mut inputs: Vec<Tensor> = Vec::new();
        let mut first = cursor.enter_array()?;
        while cursor.next_element(&mut first)? {
            let index = inputs.len();
            self.room(cursor, index)?;
            inputs.push(self.input(cursor).index(index)?);
        }
        unique(cursor, inputs.iter().map(|input| input.name.as_str()))?;
        if inputs.is_empty() {
            return Err(Fault::value(cursor.position(), "is empty. Send one tensor at least"));
        }
        Ok(inputs)
    }

    fn input(&mut self, cursor: &mut Cursor<'_>) -> Parse<Tensor> {
        let mut name: Option<Cow<'_, str>> = None;
        let mut datatype = None;
        let mut shape: Option<(Vec<usize>, usize)> = None;
        let mut parameters = Params::new();
        let mut data = None;
        // Data that came before what is needed to read it.
        let mut later = None;
        let mut seen = 0;
        let mut first = cursor.enter_object()?;
        let start = cursor.position();
        while let Some(key) = cursor.next_key(&mut first)? {
            param::once(cursor, &mut seen, &key, &["name", "datatype", "shape", "parameters", "data"])?;
            match key.as_ref() {
                "name" => name = Some(cursor.string().key("name")?),
                "datatype" => datatype = Some(datatype_of(cursor).key("datatype")?),
                "shape" => shape = Some(shape_of(cursor).key("shape")?),
                "parameters" => parameters = param::read(cursor).key("parameters")?,
                "data" if cursor.literal("null") => {}
                "data" => {
                    if let (Some(name), Some(datatype), Some((shape, count))) = (&name, datatype, &shape) {
                        data =
                            Some(element::array(cursor, datatype, shape, *count, &clip(name)).key("data")?);
                    } else {
                        cursor.peek();
                        later = Some(*cursor);
                        cursor.skip_value().key("data")?;
                    }
                }
                _ => cursor.skip_value().key(&key)?,
            }
        }
        let missing = |what: &str| Fault::value(start, format!("'{what}' is missing"));
        let name = name.ok_or_else(|| missing("name"))?;
        let datatype = datatype.ok_or_else(|| missing("datatype"))?;
        let (shape, count) = shape.ok_or_else(|| missing("shape"))?;
        if let Some(mut then) = later {
            data = Some(element::array(&mut then, datatype, &shape, count, &clip(&name)).key("data")?);
        }
        let size = match param::take(&mut parameters, "binary_data_size") {
            None => None,
            Some(Param::Int(size)) if size >= 0 => Some(size as usize),
            Some(other) => {
                let what = format!("expected a number of bytes, got {}", param::describe(&other));
                return Err(Fault::value(start, what)).key("binary_data_size").key("parameters");
            }
        };
        let shown = clip(&name);
        let (data, nulls) = match (data, size) {
            (Some(data), None) => data,
            (None, Some(size)) => {
                let raw = self.raw(size).map_err(|what| Fault::value(start, what));
                let raw = raw.key("binary_data_size").key("parameters")?;
                let data = binary::decode(&raw, datatype, &shape);
                let what = |what| format!("binary data of input '{shown}': {what}");
                (data.map_err(|problem| Fault::value(start, what(problem)))?, Vec::new())
            }
            (Some(_), Some(_)) => {
                let what = format!("input '{shown}' has both 'data' and binary_data_size. Send one of them");
                return Err(Fault::value(start, what));
            }
            (None, None) => {
                return Err(Fault::value(start, format!("'data' field is missing for input '{shown}'")));
            }
        };
        Ok(Tensor { name: name.into_owned(), datatype, shape, data, nulls, parameters })
    }

    /// The next `size` bytes of the raw tensors.
    fn raw(&mut self, size: usize) -> std::result::Result<Bytes, String> {
        let Some(raw) = &self.raw else {
            return Err(format!("needs header {}, which is missing", binary::HEADER));
        };
        let left = raw.len() - self.used;
        if size > left {
            return Err(format!("{size} bytes, but only {left} of the body are left for this input"));
        }
        let from = self.used;
        self.used += size;
        Ok(raw.slice(from..self.used))
    }

    fn outputs(&self, cursor: &mut Cursor<'_>) -> Parse<Vec<RequestedOutput>> {
        let mut outputs: Vec<RequestedOutput> = Vec::new();
        if cursor.literal("null") {
            return Ok(outputs);
        }
        let mut first = cursor.enter_array()?;
        while cursor.next_element(&mut first)? {
            let index = outputs.len();
            self.room(cursor, index)?;
            outputs.push(output(cursor).index(index)?);
        }
        unique(cursor, outputs.iter().map(|output| output.name.as_str()))?;
        Ok(outputs)
    }

    fn room(&self, cursor: &Cursor<'_>, index: usize) -> Parse<()> {
        if index < self.limits.tensors {
            return Ok(());
        }
        let what = format!("has more than {} tensors, the limit of this server", self.limits.tensors);
        Err(Fault::value(cursor.position(), what))
    }
}

fn unique<'n>(cursor: &Cursor<'_>, mut names: impl ExactSizeIterator<Item = &'n str> + Clone) -> Parse<()> {
    let Some(index) = param::repeated(names.clone()) else { return Ok(()) };
    let name = quote(names.nth(index).unwrap_or_default());
    Err(Fault::value(cursor.position(), format!("the name {name} is taken by another one")))
        .key("name")
        .index(index)
}

fn output(cursor: &mut Cursor<'_>) -> Parse<RequestedOutput> {
    let mut name = None;
    let mut parameters = Params::new();
    let mut seen = 0;
    let mut first = cursor.enter_object()?;
    let start = cursor.position();
    while let Some(key) = cursor.next_key(&mut first)? {
        param::once(cursor, &mut seen, &key, &["name", "parameters"])?;
        match key.as_ref() {
            "name" => name = Some(cursor.string().key("name")?.into_owned()),
            "parameters" => parameters = param::read(cursor).key("parameters")?,
            _ => cursor.skip_value().key(&key)?,
        }
    }
    let name = name.ok_or_else(|| Fault::value(start, "'name' is missing"))?;
    let binary = param::take_bool(&mut parameters, "binary_data", start).key("parameters")?;
    Ok(RequestedOutput { name, binary, parameters })
}

/// An id: a string, or a number as it is written; `null` is none.
pub(super) fn id(cursor: &mut Cursor<'_>) -> Parse<Option<String>> {
    match cursor.peek() {
        Some(b'"') => cursor.string().map(|id| Some(id.into_owned())),
        Some(b'-' | b'0'..=b'9') => {
            let start = cursor.position();
            cursor.decimal()?;
            let text = cursor.bytes.get(start..cursor.position()).unwrap_or_default();
            Ok(Some(String::from_utf8_lossy(text).into_owned()))
        }
        _ if cursor.literal("null") => Ok(None),
        _ => Err(cursor.expected("a string")),
    }
}

fn datatype_of(cursor: &mut Cursor<'_>) -> Parse<Datatype> {
    let at = cursor.position();
    let text = cursor.string()?;
    Datatype::parse(&text).ok_or_else(|| {
        let known: Vec<_> = Datatype::ALL.iter().map(|datatype| datatype.name()).collect();
        Fault::value(at, format!("{} is no datatype. Use one of {}", quote(&text), known.join(", ")))
    })
}

fn shape_of(cursor: &mut Cursor<'_>) -> Parse<(Vec<usize>, usize)> {
    let mut shape = Vec::new();
    let mut first = cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        let index = shape.len();
        if index == MAX_AXES {
            return Err(Fault::value(cursor.position(), format!("has more than {MAX_AXES} axes")));
        }
        let number = cursor.decimal().index(index)?;
        let axis = number.to_int(cursor.bytes).ok().and_then(|axis| usize::try_from(axis).ok());
        let Some(axis) = axis else {
            let what = format!("expected a length of 0 or more, got {}", number.text(cursor.bytes));
            return Err(Fault::value(number.start, what)).index(index);
        };
        shape.push(axis);
    }
    match Tensor::count(&shape) {
        // Binary sizes are bytes: the largest element has eight.
        Some(count) if count.checked_mul(8).is_some() => Ok((shape, count)),
        _ => Err(Fault::value(cursor.position(), format!("{shape:?} has too many elements"))),
    }
}

/// Writes a response: `outputs` picks and orders the tensors (empty: all of them), and an output's
/// own `binary` goes before `binary_default`. `data` is always flat.
///
/// An unknown output and `BYTES` that JSON cannot carry are `InvalidInput`; a tensor that does not
/// hold what its shape says is `Model`.
pub fn encode(
    response: &InferResponse,
    head: &Head<'_>,
    outputs: &[RequestedOutput],
    binary_default: bool,
) -> Result<Encoded> {
    let mut chosen: Vec<(&Tensor, bool)> = Vec::new();
    for (index, wanted) in outputs.iter().enumerate() {
        let tensor = response.outputs.iter().find(|tensor| tensor.name == wanted.name);
        let tensor = tensor.ok_or_else(|| unknown(index, &wanted.name, &response.outputs))?;
        chosen.push((tensor, wanted.binary.unwrap_or(binary_default)));
    }
    if outputs.is_empty() {
        chosen.extend(response.outputs.iter().map(|tensor| (tensor, binary_default)));
    }
    // Text of a number is some ten bytes; raw tensors are known to the byte.
    let guess: usize =
        chosen.iter().map(|(tensor, raw)| 128 + binary::size(tensor) * (4 - 3 * usize::from(*raw))).sum();
    let mut out = Vec::with_capacity(guess + 128);
    out.extend_from_slice(b"{\"model_name\":");
    write::string(&mut out, head.model_name);
    if let Some(version) = head.model_version {
        out.extend_from_slice(b",\"model_version\":");
        write::string(&mut out, version);
    }
    out.extend_from_slice(b",\"id\":");
    write::string(&mut out, head.id);
    out.push(b',');
    param::write(&mut out, &response.parameters, None);
    out.extend_from_slice(b"\"outputs\":[");
    for (index, (tensor, raw)) in chosen.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_output(&mut out, tensor, *raw)?;
    }
    out.extend_from_slice(b"]}");
    let json_length = chosen.iter().any(|(_, raw)| *raw).then_some(out.len());
    for (tensor, _) in chosen.iter().filter(|(_, raw)| *raw) {
        binary::encode(tensor, &mut out)?;
    }
    Ok(Encoded { body: out.into(), json_length })
}

fn unknown(index: usize, name: &str, outputs: &[Tensor]) -> Error {
    let known: Vec<_> = outputs.iter().map(|tensor| quote(&tensor.name)).collect();
    Error::invalid(format!(
        "outputs[{index}].name: the model has no output {}. It has {}.",
        quote(name),
        known.join(", ")
    ))
}

fn write_output(out: &mut Vec<u8>, tensor: &Tensor, raw: bool) -> Result<()> {
    let count = write::check(tensor)?;
    out.extend_from_slice(b"{\"name\":");
    write::string(out, &tensor.name);
    out.extend_from_slice(b",\"datatype\":\"");
    out.extend_from_slice(tensor.datatype.name().as_bytes());
    out.extend_from_slice(b"\",\"shape\":[");
    for (index, axis) in tensor.shape.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write::int(out, *axis);
    }
    out.extend_from_slice(b"],");
    param::write(out, &tensor.parameters, raw.then(|| binary::size(tensor)));
    if raw {
        out.pop(); // the comma after the parameters
    } else {
        out.extend_from_slice(b"\"data\":[");
        write::elements(out, tensor, 0, count)?;
        out.push(b']');
    }
    out.push(b'}');
    Ok(())
}
