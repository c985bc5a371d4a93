//! The judge that is not us: bodies made by NVIDIA's tritonclient (`data/generate.py`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use half::{bf16, f16};
use modelport_dataplane::codec::{binary, v2};
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, RequestedOutput};
use modelport_dataplane::tensor::{Data, Datatype, Param, Tensor};
use std::path::Path;

fn load(name: &str) -> InferRequest {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let lengths = std::fs::read_to_string(folder.join("lengths.txt")).unwrap();
    let length = lengths.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    let body = Bytes::from(std::fs::read(folder.join(format!("{name}.body"))).unwrap());
    v2::decode(&body, length.parse().ok(), &Limits::default()).unwrap()
}

macro_rules! bytes_of {
    ($($value:expr),*) => {{
        let mut bytes = Vec::new();
        $(bytes.extend_from_slice(&$value.to_le_bytes());)*
        bytes
    }};
}

/// What `generate.py` put in, as little-endian bytes.
fn expected(datatype: Datatype) -> Vec<u8> {
    match datatype {
        Datatype::Bool => vec![1, 0, 1, 0, 0, 1],
        Datatype::Uint8 => vec![0, 1, 255, 7, 8, 9],
        Datatype::Uint16 => bytes_of!(0_u16, 1_u16, u16::MAX, 7_u16, 8_u16, 9_u16),
        Datatype::Uint32 => bytes_of!(0_u32, 1_u32, u32::MAX, 7_u32, 8_u32, 9_u32),
        Datatype::Uint64 => bytes_of!(0_u64, 1_u64, u64::MAX, 7_u64, 8_u64, 9_u64),
        Datatype::Int8 => bytes_of!(i8::MIN, i8::MAX, 0_i8, 7_i8, 8_i8, 9_i8),
        Datatype::Int16 => bytes_of!(i16::MIN, i16::MAX, 0_i16, 7_i16, 8_i16, 9_i16),
        Datatype::Int32 => bytes_of!(i32::MIN, i32::MAX, 0_i32, 7_i32, 8_i32, 9_i32),
        Datatype::Int64 => bytes_of!(i64::MIN, i64::MAX, 0_i64, 7_i64, 8_i64, 9_i64),
        Datatype::Fp16 => [0.5, -1.25, 65504.0, 7.0, 8.0, 9.0]
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect(),
        Datatype::Bf16 => [0.5, -1.25, 3.0, 7.0, 8.0, 9.0]
            .iter()
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes())
            .collect(),
        Datatype::Fp32 => bytes_of!(0.1_f32, -1.25_f32, 3.4e38_f32, 7_f32, 8_f32, 9_f32),
        Datatype::Fp64 => bytes_of!(0.1_f64, -1.25_f64, 1.7e308_f64, 7_f64, 8_f64, 9_f64),
        Datatype::Bytes => Vec::new(),
    }
}

fn texts(tensor: &Tensor) -> Vec<&[u8]> {
    match &tensor.data {
        Data::Strings(strings) => strings.iter().collect(),
        Data::Fixed(_) => panic!("{tensor:?}"),
    }
}

#[test]
fn every_datatype_of_tritonclient_is_read_right() {
    let mut cases = 0;
    for datatype in Datatype::ALL {
        for form in ["binary", "json"] {
            // tritonclient has no JSON for these two.
            if form == "json" && matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
                continue;
            }
            let request = load(&format!("{datatype}-{form}"));
            let [tensor] = request.inputs.as_slice() else { panic!("{request:?}") };
            assert_eq!((tensor.name.as_str(), tensor.datatype), ("x", datatype));
            assert_eq!(tensor.shape, [2, 3]);
            assert!(tensor.parameters.is_empty() && tensor.nulls.is_empty());
            assert!(request.binary_output && request.parameters.is_empty());
            match &tensor.data {
                Data::Fixed(bytes) => assert_eq!(bytes.to_vec(), expected(datatype), "{datatype} {form}"),
                Data::Strings(strings) => {
                    let found: Vec<_> = strings.iter().map(|e| std::str::from_utf8(e).unwrap()).collect();
                    assert_eq!(found, ["a", "", "ä ✓", "d\"\\\n", "e", "fff"]);
                }
            }
            cases += 1;
        }
    }
    assert_eq!(cases, 26);
}

#[test]
fn mixed_inputs_outputs_and_parameters_of_tritonclient_are_read_right() {
    let request = load("several");
    assert_eq!(request.id.as_deref(), Some("abc-1"));
    let parameters: Vec<_> =
        request.parameters.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    assert_eq!(
        parameters,
        [
            ("priority", Param::Int(3)),
            ("timeout", Param::Int(1000)),
            ("temperature", Param::Double(0.5)),
            ("greedy", Param::Bool(true)),
            ("who", Param::Str("me".to_owned())),
        ]
    );
    assert!(!request.binary_output);
    let [first, second, third, empty] = request.inputs.as_slice() else { panic!("{request:?}") };
    assert_eq!(first.data, Data::Fixed(expected(Datatype::Fp32).into()));
    assert_eq!(second.data, Data::Fixed(expected(Datatype::Int64).into()));
    assert_eq!(texts(third), [&b"\xff\x00\xfe"[..], b""]);
    assert_eq!((empty.shape.as_slice(), empty.data.byte_len()), (&[0, 4][..], 0));
    let label = RequestedOutput {
        name: "label".to_owned(),
        binary: Some(false),
        parameters: vec![("classification".to_owned(), Param::Int(2))],
    };
    let score = RequestedOutput { name: "score".to_owned(), binary: Some(true), parameters: vec![] };
    assert_eq!(request.outputs, [label, score]);
}

#[test]
fn binary_writing_is_what_tritonclient_sent() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (name, json) in [("BYTES-binary", 136), ("FP32-binary", 135), ("BF16-binary", 135)] {
        let mut raw = Vec::new();
        binary::encode(&load(name).inputs[0], &mut raw).unwrap();
        assert_eq!(raw, std::fs::read(folder.join(format!("{name}.body"))).unwrap()[json..]);
    }
}
