//! The bounds that keep a hostile or mistaken request from costing more than it should.

use std::time::Duration;

/// Limits on what one client may send.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body, after decompression, in bytes.
    pub body_bytes: usize,
    /// What the bodies of all requests under way may have together, in bytes; at least one of the largest.
    pub bodies_bytes: usize,
    /// Deepest nesting of JSON.
    pub json_depth: usize,
    /// Most tensors a request.
    pub tensors: usize,
    /// How long a client may take to send its headers, counted from the answer before: idle connections
    /// are closed after it as well. Longer than the 60 s for which common client pools keep one.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 << 20,
            bodies_bytes: 4 << 30,
            json_depth: 64,
            tensors: 4096,
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(300),
        }
    }
}
