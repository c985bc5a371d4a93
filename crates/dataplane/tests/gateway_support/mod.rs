//! A real gateway in a thread, upstream servers that do as they are told, and plain clients.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::needless_pass_by_value
)]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use modelport_dataplane::gateway::{run, Config, Ended, Handle, Limits};
use serde_json::{json, Value};
use std::convert::Infallible;
use std::future::Future;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A folder of this test's own.
pub fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("mp-gw-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A gateway to be started.
pub struct Setup {
    pub config: Config,
    pub folder: PathBuf,
}

impl Setup {
    pub fn new() -> Self {
        let folder = folder();
        let config = Config {
            listeners: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
            internal: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
            table: folder.join("table.json"),
            admin: folder.join("admin.sock"),
            handover: None,
            tls: None,
            access_log: None,
            trust_forwarded: false,
            threads: 1,
            limits: Limits::default(),
            drain_delay: Duration::from_millis(50),
            drain_timeout: PATIENCE,
            signals: false,
        };
        Self { config, folder }
    }

    pub fn start(self) -> Running {
        let address = self.config.listeners[0].local_addr().unwrap();
        let internal = self.config.internal[0].local_addr().unwrap();
        let (table, admin) = (self.config.table.clone(), self.config.admin.clone());
        let handle = Handle::default();
        let stop = handle.clone();
        let config = self.config;
        let thread = std::thread::spawn(move || run(config, stop));
        wait_for("the admin socket", || admin.exists());
        Running {
            address,
            internal,
            folder: self.folder,
            table,
            admin,
            handle,
            thread: Some(thread),
            version: AtomicU64::new(0),
        }
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub internal: SocketAddr,
    pub folder: PathBuf,
    table: PathBuf,
    pub admin: PathBuf,
    pub handle: Handle,
    thread: Option<JoinHandle<std::io::Result<Ended>>>,
    version: AtomicU64,
}

impl Running {
    /// Writes a table as the platform does, with the next version, and says so.
    pub fn tell(&self, table: Value) -> u64 {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        self.write(version, table);
        let reply = self.ask("POST", "/reload");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["version"], version);
        version
    }

    /// Writes a table and says nothing.
    pub fn write(&self, version: u64, mut table: Value) {
        table["version"] = version.into();
        let aside = self.table.with_extension("new");
        std::fs::write(&aside, table.to_string()).unwrap();
        std::fs::rename(&aside, &self.table).unwrap();
    }

    /// Everything to one cluster with these endpoints, more of it by `more`.
    pub fn route(&self, endpoints: &[SocketAddr], more: Value) -> u64 {
        self.tell(simple(endpoints, more))
    }

    pub fn ask(&self, method: &str, path: &str) -> Reply {
        ask(&self.admin, method, path)
    }

    pub fn demand(&self, cluster: &str) -> Value {
        self.ask("GET", "/demand").json()["clusters"][cluster].take()
    }

    pub fn metric(&self, start: &str) -> f64 {
        let text = self.ask("GET", "/metrics").text();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.client().request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.client().request("POST", path, &[], body)
    }

    pub fn ended(mut self) -> Ended {
        let thread = self.thread.take().unwrap();
        wait_for("the gateway to end", || thread.is_finished());
        thread.join().unwrap().unwrap()
    }
}

/// Asks without a pause on some kept connections while `work` runs; every answer must be a 200. The number of
/// answers.
pub fn under_load(running: &Running, askers: usize, path: &str, work: impl FnOnce()) -> usize {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &over;
        let ask = || {
            let mut client = running.client();
            let mut answered = 0;
            while !over.load(Ordering::SeqCst) {
                let reply = client.request("POST", path, &[], b"{}");
                assert_eq!(reply.status, 200, "{}", reply.text());
                answered += 1;
            }
            answered
        };
        let askers: Vec<_> = (0..askers).map(|_| scope.spawn(ask)).collect();
        let end = Over(over);
        work();
        drop(end);
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.abort();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A table with one route for every host to one cluster, `n/c:80`. `more`: `rule` and `cluster` to merge in.
pub fn simple(endpoints: &[SocketAddr], mut more: Value) -> Value {
    let mut rule = json!({"backends": [{"cluster": "n/c:80"}]});
    let mut cluster = json!({"endpoints": endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()});
    for (target, name) in [(&mut rule, "rule"), (&mut cluster, "cluster")] {
        if let Value::Object(extra) = more[name].take() {
            target.as_object_mut().unwrap().extend(extra);
        }
    }
    let mut table = json!({
        "routes": [{"name": "n/r", "service": "n/s", "hosts": ["*"], "rules": [rule]}],
        "clusters": {"n/c:80": cluster},
    });
    if !more["auth"].is_null() {
        table["auth"] = more["auth"].take();
    }
    table
}

/// One request to a Unix socket.
pub fn ask(socket: &Path, method: &str, path: &str) -> Reply {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    read_reply(&mut BufReader::new(stream), method).unwrap()
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The words of an error of the gateway's, which has the request's id in it.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        body["error"].as_str().unwrap().to_owned()
    }
}

/// A plain HTTP/1.1 client on one connection.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("host: h.example.com\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.send(&message);
    }

    pub fn read(&mut self, method: &str) -> std::io::Result<Reply> {
        read_reply(&mut self.stream, method)
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.begin(method, path, headers, body);
        self.read(method).unwrap()
    }

    pub fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        Ok(line)
    }

    /// Waits until the other end has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
            || matches!(self.stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }
}

fn unexpected(what: &str) -> std::io::Error {
    std::io::Error::new(ErrorKind::UnexpectedEof, what)
}

fn read_line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(unexpected("closed"));
    }
    Ok(line.trim_end().to_owned())
}

fn read_fields(stream: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| unexpected("no header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

pub fn read_reply(stream: &mut impl BufRead, method: &str) -> std::io::Result<Reply> {
    let mut status;
    let mut headers;
    loop {
        let line = read_line(stream)?;
        let code = line.split(' ').nth(1).ok_or_else(|| unexpected("no status"))?;
        status = code.parse::<u16>().map_err(|_| unexpected("no status"))?;
        headers = read_fields(stream)?;
        if status >= 200 {
            break;
        }
    }
    let mut reply = Reply { status, headers, body: Vec::new(), trailers: Vec::new() };
    if method == "HEAD" || status == 204 || status == 304 {
        return Ok(reply);
    }
    if reply.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(stream)?, 16).map_err(|_| unexpected("no size"))?;
            if size == 0 {
                reply.trailers = read_fields(stream)?;
                return Ok(reply);
            }
            let mut part = vec![0; size];
            stream.read_exact(&mut part)?;
            reply.body.extend(part);
            read_line(stream)?;
        }
    }
    match reply.header("content-length") {
        Some(length) => {
            reply.body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut reply.body)?;
        }
        None => {
            stream.read_to_end(&mut reply.body)?;
        }
    }
    Ok(reply)
}

pub type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An HTTP server (HTTP/1.1 and h2c) in a thread, with a function for its requests.
pub struct Upstream {
    pub address: SocketAddr,
    /// Requests that came, connections that were opened, and those that are open.
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    pub open: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct Closing(Arc<AtomicUsize>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream {
    pub fn start<F, A>(function: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), function)
    }

    /// Answers every request with this text.
    pub fn saying(text: &str) -> Self {
        let text = Bytes::from(text.to_owned());
        Self::start(move |_| {
            let text = text.clone();
            async move { Response::new(full(text)) }
        })
    }

    pub fn on<F, A>(listener: TcpListener, function: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = listener.local_addr().unwrap();
        let [requests, connections, open] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&requests), Arc::clone(&connections), Arc::clone(&open));
        runtime.spawn(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (requests, connections, open) = counts;
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                connections.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                let closing = Closing(Arc::clone(&open));
                let (function, requests) = (function.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    let _closing = closing;
                    let service = service_fn(move |request| {
                        requests.fetch_add(1, Ordering::SeqCst);
                        let answer = function(request);
                        async move { Ok::<_, Infallible>(answer.await) }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, requests, connections, open, runtime: Some(runtime) }
    }

    pub fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Dies as by kill -9: everything it has is closed at once.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tests may be inside another runtime, where this may not block.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE)).join().unwrap();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Listens where somebody did before.
pub fn listen_again(address: SocketAddr) -> TcpListener {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => {
                assert!(begun.elapsed() < PATIENCE, "{address}: {error}");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// A server that answers with what it read: the head as text, then the body.
pub fn echo() -> Upstream {
    Upstream::start(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
        for (name, value) in &head.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        text.push('\n');
        let mut bytes = text.into_bytes();
        match body.collect().await {
            Ok(body) => bytes.extend_from_slice(&body.to_bytes()),
            Err(error) => bytes.extend_from_slice(format!("broken: {error}").as_bytes()),
        }
        Response::new(full(bytes))
    })
}
