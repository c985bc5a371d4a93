//! Streams of HTTP/2 through a real gateway: given up, refused, longer than any window.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use bytes::Bytes;
use gateway_support::{full, wait_for, Body, Setup, Upstream, PATIENCE};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, driver) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(driver);
    sender
}

fn begin(sender: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://h.example.com{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    sender.send_request(request, false).unwrap()
}

/// Sends all of a part as fast as it is taken.
async fn send(stream: &mut SendStream<Bytes>, mut part: Bytes) {
    while !part.is_empty() {
        stream.reserve_capacity(part.len());
        let room = poll_fn(|task| stream.poll_capacity(task)).await.unwrap().unwrap();
        stream.send_data(part.split_to(room.min(part.len())), false).unwrap();
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Answers with a head at once and then with what it gets, in order; counts the calls that are over.
fn echo(over: &Arc<AtomicUsize>) -> Upstream {
    let over = Arc::clone(over);
    Upstream::start(move |request: Request<Incoming>| {
        let dropped = Dropped(Arc::clone(&over));
        async move {
            let (parts, queue) = mpsc::channel(1);
            tokio::spawn(async move {
                let _dropped = dropped;
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    if parts.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
                let trailers: HeaderMap =
                    [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
                let _ = parts.send(Ok(Frame::trailers(trailers))).await;
            });
            Response::new(BodyExt::boxed(StreamBody::new(ReceiverStream::new(queue))) as Body)
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_than_every_window_arrives_whole() {
    let upstream = echo(&Arc::default());
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let (answer, mut stream) = begin(&mut sender, STREAM);
    // Parts of many sizes, each byte telling where it belongs.
    let sizes = [1, 900, 1024, 1025, 16 << 10, 100_000, 1 << 20];
    let parts: Vec<Bytes> = (0..140)
        .map(|number| (0..sizes[number % sizes.len()]).map(|at| (at * 7 + number) as u8).collect())
        .collect();
    let whole: Vec<u8> = parts.concat();
    assert!(whole.len() > 20 << 20);
    tokio::spawn(async move {
        for part in parts {
            send(&mut stream, part).await;
        }
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let mut body = answer.await.unwrap().into_body();
    let mut got = Vec::new();
    while let Some(part) = tokio::time::timeout(PATIENCE, body.data()).await.unwrap() {
        let part = part.unwrap();
        got.extend_from_slice(&part);
        body.flow_control().release_capacity(part.len()).unwrap();
    }
    assert!(got == whole, "{} bytes of {}", got.len(), whole.len());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_does_not_read_slows_the_client() {
    let upstream = Upstream::start(|request: Request<Incoming>| async move {
        std::future::pending::<()>().await;
        drop(request);
        Response::new(full(""))
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    let (_answer, mut stream) = begin(&mut sender, STREAM);
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        loop {
            send(&mut stream, Bytes::from(vec![0; 1 << 20])).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut last = usize::MAX;
    wait_for("the flow to stop", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = sent.load(Ordering::SeqCst);
        let still = now > 0 && now == last;
        last = now;
        still
    });
    assert!(last < 50, "{last} MiB");
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_given_up_on_either_side_of_its_answers_head_frees_the_endpoint() {
    let over = Arc::<AtomicUsize>::default();
    let upstream = echo(&over);
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut sender = connect(running.address).await;
    for round in 1..=3 {
        let (answer, mut stream) = begin(&mut sender, STREAM);
        stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let response = answer.await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), &b"abc"[..]);
        stream.send_reset(Reason::CANCEL);
        wait_for("the endpoint to hear of it", || over.load(Ordering::SeqCst) == round);
    }
    wait_for("it to be counted", || running.demand("n/c:80")["in_flight"] == 0);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    let gone = "modelport_gateway_requests_total{service=\"n/s\",code=\"499\"";
    assert_eq!(running.metric(gone), 3.0);
}

/// An HTTP/2 endpoint that resets the first `refused` calls with this reason and answers all others.
fn refusing(refused: usize, reason: Reason) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&calls);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    if count.fetch_add(1, Ordering::SeqCst) < refused {
                        respond.send_reset(reason);
                        continue;
                    }
                    let response = Response::builder().header("grpc-status", "0").body(()).unwrap();
                    respond.send_response(response, true).unwrap();
                }
            });
        }
    });
    (address, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_refused_unread_is_sent_again() {
    let (address, calls) = refusing(2, Reason::REFUSED_STREAM);
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let mut sender = connect(running.address).await;
    let (answer, mut stream) = begin(&mut sender, INFER);
    stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let response = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], "0");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    // Nobody had it, so this is no second time.
    assert_eq!(running.metric("modelport_gateway_retries_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_an_endpoint_broke_off_is_sent_once_more() {
    let (address, calls) = refusing(9, Reason::INTERNAL_ERROR);
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let mut sender = connect(running.address).await;
    let (answer, mut stream) = begin(&mut sender, INFER);
    stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let response = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert_eq!((calls.load(Ordering::SeqCst), running.metric("modelport_gateway_retries_total")), (2, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_asked_for_nothing_yet_gets_its_first_call_answered_in_a_drain() {
    let upstream = echo(&Arc::default());
    let mut setup = Setup::new();
    setup.config.drain_delay = PATIENCE / 2;
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let (mut fresh, mut known) = (connect(running.address).await, connect(running.address).await);
    let (answer, _held) = begin(&mut known, STREAM);
    answer.await.unwrap();
    running.handle.stop();
    wait_for("the drain to begin", || running.ask("GET", "/status").json()["draining"] == true);
    // Whoever was told to go comes here: not the same words twice.
    tokio::time::timeout(PATIENCE, async {
        while poll_fn(|task| known.poll_ready(task)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    poll_fn(|task| fresh.poll_ready(task)).await.unwrap();
    let (answer, mut stream) = begin(&mut fresh, STREAM);
    stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), &b"abc"[..]);
}
