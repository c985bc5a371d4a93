//! Bytes to tensors and back, one file a format. Pure: no I/O, no clock, no Python.
//!
//! Decoding is total: any bytes give a request or an `Error` that names the field, and never panic.
//!
//! `json` and `number` read text, `fault` says what is wrong with it, `write` writes it. `element` and
//! `column` turn it into typed buffers, of a datatype that is known and of one that is not; `frame` reads tables. `v1`, `v2`,
//! `binary` and `cloudevents` are the formats on the wire.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::doc_markdown)] // KServe, NumPy and CloudEvents are names, not code
#![allow(clippy::unnecessary_box_returns)] // faults travel in `Result<_, Box<Fault>>`, to keep the good case small

pub mod binary;
pub mod cloudevents;
mod column;
mod element;
pub mod fault;
mod frame;
pub mod grpc;
pub mod json;
mod number;
mod param;
mod series;
pub mod v1;
pub mod v2;
mod write;
