//! `modelport._dataplane`: the only place where Modelport's two languages meet. This file only wires;
//! `src/modelport/_dataplane.pyi` is what Python sees.

mod buffer;
mod certificate;
mod convert;
mod executor;
mod gateway;
mod load;
mod memory;
mod reply;
mod repository;
mod server;
mod turn;

/// glibc's caches of freed memory hold fewer pieces than a batch of requests has; here each of a request's thirty takes a
/// third of the instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The Rust data plane.
#[pyo3::pymodule]
mod _dataplane {
    #[pymodule_export]
    use crate::buffer::Buffer;
    #[pymodule_export]
    use crate::certificate::{read_certificate, self_signed};
    #[pymodule_export]
    use crate::gateway::gateway;
    #[pymodule_export]
    use crate::load::load_test;
    #[pymodule_export]
    use crate::reply::{Reply, Request, Stream};
    #[pymodule_export]
    use crate::server::{tracing_endpoint, Server};
    #[pymodule_export]
    use crate::turn::let_pass;
}
