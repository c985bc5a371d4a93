//! V1: how rows become tensors and tensors rows, and in which words the rest is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use modelport_dataplane::codec::v1;
use modelport_dataplane::error::Kind;
use modelport_dataplane::limits::Limits;
use modelport_dataplane::message::{InferRequest, InferResponse};
use modelport_dataplane::model::TensorSpec;
use modelport_dataplane::tensor::{Data, Datatype, Param, Tensor};
use proptest::prelude::*;
use serde_json::{json, Value};

fn decode(body: &str) -> Result<InferRequest, String> {
    v1::decode(&Bytes::copy_from_slice(body.as_bytes()), &Limits::default()).map_err(|error| {
        assert_eq!(error.kind, Kind::InvalidInput);
        error.message
    })
}

fn encode(outputs: Vec<Tensor>) -> Value {
    let body = v1::encode(&InferResponse { outputs, ..InferResponse::default() }).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// A tensor as `name datatype [shape] elements`, and `nulls` if there are any.
fn show(tensor: &Tensor) -> String {
    let elements: Vec<String> = match &tensor.data {
        Data::Strings(strings) => {
            strings.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
        }
        Data::Fixed(bytes) if tensor.datatype == Datatype::Bool => {
            bytes.iter().map(|byte| (*byte == 1).to_string()).collect()
        }
        Data::Fixed(bytes) => {
            let words = bytes.as_chunks::<8>().0;
            let float = |word: &[u8; 8]| format!("{:?}", f64::from_le_bytes(*word));
            let int = |word: &[u8; 8]| i64::from_le_bytes(*word).to_string();
            match tensor.datatype {
                Datatype::Fp64 => words.iter().map(float).collect(),
                _ => words.iter().map(int).collect(),
            }
        }
    };
    assert_eq!(Tensor::count(&tensor.shape), Some(elements.len()));
    let nulls = if tensor.nulls.is_empty() { String::new() } else { format!(" nulls {:?}", tensor.nulls) };
    format!("{} {} {:?} {}{nulls}", tensor.name, tensor.datatype, tensor.shape, elements.join(" "))
}

#[test]
fn rows_become_tensors() {
    let cases: &[(&str, &[&str])] = &[
        ("[]", &["input-0 FP64 [0] "]),
        ("[1, 2]", &["input-0 INT64 [2] 1 2"]),
        ("[1,2.5]", &["input-0 FP64 [2] 1.0 2.5"]),
        ("[1,2.0]", &["input-0 FP64 [2] 1.0 2.0"]),
        ("[true,false]", &["input-0 BOOL [2] true false"]),
        ("[true,2]", &["input-0 INT64 [2] 1 2"]),
        ("[2,true]", &["input-0 INT64 [2] 2 1"]),
        ("[true,0.5]", &["input-0 FP64 [2] 1.0 0.5"]),
        ("[null,true]", &["input-0 FP64 [2] NaN 1.0 nulls [0]"]),
        ("[true,null]", &["input-0 FP64 [2] 1.0 NaN nulls [1]"]),
        ("[null,1,null]", &["input-0 FP64 [3] NaN 1.0 NaN nulls [0, 2]"]),
        ("[1,null]", &["input-0 FP64 [2] 1.0 NaN nulls [1]"]),
        ("[null]", &["input-0 FP64 [1] NaN nulls [0]"]),
        ("[9223372036854775807]", &["input-0 INT64 [1] 9223372036854775807"]),
        ("[1,9223372036854775808]", &["input-0 FP64 [2] 1.0 9.223372036854776e18"]),
        (r#"["a","b"]"#, &["input-0 BYTES [2] a b"]),
        (r#"[null,"b",null]"#, &["input-0 BYTES [3]  b  nulls [0, 2]"]),
        ("[[5.1,3.5],[1.4,0.2]]", &["input-0 FP64 [2, 2] 5.1 3.5 1.4 0.2"]),
        ("[[1,2],[3,4]]", &["input-0 INT64 [2, 2] 1 2 3 4"]),
        ("[[1,2],[3,4.5]]", &["input-0 FP64 [2, 2] 1.0 2.0 3.0 4.5"]),
        ("[[[1],[2]],[[3],[4]]]", &["input-0 INT64 [2, 2, 1] 1 2 3 4"]),
        ("[[],[]]", &["input-0 FP64 [2, 0] "]),
        ("[[[]]]", &["input-0 FP64 [1, 1, 0] "]),
        (r#"[["a","b"],["c",null]]"#, &["input-0 BYTES [2, 2] a b c  nulls [3]"]),
        (
            r#"[[39,"Private",true],[50,null,false]]"#,
            &["0 INT64 [2] 39 50", "1 BYTES [2] Private  nulls [1]", "2 BOOL [2] true false"],
        ),
        (r#"[{"age":39,"job":"x"},{"job":"y","age":1.5}]"#, &["age FP64 [2] 39.0 1.5", "job BYTES [2] x y"]),
        (
            r#"[{"v":[1,2],"n":null},{"v":[3,4],"n":null}]"#,
            &["v INT64 [2, 2] 1 2 3 4", "n FP64 [2] NaN NaN nulls [0, 1]"],
        ),
        (r#"[{"v":[[1.5]]}]"#, &["v FP64 [1, 1, 1] 1.5"]),
        (r#"[{"v":[]},{"v":[]}]"#, &["v FP64 [2, 0] "]),
    ];
    for (rows, tensors) in cases {
        for key in ["instances", "inputs"] {
            let request = decode(&format!(r#"{{"{key}": {rows} }}"#)).expect(rows);
            assert_eq!(request.inputs.iter().map(show).collect::<Vec<_>>(), *tensors, "{rows}");
        }
    }
}

/// What pandas' `to_dict` writes, and what KServe's documentation sends: answered 400 before.
#[test]
fn tables_in_the_forms_of_pandas_are_read() {
    let cases: &[(&str, &[&str])] = &[
        (
            r#"[[{"a":1,"b":"x"},{"b":"y","a":2}],[],[{"a":3,"b":"z"}]]"#,
            &["a INT64 [3] 1 2 3", "b BYTES [3] x y z"],
        ),
        (r#"[[{"a":5.5},{"b":1}]]"#, &["a FP64 [2] 5.5 NaN nulls [1]", "b FP64 [2] NaN 1.0 nulls [0]"]),
        (
            r#"[[{"a":"x"},{},{"b":true}]]"#,
            &["a BYTES [3] x   nulls [1, 2]", "b FP64 [3] NaN NaN 1.0 nulls [0, 1]"],
        ),
        (r#"[[{"a":null},{"a":2}]]"#, &["a FP64 [2] NaN 2.0 nulls [0]"]),
        (r#"[{"a":{"0":1,"1":2},"b":{"0":"x","1":null}}]"#, &["a INT64 [2] 1 2", "b BYTES [2] x  nulls [1]"]),
        (
            r#"[{"a":{"x":1}},{"a":{"y":2,"z":3},"b":{"y":4,"z":5}}]"#,
            &["a INT64 [3] 1 2 3", "b FP64 [3] NaN 4.0 5.0 nulls [0]"],
        ),
    ];
    for (rows, tensors) in cases {
        for key in ["instances", "inputs"] {
            let request = decode(&format!(r#"{{"{key}": {rows} }}"#)).expect(rows);
            assert_eq!(request.inputs.iter().map(show).collect::<Vec<_>>(), *tensors, "{rows}");
        }
    }
}

#[test]
fn malformed_tables_are_refused_with_the_path() {
    let cases = [
        (r#"[[{"a":1},5]]"#, "instances[0][1]: expected an object, got 5"),
        (r#"[[{"a":1}],{"a":1}]"#, "instances[1]: expected an array, got an object"),
        (r#"[[{"a":1,"a":2}]]"#, "instances[0][0].a: given twice"),
        (r#"[[{"a":[1]}]]"#, "instances[0][0].a: expected one value, got an array"),
        (r#"[[{"a":1}],[{"a":"x"}]]"#, "instances[1][0].a: a string where the values before it are numbers"),
        (r"[[{}]]", "instances: has no columns"),
        (r#"[{"a":{"0":1},"b":2}]"#, "instances[0].b: expected an object, got 2"),
        (r#"[{"a":{"0":1,"0":2}}]"#, "instances[0].a: label \"0\" is given twice"),
        (r#"[{"a":{"0":{}}}]"#, "instances[0].a.0: expected one value, got an object"),
        (
            r#"[{"a":{"0":1},"b":{"1":1}}]"#,
            "instances[0].b: has other labels than the columns before it. Give all columns the same ones, in the same order",
        ),
        (
            r#"[{"a":{"0":1,"1":2},"b":{"0":1}}]"#,
            "instances[0].b: has other labels than the columns before it. Give all columns the same ones, in the same order",
        ),
    ];
    for (rows, told) in cases {
        assert_eq!(decode(&format!(r#"{{"instances":{rows}}}"#)).expect_err(rows), told, "{rows}");
    }
}

/// A column once named and then left out costs its cells: a body of 100 KB must not ask for gigabytes.
#[test]
fn a_small_body_does_not_name_a_huge_table() {
    let names: Vec<_> = (0..4096).map(|index| format!(r#""{index}":1"#)).collect();
    let rows = "{},".repeat(20_000);
    let body = format!(r#"{{"instances":[[{{{}}},{rows}{{}}]]}}"#, names.join(","));
    assert!(decode(&body).expect_err("huge").contains("names few of the cells"));
    let many: Vec<_> = (0..4097).map(|index| format!(r#"{{"{index}":1}}"#)).collect();
    let told = decode(&format!(r#"{{"instances":[[{}]]}}"#, many.join(","))).expect_err("many");
    assert!(told.contains("names few") || told.contains("4096 columns"), "{told}");
}

fn spec(name: &str, datatype: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype: datatype.into(), shape: shape.into(), ..TensorSpec::default() }
}

fn decode_for(rows: &str, specs: &[TensorSpec]) -> Result<Vec<String>, String> {
    let body = Bytes::from(format!(r#"{{"instances":{rows}}}"#));
    let request = v1::decode_for(&body, &Limits::default(), specs).map_err(|error| error.message)?;
    Ok(request.inputs.iter().map(show).collect())
}

#[test]
fn columns_of_values_become_rows_where_the_model_takes_columns() {
    let columns = [spec("a", "FP64", &[-1]), spec("b", "FP64", &[-1, 1])];
    let matrix = [spec("input-0", "FP64", &[-1, 2])];
    let tensors = [spec("a", "FP64", &[-1, 2]), spec("b", "FP64", &[-1, 2])];
    let table = r#"[{"a":[1,2],"b":[5,6]},{"a":[3,4],"b":[7,8]}]"#;
    let rows = ["a INT64 [4] 1 2 3 4", "b INT64 [4] 5 6 7 8"];
    let as_is = ["a INT64 [2, 2] 1 2 3 4", "b INT64 [2, 2] 5 6 7 8"];
    for (specs, wanted) in [(&columns[..], rows), (&matrix, rows), (&tensors, as_is), (&[], as_is)] {
        assert_eq!(decode_for(table, specs).unwrap(), wanted, "{specs:?}");
    }
    // Unlike columns, and rows of one value, are what they were.
    for table in [r#"[{"a":[1,2],"b":[5]}]"#, r#"[{"a":[1],"b":[5]}]"#, "[[1,2],[3,4]]", "[]"] {
        assert_eq!(decode_for(table, &columns), decode_for(table, &[]), "{table}");
    }
}

/// LightGBM behind KServe predicts with such columns missing; a model that takes none says which it lacks.
#[test]
fn columns_of_the_model_that_no_row_names_are_missing() {
    let specs = [spec("a", "FP64", &[-1]), spec("b", "FP64", &[-1]), spec("c", "BYTES", &[-1])];
    for table in [r#"[[{"a":1},{"b":2}]]"#, r#"[{"a":{"0":1,"1":null},"b":{"0":null,"1":2}}]"#] {
        let read = decode_for(table, &specs).unwrap();
        let wanted =
            ["a FP64 [2] 1.0 NaN nulls [1]", "b FP64 [2] NaN 2.0 nulls [0]", "c BYTES [2]   nulls [0, 1]"];
        assert_eq!(read, wanted, "{table}");
    }
    // A name that the model does not know is for the model to refuse, and plain objects have all columns.
    assert_eq!(decode_for(r#"[[{"a":1,"x":2}]]"#, &specs).unwrap(), ["a INT64 [1] 1", "x INT64 [1] 2"]);
    assert_eq!(decode_for(r#"[{"a":1}]"#, &specs).unwrap(), ["a INT64 [1] 1"]);
    let wide: Vec<_> = (0..4000).map(|index| spec(&index.to_string(), "FP64", &[-1])).collect();
    let told = decode_for(&format!(r#"[[{{"0":1}},{}{{}}]]"#, "{},".repeat(1000)), &wide).expect_err("huge");
    assert!(told.contains("names few of the cells"), "{told}");
}

#[test]
fn inputs_may_be_columns() {
    let request = decode(r#"{"inputs":{"a":[[1,2],[3,4]],"b":["x","y"],"c":1.5}}"#).unwrap();
    let tensors: Vec<_> = request.inputs.iter().map(show).collect();
    assert_eq!(tensors, ["a INT64 [2, 2] 1 2 3 4", "b BYTES [2] x y", "c FP64 [] 1.5"]);
}

#[test]
fn other_keys_are_read_or_left_alone() {
    let body = r#"{"signature_name":{"a":[]},"id":"5","parameters":{"probability":true},"instances":[1]}"#;
    let request = decode(body).unwrap();
    assert_eq!(request.id.as_deref(), Some("5"));
    assert_eq!(request.parameters, [("probability".to_owned(), Param::Bool(true))]);
}

#[test]
fn malformed_bodies_are_refused_with_the_path() {
    let cases = [
        ("{}", "request body: \"instances\" is missing. Send {\"instances\": [...]}"),
        ("[[1]]", "request body: is a list. Send {\"instances\": [...]}"),
        (r#"{"instances":5}"#, "Expected \"instances\" to be a list"),
        (r#"{"instances":{"a":1}}"#, "Expected \"instances\" to be a list"),
        (r#"{"inputs":"a"}"#, "Expected \"inputs\" to be a list"),
        (r#"{"inputs":{}}"#, "inputs: is empty. Send one tensor at least"),
        (r#"{"inputs":{"a":1,"a":2}}"#, "inputs.a: given twice"),
        (r#"{"instances":[1],"instances":[2]}"#, "instances: given twice"),
        (
            r#"{"instances":[1],"inputs":[2]}"#,
            "request body: has both \"instances\" and \"inputs\". Send one of them",
        ),
        (r#"{"instances":"#, "invalid JSON at byte 13: expected a list, got the end of the text"),
        (r#"{"instances":[1,2}"#, "invalid JSON at byte 17: expected ',' or ']', got '}' (in instances[2])"),
        (
            r#"{"instances":[[1,2],[3,]]}"#,
            "invalid JSON at byte 23: trailing comma before ']' (in instances[1][1])",
        ),
        (r#"{"instances":[1]}]"#, "invalid JSON at byte 17: expected the end of the text, got ']'"),
        (
            r#"{"instances":[NaN]}"#,
            "invalid JSON at byte 14: expected a number, a bool, a string or null, got NaN, which JSON lacks: a missing value is null (in instances[0])",
        ),
        (r#"{"instances":[[1,2],[3,1e999]]}"#, "instances[1][1]: 1e999 does not fit FP64"),
        (r#"{"instances":[[1.5,2],[3,1e999]]}"#, "instances[1][1]: 1e999 does not fit FP64"),
        (
            r#"{"instances":[[1,2],[3,4],[5]]}"#,
            "instances[2]: has length 1, but those before it have length 2",
        ),
        (
            r#"{"instances":[[[1],[2]],[[3],[4,5]]]}"#,
            "instances[1][1]: has length 2, but those before it have length 1",
        ),
        (r#"{"instances":[[1],2]}"#, "instances[1]: 2 where the values before it are lists"),
        (r#"{"instances":[1,[2]]}"#, "instances[1]: a list where the values before it are scalars"),
        (r#"{"instances":[[],[[]]]}"#, "instances[1]: has length 1, but those before it have length 0"),
        (r#"{"instances":[[[]],[1]]}"#, "instances[1][0]: 1 where the values before it are lists"),
        (r#"{"instances":["a",1]}"#, "instances[1]: a number where the values before it are strings"),
        (r#"{"instances":["a",true]}"#, "instances[1]: a bool where the values before it are strings"),
        (r#"{"instances":[1,"a"]}"#, "instances[1]: a string where the values before it are numbers"),
        (
            r#"{"instances":[[[1],["a"]]]}"#,
            "instances[0][1][0]: a string where the values before it are numbers",
        ),
        (
            r#"{"instances":[[1.5,2],[null,"x"]]}"#,
            "instances[1][1]: a string where the values before it are numbers",
        ),
        (r#"{"instances":[["a",1],["b"]]}"#, "instances[1]: has length 1, but those before it have length 2"),
        (
            r#"{"instances":[["a",1],["b",2,3]]}"#,
            "instances[1]: has length 3, but those before it have length 2",
        ),
        (r#"{"instances":[{"a":1},{"b":1}]}"#, "instances[0]: column \"b\" is missing (row 1 has it)"),
        (
            r#"{"instances":[{"a":1,"age":2},{"a":1,"age":2},{"a":1}]}"#,
            "instances[2]: column \"age\" is missing",
        ),
        (r#"{"instances":[{"a":1},5]}"#, "instances[1]: expected an object, as the rows before it, got 5"),
        (
            r#"{"instances":[5,{"a":1}]}"#,
            "instances[1]: expected a number, a bool, a string or null, got an object",
        ),
        (r#"{"instances":[{"a":1,"a":2}]}"#, "instances[0].a: given twice"),
        (r#"{"instances":[{}]}"#, "instances[0]: has no columns"),
        (
            r#"{"instances":[{"a":1},{"a":"x"}]}"#,
            "instances[1].a: a string where the values before it are numbers",
        ),
        (
            r#"{"instances":[{"a":"x"},{"a":1}]}"#,
            "instances[1].a: a number where the values before it are strings",
        ),
        (
            r#"{"instances":[{"a":[1,2]},{"a":[1]}]}"#,
            "instances[1].a: has length 1, but those before it have length 2",
        ),
        (
            r#"{"instances":[{"a":1,"b":{"c":1}}]}"#,
            "instances[0].b: expected a number, a bool, a string or null, got an object",
        ),
        (
            r#"{"instances":[1],"parameters":{"a":{}}}"#,
            "parameters.a: expected a bool, a number or a string, got an object",
        ),
    ];
    for (body, message) in cases {
        assert_eq!(decode(body).expect_err(body), message, "{body}");
    }
    let deep = format!("{{\"instances\":{}", "[".repeat(1_000_000));
    assert!(decode(&deep).unwrap_err().ends_with("JSON nests deeper than 64 levels (byte 76)"));
}

#[test]
fn columns_are_limited_as_tensors_are() {
    let limits = Limits { tensors: 2, ..Limits::default() };
    let decode = |body: &'static str| v1::decode(&Bytes::from(body), &limits).map_err(|error| error.message);
    assert!(decode(r#"{"instances":[{"a":1,"b":2}]}"#).is_ok());
    assert!(decode(r#"{"instances":[["a",1]]}"#).is_ok());
    assert!(decode(r#"{"instances":[["a","b","c"]]}"#).is_ok());
    let error = "instances[0]: has more than 2 columns, the limit of this server";
    assert_eq!(decode(r#"{"instances":[{"a":1,"b":2,"c":3}]}"#).unwrap_err(), error);
    assert_eq!(decode(r#"{"instances":[["a",1,2]]}"#).unwrap_err(), error);
    let error = "inputs: has more than 2 columns, the limit of this server";
    assert_eq!(decode(r#"{"inputs":{"a":1,"b":2,"c":3}}"#).unwrap_err(), error);
}

fn named(name: &str, rows: &str) -> Tensor {
    let mut tensor = decode(&format!(r#"{{"inputs":{{"{name}":{rows}}}}}"#)).unwrap().inputs.remove(0);
    name.clone_into(&mut tensor.name);
    tensor
}

#[test]
fn tensors_become_rows() {
    assert_eq!(encode(vec![named("y", "[[1,2],[3,4]]")]), json!({"predictions": [[1, 2], [3, 4]]}));
    assert_eq!(encode(vec![named("y", "[[[1.5],[null]]]")]), json!({"predictions": [[[1.5], [null]]]}));
    assert_eq!(encode(vec![named("y", r#"["a",null,""]"#)]), json!({"predictions": ["a", null, ""]}));
    assert_eq!(encode(vec![named("y", "[true,false]")]), json!({"predictions": [true, false]}));
    assert_eq!(encode(vec![named("y", "7")]), json!({"predictions": 7}));
    assert_eq!(encode(vec![named("y", "[]")]), json!({"predictions": []}));
    assert_eq!(encode(vec![named("y", "[[],[]]")]), json!({"predictions": [[], []]}));
    let several = vec![named("label", r#"["a","b"]"#), named("score", "[[0.5,1],[0,1.5]]")];
    assert_eq!(
        encode(several),
        json!({"predictions": [{"label": "a", "score": [0.5, 1.0]}, {"label": "b", "score": [0.0, 1.5]}]})
    );
    let uneven = vec![named("label", r#"["a"]"#), named("score", "[[1],[2]]")];
    assert_eq!(encode(uneven), json!({"predictions": {"label": ["a"], "score": [[1], [2]]}}));
    let scalars = vec![named("a", "1"), named("b", "2")];
    assert_eq!(encode(scalars), json!({"predictions": {"a": 1, "b": 2}}));
    let none = vec![named("a", "[]"), named("b", "[]")];
    assert_eq!(encode(none), json!({"predictions": []}));
}

#[test]
fn answers_that_cannot_be_written_are_the_model_s_fault() {
    let error = v1::encode(&InferResponse::default()).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Model, "the model returned no output"));
    let mut vast = named("y", "[]");
    vast.shape = vec![1_000_000_000, 0];
    let error = v1::encode(&InferResponse { outputs: vec![vast], ..InferResponse::default() }).unwrap_err();
    assert_eq!(error.message, "output \"y\": shape [1000000000, 0] is too large for V1");
}

/// Values nested evenly, all of one kind.
fn any_rows() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!([1, -5, 0, 9_007_199_254_740_993_i64])),
        Just(json!([0.5, -1.25, 1e-9, 3.0])),
        Just(json!(["a", "ä\n", "", "\u{1f600}"])),
        Just(json!([true, false, false, true])),
    ];
    (leaf, proptest::collection::vec(1_usize..4, 1..4)).prop_map(|(values, shape)| {
        fn fill(values: &[Value], shape: &[usize], next: &mut usize) -> Value {
            let Some((axis, inner)) = shape.split_first() else {
                *next += 1;
                return values[*next % values.len()].clone();
            };
            (0..*axis).map(|_| fill(values, inner, next)).collect()
        }
        fill(values.as_array().unwrap(), &shape, &mut 0)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body: Vec<u8>) {
        let _ = v1::decode(&body.into(), &Limits::default());
    }

    #[test]
    fn broken_requests_are_answered(at: prop::sample::Index, byte: u8, which in 0_usize..6) {
        let rows = [
            "[[1.5,-2],[3e1,4]]", r#"[{"a":1,"b":"x"},{"b":"y","a":[1]}]"#,
            r#"[["a",1,null],["b\u00e4",2,true]]"#, r#"{"a":[[1],[2]],"b":["x"]}"#,
            r#"[[{"a":1},{"b":"x"}],[{"a":2.5}]]"#, r#"[{"a":{"0":1,"x":2},"b":{"0":"x","x":null}}]"#,
        ][which];
        let mut body = format!(r#"{{"inputs":{rows},"id":5,"parameters":{{"x":1.5}}}}"#).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok(request) = v1::decode(&body.into(), &Limits::default()) {
            let response = InferResponse { outputs: request.inputs, ..InferResponse::default() };
            let text = v1::encode(&response).unwrap();
            let _: Value = serde_json::from_slice(&text).unwrap();
        }
    }

    /// Rows in lists, columns by label and plain objects are three ways to write one table.
    #[test]
    fn the_forms_of_a_table_agree(
        table in prop::collection::vec((any::<i32>(), -1e9..1e9_f64, "[a-z]{0,3}", any::<bool>()), 1..9),
        cut: prop::sample::Index,
    ) {
        let rows: Vec<Value> =
            table.iter().map(|(a, b, c, d)| json!({"a": a, "b": b, "c": c, "d": d})).collect();
        let cut = cut.index(rows.len());
        let labelled = |rows: &[Value]| -> Value {
            ["a", "b", "c", "d"].iter().map(|name| {
                let cells = rows.iter().enumerate();
                let cells: serde_json::Map<_, _> =
                    cells.map(|(index, row)| (index.to_string(), row[name].clone())).collect();
                ((*name).to_owned(), Value::Object(cells))
            }).collect::<serde_json::Map<_, _>>().into()
        };
        let plain = decode(&json!({"instances": rows}).to_string()).unwrap();
        let nested = json!({"instances": [rows[..=cut], rows[cut + 1..]]});
        prop_assert_eq!(&decode(&nested.to_string()).unwrap(), &plain);
        prop_assert_eq!(&decode(&json!({"instances": [labelled(&rows)]}).to_string()).unwrap(), &plain);
    }

    #[test]
    fn reading_and_writing_back_is_the_identity(rows in any_rows()) {
        let request = decode(&json!({"instances": rows}).to_string()).unwrap();
        prop_assert_eq!(encode(request.inputs), json!({"predictions": rows}));
    }

    #[test]
    fn rows_of_objects_come_back(rows in proptest::collection::vec((any::<i64>(), ".{0,5}", any::<bool>()), 2..6)) {
        let rows: Vec<_> = rows.iter().map(|(a, b, c)| json!({"a": a, "b": b, "c": [c, c]})).collect();
        let request = decode(&json!({"instances": rows}).to_string()).unwrap();
        prop_assert_eq!(encode(request.inputs), json!({"predictions": rows}));
    }
}
