//! The I/O thread: one runtime, its listeners, the watchdog, and the way it ends.

use super::accept::{self, Door, Listener, Port, Stage};
use super::log::{self, Log};
use super::rest::Shared;
use super::seat;
use super::tls::{Tls, TlsFiles};
use crate::batch::{Completions, Parking};
use crate::codec::cloudevents;
use crate::error::{Error, Kind};
use crate::model::Server;
use crate::trace;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{oneshot, watch, Notify, Semaphore};

/// How long the last spans may take to reach the collector when the server ends.
const FLUSH: Duration = Duration::from_secs(2);

/// What to serve, where, and how to stop.
pub struct Config {
    /// Listening socket for REST.
    pub http: Option<std::net::TcpListener>,
    /// Listening socket for gRPC.
    pub grpc: Option<std::net::TcpListener>,
    /// Listening socket for `/metrics` and health alone.
    pub metrics: Option<std::net::TcpListener>,
    /// Private socket for sibling processes: REST without TLS, for this process alone.
    pub control: Option<std::os::unix::net::UnixListener>,
    /// TLS for `http` and `grpc`.
    pub tls: Option<TlsFiles>,
    /// Answer gRPC on the REST port too.
    pub both_on_http: bool,
    /// Where traces go; nothing: there are none.
    pub tracing: Option<trace::Settings>,
    /// Longest time that requests in flight may take once the server drains.
    pub drain_timeout: Duration,
    /// How long a draining server still accepts, so that balancers notice that it is not ready.
    pub drain_delay: Duration,
    /// Serve `/docs` and `/openapi.json`.
    pub docs: bool,
    /// Write a JSON line per request to stderr.
    pub access_log: bool,
    /// How answers to CloudEvents look.
    pub cloudevents: cloudevents::Settings,
    /// Most connections a listener; more wait to be accepted.
    pub max_connections: usize,
    /// Begin to drain on SIGTERM and SIGINT; a second one ends at once.
    pub signals: bool,
    /// Called at once when a model is stuck, so that a replacement for this process can start.
    pub on_stuck: Option<Box<dyn Fn() + Send>>,
    /// Short models are called on this thread. Called, on another one, when the server has ended while a model does
    /// not return here: it must end the process. Without it, models are called on threads of their own only.
    pub abandon: Option<Box<dyn Fn(Ended) + Send>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: None,
            grpc: None,
            metrics: None,
            control: None,
            tls: None,
            both_on_http: true,
            tracing: None,
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            docs: true,
            access_log: false,
            cloudevents: cloudevents::Settings::default(),
            max_connections: 16_384,
            signals: false,
            on_stuck: None,
            abandon: None,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Config").field("http", &self.http).field("grpc", &self.grpc).finish_non_exhaustive()
    }
}

/// Stops a running server from any thread.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    stop: Arc<Notify>,
    abort: Arc<Notify>,
}

impl Handle {
    /// Begins a graceful drain; at once if the server does not run yet.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Ends the drain at once, or the server if it does not drain yet; requests in flight are lost.
    pub fn abort(&self) {
        self.abort.notify_one();
        self.stop.notify_one();
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request was answered.
    Drained,
    /// Requests were still running when the drain timeout passed.
    DrainTimedOut,
    /// A model did not return in time: this process must be replaced.
    Stuck,
}

/// Serves until stopped. This thread becomes the I/O thread.
pub fn run(
    server: Arc<Server>,
    completions: Arc<Completions>,
    parking: Arc<Parking>,
    mut config: Config,
    handle: Handle,
) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("modelport-io")
        .on_thread_park({
            let parking = Arc::clone(&parking);
            move || parking.rest()
        })
        .on_thread_unpark({
            let parking = Arc::clone(&parking);
            move || parking.stir()
        })
        .build()?;
    let (log, log_ended) = Log::start(&server)?;
    let exporter =
        config.tracing.take().map(|settings| start_tracing(&server, settings, &log)).transpose()?;
    let (tell, ending) = oneshot::channel();
    let abandon = config.abandon.take();
    let failed = Arc::new(Mutex::new(None));
    let serving = serve(server, Arc::clone(&completions), config, handle, log.clone());
    runtime.spawn({
        let failed = Arc::clone(&failed);
        async move {
            let ended = serving.await.unwrap_or_else(|error| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Ended::Drained
            });
            let _ = tell.send(ended);
        }
    });
    let ended = seat::drive(&runtime, completions, parking, ending, abandon);
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    let ended = failed.map_or(Ok(ended), Err);
    // A thread that still inflates a body must not keep the process.
    runtime.shutdown_background();
    if let Some(exporter) = exporter {
        exporter.finish(FLUSH);
    }
    log::finish(log, &log_ended);
    ended
}

fn start_tracing(server: &Server, settings: trace::Settings, log: &Log) -> io::Result<trace::Exporter> {
    let log = log.clone();
    let counts = Arc::clone(&server.metrics.spans);
    let (tracer, exporter) = trace::start(settings, &server.version, counts, move |text| log.warn(text))?;
    let _ = server.tracer.set(tracer); // a server runs once
    Ok(exporter)
}

async fn serve(
    server: Arc<Server>,
    completions: Arc<Completions>,
    config: Config,
    handle: Handle,
    log: Log,
) -> io::Result<Ended> {
    let room = u32::try_from(config.max_connections.clamp(1, 1 << 20)).unwrap_or(1 << 20);
    let (stage, watcher) = watch::channel(Stage::Serving);
    let tls = config.tls.map(|files| Tls::load(files, log.clone(), None)).transpose()?.map(Arc::new);
    let http_port = config.http.as_ref().and_then(|listener| listener.local_addr().ok());
    let door = Door {
        shared: Arc::new(Shared {
            docs: config.docs,
            cloudevents: config.cloudevents,
            access: config.access_log.then(|| log.clone()),
            grpc: super::grpc::service(Arc::clone(&server)),
            http_port: http_port.map(|address| address.port()),
            server: Arc::clone(&server),
        }),
        port: Port::Control,
        tls: None,
        room: Arc::new(Semaphore::new(0)),
        stage: watcher,
        log: log.clone(),
        builder: Arc::new(accept::builder()),
    };
    let mut rooms = Vec::new();
    let mut open = |listener, port, tls| {
        let room = Arc::new(Semaphore::new(room as usize));
        rooms.push(Arc::clone(&room));
        let door = Door { port, tls, room, ..door.clone() };
        tokio::spawn(door.serve(listener));
    };
    if let Some(listener) = config.http {
        open(tcp(listener)?, Port::Http { grpc: config.both_on_http }, tls.clone());
    }
    if let Some(listener) = config.grpc {
        open(tcp(listener)?, Port::Grpc, tls);
    }
    if let Some(listener) = config.metrics {
        open(tcp(listener)?, Port::Metrics, None);
    }
    if let Some(listener) = config.control {
        listener.set_nonblocking(true)?;
        open(Listener::Unix(UnixListener::from_std(listener)?), Port::Control, None);
    }

    tokio::spawn(async move { completions.deliver().await });
    let mut signals = Signals::listen(config.signals)?;
    let stuck = tokio::select! {
        biased;
        () = watch_models(&server) => true,
        () = handle.stop.notified() => false,
        () = signals.next() => false,
    };
    if stuck {
        log.warn("a model does not return; this process serves what it has and ends");
        if let Some(tell) = &config.on_stuck {
            tell();
        }
    }
    server.drain();
    let times = Times {
        // A stuck process leaves new connections to its replacement.
        accept_while_delayed: !stuck,
        delay: config.drain_delay,
        timeout: config.drain_timeout,
    };
    let drained = tokio::select! {
        biased;
        drained = drain(&stage, &rooms, room, &times) => drained,
        () = signals.next() => false,
        () = handle.abort.notified() => false,
        // More models may hang while others finish: their clients get their 504 too.
        () = watch_for_ever(&server) => false,
    };
    Ok(match (stuck, drained) {
        (true, _) => Ended::Stuck,
        (false, true) => Ended::Drained,
        (false, false) => Ended::DrainTimedOut,
    })
}

fn tcp(listener: std::net::TcpListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?))
}

struct Times {
    accept_while_delayed: bool,
    delay: Duration,
    timeout: Duration,
}

/// Stops accepting and lets requests finish; false if some did not in time.
async fn drain(stage: &watch::Sender<Stage>, rooms: &[Arc<Semaphore>], room: u32, times: &Times) -> bool {
    if !times.accept_while_delayed {
        stage.send_replace(Stage::Closed);
    }
    tokio::time::sleep(times.delay).await;
    stage.send_replace(Stage::Finishing);
    let empty = async {
        for connections in rooms {
            // Never closed, so this waits until every connection has given its place back.
            let _ = connections.acquire_many(room).await;
        }
    };
    tokio::time::timeout(times.timeout, empty).await.is_ok()
}

/// Looks after the models until one of them is stuck.
async fn watch_models(server: &Server) {
    loop {
        let mut pause = Duration::from_secs(1);
        let mut stuck = false;
        for model in server.registry.all() {
            let Some(timeout) = model.options.predict_timeout else { continue };
            pause = pause.min(Duration::from_millis(100)).min(timeout / 10).max(Duration::from_millis(1));
            if model.queue.expire(timeout) {
                model.set_ready(false);
                model.queue.refuse(&Error::new(
                    Kind::NotReady,
                    format!("Model {} is stuck; its process is being replaced.", model.metadata.name),
                ));
                stuck = true;
            }
        }
        if stuck {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn watch_for_ever(server: &Server) {
    loop {
        watch_models(server).await;
    }
}

struct Signals(Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>);

impl Signals {
    fn listen(wanted: bool) -> io::Result<Self> {
        if !wanted {
            return Ok(Self(None));
        }
        Ok(Self(Some((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            None => pending().await,
            Some((terminate, interrupt)) => tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            },
        }
    }
}
