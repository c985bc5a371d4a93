//! The gRPC code in `generated/` is that of `proto/`. It is kept so that building needs no protobuf compiler.
//! `UPDATE_GENERATED=1 cargo test -p modelport-dataplane --test generated` writes it anew.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

/// Else the server speaks another protocol than the one that its reflection and the documentation describe.
#[test]
fn generated_code_is_that_of_the_protocols() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors =
        protox::compile(["open_inference.proto", "health.proto"], [root.join("proto")]).unwrap();
    let fresh = std::env::temp_dir().join(format!("mp-generated-{}", std::process::id()));
    fs::create_dir_all(&fresh).unwrap();
    let encoded = protox::prost_reflect::prost::Message::encode_to_vec(&descriptors);
    fs::write(fresh.join("descriptors.bin"), encoded).unwrap();
    // Clients without a transport of their own: tests and the graph bring one.
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::grpc::WireCodec")
        .bytes(".")
        .out_dir(&fresh)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)
        .unwrap();
    let kept = root.join("generated");
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for name in names(&fresh) {
        let (now, path) = (fs::read(fresh.join(&name)).unwrap(), kept.join(&name));
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            fs::write(&path, now).unwrap();
        } else {
            let same = fs::read(&path).is_ok_and(|before| before == now);
            assert!(
                same,
                "{} is not what proto/ says. Run this test with UPDATE_GENERATED=1.",
                path.display()
            );
        }
    }
    assert_eq!(names(&kept), names(&fresh));
    fs::remove_dir_all(&fresh).unwrap();
}
