//! HTTP/2 and gRPC through a real gateway, on the port that HTTP/1.1 has too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use bytes::Bytes;
use gateway_support::{full, nobody, wait_for, Body, Setup, Upstream, PATIENCE};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

type Sent = http_body_util::combinators::BoxBody<Bytes, Infallible>;

fn trailers(code: &str) -> HeaderMap {
    [("grpc-status", code), ("x-tail", "1")]
        .into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

/// Answers each call with its own message, and with trailers.
fn calls() -> Upstream {
    Upstream::start(|request: Request<Incoming>| async move {
        if !request.headers().contains_key("content-type") {
            return Response::new(full(format!("{:?}", request.version())));
        }
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        let (head, mut body) = request.into_parts();
        let (parts, queue) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return };
                if parts.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
            let _ = parts.send(Ok(Frame::trailers(trailers("0")))).await;
        });
        let answer: Body = BodyExt::boxed(StreamBody::new(ReceiverStream::new(queue)));
        let mut response = Response::new(answer);
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.headers_mut().insert("x-path", head.uri.path().parse().unwrap());
        response.headers_mut().insert("x-authority", head.uri.authority().unwrap().as_str().parse().unwrap());
        response
    })
}

async fn connect(address: SocketAddr) -> SendRequest<Sent> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, driver) = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    sender
}

fn call(path: &str, body: Sent) -> Request<Sent> {
    Request::post(format!("http://h.example.com{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

fn message(text: &str) -> Sent {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

async fn whole(response: Response<Incoming>) -> (http::response::Parts, Bytes, HeaderMap) {
    let (head, body) = response.into_parts();
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (head, collected.to_bytes(), trailers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_its_trailers_pass_on_the_port_of_http1() {
    let upstream = calls();
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    for round in 0..3 {
        let (head, body, trailers) =
            whole(sender.send_request(call(INFER, message("abc"))).await.unwrap()).await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"abc"[..]), "{round}");
        assert_eq!(
            (&head.headers["x-path"], &head.headers["x-authority"]),
            (&INFER.parse().unwrap(), &"h.example.com".parse().unwrap())
        );
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-tail"]),
            (&"0".parse().unwrap(), &"1".parse().unwrap())
        );
        assert!(head.headers.contains_key("x-request-id"));
    }
    assert_eq!(running.get("/").text(), "HTTP/1.1");
    assert_eq!(
        running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"2xx\",protocol=\"grpc\""),
        3.0
    );
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_at_once_is_a_head_alone() {
    // An error of the model reads "Stream removed" at the client where anything follows the head.
    let upstream = Upstream::start(|_: Request<Incoming>| async move {
        let mut response = Response::new(full(Bytes::new()));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.headers_mut().insert("grpc-status", "5".parse().unwrap());
        response
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let response = sender.send_request(call(INFER, message("abc"))).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "5");
    assert!(http_body::Body::is_end_stream(response.body()), "the head ends the stream");
    wait_for("the count", || {
        running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"4xx\",protocol=\"grpc\"")
            == 1.0
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_of_a_stream_flow_at_once() {
    let upstream = calls();
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let (parts, queue) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let body: Sent = BodyExt::boxed(StreamBody::new(ReceiverStream::new(queue)));
    let response = sender.send_request(call(STREAM, body)).await.unwrap();
    let mut answers = response.into_body();
    for number in 0..20 {
        let text = Bytes::from(number.to_string());
        parts.send(Ok(Frame::data(text.clone()))).await.unwrap();
        // Each answer comes before the next message is sent.
        let frame = tokio::time::timeout(PATIENCE, answers.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    drop(parts);
    let last = tokio::time::timeout(PATIENCE, answers.frame()).await.unwrap().unwrap().unwrap();
    assert_eq!(last.trailers_ref().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_the_sender() {
    // The endpoint sends as much as anybody takes, and counts it.
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let upstream = Upstream::start(move |_| {
        let count = Arc::clone(&count);
        async move {
            let (parts, queue) = mpsc::channel(1);
            tokio::spawn(async move {
                let part = Bytes::from(vec![0; 1 << 20]);
                while parts.send(Ok(Frame::data(part.clone()))).await.is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
            Response::new(BodyExt::boxed(StreamBody::new(ReceiverStream::new(queue))) as Body)
        }
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    // HTTP/1.1 and HTTP/2: nobody reads, so it must come to rest.
    let mut plain = running.client();
    plain.begin("GET", "/", &[], b"");
    let mut sender = connect(running.address).await;
    let kept = sender.send_request(call(STREAM, Empty::new().boxed())).await.unwrap();
    let mut last = usize::MAX;
    wait_for("the flow to stop", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::SeqCst);
        let still = now > 0 && now == last;
        last = now;
        still
    });
    // Sockets' buffers and windows, and not the whole flow.
    assert!(last < 100, "{last} MiB");
    drop((plain, kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_grpcs_own() {
    let running = Setup::new().start();
    running.route(&[nobody()], json!({"cluster": {"hold_ms": 10}}));
    let mut sender = connect(running.address).await;
    let (head, body, _) = whole(sender.send_request(call(INFER, message("a"))).await.unwrap()).await;
    assert_eq!((head.status.as_u16(), body.len()), (200, 0));
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["grpc-status"], "14");
    let words = head.headers["grpc-message"].to_str().unwrap();
    let id = head.headers["x-request-id"].to_str().unwrap();
    assert_eq!(words, format!("No endpoint of n/c:80 became ready within 0.01 s. (request {id})"));
    assert_eq!(
        running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"5xx\",protocol=\"grpc\""),
        1.0
    );
    // gRPC over HTTP/1.1 is nothing.
    let headers = [("content-type", "application/grpc")];
    assert_eq!(running.client().request("POST", INFER, &headers, b"").error(505), "gRPC needs HTTP/2.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_counted_as_such() {
    let upstream = Upstream::start(|_| async {
        let mut response = Response::new(full(""));
        response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        response.headers_mut().insert("grpc-status", "3".parse().unwrap());
        response
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let (head, ..) = whole(sender.send_request(call(INFER, message("a"))).await.unwrap()).await;
    assert_eq!(head.headers["grpc-status"], "3");
    wait_for("the count", || {
        running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"4xx\",protocol=\"grpc\"")
            == 1.0
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_a_call_frees_the_endpoint() {
    let (begun, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counts = (Arc::clone(&begun), Arc::clone(&dropped));
    let upstream = Upstream::start(move |_| {
        let guard = Dropped(Arc::clone(&counts.1));
        counts.0.fetch_add(1, Ordering::SeqCst);
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let pending = tokio::spawn(sender.send_request(call(INFER, message("a"))));
    wait_for("the call to arrive", || begun.load(Ordering::SeqCst) == 1);
    pending.abort();
    wait_for("the endpoint to hear of it", || dropped.load(Ordering::SeqCst) == 1);
    wait_for("it to be counted", || running.demand("n/c:80")["in_flight"] == 0);
    // The connection to the endpoint goes on.
    assert_eq!(upstream.open.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_share_few_connections() {
    let upstream = calls();
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let sender = connect(running.address).await;
        for number in 0..50 {
            let mut sender = sender.clone();
            tasks.push(tokio::spawn(async move {
                let text = number.to_string();
                let (_, body, trailers) =
                    whole(sender.send_request(call(INFER, message(&text))).await.unwrap()).await;
                assert_eq!((&body[..], &trailers["grpc-status"]), (text.as_bytes(), &"0".parse().unwrap()));
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let connections = upstream.connections.load(Ordering::SeqCst);
    assert!((1..=8).contains(&connections), "{connections}");
}

/// An HTTP/2 endpoint that answers `most` calls of each connection and says GOAWAY then.
fn leaving(most: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut answered = 0;
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    let response =
                        Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut stream = respond.send_response(response, false).unwrap();
                    stream.send_trailers(trailers("0")).unwrap();
                    answered += 1;
                    if answered == most {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_goaway_loses_no_call() {
    let (address, connections) = leaving(3);
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let sender = connect(running.address).await;
    let mut tasks = Vec::new();
    for _ in 0..60 {
        let mut sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            let (_, _, trailers) = whole(sender.send_request(call(INFER, message("x"))).await.unwrap()).await;
            trailers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned())
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap().as_deref(), Some("0"));
    }
    assert!(connections.load(Ordering::SeqCst) > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_gateway_says_goaway_and_finishes() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            let mut response = Response::new(full(""));
            response.headers_mut().insert("grpc-status", "0".parse().unwrap());
            response
        }
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = || {
        Request::post(format!("http://h{INFER}")).header("content-type", "application/grpc").body(()).unwrap()
    };
    let (answer, _) = sender.send_request(request(), true).unwrap();
    wait_for("the call to arrive", || upstream.seen() == 1);
    running.handle.stop();
    wait_for("the drain to begin", || running.ask("GET", "/status").json()["draining"] == true);
    // Told to go: no new calls, but the one under way is answered.
    tokio::time::timeout(PATIENCE, async {
        while std::future::poll_fn(|task| sender.poll_ready(task)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    gate.add_permits(1);
    let response = answer.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "0");
    drop(response);
    driver.await.unwrap().unwrap();
    assert_eq!(running.ended(), modelport_dataplane::gateway::Ended::Drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http2_goes_to_http1_endpoints() {
    let upstream = gateway_support::echo();
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let request = Request::post("http://h.example.com/v1/models/m:predict?a=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(message("{}"))
        .unwrap();
    let (_, body, _) = whole(sender.send_request(request).await.unwrap()).await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.starts_with("POST /v1/models/m:predict?a=1 HTTP/1.1\n"), "{text}");
    for line in ["host: h.example.com", "cookie: a=1; b=2", "content-length: 2"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
    }
    // A cluster may want HTTP/2 for everything.
    running.route(&[upstream.address], json!({"cluster": {"protocol": "h2c"}}));
    let text = running.post("/v1/models/m:predict", b"{}").text();
    assert!(text.starts_with("POST http://h.example.com/v1/models/m:predict HTTP/2.0\n"), "{text}");
}
