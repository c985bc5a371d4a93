//! What is refused, in which words, and at which limits.

use crate::{decode, one};
use modelport_dataplane::codec::v2;
use modelport_dataplane::limits::Limits;
use std::fmt::Write as _;

#[test]
fn malformed_bodies_are_refused_with_the_path() {
    let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"INT32","shape":[2]{rest}}}]}}"#);
    let cases = [
        ("", "invalid JSON at byte 0: expected an object, got the end of the text"),
        ("[]", "request body: is a list. Send {\"inputs\": [...]}"),
        ("{", "invalid JSON at byte 1: expected a key in double quotes, got the end of the text"),
        ("{'a':1}", "invalid JSON at byte 1: expected a key in double quotes, got '''"),
        ("{\"a\":}", "invalid JSON at byte 5: expected a value, got '}' (in a)"),
        ("{\"a\":1,}", "invalid JSON at byte 7: trailing comma before '}'"),
        (
            "{\"a\":NaN}",
            "invalid JSON at byte 5: expected a value, got NaN, which JSON lacks: a missing value is null (in a)",
        ),
        (
            "{\"a\":[-Infinity]}",
            "invalid JSON at byte 7: expected a number, got Infinity, which JSON lacks: send it by V2 as a binary tensor, or by gRPC (in a)",
        ),
        ("{\"a\":Name}", "invalid JSON at byte 5: expected a value, got 'N' (in a)"),
        ("{\"a\":[1,]}", "invalid JSON at byte 8: trailing comma before ']' (in a)"),
        ("{\"a\":01}", "invalid JSON at byte 5: a number must not start with 0 (in a)"),
        ("{\"a\":\"\\x\"}", "invalid JSON at byte 6: unknown escape in a string (in a)"),
        ("{\"a\":\"\\ud800\"}", "invalid JSON at byte 6: a surrogate without its pair in a string (in a)"),
        ("{\"a\":\"\u{1}\"}", "invalid JSON at byte 6: control character in a string (in a)"),
        ("{\"a\":1 \"b\":2}", "invalid JSON at byte 7: expected ',' or '}', got '\"'"),
        ("{}", "request body: \"inputs\" is missing. Send {\"inputs\": [...]}"),
        (r#"{"inputs":[]}"#, "inputs: is empty. Send one tensor at least"),
        (r#"{"inputs":{}}"#, "inputs: expected an array, got an object"),
        (r#"{"inputs":[5]}"#, "inputs[0]: expected an object, got 5"),
        (r#"{"inputs":[{}]}"#, "inputs[0]: 'name' is missing"),
        (r#"{"inputs":[{"name":"x"}]}"#, "inputs[0]: 'datatype' is missing"),
        (r#"{"inputs":[{"name":"x","datatype":"INT8"}]}"#, "inputs[0]: 'shape' is missing"),
        (r#"{"inputs":[{"name":5}]}"#, "inputs[0].name: expected a string, got 5"),
        (r#"{"inputs":[{"datatype":"FP31"}]}"#, "inputs[0].datatype: \"FP31\" is no datatype. Use one of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, BF16, FP32, FP64, BYTES"),
        (&input(""), "inputs[0]: 'data' field is missing for input 'x'"),
        (&input(r#","data":null"#), "inputs[0]: 'data' field is missing for input 'x'"),
        (&input(r#","data":5"#), "inputs[0].data: expected an array, got 5"),
        (&input(r#","data":[1,2],"data":[1,2]"#), "inputs[0].data: given twice"),
        (&input(r#","data":[1,2]}]} x"#), "invalid JSON at byte 70: expected the end of the text, got 'x'"),
        (&input(r#","data":[1,2],"parameters":{"binary_data_size":8}"#), "inputs[0]: input 'x' has both 'data' and binary_data_size. Send one of them"),
        (&input(r#","data":[1,2],"parameters":{"a":[1]}"#), "inputs[0].parameters.a: expected a bool, a number or a string, got an array"),
        (&input(r#","data":[1,2],"parameters":{"a b":null}"#), "inputs[0].parameters[\"a b\"]: expected a bool, a number or a string, got null"),
        (&input(r#","data":[1,2],"parameters":{"a":9223372036854775808}"#), "inputs[0].parameters.a: 9223372036854775808 does not fit a signed 64-bit integer"),
        (&input(r#","data":[1,2],"parameters":{"a":1,"a":2}"#), "inputs[0].parameters.a: given twice"),
        (r#"{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[1]},{"name":"x","datatype":"INT8","shape":[1],"data":[1]}]}"#, "inputs[1].name: the name \"x\" is taken by another one"),
        (r#"{"id":[]}"#, "id: expected a string, got an array"),
        (r#"{"parameters":{"binary_data_output":1}}"#, "parameters.binary_data_output: expected true or false, got 1"),
        (r#"{"outputs":[{"name":"y","parameters":{"binary_data":"yes"}}]}"#, "outputs[0].parameters.binary_data: expected true or false, got \"yes\""),
        (r#"{"outputs":[{}]}"#, "outputs[0]: 'name' is missing"),
        (r#"{"outputs":[{"name":"y"},{"name":"y"}]}"#, "outputs[1].name: the name \"y\" is taken by another one"),
    ];
    for (body, message) in cases {
        let found = decode(body).expect_err(body);
        assert_eq!(found, message, "{body}");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    let cases = [
        ("UINT8", "[3]", "[1,2,300]", "inputs[0].data[2]: 300 does not fit UINT8"),
        ("UINT8", "[1]", "[-1]", "inputs[0].data[0]: -1 does not fit UINT8"),
        ("INT32", "[2]", "[1,2147483648]", "inputs[0].data[1]: 2147483648 does not fit INT32"),
        (
            "INT64",
            "[1]",
            "[9223372036854775808]",
            "inputs[0].data[0]: 9223372036854775808 does not fit INT64",
        ),
        (
            "UINT64",
            "[1]",
            "[18446744073709551616]",
            "inputs[0].data[0]: 18446744073709551616 does not fit UINT64",
        ),
        ("UINT64", "[1]", "[1e400]", "inputs[0].data[0]: 1e400 does not fit UINT64"),
        ("INT16", "[1]", "[3.5]", "inputs[0].data[0]: 3.5 is not a whole number, which INT16 needs"),
        ("INT16", "[1]", "[1e-1]", "inputs[0].data[0]: 1e-1 is not a whole number, which INT16 needs"),
        ("INT16", "[1]", "[true]", "inputs[0].data[0]: expected a number for INT16, got true"),
        ("INT32", "[2]", "[1,null]", "inputs[0].data[1]: null, which INT32 cannot hold (input 'x')"),
        ("BOOL", "[2]", "[true,null]", "inputs[0].data[1]: null, which BOOL cannot hold (input 'x')"),
        ("BOOL", "[1]", "[2]", "inputs[0].data[0]: 2 does not fit BOOL"),
        (
            "BOOL",
            "[1]",
            "[\"true\"]",
            "inputs[0].data[0]: expected true or false for BOOL, got the string \"true\"",
        ),
        ("FP32", "[1]", "[1e39]", "inputs[0].data[0]: 1e39 does not fit FP32"),
        ("FP64", "[1]", "[-1e309]", "inputs[0].data[0]: -1e309 does not fit FP64"),
        ("FP16", "[1]", "[65520]", "inputs[0].data[0]: 65520 does not fit FP16"),
        ("BF16", "[1]", "[3.4e38]", "inputs[0].data[0]: 3.4e38 does not fit BF16"),
        ("FP32", "[1]", "[\"1.5\"]", "inputs[0].data[0]: expected a number for FP32, got the string \"1.5\""),
        ("BYTES", "[1]", "[1]", "inputs[0].data[0]: expected a string for BYTES (input 'x'), got 1"),
        ("FP32", "[3]", "[1,2]", "inputs[0].data: has 2 elements, but shape [3] needs 3"),
        ("FP32", "[2,2]", "[1]", "inputs[0].data: has 1 element, but shape [2, 2] needs 4"),
        ("FP32", "[]", "[1,2]", "inputs[0].data: has 2 elements, but shape [] needs 1"),
        ("FP32", "[2,2]", "[[1,2],[3]]", "inputs[0].data[1]: has length 1, but axis 1 of shape [2, 2] is 2"),
        (
            "FP32",
            "[2,2]",
            "[[1,2],[3,4],[5,6]]",
            "inputs[0].data: has length 3, but axis 0 of shape [2, 2] is 2",
        ),
        ("FP32", "[2,2]", "[[1,2],3]", "inputs[0].data[1]: expected an array, got 3"),
        ("FP32", "[4]", "[[1,2],[3,4]]", "inputs[0].data[0]: expected a number for FP32, got an array"),
        ("FP32", "[2,2,1]", "[[1,2],[3,4]]", "inputs[0].data[0][0]: expected an array, got 1"),
        ("INT8", "[2,2]", "[[1,2],[3,400]]", "inputs[0].data[1][1]: 400 does not fit INT8"),
        ("FP32", "[-1]", "[]", "inputs[0].shape[0]: expected a length of 0 or more, got -1"),
        ("FP32", "[2,1.5]", "[]", "inputs[0].shape[1]: expected a length of 0 or more, got 1.5"),
        ("FP32", "[1e30]", "[]", "inputs[0].shape[0]: expected a length of 0 or more, got 1e30"),
        (
            "FP32",
            "[4294967296,4294967296]",
            "[]",
            "inputs[0].shape: [4294967296, 4294967296] has too many elements",
        ),
        (
            "FP32",
            "[1000000000]",
            "[1]",
            "inputs[0].data: has 1 element, but shape [1000000000] needs 1000000000",
        ),
        ("FP32", "2", "[]", "inputs[0].shape: expected an array, got 2"),
    ];
    for (datatype, shape, data, message) in cases {
        let found = one(datatype, shape, data).expect_err(data);
        assert_eq!(found, message, "{datatype} {shape} {data}");
    }
    for data in [
        "[1,]", "[,1]", "[1 2]", "[.5]", "[1.]", "[+1]", "[1e]", "[-]", "[tru]", "[nul]", "[00]", "[0x1]",
        "[1", "[",
    ] {
        let found = one("FP32", "[1]", data).expect_err(data);
        assert!(found.starts_with("invalid JSON at byte "), "{data}: {found}");
        assert!(found.contains("inputs[0].data"), "{data}: {found}");
    }
}

#[test]
fn limits_hold_at_the_exact_value() {
    let limits = Limits { json_depth: 6, tensors: 2, ..Limits::default() };
    let decode = |body: String| v2::decode(&body.into(), None, &limits).map_err(|error| error.message);
    // Body, inputs, input and data are four levels.
    let nested = |shape: &str, data: &str| {
        format!(r#"{{"inputs":[{{"name":"x","datatype":"INT8","shape":{shape},"data":{data}}}]}}"#)
    };
    assert!(decode(nested("[1,1,1]", "[[[1]]]")).is_ok());
    let error = decode(nested("[1,1,1,1]", "[[[[1]]]]")).unwrap_err();
    assert_eq!(error, "inputs[0].data[0][0][0]: JSON nests deeper than 6 levels (byte 69)");
    let tensors = |count: usize| {
        let mut text = String::new();
        for index in 0..count {
            let comma = if index > 0 { "," } else { "" };
            write!(text, r#"{comma}{{"name":"{index}","datatype":"INT8","shape":[1],"data":[1]}}"#).unwrap();
        }
        format!(r#"{{"inputs":[{text}]}}"#)
    };
    assert!(decode(tensors(2)).is_ok());
    assert_eq!(decode(tensors(3)).unwrap_err(), "inputs: has more than 2 tensors, the limit of this server");
    let deep = format!("{{\"a\":{}", "[".repeat(1_000_000));
    assert!(decode(deep).unwrap_err().starts_with("a: JSON nests deeper than 6 levels"));
    let axes = |count: usize| nested(&format!("{:?}", vec![1; count]), "[1]");
    assert!(decode(axes(64)).is_ok());
    assert_eq!(decode(axes(65)).unwrap_err(), "inputs[0].shape: has more than 64 axes");
    // NumPy has no array of such a shape, though it has no element: the model must not be asked for it.
    assert!(decode(nested("[0, 1152921504606846975]", "[]")).is_ok());
    let empty = decode(nested("[0, 1152921504606846976]", "[]")).unwrap_err();
    assert_eq!(empty, "inputs[0].shape: [0, 1152921504606846976] has too many elements");
}
