//! Clients that mean harm: small requests that would cost much, and connections that would never end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::Answer;
use modelport_dataplane::model::Options;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::{message, row, wait_for, Counter, Running, Setup, PATIENCE};
use tokio::sync::mpsc;

const INFER: &str = "/v2/models/sum/infer";

fn started(limits: Limits) -> Running {
    let setup = Setup::with_limits(limits);
    setup.sum(None);
    setup.start()
}

fn still_serves(running: &Running) {
    assert_eq!(running.post(INFER, &row([1.0; 4])).status, 200);
}

/// Two proxies may read two different requests of it.
#[test]
fn headers_that_say_how_to_read_the_body_come_once() {
    let running = started(Limits::default());
    let body = row([1.0; 4]);
    let length = body.len().to_string();
    let twice = |name: &'static str, value: &str| {
        running.client().request("POST", INFER, &[(name, value), (name, value)], body.as_bytes())
    };
    assert!(twice("content-encoding", "identity").error(415).contains("once"));
    assert!(twice("inference-header-content-length", &length).error(400).contains("once"));
    still_serves(&running);
}

/// Each parameter takes ten times its text, and a tree of JSON thirty times.
#[test]
fn options_are_few() {
    let running = started(Limits::default());
    let with = |count: usize| {
        let parameters: Vec<_> = (0..count).map(|index| format!("\"p{index}\":1")).collect();
        row([1.0; 4]).replacen('{', &format!("{{\"parameters\":{{{}}},", parameters.join(",")), 1)
    };
    assert_eq!(running.post(INFER, &with(1024)).status, 200);
    assert!(running.post(INFER, &with(1025)).error(400).contains("1024 parameters"));
    let spaces = " ".repeat(1 << 20);
    assert_eq!(running.post("/v2/repository/index", &spaces).status, 200);
    for path in ["/v2/repository/index", "/v2/repository/models/sum/load", "/v2/repository/models/sum/unload"]
    {
        running.post(path, &format!("{spaces} ")).error(413);
    }
}

/// A head as large as the read buffer is refused; the server keeps nothing of it.
#[test]
fn heads_are_bounded() {
    let running = started(Limits::default());
    let long = "a".repeat(60_000);
    assert_eq!(running.client().request("GET", "/", &[("x-long", &long)], b"").status, 200);
    let longer = "a".repeat(70_000);
    let mut client = running.client();
    // It may be refused before all of it is written, and the answer lost by a reset.
    let _ = client.stream.write_all(&message("GET", "/", &[("x-long", &longer)], b""));
    let _ = client.stream.shutdown(std::net::Shutdown::Write);
    assert!(client.read().is_none_or(|reply| reply.status == 431));
    still_serves(&running);
}

/// Who sends what cannot be read is told so, also where more was sent behind it.
#[test]
fn what_is_no_request_is_refused_in_words_of_http() {
    let running = started(Limits::default());
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    let two = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello";
    let huge = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\nhello";
    for (bytes, status) in [
        (many.as_str(), 431),
        (two, 400),
        (huge, 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nx-space : y\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: sideways\r\n\r\nhello", 400),
    ] {
        let mut client = running.client();
        client.send(bytes.as_bytes());
        let reply = client.read().unwrap_or_else(|| panic!("no answer to {bytes}"));
        assert_eq!(reply.status, status, "{bytes}");
        assert!(client.is_closed(), "{bytes}");
    }
    still_serves(&running);
}

/// A client that ends a connection and has said more than it should have still gets its answer.
#[test]
fn the_last_request_of_a_connection_is_answered_whatever_follows_it() {
    let running = started(Limits::default());
    let mut last = message("POST", INFER, &[("connection", "close")], row([1.0; 4]).as_bytes());
    last.extend(message("POST", INFER, &[], row([2.0; 4]).as_bytes()));
    let mut client = running.client();
    client.send(&last);
    assert_eq!(client.read().expect("an answer").status, 200);
    assert!(client.is_closed());
}

/// Sixteen thousand of them would hold sixteen thousand answers.
#[test]
#[cfg(target_os = "linux")]
fn a_client_that_does_not_read_its_answer_is_let_go() {
    let setup = Setup::with_limits(Limits { body_timeout: Duration::from_secs(1), ..Limits::default() });
    setup.sum(None);
    setup.function("large", Options::default(), |_| {
        Ok(Answer::Raw {
            status: 200,
            content_type: "application/octet-stream".to_owned(),
            headers: Vec::new(),
            body: Bytes::from(vec![7; 64 << 20]), // more than sockets buffer
        })
    });
    let running = setup.start();
    let mut deaf = running.client();
    deaf.send(&message("POST", "/v2/models/large/infer", &[], row([1.0; 4]).as_bytes()));
    wait_for("the connection", || running.server.metrics.connections_open() == 1);
    wait_for("its end", || running.server.metrics.connections_open() == 0);
    still_serves(&running);
}

/// A client that reads slowly would hold all that a model has to say in memory.
#[test]
fn a_stream_goes_no_faster_than_its_reader() {
    const PARTS: usize = 512;
    const PART: usize = 1 << 20;
    let setup = Setup::new();
    let made = Counter::default();
    let counter = made.clone();
    setup.function("endless", Options::default(), move |_| {
        let (sender, parts) = mpsc::channel(1);
        let made = counter.clone();
        std::thread::spawn(move || {
            while made.get() < PARTS && sender.blocking_send(Ok(Bytes::from(vec![7; PART]))).is_ok() {
                made.add();
            }
        });
        Ok(Answer::Stream { content_type: "text/plain".to_owned(), headers: Vec::new(), parts })
    });
    let running = setup.start();
    let mut slow = running.client();
    slow.begin("POST", "/v2/models/endless/infer", &[], row([1.0; 4]).as_bytes());
    let mut read = 0;
    let mut buffer = vec![0; PART];
    while read < PARTS * PART {
        let count = slow.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended after {read} bytes");
        read += count;
        // What sockets hold of loopback's is a few of them.
        let ahead = made.get().saturating_sub(read / PART); // a part may be here before it is counted
        assert!(ahead < 64, "{ahead} parts were taken from the model ahead of the client");
        if read < 8 * PART {
            std::thread::sleep(Duration::from_millis(1)); // let it run ahead, if it would
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn http2(running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, b"")).unwrap();
    stream
}

/// Writes until the server refuses or reads no more; true: all was taken.
fn flood(stream: &mut TcpStream, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    for bytes in frames {
        if stream.write_all(&bytes).is_err() {
            return false;
        }
    }
    true
}

fn ends(stream: &mut TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "still open");
                return;
            }
        }
    }
}

// `:method: POST`, `:scheme: http`, `:path: /`, `:authority: x`.
const HEAD: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 0x01, b'x'];

/// CVE-2023-44487: streams that are opened and given up cost the server and not the client.
#[test]
fn rapid_resets_end_the_connection() {
    let running = started(Limits::default());
    let mut stream = http2(&running);
    flood(
        &mut stream,
        (0..50_000_u32).map(|index| {
            let id = 2 * index + 1;
            [frame(1, 4, id, &HEAD), frame(3, 0, id, &8_u32.to_be_bytes())].concat()
        }),
    );
    ends(&mut stream);
    still_serves(&running);
}

/// CVE-2024-27316: headers without an end.
#[test]
fn endless_headers_end_the_connection() {
    let running = started(Limits::default());
    let mut stream = http2(&running);
    stream.write_all(&frame(1, 0, 1, &HEAD)).unwrap();
    // A literal header of 100 bytes, without indexing.
    let header = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(100);
    let taken = flood(&mut stream, (0..20_000).map(|_| frame(9, 0, 1, &header)));
    assert!(!taken, "200 MB of headers were taken");
    ends(&mut stream);
    still_serves(&running);
}

/// CVE-2019-9512 and -9515: each asks for an answer, which the client never reads.
#[test]
fn floods_of_settings_and_pings_do_not_pile_up_answers() {
    let running = started(Limits::default());
    for one in [frame(4, 0, 0, b""), frame(6, 0, 0, &[0; 8])] {
        let mut stream = http2(&running);
        let many = one.repeat(4096);
        let taken = flood(&mut stream, (0..2000).map(|_| many.clone()));
        assert!(!taken, "eight million frames were answered into the void");
        still_serves(&running);
    }
}
