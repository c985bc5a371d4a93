//! Models that the I/O thread calls itself: fast ones are, and one that becomes slow or hangs disturbs nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use modelport_dataplane::batch::Batching;
use modelport_dataplane::listen::Ended;
use modelport_dataplane::message::Call;
use modelport_dataplane::model::{Metadata, Options};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;
use std::time::Instant;
use support::{numbers, wait_for, Behaviour, Running, Setup};

const INFER: &str = "/v2/models/m/infer";
const BODY: &str = r#"{"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1]}]}"#;

/// A server whose model `m` tells which thread calls it, and waits at the gate while that is closed.
struct Bench {
    setup: Setup,
    last: Arc<Mutex<Option<ThreadId>>>,
    gate: Arc<Mutex<()>>,
    /// Only this thread waits at the gate.
    only: Arc<Mutex<Option<ThreadId>>>,
    abandoned: std::sync::mpsc::Receiver<Ended>,
}

fn bench(options: Options) -> Bench {
    let mut setup = Setup::new();
    let (last, gate) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(())));
    let only = Arc::new(Mutex::new(None));
    let (seen, closed, who) = (Arc::clone(&last), Arc::clone(&gate), Arc::clone(&only));
    let behaviour: Behaviour = Arc::new(move |_: &Call| {
        let own = std::thread::current().id();
        *seen.lock().unwrap() = Some(own);
        let only = *who.lock().unwrap();
        if only.is_none_or(|only| only == own) {
            drop(closed.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(numbers(&[1.0]))
    });
    let metadata = Metadata { name: "m".to_owned(), ..Metadata::default() };
    let model = setup.model(metadata, options, Arc::clone(&behaviour));
    setup.function("other", Options::default(), |_| Ok(numbers(&[2.0])));
    Setup::call_here(&model, behaviour);
    let (tell, abandoned) = channel();
    setup.config.abandon = Some(Box::new(move |ended| tell.send(ended).unwrap()));
    Bench { setup, last, gate, only, abandoned }
}

/// Asks until the I/O thread calls the model.
fn until_called_here(running: &Running, last: &Mutex<Option<ThreadId>>) {
    let here = running.thread_id();
    let mut client = running.client();
    let begun = Instant::now();
    // Without pauses: it is for models that are asked often.
    while *last.lock().unwrap() != Some(here) {
        assert_eq!(client.request("POST", INFER, &[], BODY.as_bytes()).status, 200);
        assert!(begun.elapsed() < support::PATIENCE, "it is never called here");
    }
}

#[test]
fn a_fast_model_is_called_where_its_requests_are_read() {
    let bench = bench(Options::default());
    let running = bench.setup.start();
    until_called_here(&running, &bench.last);
    // A pause, after which nobody watches over the I/O thread until it asks for that again.
    std::thread::sleep(Duration::from_millis(100));
    *bench.last.lock().unwrap() = None;
    until_called_here(&running, &bench.last);
}

#[test]
fn a_model_that_waits_for_more_rows_keeps_its_thread() {
    let batching = Batching { delay: Duration::from_micros(1), ..Batching::default() };
    let bench = bench(Options { batching, ..Options::default() });
    let running = bench.setup.start();
    let mut client = running.client();
    for _ in 0..200 {
        assert_eq!(client.request("POST", INFER, &[], BODY.as_bytes()).status, 200);
        assert_ne!(*bench.last.lock().unwrap(), Some(running.thread_id()));
    }
}

#[test]
fn while_a_model_does_not_return_all_else_is_served_and_then_it_is_too() {
    let bench = bench(Options::default());
    let running = bench.setup.start();
    for _ in 0..3 {
        *bench.last.lock().unwrap() = None;
        until_called_here(&running, &bench.last);
        let closed = bench.gate.lock().unwrap();
        let address = running.address;
        let stuck: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    support::Client::connect(address).request("POST", INFER, &[], BODY.as_bytes()).status
                })
            })
            .collect();
        let all = || running.server.registry.get("m", None).unwrap().metrics.in_flight() == 3;
        wait_for("all requests", all);
        for _ in 0..20 {
            assert_eq!(running.get("/v2/health/live").status, 200);
            assert_eq!(running.post("/v2/models/other/infer", BODY).status, 200);
        }
        drop(closed);
        for answer in stuck {
            assert_eq!(answer.join().unwrap(), 200);
        }
    }
    drop(running);
    assert!(bench.abandoned.try_recv().is_err());
}

#[test]
fn a_server_whose_model_hangs_on_the_io_thread_ends_all_the_same() {
    let options = Options { predict_timeout: Some(Duration::from_millis(200)), ..Options::default() };
    let bench = bench(options);
    let told = Arc::new(AtomicBool::new(false));
    let mut setup = bench.setup;
    setup.config.on_stuck = Some(Box::new({
        let told = Arc::clone(&told);
        move || told.store(true, SeqCst)
    }));
    let running = setup.start();
    *bench.only.lock().unwrap() = Some(running.thread_id());
    let closed = bench.gate.lock().unwrap();
    let mut client = running.client();
    let answer = loop {
        let answer = client.request("POST", INFER, &[], BODY.as_bytes());
        if answer.status != 200 {
            break answer;
        }
    };
    assert!(answer.error(504).contains("predict timeout"));
    assert_eq!(bench.abandoned.recv_timeout(support::PATIENCE).unwrap(), Ended::Stuck);
    assert!(told.load(SeqCst));
    drop(closed);
    assert_eq!(running.ended(), Ended::Stuck);
}
