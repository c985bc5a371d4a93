//! Traces, as a collector sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod collector;
mod environment;
mod exported;
mod grpc;
mod recorded;
mod sampled;
mod served;
mod streams;
