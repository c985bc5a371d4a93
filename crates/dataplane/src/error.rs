//! One enum of what can go wrong with a request, and one table of the codes that say so.

use std::fmt;

/// Who is to blame, and therefore which code the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed or does not fit the model.
    InvalidInput,
    /// No such model, version or route.
    NotFound,
    /// The route exists, the verb does not.
    MethodNotAllowed,
    /// The body is larger than the server takes.
    TooLarge,
    /// The queue is full.
    Overloaded,
    /// The server or the model does not serve now.
    NotReady,
    /// Nothing came in time: the deadline or the predict timeout passed.
    Timeout,
    /// The model or the server has no such feature.
    Unimplemented,
    /// Nobody waits any more.
    Cancelled,
    /// The model failed.
    Model,
    /// We failed.
    Internal,
    /// The model chose this HTTP status.
    Status(u16),
}

impl Kind {
    /// The HTTP status.
    pub const fn http(self) -> u16 {
        match self {
            Self::InvalidInput => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::TooLarge => 413,
            Self::Overloaded => 429,
            Self::Cancelled => 499,
            Self::Model | Self::Internal => 500,
            Self::Unimplemented => 501,
            Self::NotReady => 503,
            Self::Timeout => 504,
            Self::Status(status) => status,
        }
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> i32 {
        match self {
            Self::Cancelled => 1,
            Self::InvalidInput => 3,
            Self::Timeout => 4,
            Self::NotFound => 5,
            Self::TooLarge | Self::Overloaded => 8,
            Self::Unimplemented | Self::MethodNotAllowed => 12,
            Self::Model | Self::Internal => 13,
            Self::NotReady => 14,
            Self::Status(status) => match status {
                400 | 422 => 3,
                401 => 16,
                403 => 7,
                404 => 5,
                409 => 10,
                429 => 8,
                501 => 12,
                503 => 14,
                504 => 4,
                400..=499 => 9,
                _ => 13,
            },
        }
    }
}

/// An error to be told to a client: where, what is wrong and the value we got, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Which code it gets.
    pub kind: Kind,
    /// The sentence for the client. It never holds a stack trace or a secret.
    pub message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request is malformed or does not fit the model.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    /// KServe's words for a model that is not there.
    pub fn model_not_found(name: &str) -> Self {
        Self::new(Kind::NotFound, format!("Model with name {name} does not exist."))
    }

    /// KServe's words for a model that does not serve yet, or any more.
    pub fn model_not_ready(name: &str) -> Self {
        Self::new(Kind::NotReady, format!("Model with name {name} is not ready."))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What most functions here return.
pub type Result<T> = std::result::Result<T, Error>;
