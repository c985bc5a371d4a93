//! OpenTelemetry's environment variables. Pure: the caller brings them.

use super::sampler::Sampler;
use super::tls;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where spans go, and which.
#[derive(Clone)]
pub struct Settings {
    /// The collector: where `ExportTraceServiceRequest`s are posted.
    pub endpoint: Uri,
    /// Headers of every export; they may hold secrets.
    pub headers: HeaderMap,
    /// Compress exports.
    pub gzip: bool,
    /// Authorities of the collector's certificate, instead of the system's.
    pub certificate: Option<PathBuf>,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Pause before the second attempt; later ones are longer.
    pub retry: Duration,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// What the spans are of: `service.name` and others.
    pub resource: BTreeMap<String, String>,
    /// Most spans that wait.
    pub queue: usize,
    /// Most spans that are sent together.
    pub batch: usize,
    /// Longest time that a span waits for others.
    pub delay: Duration,
    /// What was not understood, and is ignored as the specification asks.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Settings")
            .field("endpoint", &self.address())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("sampler", &self.sampler)
            .finish_non_exhaustive()
    }
}

type Result<T> = std::result::Result<T, String>;

impl Settings {
    /// The collector's address for people: a query may hold a secret.
    pub fn address(&self) -> String {
        self.endpoint.to_string().split('?').next().unwrap_or_default().to_owned()
    }

    /// Whether spans could be sent with these settings, as far as this machine can tell.
    pub fn check(&self) -> Result<()> {
        self.tls().map(drop)
    }

    /// TLS to the collector, where its URL asks for it.
    pub(super) fn tls(&self) -> Result<Option<Arc<ClientConfig>>> {
        let secure = self.endpoint.scheme_str() == Some("https");
        secure.then(|| tls::configure(self.certificate.as_ref())).transpose()
    }

    /// The settings that these variables make; nothing where tracing is off. An error is a sentence for
    /// whoever starts the server.
    pub fn read<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Self>> {
        let variables = Variables { variable, warnings: std::cell::RefCell::default() };
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint()? else { return Ok(None) };
        match variables.get("OTEL_TRACES_EXPORTER") {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => {
                return Err(format!("OTEL_TRACES_EXPORTER: must be otlp or none, got {other}."));
            }
        }
        if let (name, Some(protocol)) = variables.of_traces("PROTOCOL") {
            if protocol != "http/protobuf" {
                return Err(format!(
                    "{name}: must be http/protobuf, got {protocol}. Leave it out, and name the collector's HTTP port (usually 4318) in the endpoint."
                ));
            }
        }
        let gzip = match variables.of_traces("COMPRESSION") {
            (_, None | Some("none")) => false,
            (_, Some("gzip")) => true,
            (name, Some(other)) => {
                variables.warn(format!("{name}: must be gzip or none, got {other}; not compressed"));
                false
            }
        };
        let queue = variables.count("OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        let batch = variables.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue);
        let settings = Self {
            endpoint,
            headers: variables.headers()?,
            gzip,
            certificate: variables
                .of_traces("CERTIFICATE")
                .1
                .or_else(|| variables.get("SSL_CERT_FILE"))
                .map(PathBuf::from),
            timeout: variables.milliseconds(variables.of_traces("TIMEOUT"), 10_000),
            retry: Duration::from_secs(1),
            sampler: variables.sampler(),
            resource: variables.resource(),
            queue,
            batch,
            delay: variables
                .milliseconds(("OTEL_BSP_SCHEDULE_DELAY", variables.get("OTEL_BSP_SCHEDULE_DELAY")), 5000),
            warnings: Vec::new(),
        };
        Ok(Some(Self { warnings: variables.warnings.into_inner(), ..settings }))
    }
}

struct Variables<F> {
    variable: F,
    warnings: std::cell::RefCell<Vec<String>>,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> Variables<F> {
    /// An empty variable is none.
    fn get(&self, name: &str) -> Option<&'a str> {
        (self.variable)(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// `OTEL_EXPORTER_OTLP_TRACES_…`, or else the variable for all signals; with its name.
    fn of_traces(&self, what: &str) -> (&'static str, Option<&'a str>) {
        const NAMES: [(&str, &str, &str); 6] = [
            ("ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
            ("HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"),
            ("COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"),
            ("CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ];
        let Some((_, own, all)) = NAMES.iter().find(|(name, ..)| *name == what) else { return ("", None) };
        match self.get(own) {
            Some(value) => (own, Some(value)),
            None => (all, self.get(all)),
        }
    }

    fn warn(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    fn endpoint(&self) -> Result<Option<Uri>> {
        let (name, Some(given)) = self.of_traces("ENDPOINT") else { return Ok(None) };
        // The variable for all signals is a base; the other one is taken as it is.
        let full = match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => format!("{}/v1/traces", given.trim_end_matches('/')),
            _ => given.to_owned(),
        };
        let wrong = || {
            format!("{name}: must be a URL such as http://localhost:4318, got {given}. Give scheme, host and port.")
        };
        let endpoint: Uri = full.parse().map_err(|_| wrong())?;
        let known = matches!(endpoint.scheme_str(), Some("http" | "https"));
        let plain = endpoint.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        match endpoint.host() {
            Some(host) if known && plain && !host.is_empty() => Ok(Some(endpoint)),
            _ => Err(wrong()),
        }
    }

    /// Values are percent-encoded, as in W3C's baggage. They may be secret: no error shows them.
    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let (variable, Some(text)) = self.of_traces("HEADERS") else { return Ok(headers) };
        for (index, pair) in text.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            let parsed = || {
                let (name, value) = pair.split_once('=')?;
                let name: HeaderName = name.trim().to_ascii_lowercase().parse().ok()?;
                let mut value = HeaderValue::from_str(&percent_decode(value.trim())?).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            };
            let (name, value) = parsed().ok_or_else(|| {
                format!(
                    "{variable}: entry {} is no NAME=VALUE pair of a header. Separate pairs by commas.",
                    index + 1
                )
            })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn sampler(&self) -> Sampler {
        let name = self.get("OTEL_TRACES_SAMPLER").unwrap_or("parentbased_always_on");
        let mut ratio = 1.0;
        if let (true, Some(text)) = (name.ends_with("traceidratio"), self.get("OTEL_TRACES_SAMPLER_ARG")) {
            match text.parse::<f64>() {
                Ok(number) if (0.0..=1.0).contains(&number) => ratio = number,
                _ => self.warn(format!(
                    "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1, got {text}; 1 is used"
                )),
            }
        }
        Sampler::named(&name.to_ascii_lowercase(), ratio).unwrap_or_else(|| {
            self.warn(format!(
                "OTEL_TRACES_SAMPLER: must be always_on, always_off, traceidratio or one of these after parentbased_, got {name}; parentbased_always_on is used"
            ));
            Sampler::default()
        })
    }

    fn resource(&self) -> BTreeMap<String, String> {
        let mut resource = BTreeMap::from([("service.name".to_owned(), "modelport".to_owned())]);
        let pairs = self.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        for pair in pairs.split(',').filter(|pair| !pair.trim().is_empty()) {
            let parsed = pair
                .split_once('=')
                .and_then(|(key, value)| Some((percent_decode(key.trim())?, percent_decode(value.trim())?)));
            match parsed {
                Some((key, value)) if !key.is_empty() => {
                    resource.insert(key, value);
                }
                _ => self.warn(format!("OTEL_RESOURCE_ATTRIBUTES: must be KEY=VALUE,…, got {pair}; ignored")),
            }
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), name.to_owned());
        }
        resource
    }

    fn count(&self, name: &str, default: usize) -> usize {
        let Some(text) = self.get(name) else { return default };
        text.parse().ok().filter(|number| (1..=1 << 20).contains(number)).unwrap_or_else(|| {
            self.warn(format!("{name}: must be a number from 1 to 1048576, got {text}; {default} is used"));
            default
        })
    }

    fn milliseconds(&self, (name, value): (&str, Option<&str>), default: u64) -> Duration {
        let Some(text) = value else { return Duration::from_millis(default) };
        let number = text.parse().ok().filter(|number| (1..=86_400_000).contains(number));
        Duration::from_millis(number.unwrap_or_else(|| {
            self.warn(format!("{name}: must be a number of milliseconds, got {text}; {default} is used"));
            default
        }))
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            decoded.push(first);
            rest = after;
        }
    }
    String::from_utf8(decoded).ok()
}
