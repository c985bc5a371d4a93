//! Bytes to tensors and back, one file a format. Pure: no I/O, no clock, no Python.
//!
//! Decoding is total: any bytes give a request or an `Error` that names the field, and never panic.

pub mod grpc;
