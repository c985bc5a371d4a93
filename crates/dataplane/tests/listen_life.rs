//! Deadlines, cancellation, drain, hanging models, TLS and sibling processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use modelport_dataplane::batch::Batching;
use modelport_dataplane::listen::Ended;
use modelport_dataplane::model::Options;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;
use support::{numbers, row, wait_for, Client, Counter, Gate, Setup, PATIENCE};

const BODY: &str = r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}]}"#;

fn one_by_one() -> Options {
    Options { batching: Batching { max_rows: 1, ..Batching::default() }, ..Options::default() }
}

/// A model that waits for the gate, and counts its calls when they begin.
fn gated(setup: &Setup, options: Options) -> (Arc<Gate>, Counter) {
    let (gate, counter) = (Arc::new(Gate::default()), Counter::default());
    let (wait, count) = (Arc::clone(&gate), counter.clone());
    setup.function("slow", options, move |_| {
        count.add();
        wait.wait();
        Ok(numbers(&[1.0]))
    });
    (gate, counter)
}

#[test]
fn a_deadline_ends_the_wait_and_the_work() {
    let setup = Setup::new();
    let (gate, calls) = gated(&setup, one_by_one());
    let running = setup.start();
    let mut first = running.client();
    first.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    wait_for("the model to be busy", || calls.get() == 1);
    for header in [("x-request-timeout", "0.05"), ("x-envoy-expected-rq-timeout-ms", "50")] {
        let late = running.client().request("POST", "/v2/models/slow/infer", &[header], BODY.as_bytes());
        assert!(late.error(504).contains("deadline"));
    }
    // Both are still queued; nobody waits for them, so they never run.
    gate.open();
    assert_eq!(first.read().unwrap().status, 200);
    assert_eq!(running.post("/v2/models/slow/infer", BODY).status, 200);
    assert_eq!(calls.get(), 2);
}

#[test]
fn what_a_lost_client_queued_is_not_run() {
    let setup = Setup::new();
    let (gate, calls) = gated(&setup, one_by_one());
    let running = setup.start();
    let model = running.server.registry.get("slow", None).unwrap();
    let mut first = running.client();
    first.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    wait_for("the model to be busy", || calls.get() == 1);
    let mut lost = running.client();
    lost.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    wait_for("the second request", || model.queue.depth() == 1);
    assert_eq!(model.metrics.in_flight(), 2);
    drop(lost);
    wait_for("the server to notice", || model.metrics.in_flight() == 1);
    gate.open();
    assert_eq!(first.read().unwrap().status, 200);
    assert_eq!(running.post("/v2/models/slow/infer", BODY).status, 200);
    assert_eq!(calls.get(), 2);
}

#[test]
fn a_drain_loses_no_request() {
    let setup = Setup::new();
    let (gate, calls) = gated(&setup, one_by_one());
    let running = setup.start();
    let mut clients: Vec<_> = (0..20).map(|_| running.client()).collect();
    for client in &mut clients {
        client.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    }
    let model = running.server.registry.get("slow", None).unwrap();
    wait_for("all requests", || calls.get() == 1 && model.queue.depth() == 19);
    running.handle.stop();
    wait_for("the drain to begin", || running.server.is_draining());
    gate.open();
    for mut client in clients {
        let reply = client.read().expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    assert_eq!(running.ended(), Ended::Drained);
}

#[test]
fn a_busy_server_drains_without_a_loss() {
    let mut setup = Setup::new();
    setup.sum(None);
    setup.config.drain_delay = Duration::from_millis(50);
    let running = setup.start();
    let address = running.address;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Counter::default();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (stop, answered) = (Arc::clone(&stop), answered.clone());
            std::thread::spawn(move || {
                // As a well-behaved client: a connection that was told to close is given up.
                while !stop.load(Ordering::SeqCst) {
                    let mut client = Client::connect(address);
                    loop {
                        let reply =
                            client.request("POST", "/v2/models/sum/infer", &[], row([1.0; 4]).as_bytes());
                        assert_eq!(reply.status, 200);
                        answered.add();
                        if reply.header("connection") == Some("close") {
                            break;
                        }
                    }
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                }
            })
        })
        .collect();
    wait_for("some answers", || answered.get() > 200);
    stop.store(true, Ordering::SeqCst); // balancers send no new connections once it drains
    running.handle.stop();
    for thread in threads {
        thread.join().expect("no request was lost");
    }
    assert_eq!(running.ended(), Ended::Drained);
}

#[test]
fn readiness_turns_off_before_the_door_closes() {
    let mut setup = Setup::new();
    setup.sum(None);
    setup.config.drain_delay = PATIENCE;
    let running = setup.start();
    assert_eq!(running.get("/v2/health/ready").status, 200);
    running.handle.stop();
    wait_for("the drain to begin", || running.server.is_draining());
    running.get("/v2/health/ready").error(503);
    assert_eq!(running.get("/v2/health/live").status, 200);
    assert_eq!(running.post("/v2/models/sum/infer", &row([1.0; 4])).status, 200);
    running.handle.abort();
    assert_eq!(running.ended(), Ended::DrainTimedOut);
}

#[test]
fn a_drain_ends_though_a_model_does_not() {
    let mut setup = Setup::new();
    setup.config.drain_timeout = Duration::from_millis(100);
    let (gate, calls) = gated(&setup, one_by_one());
    let running = setup.start();
    let mut client = running.client();
    client.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    wait_for("the model to be busy", || calls.get() == 1);
    running.handle.stop();
    assert_eq!(running.ended(), Ended::DrainTimedOut);
    assert!(client.read().is_none());
    gate.open();
}

#[test]
fn a_stuck_model_costs_its_request_and_no_other() {
    let mut setup = Setup::new();
    setup.sum(None);
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    setup.config.on_stuck = Some(Box::new(move || tell.store(true, Ordering::SeqCst)));
    setup.config.drain_delay = PATIENCE;
    let options = Options { predict_timeout: Some(Duration::from_secs(1)), ..one_by_one() };
    let (gate, calls) = gated(&setup, options);
    let running = setup.start();
    let mut other = running.client();
    assert_eq!(other.request("GET", "/v2/health/live", &[], b"").status, 200);
    let mut stuck = running.client();
    stuck.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    wait_for("the model to be busy", || calls.get() == 1);
    let mut behind = running.client();
    behind.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    // While it hangs, and before anybody knows: health and other models answer.
    assert_eq!(other.request("GET", "/v2/health/live", &[], b"").status, 200);
    let sum = other.request("POST", "/v2/models/sum/infer", &[], row([1.0; 4]).as_bytes());
    assert_eq!(sum.status, 200);
    assert!(stuck.read().unwrap().error(504).contains("predict timeout"));
    assert!(behind.read().unwrap().error(503).contains("stuck"));
    wait_for("the callback", || told.load(Ordering::SeqCst));
    // Afterwards, on a connection from before: still there, and told to go elsewhere.
    let ready = other.request("GET", "/v2/health/ready", &[], b"");
    ready.error(503);
    assert_eq!(ready.header("connection"), Some("close"));
    running.handle.abort();
    assert_eq!(running.ended(), Ended::Stuck);
    gate.open();
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("modelport-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

mod tls {
    use super::*;
    use modelport_dataplane::listen::TlsFiles;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use std::net::TcpStream;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// Certificate and key, as PEM.
    fn issue(authority: &Authority) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
    }

    type Stream = StreamOwned<ClientConnection, TcpStream>;

    fn connect(
        address: SocketAddr,
        trust: &Authority,
        identity: Option<&(String, String)>,
    ) -> Client<Stream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trust.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client::over(StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream))
    }

    /// Whether a request goes through.
    fn works(client: &mut Client<Stream>) -> bool {
        use std::io::Write;
        let sent = client.stream.write_all(&support::message("GET", "/v2/health/live", &[], b""));
        sent.is_ok() && client.read().is_some_and(|reply| reply.status == 200)
    }

    #[test]
    fn certificates_are_taken_up_while_it_runs() {
        let directory = Directory::new("tls-reload");
        let (old, new) = (authority(), authority());
        let (certificate, key) = issue(&old);
        let files = TlsFiles {
            certificate: directory.write("tls.crt", &certificate),
            key: directory.write("tls.key", &key),
            client_ca: None,
        };
        let mut setup = Setup::new();
        setup.config.tls = Some(files);
        let running = setup.start();
        let mut early = connect(running.address, &old, None);
        assert!(works(&mut early));
        assert!(!works(&mut connect(running.address, &new, None)));

        directory.write("tls.crt", "no certificate");
        std::thread::sleep(Duration::from_millis(1100)); // a look at the files is due
        assert!(works(&mut connect(running.address, &old, None)), "the old one stays");

        let (certificate, key) = issue(&new);
        directory.write("tls.crt", &certificate);
        directory.write("tls.key", &key);
        wait_for("the new certificate", || works(&mut connect(running.address, &new, None)));
        assert!(!works(&mut connect(running.address, &old, None)));
        assert!(works(&mut early), "connections from before go on");
    }

    #[test]
    fn clients_prove_who_they_are() {
        let directory = Directory::new("mtls");
        let (servers, clients) = (authority(), authority());
        let (certificate, key) = issue(&servers);
        let mut setup = Setup::new();
        setup.config.tls = Some(TlsFiles {
            certificate: directory.write("tls.crt", &certificate),
            key: directory.write("tls.key", &key),
            client_ca: Some(directory.write("ca.crt", &clients.pem())),
        });
        let running = setup.start();
        assert!(works(&mut connect(running.address, &servers, Some(&issue(&clients)))));
        assert!(!works(&mut connect(running.address, &servers, None)));
        assert!(!works(&mut connect(running.address, &servers, Some(&issue(&servers)))));
    }

    #[test]
    fn broken_files_are_refused_at_the_start() {
        let directory = Directory::new("tls-broken");
        let (certificate, _) = issue(&authority());
        let (_, key) = issue(&authority());
        let files = TlsFiles {
            certificate: directory.write("tls.crt", &certificate),
            key: directory.write("tls.key", &key),
            client_ca: None,
        };
        let config = modelport_dataplane::listen::Config {
            tls: Some(files),
            ..modelport_dataplane::listen::Config::default()
        };
        let setup = Setup::new();
        let error = modelport_dataplane::listen::run(
            setup.server,
            Arc::default(),
            Arc::default(),
            config,
            modelport_dataplane::listen::Handle::default(),
        )
        .expect_err("the key is another's");
        assert!(error.to_string().contains("tls.crt"), "{error}");
    }
}

/// The samples of a family, added up.
fn total(metrics: &str, family: &str) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(family))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[test]
fn siblings_add_up_their_metrics() {
    let directory = Directory::new("peers");
    let socket = |name: &str| directory.0.join(name);
    let mut one = Setup::new();
    let mut other = Setup::new();
    one.sum(None);
    other.sum(None);
    other.config.control = Some(UnixListener::bind(socket("other")).unwrap());
    one.config.control = Some(UnixListener::bind(socket("one")).unwrap());
    let metrics_port = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics_address = metrics_port.local_addr().unwrap();
    one.config.metrics = Some(metrics_port);
    // A sibling that is gone, and one that accepts and never answers, are left out.
    let _mute = UnixListener::bind(socket("mute")).unwrap();
    *one.server.peers.write().unwrap() = vec![socket("other"), socket("gone"), socket("mute")];
    let (one, other) = (one.start(), other.start());
    for _ in 0..3 {
        assert_eq!(one.post("/v2/models/sum/infer", &row([1.0; 4])).status, 200);
    }
    for _ in 0..4 {
        assert_eq!(other.post("/v2/models/sum/infer", &row([1.0; 4])).status, 200);
    }
    let family = "modelport_requests_total";
    assert_eq!(total(&one.get("/metrics").text(), family), 7.0);
    let mut scrape = Client::connect(metrics_address);
    assert_eq!(total(&scrape.request("GET", "/metrics", &[], b"").text(), family), 7.0);
    assert_eq!(scrape.request("GET", "/v2/health/ready", &[], b"").status, 200);
    scrape.request("POST", "/v2/models/sum/infer", &[], BODY.as_bytes()).error(404);
    let mut control = Client::over(UnixStream::connect(socket("one")).unwrap());
    assert_eq!(total(&control.request("GET", "/metrics", &[], b"").text(), family), 3.0);
    assert_eq!(control.request("GET", "/v2/health/ready", &[], b"").status, 200);
}

#[test]
fn rest_on_the_grpc_port_is_told_where_to_go() {
    let mut setup = Setup::new();
    let grpc = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = grpc.local_addr().unwrap();
    setup.config.grpc = Some(grpc);
    let running = setup.start();
    let text = Client::connect(address).request("GET", "/v2/health/live", &[], b"").error(415);
    assert!(text.contains(&running.address.port().to_string()), "{text}");
}

/// Calls an RPC with an empty message; headers and trailers, and the body.
fn call_grpc(address: SocketAddr, method: &str) -> (http::HeaderMap, bytes::Bytes) {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://test{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(bytes::Bytes::from_static(&[0; 5])))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let mut headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap();
        headers.extend(body.trailers().cloned().unwrap_or_default());
        (headers, body.to_bytes())
    })
}

#[test]
fn grpc_is_answered_on_both_ports() {
    let mut setup = Setup::new();
    let grpc = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = grpc.local_addr().unwrap();
    setup.config.grpc = Some(grpc);
    setup.config.access_log = true;
    let running = setup.start();
    for address in [address, running.address] {
        let (headers, body) = call_grpc(address, "/inference.GRPCInferenceService/ServerLive");
        assert_eq!(headers.get("grpc-status").unwrap(), "0");
        assert_eq!(&body[..], [0, 0, 0, 0, 2, 8, 1]); // live = true
    }
    let mut setup = Setup::new();
    setup.config.both_on_http = false;
    let running = setup.start();
    let (headers, _) = call_grpc(running.address, "/inference.GRPCInferenceService/ServerLive");
    assert_eq!(headers.get("content-type").unwrap(), "application/json");
}
