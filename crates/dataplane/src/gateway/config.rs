//! What a gateway is told when it starts.

use crate::listen::TlsFiles;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// What to serve, where, and how to stop.
#[derive(Debug)]
pub struct Config {
    /// Listening sockets for clients.
    pub listeners: Vec<TcpListener>,
    /// Listening sockets for the platform's own names, without TLS.
    pub internal: Vec<TcpListener>,
    /// The route table's file.
    pub table: PathBuf,
    /// Where the control plane speaks to us.
    pub admin: PathBuf,
    /// Where a restarted supervisor gets the listening sockets.
    pub handover: Option<PathBuf>,
    /// TLS for `listeners`.
    pub tls: Option<TlsFiles>,
    /// A JSON line a request goes here.
    pub access_log: Option<PathBuf>,
    /// One of our own proxies is in front: its X-Forwarded-Proto and -Host are kept.
    pub trust_forwarded: bool,
    /// Threads that serve.
    pub threads: usize,
    /// Bounds of requests and times.
    pub limits: Limits,
    /// How long HTTP/1.1 clients have for a last request once the gateway drains.
    pub drain_delay: Duration,
    /// Longest time that requests in flight may take once the gateway drains.
    pub drain_timeout: Duration,
    /// Drain on SIGTERM and SIGINT, a second one ends at once; SIGHUP opens the access log anew.
    pub signals: bool,
}

/// Bounds of what clients and endpoints may do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections a listener; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: u64,
    /// Bytes of a body that are kept, so that a request can be sent again.
    pub retry_body_bytes: usize,
    /// How long a head may take to come.
    pub header_timeout: Duration,
    /// How long a connection may be without a byte either way, while no endpoint is waited for.
    pub idle_timeout: Duration,
    /// How long a body may take to come, where it is kept.
    pub body_timeout: Duration,
    /// How long an endpoint may take to take a connection.
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 << 10,
            body_bytes: 1 << 30,
            retry_body_bytes: 1 << 20,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            body_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(2),
        }
    }
}
