//! gRPC messages to tensors and back.
