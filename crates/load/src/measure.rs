//! A run from its description to its report.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::args::{Expected, Load, Protocol};
use crate::drive::{self, Pace};
use crate::exchange::Expect;
use crate::grpc::{self, Call, Channel, Stream};
use crate::rest::{prebuild, Connection};
use crate::tally::{Report, Tally};
use crate::target::Target;

/// Loads the server from this thread until the run is over. The error is a sentence for the user.
pub fn measure(load: &Load) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))?.block_on(run(load))
}

async fn run(load: &Load) -> Result<Report, String> {
    let target = Target::parse(&load.url)?;
    let body = load.body.as_deref().map(|file| read("--body", file)).transpose()?;
    let expect = match &load.expect {
        Expected::Any => Expect::Any,
        Expected::Text(text) => Expect::part(text.as_bytes()),
        Expected::Part(file) => Expect::part(&read("--expect", file)?),
        Expected::Equal(file) => Expect::Equal(read("--expect-equal", file)?),
    };
    let tally = Arc::new(Tally::new().map_err(|error| error.to_string())?);
    let window = match &load.protocol {
        Protocol::Rest { content_type } => {
            let mut headers = load.headers.clone();
            if body.is_some() {
                headers.push(("Content-Type".into(), content_type.clone()));
            }
            let request = prebuild(&target, &headers, body.as_deref());
            let connection = || Connection::new(target.clone(), request.clone(), expect.clone());
            let workers: Vec<_> = std::iter::repeat_with(connection).take(load.connections).collect();
            drive::run(workers, load.pace, load.times, &tally).await
        }
        Protocol::Grpc { method, streams } => {
            let message =
                grpc::frame(&body.unwrap_or_default()).ok_or("--body: a message has at most 4 GB")?;
            let call =
                Call::new(target, method, metadata(&load.headers)?, message, expect).map_err(|error| {
                    format!("--method: must be package.Service/Method, got {method:?}: {error}")
                })?;
            let call = Arc::new(call);
            let channels: Vec<_> = std::iter::repeat_with(|| Arc::new(Channel::new(Arc::clone(&call))))
                .take(load.connections)
                .collect();
            let workers = channels.iter().cycle().take(load.connections * streams);
            let workers: Vec<_> = workers.map(|channel| Stream::new(Arc::clone(channel))).collect();
            drive::run(workers, load.pace, load.times, &tally).await
        }
    };
    Ok(tally.report(window, matches!(load.pace, Pace::Open { .. })))
}

fn read(option: &str, file: &Path) -> Result<Bytes, String> {
    std::fs::read(file)
        .map(Bytes::from)
        .map_err(|error| format!("{option}: cannot read {}: {error}", file.display()))
}

fn metadata(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut metadata = HeaderMap::new();
    metadata.insert("content-type", HeaderValue::from_static("application/grpc"));
    metadata.insert("te", HeaderValue::from_static("trailers"));
    for (name, value) in headers {
        let wrong = || format!("--header: {name}: {value} is not a header that HTTP/2 allows");
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| wrong())?;
        metadata.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(metadata)
}
