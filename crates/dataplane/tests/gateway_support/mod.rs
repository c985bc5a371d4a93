//! A real gateway in a thread, upstream servers that do as they are told, and plain clients.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unused_imports,
    clippy::format_push_string,
    clippy::needless_pass_by_value
)]

mod client;
mod upstream;

pub use client::{ask, read_reply, Client, Reply};
pub use upstream::{echo, full, gated, Body, Upstream};

use modelport_dataplane::gateway::{run, Config, Ended, Handle, Limits};
use serde_json::{json, Value};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

/// How many requests wait for an endpoint.
pub fn held(running: &Running) -> Value {
    running.demand("n/c:80")["held"].take()
}
