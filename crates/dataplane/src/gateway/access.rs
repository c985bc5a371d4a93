//! The access log: a JSON line a request, to a file that may be rotated, never in a request's way.
//!
//! Requests leave a record in a bounded channel; a thread makes lines of them. When it is behind, records are
//! dropped and counted. Queries, headers and bodies are not logged: they may hold secrets.

use super::metrics::{Metrics, Protocol};
use super::request_id::RequestId;
use crate::clock::rfc3339;
use http::header::HeaderValue;
use http::request::Parts;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many records may wait.
const ROOM: usize = 8192;

/// What is known of a request when it has ended.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: SystemTime,
    pub(super) method: http::Method,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) protocol: &'static str,
    pub(super) service: String,
    pub(super) cluster: String,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) caller: Option<String>,
    pub(super) client: String,
    pub(super) request_id: RequestId,
    pub(super) traceparent: Option<String>,
    pub(super) status: u16,
    pub(super) sent_bytes: u64,
    pub(super) took: Duration,
    pub(super) held: Duration,
    pub(super) retries: u32,
}

impl Record {
    /// A request that has come, and nothing of its answer.
    pub(super) fn of(head: &Parts, client: &HeaderValue, protocol: Protocol, id: &RequestId) -> Self {
        let text =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let host = head.uri.authority().map(ToString::to_string).or_else(|| text("host"));
        Self {
            at: SystemTime::now(),
            method: head.method.clone(),
            host: host.unwrap_or_default(),
            path: head.uri.path().to_owned(),
            protocol: protocol.name(),
            service: String::new(),
            cluster: String::new(),
            endpoint: None,
            caller: None,
            client: client.to_str().unwrap_or_default().to_owned(),
            request_id: id.clone(),
            traceparent: text("traceparent"),
            status: 0,
            sent_bytes: 0,
            took: Duration::ZERO,
            held: Duration::ZERO,
            retries: 0,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    service: &'a str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    us: u64,
    #[serde(skip_serializing_if = "is_zero")]
    held_us: u64,
    #[serde(skip_serializing_if = "is_zero")]
    retries: u64,
    client: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Record {
    fn line(&self) -> Option<String> {
        let since = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            time: rfc3339(since.as_secs(), since.subsec_millis()),
            service: &self.service,
            method: self.method.as_str(),
            host: &self.host,
            path: &self.path,
            protocol: self.protocol,
            status: self.status,
            bytes: self.sent_bytes,
            us: self.took.as_micros() as u64,
            held_us: self.held.as_micros() as u64,
            retries: self.retries.into(),
            client: &self.client,
            cluster: &self.cluster,
            endpoint: self.endpoint,
            caller: self.caller.as_deref(),
            request_id: self.request_id.as_str(),
            trace_id: self.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1)),
        };
        serde_json::to_string(&line).ok()
    }
}

enum Message {
    Record(Box<Record>),
    Reopen,
}

/// Where records go.
#[derive(Clone, Debug)]
pub(super) struct AccessLog {
    messages: SyncSender<Message>,
    metrics: Arc<Metrics>,
}

impl AccessLog {
    /// Opens the file and starts the thread; the receiver ends when everything has been written.
    pub(super) fn open(
        path: &Path,
        metrics: Arc<Metrics>,
        warn: impl Fn(String) + Send + 'static,
    ) -> io::Result<(Self, Receiver<()>)> {
        let file = append(path)?;
        let (messages, queue) = sync_channel(ROOM);
        let (alive, ended) = sync_channel(0);
        let path = path.to_owned();
        std::thread::Builder::new().name("modelport-access".to_owned()).spawn(move || {
            let _alive = alive;
            write(&queue, &path, file, &warn);
        })?;
        Ok((Self { messages, metrics }, ended))
    }

    /// Logs a request, or counts that it was not logged.
    pub(super) fn record(&self, record: Box<Record>) {
        if self.messages.try_send(Message::Record(record)).is_err() {
            self.metrics.log_lines_dropped.fetch_add(1, Relaxed);
        }
    }

    /// Opens the file anew: the old one was moved away.
    pub(super) fn reopen(&self) {
        let messages = self.messages.clone();
        // The thread may be behind; whoever sends the signal need not wait, and the request must not get lost.
        let _ = std::thread::Builder::new()
            .name("modelport-reopen".to_owned())
            .spawn(move || messages.send(Message::Reopen));
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn write(queue: &Receiver<Message>, path: &Path, file: File, warn: &dyn Fn(String)) {
    let mut out = BufWriter::with_capacity(64 << 10, file);
    let mut failed = false;
    while let Ok(first) = queue.recv() {
        for message in std::iter::once(first).chain(queue.try_iter().take(ROOM)) {
            let written = match message {
                Message::Record(record) => match record.line() {
                    Some(line) => out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")),
                    None => Ok(()),
                },
                Message::Reopen => out.flush().and_then(|()| {
                    out = BufWriter::with_capacity(64 << 10, append(path)?);
                    Ok(())
                }),
            };
            say_once(&mut failed, written, path, warn);
        }
        let flushed = out.flush();
        say_once(&mut failed, flushed, path, warn);
    }
}

/// A full disk is told once, and once more after it was well meanwhile.
fn say_once(failed: &mut bool, outcome: io::Result<()>, path: &Path, warn: &dyn Fn(String)) {
    match outcome {
        Ok(()) => *failed = false,
        Err(error) if !*failed => {
            *failed = true;
            warn(format!("access log {}: {error}", path.display()));
        }
        Err(_) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn record(path: &str) -> Box<Record> {
        Box::new(Record {
            at: UNIX_EPOCH + Duration::from_secs(951_782_400),
            method: http::Method::POST,
            host: "h".to_owned(),
            path: path.to_owned(),
            protocol: "http1",
            service: "n/s".to_owned(),
            cluster: "n/c:80".to_owned(),
            endpoint: Some(([127, 0, 0, 1], 80).into()),
            caller: None,
            client: "10.0.0.1".to_owned(),
            request_id: RequestId::of(&HeaderMap::new()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            status: 200,
            sent_bytes: 5,
            took: Duration::from_micros(1500),
            held: Duration::ZERO,
            retries: 0,
        })
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("modelport-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn lines_are_json_and_a_moved_file_is_left_alone() {
        let folder = folder("access");
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        let (log, ended) = AccessLog::open(&path, Arc::default(), |text| panic!("{text}")).unwrap();
        log.record(record("/a\"b"));
        while std::fs::read_to_string(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &moved).unwrap();
        log.reopen();
        while !path.exists() {
            std::thread::yield_now();
        }
        log.record(record("/second"));
        drop(log);
        assert!(ended.recv_timeout(Duration::from_secs(60)).is_err());
        let line: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&moved).unwrap()).unwrap();
        assert_eq!(line["time"], "2000-02-29T00:00:00.000Z");
        assert_eq!((&line["path"], &line["us"]), (&"/a\"b".into(), &1500.into()));
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert!(line.get("held_us").is_none() && line.get("caller").is_none());
        assert!(std::fs::read_to_string(&path).unwrap().contains("/second"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (messages, queue) = sync_channel(1);
        let metrics = Arc::<Metrics>::default();
        let log = AccessLog { messages, metrics: Arc::clone(&metrics) };
        log.record(record("/1"));
        log.record(record("/2"));
        assert_eq!(metrics.log_lines_dropped.load(Relaxed), 1);
        drop(queue);
    }
}
