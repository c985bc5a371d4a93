//! The table of all metrics: what `render` writes, what `merge` does with it, and what the reference
//! says of it.

/// The type of a family, in Prometheus' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only rises, until the process starts anew.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts in buckets, with their sum.
    Histogram,
}

impl FamilyKind {
    /// Prometheus' spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// How the values of several worker processes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// All together.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: FamilyKind,
    /// What it says, and its unit.
    pub help: &'static str,
    /// Its labels. `version` is there only for models that have one, except in the `nv_` families.
    pub labels: &'static [&'static str],
    /// How worker processes' values become one.
    pub merge: Merge,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: FamilyKind::Counter, help, labels, merge: Merge::Sum }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    merge: Merge,
    help: &'static str,
) -> Family {
    Family { name, kind: FamilyKind::Gauge, help, labels, merge }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: FamilyKind::Histogram, help, labels, merge: Merge::Sum }
}

const OURS: &[&str] = &["model_name", "version"];
const TRITON: &[&str] = &["model", "version"];

/// Every family that `render` may write, in its order: ours, then those that dashboards made for KServe
/// and Triton expect, then the process.
pub const FAMILIES: &[Family] = &[
    gauge("modelport_build_info", &["version"], Merge::Max, "Always 1; the version is a label."),
    gauge("modelport_workers", &[], Merge::Sum, "Worker processes that serve these ports and answered this request."),
    gauge(
        "modelport_model_ready",
        OURS,
        Merge::Min,
        "1 when the model serves, else 0. Of several worker processes, the least.",
    ),
    counter(
        "modelport_requests_total",
        &["model_name", "version", "protocol", "code"],
        "Requests that have ended, by protocol (v1, v2, grpc) and HTTP status; gRPC statuses as their HTTP equivalents, 499 for a client that went away.",
    ),
    histogram(
        "modelport_request_duration_seconds",
        &["model_name", "version", "protocol"],
        "Time of a request in the server, from its headers to its answer.",
    ),
    histogram(
        "modelport_stage_duration_seconds",
        &["model_name", "version", "stage"],
        "Time of one part of a request: decode, queue, predict, encode, explain.",
    ),
    histogram("modelport_batch_rows", OURS, "Rows in a batch that went to the model."),
    histogram("modelport_batch_requests", OURS, "Requests in a batch that went to the model."),
    gauge("modelport_in_flight_requests", OURS, Merge::Sum, "Requests that have begun and not ended."),
    gauge("modelport_queue_depth", OURS, Merge::Sum, "Requests that wait for the model now."),
    counter(
        "modelport_rejected_total",
        &["model_name", "version", "reason"],
        "Requests without an answer of the model: queue_full, deadline, predict_timeout, cancelled.",
    ),
    gauge("modelport_connections_open", &[], Merge::Sum, "Connections that are open now."),
    counter("modelport_connections_total", &[], "Connections that clients have opened."),
    counter(
        "modelport_rejected_bodies_total",
        &["reason"],
        "Bodies that were not taken: too_large, too_slow, malformed, no_room.",
    ),
    gauge("modelport_request_body_bytes", &[], Merge::Sum, "What the bodies of requests under way take."),
    counter(
        "modelport_log_lines_dropped_total",
        &[],
        "Log lines thrown away because nobody took them in time.",
    ),
    counter("modelport_spans_exported_total", &[], "Spans of traces that the collector has taken."),
    counter(
        "modelport_spans_dropped_total",
        &[],
        "Spans of traces thrown away: the queue was full, or the collector did not take them.",
    ),
    histogram("request_preprocess_seconds", OURS, "KServe's name: time to decode a request."),
    histogram("request_predict_seconds", OURS, "KServe's name: time of a request in the model."),
    histogram("request_postprocess_seconds", OURS, "KServe's name: time to encode an answer."),
    histogram("request_explain_seconds", OURS, "KServe's name: time of a request in the explainer."),
    counter("nv_inference_request_success", TRITON, "Triton's name: requests that went well."),
    counter("nv_inference_request_failure", TRITON, "Triton's name: requests that failed."),
    counter("nv_inference_count", TRITON, "Triton's name: rows that went to the model."),
    counter("nv_inference_exec_count", TRITON, "Triton's name: batches that went to the model."),
    counter(
        "nv_inference_request_duration_us",
        TRITON,
        "Triton's name: microseconds of requests that went well, all together.",
    ),
    counter("nv_inference_queue_duration_us", TRITON, "Triton's name: microseconds in the queue."),
    counter(
        "nv_inference_compute_input_duration_us",
        TRITON,
        "Triton's name: microseconds of decoding requests.",
    ),
    counter("nv_inference_compute_infer_duration_us", TRITON, "Triton's name: microseconds in the model."),
    counter(
        "nv_inference_compute_output_duration_us",
        TRITON,
        "Triton's name: microseconds of encoding answers.",
    ),
    gauge(
        "nv_inference_pending_request_count",
        TRITON,
        Merge::Sum,
        "Triton's name: requests that wait for the model now.",
    ),
    gauge("process_resident_memory_bytes", &[], Merge::Sum, "Resident memory, in bytes."),
    counter("process_cpu_seconds_total", &[], "CPU time, user and system, in seconds."),
    gauge("process_open_fds", &[], Merge::Sum, "Open file descriptors."),
    gauge(
        "process_start_time_seconds",
        &[],
        Merge::Max,
        "When the process started, in seconds since 1970. Of several worker processes, the youngest.",
    ),
];

/// The family with this name.
pub(super) fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
