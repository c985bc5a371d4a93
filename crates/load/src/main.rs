//! `modelport-load`: the command.

use std::io::Write as _;
use std::process::ExitCode;

use modelport_load::args::{self, Command};
use modelport_load::measure::measure;
use modelport_load::sink;

fn main() -> ExitCode {
    let outcome = args::parse(std::env::args().skip(1)).and_then(|command| match command {
        Command::Help => print(args::HELP),
        Command::Sink(address) => runtime()?.block_on(async {
            sink::serve(sink::bind(address).await?).await.map_err(|error| error.to_string())
        }),
        Command::Load(load) => {
            let report = measure(&load)?;
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
