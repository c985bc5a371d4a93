//! Modelport's data plane: everything a request passes through, with no Python in it.
//!
//! A request's walk: `listen` (connection, route, body) → `codec` (bytes to tensors) → `batch` (queue,
//! take what is there, merge) → the model, behind the queue → `batch` (split) → `codec` → `listen`.
//! `metrics` and `trace` watch from the side. `gateway` is a program of its own, in front of many servers. This
//! file only wires.

pub mod batch;
pub mod budget;
pub mod certificate;
pub mod certified;
mod clock;
pub mod codec;
pub mod error;
pub mod gateway;
pub mod limits;
pub mod listen;
pub mod message;
pub mod metrics;
pub mod model;
pub mod tensor;
pub mod trace;
pub mod turn;
