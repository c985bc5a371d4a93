//! Every gRPC call over a real HTTP/2 connection, with a model that does what its parameters say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod describing;
mod predicting;
mod sizes;
