//! One request and its answer, whatever the protocol.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use thiserror::Error;

use crate::response::Malformed;

/// One worker's way to ask. It connects when it must and reconnects after a failure.
pub trait Exchange: Send + 'static {
    /// Sends the request and judges the answer.
    fn ask(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why a request did not get a right answer.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum Failure {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("the server closed the connection before it had answered")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(std::io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("status {status}: {body}")]
    Status { status: u16, body: String },
    #[error("grpc-status {code}: {message}")]
    Grpc { code: String, message: String },
    #[error("not the expected answer: {body}")]
    WrongBody { body: String },
    #[error("no answer by the end of the run and its grace period")]
    Unfinished,
}

impl Failure {
    /// The name under which it is counted.
    pub fn kind(&self) -> String {
        match self {
            Self::Connect(_) => "connect".into(),
            Self::Closed => "closed".into(),
            Self::Io(_) => "io".into(),
            Self::Malformed(_) => "malformed".into(),
            Self::Http2(_) => "http2".into(),
            Self::Status { status, .. } => format!("status_{status}"),
            Self::Grpc { code, .. } => format!("grpc_{code}"),
            Self::WrongBody { .. } => "wrong_body".into(),
            Self::Unfinished => "unfinished".into(),
        }
    }
}

/// What an answer's body must be to count as right.
#[derive(Debug, Clone, Default)]
pub enum Expect {
    /// Anything.
    #[default]
    Any,
    /// These bytes.
    Equal(Bytes),
    /// Something that contains these bytes.
    Part(Arc<memmem::Finder<'static>>),
}

impl Expect {
    /// A body that contains `part`.
    pub fn part(part: &[u8]) -> Self {
        Self::Part(Arc::new(memmem::Finder::new(part).into_owned()))
    }

    /// `Ok` if the body is as expected.
    pub fn check(&self, body: &[u8]) -> Result<(), Failure> {
        let right = match self {
            Self::Any => true,
            Self::Equal(expected) => body == expected,
            Self::Part(finder) => finder.find(body).is_some(),
        };
        if right {
            return Ok(());
        }
        Err(Failure::WrongBody { body: excerpt(body) })
    }
}

/// The beginning of a body, for a message.
pub fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 300;
    String::from_utf8_lossy(body.get(..LONGEST).unwrap_or(body)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_body_is_an_error_that_quotes_it() {
        assert!(Expect::Any.check(b"x").is_ok());
        assert!(Expect::Equal(Bytes::from_static(b"x")).check(b"x").is_ok());
        assert!(Expect::part(b"[1]").check(b"{\"data\":[1]}").is_ok());
        let error = Expect::part(b"[2]").check(b"{\"data\":[1]}").err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("not the expected answer: {\"data\":[1]}"));
        assert!(Expect::Equal(Bytes::from_static(b"x")).check(b"xy").is_err());
    }
}
