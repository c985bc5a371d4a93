//! The binary tensor extension: JSON first, then raw tensors, back to back in the order of the inputs.
//!
//! Row-major, little endian, tightly packed; a `BYTES` element is its length (4 bytes, unsigned) and
//! then its bytes. gRPC's raw contents have the same layout.

use crate::error::{Error, Result};
use crate::tensor::{Data, Datatype, Strings, Tensor};
use bytes::Bytes;

/// The name of the header that says how long the JSON part is.
pub const HEADER: &str = "Inference-Header-Content-Length";

/// Splits a body into its JSON (the first `json_length` bytes) and the raw tensors.
pub fn split(body: &Bytes, json_length: usize) -> Result<(&[u8], Bytes)> {
    match body.get(..json_length) {
        Some(json) => Ok((json, body.slice(json_length..))),
        None => Err(Error::invalid(format!(
            "header {HEADER}: {json_length} is more than the body, which has {} bytes",
            body.len()
        ))),
    }
}

/// The elements of a tensor from its raw bytes, without a copy where their size is fixed.
/// The error is a sentence without the tensor's name.
pub fn decode(raw: &Bytes, datatype: Datatype, shape: &[usize]) -> std::result::Result<Data, String> {
    let count = Tensor::count(shape).ok_or_else(|| format!("shape {shape:?} is too large"))?;
    let Some(size) = datatype.size() else {
        return strings(raw, shape, count).map(Data::Strings);
    };
    match count.checked_mul(size) {
        Some(needed) if needed == raw.len() => {}
        Some(needed) => {
            return Err(format!("{} bytes, but shape {shape:?} of {datatype} needs {needed}", raw.len()));
        }
        None => return Err(format!("shape {shape:?} is too large")),
    }
    if datatype == Datatype::Bool {
        // NumPy views these bytes as they are, and its bool has no third value.
        if let Some(index) = raw.iter().position(|byte| *byte > 1) {
            return Err(format!("BOOL element {index} is neither 0 nor 1"));
        }
    }
    Ok(Data::Fixed(raw.clone()))
}

fn strings(raw: &[u8], shape: &[usize], count: usize) -> std::result::Result<Strings, String> {
    // Each element takes four bytes at least, so no claim allocates more than the body's size.
    let capacity = count.min(raw.len() / 4);
    let mut strings = Strings::with_capacity(capacity, raw.len() - capacity * 4);
    let mut rest = raw;
    while !rest.is_empty() {
        let index = strings.len();
        let offset = raw.len() - rest.len();
        let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(|| {
            format!("element {index} has {} bytes of its 4-byte length, at byte {offset}", rest.len())
        })?;
        let length = u32::from_le_bytes(*length) as usize;
        let element = tail.get(..length).ok_or_else(|| {
            format!("element {index} claims {length} bytes at byte {offset}, but {} are left", tail.len())
        })?;
        strings.push(element);
        rest = tail.get(length..).unwrap_or_default();
    }
    if strings.len() != count {
        return Err(format!("has {} elements, but shape {shape:?} needs {count}", strings.len()));
    }
    Ok(strings)
}

/// Bytes that a tensor takes, with the length prefixes of `BYTES`.
pub fn size(tensor: &Tensor) -> usize {
    match &tensor.data {
        Data::Fixed(bytes) => bytes.len(),
        Data::Strings(strings) => strings.blob_len() + 4 * strings.len(),
    }
}

/// Appends the raw bytes of a tensor.
/// An element of 4 GiB or more has no length in this format, which is an error.
pub fn encode(tensor: &Tensor, out: &mut Vec<u8>) -> Result<()> {
    match &tensor.data {
        Data::Fixed(bytes) => out.extend_from_slice(bytes),
        Data::Strings(strings) => {
            for element in strings.iter() {
                let length = u32::try_from(element.len()).map_err(|_| {
                    Error::invalid(format!(
                        "output {:?}: an element of {} bytes is too long for binary output",
                        tensor.name,
                        element.len()
                    ))
                })?;
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(element);
            }
        }
    }
    Ok(())
}
