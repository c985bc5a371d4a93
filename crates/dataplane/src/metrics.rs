//! Counters and histograms, and their Prometheus text. Recording is a few relaxed atomic additions.

use crate::message::Protocol;
use std::time::Duration;

/// A part of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Bytes to tensors.
    Decode,
    /// Waiting for the model.
    Queue,
    /// In the model, as a batch; Python's part of the work included.
    Predict,
    /// Tensors to bytes.
    Encode,
}

/// The counters of one model; kept when a new version of its artifact replaces it.
#[derive(Debug, Default)]
pub struct ModelMetrics {}

impl ModelMetrics {
    /// A request has begun.
    pub fn started(&self, _protocol: Protocol) {}
    /// It has ended with this HTTP status (gRPC: its equivalent), after this time in all.
    pub fn finished(&self, _protocol: Protocol, _status: u16, _total: Duration) {}
    /// One stage of it took this long.
    pub fn stage(&self, _stage: Stage, _took: Duration) {}
    /// A batch of so many requests with so many rows went to the model.
    pub fn batch(&self, _requests: usize, _rows: usize) {}
}

/// Counters that belong to no model.
#[derive(Debug, Default)]
pub struct ServerMetrics {}
