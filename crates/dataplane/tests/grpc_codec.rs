//! Tensors to gRPC messages and back, and messages that nobody should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use modelport_dataplane::codec::grpc::proto::model_infer_request::{
    InferInputTensor, InferRequestedOutputTensor,
};
use modelport_dataplane::codec::grpc::proto::{
    infer_parameter::ParameterChoice, InferParameter, InferTensorContents, ModelInferRequest,
};
use modelport_dataplane::codec::grpc::{decode, decode_response, encode, encode_request, Decoded, Envelope};
use modelport_dataplane::error::Kind;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, InferResponse, RequestedOutput};
use modelport_dataplane::tensor::{Data, Datatype, Param, Params, Strings, Tensor};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use prost::Message;

fn limits() -> Limits {
    Limits::default()
}

fn any_params() -> impl Strategy<Value = Params> {
    let value = prop_oneof![
        any::<bool>().prop_map(Param::Bool),
        any::<i64>().prop_map(Param::Int),
        (-1e9..1e9).prop_map(Param::Double),
        ".*".prop_map(Param::Str),
    ];
    hash_map("[a-z]{0,6}", value, 0..3).prop_map(|map| {
        let mut params: Params = map.into_iter().collect();
        params.sort_by(|(one, _), (other, _)| one.cmp(other));
        params
    })
}

/// A tensor of this datatype; its elements are random bits, but for BOOL.
fn any_tensor(datatype: Datatype) -> impl Strategy<Value = Tensor> {
    vec(0_usize..4, 0..4).prop_flat_map(move |shape| {
        let count = Tensor::count(&shape).unwrap();
        let data = match datatype.size() {
            Some(size) => vec(any::<u8>(), count * size)
                .prop_map(move |mut bytes| {
                    if datatype == Datatype::Bool {
                        for byte in &mut bytes {
                            *byte &= 1;
                        }
                    }
                    Data::Fixed(bytes.into())
                })
                .boxed(),
            None => vec(vec(any::<u8>(), 0..9), count)
                .prop_map(|elements| {
                    let mut strings = Strings::default();
                    for element in &elements {
                        strings.push(element);
                    }
                    Data::Strings(strings)
                })
                .boxed(),
        };
        (Just(shape), data, any_params()).prop_map(move |(shape, data, parameters)| Tensor {
            name: String::new(),
            datatype,
            shape,
            data,
            nulls: Vec::new(),
            parameters,
        })
    })
}

/// Tensors of every datatype, each under its own name.
fn any_tensors(datatypes: Vec<Datatype>) -> impl Strategy<Value = Vec<Tensor>> {
    datatypes.into_iter().map(any_tensor).collect::<Vec<_>>().prop_map(|mut tensors| {
        for (index, tensor) in tensors.iter_mut().enumerate() {
            tensor.name = format!("t{index}");
        }
        tensors
    })
}

fn typed_datatypes() -> Vec<Datatype> {
    Datatype::ALL.into_iter().filter(|one| !matches!(one, Datatype::Fp16 | Datatype::Bf16)).collect()
}

/// NaNs differ from themselves but not in their bits, and tensors hold bits: so they compare well.
fn assert_same(left: &[Tensor], right: &[Tensor]) {
    assert_eq!(left, right);
    for tensor in right {
        if let (Data::Fixed(bytes), Some(size)) = (&tensor.data, tensor.datatype.size()) {
            assert_eq!(bytes.as_ptr().align_offset(size), 0, "{} lies askew", tensor.datatype);
        }
    }
}

fn round_trip(inputs: Vec<Tensor>, parameters: Params, raw: bool) {
    let sent = Decoded {
        model: "m".into(),
        version: Some("3".into()),
        request: InferRequest {
            id: Some("7".into()),
            parameters: parameters.clone(),
            inputs: inputs.clone(),
            outputs: vec![RequestedOutput { name: "y".into(), binary: None, parameters: parameters.clone() }],
            binary_output: raw,
        },
    };
    // Over the wire, so that raw contents are slices of one buffer, as they are in a server.
    let wire = Bytes::from(encode_request(sent.clone()).unwrap().encode_to_vec());
    let got = decode(ModelInferRequest::decode(wire).unwrap(), &limits()).unwrap();
    assert_same(&sent.request.inputs, &got.request.inputs);
    assert_eq!(sent, got);

    let answer = InferResponse { outputs: inputs, parameters, headers: Vec::new() };
    let envelope = Envelope { model: "m".into(), raw, ..Envelope::default() };
    let message = encode(answer.clone(), envelope).unwrap();
    assert_eq!(message.raw_output_contents.is_empty(), !raw || answer.outputs.is_empty());
    assert_eq!(decode_response(message, &limits()).unwrap(), answer);
}

proptest! {
    #[test]
    fn raw_tensors_of_every_datatype_come_back(
        inputs in any_tensors(Datatype::ALL.to_vec()), parameters in any_params()
    ) {
        round_trip(inputs, parameters, true);
    }

    #[test]
    fn typed_tensors_of_every_datatype_come_back(
        inputs in any_tensors(typed_datatypes()), parameters in any_params()
    ) {
        round_trip(inputs, parameters, false);
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = ModelInferRequest::decode(bytes.as_slice()) {
            let _ = decode(message, &limits());
        }
    }

    #[test]
    fn any_message_is_answered(message in any_message()) {
        // What is taken keeps the promise of `Tensor`: product(shape) elements.
        if let Ok(decoded) = decode(message, &limits()) {
            for tensor in decoded.request.inputs {
                let count = Tensor::count(&tensor.shape).unwrap();
                match (tensor.data, tensor.datatype.size()) {
                    (Data::Fixed(bytes), Some(size)) => assert_eq!(bytes.len(), count * size),
                    (Data::Strings(strings), None) => assert_eq!(strings.len(), count),
                    (data, size) => panic!("{data:?} of size {size:?}"),
                }
            }
        }
    }
}

/// Messages that are well-formed as protobuf, and mostly nonsense.
fn any_message() -> impl Strategy<Value = ModelInferRequest> {
    let datatype = prop_oneof![
        8 => (0..Datatype::ALL.len()).prop_map(|index| Datatype::ALL[index].name().to_owned()),
        1 => ".{0,5}",
    ];
    let axis = prop_oneof![8 => 0_i64..3, 1 => any::<i64>()];
    let contents = prop_oneof![
        vec(any::<i32>(), 0..4)
            .prop_map(|some| InferTensorContents { int_contents: some, ..Default::default() }),
        vec(0_u32..300, 0..4)
            .prop_map(|some| InferTensorContents { uint_contents: some, ..Default::default() }),
        vec(any::<f32>(), 0..4)
            .prop_map(|some| InferTensorContents { fp32_contents: some, ..Default::default() }),
        (vec(any::<bool>(), 0..2), vec(any::<f64>(), 0..2)).prop_map(|(bools, doubles)| {
            InferTensorContents { bool_contents: bools, fp64_contents: doubles, ..Default::default() }
        }),
        vec(vec(any::<u8>(), 0..4), 0..4).prop_map(|some| InferTensorContents {
            bytes_contents: some.into_iter().map(Bytes::from).collect(),
            ..Default::default()
        }),
    ];
    let input = ("[ab]", datatype, vec(axis, 0..4), proptest::option::of(contents)).prop_map(
        |(name, datatype, shape, contents)| InferInputTensor {
            name,
            datatype,
            shape,
            contents,
            ..Default::default()
        },
    );
    let raw = vec(prop_oneof![any::<u8>(), 0_u8..3], 0..20).prop_map(Bytes::from);
    (vec(input, 0..3), prop_oneof![Just(Vec::new()), vec(raw, 0..3)]).prop_map(
        |(inputs, raw_input_contents)| ModelInferRequest { inputs, raw_input_contents, ..Default::default() },
    )
}

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.into(),
        ..Default::default()
    }
}

fn raw(inputs: Vec<InferInputTensor>, contents: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        inputs,
        raw_input_contents: contents.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        ..Default::default()
    }
}

fn typed(datatype: &str, shape: &[i64], contents: InferTensorContents) -> ModelInferRequest {
    ModelInferRequest {
        inputs: vec![InferInputTensor { contents: Some(contents), ..input("x", datatype, shape) }],
        ..Default::default()
    }
}

fn ints(values: &[i32]) -> InferTensorContents {
    InferTensorContents { int_contents: values.into(), ..Default::default() }
}

fn uints(values: &[u32]) -> InferTensorContents {
    InferTensorContents { uint_contents: values.into(), ..Default::default() }
}

#[test]
fn mistakes_are_named() {
    let mut wanted_twice = raw(vec![], &[]);
    wanted_twice.outputs = vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }; 2];
    let mut valueless = raw(vec![], &[]);
    valueless.parameters.insert("p".into(), InferParameter { parameter_choice: None });
    let mut too_big = raw(vec![], &[]);
    let choice = Some(ParameterChoice::Uint64Param(u64::MAX));
    too_big.parameters.insert("p".into(), InferParameter { parameter_choice: choice });
    let beside = InferInputTensor { contents: Some(ints(&[1])), ..input("x", "INT32", &[1]) };
    for (message, expected) in [
        (raw(vec![input("x", "FLOAT", &[1])], &[]), "inputs[0].datatype: must be one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES, got \"FLOAT\"."),
        (raw(vec![input("x", "FP32", &[1, -1])], &[]), "inputs[0].shape[1]: must be at least 0, got -1."),
        // NumPy would raise, and the client be told that the server failed.
        (raw(vec![input("x", "FP32", &[1; 65])], &[]), "inputs[0].shape: must have at most 64 axes, got 65."),
        (raw(vec![input("x", "FP32", &[i64::MAX, i64::MAX])], &[]), "inputs[0].shape: [9223372036854775807, 9223372036854775807] has more elements than memory."),
        (raw(vec![input("x", "FP32", &[0, 1 << 62])], &[]), "inputs[0].shape: [0, 4611686018427387904] has more elements than memory."),
        (raw(vec![input("x", "FP64", &[1 << 61])], &[b""]), "inputs[0] (\"x\"): its shape and FP64 need too many bytes of raw contents, got 0."),
        (raw(vec![input("x", "FP32", &[1]), input("x", "FP32", &[1])], &[b"1234", b"1234"]), "inputs[1].name: must be unique, got \"x\" again."),
        (wanted_twice, "outputs[1].name: must be unique, got \"y\" again."),
        (raw(vec![input("x", "FP32", &[1])], &[b"1234", b"1234"]), "raw_input_contents: must have one entry for each of the 1 inputs, got 2. Send all raw, or none."),
        (raw(vec![beside], &[b"1234"]), "inputs[0].contents: must be empty beside raw contents. Send the elements of \"x\" once."),
        (raw(vec![input("x", "FP32", &[2])], &[b"1234"]), "inputs[0] (\"x\"): its shape and FP32 need 8 bytes of raw contents, got 4."),
        (raw(vec![input("x", "BOOL", &[2])], &[b"\x01\x02"]), "inputs[0] (\"x\"): element 1 of BOOL must be 0 or 1, got 2."),
        (raw(vec![input("x", "BYTES", &[1])], &[b"\x05\0\0\0abc"]), "inputs[0] (\"x\"): element 0 of BYTES is said to have 5 bytes, but 3 are left."),
        (raw(vec![input("x", "BYTES", &[1])], &[b"\x01\0\0\0abc"]), "inputs[0] (\"x\"): raw contents of BYTES end in the middle of a length: 2 bytes are left after element 1."),
        (raw(vec![input("x", "BYTES", &[1])], &[b"\0\0\0\0\0\0\0\0"]), "inputs[0] (\"x\"): its shape has 1 elements, but the raw contents have more."),
        (raw(vec![input("x", "BYTES", &[1_000_000_000_000])], &[b"\0\0\0\0"]), "inputs[0] (\"x\"): its shape has 1000000000000 elements, got 1."),
        (typed("FP32", &[1], ints(&[1])), "inputs[0] (\"x\"): FP32 elements belong in fp32_contents, got int_contents."),
        (typed("FP16", &[1], ints(&[1])), "inputs[0] (\"x\"): FP16 elements belong in raw_input_contents, got int_contents."),
        (typed("BF16", &[1], ints(&[])), "inputs[0] (\"x\"): BF16 elements belong in raw_input_contents, got none."),
        (typed("INT32", &[2, 2], ints(&[1, 2, 3])), "inputs[0] (\"x\"): its shape has 4 elements, got 3."),
        (typed("INT8", &[2], ints(&[-128, 128])), "inputs[0] (\"x\"): element 1 does not fit INT8, got 128."),
        (typed("INT16", &[1], ints(&[-32769])), "inputs[0] (\"x\"): element 0 does not fit INT16, got -32769."),
        (typed("UINT8", &[1], uints(&[256])), "inputs[0] (\"x\"): element 0 does not fit UINT8, got 256."),
        (typed("UINT16", &[1], uints(&[65536])), "inputs[0] (\"x\"): element 0 does not fit UINT16, got 65536."),
        (valueless, "parameters[\"p\"]: has no value. Set bool_param, int64_param, string_param or double_param."),
        (too_big, "parameters[\"p\"]: must be at most 9223372036854775807, got 18446744073709551615."),
    ] {
        let error = decode(message, &limits()).unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (Kind::InvalidInput, expected));
    }
}

#[test]
fn the_limit_on_tensors_is_exact() {
    let limits = Limits { tensors: 2, ..Limits::default() };
    let inputs = |count| raw((0..count).map(|index| input(&format!("{index}"), "BOOL", &[0])).collect(), &[]);
    assert!(decode(inputs(2), &limits).is_ok());
    let error = decode(inputs(3), &limits).unwrap_err();
    assert_eq!(error.message, "inputs: must be at most 2 tensors, got 3.");
}

#[test]
fn shared_memory_is_not_there() {
    let mut shared = input("x", "FP32", &[1]);
    let choice = Some(ParameterChoice::StringParam("region".into()));
    shared.parameters.insert("shared_memory_region".into(), InferParameter { parameter_choice: choice });
    let error = decode(raw(vec![shared], &[]), &limits()).unwrap_err();
    assert_eq!(error.kind, Kind::Unimplemented);
}

#[test]
fn long_words_are_cut_in_errors() {
    let error = decode(raw(vec![input("x", &"é".repeat(1 << 20), &[1])], &[]), &limits()).unwrap_err();
    assert!(error.message.len() < 400, "{}", error.message.len());
}

#[test]
fn aligned_raw_contents_are_not_copied() {
    let words: Vec<u8> = (0..16).collect();
    let whole = Bytes::from(words);
    let start = whole.as_ptr().align_offset(4);
    let aligned = whole.slice(start..start + 4);
    let message = ModelInferRequest {
        inputs: vec![input("x", "FP32", &[1])],
        raw_input_contents: vec![aligned.clone()],
        ..Default::default()
    };
    let got = decode(message, &limits()).unwrap().request.inputs.remove(0);
    let Data::Fixed(bytes) = got.data else { panic!("{:?}", got.data) };
    assert_eq!(bytes.as_ptr(), aligned.as_ptr());
}

fn output(name: &str, datatype: Datatype, data: Data) -> Tensor {
    let shape = vec![1];
    Tensor { name: name.into(), datatype, shape, data, nulls: Vec::new(), parameters: Vec::new() }
}

fn bytes_element(element: &[u8]) -> Data {
    let mut strings = Strings::default();
    strings.push(element);
    Data::Strings(strings)
}

#[test]
fn outputs_come_in_the_order_asked_for() {
    let answer = InferResponse {
        outputs: ["a", "b", "c"]
            .map(|name| output(name, Datatype::Uint8, Data::Fixed(Bytes::from_static(&[1]))))
            .into(),
        ..Default::default()
    };
    let want = |names: &[&str]| Envelope {
        outputs: names
            .iter()
            .map(|name| RequestedOutput { name: (*name).into(), binary: None, parameters: Vec::new() })
            .collect(),
        ..Default::default()
    };
    let message = encode(answer.clone(), want(&["c", "a", "b"])).unwrap();
    let names: Vec<&str> = message.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    let error = encode(answer, want(&["b", "z"])).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert_eq!(error.message, "outputs[1].name: the model has no output \"z\". It has \"a\", \"b\", \"c\".");
}

#[test]
fn one_half_precision_output_makes_the_answer_raw() {
    let answer = InferResponse {
        outputs: vec![
            output("half", Datatype::Fp16, Data::Fixed(Bytes::from_static(&[0, 60]))),
            output("text", Datatype::Bytes, bytes_element(b"\xff\0")),
        ],
        ..Default::default()
    };
    let message = encode(answer, Envelope::default()).unwrap();
    assert_eq!(message.raw_output_contents, [&[0, 60][..], &[2, 0, 0, 0, 0xff, 0]]);
    assert!(message.outputs.iter().all(|output| output.contents.is_none()));
}

#[test]
fn bytes_need_not_be_utf8() {
    let answer = InferResponse {
        outputs: vec![output("text", Datatype::Bytes, bytes_element(b"\xff"))],
        ..Default::default()
    };
    let message = encode(answer, Envelope::default()).unwrap();
    let contents = message.outputs[0].contents.as_ref().unwrap();
    assert_eq!(contents.bytes_contents, [&b"\xff"[..]]);
}
