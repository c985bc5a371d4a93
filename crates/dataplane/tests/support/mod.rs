//! A real server with models made of Rust functions, and a plain HTTP/1.1 client.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use modelport_dataplane::batch::{merge, Batching, Completions, Parking, Queue, Work};
use modelport_dataplane::error::{Error, Kind, Result};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::listen::{run, Config, Ended, Handle};
use modelport_dataplane::message::{Answer, Call, InferRequest, InferResponse, Payload};
use modelport_dataplane::metrics::ModelMetrics;
use modelport_dataplane::model::{
    IndexEntry, Metadata, Model, Operation, Options, Repository, Server, TensorSpec,
};
use modelport_dataplane::tensor::{Data, Datatype, Params, Tensor};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{JoinHandle, ThreadId};
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

/// Closed until it is opened.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub fn wait(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }
}

pub type Behaviour = Arc<dyn Fn(&Call) -> Result<Answer> + Send + Sync>;

/// A repository that remembers what it was asked, and knows no model called `missing`.
#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Vec<String>>>);

impl Repository for Memory {
    fn index(&self) -> Vec<IndexEntry> {
        [("sum", "READY", ""), ("later", "UNAVAILABLE", "unloaded")]
            .map(|(name, state, reason)| IndexEntry {
                name: name.to_owned(),
                version: String::new(),
                state: state.to_owned(),
                reason: reason.to_owned(),
            })
            .to_vec()
    }

    fn load(&self, name: String, parameters: Params) -> Operation {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            if name == "missing" {
                return Err(Error::new(Kind::NotReady, "Model missing has no files."));
            }
            seen.lock().unwrap().push(format!("load {name} {parameters:?}"));
            Ok(())
        })
    }

    fn unload(&self, name: String, parameters: Params) -> Operation {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            if name == "missing" {
                return Err(Error::model_not_found(&name));
            }
            seen.lock().unwrap().push(format!("unload {name} {parameters:?}"));
            Ok(())
        })
    }
}

/// A server to be started.
pub struct Setup {
    pub server: Arc<Server>,
    pub repository: Memory,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    pub config: Config,
}

impl Setup {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let repository = Memory::default();
        let server =
            Server::new("modelport".to_owned(), "1.2.3".to_owned(), Box::new(repository.clone()), limits);
        Self {
            server,
            repository,
            completions: Arc::default(),
            parking: Arc::default(),
            config: Config { drain_timeout: PATIENCE, ..Config::default() },
        }
    }

    /// A ready model whose thread calls `behaviour` for each request.
    pub fn model(&self, metadata: Metadata, options: Options, behaviour: Behaviour) -> Arc<Model> {
        let model = self.put(metadata, options);
        let queue = Arc::clone(&model.queue);
        std::thread::spawn(move || {
            while let Some(work) = queue.take() {
                serve(&queue, &work, &behaviour);
            }
        });
        model
    }

    /// Lets the I/O thread call a model of `behaviour` as well.
    pub fn call_here(model: &Arc<Model>, behaviour: Behaviour) {
        let queue = Arc::downgrade(&model.queue);
        model.queue.set_caller(Some(Arc::new(move |work| {
            serve(&queue.upgrade().unwrap(), &work, &behaviour);
        })));
    }

    /// A ready model with a function for each request.
    pub fn function(
        &self,
        name: &str,
        options: Options,
        function: impl Fn(&Call) -> Result<Answer> + Send + Sync + 'static,
    ) -> Arc<Model> {
        self.model(Metadata { name: name.to_owned(), ..Metadata::default() }, options, Arc::new(function))
    }

    /// `sum`: the sum of each row, in batches; in this version.
    pub fn sum(&self, version: Option<&str>) -> Arc<Model> {
        let metadata = Metadata {
            name: "sum".to_owned(),
            version: version.map(str::to_owned),
            platform: "rust".to_owned(),
            inputs: vec![TensorSpec {
                name: "x".to_owned(),
                datatype: "FP64".to_owned(),
                shape: vec![-1, 4],
                ..TensorSpec::default()
            }],
            outputs: vec![TensorSpec {
                name: "sum".to_owned(),
                datatype: "FP64".to_owned(),
                shape: vec![-1],
                ..TensorSpec::default()
            }],
            description: "Adds up <rows>".to_owned(),
            ..Metadata::default()
        };
        let model = self.put(metadata, Options { batching: Batching::default(), ..Options::default() });
        let queue = Arc::clone(&model.queue);
        std::thread::spawn(move || {
            while let Some(work) = queue.take() {
                for members in merge::group(&work.calls, 256) {
                    queue.complete(work.ticket, sum_group(&work.calls, &members));
                }
            }
        });
        model
    }

    fn put(&self, metadata: Metadata, options: Options) -> Arc<Model> {
        let model = Model::new(
            metadata,
            options,
            Arc::new(ModelMetrics::default()),
            &self.completions,
            &self.parking,
        );
        model.set_ready(true);
        self.server.registry.put(Arc::clone(&model));
        model
    }

    /// Starts it with REST on a free port.
    pub fn start(mut self) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.config.http = Some(listener);
        let handle = Handle::default();
        let (server, completions, parking, config, stop) = (
            Arc::clone(&self.server),
            Arc::clone(&self.completions),
            Arc::clone(&self.parking),
            self.config,
            handle.clone(),
        );
        let thread = std::thread::spawn(move || run(server, completions, parking, config, stop).unwrap());
        Running { server: self.server, repository: self.repository, address, handle, thread: Some(thread) }
    }
}

/// Answers work request by request, and says how long that took, as the executors of real models do.
fn serve(queue: &Queue, work: &Work, behaviour: &Behaviour) {
    let begun = Instant::now();
    for (index, call) in work.calls.iter().enumerate() {
        let answer = behaviour(call);
        queue.complete(work.ticket, [(index, answer)]);
    }
    queue.predicted(work.calls.len(), begun.elapsed());
}

fn sum_group(calls: &[Call], members: &[usize]) -> Vec<(usize, Result<Answer>)> {
    let requests: Vec<&InferRequest> = members
        .iter()
        .map(|&index| match &calls[index].payload {
            Payload::Tensors(request) => request,
            Payload::Raw(_) => panic!("tensors only"),
        })
        .collect();
    let joined = merge::join(&requests);
    let rows: Vec<usize> = requests.iter().map(|request| request.inputs[0].rows()).collect();
    let sums = match sums(&joined[0]) {
        Ok(sums) => sums,
        Err(error) => return members.iter().map(|&index| (index, Err(error.clone()))).collect(),
    };
    let response = InferResponse { outputs: vec![tensor("sum", &sums)], ..InferResponse::default() };
    let parts = merge::part(&response, &rows).unwrap();
    members.iter().zip(parts).map(|(&index, part)| (index, Ok(Answer::Tensors(part)))).collect()
}

fn sums(input: &Tensor) -> Result<Vec<f64>> {
    let Data::Fixed(bytes) = &input.data else { return Err(Error::invalid("inputs[0]: numbers wanted")) };
    let values: Vec<f64> = match input.datatype {
        Datatype::Fp64 => {
            bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
        }
        Datatype::Int64 => {
            bytes.chunks_exact(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap()) as f64).collect()
        }
        Datatype::Fp32 => bytes
            .chunks_exact(4)
            .map(|chunk| f64::from(f32::from_le_bytes(chunk.try_into().unwrap())))
            .collect(),
        other => return Err(Error::invalid(format!("inputs[0].datatype: {other} is not supported"))),
    };
    let width = values.len() / input.rows().max(1);
    Ok(values.chunks(width.max(1)).map(|row| row.iter().sum()).collect())
}

pub fn tensor(name: &str, values: &[f64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor {
        name: name.to_owned(),
        datatype: Datatype::Fp64,
        shape: vec![values.len()],
        data: Data::Fixed(Bytes::from(bytes)),
        nulls: Vec::new(),
        parameters: Params::new(),
    }
}

pub fn numbers(values: &[f64]) -> Answer {
    Answer::Tensors(InferResponse { outputs: vec![tensor("y", values)], ..InferResponse::default() })
}

/// Counts how often a model was called.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A server that runs; stopped when dropped.
pub struct Running {
    pub server: Arc<Server>,
    pub repository: Memory,
    pub address: SocketAddr,
    pub handle: Handle,
    thread: Option<JoinHandle<Ended>>,
}

impl Running {
    pub fn client(&self) -> Client<TcpStream> {
        Client::connect(self.address)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.client().request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.client().request("POST", path, &[], body.as_bytes())
    }

    /// The thread that was given to the server.
    pub fn thread_id(&self) -> ThreadId {
        self.thread.as_ref().unwrap().thread().id()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            if !std::thread::panicking() {
                thread.join().unwrap();
            }
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Asserts the shape that all errors have, and returns the sentence.
    #[track_caller]
    pub fn error(&self, status: u16) -> String {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{body}");
        let json = self.json();
        let fields = json.as_object().unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["error"], "{body}");
        let text = fields["error"].as_str().unwrap().to_owned();
        assert!(!text.is_empty());
        assert!(!self.header("x-request-id").unwrap().is_empty());
        assert_eq!(self.header("retry-after").is_some(), status == 429 || status == 503, "{body}");
        assert_eq!(self.header("allow").is_some(), status == 405, "{body}");
        text
    }
}

/// A connection that sends exactly what it is told.
pub struct Client<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

impl Client<TcpStream> {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    pub fn begin(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        self.send(&message(method, path, headers, body));
    }

    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.begin(method, path, headers, body);
        self.read_for(method).expect("an answer")
    }

    pub fn read(&mut self) -> Option<Reply> {
        self.read_for("GET")
    }

    /// The next answer; `None` if the connection ended before it, or within it.
    pub fn read_for(&mut self, method: &str) -> Option<Reply> {
        let end = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more().then_some(())?,
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status == 100 {
            return self.read_for(method);
        }
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut reply = Reply { status, headers, body: Vec::new() };
        if method == "HEAD" {
            return Some(reply);
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(&size, 16).unwrap();
                let chunk = self.take(size + 2)?;
                if size == 0 {
                    break;
                }
                reply.body.extend_from_slice(&chunk[..size]);
            }
        } else {
            let size = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
            reply.body = self.take(size)?;
        }
        Some(reply)
    }

    fn line(&mut self) -> Option<String> {
        loop {
            match self.buffer.windows(2).position(|window| window == b"\r\n") {
                Some(end) => {
                    let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                    return Some(String::from_utf8(line[..end].to_vec()).unwrap());
                }
                None => self.more().then_some(())?,
            }
        }
    }

    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < size {
            self.more().then_some(())?;
        }
        Some(self.buffer.drain(..size).collect())
    }

    /// Whether the server has closed the connection; waits for it.
    pub fn is_closed(&mut self) -> bool {
        !self.more()
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no answer in {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }
}

pub fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "transfer-encoding") {
        let _ = write!(head, "content-length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut message = head.into_bytes();
    message.extend_from_slice(body);
    message
}

/// A V2 body with one FP64 row for `sum`.
pub fn row(values: [f64; 4]) -> String {
    serde_json::json!({
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": values}]
    })
    .to_string()
}
