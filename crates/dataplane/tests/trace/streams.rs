//! Spans of answers that come in parts, and of clients that do not wait for them.

use crate::collector::{attributes, error_code, Collector};
use crate::served::BODY;
use crate::support::{numbers, wait_for, Gate, Setup};
use bytes::Bytes;
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::message::Answer;
use modelport_dataplane::model::Options;
use std::sync::Arc;

/// A model that streams two parts, the second when the gate opens, and then fails if told so.
fn streaming(fails: bool) -> (Setup, Arc<Gate>) {
    let setup = Setup::new();
    let gate = Arc::new(Gate::default());
    let wait = Arc::clone(&gate);
    setup.function("stream", Options::default(), move |_| {
        let (parts, receiver) = tokio::sync::mpsc::channel(4);
        let wait = Arc::clone(&wait);
        std::thread::spawn(move || {
            parts.blocking_send(Ok(Bytes::from_static(b"data: 1\n\n"))).unwrap();
            wait.wait();
            let last =
                if fails { Err(Error::new(Kind::Model, "out of words")) } else { Ok("data: 2\n\n".into()) };
            let _ = parts.blocking_send(last);
        });
        Ok(Answer::Stream { content_type: "text/event-stream".into(), headers: Vec::new(), parts: receiver })
    });
    (setup, gate)
}

#[test]
fn a_span_ends_with_its_stream() {
    for fails in [false, true] {
        let collector = Collector::start();
        let (mut setup, gate) = streaming(fails);
        setup.config.tracing = Some(collector.settings(&[]));
        let running = setup.start();
        let mut client = running.client();
        client.begin("POST", "/v2/models/stream/infer", &[], BODY.as_bytes());
        let model = running.server.registry.get("stream", None).unwrap();
        wait_for("the stream", || model.queue.is_idle() && model.metrics.in_flight() == 1);
        // A request that comes later and ends earlier.
        running.post("/v2/models/none/infer", "{}");
        let (other, _) = collector.only();
        assert_eq!(attributes(&other.attributes)["modelport.model.name"], "none");
        collector.got.lock().unwrap().clear();
        gate.open();
        assert_eq!(client.read().unwrap().status, 200);
        let (span, _) = collector.only();
        assert_eq!(attributes(&span.attributes)["http.response.status_code"], "200");
        assert_eq!(error_code(&span), if fails { 2 } else { 0 });
    }
}

#[test]
fn a_client_that_goes_away_leaves_a_span() {
    let collector = Collector::start();
    let mut setup = Setup::new();
    let gate = Arc::new(Gate::default());
    let wait = Arc::clone(&gate);
    setup.function("slow", Options::default(), move |_| {
        wait.wait();
        Ok(numbers(&[1.0]))
    });
    setup.config.tracing = Some(collector.settings(&[]));
    let running = setup.start();
    let mut lost = running.client();
    lost.begin("POST", "/v2/models/slow/infer", &[], BODY.as_bytes());
    let model = running.server.registry.get("slow", None).unwrap();
    wait_for("the request", || model.metrics.in_flight() == 1);
    drop(lost);
    let (span, _) = collector.only();
    let given = attributes(&span.attributes);
    assert_eq!(given["modelport.cancelled"], "true");
    assert!(!given.contains_key("http.response.status_code"));
    gate.open();
}
