//! Compiles the gRPC protocols without `protoc`, and keeps the descriptors for server reflection.
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/open_inference.proto", "proto/health.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        protox::prost_reflect::prost::Message::encode_to_vec(&descriptors),
    )?;
    // Clients without a transport of their own: tests and the graph bring one.
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::grpc::WireCodec")
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
