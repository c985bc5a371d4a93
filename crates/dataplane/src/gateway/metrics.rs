//! What the gateway counts, and its Prometheus text.

use super::cluster::Cluster;
use crate::metrics::Histogram;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
    Grpc,
}

const PROTOCOLS: [Protocol; 3] = [Protocol::Http1, Protocol::Http2, Protocol::Grpc];
const CODES: [&str; 5] = ["2xx", "3xx", "4xx", "499", "5xx"];

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
        }
    }
}

/// The requests of one service, in all its clusters.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    requests: [[AtomicU64; CODES.len()]; PROTOCOLS.len()],
    duration: Histogram,
}

impl Service {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), requests: Default::default(), duration: Histogram::seconds() }
    }

    /// A request has ended with this status after so many nanoseconds.
    pub(super) fn ended(&self, protocol: Protocol, status: u16, nanos: u64) {
        let class = match status {
            499 => 3,
            0..300 => 0,
            300..400 => 1,
            400..500 => 2,
            _ => 4,
        };
        if let Some(counter) = self.requests.get(protocol as usize).and_then(|codes| codes.get(class)) {
            counter.fetch_add(1, Relaxed);
        }
        self.duration.observe(nanos);
    }
}

/// Everything that belongs to no cluster.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    services: Mutex<BTreeMap<String, Arc<Service>>>,
    pub(super) connections: AtomicU64,
    pub(super) connections_open: AtomicI64,
    pub(super) tables_refused: AtomicU64,
    pub(super) log_lines_dropped: AtomicU64,
    pub(super) mirrors: AtomicU64,
    pub(super) mirrors_failed: AtomicU64,
    pub(super) mirrors_dropped: AtomicU64,
}

impl Metrics {
    /// The counters of a service; its own for as long as the process runs.
    pub(super) fn service(&self, name: &str) -> Arc<Service> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = services.get(name) {
            return Arc::clone(service);
        }
        let service = Arc::new(Service::new(name));
        services.insert(name.to_owned(), Arc::clone(&service));
        service
    }

    /// Prometheus text 0.0.4.
    pub(super) fn render(&self, version: u64, clusters: &[Arc<Cluster>]) -> String {
        let services: Vec<_> =
            self.services.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        let mut text = Text::default();
        text.family("modelport_gateway_requests_total");
        for service in &services {
            for (protocol, codes) in PROTOCOLS.iter().zip(&service.requests) {
                for (code, count) in CODES.iter().zip(codes) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let name = escape(&service.name);
                        let protocol = protocol.name();
                        text.sample(
                            &format!("service=\"{name}\",code=\"{code}\",protocol=\"{protocol}\""),
                            count,
                        );
                    }
                }
            }
        }
        text.family("modelport_gateway_request_duration_seconds");
        for service in services.iter().filter(|service| service.duration.count() > 0) {
            text.histogram(&format!("service=\"{}\"", escape(&service.name)), &service.duration);
        }
        let mut each = |name: &'static str, value: &dyn Fn(&Cluster) -> u64| {
            text.family(name);
            for cluster in clusters {
                text.sample(&format!("cluster=\"{}\"", escape(&cluster.name)), value(cluster));
            }
        };
        each("modelport_gateway_in_flight", &|cluster| cluster.counts.in_flight.load(Relaxed) as u64);
        each("modelport_gateway_held", &|cluster| cluster.counts.held.load(Relaxed) as u64);
        each("modelport_gateway_held_total", &|cluster| cluster.counts.held_ever.load(Relaxed));
        each("modelport_gateway_held_refused_total", &|cluster| cluster.counts.refused.load(Relaxed));
        each("modelport_gateway_retries_total", &|cluster| cluster.counts.retries.load(Relaxed));
        each("modelport_gateway_upstream_connects_total", &|cluster| cluster.counts.connects.load(Relaxed));
        each("modelport_gateway_upstream_connect_failures_total", &|cluster| {
            cluster.counts.connects_failed.load(Relaxed)
        });
        each("modelport_gateway_ejections_total", &|cluster| cluster.counts.ejections.load(Relaxed));
        each("modelport_gateway_endpoints", &|cluster| cluster.endpoints().len() as u64);
        for (name, value) in [
            ("modelport_gateway_connections_total", self.connections.load(Relaxed)),
            ("modelport_gateway_connections", self.connections_open.load(Relaxed).max(0) as u64),
            ("modelport_gateway_table_version", version),
            ("modelport_gateway_tables_refused_total", self.tables_refused.load(Relaxed)),
            ("modelport_gateway_log_lines_dropped_total", self.log_lines_dropped.load(Relaxed)),
        ]
        .into_iter()
        .chain(super::mirror::counts(self))
        {
            text.family(name);
            text.sample("", value);
        }
        text.written
    }
}

/// A metric family: its name, its type, what it says.
pub type Family = (&'static str, &'static str, &'static str);

/// All metrics of the gateway.
pub const FAMILIES: [Family; 19] = [
    (
        "modelport_gateway_requests_total",
        "counter",
        "Requests that have ended, by service, class of status (499: the client went away) and protocol.",
    ),
    (
        "modelport_gateway_request_duration_seconds",
        "histogram",
        "From a request's head to the end of its answer, waiting for an endpoint included.",
    ),
    ("modelport_gateway_in_flight", "gauge", "Requests under way, those that are held included."),
    ("modelport_gateway_held", "gauge", "Requests that wait for an endpoint."),
    ("modelport_gateway_held_total", "counter", "Requests that have had to wait for an endpoint."),
    (
        "modelport_gateway_held_refused_total",
        "counter",
        "Requests refused with 503: no endpoint came in time, or too many waited.",
    ),
    ("modelport_gateway_retries_total", "counter", "Requests sent again because their endpoint died."),
    ("modelport_gateway_upstream_connects_total", "counter", "Connections opened to endpoints, or tried."),
    ("modelport_gateway_upstream_connect_failures_total", "counter", "Connections that endpoints refused."),
    ("modelport_gateway_endpoints", "gauge", "Endpoints in the table."),
    ("modelport_gateway_connections_total", "counter", "Connections that clients have opened."),
    ("modelport_gateway_connections", "gauge", "Connections of clients that are open."),
    ("modelport_gateway_table_version", "gauge", "Version of the route table in force."),
    ("modelport_gateway_tables_refused_total", "counter", "Route tables that were broken and not taken."),
    (
        "modelport_gateway_log_lines_dropped_total",
        "counter",
        "Lines of the access log thrown away because they were written too slowly.",
    ),
    ("modelport_gateway_mirrored_total", "counter", "Copies of requests that were sent (RequestMirror)."),
    (
        "modelport_gateway_mirror_failures_total",
        "counter",
        "Copies of requests that nobody answered in time. Their requests know nothing of it.",
    ),
    (
        "modelport_gateway_mirrors_dropped_total",
        "counter",
        "Copies of requests that were not sent: a body above 1 MiB, or too many copies at once.",
    ),
    (
        "modelport_gateway_ejections_total",
        "counter",
        "Endpoints that were left alone for a while because request after request failed there.",
    ),
];

#[derive(Default)]
struct Text {
    written: String,
    name: &'static str,
}

impl Text {
    fn family(&mut self, name: &'static str) {
        self.name = name;
        if let Some((_, kind, help)) = FAMILIES.iter().find(|family| family.0 == name) {
            let _ = writeln!(self.written, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn sample(&mut self, labels: &str, value: impl Display) {
        let name = self.name;
        let _ = if labels.is_empty() {
            writeln!(self.written, "{name} {value}")
        } else {
            writeln!(self.written, "{name}{{{labels}}} {value}")
        };
    }

    fn histogram(&mut self, labels: &str, histogram: &Histogram) {
        let name = self.name;
        let (bounded, all) = histogram.cumulative();
        for (bound, count) in bounded {
            let bound = bound as f64 / 1e9;
            let _ = writeln!(self.written, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(self.written, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(self.written, "{name}_sum{{{labels}}} {}", histogram.sum() as f64 / 1e9);
        let _ = writeln!(self.written, "{name}_count{{{labels}}} {all}");
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_described_and_written() {
        let metrics = Metrics::default();
        let service = metrics.service("ns/\"x");
        service.ended(Protocol::Grpc, 200, 1_500_000);
        service.ended(Protocol::Http1, 499, 1);
        metrics.service("ns/\"x").ended(Protocol::Http1, 503, 1);
        let text = metrics.render(7, &[Arc::new(Cluster::new("ns/x:80"))]);
        for (name, kind, _) in FAMILIES {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
            assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
        }
        for line in [
            "modelport_gateway_requests_total{service=\"ns/\\\"x\",code=\"2xx\",protocol=\"grpc\"} 1",
            "modelport_gateway_requests_total{service=\"ns/\\\"x\",code=\"499\",protocol=\"http1\"} 1",
            "modelport_gateway_requests_total{service=\"ns/\\\"x\",code=\"5xx\",protocol=\"http1\"} 1",
            "modelport_gateway_request_duration_seconds_bucket{service=\"ns/\\\"x\",le=\"0.0025\"} 3",
            "modelport_gateway_table_version 7",
            "modelport_gateway_held{cluster=\"ns/x:80\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }
}
