//! The Prometheus text of one process.

use super::family;
use super::histogram::{Histogram, DEFAULTS_FROM};
use super::process::Process;
use super::{snapshot, ModelMetrics, Stage, Statistics, CANCELLED, PROTOCOLS};
use crate::model::{Model, Server};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

/// The media type of what `render` and `merge` return.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const NANOS: f64 = 1e9;

/// A number in a model's statistics.
type Reading = fn(&Statistics) -> u64;

const TRITON: [(&str, Reading); 9] = [
    ("nv_inference_request_success", |of| of.inference_stats.success.count),
    ("nv_inference_request_failure", |of| of.inference_stats.fail.count),
    ("nv_inference_count", |of| of.inference_count),
    ("nv_inference_exec_count", |of| of.execution_count),
    ("nv_inference_request_duration_us", |of| of.inference_stats.success.ns / 1000),
    ("nv_inference_queue_duration_us", |of| of.inference_stats.queue.ns / 1000),
    ("nv_inference_compute_input_duration_us", |of| of.inference_stats.compute_input.ns / 1000),
    ("nv_inference_compute_infer_duration_us", |of| of.inference_stats.compute_infer.ns / 1000),
    ("nv_inference_compute_output_duration_us", |of| of.inference_stats.compute_output.ns / 1000),
];

/// A model's part in the text.
struct Row {
    model: Arc<Model>,
    /// `model_name="…"`, and `version="…"` where there is one.
    labels: String,
    /// `model="…",version="…"`.
    triton: String,
    statistics: Statistics,
    /// Versions may share their counters: then only the newest shows them.
    counts: bool,
}

impl Row {
    fn metrics(&self) -> &ModelMetrics {
        &self.model.metrics
    }
}

fn rows(server: &Server) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for model in server.registry.all().into_iter().rev() {
        let name = escape(&model.metadata.name);
        let version = model.metadata.version.as_deref().map(escape);
        let labels = match &version {
            Some(version) => format!("model_name=\"{name}\",version=\"{version}\""),
            None => format!("model_name=\"{name}\""),
        };
        let triton = format!("model=\"{name}\",version=\"{}\"", version.unwrap_or_default());
        let counts = !rows.iter().any(|row| Arc::ptr_eq(&row.model.metrics, &model.metrics));
        let statistics = snapshot(&model);
        rows.push(Row { model, labels, triton, statistics, counts });
    }
    rows.reverse();
    rows
}

/// Everything that this process has counted, as Prometheus text 0.0.4: families in the order of
/// `FAMILIES`, models by name.
pub fn render(server: &Server) -> String {
    let rows = rows(server);
    let mut text = Text::default();
    text.family("modelport_build_info");
    text.sample(&format!("version=\"{}\"", escape(&server.version)), 1);
    text.family("modelport_workers");
    text.sample("", 1);
    text.models(&rows);
    text.server(server);
    text.kserve(&rows);
    text.triton(&rows);
    text.process(&Process::read());
    text.written
}

/// The rows that show their counters.
fn counted(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| row.counts)
}

/// Prometheus text being written.
#[derive(Default)]
struct Text {
    written: String,
    name: &'static str,
}

impl Text {
    /// Begins the family with this name: the samples that follow are its own.
    fn family(&mut self, name: &'static str) {
        self.name = name;
        if let Some(family) = family::find(name) {
            let kind = family.kind.name();
            self.line(format_args!("# HELP {name} {}\n# TYPE {name} {kind}", family.help));
        }
    }

    fn sample(&mut self, labels: &str, value: impl Display) {
        let name = self.name;
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    fn times(&mut self, labels: &str, histogram: &Histogram, from: u64) {
        self.histogram(labels, histogram, from, NANOS);
    }

    /// A histogram, with the bounds from `from` on, divided by `unit`.
    fn histogram(&mut self, labels: &str, histogram: &Histogram, from: u64, unit: f64) {
        let name = self.name;
        let (buckets, all) = histogram.cumulative();
        for (bound, count) in buckets.into_iter().filter(|&(bound, _)| bound >= from) {
            self.line(format_args!("{name}_bucket{{{labels},le=\"{}\"}} {count}", bound as f64 / unit));
        }
        self.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {all}"));
        self.line(format_args!("{name}_sum{{{labels}}} {}", histogram.sum() as f64 / unit));
        self.line(format_args!("{name}_count{{{labels}}} {all}"));
    }

    fn models(&mut self, rows: &[Row]) {
        self.family("modelport_model_ready");
        for row in rows {
            self.sample(&row.labels, u8::from(row.model.is_ready()));
        }
        self.family("modelport_requests_total");
        for row in counted(rows) {
            for protocol in PROTOCOLS {
                for (code, count) in row.metrics().of(protocol).counts() {
                    let labels = format!("{},protocol=\"{}\",code=\"{code}\"", row.labels, protocol.name());
                    self.sample(&labels, count);
                }
            }
        }
        self.family("modelport_request_duration_seconds");
        for row in counted(rows) {
            for protocol in PROTOCOLS {
                let duration = &row.metrics().of(protocol).duration;
                if duration.count() > 0 {
                    self.times(&format!("{},protocol=\"{}\"", row.labels, protocol.name()), duration, 0);
                }
            }
        }
        self.family("modelport_stage_duration_seconds");
        for row in counted(rows) {
            for stage in Stage::ALL {
                let times = &row.metrics().stages[stage as usize];
                if stage != Stage::Explain || times.count() > 0 {
                    self.times(&format!("{},stage=\"{}\"", row.labels, stage.name()), times, 0);
                }
            }
        }
        self.family("modelport_batch_rows");
        for row in counted(rows) {
            self.histogram(&row.labels, &row.metrics().batch_rows, 0, 1.0);
        }
        self.family("modelport_batch_requests");
        for row in counted(rows) {
            self.histogram(&row.labels, &row.metrics().batch_requests, 0, 1.0);
        }
        self.family("modelport_in_flight_requests");
        for row in counted(rows) {
            self.sample(&row.labels, row.metrics().in_flight());
        }
        self.family("modelport_queue_depth");
        for row in rows {
            self.sample(&row.labels, row.model.queue.depth());
        }
        self.family("modelport_rejected_total");
        for row in counted(rows) {
            self.rejected(row);
        }
    }

    fn rejected(&mut self, row: &Row) {
        let metrics = row.metrics();
        let cancelled = metrics.requests.iter().filter_map(|some| some.counts().get(&CANCELLED).copied());
        let [queue_full, deadline, predict_timeout] = &metrics.refusals;
        for (reason, count) in [
            ("queue_full", queue_full.load(Relaxed)),
            ("deadline", deadline.load(Relaxed)),
            ("predict_timeout", predict_timeout.load(Relaxed)),
            ("cancelled", cancelled.sum()),
        ] {
            self.sample(&format!("{},reason=\"{reason}\"", row.labels), count);
        }
    }

    /// The names that dashboards made for KServe's own server expect.
    fn kserve(&mut self, rows: &[Row]) {
        for (name, stage) in [
            ("request_preprocess_seconds", Stage::Decode),
            ("request_predict_seconds", Stage::Predict),
            ("request_postprocess_seconds", Stage::Encode),
            ("request_explain_seconds", Stage::Explain),
        ] {
            self.family(name);
            for row in counted(rows) {
                self.times(&row.labels, &row.metrics().stages[stage as usize], DEFAULTS_FROM);
            }
        }
    }

    /// The names that dashboards made for Triton expect.
    fn triton(&mut self, rows: &[Row]) {
        for (name, value) in TRITON {
            self.family(name);
            for row in counted(rows) {
                self.sample(&row.triton, value(&row.statistics));
            }
        }
        self.family("nv_inference_pending_request_count");
        for row in rows {
            self.sample(&row.triton, row.model.queue.depth());
        }
    }

    fn server(&mut self, server: &Server) {
        let metrics = &server.metrics;
        self.family("modelport_connections_open");
        self.sample("", metrics.connections_open());
        self.family("modelport_connections_total");
        self.sample("", metrics.connections.load(Relaxed));
        self.family("modelport_rejected_bodies_total");
        let reasons = ["too_large", "too_slow", "malformed", "no_room"];
        for (reason, count) in reasons.iter().zip(&metrics.bodies_rejected) {
            self.sample(&format!("reason=\"{reason}\""), count.load(Relaxed));
        }
        self.family("modelport_request_body_bytes");
        self.sample("", server.bodies.used() as u64);
        self.family("modelport_log_lines_dropped_total");
        self.sample("", metrics.log_lines_dropped.load(Relaxed));
        self.family("modelport_spans_exported_total");
        self.sample("", metrics.spans.exported.load(Relaxed));
        self.family("modelport_spans_dropped_total");
        self.sample("", metrics.spans.dropped.load(Relaxed));
    }

    fn process(&mut self, process: &Process) {
        if let Some(bytes) = process.resident_bytes {
            self.family("process_resident_memory_bytes");
            self.sample("", bytes);
        }
        if let Some(seconds) = process.cpu_seconds {
            self.family("process_cpu_seconds_total");
            self.sample("", seconds);
        }
        if let Some(count) = process.open_fds {
            self.family("process_open_fds");
            self.sample("", count);
        }
        if let Some(seconds) = process.start_time_seconds {
            self.family("process_start_time_seconds");
            self.sample("", seconds);
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.written, "{line}");
    }
}

/// A label's value as it is written between the quotes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
