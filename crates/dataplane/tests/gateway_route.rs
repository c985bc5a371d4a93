//! Requests through a real gateway: where they go, and what arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{echo, nobody, simple, under_load, wait_for, Client, Setup, Upstream};
use http::Response;
use serde_json::json;
use std::collections::HashMap;

const PREDICT: &str = "/v1/models/m:predict";

#[test]
fn a_request_arrives_as_it_was_sent_but_for_this_hop() {
    let upstream = echo();
    let running = Setup::new().start();
    running.route(
        &[upstream.address],
        json!({"rule": {"filters": {"request_headers": {"set": [["KServe-Isvc-Name", "iris"]]}}}}),
    );
    let mut client = running.client();
    let headers = [
        ("X-Mine", "1"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("kserve-isvc-name", "forged"),
        ("x-forwarded-for", "9.9.9.9"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("x-request-id", "r-1"),
    ];
    let reply = client.request("POST", "/v1/models/m:predict?a=%20b", &headers, b"{}");
    assert_eq!((reply.status, reply.header("x-request-id")), (200, Some("r-1")));
    let text = reply.text();
    assert!(text.starts_with("POST /v1/models/m:predict?a=%20b HTTP/1.1\n"), "{text}");
    assert!(text.ends_with("\n\n{}"), "{text}");
    for line in [
        "host: h.example.com",
        "x-mine: 1",
        "kserve-isvc-name: iris",
        "x-forwarded-for: 9.9.9.9, 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: h.example.com",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id: r-1",
        "content-length: 2",
    ] {
        assert_eq!(text.matches(&format!("\n{line}\n")).count(), 1, "{line}\n{text}");
    }
    for gone in ["x-hop", "te:", "connection", "forged"] {
        assert!(!text.contains(gone), "{gone}\n{text}");
    }
    // The connection is kept, on both sides.
    let reply = client.request("GET", "/x", &[], b"");
    assert_eq!(reply.header("x-request-id").unwrap().len(), 36);
    assert!(reply.text().starts_with("GET /x HTTP/1.1\n"));
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn bodies_of_every_kind_arrive_whole() {
    let upstream = echo();
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let large: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    for length in [0, 1, 65_536, 65_537, 1_048_576, 1_048_577, 5_000_000] {
        for path in [PREDICT, "/other"] {
            let reply = running.post(path, &large[..length]);
            let head = reply.body.windows(2).position(|pair| pair == b"\n\n").unwrap();
            assert!(reply.body[head + 2..] == large[..length], "{length} bytes to {path}");
            let text = String::from_utf8_lossy(&reply.body[..head]).into_owned();
            assert!(text.contains(&format!("content-length: {length}")), "{text}");
        }
    }
    for (method, path) in [("POST", PREDICT), ("POST", "/other"), ("GET", "/other")] {
        let mut client = running.client();
        client.send(
            format!("{method} {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes(),
        );
        client.send(b"3\r\nabc\r\n");
        client.send(b"2\r\nde\r\n0\r\n\r\n");
        let text = client.read(method).unwrap().text();
        assert!(text.ends_with("\n\nabcde"), "{text}");
    }
}

#[test]
fn answers_of_every_kind_arrive_whole() {
    let upstream = Upstream::start(|request| async move {
        let length = request.uri().path()[1..].parse::<usize>().unwrap_or(0);
        let mut response = Response::new(gateway_support::full(vec![b'x'; length]));
        if request.uri().path() == "/none" {
            *response.status_mut() = http::StatusCode::NO_CONTENT;
        }
        response.headers_mut().insert("x-a", "1".parse().unwrap());
        response
    });
    let running = Setup::new().start();
    running.route(
        &[upstream.address],
        json!({"rule": {"filters": {"response_headers": {"set": [["x-b", "2"]], "remove": ["x-a"]}}}}),
    );
    let mut client = running.client();
    for length in [0, 1, 65_536, 65_537, 3_000_000] {
        let reply = client.request("GET", &format!("/{length}"), &[], b"");
        assert_eq!((reply.status, reply.body.len()), (200, length));
        assert_eq!((reply.header("x-b"), reply.header("x-a")), (Some("2"), None));
        let reply = client.request("HEAD", &format!("/{length}"), &[], b"");
        let told = reply.header("content-length").map(str::to_owned);
        let direct = Client::connect(upstream.address).request("HEAD", &format!("/{length}"), &[], b"");
        assert_eq!(told.as_deref(), direct.header("content-length"), "{length}");
    }
    let reply = client.request("GET", "/none", &[], b"");
    assert_eq!((reply.status, reply.header("content-length")), (204, None));
    // One of the gateway's, whatever came, and five of ours.
    assert_eq!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst), 6);
}

#[test]
fn hosts_and_weights_decide() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let running = Setup::new().start();
    let cluster = |upstream: &Upstream| json!({"endpoints": [upstream.address.to_string()]});
    running.tell(json!({
        "routes": [
            {"name": "a", "service": "n/a", "hosts": ["a.example.com"], "rules": [
                {"matches": [{"path": {"type": "prefix", "value": "/only"}}], "backends": [{"cluster": "one"}]},
                {"backends": [{"cluster": "one", "weight": 80}, {"cluster": "two", "weight": 20}]}]},
            {"name": "f", "service": "n/f", "hosts": ["f.example.com"], "rules": [
                {"backends": [{"failure": "Service f is not there."}]}]},
            {"name": "i", "service": "n/i", "hosts": ["i.n.svc"], "rules": [{"backends": [{"cluster": "two"}]}],
                "internal": true},
        ],
        "clusters": {"one": cluster(&one), "two": cluster(&two)},
    }));
    let mut client = running.client();
    let mut counts = HashMap::new();
    for _ in 0..1000 {
        let reply = client.request("GET", "/", &[("host", "A.example.com:8080")], b"");
        *counts.entry(reply.text()).or_insert(0) += 1;
    }
    // Ten standard deviations.
    assert!((674..926).contains(&counts["one"]), "{counts:?}");
    for _ in 0..20 {
        let reply = client.request("GET", "/only/x", &[("host", "a.example.com")], b"");
        assert_eq!(reply.text(), "one");
    }
    let reply = client.request("GET", "/x", &[("host", "b.example.com")], b"");
    assert_eq!(reply.error(404), "No route for GET /x on host b.example.com.");
    let reply = client.request("GET", "/x", &[("host", "f.example.com")], b"");
    assert_eq!(reply.error(500), "Service f is not there.");
    let inside = [("host", "i.n.svc")];
    assert_eq!(client.request("GET", "/", &inside, b"").status, 404);
    assert_eq!(Client::connect(running.internal).request("GET", "/", &inside, b"").text(), "two");
    assert_eq!(running.metric("modelport_gateway_requests_total{service=\"n/a\",code=\"2xx\""), 1020.0);
    assert_eq!(running.metric("modelport_gateway_requests_total{service=\"n/f\",code=\"5xx\""), 1.0);
}

#[test]
fn a_table_is_swapped_under_load_without_a_failed_request() {
    let upstreams: Vec<Upstream> = (0..4).map(|number| Upstream::saying(&number.to_string())).collect();
    let running = Setup::new().start();
    running.route(&[upstreams[0].address], json!({}));
    let answered = under_load(&running, 4, PREDICT, || {
        for round in 0..200_usize {
            let some = [upstreams[round % 4].address, upstreams[(round + 1) % 4].address];
            running.route(&some[..=round % 2], json!({}));
        }
    });
    assert!(answered > 0);
    assert_eq!(running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"5xx\""), 0.0);
    assert_eq!(running.metric("modelport_gateway_table_version"), 201.0);
}

#[test]
fn connections_to_an_endpoint_that_left_are_closed_when_that_is_acknowledged() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let running = Setup::new().start();
    running.route(&[one.address], json!({}));
    let mut clients: Vec<_> = (0..5).map(|_| running.client()).collect();
    for client in &mut clients {
        client.begin("GET", "/", &[], b"");
    }
    for client in &mut clients {
        assert_eq!(client.read("GET").unwrap().text(), "one");
    }
    let open = || one.open.load(std::sync::atomic::Ordering::SeqCst);
    assert!(open() > 0);
    let version = running.route(&[two.address], json!({}));
    let reply = running.ask("GET", &format!("/status?at_least={version}"));
    assert_eq!((reply.status, &reply.json()["version"]), (200, &json!(version)));
    wait_for("the connections to close", || open() == 0);
    assert_eq!(running.get("/").text(), "two");
}

#[test]
fn a_broken_table_changes_nothing_and_is_told() {
    let upstream = Upstream::saying("fine");
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut broken = simple(&[upstream.address], json!({}));
    broken["routes"][0]["hosts"] = json!(["a.*"]);
    running.write(2, broken);
    let reply = running.ask("POST", "/reload");
    assert_eq!(reply.status, 422);
    let words = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(words.contains("table.json: routes[0] (n/r).hosts"), "{words}");
    assert_eq!(running.get("/").text(), "fine");
    let status = running.ask("GET", "/status").json();
    assert_eq!((&status["version"], &status["problem"]), (&json!(1), &json!(words)));
    assert_eq!(running.metric("modelport_gateway_tables_refused_total"), 1.0);
    assert_eq!(running.ask("GET", "/status?at_least=2&timeout_ms=1").status, 408);
    running.route(&[upstream.address], json!({}));
    assert_eq!(running.ask("GET", "/status").json()["problem"], json!(null));
}

#[test]
fn a_table_is_found_without_being_told_and_at_the_start() {
    let upstream = Upstream::saying("fine");
    let setup = Setup::new();
    let (folder, address) = (setup.folder.clone(), setup.config.listeners[0].local_addr().unwrap());
    let running = setup.start();
    let reply = running.get("/");
    assert_eq!(
        (reply.error(503).as_str(), reply.header("retry-after")),
        ("The gateway has no route table yet.", Some("1"))
    );
    running.write(5, simple(&[upstream.address], json!({})));
    assert_eq!(running.ask("GET", "/status?at_least=5").json()["version"], json!(5));
    assert_eq!(Client::connect(address).request("GET", "/", &[], b"").text(), "fine");
    // Its successor has it from the start.
    let mut next = Setup::new();
    next.config.table = folder.join("table.json");
    assert_eq!(next.start().get("/").text(), "fine");
}

#[test]
fn nobody_there_is_not_asked_twice_in_a_hurry() {
    let upstream = Upstream::saying("fine");
    let running = Setup::new().start();
    running.route(&[nobody(), upstream.address, nobody()], json!({}));
    let mut client = running.client();
    let begun = std::time::Instant::now();
    for _ in 0..500 {
        assert_eq!(client.request("GET", "/", &[], b"").text(), "fine");
    }
    let failures = running.metric("modelport_gateway_upstream_connect_failures_total");
    // After 10, 20, 40, 80 and 160 ms, then every 200 ms; each of two.
    let most = 2.0 * (7.0 + begun.elapsed().as_secs_f64() * 5.0);
    assert!((1.0..=most).contains(&failures), "{failures}");
}

#[test]
fn the_admin_socket_says_what_it_does_not_know() {
    let running = Setup::new().start();
    assert_eq!(running.ask("GET", "/nothing").status, 404);
    assert_eq!(running.ask("POST", "/metrics").status, 405);
    let reply = running.ask("GET", "/status?at_least=x");
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("at_least: must be a whole number"));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&running.admin).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
