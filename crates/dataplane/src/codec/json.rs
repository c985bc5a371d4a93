//! A pull cursor over JSON text (RFC 8259, read strictly).
//!
//! Callers ask for what they expect and get typed values straight from the bytes; there is no tree.

use super::fault::{quote, Fault, Parse, Problem};
use std::borrow::Cow;

/// Reads JSON from bytes, value by value.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    depth: usize,
    max_depth: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`; arrays and objects nest `max_depth` deep at most.
    pub fn new(bytes: &'a [u8], max_depth: usize) -> Self {
        Self { bytes, pos: 0, depth: 0, max_depth }
    }

    /// The offset of the next byte.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// The same cursor at an offset that it has seen, at today's depth.
    #[must_use]
    pub fn at(&self, pos: usize) -> Self {
        Self { pos, ..*self }
    }

    /// Bytes that are left: an upper bound for anything still to come.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.pos)
    }

    #[inline]
    pub(super) fn byte(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The first byte of the next token, white space skipped; `None` at the end of the text.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.pos += 1;
        }
    }

    /// What stands at the cursor, in words.
    pub fn describe(&self) -> String {
        match self.byte() {
            None => "the end of the text".to_owned(),
            Some(b'"') => match self.at(self.pos).string() {
                Ok(text) => format!("the string {}", quote(&text)),
                Err(_) => "a string".to_owned(),
            },
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "an array".to_owned(),
            Some(b'-' | b'0'..=b'9') => match self.at(self.pos).decimal() {
                Ok(number) => number.text(self.bytes).into_owned(),
                Err(_) => "a number".to_owned(),
            },
            Some(b't') => "true".to_owned(),
            Some(b'f') => "false".to_owned(),
            Some(b'n') => "null".to_owned(),
            Some(_) => self.stray(),
        }
    }

    /// What stands at the cursor and begins no value, in words. Of what Python writes and JSON lacks, what to send instead.
    pub(super) fn stray(&self) -> String {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        match rest {
            [] => "the end of the text".to_owned(),
            [b'N', b'a', b'N', ..] => "NaN, which JSON lacks: a missing value is null".to_owned(),
            [b'I', b'n', b'f', ..] => {
                "Infinity, which JSON lacks: send it by V2 as a binary tensor, or by gRPC".to_owned()
            }
            [byte, ..] if byte.is_ascii_graphic() => format!("'{}'", char::from(*byte)),
            [byte, ..] => format!("byte 0x{byte:02x}"),
        }
    }

    /// The fault for "something else was wanted": of syntax if no value starts here.
    #[cold]
    pub fn expected(&self, wanted: &str) -> Box<Fault> {
        let what = format!("expected {wanted}, got {}", self.describe());
        match self.byte() {
            // A value that is itself malformed is the more basic problem.
            Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                match self.at(self.pos).skip_value() {
                    Err(fault) if fault.problem == Problem::Syntax => fault,
                    _ => Fault::value(self.pos, what),
                }
            }
            _ => Fault::syntax(self.pos, what),
        }
    }

    fn deeper(&mut self) -> Parse<()> {
        if self.depth >= self.max_depth {
            let what = format!("JSON nests deeper than {} levels (byte {})", self.max_depth, self.pos);
            return Err(Fault::value(self.pos, what));
        }
        self.pos += 1;
        self.depth += 1;
        Ok(())
    }

    /// Enters an array. Give the result to `next_element`.
    #[inline]
    pub fn enter_array(&mut self) -> Parse<bool> {
        match self.peek() {
            Some(b'[') => self.deeper().map(|()| true),
            _ => Err(self.expected("an array")),
        }
    }

    /// Whether the array has a next element, which must then be read; leaves the array if not.
    #[inline]
    pub fn next_element(&mut self, first: &mut bool) -> Parse<bool> {
        let next = self.peek();
        if next == Some(b']') {
            self.pos += 1;
            self.depth = self.depth.saturating_sub(1);
            return Ok(false);
        }
        if *first {
            *first = false;
            return Ok(true);
        }
        if next != Some(b',') {
            return Err(self.separator("',' or ']'"));
        }
        self.pos += 1;
        if self.peek() == Some(b']') {
            return Err(Fault::syntax(self.pos, "trailing comma before ']'"));
        }
        Ok(true)
    }

    #[cold]
    fn separator(&self, wanted: &str) -> Box<Fault> {
        Fault::syntax(self.pos, format!("expected {wanted}, got {}", self.stray()))
    }

    /// Enters an object. Give the result to `next_key`.
    pub fn enter_object(&mut self) -> Parse<bool> {
        match self.peek() {
            Some(b'{') => self.deeper().map(|()| true),
            _ => Err(self.expected("an object")),
        }
    }

    /// The key of the next member, whose value must then be read; leaves the object at `None`.
    pub fn next_key(&mut self, first: &mut bool) -> Parse<Option<Cow<'a, str>>> {
        match self.peek() {
            Some(b'}') => {
                self.pos += 1;
                self.depth = self.depth.saturating_sub(1);
                return Ok(None);
            }
            Some(b',') if !*first => {
                self.pos += 1;
                if self.peek() == Some(b'}') {
                    return Err(Fault::syntax(self.pos, "trailing comma before '}'"));
                }
            }
            _ if *first => {}
            _ => return Err(self.separator("',' or '}'")),
        }
        *first = false;
        if self.peek() != Some(b'"') {
            return Err(self.separator("a key in double quotes"));
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.separator("':'"));
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Reads a literal such as `null`, if it stands here.
    #[inline]
    pub fn literal(&mut self, word: &str) -> bool {
        self.peek();
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let found = rest.starts_with(word.as_bytes());
        if found {
            self.pos += word.len();
        }
        found
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Parse<bool> {
        if self.literal("true") {
            Ok(true)
        } else if self.literal("false") {
            Ok(false)
        } else {
            Err(self.expected("true or false"))
        }
    }

    /// Reads a string; borrowed where it has no escapes.
    pub fn string(&mut self) -> Parse<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        let mut owned: Option<String> = None;
        self.pos += 1;
        loop {
            let rest = self.bytes.get(self.pos..).unwrap_or_default();
            // Most strings are a word, whose end is found sooner than a search for it begins.
            let word = rest.iter().take(24).position(|byte| matches!(byte, b'"' | b'\\'));
            let Some(len) = word.or_else(|| memchr::memchr2(b'"', b'\\', rest)) else {
                return Err(Fault::syntax(self.bytes.len(), "the string has no end"));
            };
            let run = rest.get(..len).unwrap_or_default();
            if let Some(index) = run.iter().position(|byte| *byte < 0x20) {
                return Err(Fault::syntax(self.pos + index, "control character in a string"));
            }
            let run = std::str::from_utf8(run).map_err(|error| {
                Fault::syntax(self.pos + error.valid_up_to(), "a string that is not UTF-8")
            })?;
            let quoted = rest.get(len) == Some(&b'"');
            self.pos += len + 1;
            if quoted {
                return Ok(match owned {
                    None => Cow::Borrowed(run),
                    Some(text) => Cow::Owned(text + run),
                });
            }
            let text = owned.get_or_insert_default();
            text.push_str(run);
            text.push(self.escape()?);
        }
    }

    /// The character after a backslash.
    fn escape(&mut self) -> Parse<char> {
        let start = self.pos.saturating_sub(1);
        let letter = self.byte();
        self.pos += 1;
        Ok(match letter {
            Some(plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.hex4(start)?;
                // RFC 8259, section 7: characters beyond the BMP are two escapes.
                if (0xd800..0xdc00).contains(&code) && self.literal_here(b"\\u") {
                    let low = self.hex4(start)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(Fault::syntax(start, "a surrogate without its pair in a string"));
                    }
                    code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                char::from_u32(code)
                    .ok_or_else(|| Fault::syntax(start, "a surrogate without its pair in a string"))?
            }
            _ => return Err(Fault::syntax(start, "unknown escape in a string")),
        })
    }

    fn literal_here(&mut self, word: &[u8]) -> bool {
        let found = self.bytes.get(self.pos..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.pos += word.len();
        }
        found
    }

    fn hex4(&mut self, start: usize) -> Parse<u32> {
        let digits = self.bytes.get(self.pos..self.pos + 4).unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let value = char::from(*digit).to_digit(16);
            let value = value.ok_or_else(|| Fault::syntax(start, "\\u needs four hexadecimal digits"))?;
            code = code * 16 + value;
        }
        if digits.len() != 4 {
            return Err(Fault::syntax(start, "\\u needs four hexadecimal digits"));
        }
        self.pos += 4;
        Ok(code)
    }

    /// Checks and passes over a value; its start is at `position()` after a `peek`.
    pub fn skip_value(&mut self) -> Parse<()> {
        let base = self.depth;
        // One entry a container that is open: whether it is an object, and its `first` flag.
        let mut open: Vec<(bool, bool)> = Vec::new();
        loop {
            match self.peek() {
                Some(b'{') => open.push((true, self.enter_object()?)),
                Some(b'[') => open.push((false, self.enter_array()?)),
                Some(b'"') => _ = self.string()?,
                Some(b'-' | b'0'..=b'9') => _ = self.decimal()?,
                _ if self.literal("true") || self.literal("false") || self.literal("null") => {}
                _ => {
                    return Err(Fault::syntax(self.pos, format!("expected a value, got {}", self.stray())));
                }
            }
            loop {
                let Some((object, first)) = open.last_mut() else {
                    self.depth = base;
                    return Ok(());
                };
                let more = if *object { self.next_key(first)?.is_some() } else { self.next_element(first)? };
                if more {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Parse<()> {
        if self.peek().is_none() {
            return Ok(());
        }
        let what = format!("expected the end of the text, got {}", self.stray());
        Err(Fault::syntax(self.pos, what))
    }
}
