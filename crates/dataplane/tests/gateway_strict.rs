//! What a gateway must not be talked into: requests that two readers read differently.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::format_push_string)]

mod gateway_support;

use gateway_support::{echo, read_reply, wait_for, Client, Reply, Running, Setup, Upstream};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

const PREDICT: &str = "/v1/models/m:predict";

fn routed(upstream: &Upstream) -> Running {
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    running
}

/// What is answered to these bytes, and whether the connection goes on.
fn say(running: &Running, bytes: &[u8]) -> (Option<Reply>, bool) {
    let mut client = running.client();
    client.send(bytes);
    let reply = client.read("POST").ok();
    let _ = client.stream.get_mut().write_all(b"GET /next HTTP/1.1\r\nhost: nowhere@\r\n\r\n");
    let goes_on = client.read("GET").is_ok();
    (reply, goes_on)
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let upstream = echo();
    let running = routed(&upstream);
    let post = |rest: &str| format!("POST {PREDICT} HTTP/1.1\r\nhost: h\r\n{rest}");
    for (what, bytes) in [
        ("two lengths", post("content-length: 3\r\ncontent-length: 5\r\n\r\nabcde")),
        ("a list of lengths", post("content-length: 3, 5\r\n\r\nabcde")),
        ("a signed length", post("content-length: +3\r\n\r\nabc")),
        ("a negative length", post("content-length: -3\r\n\r\nabc")),
        ("a hexadecimal length", post("content-length: 0x3\r\n\r\nabc")),
        ("a length beyond counting", post("content-length: 99999999999999999999999\r\n\r\nabc")),
        ("an encoding that ends otherwise", post("transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n")),
        ("an unknown encoding", post("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("a vertical tab before the encoding", post("transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n")),
        ("a folded line", post("x-a: 1\r\n x-b: 2\r\ncontent-length: 0\r\n\r\n")),
        ("a space before the colon", post("content-length : 3\r\n\r\nabc")),
        ("a line without a colon", post("content-length\r\n\r\n")),
        ("a zero byte in a value", post("x-a: 1\x002\r\n\r\n")),
        ("a bare CR in a value", post("x-a: 1\rcontent-length: 3\r\n\r\nabc")),
        ("a space in a name", post("x a: 1\r\n\r\n")),
        ("a space before the first header", "GET / HTTP/1.1\r\n host: h\r\n\r\n".to_owned()),
        ("two hosts", post("host: other\r\n\r\n")),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("user information in the host", "GET / HTTP/1.1\r\nhost: a@h\r\n\r\n".to_owned()),
        ("a path in the host", "GET / HTTP/1.1\r\nhost: h/x\r\n\r\n".to_owned()),
        (
            "a chunked body in HTTP/1.0",
            format!("POST {PREDICT} HTTP/1.0\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("a space in the target", "GET /a b HTTP/1.1\r\nhost: h\r\n\r\n".to_owned()),
        ("a tunnel", "CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n".to_owned()),
        ("another version", "GET / HTTP/3.1\r\nhost: h\r\n\r\n".to_owned()),
    ] {
        let (reply, _) = say(&running, bytes.as_bytes());
        let status = reply.map(|reply| reply.status);
        assert!(matches!(status, None | Some(400..=499 | 505)), "{what}: {status:?}");
    }
    assert_eq!(upstream.seen(), 0, "an endpoint has seen one of them");
}

#[test]
fn broken_chunks_never_become_a_whole_request() {
    for path in [PREDICT, "/streamed"] {
        // It notes every request that it has read to its end.
        let upstream = Upstream::start(|request| async move {
            use http_body_util::BodyExt;
            let whole = request.into_body().collect().await.is_ok();
            http::Response::new(gateway_support::full(if whole { "whole" } else { "broken" }))
        });
        let running = routed(&upstream);
        for (what, body) in [
            ("a size that is none", "xyz\r\nabc\r\n0\r\n\r\n"),
            ("a size with a sign", "+3\r\nabc\r\n0\r\n\r\n"),
            ("a size beyond counting", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
            ("a chunk that is longer than it says", "2\r\nabc\r\n0\r\n\r\n"),
            ("an extension with a bare LF", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
            ("an empty size", "\r\nabc\r\n0\r\n\r\n"),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
            let (reply, goes_on) = say(&running, format!("{head}{body}").as_bytes());
            let reply = reply.unwrap_or_else(|| panic!("{path}, {what}: no answer"));
            assert_eq!(reply.status, 400, "{path}, {what}: {}", reply.text());
            assert!(!goes_on, "{path}, {what}: what follows is read as a request");
        }
    }
}

#[test]
fn length_and_chunks_together_are_written_anew_and_end_the_connection() {
    let upstream = echo();
    let running = routed(&upstream);
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n";
    for first in [
        "content-length: 44\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 44",
    ] {
        let bytes = format!("POST {PREDICT} HTTP/1.1\r\nhost: h\r\n{first}\r\n\r\n{smuggled}");
        let (reply, goes_on) = say(&running, bytes.as_bytes());
        let text = reply.unwrap().text();
        assert!(text.contains("\ncontent-length: 0\n") && !text.contains("transfer-encoding"), "{text}");
        assert!(!goes_on);
    }
    assert_eq!(upstream.seen(), 2);
}

#[test]
fn an_absolute_target_decides_over_the_host_header() {
    let upstream = echo();
    let running = Setup::new().start();
    let mut table = gateway_support::simple(&[upstream.address], json!({}));
    table["routes"][0]["hosts"] = json!(["target.example.com"]);
    running.tell(table);
    let mut client = running.client();
    client.send(b"GET http://target.example.com/x?y=1 HTTP/1.1\r\nhost: other.example.com\r\n\r\n");
    let text = client.read("GET").unwrap().text();
    assert!(text.starts_with("GET /x?y=1 HTTP/1.1\n"), "{text}");
    assert!(text.contains("\nhost: target.example.com\n") && !text.contains("other"), "{text}");
    let refused = client.request("GET", "http://other.example.com/x", &[("host", "target.example.com")], b"");
    assert_eq!(refused.error(404), "No route for GET /x on host other.example.com.");
}

#[test]
fn dot_segments_do_not_lead_around_a_rule() {
    let upstream = echo();
    let running = Setup::new().start();
    let mut table = gateway_support::simple(&[upstream.address], json!({}));
    table["routes"][0]["rules"][0]["matches"] = json!([{"path": {"type": "prefix", "value": "/open"}}]);
    running.tell(table);
    let mut client = running.client();
    for path in ["/open/../closed", "/open/%2e%2e/closed", "/open/.%2E/closed"] {
        client.request("GET", path, &[], b"").error(404);
    }
    let text = client.request("GET", "/open/./a/../b", &[], b"").text();
    assert!(text.starts_with("GET /open/b HTTP/1.1"), "{text}");
}

/// Undone by nobody, it would come to the model as it is.
#[test]
fn a_body_that_is_coded_is_refused() {
    let upstream = echo();
    let running = routed(&upstream);
    for codings in
        ["gzip, chunked", "chunked, chunked", "chunked\r\ntransfer-encoding: chunked", "identity, chunked"]
    {
        let head = format!("POST {PREDICT} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {codings}\r\n\r\n");
        let mut client = running.client();
        client.send(format!("{head}3\r\nabc\r\n0\r\n\r\n").as_bytes());
        let words = client.read("POST").unwrap().error(501);
        assert_eq!(words, "Transfer-Encoding: chunked alone is taken, and once.", "{codings}");
    }
    assert_eq!(upstream.seen(), 0);
    let mut client = running.client();
    let head = format!("POST {PREDICT} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: Chunked \r\n\r\n");
    client.send(format!("{head}3\r\nabc\r\n0\r\n\r\n").as_bytes());
    assert_eq!(client.read("POST").unwrap().status, 200);
}

#[test]
fn what_an_endpoint_says_wrongly_is_a_502_and_stays_with_it() {
    for (what, answer) in [
        ("no HTTP", "nonsense\r\n\r\n"),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("a folded line", "HTTP/1.1 200 OK\r\nx-a: 1\r\n b\r\ncontent-length: 0\r\n\r\n"),
        ("nothing", ""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let running = Setup::new().start();
        running.route(&[address], json!({"rule": {"retry": false}}));
        assert_eq!(running.post("/", b"{}").status, 502, "{what}");
    }
    // A second answer, which nobody asked for, reaches nobody.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let own = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";
                    let more = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                    let _ = stream.write_all(format!("{own}{more}").as_bytes());
                }
            });
        }
    });
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let mut client = running.client();
    for _ in 0..20 {
        let reply = client.request("POST", PREDICT, &[], b"{}");
        assert_eq!((reply.status, reply.text().as_str()), (200, "good"));
    }
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let upstream = echo();
    let running = routed(&upstream);
    let mut client = running.client();
    let mut bytes = String::new();
    for number in 0..10 {
        let _ = write!(bytes, "POST /{number} HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\n{number}");
    }
    client.send(bytes.as_bytes());
    for number in 0..10 {
        let text = client.read("POST").unwrap().text();
        assert!(
            text.starts_with(&format!("POST /{number} ")) && text.ends_with(&number.to_string()),
            "{text}"
        );
    }
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let upstream = echo();
    let running = routed(&upstream);
    for path in [PREDICT, "/other"] {
        let mut client = running.client();
        client.send(
            format!(
                "POST {path} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 100000\r\n\r\n"
            )
            .as_bytes(),
        );
        assert_eq!(client.line().unwrap().trim_end(), "HTTP/1.1 100 Continue");
        assert_eq!(client.line().unwrap().trim_end(), "");
        client.send(&vec![b'x'; 100_000]);
        let text = client.read("POST").unwrap().text();
        assert!(text.ends_with("xxx") && !text.contains("expect"), "{path}");
    }
}

#[test]
fn a_stream_is_passed_on_part_by_part_and_outlives_the_timeout() {
    let (parts, queue) = tokio::sync::mpsc::channel::<&'static str>(1);
    let queue = std::sync::Arc::new(tokio::sync::Mutex::new(queue));
    let upstream = Upstream::start(move |_| {
        let queue = std::sync::Arc::clone(&queue);
        async move {
            use http_body_util::{BodyExt, StreamBody};
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(part) = queue.lock().await.recv().await {
                    let frame = hyper::body::Frame::data(bytes::Bytes::from_static(part.as_bytes()));
                    if sender.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
            });
            let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
            let mut response = http::Response::new(BodyExt::boxed(body) as gateway_support::Body);
            response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            response
        }
    });
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({"rule": {"timeout_ms": 400}}));
    let mut client = running.client();
    client.begin("POST", "/openai/v1/chat/completions", &[], b"{}");
    for _ in 0..8 {
        parts.blocking_send("data: x\n\n").unwrap();
        while client.line().unwrap().trim_end() != "data: x" {}
        std::thread::sleep(Duration::from_millis(100));
    }
    // Silence ends it, unlike length.
    let mut rest = Vec::new();
    client.stream.read_to_end(&mut rest).unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "it ends as if it were whole");
    wait_for("the endpoint's connection to close", || upstream.open.load(Ordering::SeqCst) == 0);
}

#[test]
fn tls_is_spoken_in_both_versions_of_http() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    let upstream = echo();
    let mut setup = Setup::new();
    let made = modelport_dataplane::certificate::self_signed(vec!["h.example.com".to_owned()], 1).unwrap();
    let (certificate, key) = (setup.folder.join("c.pem"), setup.folder.join("k.pem"));
    std::fs::write(&certificate, &made.certificate).unwrap();
    std::fs::write(&key, &made.key).unwrap();
    setup.config.tls = Some(modelport_dataplane::listen::TlsFiles { certificate, key, client_ca: None });
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    for alpn in ["http/1.1", "h2"] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.authority.as_bytes()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let name = ServerName::try_from("h.example.com").unwrap();
        let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(running.address).unwrap());
        if alpn == "h2" {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).unwrap();
            assert_eq!(frame[3], 4, "no SETTINGS frame");
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
            continue;
        }
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: h.example.com\r\n\r\n").unwrap();
        let text = read_reply(&mut BufReader::new(stream), "GET").unwrap().text();
        assert!(text.contains("\nx-forwarded-proto: https\n"), "{text}");
    }
    // The internal listener has none.
    assert_eq!(Client::connect(running.internal).request("GET", "/", &[], b"").status, 200);
}

#[test]
fn credentials_are_asked_for_and_not_passed_on() {
    let upstream = echo();
    let log = gateway_support::folder().join("access.log");
    let mut setup = Setup::new();
    setup.config.access_log = Some(log.clone());
    let running = setup.start();
    // sha256 of "s3cret".
    let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    running.route(
        &[upstream.address],
        json!({"auth": {"keys": [{"id": "team-a", "sha256": hash, "scopes": [{"service": "n/*", "verbs": ["predict"]}]}],
            "jwks": [], "anonymous": []}}),
    );
    let mut client = running.client();
    let reply = client.request("POST", PREDICT, &[], b"{}");
    assert!(reply.error(401).starts_with("Credentials are missing: predict on n/s needs an API key"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"modelport\""));
    let reply = client.request("POST", PREDICT, &[("x-api-key", "guess")], b"{}");
    assert_eq!(reply.error(401), "The credentials are not valid: nobody has this API key.");
    let key = [("authorization", "Bearer s3cret")];
    let reply = client.request("POST", "/v2/repository/models/m/load", &key, b"{}");
    assert_eq!(reply.error(403), "team-a may not do this: it needs admin on n/s.");
    for headers in [key, [("x-api-key", "s3cret")]] {
        let text = client.request("POST", PREDICT, &headers, b"{}").text();
        assert!(!text.contains("s3cret") && !text.contains("authorization"), "{text}");
    }
    // A request for something that is not there tells nobody what is.
    client.request("GET", "/", &[], b"").error(401);
    running.handle.stop();
    running.ended();
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: Vec<_> =
        lines.iter().map(|line| (line["status"].as_u64().unwrap(), line["caller"].as_str())).collect();
    assert_eq!(
        seen,
        [(401, None), (401, None), (403, None), (200, Some("team-a")), (200, Some("team-a")), (401, None)]
    );
    assert!(!std::fs::read_to_string(&log).unwrap().contains("s3cret"));
}

#[test]
fn inside_the_platform_no_key_is_needed_for_its_own_names() {
    let upstream = echo();
    let running = Setup::new().start();
    let mut table = gateway_support::simple(&[upstream.address], json!({"auth": {}}));
    table["routes"][0]["internal"] = json!(true);
    table["routes"][0]["hosts"] = json!(["m-predictor.n"]);
    running.tell(table);
    let inside = [("host", "m-predictor.n"), ("authorization", "Bearer theirs")];
    let text = Client::connect(running.internal).request("GET", "/", &inside, b"").text();
    assert!(text.contains("\nauthorization: Bearer theirs\n"), "{text}");
}
