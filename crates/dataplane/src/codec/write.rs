//! JSON text from typed values.

use crate::error::{Error, Kind, Result};
use crate::tensor::{Data, Datatype, Tensor};
use half::{bf16, f16};

/// Writes a string in quotes, with what JSON demands escaped.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // All of it is looked at, which goes many bytes at a time.
    if rest.iter().fold(true, |plain, byte| plain & !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        out.extend_from_slice(rest);
        out.push(b'"');
        return;
    }
    while let Some(len) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (run, tail) = rest.split_at(len);
        out.extend_from_slice(run);
        if let Some((byte, after)) = tail.split_first() {
            escape(out, *byte);
            rest = after;
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes a whole number.
pub(super) fn int(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes the shortest text that reads back as this `f64` or `f32`; NaN and ±Inf, which JSON lacks,
/// as `null`.
pub(super) fn float(out: &mut Vec<u8>, value: impl ryu::Float + Into<f64>) {
    if value.into().is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Checks that a tensor of a response holds what its shape says, and returns the number of elements.
pub(super) fn check(tensor: &Tensor) -> Result<usize> {
    let name = &tensor.name;
    let wrong = |what: String| Error::new(Kind::Model, format!("output {name:?}: {what}"));
    let shape = &tensor.shape;
    let count = Tensor::count(shape).ok_or_else(|| wrong(format!("shape {shape:?} overflows")))?;
    let held = match (&tensor.data, tensor.datatype.size()) {
        (Data::Fixed(bytes), Some(size)) if bytes.len() % size == 0 => bytes.len() / size,
        (Data::Strings(strings), None) => strings.len(),
        _ => return Err(wrong(format!("its data is not of datatype {}", tensor.datatype))),
    };
    if held != count {
        return Err(wrong(format!("{held} elements, but shape {shape:?} needs {count}")));
    }
    Ok(count)
}

/// Writes the elements `from..to`, separated by commas.
pub(super) fn elements(out: &mut Vec<u8>, tensor: &Tensor, from: usize, to: usize) -> Result<()> {
    macro_rules! each {
        ($bytes:expr, $size:literal, $write:expr) => {{
            let part = $bytes.get(from * $size..to * $size).unwrap_or_default();
            let (chunks, _) = part.as_chunks::<$size>();
            for chunk in chunks {
                ($write)(out, *chunk);
                out.push(b',');
            }
        }};
    }
    type Out = Vec<u8>;
    let start = out.len();
    match &tensor.data {
        Data::Strings(strings) => {
            for index in from..to {
                text(out, tensor, index, strings.get(index).unwrap_or_default())?;
                out.push(b',');
            }
        }
        Data::Fixed(bytes) => match tensor.datatype {
            Datatype::Bool => each!(bytes, 1, |out: &mut Out, [byte]: [u8; 1]| {
                out.extend_from_slice(if byte == 0 { b"false" } else { b"true" });
            }),
            Datatype::Uint8 => each!(bytes, 1, |out: &mut Out, b| int(out, u8::from_le_bytes(b))),
            Datatype::Uint16 => each!(bytes, 2, |out: &mut Out, b| int(out, u16::from_le_bytes(b))),
            Datatype::Uint32 => each!(bytes, 4, |out: &mut Out, b| int(out, u32::from_le_bytes(b))),
            Datatype::Uint64 => each!(bytes, 8, |out: &mut Out, b| int(out, u64::from_le_bytes(b))),
            Datatype::Int8 => each!(bytes, 1, |out: &mut Out, b| int(out, i8::from_le_bytes(b))),
            Datatype::Int16 => each!(bytes, 2, |out: &mut Out, b| int(out, i16::from_le_bytes(b))),
            Datatype::Int32 => each!(bytes, 4, |out: &mut Out, b| int(out, i32::from_le_bytes(b))),
            Datatype::Int64 => each!(bytes, 8, |out: &mut Out, b| int(out, i64::from_le_bytes(b))),
            Datatype::Fp16 => each!(bytes, 2, |out: &mut Out, b| float(out, f16::from_le_bytes(b).to_f32())),
            Datatype::Bf16 => {
                each!(bytes, 2, |out: &mut Out, b| float(out, bf16::from_le_bytes(b).to_f32()));
            }
            Datatype::Fp32 => each!(bytes, 4, |out: &mut Out, b| float(out, f32::from_le_bytes(b))),
            Datatype::Fp64 => each!(bytes, 8, |out: &mut Out, b| float(out, f64::from_le_bytes(b))),
            Datatype::Bytes => {}
        },
    }
    if out.len() > start {
        out.pop();
    }
    Ok(())
}

fn text(out: &mut Vec<u8>, tensor: &Tensor, index: usize, element: &[u8]) -> Result<()> {
    if element.is_empty() && tensor.nulls.binary_search(&index).is_ok() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    let text = std::str::from_utf8(element).map_err(|_| {
        Error::invalid(format!(
            "output {:?}: element {index} is not valid UTF-8, so JSON cannot carry it. \
             Ask for binary output (\"binary_data\": true, V2).",
            tensor.name
        ))
    })?;
    string(out, text);
    Ok(())
}
