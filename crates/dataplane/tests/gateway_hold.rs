//! Endpoints that are not there, refuse, die or dawdle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{
    full, gated, held, listen_again, nobody, simple, under_load, wait_for, Setup, Upstream,
};
use http::Response;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const PREDICT: &str = "/v1/models/m:predict";

/// A server that reads a request of `length` bytes and closes without a word.
struct Dying {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
}

impl Dying {
    fn start() -> Self {
        Self::after(b"")
    }

    /// Says this first.
    fn after(words: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4096];
                if stream.read(&mut buffer).unwrap_or(0) > 0 {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(words);
                }
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

#[test]
fn a_request_waits_for_its_first_endpoint() {
    let running = Setup::new().start();
    running.route(&[], json!({}));
    let cursor = running.ask("GET", "/demand").json()["cursor"].as_u64().unwrap();
    let mut clients: Vec<_> = (0..20).map(|_| running.client()).collect();
    clients[0].begin("POST", PREDICT, &[], b"{}");
    // Whoever starts endpoints hears of it at once.
    let news = running.ask("GET", &format!("/demand?after={cursor}")).json();
    assert_eq!(news["clusters"]["n/c:80"]["held"], 1);
    for client in &mut clients[1..] {
        client.begin("POST", PREDICT, &[], b"{}");
    }
    wait_for("all to be held", || held(&running) == 20);
    assert_eq!(running.metric("modelport_gateway_held{"), 20.0);
    let upstream = Upstream::saying("fine");
    running.route(&[upstream.address], json!({}));
    for client in &mut clients {
        assert_eq!(client.read("POST").unwrap().text(), "fine");
    }
    let demand = running.demand("n/c:80");
    assert_eq!(
        (&demand["held"], &demand["in_flight"], &demand["requests_total"]),
        (&json!(0), &json!(0), &json!(20))
    );
    assert!(demand["concurrency_seconds_total"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_endpoint_that_refuses_is_waited_for() {
    let upstream = Upstream::saying("first");
    let address = upstream.address;
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    assert_eq!(running.get("/").text(), "first");
    drop(upstream);
    let mut client = running.client();
    client.begin("POST", PREDICT, &[], b"{}");
    let mut other = running.client();
    other.begin("POST", "/openai/v1/completions", &[], b"{}");
    wait_for("them to be held", || held(&running) == 2);
    let _upstream = Upstream::on(listen_again(address), |_| async { Response::new(full("second")) });
    assert_eq!(client.read("POST").unwrap().text(), "second");
    assert_eq!(other.read("POST").unwrap().text(), "second");
}

#[test]
fn waiting_ends_with_words() {
    let running = Setup::new().start();
    running.route(&[nobody()], json!({"cluster": {"hold_ms": 50}}));
    let reply = running.get("/");
    assert_eq!(reply.error(503), "No endpoint of n/c:80 became ready within 0.05 s.");
    assert_eq!(reply.header("retry-after"), Some("1"));
    running.route(&[], json!({"cluster": {"hold_ms": 60_000, "hold_limit": 1}}));
    let mut first = running.client();
    first.begin("GET", "/", &[], b"");
    wait_for("it to be held", || held(&running) == 1);
    let words = running.get("/").error(503);
    assert_eq!(words, "No endpoint of n/c:80 is ready, and 1 requests wait for one already.");
    running.route(&[], json!({"cluster": {"hold_ms": 0}}));
    assert_eq!(running.get("/").status, 503);
}

#[test]
fn a_client_that_goes_away_is_held_no_longer() {
    let running = Setup::new().start();
    running.route(&[], json!({}));
    for body in [&b""[..], b"{}", &vec![b'x'; 60_000]] {
        let mut client = running.client();
        client.begin("POST", PREDICT, &[], body);
        wait_for("it to be held", || held(&running) == 1);
        drop(client);
        wait_for("it to be given up", || held(&running) == 0);
    }
    assert_eq!(running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"499\""), 3.0);
}

#[test]
fn who_waits_for_a_cluster_that_goes_is_routed_anew() {
    let running = Setup::new().start();
    running.route(&[], json!({}));
    let mut client = running.client();
    client.begin("POST", PREDICT, &[], b"{}");
    wait_for("it to be held", || held(&running) == 1);
    let upstream = Upstream::saying("elsewhere");
    let mut table = simple(&[], json!({}));
    table["clusters"] = json!({"n/d:80": {"endpoints": [upstream.address.to_string()]}});
    table["routes"][0]["rules"][0]["backends"] = json!([{"cluster": "n/d:80"}]);
    running.tell(table);
    assert_eq!(client.read("POST").unwrap().text(), "elsewhere");
}

#[test]
fn a_request_whose_endpoint_dies_is_sent_to_another_once() {
    let (dying, upstream) = (Dying::start(), Upstream::saying("fine"));
    let running = Setup::new().start();
    running.route(&[dying.address, upstream.address], json!({}));
    wait_for("the dying one to be asked", || {
        let reply = running.post(PREDICT, b"{\"instances\": []}");
        assert_eq!((reply.status, reply.text().as_str()), (200, "fine"));
        dying.seen() > 0
    });
    assert_eq!(running.metric("modelport_gateway_retries_total"), dying.seen() as f64);
}

#[test]
fn one_poisonous_request_kills_two_endpoints_at_most() {
    let dying: Vec<Dying> = (0..5).map(|_| Dying::start()).collect();
    let addresses: Vec<SocketAddr> = dying.iter().map(|one| one.address).collect();
    let running = Setup::new().start();
    running.route(&addresses, json!({}));
    let words = running.post(PREDICT, b"{}").error(502);
    assert_eq!(
        words,
        "n/c:80 was asked twice, and both times the connection was closed before there was an answer."
    );
    assert_eq!(dying.iter().map(Dying::seen).sum::<usize>(), 2);
    assert_eq!(dying.iter().filter(|one| one.seen() == 1).count(), 2);
}

/// Who reads that the connection was closed looks for a crash that did not happen.
#[test]
fn an_answer_that_is_none_is_told_and_not_asked_for_again() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(2 << 20));
    for (answer, why) in [
        ("hello there\r\n\r\n", "invalid HTTP version parsed"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "invalid content-length parsed",
        ),
        (&large, "message head is too large"),
    ] {
        for path in [PREDICT, "/streamed"] {
            let garbling = Dying::after(answer.to_owned().leak().as_bytes());
            let running = Setup::new().start();
            running.route(&[garbling.address], json!({}));
            let words = running.post(path, b"{}").error(502);
            assert_eq!(words, format!("The endpoint of n/c:80 sent what is no answer in HTTP/1.1: {why}."));
            assert_eq!(garbling.seen(), 1);
        }
    }
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let dying = Dying::start();
    let running = Setup::new().start();
    running.route(&[dying.address], json!({}));
    let mut expected = 0;
    for path in ["/openai/v1/chat/completions", "/v2/repository/models/m/load"] {
        let words = running.post(path, b"{}").error(502);
        assert_eq!(words, "The endpoint of n/c:80 closed the connection before it answered.");
        expected += 1;
        assert_eq!(dying.seen(), expected, "{path}");
    }
    running.route(&[dying.address], json!({"rule": {"retry": false}}));
    running.post(PREDICT, b"{}").error(502);
    assert_eq!(dying.seen(), expected + 1);
}

#[test]
fn an_answer_that_has_begun_is_not_begun_again() {
    let dying = Dying::after(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    let running = Setup::new().start();
    running.route(&[dying.address], json!({}));
    for number in 1..=200 {
        let mut client = running.client();
        client.begin("POST", PREDICT, &[], b"{}");
        // What came of it is passed on, though its end comes at once: an empty reply would look like a fault of ours.
        assert_eq!(client.line().unwrap(), "HTTP/1.1 200 OK\r\n");
        while client.line().unwrap() != "\r\n" {}
        assert_eq!(client.line().unwrap(), "half");
        assert!(client.is_closed());
        assert_eq!(dying.seen(), number);
    }
    wait_for("it to be counted", || {
        running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"5xx\"") == 200.0
    });
}

#[test]
fn retries_are_bounded() {
    let dying: Vec<Dying> = (0..2).map(|_| Dying::start()).collect();
    let running = Setup::new().start();
    running.route(&[dying[0].address, dying[1].address], json!({}));
    let mut client = running.client();
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        client.request("POST", PREDICT, &[], b"{}").error(502);
    }
    let retries = running.metric("modelport_gateway_retries_total");
    let most = 10.0 + 100.0 * 0.2 + begun.elapsed().as_secs_f64() * 10.0 + 1.0;
    assert!((30.0..most).contains(&retries), "{retries}");
    assert_eq!(dying[0].seen() + dying[1].seen(), 100 + retries as usize);
}

#[test]
fn a_slow_endpoint_gets_a_504() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate);
    let running = Setup::new().start();
    for rule in [json!({"timeout_ms": 50}), json!({"backend_timeout_ms": 50, "timeout_ms": 60_000})] {
        running.route(&[upstream.address], json!({ "rule": rule }));
        assert_eq!(running.post(PREDICT, b"{}").error(504), "n/c:80 did not answer in time.");
    }
    // The endpoint is told that nobody waits any more, and has not got the request twice.
    wait_for("the connections to close", || upstream.open.load(Ordering::SeqCst) == 0);
    assert_eq!(upstream.seen(), 2);
}

#[test]
fn the_time_of_waiting_for_an_endpoint_is_not_the_endpoints() {
    let running = Setup::new().start();
    running.route(&[], json!({"rule": {"timeout_ms": 10_000}, "cluster": {"hold_ms": 60_000}}));
    let mut client = running.client();
    client.begin("POST", PREDICT, &[], b"{}");
    wait_for("it to be held", || held(&running) == 1);
    std::thread::sleep(Duration::from_millis(300));
    let upstream = Upstream::saying("fine");
    running.route(&[upstream.address], json!({"rule": {"timeout_ms": 200}}));
    assert_eq!(client.read("POST").unwrap().text(), "fine");
}

#[test]
fn a_client_that_goes_away_frees_the_endpoint() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate);
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut client = running.client();
    client.begin("POST", PREDICT, &[], b"{}");
    wait_for("the request to arrive", || upstream.seen() == 1);
    assert_eq!(running.demand("n/c:80")["in_flight"], 1);
    drop(client);
    wait_for("the endpoint's connection to close", || upstream.open.load(Ordering::SeqCst) == 0);
    assert_eq!(running.demand("n/c:80")["in_flight"], 0);
}

#[test]
fn a_worker_killed_under_load_costs_no_request() {
    let mut upstream = Upstream::saying("fine");
    let address = upstream.address;
    let other = Upstream::saying("fine");
    let running = Setup::new().start();
    running.route(&[address, other.address], json!({}));
    let answered = under_load(&running, 8, PREDICT, || {
        for _ in 0..5 {
            let before = upstream.seen();
            wait_for("the load to reach it", || upstream.seen() > before + 50);
            upstream.kill();
            upstream = Upstream::on(listen_again(address), |_| async { Response::new(full("fine")) });
        }
    });
    assert!(answered > 0);
}

#[test]
fn a_kept_connection_that_the_endpoint_closed_costs_no_request() {
    // Each connection is closed after one answer, without a word before.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let mut client = running.client();
    for _ in 0..200 {
        let reply = client.request("POST", PREDICT, &[], b"{}");
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    }
}
