//! What is read.

use crate::{decode, fixed, one};
use modelport_dataplane::tensor::{Data, Param};

#[test]
fn good_values_are_read() {
    assert_eq!(fixed(&one("INT8", "[3]", "[3.0, -1e2, 0.00]").unwrap()), [3, 156, 0]);
    assert_eq!(fixed(&one("BOOL", "[4]", "[true,false,1,0.0]").unwrap()), [1, 0, 1, 0]);
    assert_eq!(fixed(&one("UINT64", "[1]", "[18446744073709551615.0]").unwrap()), u64::MAX.to_le_bytes());
    assert_eq!(
        fixed(&one("INT64", "[1]", "[9007199254740993.0]").unwrap()),
        9_007_199_254_740_993_i64.to_le_bytes()
    );
    assert_eq!(fixed(&one("FP64", "[1]", "[-0.0]").unwrap()), (-0.0_f64).to_le_bytes());
    assert_eq!(fixed(&one("FP32", "[2,0]", "[[],[]]").unwrap()), [0_u8; 0]);
    assert_eq!(fixed(&one("FP32", "[2,0]", "[]").unwrap()), [0_u8; 0]);
    assert_eq!(fixed(&one("FP32", "[]", "[1]").unwrap()), 1_f32.to_le_bytes());
    assert_eq!(fixed(&one("FP16", "[2]", "[0.5,-2]").unwrap()), [0, 0x38, 0, 0xc0]);
    assert_eq!(fixed(&one("BF16", "[1]", "[1]").unwrap()), [0x80, 0x3f]);
    for datatype in ["FP16", "BF16", "FP32", "FP64"] {
        let tensor = one(datatype, "[2,2]", "[[1,null],[null,1]]").unwrap();
        assert_eq!(tensor.nulls, [1, 2]);
    }
    let tensor = one("BYTES", "[2,2]", r#"[["a\u00e4\ud83d\ude00",null],["","\n\/"]]"#).unwrap();
    let Data::Strings(strings) = &tensor.data else { panic!() };
    let strings: Vec<_> = strings.iter().map(|element| std::str::from_utf8(element).unwrap()).collect();
    assert_eq!(strings, ["aä😀", "", "", "\n/"]);
    assert_eq!(tensor.nulls, [1]);
}

#[test]
fn buffers_are_aligned_for_their_elements() {
    for (datatype, size) in [("FP32", 4), ("FP64", 8), ("INT64", 8), ("UINT32", 4), ("FP16", 2)] {
        for count in 1..20 {
            let tensor = one(datatype, &format!("[{count}]"), &format!("{:?}", vec![1; count])).unwrap();
            assert_eq!(fixed(&tensor).as_ptr() as usize % size, 0);
        }
    }
}

#[test]
fn top_level_keys_are_read() {
    let body = r#" {"unknown":{"a":[{}]},"outputs":[{"name":"y","parameters":{"binary_data":true,"k":1}},{"name":"z"}],
        "id":1.50,"parameters":{"a":true,"b":-5,"c":1e1,"d":"s","binary_data_output":true},
        "inputs":[{"extra":null,"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{"content_type":"np"}}]} "#;
    let request = decode(body).unwrap();
    assert_eq!(request.id.as_deref(), Some("1.50"));
    assert!(request.binary_output);
    let parameters: Vec<_> = request.parameters.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(
        parameters,
        [Param::Bool(true), Param::Int(-5), Param::Double(10.0), Param::Str("s".to_owned())]
    );
    assert_eq!(request.inputs[0].parameters, [("content_type".to_owned(), Param::Str("np".to_owned()))]);
    assert_eq!(request.outputs[0].binary, Some(true));
    assert_eq!(request.outputs[0].parameters, [("k".to_owned(), Param::Int(1))]);
    assert_eq!(request.outputs[1].binary, None);
    let nothing = r#"{"id":null,"parameters":null,"outputs":null,"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":null}]}"#;
    assert_eq!(decode(nothing).unwrap().id, None);
}
