//! What is wrong with a text, and where: the byte offset, and the path, which callers add segment by
//! segment on the way out, so that it costs nothing while all is well.

use crate::error::Error;
use std::borrow::Cow;
use std::fmt::Write as _;

/// A step of a path such as `inputs[0].data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text is not JSON.
    Syntax,
    /// The text is JSON; a value in it is not what is needed.
    Value,
    /// A string among numbers, or the reverse: a V1 row may still be read column by column.
    Mixed,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of thing is wrong.
    pub problem: Problem,
    /// Byte offset in the text.
    pub at: usize,
    /// The path, innermost segment first.
    pub path: Vec<Segment>,
    /// The sentence, without offset and path.
    pub what: String,
}

/// What the readers here return. The fault is boxed to keep the good case small.
pub type Parse<T> = std::result::Result<T, Box<Fault>>;

impl Fault {
    /// A value that is not what is needed.
    #[cold]
    pub fn value(at: usize, what: impl Into<String>) -> Box<Self> {
        Box::new(Self { problem: Problem::Value, at, path: Vec::new(), what: what.into() })
    }

    /// Text that is not JSON.
    #[cold]
    pub fn syntax(at: usize, what: impl Into<String>) -> Box<Self> {
        Box::new(Self { problem: Problem::Syntax, at, path: Vec::new(), what: what.into() })
    }
}

impl From<Box<Fault>> for Error {
    fn from(fault: Box<Fault>) -> Self {
        let path = render(&fault.path);
        let what = &fault.what;
        Self::invalid(match (fault.problem, path.is_empty()) {
            (Problem::Syntax, true) => format!("invalid JSON at byte {}: {what}", fault.at),
            (Problem::Syntax, false) => format!("invalid JSON at byte {}: {what} (in {path})", fault.at),
            (_, true) => what.clone(),
            (_, false) => format!("{path}: {what}"),
        })
    }
}

fn render(reversed: &[Segment]) -> String {
    let mut path = String::new();
    for segment in reversed.iter().rev() {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        match segment {
            Segment::Index(index) => _ = write!(path, "[{index}]"),
            Segment::Key(key) if !key.is_empty() && key.chars().all(plain) => {
                let dot = if path.is_empty() { "" } else { "." };
                _ = write!(path, "{dot}{}", clip(key));
            }
            Segment::Key(key) => _ = write!(path, "[{}]", quote(key)),
        }
    }
    path
}

/// Adds a segment to the path of a fault that passes.
pub trait Within<T> {
    /// The fault was in this member of an object.
    fn key(self, key: &str) -> Parse<T>;
    /// The fault was in this element of an array.
    fn index(self, index: usize) -> Parse<T>;
}

impl<T> Within<T> for Parse<T> {
    fn key(self, key: &str) -> Self {
        self.map_err(|mut fault| {
            fault.path.push(Segment::Key(key.to_owned()));
            fault
        })
    }

    fn index(self, index: usize) -> Self {
        self.map_err(|mut fault| {
            fault.path.push(Segment::Index(index));
            fault
        })
    }
}

/// Text as it may stand in a message: never longer than 64 characters.
pub fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(64) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// The same in quotes, with control characters escaped.
pub fn quote(text: &str) -> String {
    format!("{:?}", clip(text))
}
