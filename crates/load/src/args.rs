//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value};

use crate::drive::{Pace, Times};

/// What `--help` prints.
pub const HELP: &str = "\
Loads an inference server and prints what it saw as JSON. One thread; pin it to a core of its own.

usage: modelport-load rest --url http://HOST:PORT/PATH [--body FILE] [options]
       modelport-load grpc --url http://HOST:PORT --body FILE [--method M] [options]
       modelport-load sink [--port P] [--host A]

rest    HTTP/1.1: POST the file (without --body: GET), once per connection at a time
grpc    HTTP/2: the file is one encoded message, without gRPC's 5-byte prefix
sink    a server that reads bodies and answers a constant, REST and gRPC on one port: the ceiling

  --connections N     connections (default 1). In an open loop: as many as may be busy at once
  --streams N         grpc: concurrent streams of each connection (default 1)
  --rate R            open loop: Poisson arrivals at R a second on average; latency counts from the
                      moment a request was due, so waiting for a stalled server is part of it.
                      Without it, a closed loop: each connection asks again once it was answered
  --seed N            open loop: same seed, same arrivals (default 1)
  --warmup S          seconds that are not counted (default 1)
  --duration S        seconds that are counted (default 8)
  --grace S           seconds to wait for answers after the end (default 5)
  --header K:V        another header, repeatable
  --content-type T    rest: short for --header Content-Type:T (default application/json)
  --method M          grpc: default inference.GRPCInferenceService/ModelInfer
  --expect TEXT       an answer counts only if its body contains TEXT (@FILE: the file's bytes)
  --expect-equal F    an answer counts only if its body is what file F holds
  --port P, --host A  sink: where to listen (default 9000, 127.0.0.1)
";

/// A parsed command line.
#[derive(Debug)]
pub enum Command {
    /// Print the help.
    Help,
    /// Load a server.
    Load(Box<Load>),
    /// Be the ceiling.
    Sink(SocketAddr),
}

/// A run.
#[derive(Debug, Clone)]
pub struct Load {
    /// How to speak.
    pub protocol: Protocol,
    /// Where to.
    pub url: String,
    /// What to send.
    pub body: Option<PathBuf>,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// Connections.
    pub connections: usize,
    /// What to expect of an answer.
    pub expect: Expected,
    /// Closed or open.
    pub pace: Pace,
    /// How long.
    pub times: Times,
}

/// Which protocol to speak.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// HTTP/1.1.
    Rest {
        /// The request body's type.
        content_type: String,
    },
    /// HTTP/2.
    Grpc {
        /// `package.Service/Method`.
        method: String,
        /// Streams of each connection.
        streams: usize,
    },
}

/// What an answer must be, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// Contains this text.
    Text(String),
    /// Contains this file's bytes.
    Part(PathBuf),
    /// Is this file's bytes.
    Equal(PathBuf),
}

/// Reads the command line, without the program's name; the error is a sentence for the user.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut args = lexopt::Parser::from_args(args);
    let command = match args.next().map_err(text)? {
        Some(Value(command)) => command.to_string_lossy().into_owned(),
        Some(Long("help") | Short('h')) => return Ok(Command::Help),
        _ => return Err("the first argument must be rest, grpc or sink. See --help.".into()),
    };
    match command.as_str() {
        "rest" | "grpc" => load(&command, args),
        "sink" => sink(args),
        other => Err(format!("unknown command {other:?}: must be rest, grpc or sink. See --help.")),
    }
}

fn load(command: &str, mut args: lexopt::Parser) -> Result<Command, String> {
    let (mut url, mut body, mut rate, mut content_type, mut method, mut streams) =
        (None, None, None, None, None, None);
    let (mut connections, mut seed, mut headers, mut expect) = (1, 1, Vec::new(), Expected::Any);
    let (mut warmup, mut duration, mut grace) = (1.0, 8.0, 5.0);
    while let Some(arg) = args.next().map_err(text)? {
        let Long(name) = arg else { return Err(text(arg.unexpected())) };
        let name = name.to_owned();
        if name == "help" {
            return Ok(Command::Help);
        }
        let mut given = || {
            let value = args.value().map_err(|_| format!("--{name}: needs a value. See --help."))?;
            value.into_string().map_err(|value| format!("--{name}: must be UTF-8, got {}", value.display()))
        };
        match name.as_str() {
            "url" => url = Some(given()?),
            "body" => body = Some(PathBuf::from(given()?)),
            "rate" => rate = Some(positive(&name, &given()?)?),
            "content-type" => content_type = Some(given()?),
            "method" => method = Some(given()?),
            "streams" => streams = Some(count(&name, &given()?)?),
            "connections" => connections = count(&name, &given()?)?,
            "seed" => seed = number(&name, &given()?, "a whole number from 0 on")?,
            "header" => headers.push(header(&given()?)?),
            "expect" => {
                let value = given()?;
                expect = match value.strip_prefix('@') {
                    Some(file) => Expected::Part(file.into()),
                    None => Expected::Text(value),
                };
            }
            "expect-equal" => expect = Expected::Equal(given()?.into()),
            "warmup" => warmup = seconds(&name, &given()?)?,
            "duration" => duration = positive(&name, &given()?)?,
            "grace" => grace = seconds(&name, &given()?)?,
            _ => return Err(format!("unknown option --{name}. See --help.")),
        }
    }
    let url =
        url.ok_or("--url: is required, for example --url http://127.0.0.1:8080/v2/models/iris/infer")?;
    let protocol = if command == "grpc" {
        only(content_type.as_ref(), "--content-type", "rest")?;
        if body.is_none() {
            return Err("--body: is required with grpc: a file with one encoded message".into());
        }
        let method = method.unwrap_or_else(|| "inference.GRPCInferenceService/ModelInfer".into());
        Protocol::Grpc { method, streams: streams.unwrap_or(1) }
    } else {
        only(method.as_ref(), "--method", "grpc")?;
        only(streams.as_ref(), "--streams", "grpc")?;
        Protocol::Rest { content_type: content_type.unwrap_or_else(|| "application/json".into()) }
    };
    let times = Times {
        warmup: Duration::from_secs_f64(warmup),
        duration: Duration::from_secs_f64(duration),
        grace: Duration::from_secs_f64(grace),
    };
    let pace = rate.map_or(Pace::Closed, |rate| Pace::Open { rate, seed });
    Ok(Command::Load(Box::new(Load { protocol, url, body, headers, connections, expect, pace, times })))
}

fn sink(mut args: lexopt::Parser) -> Result<Command, String> {
    let (mut port, mut host) = (9000_u16, "127.0.0.1".to_owned());
    while let Some(arg) = args.next().map_err(text)? {
        let Long(name) = arg else { return Err(text(arg.unexpected())) };
        let name = name.to_owned();
        if name == "help" {
            return Ok(Command::Help);
        }
        let value = args.value().map_err(|_| format!("--{name}: needs a value. See --help."))?;
        let value = value.to_string_lossy().into_owned();
        match name.as_str() {
            "port" => port = number(&name, &value, "a port from 0 to 65535")?,
            "host" => host = value,
            _ => return Err(format!("unknown option --{name}. See --help.")),
        }
    }
    let host = host.parse().map_err(|_| format!("--host: must be an IP address, got {host:?}"))?;
    Ok(Command::Sink(SocketAddr::new(host, port)))
}

#[allow(clippy::needless_pass_by_value)] // map_err hands it over
fn text(error: lexopt::Error) -> String {
    format!("{error}. See --help.")
}

fn only<T>(given: Option<&T>, option: &str, command: &str) -> Result<(), String> {
    given.map_or(Ok(()), |_| Err(format!("{option}: only for {command}")))
}

fn number<T: std::str::FromStr>(name: &str, value: &str, wanted: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("--{name}: must be {wanted}, got {value:?}"))
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    const MOST: usize = 100_000;
    let wanted = "a whole number from 1 to 100000";
    match number(name, value, wanted)? {
        count @ 1..=MOST => Ok(count),
        _ => Err(format!("--{name}: must be {wanted}, got {value:?}")),
    }
}

fn seconds(name: &str, value: &str) -> Result<f64, String> {
    const MOST: f64 = 1e6;
    match number(name, value, "a number from 0 on")? {
        seconds if (0.0..=MOST).contains(&seconds) => Ok(seconds),
        _ => Err(format!("--{name}: must be from 0 to 1000000, got {value:?}")),
    }
}

fn positive(name: &str, value: &str) -> Result<f64, String> {
    match seconds(name, value)? {
        0.0 => Err(format!("--{name}: must be more than 0, got {value:?}")),
        number => Ok(number),
    }
}

fn header(value: &str) -> Result<(String, String), String> {
    match value.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
            Ok((name.to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("--header: must be NAME:VALUE, got {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn loaded(line: &str) -> Load {
        match parsed(line) {
            Ok(Command::Load(load)) => *load,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_whole_line_is_understood() {
        let load = loaded(
            "rest --url http://h:1/p --body b.json --header A:b --header C:d:e --connections 16 --rate 2.5 --seed 9 \
             --warmup 0 --duration 0.5 --expect [1]",
        );
        assert_eq!(load.headers, [("A".to_owned(), "b".to_owned()), ("C".to_owned(), "d:e".to_owned())]);
        assert_eq!((load.connections, load.expect), (16, Expected::Text("[1]".into())));
        assert!(matches!(load.pace, Pace::Open { rate: 2.5, seed: 9 }));
        assert_eq!(load.times.duration, Duration::from_millis(500));
    }

    #[test]
    fn the_loop_is_closed_unless_there_is_a_rate() {
        assert!(matches!(loaded("rest --url http://h:1").pace, Pace::Closed));
    }

    #[test]
    fn grpc_has_a_default_method() {
        let load = loaded("grpc --url http://h:1 --body m.bin --streams 8 --expect @part.bin");
        assert!(
            matches!(load.protocol, Protocol::Grpc { ref method, streams: 8 } if method.ends_with("/ModelInfer"))
        );
        assert_eq!(load.expect, Expected::Part("part.bin".into()));
    }

    #[test]
    fn the_sink_takes_a_port() {
        assert!(matches!(parsed("sink --port 0"), Ok(Command::Sink(address)) if address.port() == 0));
    }

    #[test]
    fn every_mistake_is_named() {
        for (line, expected) in [
            ("", "the first argument must be rest, grpc or sink. See --help."),
            ("tcp", "unknown command \"tcp\": must be rest, grpc or sink. See --help."),
            ("rest", "--url: is required, for example --url http://127.0.0.1:8080/v2/models/iris/infer"),
            ("rest --url", "--url: needs a value. See --help."),
            ("rest --url http://h --threads 3", "unknown option --threads. See --help."),
            ("rest --url http://h extra", "unexpected argument \"extra\". See --help."),
            (
                "rest --url http://h --connections 0",
                "--connections: must be a whole number from 1 to 100000, got \"0\"",
            ),
            ("rest --url http://h --rate 0", "--rate: must be more than 0, got \"0\""),
            ("rest --url http://h --rate fast", "--rate: must be a number from 0 on, got \"fast\""),
            ("rest --url http://h --duration NaN", "--duration: must be from 0 to 1000000, got \"NaN\""),
            ("rest --url http://h --header plain", "--header: must be NAME:VALUE, got \"plain\""),
            ("rest --url http://h --streams 2", "--streams: only for grpc"),
            ("grpc --url http://h", "--body: is required with grpc: a file with one encoded message"),
            ("grpc --url http://h --body b --content-type x", "--content-type: only for rest"),
            ("sink --port 70000", "--port: must be a port from 0 to 65535, got \"70000\""),
            ("sink --host here", "--host: must be an IP address, got \"here\""),
        ] {
            assert_eq!(parsed(line).err().as_deref(), Some(expected), "{line}");
        }
    }
}
