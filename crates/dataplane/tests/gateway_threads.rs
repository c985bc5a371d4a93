//! A gateway with several threads: requests and table changes at once, and every request is answered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_support;

use gateway_support::{nobody, under_load, wait_for, Setup, Upstream};
use serde_json::json;

const PREDICT: &str = "/v1/models/m:predict";

#[test]
fn tables_change_under_load_on_several_threads_and_no_request_fails() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let dead = nobody();
    let mut setup = Setup::new();
    setup.config.threads = 4;
    let running = setup.start();
    running.route(&[one.address], json!({}));
    let answered = under_load(&running, 8, PREDICT, || {
        for turn in 0..60 {
            let endpoints = match turn % 4 {
                0 => vec![two.address],
                1 => vec![one.address, two.address],
                // One that refuses costs no request either.
                2 => vec![one.address, dead],
                _ => vec![one.address],
            };
            running.route(&endpoints, json!({}));
            let before = one.seen() + two.seen();
            wait_for("some requests under this table", || one.seen() + two.seen() > before + 16);
        }
    });
    assert!(one.seen() > 0 && two.seen() > 0);
    assert!(one.seen() + two.seen() >= answered);
    // Guards go a moment after the client has its answer.
    wait_for("every request to be counted, and none to be left", || {
        let demand = running.demand("n/c:80");
        let ended = running.metric("modelport_gateway_requests_total{service=\"n/s\",code=\"2xx\"");
        demand["in_flight"] == 0 && demand["held"] == 0 && ended == answered as f64
    });
}
