//! The process: its runtime, its listeners and sockets, the table's file, signals, and the way it ends.

use super::access::AccessLog;
use super::admin;
use super::handover;
use super::live::{Checked, Live};
use super::metrics::Metrics;
use super::mirror::Room;
use super::route::Side;
use super::serve::{self, Door};
use super::socket::Socket;
use crate::listen::log::{self, Log};
use crate::listen::tls::Tls;
use crate::listen::TlsFiles;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::{watch, Notify, Semaphore};
use tokio::time::Instant;

/// How often the table's file is looked at, for the case that nobody says that it changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// So long before a drain is cut off, requests that still wait for an endpoint are told so.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A larger table is a mistake.
const TABLE_BYTES: u64 = 256 << 20;

/// What to serve, where, and how to stop.
#[derive(Debug)]
pub struct Config {
    /// Listening sockets for clients.
    pub listeners: Vec<TcpListener>,
    /// Listening sockets for the platform's own names, without TLS.
    pub internal: Vec<TcpListener>,
    /// The route table's file.
    pub table: PathBuf,
    /// Where the control plane speaks to us.
    pub admin: PathBuf,
    /// Where a restarted supervisor gets the listening sockets.
    pub handover: Option<PathBuf>,
    /// TLS for `listeners`.
    pub tls: Option<TlsFiles>,
    /// A JSON line a request goes here.
    pub access_log: Option<PathBuf>,
    /// One of our own proxies is in front: its X-Forwarded-Proto and -Host are kept.
    pub trust_forwarded: bool,
    /// Threads that serve.
    pub threads: usize,
    /// Bounds of requests and times.
    pub limits: Limits,
    /// How long HTTP/1.1 clients have for a last request once the gateway drains.
    pub drain_delay: Duration,
    /// Longest time that requests in flight may take once the gateway drains.
    pub drain_timeout: Duration,
    /// Drain on SIGTERM and SIGINT, a second one ends at once; SIGHUP opens the access log anew.
    pub signals: bool,
}

/// Bounds of what clients and endpoints may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections a listener; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: u64,
    /// Bytes of a body that are kept, so that a request can be sent again.
    pub retry_body_bytes: usize,
    /// How long a head may take to come.
    pub header_timeout: Duration,
    /// How long a connection may be without a byte either way, while no endpoint is waited for.
    pub idle_timeout: Duration,
    /// How long a body may take to come, where it is kept.
    pub body_timeout: Duration,
    /// How long an endpoint may take to take a connection.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 << 10,
            body_bytes: 1 << 30,
            retry_body_bytes: 1 << 20,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            body_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

/// How far the gateway has come with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Everything is served.
    Serving,
    /// No new connections; HTTP/1.1 connections are told to close with their next answer.
    LameDuck,
    /// Connections end with their current requests.
    Finishing,
    /// Whoever waits for an endpoint waits in vain.
    Closing,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// Requests were still running when the drain timeout passed, or a second signal came.
    CutOff,
}

/// Stops a running gateway from any thread.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    stop: Arc<Notify>,
    abort: Arc<Notify>,
}

impl Handle {
    /// Begins a graceful drain; at once if the gateway does not run yet.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Ends the drain at once, or the gateway if it does not drain yet; requests in flight are lost.
    pub fn abort(&self) {
        self.abort.notify_one();
        self.stop.notify_one();
    }
}

/// What all requests share.
#[derive(Debug)]
pub(super) struct Gateway {
    /// The table in force.
    pub(super) table: watch::Sender<Arc<Live>>,
    /// Rises when a cluster begins to hold requests.
    pub(super) news: watch::Sender<u64>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access: Option<AccessLog>,
    pub(super) mirrors: Room,
    pub(super) limits: Limits,
    pub(super) log: Log,
    pub(super) started: Instant,
    pub(super) trust_forwarded: bool,
    stage: watch::Sender<Stage>,
    file: TableFile,
}

#[derive(Debug)]
struct TableFile {
    path: PathBuf,
    /// One at a time takes up a table; with what the file looked like the last time.
    seen: tokio::sync::Mutex<Option<(SystemTime, u64, u64)>>,
    /// Why the last one was not taken.
    problem: Mutex<Option<String>>,
}

impl Gateway {
    /// The table in force.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.table.borrow())
    }

    /// Whether clients should go elsewhere with their next request.
    pub(super) fn is_finishing(&self) -> bool {
        *self.stage.borrow() > Stage::Serving
    }

    /// How far it has come with stopping, from now on.
    pub(super) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Why the last table was not taken, if it was not.
    pub(super) fn problem(&self) -> Option<String> {
        self.file.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the table and swaps it in; the version in force from now on, or why nothing changed.
    pub(super) async fn reload(&self) -> Result<u64, String> {
        let mut seen = self.file.seen.lock().await;
        *seen = stamp(&self.file.path);
        let outcome = self.take_up().await;
        let mut problem = self.file.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match &outcome {
            Ok(_) => *problem = None,
            Err(words) => {
                if problem.as_ref() != Some(words) {
                    let version = self.live().version;
                    self.log.warn(format_args!("{words} Version {version} stays in force."));
                }
                self.metrics.tables_refused.fetch_add(1, Relaxed);
                *problem = Some(words.clone());
            }
        }
        outcome
    }

    async fn take_up(&self) -> Result<u64, String> {
        let path = self.file.path.clone();
        // A large table takes a while to read and to compile; requests go on meanwhile.
        let checked = tokio::task::spawn_blocking(move || {
            let at = |problem: String| format!("{}: {problem}", path.display());
            let size = std::fs::metadata(&path).map_err(|error| at(error.to_string()))?.len();
            if size > TABLE_BYTES {
                return Err(at(format!("{size} bytes are more than a route table may have.")));
            }
            let content = std::fs::read(&path).map_err(|error| at(error.to_string()))?;
            Checked::decode(&content).map_err(at)
        });
        let checked = checked.await.map_err(|_| "reading the table failed".to_owned())??;
        let old = self.live();
        let next = Arc::new(old.succeed(checked, &self.metrics));
        self.table.send_replace(Arc::clone(&next));
        old.bury(&next);
        Ok(next.version)
    }

    /// Takes up the table whenever its file has changed.
    async fn watch_file(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = stamp(&self.file.path);
            let changed = now.is_some() && *self.file.seen.lock().await != now;
            if changed {
                // Said and counted there.
                let _ = self.reload().await;
            }
        }
    }

    /// Closes connections to endpoints that have been idle for too long.
    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            for cluster in &self.live().clusters {
                for endpoint in cluster.endpoints() {
                    endpoint.pool.sweep();
                }
            }
        }
    }
}

fn stamp(path: &std::path::Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

/// Serves until stopped. This thread becomes the I/O thread, or one of them.
pub fn run(config: Config, handle: Handle) -> io::Result<Ended> {
    let mut builder = if config.threads > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(config.threads);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().thread_name("modelport-gateway").build()?;
    let metrics = Arc::<Metrics>::default();
    let (log, log_ended) = Log::to(io::stderr(), |_| {})?;
    let warn = log.clone();
    let access = config
        .access_log
        .as_deref()
        .map(|path| AccessLog::open(path, Arc::clone(&metrics), move |text| warn.warn(text)))
        .transpose()?;
    let (access, access_ended) = access.unzip();
    let ended = runtime.block_on(serve(config, handle, metrics, access, log.clone()));
    runtime.shutdown_background();
    if let Some(access_ended) = access_ended {
        // Its thread ends when the last request has let go of it.
        let _ = access_ended.recv_timeout(Duration::from_secs(1));
    }
    log::finish(log, &log_ended);
    ended
}

async fn serve(
    config: Config,
    handle: Handle,
    metrics: Arc<Metrics>,
    access: Option<AccessLog>,
    log: Log,
) -> io::Result<Ended> {
    let mut signals = Signals::listen(config.signals)?;
    let tls = config.tls.map(|files| Tls::load(files, log.clone())).transpose()?.map(Arc::new);
    let gateway = Arc::new(Gateway {
        table: watch::Sender::new(Arc::new(Live::empty())),
        news: watch::Sender::new(0),
        metrics,
        access,
        mirrors: Room::default(),
        limits: config.limits,
        log,
        started: Instant::now(),
        trust_forwarded: config.trust_forwarded,
        stage: watch::Sender::new(Stage::Serving),
        file: TableFile {
            path: config.table,
            seen: tokio::sync::Mutex::default(),
            problem: Mutex::default(),
        },
    });
    // A platform that was never told anything has no table yet.
    if gateway.file.path.exists() {
        // What is wrong with it is said there.
        let _ = gateway.reload().await;
    }

    let admin = Socket::bind(&config.admin)?;
    tokio::spawn(admin::serve(admin, Arc::clone(&gateway)));
    if let Some(path) = &config.handover {
        let sockets = config.listeners.iter().chain(&config.internal);
        let copies =
            sockets.map(|socket| Ok(socket.try_clone()?.into())).collect::<io::Result<Vec<OwnedFd>>>()?;
        let socket = Socket::bind(path)?;
        tokio::spawn(handover::serve(socket, config.listeners.len(), Arc::new(copies)));
    }
    let (watching, sweeping) = (Arc::clone(&gateway), Arc::clone(&gateway));
    tokio::spawn(async move { watching.watch_file().await });
    tokio::spawn(async move { sweeping.sweep().await });

    let room = u32::try_from(gateway.limits.connections.clamp(1, 1 << 20)).unwrap_or(1 << 20);
    let builder = Arc::new(serve::builder(&gateway));
    let mut rooms = Vec::new();
    let public = config.listeners.into_iter().map(|listener| (listener, Side::Public, tls.clone()));
    let internal = config.internal.into_iter().map(|listener| (listener, Side::Internal, None));
    for (listener, side, tls) in public.chain(internal) {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(room as usize));
        rooms.push(Arc::clone(&places));
        let door = Door {
            gateway: Arc::clone(&gateway),
            side,
            tls,
            room: places,
            stage: gateway.stage.subscribe(),
            builder: Arc::clone(&builder),
        };
        tokio::spawn(door.serve(listener));
    }

    tokio::select! {
        biased;
        () = handle.stop.notified() => {}
        () = signals.end(&gateway) => {}
    }
    let drained = tokio::select! {
        biased;
        drained = drain(&gateway, &rooms, room, config.drain_delay, config.drain_timeout) => drained,
        () = signals.end(&gateway) => false,
        () = handle.abort.notified() => false,
    };
    Ok(if drained { Ended::Drained } else { Ended::CutOff })
}

/// Lets requests finish; false if some did not in time.
async fn drain(
    gateway: &Gateway,
    rooms: &[Arc<Semaphore>],
    room: u32,
    delay: Duration,
    most: Duration,
) -> bool {
    let empty = async {
        for connections in rooms {
            // Never closed, so this waits until every connection has given its place back.
            let _ = connections.acquire_many(room).await;
        }
    };
    let gently = async {
        gateway.stage.send_replace(Stage::LameDuck);
        tokio::time::sleep(delay).await;
        gateway.stage.send_replace(Stage::Finishing);
        tokio::time::sleep(most.saturating_sub(LAST_WORDS).saturating_sub(delay)).await;
        gateway.stage.send_replace(Stage::Closing);
        pending::<()>().await;
    };
    tokio::select! {
        () = empty => true,
        () = gently => false,
        () = tokio::time::sleep(most) => false,
    }
}

/// What the process is told by signals.
struct Signals(Option<[Signal; 3]>);

enum Told {
    End,
    Reopen,
}

impl Signals {
    fn listen(wanted: bool) -> io::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [terminate, interrupt, hangup] = kinds.map(signal);
        Ok(Self(Some([terminate?, interrupt?, hangup?])))
    }

    async fn next(&mut self) -> Told {
        let Some([terminate, interrupt, hangup]) = &mut self.0 else { return pending().await };
        tokio::select! {
            biased;
            _ = terminate.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = hangup.recv() => Told::Reopen,
        }
    }

    /// Waits for the signal to end; the access log is opened anew meanwhile.
    async fn end(&mut self, gateway: &Gateway) {
        loop {
            match (self.next().await, &gateway.access) {
                (Told::End, _) => return,
                (Told::Reopen, Some(access)) => access.reopen(),
                (Told::Reopen, None) => {}
            }
        }
    }
}
