//! The Prometheus text: judged by a parser that forgives nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use modelport_dataplane::batch::{Completions, Parking};
use modelport_dataplane::error::{Error, Kind};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::Protocol;
use modelport_dataplane::metrics::{
    merge, render, snapshot, BodyFault, FamilyKind, ModelMetrics, Refusal, Stage, Total, FAMILIES,
};
use modelport_dataplane::model::{IndexEntry, Metadata, Model, Operation, Options, Repository, Server};
use modelport_dataplane::tensor::Params;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Nothing;

impl Repository for Nothing {
    fn index(&self) -> Vec<IndexEntry> {
        Vec::new()
    }
    fn load(&self, _: String, _: Params) -> Operation {
        self.unload(String::new(), Params::new())
    }
    fn unload(&self, _: String, _: Params) -> Operation {
        Box::pin(async { Err(Error::new(Kind::Unimplemented, "there is no repository")) })
    }
}

fn server() -> Arc<Server> {
    Server::new("modelport".into(), "1.2.3".into(), Box::new(Nothing), Limits::default())
}

fn add(server: &Server, name: &str, version: Option<&str>, metrics: Arc<ModelMetrics>) -> Arc<Model> {
    let metadata = Metadata { name: name.into(), version: version.map(str::to_owned), ..Metadata::default() };
    let model = Model::new(
        metadata,
        Options::default(),
        metrics,
        &Arc::new(Completions::default()),
        &Arc::new(Parking::default()),
    );
    model.set_ready(true);
    server.registry.put(Arc::clone(&model));
    model
}

type Labels = BTreeMap<String, String>;

#[derive(Default)]
struct Parsed {
    /// Type by family, in order.
    kinds: Vec<(String, String)>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Parsed {
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Labels =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }
}

/// Every family has HELP and TYPE, once, right before its samples; every sample belongs to the family
/// above it; no sample comes twice; histograms ascend and end with +Inf, which is their count.
fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut help: Option<&str> = None;
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(!words.is_empty(), "{line}");
            help = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(help.take(), Some(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(parsed.kinds.iter().all(|(known, _)| known != name), "{name} comes twice");
            parsed.kinds.push((name.to_owned(), kind.to_owned()));
        } else {
            let (name, labels, value) = parse_sample(line);
            let (family, kind) = parsed.kinds.last().expect("a sample before any TYPE");
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} in {family}"));
            match kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            assert!(parsed.samples.insert((name.to_owned(), labels), value).is_none(), "{line} comes twice");
        }
    }
    for (family, _) in parsed.kinds.iter().filter(|(_, kind)| kind == "histogram") {
        check_histogram(&parsed, family);
    }
    parsed
}

fn parse_sample(line: &str) -> (&str, Labels, f64) {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next().unwrap_or_else(|| panic!("{line}")) {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        same @ ('\\' | '"') => same,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, other) => value.push(other),
                }
            };
            assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
            rest = &after[close + 1..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("{line}"));
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name, labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

fn check_histogram(parsed: &Parsed, family: &str) {
    let (bucket, count) = (format!("{family}_bucket"), format!("{family}_count"));
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for ((name, labels), &value) in &parsed.samples {
        if *name == bucket {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap().parse().unwrap();
            series.entry(labels).or_default().push((bound, value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1), "{family}{labels:?}");
        let (last, all) = *buckets.last().unwrap();
        assert_eq!(last, f64::INFINITY);
        assert_eq!(parsed.samples.get(&(count.clone(), labels.clone())), Some(&all));
        assert!(parsed.samples.contains_key(&(format!("{family}_sum"), labels)));
    }
}

/// A server where everything has happened once.
fn busy_server() -> Arc<Server> {
    let server = server();
    let metrics = Arc::new(ModelMetrics::default());
    add(&server, "iris", None, Arc::clone(&metrics));
    add(&server, "a", Some("2"), Arc::new(ModelMetrics::default()));
    metrics.started(Protocol::V2);
    metrics.finished(Protocol::V2, 200, Duration::from_millis(2));
    metrics.started(Protocol::Grpc);
    metrics.finished(Protocol::Grpc, 418, Duration::from_secs(20));
    metrics.started(Protocol::V1);
    metrics.stage(Stage::Decode, Duration::from_nanos(900));
    metrics.stage(Stage::Queue, Duration::from_micros(30));
    metrics.stage(Stage::Predict, Duration::from_millis(6));
    metrics.stage(Stage::Encode, Duration::from_micros(3));
    metrics.stage(Stage::Explain, Duration::from_secs(1));
    metrics.batch(3, 70);
    metrics.refused(Refusal::QueueFull);
    drop(metrics.begin(Protocol::V2, Instant::now()));
    server.metrics.connection_opened();
    server.metrics.connection_opened();
    server.metrics.connection_closed();
    server.metrics.log_lines_dropped(5);
    server.metrics.body_rejected(BodyFault::TooLarge);
    server
}

#[test]
fn the_text_says_what_happened() {
    let parsed = parse(&render(&busy_server()));
    let iris = [("model_name", "iris")];
    let with = |more: &[(&'static str, &'static str)]| [&iris[..], more].concat();
    for (name, labels, expected) in [
        ("modelport_build_info", vec![("version", "1.2.3")], 1.0),
        ("modelport_model_ready", iris.to_vec(), 1.0),
        ("modelport_model_ready", vec![("model_name", "a"), ("version", "2")], 1.0),
        ("modelport_requests_total", with(&[("protocol", "v2"), ("code", "200")]), 1.0),
        ("modelport_requests_total", with(&[("protocol", "grpc"), ("code", "418")]), 1.0),
        ("modelport_requests_total", with(&[("protocol", "v2"), ("code", "499")]), 1.0),
        ("modelport_request_duration_seconds_bucket", with(&[("protocol", "grpc"), ("le", "10")]), 0.0),
        ("modelport_request_duration_seconds_bucket", with(&[("protocol", "grpc"), ("le", "+Inf")]), 1.0),
        ("modelport_request_duration_seconds_sum", with(&[("protocol", "grpc")]), 20.0),
        ("modelport_stage_duration_seconds_bucket", with(&[("stage", "decode"), ("le", "0.000001")]), 1.0),
        ("modelport_stage_duration_seconds_bucket", with(&[("stage", "queue"), ("le", "0.000025")]), 0.0),
        ("modelport_stage_duration_seconds_bucket", with(&[("stage", "queue"), ("le", "0.00005")]), 1.0),
        ("modelport_stage_duration_seconds_sum", with(&[("stage", "explain")]), 1.0),
        ("modelport_batch_rows_bucket", with(&[("le", "64")]), 0.0),
        ("modelport_batch_rows_bucket", with(&[("le", "128")]), 1.0),
        ("modelport_batch_requests_sum", iris.to_vec(), 3.0),
        ("modelport_in_flight_requests", iris.to_vec(), 1.0),
        ("modelport_queue_depth", iris.to_vec(), 0.0),
        ("modelport_rejected_total", with(&[("reason", "queue_full")]), 1.0),
        ("modelport_rejected_total", with(&[("reason", "deadline")]), 0.0),
        ("modelport_rejected_total", with(&[("reason", "predict_timeout")]), 0.0),
        ("modelport_rejected_total", with(&[("reason", "cancelled")]), 1.0),
        ("modelport_connections_open", vec![], 1.0),
        ("modelport_connections_total", vec![], 2.0),
        ("modelport_rejected_bodies_total", vec![("reason", "too_large")], 1.0),
        ("modelport_log_lines_dropped_total", vec![], 5.0),
        ("request_preprocess_seconds_bucket", with(&[("le", "0.005")]), 1.0),
        ("request_predict_seconds_bucket", with(&[("le", "0.005")]), 0.0),
        ("request_predict_seconds_bucket", with(&[("le", "0.01")]), 1.0),
        ("request_postprocess_seconds_count", iris.to_vec(), 1.0),
        ("request_explain_seconds_count", iris.to_vec(), 1.0),
        ("nv_inference_request_success", vec![("model", "iris"), ("version", "")], 1.0),
        ("nv_inference_request_failure", vec![("model", "iris"), ("version", "")], 2.0),
        ("nv_inference_count", vec![("model", "iris"), ("version", "")], 70.0),
        ("nv_inference_exec_count", vec![("model", "a"), ("version", "2")], 0.0),
        ("nv_inference_request_duration_us", vec![("model", "iris"), ("version", "")], 2000.0),
        ("nv_inference_compute_infer_duration_us", vec![("model", "iris"), ("version", "")], 6000.0),
    ] {
        assert_eq!(parsed.get(name, &labels), Some(expected), "{name} {labels:?}");
    }
    // The first of KServe's buckets is 5 ms, as in every Prometheus client.
    assert_eq!(
        parsed.get("request_predict_seconds_bucket", &[("model_name", "iris"), ("le", "0.0025")]),
        None
    );
}

#[test]
fn models_come_by_name() {
    let text = render(&busy_server());
    let ready: Vec<&str> = text.lines().filter(|line| line.starts_with("modelport_model_ready")).collect();
    assert_eq!(
        ready,
        [
            "modelport_model_ready{model_name=\"a\",version=\"2\"} 1",
            "modelport_model_ready{model_name=\"iris\"} 1"
        ]
    );
}

#[test]
fn the_table_names_every_family_and_its_labels() {
    let parsed = parse(&render(&busy_server()));
    let written: Vec<(&str, &str)> =
        parsed.kinds.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    let proc = std::path::Path::new("/proc/self/stat").exists();
    let table: Vec<(&str, &str)> = FAMILIES
        .iter()
        .filter(|family| proc || !family.name.starts_with("process_"))
        .map(|family| (family.name, family.kind.name()))
        .collect();
    assert_eq!(written, table);
    for family in FAMILIES {
        let suffix = if family.kind == FamilyKind::Histogram { "_count" } else { "" };
        let name = format!("{}{suffix}", family.name);
        let written: BTreeSet<&str> = parsed
            .samples
            .keys()
            .filter(|(sample, _)| *sample == name)
            .flat_map(|(_, labels)| labels.keys().map(String::as_str))
            .collect();
        let table: BTreeSet<&str> = family.labels.iter().copied().collect();
        // `version` shows only where a counted model has one.
        let extra: Vec<_> = table.difference(&written).filter(|label| **label != "version").collect();
        assert!(written.is_subset(&table) && extra.is_empty(), "{name}: {written:?}, not {table:?}");
        assert!(family.help.ends_with('.'), "{}", family.help);
    }
}

#[test]
fn odd_names_are_escaped() {
    let server = server();
    let name = "a\"b\\c\nd}{,= e";
    add(&server, name, None, Arc::default());
    let text = render(&server);
    assert_eq!(parse(&text).get("modelport_queue_depth", &[("model_name", name)]), Some(0.0));
    let twice = parse(&merge(&[text.clone(), text]));
    assert_eq!(twice.get("modelport_model_ready", &[("model_name", name)]), Some(1.0));
}

#[test]
fn workers_add_up() {
    let (one, two) = (busy_server(), busy_server());
    one.registry.get("iris", None).unwrap().set_ready(false);
    add(&two, "only-here", None, Arc::default());
    let texts = [render(&one), render(&two)];
    let (one, two, both) = (parse(&texts[0]), parse(&texts[1]), parse(&merge(&texts)));
    assert_eq!(both.kinds, one.kinds);
    for ((name, labels), &value) in &both.samples {
        let key = (name.clone(), labels.clone());
        let (left, right) = (one.samples.get(&key), two.samples.get(&key));
        let (left, right) = match (left, right) {
            (Some(&left), Some(&right)) => (left, right),
            (Some(&only), None) | (None, Some(&only)) => {
                assert_eq!(value, only, "{name}{labels:?}");
                continue;
            }
            (None, None) => panic!("{name}{labels:?} comes from nowhere"),
        };
        let expected = match name.as_str() {
            "modelport_model_ready" => left.min(right),
            "modelport_build_info" | "process_start_time_seconds" => left.max(right),
            _ => left + right,
        };
        assert!((value - expected).abs() < 1e-9, "{name}{labels:?}: {value}, not {expected}");
    }
    assert_eq!(both.samples.len(), two.samples.len());
    assert_eq!(both.get("modelport_model_ready", &[("model_name", "iris")]), Some(0.0));
    assert_eq!(both.get("modelport_model_ready", &[("model_name", "only-here")]), Some(1.0));
}

#[test]
fn foreign_families_are_merged_by_their_names() {
    let text = "# HELP x_created When.\n# TYPE x_created gauge\nx_created 3\nbare 1.5 1700000000\n\
                odd{le=\"}\"} +Inf\nnonsense\n{} 4\nhalf{a=\"b 5\n";
    let merged = merge(&[text.to_owned(), text.to_owned()]);
    assert_eq!(
        merged,
        "# HELP x_created When.\n# TYPE x_created gauge\nx_created 3\nbare 3\nodd{le=\"}\"} +Inf\n"
    );
    assert_eq!(merge(&[]), "");
}

#[test]
fn versions_that_share_counters_show_them_once() {
    let server = server();
    let metrics = Arc::new(ModelMetrics::default());
    add(&server, "m", Some("1"), Arc::clone(&metrics));
    add(&server, "m", Some("2"), Arc::clone(&metrics));
    metrics.batch(1, 1);
    let parsed = parse(&render(&server));
    let rows = |version| parsed.get("nv_inference_count", &[("model", "m"), ("version", version)]);
    assert_eq!((rows("1"), rows("2")), (None, Some(1.0)));
    assert_eq!(parsed.get("modelport_model_ready", &[("model_name", "m"), ("version", "1")]), Some(1.0));
}

#[test]
fn a_snapshot_counts_what_statistics_ask_for() {
    let server = busy_server();
    let model = server.registry.get("iris", None).unwrap();
    let statistics = snapshot(&model);
    assert_eq!((statistics.name.as_str(), statistics.version.as_str()), ("iris", ""));
    assert_eq!((statistics.inference_count, statistics.execution_count), (70, 1));
    assert!(statistics.last_inference > 0);
    let times = statistics.inference_stats;
    assert_eq!(times.success, Total { count: 1, ns: 2_000_000 });
    assert_eq!(times.fail.count, 2);
    assert_eq!(times.compute_input, Total { count: 1, ns: 900 });
    assert_eq!(times.queue, Total { count: 1, ns: 30_000 });
    assert_eq!(times.compute_infer, Total { count: 1, ns: 6_000_000 });
    assert_eq!(times.compute_output, Total { count: 1, ns: 3_000 });
}

#[test]
fn no_observation_is_lost_between_threads() {
    let metrics = ModelMetrics::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..10_000 {
                    metrics.stage(Stage::Queue, Duration::from_nanos(number));
                    metrics.started(Protocol::V2);
                    metrics.finished(Protocol::V2, 200, Duration::from_nanos(1));
                }
            });
        }
    });
    let server = server();
    let model = add(&server, "m", None, Arc::new(metrics));
    let times = snapshot(&model).inference_stats;
    assert_eq!(times.queue, Total { count: 40_000, ns: 4 * (9_999 * 10_000 / 2) });
    assert_eq!(times.success, Total { count: 40_000, ns: 40_000 });
    assert_eq!(model.metrics.in_flight(), 0);
}
