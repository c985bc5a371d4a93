//! The process: its runtime, its listeners and sockets, the table's file, and the way it ends.

use super::access::AccessLog;
use super::admin;
use super::config::{Config, Limits};
use super::handover;
use super::live::{Checked, Live};
use super::metrics::Metrics;
use super::mirror::Room;
use super::names::InForce;
use super::route::Side;
use super::serve::{self, Door};
use super::signals::Signals;
use super::socket::Socket;
use super::strangers::Strangers;
use crate::listen::log::{self, Log};
use crate::listen::tls::{ByName, Tls};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{watch, Notify, Semaphore};
use tokio::time::Instant;

/// How often the table's file is looked at, for the case that nobody says that it changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// So long before a drain is cut off, requests that still wait for an endpoint are told so.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Beside the table: certificates with their keys, for their owner only.
const CERTIFICATES: &str = "certificates";

/// A larger table is a mistake.
const TABLE_BYTES: u64 = 256 << 20;

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
    pub(super) strangers: Strangers,
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
        let old = self.live();
        let before = Arc::clone(&old);
        // A large table takes a while to read and to compile; requests go on meanwhile.
        let checked = tokio::task::spawn_blocking(move || {
            let at = |problem: String| format!("{}: {problem}", path.display());
            let size = std::fs::metadata(&path).map_err(|error| at(error.to_string()))?.len();
            if size > TABLE_BYTES {
                return Err(at(format!("{size} bytes are more than a route table may have.")));
            }
            let content = std::fs::read(&path).map_err(|error| at(error.to_string()))?;
            let mut checked = Checked::decode(&content).map_err(at)?;
            checked.load(&path.with_file_name(CERTIFICATES), &before.names).map_err(at)?;
            Ok(checked)
        });
        let checked = checked.await.map_err(|_| "reading the table failed".to_owned())??;
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
    let table = watch::Sender::new(Arc::new(Live::empty()));
    let names: Arc<dyn ByName> = Arc::new(InForce(table.subscribe()));
    let tls = config.tls.map(|files| Tls::load(files, log.clone(), Some(names))).transpose()?.map(Arc::new);
    let gateway = Arc::new(Gateway {
        table,
        news: watch::Sender::new(0),
        strangers: Strangers::new(),
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
