//! KServe's V1 protocol: `{"instances": [...]}` in, `{"predictions": [...]}` out.
//!
//! V1 names no datatypes and no tensors; the rules are those of `column`. Rows of numbers are one
//! tensor, rows that are objects a tensor a key, and rows that mix strings and numbers a tensor a
//! position, which is what pandas would make of them. Two more forms of its tables are in `frame`.

use super::column::Column;
use super::fault::{quote, Fault, Parse, Problem, Within as _};
use super::frame::{self, Form};
use super::json::Cursor;
use super::{param, v2, write};
use crate::error::{Error, Kind, Result};
use crate::limits::Limits;
use crate::message::{InferRequest, InferResponse};
use crate::model::TensorSpec;
use crate::tensor::Tensor;
use bytes::Bytes;
use std::collections::HashMap;

/// The name of the tensor that rows without keys become.
pub const INPUT: &str = "input-0";

/// Reads a V1 request. Any fault is `InvalidInput`, with the path of the value.
pub fn decode(body: &Bytes, limits: &Limits) -> Result<InferRequest> {
    decode_for(body, limits, &[])
}

/// As `decode`, for a model whose inputs are known: what they tell of tables is used.
pub fn decode_for(body: &Bytes, limits: &Limits, specs: &[TensorSpec]) -> Result<InferRequest> {
    let mut cursor = Cursor::new(body, limits.json_depth);
    let request = request(&mut cursor, limits, specs)?;
    cursor.end()?;
    Ok(request)
}

fn request(cursor: &mut Cursor<'_>, limits: &Limits, specs: &[TensorSpec]) -> Parse<InferRequest> {
    let mut request = InferRequest::default();
    let mut rows: Option<&str> = None;
    let mut seen = 0;
    let mut first = param::enter_body(cursor, "instances")?;
    while let Some(key) = cursor.next_key(&mut first)? {
        param::once(cursor, &mut seen, &key, &["instances", "inputs", "parameters", "id"])?;
        match key.as_ref() {
            "instances" | "inputs" if rows.is_some() => {
                let what = "request body: has both \"instances\" and \"inputs\". Send one of them";
                return Err(Fault::value(cursor.position(), what));
            }
            "instances" => {
                rows = Some("instances");
                request.inputs = instances(cursor, "instances", limits, specs)?;
            }
            "inputs" => {
                rows = Some("inputs");
                request.inputs = match cursor.peek() {
                    Some(b'{') => columnar(cursor, limits).key("inputs")?,
                    _ => instances(cursor, "inputs", limits, specs)?,
                };
            }
            "parameters" => request.parameters = param::read(cursor).key("parameters")?,
            "id" => request.id = v2::id(cursor).key("id")?,
            _ => cursor.skip_value().key(&key)?,
        }
    }
    if rows.is_none() {
        let what = "request body: \"instances\" is missing. Send {\"instances\": [...]}";
        return Err(Fault::value(0, what));
    }
    Ok(request)
}

/// `{"inputs": {"name": values}}`: a tensor a key, rows and all.
fn columnar(cursor: &mut Cursor<'_>, limits: &Limits) -> Parse<Vec<Tensor>> {
    let mut inputs: Vec<Tensor> = Vec::new();
    let mut first = cursor.enter_object()?;
    while let Some(key) = cursor.next_key(&mut first)? {
        room(cursor, inputs.len(), limits)?;
        let mut column = Column::new();
        column.read(cursor).key(&key)?;
        inputs.push(column.finish(key.into_owned(), None));
    }
    if inputs.is_empty() {
        return Err(Fault::value(cursor.position(), "is empty. Send one tensor at least"));
    }
    match param::repeated(inputs.iter().map(|input| input.name.as_str())) {
        Some(index) => {
            let name = inputs.get(index).map(|input| input.name.as_str()).unwrap_or_default();
            Err(Fault::value(cursor.position(), "given twice")).key(name)
        }
        None => Ok(inputs),
    }
}

fn instances(
    cursor: &mut Cursor<'_>,
    key: &str,
    limits: &Limits,
    specs: &[TensorSpec],
) -> Parse<Vec<Tensor>> {
    let start = cursor.peek();
    if start != Some(b'[') {
        let fault = cursor.expected("a list");
        return Err(match fault.problem {
            Problem::Syntax => fault,
            _ => Fault::value(fault.at, format!("Expected {} to be a list", quote(key))),
        });
    }
    match frame::form(cursor) {
        Some(Form::Nested) => return frame::nested(cursor, limits, specs).key(key),
        Some(Form::Labelled) => return frame::labelled(cursor, limits, specs).key(key),
        None => {}
    }
    let mut peek = *cursor;
    peek.enter_array()?;
    if peek.peek() == Some(b'{') {
        let mut inputs = objects(cursor, limits).key(key)?;
        frame::unfold(&mut inputs, specs);
        return Ok(inputs);
    }
    let mut column = Column::new();
    let mut whole = *cursor;
    match column.read(&mut whole) {
        Ok(()) => {
            *cursor = whole;
            Ok(vec![column.finish(INPUT.to_owned(), None)])
        }
        // Flat rows that mix strings and numbers: every position is a column of its own.
        Err(fault) if fault.problem == Problem::Mixed && column.leaf() == Some(2) => {
            lists(cursor, limits).key(key)
        }
        Err(fault) => Err(fault).key(key),
    }
}

fn finish(columns: Vec<(String, Column)>, rows: usize) -> Vec<Tensor> {
    columns.into_iter().map(|(name, column)| column.finish(name, Some(rows))).collect()
}

fn room(cursor: &Cursor<'_>, index: usize, limits: &Limits) -> Parse<()> {
    if index < limits.tensors {
        return Ok(());
    }
    let what = format!("has more than {} columns, the limit of this server", limits.tensors);
    Err(Fault::value(cursor.position(), what))
}

/// Rows that are objects. The first one says which columns there are.
fn objects(cursor: &mut Cursor<'_>, limits: &Limits) -> Parse<Vec<Tensor>> {
    let mut columns: Vec<(String, Column)> = Vec::new();
    // How many rows each column has: a key twice or missing shows here.
    let mut filled: Vec<usize> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut row = 0;
    let mut first = cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        if cursor.peek() != Some(b'{') {
            return Err(cursor.expected("an object, as the rows before it")).index(row);
        }
        let mut next = 0;
        let mut first_key = cursor.enter_object()?;
        while let Some(key) = cursor.next_key(&mut first_key).index(row)? {
            let index = match columns.get(next) {
                // Rows mostly have their keys in the same order.
                Some((name, _)) if *name == key => next,
                _ => match by_name.get(key.as_ref()) {
                    Some(index) => *index,
                    None if row == 0 => {
                        room(cursor, columns.len(), limits).index(row)?;
                        let index = columns.len();
                        by_name.insert(key.clone().into_owned(), index);
                        columns.push((key.clone().into_owned(), Column::new()));
                        filled.push(0);
                        index
                    }
                    None => {
                        let what = format!("column {} is missing (row {row} has it)", quote(&key));
                        return Err(Fault::value(cursor.position(), what)).index(0);
                    }
                },
            };
            next = index + 1;
            let (Some((_, column)), Some(filled)) = (columns.get_mut(index), filled.get_mut(index)) else {
                continue;
            };
            if *filled > row {
                let fault = Fault::value(cursor.position(), "given twice");
                return Err(fault).key(&key).index(row);
            }
            *filled += 1;
            column.read(cursor).key(&key).index(row)?;
        }
        if columns.is_empty() {
            return Err(Fault::value(cursor.position(), "has no columns")).index(row);
        }
        if let Some(index) = filled.iter().position(|filled| *filled <= row) {
            let name = columns.get(index).map(|(name, _)| name.as_str()).unwrap_or_default();
            let what = format!("column {} is missing", quote(name));
            return Err(Fault::value(cursor.position(), what)).index(row);
        }
        row += 1;
    }
    Ok(finish(columns, row))
}

/// Rows that are lists, read column by column. The first one says how many columns there are.
fn lists(cursor: &mut Cursor<'_>, limits: &Limits) -> Parse<Vec<Tensor>> {
    let mut columns: Vec<(String, Column)> = Vec::new();
    let mut row = 0;
    let mut first = cursor.enter_array()?;
    while cursor.next_element(&mut first)? {
        let mut held = 0;
        let mut first_cell = cursor.enter_array().index(row)?;
        while cursor.next_element(&mut first_cell).index(row)? {
            if row == 0 {
                room(cursor, held, limits).index(row)?;
                columns.push((held.to_string(), Column::new()));
            }
            match columns.get_mut(held) {
                Some((_, column)) => column.read(cursor).index(held).index(row)?,
                None => cursor.skip_value().index(held).index(row)?,
            }
            held += 1;
        }
        if held != columns.len() {
            let what = format!("has length {held}, but those before it have length {}", columns.len());
            return Err(Fault::value(cursor.position(), what)).index(row);
        }
        row += 1;
    }
    Ok(finish(columns, row))
}

/// Writes a response: one output as nested lists; several of equal rows as a list of objects;
/// others as an object of nested lists.
///
/// `BYTES` that JSON cannot carry are `InvalidInput`; a tensor that does not hold what its shape
/// says, and a response without outputs, are `Model`.
pub fn encode(response: &InferResponse) -> Result<Bytes> {
    let outputs = &response.outputs;
    let size: usize = outputs.iter().map(|tensor| tensor.data.byte_len() * 4 + 64).sum();
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(b"{\"predictions\":");
    for tensor in outputs {
        write::check(tensor)?;
        empty_lists(tensor)?;
    }
    match outputs.as_slice() {
        [] => return Err(Error::new(Kind::Model, "the model returned no output")),
        [tensor] => nested(&mut out, tensor, &tensor.shape, 0)?,
        [head, rest @ ..] => {
            let rows = head.shape.first().copied();
            if let Some(rows) =
                rows.filter(|_| rest.iter().all(|tensor| tensor.shape.first() == rows.as_ref()))
            {
                records(&mut out, outputs, rows)?;
            } else {
                members(&mut out, outputs, |out, tensor| nested(out, tensor, &tensor.shape, 0))?;
            }
        }
    }
    out.push(b'}');
    Ok(out.into())
}

/// A shape such as `[1000000000, 0]` has no elements, but would be written as so many empty lists.
fn empty_lists(tensor: &Tensor) -> Result<()> {
    const MOST: usize = 1 << 20;
    let mut full = tensor.shape.iter().take_while(|axis| **axis > 0);
    let lists = full.try_fold(1_usize, |product, axis| product.checked_mul(*axis));
    if tensor.shape.contains(&0) && lists.is_none_or(|lists| lists > MOST) {
        let what = format!("output {:?}: shape {:?} is too large for V1", tensor.name, tensor.shape);
        return Err(Error::new(Kind::Model, what));
    }
    Ok(())
}

fn records(out: &mut Vec<u8>, outputs: &[Tensor], rows: usize) -> Result<()> {
    out.push(b'[');
    for row in 0..rows {
        if row > 0 {
            out.push(b',');
        }
        members(out, outputs, |out, tensor| {
            let shape = tensor.shape.get(1..).unwrap_or_default();
            nested(out, tensor, shape, row * Tensor::count(shape).unwrap_or_default())
        })?;
    }
    out.push(b']');
    Ok(())
}

fn members(
    out: &mut Vec<u8>,
    outputs: &[Tensor],
    value: impl Fn(&mut Vec<u8>, &Tensor) -> Result<()>,
) -> Result<()> {
    let mut separator = b'{';
    for tensor in outputs {
        out.push(separator);
        separator = b',';
        write::string(out, &tensor.name);
        out.push(b':');
        value(out, tensor)?;
    }
    out.push(b'}');
    Ok(())
}

/// The elements of `shape` from `start` on, as nested lists.
fn nested(out: &mut Vec<u8>, tensor: &Tensor, shape: &[usize], start: usize) -> Result<()> {
    let Some((axis, inner)) = shape.split_first() else {
        return write::elements(out, tensor, start, start + 1);
    };
    out.push(b'[');
    if inner.is_empty() {
        write::elements(out, tensor, start, start + axis)?;
    } else {
        let stride = Tensor::count(inner).unwrap_or_default();
        for index in 0..*axis {
            if index > 0 {
                out.push(b',');
            }
            nested(out, tensor, inner, start + index * stride)?;
        }
    }
    out.push(b']');
    Ok(())
}
