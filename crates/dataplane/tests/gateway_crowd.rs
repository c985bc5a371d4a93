//! Endpoints that take HTTP/1.1 and h2c on one port: requests that come one by one have a connection to themselves,
//! many at once share one, and what would lose by company never does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use bytes::Bytes;
use gateway_support::{full, under_load, wait_for, Running, Setup, Upstream};
use http::{Request, Response, Version};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

const PREDICT: &str = "/v1/models/m:predict";
const CROWD: usize = 16;

/// Says by which protocol a request came. Those to `:explain` wait until there is a crowd of them.
fn crowded() -> Upstream {
    let (waiting, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    Upstream::start(move |request: Request<Incoming>| {
        let (waiting, all) = (Arc::clone(&waiting), Arc::clone(&all));
        async move {
            if request.uri().path().ends_with(":explain") {
                let enough = all.notified();
                if waiting.fetch_add(1, Ordering::SeqCst) + 1 == CROWD {
                    all.notify_waiters();
                } else {
                    enough.await;
                }
            }
            let http2 = request.version() == Version::HTTP_2;
            Response::new(full(if http2 { "shared" } else { "alone" }))
        }
    })
}

fn start(upstream: &Upstream) -> Running {
    let running = Setup::new().start();
    running.route(&[upstream.address], json!({"cluster": {"protocol": "both"}}));
    running
}

/// As many requests at once as make a crowd; how many of them shared a connection.
fn crowd(running: &Running) -> usize {
    std::thread::scope(|scope| {
        let ask = || running.post("/v1/models/m:explain", b"{}").text();
        let askers: Vec<_> = (0..CROWD).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).filter(|how| how == "shared").count()
    })
}

#[test]
fn one_request_after_the_other_has_a_connection_to_itself() {
    let upstream = crowded();
    let running = start(&upstream);
    for _ in 0..100 {
        assert_eq!(running.post(PREDICT, b"{}").text(), "alone");
    }
    assert_eq!(running.demand("n/c:80")["http2_connections"], 0);
}

#[test]
fn many_at_once_share_a_connection_and_go_back_when_they_are_few() {
    let upstream = crowded();
    let running = start(&upstream);
    // The first five are no crowd yet.
    assert_eq!(crowd(&running), CROWD - 5);
    assert_eq!(running.demand("n/c:80")["http2_connections"], 1);
    let mut client = running.client();
    wait_for("the crowd to be forgotten", || client.request("POST", PREDICT, &[], b"{}").text() == "alone");
    for _ in 0..100 {
        assert_eq!(client.request("POST", PREDICT, &[], b"{}").text(), "alone");
    }
}

#[test]
fn what_may_not_be_sent_twice_or_is_large_stays_alone_in_a_crowd() {
    let upstream = crowded();
    let running = start(&upstream);
    assert!(crowd(&running) > 0);
    assert_eq!(running.post(PREDICT, b"{}").text(), "shared");
    assert_eq!(running.post("/v1/chat/completions", b"{}").text(), "alone");
    assert_eq!(running.post(PREDICT, &vec![b' '; (64 << 10) + 1]).text(), "alone");
    assert_eq!(running.post(PREDICT, &vec![b' '; 64 << 10]).text(), "shared");
}

#[test]
fn who_does_not_read_its_answer_holds_up_nobody_that_it_shares_a_connection_with() {
    let large = Bytes::from(vec![b' '; 12 << 20]);
    let upstream = Upstream::start(move |request: Request<Incoming>| {
        let large = large.clone();
        async move {
            let http2 = request.version() == Version::HTTP_2;
            let small = if http2 { "shared" } else { "alone" };
            Response::new(if request.uri().path().ends_with(":explain") { full(large) } else { full(small) })
        }
    });
    let running = start(&upstream);
    let mut slow: Vec<_> = (0..CROWD).map(|_| running.client()).collect();
    for client in &mut slow {
        client.begin("POST", "/v1/models/m:explain", &[], b"{}");
    }
    wait_for("the slow ones", || upstream.seen() == CROWD);
    for _ in 0..100 {
        assert_eq!(running.post(PREDICT, b"{}").text(), "shared");
    }
    assert_eq!(running.demand("n/c:80")["http2_connections"], 1);
    for client in &mut slow {
        assert_eq!(client.read("POST").unwrap().body.len(), 12 << 20);
    }
}

#[test]
fn no_request_of_a_crowd_is_lost_when_an_endpoint_leaves() {
    let (first, second) = (crowded(), crowded());
    let running = Setup::new().start();
    let both = json!({"cluster": {"protocol": "both"}});
    running.route(&[first.address], both.clone());
    let shared = || first.seen() + second.seen();
    under_load(&running, CROWD, PREDICT, || {
        for addresses in [[second.address], [first.address], [second.address]] {
            let before = shared();
            wait_for("requests", || shared() > before + 500);
            running.route(&addresses, both.clone());
        }
    });
    assert!(first.seen() > 0 && second.seen() > 0);
}
