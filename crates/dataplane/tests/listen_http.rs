//! HTTP itself: connections, bodies and their limits, malformed and hostile clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::Compression;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{Answer, Payload};
use modelport_dataplane::model::Options;
use modelport_dataplane::tensor::Data;
use serde_json::json;
use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use support::{message, numbers, row, Client, Setup, PATIENCE};

const INFER: &str = "/v2/models/sum/infer";

fn sums(reply: &support::Reply) -> Vec<f64> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_value(reply.json()["outputs"][0]["data"].clone()).unwrap()
}

#[test]
fn a_connection_serves_many_requests() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let mut client = running.client();
    for index in 0..50 {
        let value = f64::from(index);
        let reply = client.request("POST", INFER, &[], row([value, 1.0, 0.0, 0.0]).as_bytes());
        assert_eq!(sums(&reply), [value + 1.0]);
        client.request("GET", "/nowhere", &[], b"").error(404);
    }
    let last = client.request("GET", "/", &[("connection", "close")], b"");
    assert_eq!(last.status, 200);
    assert!(client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let mut client = running.client();
    let mut all = Vec::new();
    for index in 0..100 {
        all.extend(message("POST", INFER, &[], row([f64::from(index), 0.0, 0.0, 0.0]).as_bytes()));
        all.extend(message("GET", "/v2/health/live", &[], b""));
    }
    client.send(&all);
    for index in 0..100 {
        assert_eq!(sums(&client.read().unwrap()), [f64::from(index)]);
        assert_eq!(client.read().unwrap().json(), json!({"live": true}));
    }
}

#[test]
fn everyone_gets_their_own_answer() {
    const CLIENTS: u32 = 64;
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let begin = Arc::new(Barrier::new(CLIENTS as usize));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (mut connection, begin) = (running.client(), Arc::clone(&begin));
            std::thread::spawn(move || {
                begin.wait();
                for index in 0..30 {
                    let value = f64::from(client * 1000 + index);
                    let id = format!("{client}-{index}");
                    let reply = connection.request(
                        "POST",
                        INFER,
                        &[("x-request-id", &id)],
                        row([value, 0.5, 0.0, 0.0]).as_bytes(),
                    );
                    assert_eq!(sums(&reply), [value + 0.5]);
                    assert_eq!((reply.header("x-request-id"), &reply.json()["id"]), (Some(&*id), &json!(id)));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn compressed_and_chunked_bodies_are_read() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let body = row([1.0, 2.0, 3.0, 4.0]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(body.as_bytes()).unwrap();
    let zlib = zlib.finish().unwrap();
    let mut client = running.client();
    for (encoding, bytes) in [("gzip", &gzip), ("deflate", &zlib)] {
        let reply = client.request("POST", INFER, &[("content-encoding", encoding)], bytes);
        assert_eq!(sums(&reply), [10.0]);
        let broken = &bytes[..bytes.len() / 2];
        client.request("POST", INFER, &[("content-encoding", encoding)], broken).error(400);
    }
    client.request("POST", INFER, &[("content-encoding", "br")], &gzip).error(415);

    let chunks: Vec<u8> = body
        .as_bytes()
        .chunks(7)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .chain(*b"0\r\n\r\n")
        .collect();
    let reply = client.request("POST", INFER, &[("transfer-encoding", "chunked")], &chunks);
    assert_eq!(sums(&reply), [10.0]);
    let expecting = message("POST", INFER, &[("expect", "100-continue")], body.as_bytes());
    client.send(&expecting);
    assert_eq!(sums(&client.read().unwrap()), [10.0]);
}

#[test]
fn the_limit_holds_at_the_exact_byte() {
    let body = row([1.0; 4]);
    let limits = Limits { body_bytes: body.len() + 100, ..Limits::default() };
    let setup = Setup::with_limits(limits.clone());
    setup.sum(None);
    let running = setup.start();
    let padded = |length: usize| [body.as_bytes(), &vec![b' '; length - body.len()]].concat();
    let limit = limits.body_bytes;
    let mut client = running.client();
    assert_eq!(sums(&client.request("POST", INFER, &[], &padded(limit))), [4.0]);
    let text = client.request("POST", INFER, &[], &padded(limit + 1)).error(413);
    assert!(text.contains(&limit.to_string()), "{text}");
    // The refused body was read to its end, so the connection goes on.
    assert_eq!(client.request("GET", "/", &[], b"").status, 200);

    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n0\r\n\r\n"].concat();
    let chunked = [("transfer-encoding", "chunked")];
    assert_eq!(sums(&running.client().request("POST", INFER, &chunked, &chunk(&padded(limit)))), [4.0]);
    running.client().request("POST", INFER, &chunked, &chunk(&padded(limit + 1))).error(413);

    let pack = |bytes: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let gzip = [("content-encoding", "gzip")];
    assert_eq!(sums(&running.client().request("POST", INFER, &gzip, &pack(&padded(limit)))), [4.0]);
    running.client().request("POST", INFER, &gzip, &pack(&padded(limit + 1))).error(413);

    // A claim alone is refused; nothing of the body is awaited.
    let mut client = running.client();
    client.send(b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n");
    assert!(client.read().unwrap().error(413).contains("99999999999"));
}

/// Many bodies that each keep to the limit must not take all of the machine's memory.
#[test]
fn all_bodies_together_have_a_bound() {
    let body = row([1.0; 4]);
    let limits = Limits { body_bytes: 1 << 20, bodies_bytes: 1 << 20, ..Limits::default() };
    let setup = Setup::with_limits(limits);
    setup.sum(None);
    let server = Arc::clone(&setup.server);
    let running = setup.start();
    let padded = [body.as_bytes(), &vec![b' '; (1 << 20) - body.len()]].concat();
    let whole = message("POST", INFER, &[], &padded);
    let mut first = running.client();
    let (most, rest) = whole.split_at(whole.len() - 1000);
    first.send(most);
    support::wait_for("the first body", || server.bodies.used() > 900_000);

    let mut second = running.client();
    let refused = second.request("POST", INFER, &[], &padded);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.error(429).contains("There is no room for a body of 1048576 bytes now"));
    // What is small goes on beside it.
    assert_eq!(sums(&running.post(INFER, &body)), [4.0]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&padded).unwrap();
    let gzip = gzip.finish().unwrap();
    let packed = [("content-encoding", "gzip")];
    running.client().request("POST", INFER, &packed, &gzip).error(429);

    first.send(rest);
    assert_eq!(sums(&first.read().unwrap()), [4.0]);
    support::wait_for("the memory to come back", || server.bodies.used() == 0);
    assert_eq!(sums(&running.client().request("POST", INFER, &packed, &gzip)), [4.0]);
    assert_eq!(sums(&running.client().request("POST", INFER, &[], &padded)), [4.0]);
    let metrics = running.get("/metrics").text();
    assert!(metrics.contains("modelport_rejected_bodies_total{reason=\"no_room\"} 2"), "{metrics}");
}

#[test]
fn a_bomb_is_defused() {
    let limits = Limits { body_bytes: 1 << 20, ..Limits::default() };
    let setup = Setup::with_limits(limits);
    setup.sum(None);
    let running = setup.start();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..4096 {
        gzip.write_all(&[b' '; 1 << 14]).unwrap();
    }
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() < 1 << 18);
    running.client().request("POST", INFER, &[("content-encoding", "gzip")], &bomb).error(413);
    assert_eq!(sums(&running.post(INFER, &row([1.0; 4]))), [4.0]);
}

#[test]
fn slow_clients_are_let_go() {
    let limits = Limits {
        body_timeout: Duration::from_millis(200),
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let setup = Setup::with_limits(limits);
    setup.sum(None);
    let running = setup.start();
    let mut body = running.client();
    body.send(b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"inputs\":");
    assert!(body.read().unwrap().error(408).contains("0.2 s"));
    let mut silent = running.client();
    assert!(silent.is_closed());
    let mut header = running.client();
    header.send(b"GET /v2/health/live HTTP/1.1\r\nhost: x");
    while !header.is_closed() {}
    let mut preface = running.client();
    preface.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n");
    while !preface.is_closed() {}
}

#[test]
fn malformed_http_kills_nothing() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // a TLS hello
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: sideways\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let mut client = running.client();
        let _ = client.stream.write_all(bytes); // it may be refused before all of it is written
        let _ = client.stream.shutdown(std::net::Shutdown::Write);
        while !client.is_closed() {}
    }
    let mut half = running.client();
    half.send(b"POST /v2/models/sum/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{");
    drop(half);
    assert_eq!(sums(&running.post(INFER, &row([1.0; 4]))), [4.0]);
}

#[test]
fn binary_tensors_are_placed_for_viewing() {
    let setup = Setup::new();
    setup.function("where", Options::default(), |call| {
        let Payload::Tensors(request) = &call.payload else { panic!("tensors wanted") };
        let Data::Fixed(bytes) = &request.inputs[0].data else { panic!("numbers wanted") };
        Ok(numbers(&[(bytes.as_ptr().addr() % 64) as f64, bytes.len() as f64]))
    });
    let running = setup.start();
    let mut client = running.client();
    for elements in [1_usize, 100, 100_000] {
        for pad in 0..9 {
            let json = json!({"id": "x".repeat(pad), "inputs": [{"name": "x", "shape": [elements],
                "datatype": "FP32", "parameters": {"binary_data_size": elements * 4}}]})
            .to_string();
            let length = json.len().to_string();
            let mut body = json.into_bytes();
            body.resize(body.len() + elements * 4, 0);
            let reply = client.request(
                "POST",
                "/v2/models/where/infer",
                &[("inference-header-content-length", &length)],
                &body,
            );
            assert_eq!(sums(&reply), [0.0, (elements * 4) as f64]);
        }
    }
}

#[test]
fn streams_come_in_parts_and_break_off_visibly() {
    let setup = Setup::new();
    for (name, content_type) in [("text", "text/plain"), ("events", "text/event-stream")] {
        setup.function(name, Options { raw_v1: true, ..Options::default() }, move |call| {
            let Payload::Raw(body) = &call.payload else { panic!("raw wanted") };
            let breaks = body.as_ref() == b"break";
            let (sender, parts) = tokio::sync::mpsc::channel(1);
            std::thread::spawn(move || {
                for index in 0..100 {
                    if sender.blocking_send(Ok(format!("part {index}\n").into())).is_err() {
                        return;
                    }
                }
                if breaks {
                    let error = modelport_dataplane::error::Error::invalid("It \"broke\".");
                    let _ = sender.blocking_send(Err(error));
                }
            });
            Ok(Answer::Stream { content_type: content_type.to_owned(), headers: Vec::new(), parts })
        });
    }
    let running = setup.start();
    let mut client = running.client();
    let whole = client.request("POST", "/v1/models/text:predict", &[], b"go");
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("text/plain")));
    let wanted = (0..100).map(|index| format!("part {index}\n")).collect::<Vec<_>>().concat();
    assert_eq!(whole.text(), wanted);
    let told = client.request("POST", "/v1/models/events:predict", &[], b"break");
    assert_eq!(told.text(), format!("{wanted}data: {{\"error\":\"It \\\"broke\\\".\"}}\n\n"));
    client.begin("POST", "/v1/models/text:predict", &[], b"break");
    assert!(client.read().is_none(), "a broken stream must not look complete");
    assert_eq!(running.get("/").status, 200);
}

#[test]
fn http2_is_spoken_with_prior_knowledge() {
    let setup = Setup::new();
    setup.sum(None);
    let running = setup.start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use http_body_util::{BodyExt, Full};
        use hyper_util::rt::{TokioExecutor, TokioIo};
        let stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let requests = (0..100).map(|index| {
            let mut sender = sender.clone();
            async move {
                let body = row([f64::from(index), 0.0, 0.0, 0.0]);
                let request = http::Request::post(format!("http://test{INFER}"))
                    .body(Full::new(bytes::Bytes::from(body)))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.version(), http::Version::HTTP_2);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(json["outputs"][0]["data"], json!([f64::from(index)]));
            }
        });
        futures_util::future::join_all(requests).await;
        // A drain says GOAWAY, and the connection ends by itself.
        running.handle.stop();
        tokio::time::timeout(PATIENCE, connection).await.expect("GOAWAY").unwrap().unwrap();
    });
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let mut setup = Setup::new();
    setup.config.max_connections = 2;
    let running = setup.start();
    let mut clients: Vec<Client<_>> = (0..5).map(|_| running.client()).collect();
    for client in &mut clients {
        client.begin("GET", "/v2/health/live", &[("connection", "close")], b"");
    }
    for client in &mut clients {
        assert_eq!(client.read().unwrap().status, 200);
    }
}
