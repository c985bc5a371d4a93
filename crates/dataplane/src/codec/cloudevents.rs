//! CloudEvents 1.0 over HTTP, binary and structured: the envelope around a V1 body.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.
//! The answer to an event is an event, in the same mode, as KServe does it.

use super::fault::{quote, Fault, Parse, Within as _};
use super::json::Cursor;
use super::write;
use crate::error::{Error, Result};
use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::HeaderMap;
use memchr::memmem::Finder;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// How an event travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, data as the body.
    Binary,
    /// Attributes and data in one JSON object.
    Structured,
}

/// An event that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How it came.
    pub mode: Mode,
    /// Context attributes, extensions included, in the order in which they came. Always with
    /// `specversion`, `id`, `source` and `type`; `datacontenttype` is in `data_content_type`.
    pub attributes: Vec<(String, String)>,
    /// The data: the body to decode.
    pub data: Bytes,
    /// Media type of the data, if the event says it.
    pub data_content_type: Option<String>,
}

impl Event {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        find(&self.attributes, name)
    }
}

/// What the answers say of themselves: `CE_TYPE`, `CE_SOURCE` and `CE_MERGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Attribute `type` of answers.
    pub r#type: String,
    /// Attribute `source` of answers; without it `io.kserve.inference.<model>`.
    pub source: Option<String>,
    /// Whether answers keep the attributes of the request.
    pub merge: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { r#type: "io.kserve.inference.response".to_owned(), source: None, merge: false }
    }
}

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Most attributes of an event, extensions included.
const MOST: usize = 256;
const MEDIA_TYPE: &str = "application/cloudevents+json";
static SPECVERSION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"specversion\""));

fn find<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn malformed(what: &str) -> Error {
    Error::invalid(format!("Cloud Event Exceptions: {what}"))
}

/// Reads an event; `None` if the request is not one.
///
/// A request is an event if it has any of the required `ce-` headers, or the content type of
/// structured events, or is a JSON object with all required attributes and data. A malformed event
/// is `InvalidInput`, naming the attribute.
pub fn decode(headers: &HeaderMap, body: &Bytes) -> Result<Option<Event>> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        let (event, has_data) = structured(body).map_err(|error| malformed(&error.message))?;
        let event = check(event)?;
        return if has_data { Ok(Some(event)) } else { Err(malformed("\"data\" is missing")) };
    }
    if media_type.eq_ignore_ascii_case("application/cloudevents-batch+json") {
        return Err(malformed("batches are not supported. Send one event a request"));
    }
    let names = headers.keys().filter_map(|name| name.as_str().strip_prefix("ce-"));
    if names.into_iter().any(|name| REQUIRED.contains(&name)) {
        return binary(headers, body, content_type).and_then(check).map(Some);
    }
    // KServe also takes any JSON object that looks like an event; most bodies lack this word.
    let json = media_type.is_empty() || media_type.eq_ignore_ascii_case("application/json");
    if json && SPECVERSION.find(body).is_some() {
        if let Ok((event, true)) = structured(body) {
            if REQUIRED.iter().all(|name| event.attribute(name).is_some()) {
                return check(event).map(Some);
            }
        }
    }
    Ok(None)
}

fn check(event: Event) -> Result<Event> {
    for name in REQUIRED {
        match event.attribute(name) {
            None => return Err(malformed(&format!("attribute \"{name}\" is missing"))),
            Some("") => return Err(malformed(&format!("attribute \"{name}\" is empty"))),
            Some(_) => {}
        }
    }
    match event.attribute("specversion") {
        Some("1.0" | "0.3") => Ok(event),
        other => {
            let version = quote(other.unwrap_or_default());
            Err(malformed(&format!("attribute \"specversion\": expected \"1.0\" or \"0.3\", got {version}")))
        }
    }
}

fn binary(headers: &HeaderMap, body: &Bytes, content_type: &str) -> Result<Event> {
    let mut attributes = Vec::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let text = std::str::from_utf8(value.as_bytes()).ok().and_then(percent_decode);
        let text = text.ok_or_else(|| malformed(&format!("attribute {} is not UTF-8", quote(name))))?;
        if find(&attributes, name).is_some() {
            return Err(malformed(&format!("attribute {} is given twice", quote(name))));
        }
        attributes.push((name.to_owned(), text));
    }
    let data_content_type = (!content_type.is_empty()).then(|| content_type.to_owned());
    Ok(Event { mode: Mode::Binary, attributes, data: body.clone(), data_content_type })
}

/// Reads a structured event, and whether it has data.
fn structured(body: &Bytes) -> Result<(Event, bool)> {
    // Only attributes are read here, and they do not nest; the data is checked when it is decoded.
    let mut cursor = Cursor::new(body, 256);
    let mut draft = Draft::default();
    draft.read(&mut cursor)?;
    cursor.end()?;
    let Draft { mut attributes, data, base64 } = draft;
    let content_type = attributes.iter().position(|(name, _)| name == "datacontenttype");
    let data_content_type = content_type.map(|index| attributes.remove(index).1);
    let json = data_content_type.as_deref().is_none_or(is_json);
    let has_data = data.is_some() || base64.is_some();
    let data = match (data, base64) {
        (Some(_), Some(_)) => return Err(Error::invalid("has both \"data\" and \"data_base64\"")),
        (None, None) => Bytes::new(),
        (None, Some(text)) => {
            let data = STANDARD.decode(text);
            data.map_err(|error| Error::invalid(format!("data_base64: {error}")))?.into()
        }
        (Some((from, to)), None) => {
            let span = body.slice(from..to);
            match Cursor::new(&span, 1).string() {
                // Section 3.1.1 of the JSON format: a string is the data itself, unless that is JSON.
                Ok(text) if !json => Bytes::copy_from_slice(text.as_bytes()),
                _ => span,
            }
        }
    };
    Ok((Event { mode: Mode::Structured, attributes, data, data_content_type }, has_data))
}

#[derive(Default)]
struct Draft {
    attributes: Vec<(String, String)>,
    /// Where the JSON of `data` stands in the body.
    data: Option<(usize, usize)>,
    base64: Option<String>,
}

impl Draft {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let mut first = cursor.enter_object()?;
        while let Some(key) = cursor.next_key(&mut first)? {
            cursor.peek();
            let start = cursor.position();
            match key.as_ref() {
                "data" if self.data.is_some() => {
                    return Err(Fault::value(start, "given twice")).key("data");
                }
                "data_base64" if self.base64.is_some() => {
                    return Err(Fault::value(start, "given twice")).key("data_base64");
                }
                _ if self.attributes.len() == MOST => {
                    return Err(Fault::value(start, format!("has more than {MOST} attributes")));
                }
                "data" => {
                    cursor.skip_value().key("data")?;
                    self.data = Some((start, cursor.position()));
                }
                // The specification: a null attribute is an absent one.
                _ if cursor.literal("null") => {}
                "data_base64" => self.base64 = Some(cursor.string().key(&key)?.into_owned()),
                _ => {
                    let value = attribute(cursor).key(&key)?;
                    self.attributes.push((key.into_owned(), value));
                }
            }
        }
        let names = self.attributes.iter().map(|(name, _)| name.as_str());
        match super::param::repeated(names) {
            Some(index) => {
                let name = self.attributes.get(index).map(|(name, _)| quote(name)).unwrap_or_default();
                let what = format!("attribute {name} is given twice");
                Err(Fault::value(cursor.position(), what))
            }
            None => Ok(()),
        }
    }
}

/// An attribute: a string, or a bool or number as it is written.
fn attribute(cursor: &mut Cursor<'_>) -> Parse<String> {
    match cursor.peek() {
        Some(b'"') => cursor.string().map(std::borrow::Cow::into_owned),
        Some(b't' | b'f') => cursor.boolean().map(|value| value.to_string()),
        Some(b'-' | b'0'..=b'9') => {
            let start = cursor.position();
            cursor.decimal()?;
            let text = cursor.bytes.get(start..cursor.position()).unwrap_or_default();
            Ok(String::from_utf8_lossy(text).into_owned())
        }
        _ => Err(cursor.expected("a string, a number or a bool")),
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json")
}

/// Wraps the body of an answer in an event of the request's mode: headers to set, and the body.
/// `id` and `now_rfc3339` become the answer's `id` and `time`.
pub fn encode(
    request: &Event,
    settings: &Settings,
    model: &str,
    id: &str,
    now_rfc3339: &str,
    body: &Bytes,
    content_type: &str,
) -> (Vec<(String, String)>, Bytes) {
    let source = settings.source.clone().unwrap_or_else(|| format!("io.kserve.inference.{model}"));
    let version = request.attribute("specversion").unwrap_or("1.0");
    let own = [
        ("specversion", version),
        ("id", id),
        ("source", source.as_str()),
        ("type", settings.r#type.as_str()),
        ("time", now_rfc3339),
    ];
    let mut attributes: Vec<(&str, &str)> = own.to_vec();
    if settings.merge {
        let others = request.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        attributes.extend(others.filter(|(name, _)| own.iter().all(|(key, _)| key != name)));
    }
    match request.mode {
        Mode::Binary => {
            let mut headers: Vec<_> = attributes
                .iter()
                .map(|(name, value)| (format!("ce-{name}"), percent_encode(value)))
                .collect();
            headers.push(("content-type".to_owned(), content_type.to_owned()));
            (headers, body.clone())
        }
        Mode::Structured => {
            let headers = vec![("content-type".to_owned(), MEDIA_TYPE.to_owned())];
            (headers, envelope(&attributes, body, content_type))
        }
    }
}

fn envelope(attributes: &[(&str, &str)], body: &Bytes, content_type: &str) -> Bytes {
    let mut out = Vec::with_capacity(body.len() + 256);
    out.push(b'{');
    for (name, value) in attributes.iter().chain([&("datacontenttype", content_type)]) {
        write::string(&mut out, name);
        out.push(b':');
        write::string(&mut out, value);
        out.push(b',');
    }
    let mut cursor = Cursor::new(body, 256);
    if is_json(content_type) && cursor.skip_value().and_then(|()| cursor.end()).is_ok() {
        out.extend_from_slice(b"\"data\":");
        out.extend_from_slice(body);
    } else if let (false, Ok(text)) = (is_json(content_type), std::str::from_utf8(body)) {
        out.extend_from_slice(b"\"data\":");
        write::string(&mut out, text);
    } else {
        out.extend_from_slice(b"\"data_base64\":");
        write::string(&mut out, &STANDARD.encode(body));
    }
    out.push(b'}');
    out.into()
}

/// Section 3.1.3.2 of the HTTP binding: `%XX` stands for a byte of UTF-8. `None` if it is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if let (b'%', Some((digits, tail))) = (byte, tail.split_first_chunk::<2>()) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            if let (true, Ok(byte)) = (!digits.starts_with('+'), u8::from_str_radix(digits, 16)) {
                bytes.push(byte);
                rest = tail;
                continue;
            }
        }
        bytes.push(*byte);
    }
    String::from_utf8(bytes).ok()
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b'"' | 0..=0x20 | 0x7f.. => _ = write!(out, "%{byte:02X}"),
            _ => out.push(char::from(byte)),
        }
    }
    out
}
