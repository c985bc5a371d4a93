//! What is read from the environment.

use crate::collector::settings;
use modelport_dataplane::trace::{Root, Sampler};
use std::time::Duration;

#[test]
fn tracing_is_off_unless_an_endpoint_is_set() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    for off in [
        vec![],
        vec![("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        vec![endpoint, ("OTEL_SDK_DISABLED", "TRUE")],
        vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        assert!(settings(&off).unwrap().is_none(), "{off:?}");
    }
    let read = settings(&[endpoint]).unwrap().unwrap();
    assert_eq!(read.endpoint, "http://collector:4318/v1/traces");
    assert_eq!((read.queue, read.batch, read.gzip), (2048, 512, false));
    assert_eq!((read.delay, read.timeout), (Duration::from_secs(5), Duration::from_secs(10)));
    assert_eq!(read.resource["service.name"], "modelport");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[::1]/ingest?key=1");
    assert_eq!(settings(&[endpoint, own]).unwrap().unwrap().endpoint, own.1);
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    for (given, words) in [
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318")], "scheme, host and port"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")], "ftp://collector"),
        (vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nothing")], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "must be http/protobuf, got grpc"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")], "TRACES_PROTOCOL"),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], "zipkin"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,secret")], "entry 2"),
    ] {
        let error = settings(&given).unwrap_err();
        assert!(error.contains(words) && !error.contains("secret"), "{error}");
    }
    let odd = [
        endpoint,
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden"),
    ];
    // The specification has these ignored with a warning.
    let read = settings(&odd).unwrap().unwrap();
    assert_eq!(read.warnings.len(), 5, "{:?}", read.warnings);
    assert_eq!((read.sampler, read.queue), (Sampler::default(), 2048));
    assert!(!format!("{read:?}").contains("hidden"));
    let ratio = [endpoint, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let read = settings(&ratio).unwrap().unwrap();
    assert_eq!((read.sampler.root, read.warnings.len()), (Root::Ratio(1.0), 1));
}
