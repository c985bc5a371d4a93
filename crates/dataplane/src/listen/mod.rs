//! Connections: accept, TLS, HTTP/1.1 and HTTP/2, routes. A request's path here is one list, a line a
//! step, in `rest` and `grpc`.

mod accept;
mod access;
mod body;
mod docs;
mod encoding;
pub mod grpc;
pub(crate) mod log;
mod openapi;
mod peers;
mod rare;
mod reply;
mod repository;
pub(crate) mod request_id;
mod rest;
mod route;
mod run;
mod seat;
mod stats;
pub(crate) mod tls;
mod v1;
mod v2;

pub use run::{run, Config, Ended, Handle};
pub use tls::TlsFiles;
