//! `modelport-load`: the command.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use modelport_load::args::{self, Command, Expected, Load, Protocol};
use modelport_load::drive::{self, Pace};
use modelport_load::exchange::Expect;
use modelport_load::grpc::{Call, Channel, Stream};
use modelport_load::rest::{prebuild, Connection};
use modelport_load::tally::{Report, Tally};
use modelport_load::target::Target;
use modelport_load::{grpc, sink};

fn main() -> ExitCode {
    let outcome = args::parse(std::env::args().skip(1)).and_then(|command| match command {
        Command::Help => print(args::HELP),
        Command::Sink(address) => runtime()?.block_on(async {
            sink::serve(sink::bind(address).await?).await.map_err(|error| error.to_string())
        }),
        Command::Load(load) => {
            let report = runtime()?.block_on(run(&load))?;
            let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
            print(&format!("{json}\n"))
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| format!("cannot start: {error}"))
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
