//! The exporter: a thread that posts batches of spans to the collector, tries again within bounds, and
//! drops what it cannot get rid of.

use super::message::{ExportResponse, Resource};
use super::outlet::Outlet;
use super::{otlp, Settings, Span, Tracer};
use crate::metrics::SpanCounts;
use bytes::Bytes;
use flate2::{write::GzEncoder, Compression};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message;
use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Write};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// How often a batch is posted at most.
const ATTEMPTS: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between attempts while the server ends.
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// Most of a collector's answer that is read.
const ANSWER: usize = 64 << 10;
/// How often a failing collector is told of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The exporter's thread, as the one who started it sees it.
#[derive(Debug)]
pub struct Exporter {
    outlet: Arc<Outlet>,
    stop: watch::Sender<Option<Instant>>,
    ended: Receiver<()>,
}

impl Exporter {
    /// Exports what waits, for so long at most; what is left then is dropped.
    pub fn finish(self, within: Duration) {
        self.outlet.close();
        self.stop.send_replace(Some(Instant::now() + within));
        // The thread ends by itself at that time; a moment more for the clock's sake.
        let _ = self.ended.recv_timeout(within + Duration::from_millis(250));
    }
}

/// Starts to export. `tell` takes sentences for the operator.
pub fn start(
    settings: Settings,
    version: &str,
    counts: Arc<SpanCounts>,
    tell: impl Fn(String) + Send + 'static,
) -> io::Result<(Tracer, Exporter)> {
    let tls = settings.tls().map_err(io::Error::other)?;
    let outlet = Outlet::new(settings.queue, settings.batch, Arc::clone(&counts));
    let tracer = Tracer { sampler: settings.sampler, outlet: Arc::clone(&outlet) };
    let (stop, stopped) = watch::channel(None);
    let (alive, ended) = sync_channel::<()>(0);
    seed();
    for warning in &settings.warnings {
        tell(format!("tracing: {warning}"));
    }
    let work = Work {
        resource: otlp::resource(&settings, version),
        version: version.to_owned(),
        outlet: Arc::clone(&outlet),
        counts,
        tls,
        stopped,
        connection: None,
        tell: Box::new(tell),
        told: None,
        settings,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("modelport-trace".to_owned()).spawn(move || {
        let _alive = alive;
        seed();
        runtime.block_on(work.run());
        runtime.shutdown_background(); // a name that does not resolve keeps nobody
    })?;
    Ok((tracer, Exporter { outlet, stop, ended }))
}

/// Seeds this thread's ids: worker processes are forks of one, and must not number alike.
fn seed() {
    let mut hasher = RandomState::new().build_hasher();
    std::process::id().hash(&mut hasher);
    std::thread::current().id().hash(&mut hasher);
    SystemTime::now().hash(&mut hasher);
    Instant::now().hash(&mut hasher);
    fastrand::seed(hasher.finish());
}

/// What the collector says of a batch.
enum Verdict {
    Taken { rejected: usize },
    Refused(StatusCode),
    Later(StatusCode, Option<Duration>),
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Work {
    settings: Settings,
    resource: Resource,
    version: String,
    outlet: Arc<Outlet>,
    counts: Arc<SpanCounts>,
    tls: Option<Arc<ClientConfig>>,
    stopped: watch::Receiver<Option<Instant>>,
    connection: Option<SendRequest<Full<Bytes>>>,
    tell: Box<dyn Fn(String) + Send>,
    /// When a failure was told of last; nothing while all is well.
    told: Option<Instant>,
}

impl Work {
    async fn run(mut self) {
        let (outlet, counts) = (Arc::clone(&self.outlet), Arc::clone(&self.counts));
        let in_hand = Cell::new(0);
        let mut stopped = self.stopped.clone();
        let deadline = async {
            if let Ok(Some(end)) = stopped.wait_for(Option::is_some).await.map(|end| *end) {
                tokio::time::sleep_until(end.into()).await;
            }
        };
        tokio::select! {
            biased;
            () = deadline => {}
            () = self.export_all(&in_hand) => {}
        }
        let mut lost = in_hand.get();
        while let Some((_, spans)) = outlet.take() {
            lost += spans;
        }
        counts.dropped(lost);
    }

    async fn export_all(&mut self, in_hand: &Cell<usize>) {
        loop {
            let stopping = tokio::select! {
                biased;
                _ = self.stopped.wait_for(Option::is_some) => true,
                () = self.outlet.full.notified() => false,
                () = tokio::time::sleep(self.settings.delay) => false,
            };
            while let Some((batch, spans)) = self.outlet.take() {
                in_hand.set(spans);
                let lost = self.export(&batch, spans).await;
                in_hand.set(0);
                self.counts.dropped(lost);
                self.counts.exported(spans - lost);
            }
            if stopping {
                return;
            }
        }
    }

    /// Returns how many spans are lost.
    async fn export(&mut self, batch: &[Span], spans: usize) -> usize {
        let body = match self.body(batch) {
            Ok(body) => body,
            Err(error) => return self.lost(spans, &error.to_string()),
        };
        let mut pause = self.settings.retry;
        let mut why = String::new();
        for attempt in 1..=ATTEMPTS {
            let mut asked = None;
            match tokio::time::timeout(self.settings.timeout, self.post(body.clone())).await {
                Ok(Ok(Verdict::Taken { rejected: 0 })) => {
                    if self.told.take().is_some() {
                        (self.tell)("tracing: spans are exported again".to_owned());
                    }
                    return 0;
                }
                Ok(Ok(Verdict::Taken { rejected })) => {
                    return self.lost(rejected.min(spans), "the collector rejected some")
                }
                Ok(Ok(Verdict::Refused(status))) => {
                    return self.lost(spans, &format!("it answered {status}"))
                }
                Ok(Ok(Verdict::Later(status, after))) => {
                    asked = after;
                    why = format!("it answered {status}");
                }
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no answer in {:?}", self.settings.timeout),
            }
            if attempt < ATTEMPTS {
                // Half of it by chance, so that servers do not come back all at once.
                let wait = pause.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default());
                self.wait(wait.min(LONGEST_PAUSE)).await;
                pause *= 2;
            }
        }
        self.lost(spans, &why)
    }

    async fn wait(&mut self, pause: Duration) {
        if self.stopped.borrow().is_some() {
            return tokio::time::sleep(pause.min(LAST_PAUSE)).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.stopped.wait_for(Option::is_some) => {}
        }
    }

    fn lost(&mut self, spans: usize, why: &str) -> usize {
        if self.told.is_none_or(|told| told.elapsed() > TELL_EVERY) {
            self.told = Some(Instant::now());
            (self.tell)(format!(
                "tracing: {} does not take spans: {why}; {spans} are dropped",
                self.settings.address()
            ));
        }
        spans
    }

    fn body(&self, batch: &[Span]) -> io::Result<Bytes> {
        let plain = otlp::request(&self.resource, &self.version, batch).encode_to_vec();
        if !self.settings.gzip {
            return Ok(plain.into());
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&plain)?;
        Ok(packed.finish()?.into())
    }

    async fn post(&mut self, body: Bytes) -> Result<Verdict, Failure> {
        // The collector may have closed a connection that was idle: then a new one is tried at once.
        if let Some(mut sender) = self.connection.take() {
            if sender.ready().await.is_ok() {
                if let Ok(verdict) = self.post_on(sender, body.clone()).await {
                    return Ok(verdict);
                }
            }
        }
        let sender = self.connect().await?;
        self.post_on(sender, body).await
    }

    async fn post_on(
        &mut self,
        mut sender: SendRequest<Full<Bytes>>,
        body: Bytes,
    ) -> Result<Verdict, Failure> {
        let endpoint = &self.settings.endpoint;
        let path = endpoint.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path).body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_str(&format!("modelport/{}", self.version))?);
        headers.extend(self.settings.headers.clone());
        let host = endpoint.authority().map_or("", |authority| authority.as_str());
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let (head, answer) = sender.send_request(request).await?.into_parts();
        let answer = Limited::new(answer, ANSWER).collect().await;
        let answer = answer.map(|answer| {
            self.connection = Some(sender); // all was read: it can be used again
            answer.to_bytes()
        });
        Ok(match head.status {
            status if status.is_success() => Verdict::Taken { rejected: rejected(answer.ok()) },
            // OTLP's list of those that are worth another attempt.
            status if matches!(status.as_u16(), 429 | 502 | 503 | 504) => {
                Verdict::Later(status, retry_after(&head.headers))
            }
            status => Verdict::Refused(status),
        })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let endpoint = &self.settings.endpoint;
        let host = endpoint.host().unwrap_or_default().trim_matches(['[', ']']);
        let default = if self.tls.is_some() { 443 } else { 80 };
        let plain = TcpStream::connect((host, endpoint.port_u16().unwrap_or(default))).await?;
        plain.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(plain),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())?;
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, plain).await?)
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Spans that a collector took none of, though it said yes.
fn rejected(answer: Option<Bytes>) -> usize {
    let answer = answer.and_then(|body| ExportResponse::decode(body).ok());
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
