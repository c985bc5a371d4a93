//! What endpoints may answer, in every framing that HTTP/1.1 has: the client gets the same, and the connection is
//! used again exactly where that is safe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{Running, Setup};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PREDICT: &str = "/v1/models/m:predict";

/// A server that answers every request with the same pieces, a moment between them.
struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The last request, as it came.
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Scripted {
    fn start(pieces: Vec<Vec<u8>>, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::default()));
        let (count, last, pieces) = (Arc::clone(&connections), Arc::clone(&heard), Arc::new(pieces));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let (pieces, last) = (Arc::clone(&pieces), Arc::clone(&last));
                let stream = stream.unwrap();
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read_request(&mut reader) {
                        *last.lock().unwrap() = request;
                        for (number, piece) in pieces.iter().enumerate() {
                            if number > 0 {
                                std::thread::sleep(Duration::from_millis(5));
                            }
                            if reader.get_mut().write_all(piece).is_err() {
                                return;
                            }
                        }
                        if closes {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, connections, heard }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A request's bytes; none at the end of the connection.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let (mut all, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        all.extend_from_slice(line.as_bytes());
        if let Some(told) = line.strip_prefix("content-length: ") {
            length = told.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    all.extend_from_slice(&body);
    Some(all)
}

fn routed(server: &Scripted) -> Running {
    let running = Setup::new().start();
    running.route(&[server.address], json!({}));
    running
}

fn pieces(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

const PLAIN: &str = "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Asks three times; the answers must be `body`. How many connections that took.
fn thrice(what: &str, texts: &[&str], closes: bool, status: u16, body: &str) -> usize {
    let server = Scripted::start(pieces(texts), closes);
    let running = routed(&server);
    let mut client = running.client();
    for _ in 0..3 {
        let reply = client.request("POST", PREDICT, &[], b"{}");
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{what}");
    }
    server.connections()
}

#[test]
fn every_framing_of_an_answer_reaches_the_client_and_keeps_the_connection() {
    let byte_by_byte: Vec<String> = format!("{PLAIN}hello").chars().map(String::from).collect();
    let byte_by_byte: Vec<&str> = byte_by_byte.iter().map(String::as_str).collect();
    let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let text = |parts: &[&str]| parts.concat();
    for (what, answer, status, body) in [
        ("at once", text(&[PLAIN, "hello"]), 200, "hello"),
        ("empty", text(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]), 200, ""),
        ("no content", text(&["HTTP/1.1 204 No Content\r\n\r\n"]), 204, ""),
        ("chunks", text(&[CHUNKED, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"]), 200, "hello"),
        ("no chunks", text(&[CHUNKED, "0\r\n\r\n"]), 200, ""),
        ("after 103", text(&[early, PLAIN, "hello"]), 200, "hello"),
        (
            "after 100",
            text(&["HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, "5\r\nhello\r\n0\r\n\r\n"]),
            200,
            "hello",
        ),
        ("two lengths", text(&[&PLAIN[..PLAIN.len() - 2], "Content-Length: 5\r\n\r\nhello"]), 200, "hello"),
    ] {
        assert_eq!(thrice(what, &[&answer], false, status, body), 1, "{what}");
    }
    // Behind trailers the connection may end or not.
    thrice("trailers", &[CHUNKED, "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"], false, 200, "hello");
    for (what, texts) in [
        ("byte by byte", &byte_by_byte[..]),
        ("head and body", &[PLAIN, "hello"]),
        ("a broken head", &["HTTP/1.1 20", &PLAIN[11..], "he", "llo"]),
        ("head and chunks", &[CHUNKED, "5\r\nhello\r\n0\r\n\r\n"]),
        ("broken chunks", &[CHUNKED, "5\r", "\nhel", "lo\r\n0", "\r\n\r\n"]),
        ("103 by itself", &[early, PLAIN, "hello"]),
        ("a piece of 103", &["HTTP/1.1 1", "03 Early Hints\r\n\r\n", PLAIN, "hello"]),
    ] {
        assert_eq!(thrice(what, texts, false, 200, "hello"), 1, "{what}");
    }
}

#[test]
fn a_connection_that_ends_with_its_answer_is_not_used_again() {
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
    let more = [CHUNKED, "5\r\nhello\r\n0\r\n\r\nworld"].concat();
    for (what, texts, closes) in [
        ("says so and does", &[closing][..], true),
        ("says so and does not", &[closing], false),
        ("1.0", &["HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"], false),
        ("without a length", &["HTTP/1.1 200 OK\r\n\r\n", "hel", "lo"], true),
        ("1.0 without a length", &["HTTP/1.0 200 OK\r\n\r\nhello"], true),
        ("more than it said", &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, world"], false),
        ("chunks and more", &[more.as_str()], false),
    ] {
        assert_eq!(thrice(what, texts, closes, 200, "hello"), 3, "{what}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_answer() {
    for text in [[PLAIN, "hel"], [CHUNKED, "5\r\nhel"], [CHUNKED, "5\r\nhello\r\n"]] {
        let server = Scripted::start(pieces(&text), true);
        let running = routed(&server);
        let mut client = running.client();
        client.begin("POST", PREDICT, &[], b"{}");
        if let Ok(reply) = client.read("POST") {
            assert_eq!(reply.status, 502, "{text:?}");
        }
        assert_eq!(server.connections(), 1, "{text:?} was asked for again");
    }
}

#[test]
fn answers_of_all_sizes_come_whole_and_keep_the_connection() {
    for length in [1, 4096, 4097, 65_535, 65_536, 65_537, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8).collect();
        let mut whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
        whole.extend_from_slice(&body);
        let server = Scripted::start(vec![whole], false);
        let running = routed(&server);
        let mut client = running.client();
        for _ in 0..3 {
            let reply = client.request("GET", "/", &[], b"");
            assert_eq!(reply.status, 200);
            assert!(reply.body == body, "{length}");
        }
        assert_eq!(server.connections(), 1, "{length}");
    }
}

#[test]
fn an_answer_to_head_has_a_length_and_no_body() {
    let server = Scripted::start(pieces(&[PLAIN]), false);
    let running = routed(&server);
    let mut client = running.client();
    for _ in 0..3 {
        let reply = client.request("HEAD", "/", &[], b"");
        assert_eq!((reply.status, reply.header("content-length")), (200, Some("5")));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn bodies_of_all_sizes_go_out_whole() {
    let server = Scripted::start(pieces(&[PLAIN, "hello"]), false);
    let running = routed(&server);
    let mut client = running.client();
    for length in [0, 1, 2047, 65_536, 65_537, 2_000_000, 1] {
        let body: Vec<u8> = (0..length).map(|at: usize| b'a' + (at % 26) as u8).collect();
        assert_eq!(client.request("POST", PREDICT, &[], &body).text(), "hello");
        let heard = server.heard.lock().unwrap().clone();
        let end = heard.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(heard[..end].to_vec()).unwrap();
        assert!(head.starts_with("POST /v1/models/m:predict HTTP/1.1\r\n"), "{head}");
        assert!(heard[end..] == body, "{length}");
        for name in ["content-length: ", "host: ", "x-forwarded-for: ", "x-request-id: "] {
            assert_eq!(head.matches(&format!("\r\n{name}")).count(), 1, "{name} in {head}");
        }
    }
}
