//! Reading undoes writing, and any bytes are answered.

use crate::{fixed, one, tensor, HEAD};
use modelport_dataplane::codec::v2;
use modelport_dataplane::codec::v2::Encoded;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, InferResponse};
use modelport_dataplane::tensor::{Data, Datatype, Strings, Tensor};
use proptest::prelude::*;
use serde_json::Value;

/// Any tensor without NaN, which is not equal to itself, and with UTF-8 for `BYTES`.
fn any_tensor() -> impl Strategy<Value = Tensor> {
    let shape = proptest::collection::vec(0_usize..4, 0..4);
    (0..Datatype::ALL.len(), shape, any::<u64>(), ".{0,6}").prop_map(|(kind, shape, seed, text)| {
        let datatype = Datatype::ALL[kind];
        let count: usize = shape.iter().product();
        let mut random = fastrand::Rng::with_seed(seed);
        let data = if datatype == Datatype::Bytes {
            let mut strings = Strings::default();
            (0..count).for_each(|index| strings.push(format!("{text}{index}").as_bytes()));
            Data::Strings(strings)
        } else {
            let mut bytes = Vec::new();
            for _ in 0..count {
                let bits = random.u64(..);
                match datatype {
                    Datatype::Bool => bytes.push(u8::from(random.bool())),
                    // Masks an exponent bit, so that no value is NaN or infinite.
                    Datatype::Fp64 => bytes.extend_from_slice(&(bits & !(1 << 62)).to_le_bytes()),
                    Datatype::Fp32 => bytes.extend_from_slice(&(bits as u32 & !(1 << 30)).to_le_bytes()),
                    Datatype::Fp16 | Datatype::Bf16 => {
                        bytes.extend_from_slice(&(bits as u16 & !(1 << 14)).to_le_bytes());
                    }
                    other => bytes.extend_from_slice(&bits.to_le_bytes()[..other.size().unwrap()]),
                }
            }
            Data::Fixed(bytes.into())
        };
        tensor("x", datatype, &shape, data)
    })
}

/// A response read back as a request: their tensors have the same form. (By its text: `serde_json`
/// does not read every float to the nearest.)
fn back(encoded: &Encoded) -> InferRequest {
    let (json, raw) = encoded.body.split_at(encoded.json_length.unwrap_or(encoded.body.len()));
    let tensors = std::str::from_utf8(json).unwrap().strip_prefix(r#"{"model_name":"m","id":"7","outputs":"#);
    let json = format!(r#"{{"inputs":{}"#, tensors.unwrap());
    let length = encoded.json_length.map(|_| json.len());
    v2::decode(&[json.as_bytes(), raw].concat().into(), length, &Limits::default()).unwrap()
}

/// The texts of the elements of a response's only output.
fn texts(encoded: &Encoded) -> Vec<String> {
    let value: Value = serde_json::from_slice(&encoded.body).unwrap();
    let data = value["outputs"][0]["data"].as_array().unwrap();
    if data.iter().any(Value::is_string) {
        return data.iter().map(Value::to_string).collect();
    }
    let text = std::str::from_utf8(&encoded.body).unwrap();
    let list = text.split_once(r#""data":["#).unwrap().1.trim_end_matches("]}]}");
    list.split(',').map(str::to_owned).collect()
}

/// Writes elements nested, as clients do; the writer under test is always flat.
fn nest(flat: &[String], shape: &[usize]) -> String {
    match shape.split_first() {
        None => flat[0].clone(),
        Some((axis, inner)) => {
            let stride: usize = inner.iter().product();
            let parts = (0..*axis).map(|index| nest(&flat[index * stride..(index + 1) * stride], inner));
            format!("[{}]", parts.collect::<Vec<_>>().join(" , "))
        }
    }
}

/// The value of a number's text by the standard library; `None` where it is infinite.
fn reference<T: std::str::FromStr + Into<f64> + Copy>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| (*value).into().is_finite())
}

fn same_floats(text: &str) {
    let double = one("FP64", "[2]", &format!("[0.5, {text}]")).ok();
    let double = double.map(|tensor| fixed(&tensor)[8..].to_vec());
    assert_eq!(double, reference::<f64>(text).map(|value| value.to_le_bytes().to_vec()), "{text}");
    let single = one("FP32", "[2]", &format!("[0.5,{text} ]")).ok();
    let single = single.map(|tensor| fixed(&tensor)[4..].to_vec());
    assert_eq!(single, reference::<f32>(text).map(|value| value.to_le_bytes().to_vec()), "{text}");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>, length in proptest::option::of(0_usize..200)) {
        let _ = v2::decode(&body.into(), length, &Limits::default());
    }

    #[test]
    fn broken_requests_are_answered(seed: u64, at: prop::sample::Index, byte: u8, length in proptest::option::of(100_usize..180)) {
        let mut body = format!(r#"{{"id":"{seed}","inputs":[{{"name":"x","shape":[2,1],"datatype":"FP32","data":[[1.5],[-2e1]],"parameters":{{"binary_data_size":4}}}}]}}0123456"#).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        let _ = v2::decode(&body.into(), length, &Limits::default());
    }

    #[test]
    fn writing_and_reading_back_is_the_identity(tensor in any_tensor(), binary: bool) {
        let response = InferResponse { outputs: vec![tensor.clone()], ..InferResponse::default() };
        let encoded = v2::encode(&response, &HEAD, &[], binary).unwrap();
        prop_assert_eq!(encoded.json_length.is_some(), binary);
        prop_assert_eq!(&back(&encoded).inputs, &[tensor]);
    }

    #[test]
    fn nested_data_is_flat_data(tensor in any_tensor().prop_filter("nested scalars are no array", |t| !t.shape.is_empty())) {
        let response = InferResponse { outputs: vec![tensor.clone()], ..InferResponse::default() };
        let encoded = v2::encode(&response, &HEAD, &[], false).unwrap();
        let nested = nest(&texts(&encoded), &tensor.shape);
        let found = one(tensor.datatype.name(), &format!("{:?}", tensor.shape), &nested).unwrap();
        prop_assert_eq!(found, tensor);
    }

    #[test]
    fn floats_are_the_nearest(text in r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,26})?([eE][+-]?[0-9]{1,2})?") {
        same_floats(&text);
    }

    #[test]
    fn floats_beside_a_midpoint_are_the_nearest(bits in 0_u32..0x7f00_0000, digits in 5_usize..25) {
        let middle = f64::midpoint(f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 1)));
        same_floats(&format!("{middle:.digits$}"));
        same_floats(&format!("{middle}"));
        same_floats(&format!("{middle:.digits$e}"));
    }

    #[test]
    fn whole_numbers_are_exact(value: i64, large: u64) {
        let tensor = one("INT64", "[2]", &format!("[1, {value}]")).unwrap();
        prop_assert_eq!(&fixed(&tensor)[8..], value.to_le_bytes());
        let tensor = one("UINT64", "[2]", &format!("[{large}.000,{large}]")).unwrap();
        prop_assert_eq!(&fixed(&tensor)[8..], large.to_le_bytes());
        prop_assert_eq!(&fixed(&tensor)[..8], large.to_le_bytes());
    }
}
