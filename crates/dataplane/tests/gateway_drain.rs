//! How a gateway ends, and hands over to its successor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{gated, held, nobody, simple, wait_for, Client, Setup, Upstream, PATIENCE};
use serde_json::{json, Value};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const PREDICT: &str = "/v1/models/m:predict";

#[test]
fn a_drain_loses_no_request() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = gated(&gate);
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({}));
    let mut busy: Vec<_> = (0..5).map(|_| running.client()).collect();
    for client in &mut busy {
        client.begin("POST", PREDICT, &[], b"{}");
    }
    wait_for("the requests to arrive", || upstream.seen() == 5);
    running.handle.stop();
    wait_for("the drain to begin", || running.ask("GET", "/status").json()["draining"] == true);
    gate.add_permits(5);
    for client in &mut busy {
        let reply = client.read("POST").unwrap();
        assert_eq!((reply.text().as_str(), reply.header("connection")), ("late", Some("close")));
        assert!(client.is_closed());
    }
    assert_eq!(running.ended(), modelport_dataplane::gateway::Ended::Drained);
}

#[test]
fn who_waits_for_an_endpoint_in_a_gateway_that_ends_is_told() {
    let mut setup = Setup::new();
    setup.config.drain_timeout = Duration::from_millis(1500);
    let running = setup.start();
    running.route(&[], json!({}));
    let mut client = running.client();
    client.begin("POST", PREDICT, &[], b"{}");
    wait_for("it to be held", || held(&running) == 1);
    running.handle.stop();
    let reply = client.read("POST").unwrap();
    assert_eq!(reply.error(503), "No endpoint of n/c:80 is ready, and the gateway ends.");
    assert_eq!(running.ended(), modelport_dataplane::gateway::Ended::Drained);
}

#[test]
fn who_connects_while_it_drains_is_served_by_its_successor() {
    let upstream = Upstream::saying("fine");
    let mut setup = Setup::new();
    setup.config.drain_delay = Duration::from_millis(500);
    let listener = setup.config.listeners[0].try_clone().unwrap();
    let table = setup.config.table.clone();
    let running = setup.start();
    running.route(&[upstream.address], json!({}));
    let mut kept = running.client();
    assert_eq!(kept.request("GET", "/", &[], b"").text(), "fine");
    running.handle.stop();
    wait_for("the drain to begin", || running.ask("GET", "/status").json()["draining"] == true);
    let mut late = running.client();
    late.begin("GET", "/", &[], b"");
    // A kept connection gets one more answer, and is told to go.
    let reply = kept.request("GET", "/", &[], b"");
    assert_eq!((reply.text().as_str(), reply.header("connection")), ("fine", Some("close")));
    let mut next = Setup::new();
    std::fs::copy(table, &next.config.table).unwrap();
    next.config.listeners = vec![listener];
    let next = next.start();
    assert_eq!(late.read("GET").unwrap().text(), "fine");
    assert_eq!(running.ended(), modelport_dataplane::gateway::Ended::Drained);
    assert_eq!(next.get("/").text(), "fine");
}

#[test]
fn the_listening_sockets_are_handed_over() {
    use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut setup = Setup::new();
    let path = setup.folder.join("handover.sock");
    setup.config.handover = Some(path.clone());
    let (public, internal) =
        (setup.config.listeners[0].local_addr().unwrap(), setup.config.internal[0].local_addr().unwrap());
    let _running = setup.start();
    wait_for("the socket", || path.exists());
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 256];
    let mut parts = [std::io::IoSliceMut::new(&mut text)];
    let got = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let descriptors: Vec<TcpListener> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .map(TcpListener::from)
        .collect();
    let told: Value = serde_json::from_slice(&text[..got]).unwrap();
    assert_eq!(told, json!({"listen": 1, "internal": 1}));
    let addresses: Vec<SocketAddr> = descriptors.iter().map(|one| one.local_addr().unwrap()).collect();
    assert_eq!(addresses, [public, internal]);
}

#[test]
fn a_socket_path_of_a_dead_predecessor_is_taken_over() {
    let (mut setup, other) = (Setup::new(), Setup::new());
    setup.config.admin = other.config.admin.clone();
    drop(std::os::unix::net::UnixListener::bind(&setup.config.admin).unwrap());
    let first = setup.start();
    wait_for("an answer", || std::os::unix::net::UnixStream::connect(&first.admin).is_ok());
    let second = other.start();
    wait_for("the second's answer", || {
        let upstream = nobody();
        second.write(9, simple(&[upstream], json!({})));
        second.ask("POST", "/reload").json()["version"] == 9
    });
    // The first one's end does not take the path away from the second.
    first.handle.abort();
    first.ended();
    assert_eq!(second.ask("GET", "/status").json()["version"], 9);
    let _ = Client::connect(second.address);
}
