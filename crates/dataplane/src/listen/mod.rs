//! Connections: accept, TLS, HTTP/1.1 and HTTP/2, routes. A request's path here is one list, a line a
//! step, in `rest` and `grpc`.

pub mod grpc;
