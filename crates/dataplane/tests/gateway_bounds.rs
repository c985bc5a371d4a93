//! Requests and clients without bounds, which a gateway bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod gateway_support;

use gateway_support::{echo, wait_for, Running, Setup, Upstream};
use serde_json::json;
use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PREDICT: &str = "/v1/models/m:predict";

fn routed(upstream: &Upstream) -> Running {
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    running
}

/// With what the gateway adds, endpoints refused some that it had taken, and said nothing.
#[test]
fn headers_have_a_bound_with_those_that_are_added() {
    let upstream = echo();
    let running = routed(&upstream);
    let names: Vec<String> = (0..99).map(|number| format!("x-{number}")).collect();
    let mut statuses = Vec::new();
    for many in 90..99 {
        let headers: Vec<(&str, &str)> = names[..many].iter().map(|name| (name.as_str(), "1")).collect();
        let reply = running.client().request("POST", PREDICT, &headers, b"abc");
        if reply.status != 200 {
            let words = reply.error(431);
            assert_eq!(words, "The request has more headers than the 99, with ours, that are taken.");
        }
        statuses.push(reply.status);
    }
    assert_eq!((statuses[0], statuses[8]), (200, 431), "{statuses:?}");
}

#[test]
fn bodies_have_bounds() {
    let upstream = echo();
    let mut setup = Setup::new();
    setup.config.limits.body_bytes = 100_000;
    setup.config.limits.retry_body_bytes = 1_000;
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    for path in [PREDICT, "/other"] {
        assert_eq!(running.post(path, &[b'x'; 10_000].repeat(10)).status, 200);
        let words = running.post(path, &[b'x'; 100_001 / 7].repeat(8)).error(413);
        assert_eq!(words, "The request's body is larger than the 100000 bytes that are taken.");
        // The size is not told before it is too late.
        let mut client = running.client();
        client.send(
            format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes(),
        );
        let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
        for _ in 0..10 {
            client.send(chunk.as_bytes());
        }
        client.send(b"1\r\nx\r\n0\r\n\r\n");
        let reply = client.read("POST").unwrap();
        assert_eq!(reply.status, 413, "{path}: {}", &reply.text()[..reply.text().len().min(400)]);
    }
}

#[test]
fn heads_have_bounds_in_size_and_time() {
    let upstream = echo();
    let mut setup = Setup::new();
    setup.config.limits.header_bytes = 16 << 10;
    setup.config.limits.header_timeout = Duration::from_millis(200);
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let large = "x".repeat(20_000);
    let reply = running.client().request("GET", "/", &[("x-large", &large)], b"");
    assert_eq!(reply.status, 431);
    let reply = running.client().request("GET", "/", &[("x-large", &large[..10_000])], b"");
    assert_eq!(reply.status, 200);
    // Half a head, and none at all.
    for bytes in [&b"GET / HTTP/1.1\r\nhost: "[..], b""] {
        let mut client = running.client();
        client.send(bytes);
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).unwrap();
    }
    // Half a head on a kept connection; but silence there is fine.
    let mut client = running.client();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[], b"").status, 200);
        std::thread::sleep(Duration::from_millis(500));
    }
    client.send(b"GET / HTTP/1.1\r\nho");
    assert!(client.is_closed());
    assert_eq!(upstream.seen(), 4);
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for() {
    let upstream =
        Upstream::start(|_| async { http::Response::new(gateway_support::full(vec![b'x'; 64 << 20])) });
    let mut setup = Setup::new();
    setup.config.limits.idle_timeout = Duration::from_millis(400);
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let mut client = running.client();
    client.begin("GET", "/", &[], b"");
    wait_for("the request to arrive", || upstream.seen() == 1);
    wait_for("the endpoint to be free", || upstream.open.load(Ordering::SeqCst) == 0);
    assert_eq!(running.demand("n/c:80")["in_flight"], 0);
    // Who reads, but slowly, gets everything.
    let mut client = running.client();
    client.begin("GET", "/", &[], b"");
    let mut got = 0;
    let mut part = vec![0; 4 << 20];
    while got < 64 << 20 {
        std::thread::sleep(Duration::from_millis(50));
        got += client.stream.read(&mut part).unwrap();
    }
}

#[test]
fn a_body_that_never_comes_is_not_waited_for() {
    let upstream = echo();
    let mut setup = Setup::new();
    setup.config.limits.body_timeout = Duration::from_millis(100);
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let mut client = running.client();
    client.send(format!("POST {PREDICT} HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").as_bytes());
    assert_eq!(client.read("POST").unwrap().error(408), "The request's body did not come in time.");
    assert_eq!(upstream.seen(), 0);
}

#[test]
fn connections_are_bounded_and_wait_for_their_turn() {
    let upstream = echo();
    let mut setup = Setup::new();
    setup.config.limits.connections = 2;
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let (mut one, mut two) = (running.client(), running.client());
    assert_eq!(one.request("GET", "/", &[], b"").status, 200);
    assert_eq!(two.request("GET", "/", &[], b"").status, 200);
    let mut three = running.client();
    three.begin("GET", "/", &[], b"");
    three.stream.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    three.read("GET").unwrap_err();
    three.stream.get_ref().set_read_timeout(Some(gateway_support::PATIENCE)).unwrap();
    drop(one);
    assert_eq!(three.read("GET").unwrap().status, 200);
}
