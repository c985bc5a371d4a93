"""Tensors to NumPy and back."""

import datetime

import numpy as np
import pandas as pd
import pytest

from modelport.protocol import json
from modelport.protocol.errors import InferenceError, InvalidInput
from modelport.protocol.frame import to_frame
from modelport.protocol.tensor import MOST_AXES, most_axes, to_array, to_bits, to_named, to_outputs


def test_a_buffer_is_viewed_not_copied():
    buffer = bytearray(np.arange(6, dtype="<f4").tobytes())
    array = to_array(("x", "FP32", (2, 3), buffer, None))
    array[0, 0] = 9
    assert np.frombuffer(buffer, "<f4")[0] == 9
    assert array.tolist() == [[9, 1, 2], [3, 4, 5]]


def test_more_axes_than_numpy_has_are_refused():
    """Lost otherwise: NumPy 1 has 32 of them, and a request of 33 to 64 would be the server's fault, a 500."""
    np.zeros(1).reshape((1,) * MOST_AXES)
    if MOST_AXES < 64:
        with pytest.raises(ValueError, match="dimension"):
            np.zeros(1).reshape((1,) * (MOST_AXES + 1))
    assert most_axes(16) == 16
    for datatype, data in (("FP32", bytes(4)), ("BYTES", [b"a"])):
        assert to_bits(("x", datatype, (1,) * 32, data, None), 32).ndim == 32
        with pytest.raises(InvalidInput, match=r"^inputs\.x\.shape: must have at most 32 axes, got 33 "):
            to_bits(("x", datatype, (1,) * 33, data, None), 32)


def test_bytes_and_bf16():
    assert to_array(("x", "BYTES", (2, 1), [b"a", None], [1])).tolist() == [[b"a"], [None]]
    assert to_array(("x", "BF16", (1,), bytearray(b"\x80\x3f"), None)).tolist() == [1.0]


def test_contiguous_numbers_go_as_they_are():
    array = np.zeros((2, 3), np.float32)
    ((name, datatype, shape, data),) = to_outputs({"y": array})
    assert (name, datatype, shape) == ("y", "FP32", (2, 3))
    assert data is array


@pytest.mark.parametrize(
    ("array", "datatype", "data"),
    [
        (np.arange(4.0).reshape(2, 2).T, "FP64", [0, 2, 1, 3]),
        (np.array([1, 2], ">i4"), "INT32", [1, 2]),
        (np.array(["a", "é"]), "BYTES", ["a", "é"]),
        (np.array([b"a"]), "BYTES", [b"a"]),
        (np.array(["2020-01-02", "NaT"], "datetime64[D]"), "BYTES", ["2020-01-02", None]),
        (np.array([3, "NaT"], "timedelta64[s]"), "BYTES", ["3 seconds", None]),
        (
            np.array(["a", None, float("nan"), 1, {"k": [1]}], object),
            "BYTES",
            ["a", None, None, "1", '{"k":[1]}'],
        ),
        (np.array([datetime.date(2020, 1, 2), pd.NA, pd.NaT], object), "BYTES", ["2020-01-02", None, None]),
    ],
    ids=["transposed", "big endian", "text", "bytes", "dates", "spans", "objects", "dates and NA"],
)
def test_other_arrays_are_converted(array, datatype, data):
    ((_, got, shape, given),) = to_outputs({"y": array})
    assert (got, shape) == (datatype, array.shape)
    assert (given.ravel().tolist() if isinstance(given, np.ndarray) else given) == data


def test_complex_numbers_have_no_datatype():
    with pytest.raises(InferenceError, match=r"outputs\.y: dtype: complex128 has no datatype"):
        to_outputs({"y": np.zeros(1, complex)})


@pytest.mark.parametrize(
    ("result", "names", "expected"),
    [
        (np.array([1]), (), {"output-0": [1]}),
        ([1, 2], ("label",), {"label": [1, 2]}),
        ((np.array([1]), [2]), (), {"output-0": [1], "output-1": [2]}),
        ((np.array([1]), [2]), ("a", "b"), {"a": [1], "b": [2]}),
        ({"a": [1], 5: [2]}, (), {"a": [1], "5": [2]}),
        (pd.DataFrame({"p": [1.5], "q": ["x"]}), (), {"p": [1.5], "q": ["x"]}),
        (pd.Series([1], name="p"), (), {"p": [1]}),
        (pd.Series([1]), (), {"output-0": [1]}),
        ([b"a\0"], (), {"output-0": [b"a\0"]}),
        (3.5, (), {"output-0": 3.5}),
    ],
)
def test_results_get_names(result, names, expected):
    assert {name: array.tolist() for name, array in to_named(result, names).items()} == expected


@pytest.mark.parametrize("result", [None, "text", b"bytes", [[1], [1, 2]]])
def test_what_is_no_array_is_refused(result):
    with pytest.raises(InferenceError, match=r"outputs\.output-0: "):
        to_named(result)


def test_frames_take_columns_or_a_matrix():
    text = np.array([b"a", "b"], object)
    frame = to_frame({"n": np.array([[1], [2]]), "t": text})
    assert frame.to_dict("list") == {"n": [1, 2], "t": ["a", "b"]}
    assert to_frame({"m": np.ones((2, 3))}).shape == (2, 3)
    with pytest.raises(InvalidInput, match="same number of rows"):
        to_frame({"a": np.zeros(1), "b": np.zeros(2)})
    with pytest.raises(InvalidInput, match=r"inputs\.a: must be a column"):
        to_frame({"a": np.zeros((1, 2)), "b": np.zeros(1)})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"predictions": np.array([1.5, np.nan])}, '{"predictions":[1.5,null]}'),
        ({"p": np.float32(0.5), "n": np.int64(2), "b": np.bool_(True)}, '{"p":0.5,"n":2,"b":true}'),
        ({"p": float("inf"), "t": (1, 2)}, '{"p":null,"t":[1,2]}'),
        ({"p": b"caf\xc3\xa9", "q": [b"a"]}, '{"p":"café","q":["a"]}'),
        ({"p": pd.DataFrame({"a": [1], "t": ["x"]})}, '{"p":[{"a":1,"t":"x"}]}'),
        ({"p": pd.Series([1, 2])}, '{"p":[1,2]}'),
        ({"p": [pd.Timestamp("2020-01-02"), pd.NaT, pd.NA]}, '{"p":["2020-01-02T00:00:00",null,null]}'),
        ({"p": np.array(["2020-01-02"], "datetime64[D]")}, '{"p":["2020-01-02"]}'),
        ({"p": datetime.datetime(2020, 1, 2)}, '{"p":"2020-01-02T00:00:00"}'),
        ({"p": np.array([b"a", {"k": b"b"}], object)}, '{"p":["a",{"k":"b"}]}'),
        ({1: "a", np.int64(2): "b"}, '{"1":"a","2":"b"}'),
    ],
    ids=str,
)
def test_json_takes_what_models_return(value, text):
    assert json.encode(value).decode() == text


def test_json_refuses_what_it_cannot_hold():
    with pytest.raises(InferenceError, match="not UTF-8"):
        json.encode({"p": b"\xff"})
    with pytest.raises(InferenceError, match="type object have no JSON form"):
        json.encode({"p": object()})
    loop: list = []
    loop.append(loop)
    with pytest.raises(InferenceError, match="cannot be written as JSON"):
        json.encode(loop)


def test_json_errors_have_kserves_words():
    with pytest.raises(InvalidInput, match="Unrecognized request format: "):
        json.decode(b"{")
    with pytest.raises(InvalidInput, match="Unrecognized request format: "):
        json.decode(b"[" * 100_000)


def test_numbers_within_a_dict_stay_numbers():
    """V1 has them so; as text, a client of V2 would compare "3" with 3."""
    found = np.empty(1, object)
    found[0] = {
        "count": np.int64(3),
        "share": np.float32(0.5),
        "sure": np.bool_(True),
        "box": np.array([[1, 2]]),
        "day": np.array(["2024-01-01"], "M8[D]"),
    }
    ((_, _, _, (text,)),) = to_outputs({"y": found})
    assert json.decode(text.encode()) == {
        "count": 3,
        "share": 0.5,
        "sure": True,
        "box": [[1, 2]],
        "day": ["2024-01-01"],
    }
