"""KServe's types over NumPy: what is put in comes out, by JSON and by binary."""

import json as stdlib_json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelport.protocol import json
from modelport.protocol.datatype import DATATYPES, datatype_of, numpy_dtype
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.infer import InferRequest, InferResponse
from modelport.protocol.infer_tensor import InferInput, InferOutput, RequestedOutput
from modelport.protocol.predict_input import get_predict_input, get_predict_response

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
NUMERIC = [name for name in DATATYPES if name not in ("BYTES", "BF16")]


@st.composite
def arrays(draw, datatypes=(*NUMERIC, "BYTES", "TEXT")):
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(SHAPES)
    if datatype in ("BYTES", "TEXT"):
        elements = st.binary(max_size=6) if datatype == "BYTES" else st.text('aé€😀\0 "', max_size=6)
        flat = draw(st.lists(elements, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    return draw(hnp.arrays(numpy_dtype(datatype), shape))


@st.composite
def requests(draw, datatypes):
    count = draw(st.integers(1, 3))
    inputs = []
    for index in range(count):
        array = draw(arrays(datatypes))
        tensor = InferInput(f"in-{index}", list(array.shape), datatype_of(array.dtype))
        binary = draw(st.booleans()) or tensor.datatype == "FP16"
        if any(isinstance(element, bytes) for element in array.flat):
            binary = True
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    outputs = draw(st.none() | st.just([RequestedOutput("y", {"binary_data": True})]))
    return InferRequest("m", inputs, request_id="7", parameters={"n": 1, "s": "x"}, request_outputs=outputs)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:
        encoded = [[e.encode() if isinstance(e, str) else e for e in a.ravel()] for a in (one, other)]
        return one.shape == other.shape and encoded[0] == encoded[1]
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


@given(requests((*NUMERIC, "BYTES", "TEXT")))
def test_a_request_survives_rest(request_):
    message, length = request_.to_rest()
    if length is None:
        message = stdlib_json.loads(stdlib_json.dumps(message))  # NaN and Infinity as Python writes them
        back = InferRequest.from_rest(message, "m")
    else:
        back = InferRequest.from_bytes(message.replace(b"null", b"null"), length, "m")
    assert (back.id, back.parameters, back.model_name) == ("7", {"n": 1, "s": "x"}, "m")
    assert back.request_outputs == request_.request_outputs
    for before, after in zip(request_.inputs, back.inputs, strict=True):
        assert (before.name, before.shape, before.datatype) == (after.name, after.shape, after.datatype)
        if before.is_binary or before.as_numpy().dtype.kind != "f" or length is None:
            assert same(before.as_numpy(), after.as_numpy())


@given(arrays((*NUMERIC, "BYTES")), st.booleans())
def test_a_response_survives_rest_as_binary(array, by_name):
    output = InferOutput.of_array("y", array)
    requested = [RequestedOutput("y", {"binary_data": True})] if by_name else None
    response = InferResponse("1", "m", [output], use_binary_outputs=not by_name, requested_outputs=requested)
    body, length = response.to_rest()
    back = InferResponse.from_bytes(body, length)
    assert same(back.get_output_by_name("y").as_numpy(), array)
    assert (back.id, back.model_name) == ("1", "m")


@given(arrays(("FP32", "INT64", "BOOL", "UINT8", "FP64")))
def test_data_are_a_list_only_when_asked_and_then_count(array):
    tensor = InferInput.of_array("x", array)
    assert tensor.as_numpy().base is array or tensor.as_numpy() is array
    data = tensor.data
    assert isinstance(data, list)
    if data and array.dtype == np.int64:
        data[0] = 5
        assert tensor.as_numpy().flat[0] == 5


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("BOOL", [True, False], np.array([True, False])),
        ("INT8", [[1], [-2]], np.array([1, -2], np.int8)),
        ("FP16", [1.5, 2], np.array([1.5, 2], np.float16)),
        ("BF16", [1.0, 3.140625], np.array([1.0, 3.140625], np.float32)),
        ("fp32", np.array([1, 2]), np.array([1, 2], np.float32)),
        ("BYTES", ["a", "é"], np.array(["a", "é"], object)),
        ("BYTES", [b"a\0", b"\xff"], np.array([b"a\0", b"\xff"], object)),
        ("BYTES", [["a"], ["b"]], np.array(["a", "b"], object)),
    ],
    ids=lambda value: str(value)[:12],
)
def test_as_numpy(datatype, data, expected):
    assert same(InferInput("x", [2], datatype, data).as_numpy(), expected)


def test_bf16_travels_as_binary():
    floats = np.array([1.0, -2.5, 3.14159, np.inf, np.nan], np.float32)
    tensor = InferInput("x", [5], "BF16")
    tensor.set_data_from_numpy(floats)
    body, length = InferRequest("m", [tensor]).to_rest()
    assert len(body) - length == 10
    back = InferRequest.from_bytes(body, length, "m").inputs[0].as_numpy()
    assert np.array_equal(back, np.array([1.0, -2.5, 3.140625, np.inf, np.nan], np.float32), equal_nan=True)


def test_raw_inputs_of_grpc():
    request = InferRequest(
        "m",
        [InferInput("a", [2], "INT32"), InferInput("b", [1], "BYTES")],
        raw_inputs=[np.array([1, 2], "<i4").tobytes(), b"\x02\0\0\0hi"],
        from_grpc=True,
    )
    assert request.use_binary_outputs
    assert request.inputs[0].as_numpy().tolist() == [1, 2]
    assert request.inputs[1].as_numpy().tolist() == [b"hi"]
    assert request.inputs[1].as_string() == ["hi"]
    assert request.get_input_by_name("b") is request.inputs[1]
    assert request.get_input_by_name("c") is None


def test_as_dataframe_has_a_column_an_input():
    request = InferRequest(
        "m",
        [
            InferInput("n", [2, 1], "FP32", [1.5, 2.5]),
            InferInput("city", [2], "BYTES", [b"Oslo", "Köln"]),
        ],
    )
    expected = pd.DataFrame({"n": np.array([1.5, 2.5], np.float32), "city": ["Oslo", "Köln"]})
    pd.testing.assert_frame_equal(request.as_dataframe(), expected)


MESSAGE = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: InferRequest.from_rest({}, "m"), InvalidInput, "missing required field `inputs`"),
        (
            lambda: InferRequest.from_rest({"inputs": [MESSAGE["inputs"][0] | {"shape": "1"}]}, "m"),
            InvalidInput,
            "inputs[0].shape: Expected `array`, got `str`.",
        ),
        (
            lambda: InferRequest.from_rest(
                {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}, "m"
            ),
            InvalidInput,
            "'data' field is missing for input 'x' for model 'm'",
        ),
        (lambda: InferRequest.from_bytes(b"{", 1, "m"), InvalidInput, "Unrecognized request format"),
        (lambda: InferInput("x", [1], "FP99", [1]).as_numpy(), InvalidInput, "got FP99."),
        (lambda: InferInput("x", [2, 2], "INT8", [1]).as_numpy(), InvalidInput, "does not fit 1 elements"),
        (lambda: InferInput("x", [1], "INT8", ["a"]).as_numpy(), InvalidInput, "data are not INT8 values"),
        (lambda: InferInput("x", [1], "INT8").as_numpy(), InvalidInput, "inputs.x: has no data."),
        (lambda: InferInput("x", [1], "INT8", [1]).as_string(), InvalidInput, "invalid datatype INT8"),
        (
            lambda: InferInput("x", [1], "INT8").set_data_from_numpy(np.zeros(1)),
            InferenceError,
            "got unexpected datatype FP64 from numpy array, expected INT8",
        ),
        (
            lambda: InferInput("x", [2], "FP64").set_data_from_numpy(np.zeros(1)),
            InferenceError,
            "got unexpected numpy array shape [1], expected [2]",
        ),
        (
            lambda: InferRequest("m", [InferInput("x", [1], "FP16", [1])]).to_rest(),
            InvalidInput,
            "Sending FP16 data via JSON is not supported.",
        ),
        (
            lambda: InferResponse("1", "m", [], requested_outputs=[RequestedOutput("z")]).to_rest(),
            InvalidInput,
            "Unexpected inference output 'z' for model 'm'",
        ),
        (lambda: get_predict_input({"rows": []}), InvalidInput, '"instances"'),
        (lambda: get_predict_input({"instances": 3}), InvalidInput, 'Expected "instances" to be a list'),
        (lambda: get_predict_input({"instances": [[1], [1, 2]]}), InvalidInput, "differ in length"),
        (
            lambda: get_predict_input({"instances": [{"a": 1}, 5]}),
            InvalidInput,
            "instances: the rows are no table",
        ),
        (
            lambda: get_predict_input({"inputs": [{"a": [1, 2], "b": [1]}]}),
            InvalidInput,
            "inputs: the rows are no",
        ),
        (
            lambda: get_predict_input({"instances": [{"a": {"0": 1}}, "x"]}),
            InvalidInput,
            "instances: the rows are",
        ),
    ],
)
def test_errors_say_where_and_what(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


def test_short_and_long_binary_bodies_are_refused():
    tensor = InferInput("x", [2], "INT32")
    tensor.set_data_from_numpy(np.array([1, 2], np.int32))
    body, length = InferRequest("m", [tensor]).to_rest()
    with pytest.raises(InvalidInput, match="only 7 bytes are left"):
        InferRequest.from_bytes(body[:-1], length, "m")
    with pytest.raises(InvalidInput, match="1 bytes follow the last tensor"):
        InferRequest.from_bytes(body + b"x", length, "m")


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_give_a_request_or_invalid_input(body, length):
    try:
        request = InferRequest.from_bytes(body, length, "m")
    except InvalidInput:
        return
    for tensor in request.inputs:
        try:
            tensor.as_numpy()
        except InvalidInput:
            continue


def test_predict_input_of_v1():
    assert get_predict_input({"instances": [[1, 2], [3, 4]]}).tolist() == [[1, 2], [3, 4]]
    assert get_predict_input({"inputs": []}).size == 0
    assert get_predict_input({"instances": ["a", "b"]}) == ["a", "b"]
    rows = {"instances": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}
    pd.testing.assert_frame_equal(get_predict_input(rows), pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    columns = {"instances": [{"a": [1, 2]}, {"a": [3]}]}
    assert get_predict_input(columns)["a"].tolist() == [1, 2, 3]


def test_predict_input_of_v2():
    request = InferRequest("m", [InferInput("x", [2], "BYTES", ["a", "b"])])
    assert get_predict_input(request) == ["a", "b"]
    request = InferRequest("m", [InferInput("x", [1, 2], "FP32", [1, 2])])
    assert get_predict_input(request).dtype == np.float32
    request.parameters = {"content_type": "pd"}
    assert get_predict_input(request).shape == (1, 2)


@pytest.mark.parametrize(
    ("result", "datatype", "data"),
    [
        (np.array([[1.5]]), "FP64", [1.5]),
        ([1, 2], "INT64", [1, 2]),
        (["a", "b"], "BYTES", ["a", "b"]),
        (np.array(["a"]), "BYTES", ["a"]),
    ],
)
def test_predict_response_of_v2(result, datatype, data):
    request = InferRequest("m", [], request_id="9")
    response = get_predict_response(request, result, "m")
    output = response.outputs[0]
    assert (response.id, output.name, output.datatype, output.data) == ("9", "output-0", datatype, data)


def test_predict_response_of_frames_and_v1():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    response = get_predict_response(InferRequest("m", []), frame, "m")
    assert [output.name for output in response.outputs] == ["a", "b"]
    assert response.outputs[1].data == ["x", None]
    body = json.encode(get_predict_response({}, frame, "m"))
    assert body == b'{"predictions":[{"a":1,"b":"x"},{"a":2,"b":null}]}'
    assert get_predict_response({}, np.array([1, 2]), "m") == {"predictions": [1, 2]}
