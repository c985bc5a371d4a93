//! Websockets through a real gateway: both ways, as fast as the slower side, to a clean end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{wait_for, Client, Running, Setup, PATIENCE};
use modelport_dataplane::gateway::Ended;
use serde_json::json;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
    sec-websocket-accept: x\r\nx-mine: 1\r\n\r\n";
const WISH: &[(&str, &str)] =
    &[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-key", "k")];
/// "Going away" as a server says it, and as a client does.
const CLOSE: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
const CLOSE_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// A server that answers each head with these words, and gives the stream and the head to the test.
fn server(words: &'static str) -> (SocketAddr, Receiver<(BufReader<TcpStream>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (send, streams) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).unwrap() == 0 {
                    break;
                }
            }
            stream.get_mut().write_all(words.as_bytes()).unwrap();
            if send.send((stream, head)).is_err() {
                return;
            }
        }
    });
    (address, streams)
}

/// A client whose wish was granted, with the head of the answer.
fn switched(running: &Running) -> (Client, String) {
    let mut client = running.client();
    client.begin("GET", "/v1/chat?x=1", WISH, b"");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&client.line().unwrap());
    }
    (client, head)
}

fn read(stream: &mut BufReader<TcpStream>, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn rest(stream: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn bytes_go_both_ways_and_the_slower_side_is_waited_for() {
    // The first bytes come with the answer.
    let (address, streams) = server(concat!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n",
        "sec-websocket-accept: x\r\nx-mine: 1\r\n\r\nhello"
    ));
    let running = Setup::new().start();
    running.route(
        &[address],
        json!({"rule": {"timeout_ms": 200, "filters": {"response_headers": {"remove": ["x-mine"]}}}}),
    );
    let (mut client, head) = switched(&running);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in ["upgrade: websocket\r\n", "connection: upgrade\r\n", "sec-websocket-accept: x\r\n"] {
        assert!(head.to_lowercase().contains(line), "{line}{head}");
    }
    assert!(!head.contains("x-mine"));
    let (mut endpoint, asked) = streams.recv().unwrap();
    assert!(asked.starts_with("GET /v1/chat?x=1 HTTP/1.1\r\n"), "{asked}");
    for line in ["upgrade: websocket\r\n", "connection: upgrade\r\n", "sec-websocket-key: k\r\n"] {
        assert!(asked.to_lowercase().contains(line), "{line}{asked}");
    }
    assert_eq!(read(&mut client.stream, 5), b"hello");
    wait_for("the request in flight", || running.demand("n/c:80")["in_flight"] == 1);
    // Longer than a request may take.
    std::thread::sleep(Duration::from_millis(300));
    let large: Vec<u8> = (0..8_000_000_u32).map(|number| (number % 251) as u8).collect();
    std::thread::scope(|scope| {
        let mut writer = client.stream.get_ref().try_clone().unwrap();
        let bytes = &large;
        scope.spawn(move || writer.write_all(bytes).unwrap());
        // Nobody reads: the gateway keeps a little, and the client has to wait.
        std::thread::sleep(Duration::from_millis(200));
        assert!(read(&mut endpoint, large.len()) == large);
    });
    endpoint.get_mut().write_all(b"bye").unwrap();
    drop(endpoint);
    assert_eq!(rest(&mut client.stream), b"bye");
    drop(client);
    wait_for("the end", || running.demand("n/c:80")["in_flight"] == 0);
}

#[test]
fn a_gateway_that_ends_says_so_between_two_frames() {
    let (address, streams) = server(SWITCHED);
    let mut setup = Setup::new();
    setup.config.drain_delay = Duration::from_millis(10);
    let running = setup.start();
    running.route(&[address], json!({}));
    let (mut client, _) = switched(&running);
    let (mut endpoint, _) = streams.recv().unwrap();
    // Half of a frame is out when the gateway is told to end.
    endpoint.get_mut().write_all(&[0x82, 4, 1, 2]).unwrap();
    assert_eq!(read(&mut client.stream, 4), [0x82, 4, 1, 2]);
    running.handle.stop();
    assert_eq!(read(&mut endpoint, CLOSE_MASKED.len()), CLOSE_MASKED);
    endpoint.get_mut().write_all(&[3, 4]).unwrap();
    assert_eq!(read(&mut client.stream, 2 + CLOSE.len()), [&[3, 4], CLOSE].concat());
    drop((client, endpoint));
    assert_eq!(running.ended(), Ended::Drained);
}

#[test]
fn who_says_nothing_for_too_long_is_told_goodbye() {
    let (address, streams) = server(SWITCHED);
    let mut setup = Setup::new();
    setup.config.limits.idle_timeout = Duration::from_millis(300);
    let running = setup.start();
    running.route(&[address], json!({}));
    let (mut client, _) = switched(&running);
    let (mut endpoint, _) = streams.recv().unwrap();
    assert_eq!(read(&mut client.stream, CLOSE.len()), CLOSE);
    assert_eq!(read(&mut endpoint, CLOSE_MASKED.len()), CLOSE_MASKED);
    assert!(client.is_closed());
}

#[test]
fn a_wish_may_be_refused_and_nobody_switches_without_one() {
    let (address, _streams) = server("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    let running = Setup::new().start();
    running.route(&[address], json!({}));
    let mut client = running.client();
    client.begin("GET", "/", WISH, b"");
    let reply = client.read("GET").unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (403, "no"));
    let (address, _streams) = server(SWITCHED);
    running.route(&[address], json!({}));
    assert_eq!(running.get("/").status, 502);
    // Another protocol is asked for as a plain request.
    let echo = gateway_support::echo();
    running.route(&[echo.address], json!({}));
    let headers = [("connection", "upgrade"), ("upgrade", "h2c")];
    let reply = running.client().request("GET", "/", &headers, b"");
    assert!(reply.status == 200 && !reply.text().contains("upgrade"), "{}", reply.text());
}
