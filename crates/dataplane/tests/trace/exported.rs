//! The exporter, and collectors of all kinds.

use crate::collector::{counted, Collector, Manner, DROPPED, EXPORTED};
use crate::served::{post, server};
use crate::support::{row, wait_for};
use modelport_dataplane::listen::Ended;
use modelport_dataplane::trace::Settings;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::TlsAcceptor;

#[test]
fn what_waits_is_exported_when_the_server_ends() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[("OTEL_BSP_SCHEDULE_DELAY", "3600000")])));
    for _ in 0..20 {
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    }
    assert_eq!(collector.asked(), 0);
    let server = Arc::clone(&running.server);
    running.handle.stop();
    assert_eq!(running.ended(), Ended::Drained);
    assert_eq!(collector.spans().len(), 100);
    assert_eq!((counted(&server, EXPORTED), counted(&server, DROPPED)), (100, 0));
}

#[test]
fn a_full_batch_does_not_wait() {
    let collector = Collector::start();
    let more = [("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
    let running = server(Some(collector.settings(&more)));
    for _ in 0..2 {
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    }
    wait_for("the batch", || collector.spans().len() == 10);
}

#[test]
fn a_collector_that_never_answers_costs_a_bounded_queue() {
    let collector = Collector::that((0..100).map(|_| Manner::Silent));
    let more = [("OTEL_BSP_MAX_QUEUE_SIZE", "50"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")];
    let running = server(Some(collector.settings(&more)));
    let mut client = running.client();
    let mut ask = || {
        let reply = client.request("POST", "/v2/models/sum/infer", &[], row([1.0; 4]).as_bytes());
        assert_eq!(reply.status, 200);
    };
    ask();
    wait_for("the collector to be asked", || collector.asked() == 1);
    for _ in 0..200 {
        ask();
    }
    // 5 of the first request are on their way, 50 wait; nothing else is kept.
    wait_for("the last span", || counted(&running.server, DROPPED) == 201 * 5 - 55);
    let server = Arc::clone(&running.server);
    running.handle.stop();
    let begun = Instant::now();
    assert_eq!(running.ended(), Ended::Drained);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed()); // 2 s, on a busy machine
    assert_eq!((counted(&server, DROPPED), counted(&server, EXPORTED)), (201 * 5, 0));
}

#[test]
fn a_busy_collector_is_asked_again_and_a_refusing_one_is_not() {
    let all_well = |asked: usize| (asked, 5, 0);
    for (manners, expected) in [
        (vec![Manner::Answer(503), Manner::Answer(429)], all_well(3)),
        (vec![Manner::Silent, Manner::Answer(502)], all_well(3)),
        (vec![Manner::Answer(400)], (1, 0, 5)),
        (vec![Manner::Answer(500)], (1, 0, 5)),
        (vec![Manner::Answer(504); 9], (5, 0, 5)),
        (vec![Manner::Reject(2)], (1, 3, 2)),
    ] {
        let collector = Collector::that(manners);
        let settings = collector.settings(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "500")]);
        let running = server(Some(Settings { retry: Duration::from_millis(1), ..settings }));
        assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
        let counts = || (counted(&running.server, EXPORTED), counted(&running.server, DROPPED));
        wait_for("the outcome", || counts().0 + counts().1 == 5);
        assert_eq!((collector.asked(), counts().0, counts().1), expected);
        // The next batch goes by a connection that still works.
        if expected.0 < 5 {
            post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
            wait_for("the next spans", || counts().0 == expected.1 + 5);
        }
    }
}

#[test]
fn nobody_listening_is_a_loss_that_is_counted() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let collector = Collector { address: gone, ..Collector::start() };
    let settings = Settings { retry: Duration::from_millis(1), ..collector.settings(&[]) };
    let running = server(Some(settings));
    assert_eq!(post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4])).status, 200);
    wait_for("the loss", || counted(&running.server, DROPPED) == 5);
}

#[test]
fn spans_are_compressed_if_wanted() {
    let collector = Collector::start();
    let running = server(Some(collector.settings(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")])));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    assert_eq!(collector.only().1.len(), 4);
    assert_eq!(collector.got.lock().unwrap()[0].0["content-encoding"], "gzip");
}

#[test]
fn a_collector_behind_tls_must_be_known() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("collector.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let collector = Collector::with(Some(TlsAcceptor::from(Arc::new(config))), []);
    let endpoint = format!("https://localhost:{}", collector.address.port());
    let known = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap()),
    ];
    let running = server(Some(collector.settings(&known)));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    collector.only();

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let settings = Settings { retry: Duration::from_millis(1), ..collector.settings(&known) };
    let running = server(Some(settings));
    post(&running, "/v2/models/sum/infer", &[], &row([1.0; 4]));
    wait_for("the loss", || counted(&running.server, DROPPED) == 5);

    std::fs::write(&file, "no PEM").unwrap();
    let error = collector.settings(&known).check().unwrap_err();
    assert!(error.contains("collector.pem") && error.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{error}");
}
