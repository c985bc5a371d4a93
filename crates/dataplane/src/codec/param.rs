//! Parameters (`$parameters`): flat, of bools, numbers and strings.

use super::fault::{quote, Fault, Parse, Within as _};
use super::json::Cursor;
use super::write;
use crate::tensor::{Param, Params};
use std::collections::HashSet;

/// Most parameters of a request or tensor: each takes ten times the memory of its text.
const MOST: usize = 1024;

/// Reads an object of parameters, or `null` for none.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Parse<Params> {
    let mut params = Params::new();
    if cursor.literal("null") {
        return Ok(params);
    }
    let mut first = cursor.enter_object()?;
    while let Some(key) = cursor.next_key(&mut first)? {
        if params.len() == MOST {
            return Err(Fault::value(cursor.position(), format!("has more than {MOST} parameters")));
        }
        let value = value(cursor).key(&key)?;
        params.push((key.into_owned(), value));
    }
    match repeated(params.iter().map(|(key, _)| key.as_str())) {
        Some(index) => {
            let key = params.get(index).map(|(key, _)| key.as_str()).unwrap_or_default();
            Err(Fault::value(cursor.position(), "given twice")).key(key)
        }
        None => Ok(params),
    }
}

/// The index of the first name that has come before.
pub(super) fn repeated<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Option<usize> {
    if names.len() < 2 {
        return None;
    }
    let mut seen = HashSet::with_capacity(names.len());
    names.enumerate().find(|(_, name)| !seen.insert(*name)).map(|(index, _)| index)
}

/// Notes a known key of an object in the bits of `seen`; it may come once. Servers that take the
/// first and servers that take the last would see two different requests.
pub(super) fn once(cursor: &Cursor<'_>, seen: &mut u32, key: &str, known: &[&str]) -> Parse<()> {
    let Some(bit) = known.iter().position(|name| *name == key) else { return Ok(()) };
    if *seen & (1 << bit) != 0 {
        return Err(Fault::value(cursor.position(), "given twice")).key(key);
    }
    *seen |= 1 << bit;
    Ok(())
}

/// Enters a request's body, an object; a list alone is told the key that it belongs under.
pub(super) fn enter_body(cursor: &mut Cursor<'_>, key: &str) -> Parse<bool> {
    if cursor.peek() == Some(b'[') {
        let what = format!("request body: is a list. Send {{{}: [...]}}", quote(key));
        return Err(Fault::value(cursor.position(), what));
    }
    cursor.enter_object()
}

fn value(cursor: &mut Cursor<'_>) -> Parse<Param> {
    Ok(match cursor.peek() {
        Some(b'"') => Param::Str(cursor.string()?.into_owned()),
        Some(b't' | b'f') => Param::Bool(cursor.boolean()?),
        Some(b'-' | b'0'..=b'9') => {
            let number = cursor.decimal()?;
            if number.plain {
                let value = number.to_int(cursor.bytes).ok().and_then(|value| i64::try_from(value).ok());
                Param::Int(value.ok_or_else(|| number.misfit(cursor.bytes, "a signed 64-bit integer"))?)
            } else {
                Param::Double(number.to_f64(cursor.bytes).ok_or_else(|| number.misfit(cursor.bytes, "FP64"))?)
            }
        }
        _ => return Err(cursor.expected("a bool, a number or a string")),
    })
}

/// Takes a parameter out, if it is there.
pub(super) fn take(params: &mut Params, name: &str) -> Option<Param> {
    let index = params.iter().position(|(key, _)| key == name)?;
    Some(params.remove(index).1)
}

/// Takes a bool out; another type is a fault.
pub(super) fn take_bool(params: &mut Params, name: &str, at: usize) -> Parse<Option<bool>> {
    match take(params, name) {
        None => Ok(None),
        Some(Param::Bool(value)) => Ok(Some(value)),
        Some(other) => {
            Err(Fault::value(at, format!("expected true or false, got {}", describe(&other)))).key(name)
        }
    }
}

/// A value in words, for messages.
pub(super) fn describe(param: &Param) -> String {
    match param {
        Param::Bool(value) => value.to_string(),
        Param::Int(value) => value.to_string(),
        Param::Double(value) => value.to_string(),
        Param::Str(value) => super::fault::quote(value),
    }
}

/// Writes `"parameters":{…},` for all but the `binary_data_size`, which `extra` adds.
pub(super) fn write(out: &mut Vec<u8>, params: &Params, binary_data_size: Option<usize>) {
    let mut separator: &[u8] = b"\"parameters\":{";
    for (key, value) in params.iter().filter(|(key, _)| key != "binary_data_size") {
        out.extend_from_slice(separator);
        separator = b",";
        write::string(out, key);
        out.push(b':');
        match value {
            Param::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Param::Int(value) => write::int(out, *value),
            Param::Double(value) => write::float(out, *value),
            Param::Str(value) => write::string(out, value),
        }
    }
    if let Some(size) = binary_data_size {
        out.extend_from_slice(separator);
        separator = b",";
        out.extend_from_slice(b"\"binary_data_size\":");
        write::int(out, size);
    }
    if separator == b"," {
        out.extend_from_slice(b"},");
    }
}
