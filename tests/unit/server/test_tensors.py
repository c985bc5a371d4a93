"""Requests against a signature: what fits costs nothing, what does not is named."""

import timeit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.protocol.datatype import DATATYPES, bf16_to_fp32, numpy_dtype
from modelport.protocol.errors import InvalidInput
from modelport.server.given import Given
from modelport.server.signature import Signature, TensorSpec
from modelport.server.tensors import check


def signature(*specs: tuple[str, str, tuple[int, ...]]) -> Signature:
    return Signature(inputs=tuple(TensorSpec(*spec) for spec in specs))


def sent(name: str, datatype: str, values: object, nulls: list[int] | None = None) -> Given:
    return Given(name, datatype, np.array(values, numpy_dtype(datatype)), nulls)


MATRIX = signature(("x", "FP32", (-1, 4)))
PAIR = signature(("left", "FP32", (-1,)), ("right", "INT64", (-1,)))


def refusal(inputs: list[Given], takes: Signature, *, lenient: bool = False) -> str:
    with pytest.raises(InvalidInput) as caught:
        check(inputs, takes, lenient)
    return str(caught.value)


def test_a_single_input_may_have_any_name():
    # KServe's clients send `input-0` whatever the model calls it: they would all get a 400.
    given = sent("input-0", "FP32", [[1, 2, 3, 4]])
    assert check([given], MATRIX, lenient=False) == {"x": given.array}


def test_what_fits_is_not_copied():
    # A copy of every large image would halve the throughput.
    given = sent("x", "FP32", np.zeros((8, 4)))
    assert check([given], MATRIX, lenient=False)["x"] is given.array


def test_several_inputs_are_found_by_name_in_any_order():
    # A client that orders its JSON keys otherwise would feed the wrong inputs.
    checked = check([sent("right", "INT64", [2]), sent("left", "FP32", [1])], PAIR, lenient=False)
    assert list(checked) == ["left", "right"]
    assert checked["right"] == [2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["left"], 'inputs: missing "right". The model takes "left", "right".', id="missing"),
        pytest.param(
            ["left", "right", "up"],
            'inputs: unknown "up". The model takes "left", "right".',
            id="unknown",
        ),
        pytest.param(
            ["left", "wrong"],
            'inputs: missing "right", unknown "wrong". The model takes "left", "right".',
            id="misspelt",
        ),
        pytest.param(
            ["left", "left"], 'inputs: "left" given more than once. Send each input once.', id="twice"
        ),
        pytest.param([], 'inputs: missing "left", "right". The model takes "left", "right".', id="none"),
    ],
)
def test_wrong_names_are_told_with_the_right_ones(names: list[str], message: str):
    # Otherwise the user has to look up the metadata to find a typing error.
    assert refusal([sent(name, "FP32", [1]) for name in names], PAIR) == message


def test_a_v1_list_for_several_inputs_says_how_to_name_them():
    # `instances: [1, 2]` is all that a V1 user has seen; the names of the keys are the cure.
    message = refusal([sent("instances", "FP64", [1])], PAIR, lenient=True)
    assert (
        message == 'inputs: the model takes 2, got one. In V1, send each instance as {"left": …, "right": …}.'
    )


@pytest.mark.parametrize(
    ("datatype", "element", "got"),
    [
        ("FP32", "[1, 0]", '"a", but input "x" takes numbers (FP32)'),
        ("BYTES", "[0, 1]", '2, but input "x" takes text'),
    ],
)
def test_text_among_numbers_is_told_by_its_place(datatype: str, element: str, got: str):
    # V1's [[…], ["a", 2]] comes as columns "0" and "1", of which its sender knows nothing.
    rows = [sent("0", "BYTES", [None, "a"], nulls=None), sent("1", "INT64", [2, 3])]
    message = refusal(rows, signature(("x", datatype, (-1, 2))), lenient=True)
    assert message == f"inputs[0].data: element {element} is {got}."


@pytest.mark.parametrize(
    ("shape", "got"), [((1, 3), "[1, 3]"), ((4,), "[4]"), ((1, 4, 1), "[1, 4, 1]"), ((), "[]")]
)
def test_a_wrong_shape_names_the_field_and_both_shapes(shape: tuple[int, ...], got: str):
    # The framework's own text names neither the input nor what it wants.
    message = refusal([sent("x", "FP32", np.zeros(shape))], MATRIX)
    assert message == f'inputs[0].shape: input "x" takes [-1, 4], got {got}.'


def test_the_path_counts_inputs_as_they_were_sent():
    # With the signature's order the user would look at the wrong input.
    message = refusal([sent("right", "INT64", [1]), sent("left", "FP32", [[1]])], PAIR)
    assert message.startswith("inputs[1].shape: ")


def test_an_empty_shape_in_the_signature_takes_any():
    # ONNX models of unknown rank would refuse every request.
    takes = signature(("x", "FP32", ()))
    for shape in [(), (3,), (2, 2)]:
        assert check([sent("x", "FP32", np.zeros(shape))], takes, lenient=False)["x"].shape == shape


def test_no_signature_takes_everything():
    # Models that do not say what they take could not be served.
    inputs = [sent("a", "FP64", [1.5]), sent("b", "BYTES", [b"x"])]
    assert check(inputs, Signature(), lenient=False) == {"a": inputs[0].array, "b": inputs[1].array}


def test_no_signature_still_refuses_a_name_that_came_twice():
    # One of the two would be lost without a word.
    assert "more than once" in refusal([sent("a", "FP32", [1]), sent("a", "FP32", [2])], Signature())


@settings(max_examples=200)
@given(
    given=st.sampled_from([name for name in DATATYPES if name != "BYTES"]),
    wanted=st.sampled_from([name for name in DATATYPES if name != "BYTES"]),
    data=st.data(),
)
def test_silent_conversions_lose_nothing(given: str, wanted: str, data: st.DataObject):
    # A client would get answers for other numbers than it sent.
    dtype = numpy_dtype(given)
    bits = data.draw(st.binary(min_size=8 * dtype.itemsize, max_size=8 * dtype.itemsize))
    array = np.frombuffer(bits, dtype) if given != "BOOL" else np.frombuffer(bits, np.uint8) % 2 == 1
    try:
        checked = check([Given("x", given, array, None)], signature(("x", wanted, (-1,))), lenient=False)["x"]
    except InvalidInput:
        return
    before = bf16_to_fp32(array) if given == "BF16" else array
    after = bf16_to_fp32(checked) if wanted == "BF16" else checked
    assert checked.dtype == numpy_dtype(wanted)
    for one, other in zip(before.tolist(), after.tolist(), strict=True):
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("FP64", "FP32"), ("INT64", "INT32"), ("INT64", "FP64"), ("FP32", "INT32"), ("INT8", "UINT8")],
)
def test_v2_says_which_datatype_to_send(given: str, wanted: str):
    # V2 has datatypes: casting silently would hide a client's mistake.
    message = refusal([sent("x", given, [1])], signature(("x", wanted, (-1,))))
    assert message == f'inputs[0].datatype: input "x" takes {wanted}, got {given}.'


def test_bf16_becomes_fp32_where_the_model_wants_it():
    # BF16 comes as bare bits; taken for numbers they would be nonsense, such as 16256 for 1.0.
    bits = Given("x", "BF16", np.array([0x3F80, 0xC000, 0x7F80], np.uint16), None)
    for takes in (signature(("x", "FP32", (-1,))), Signature()):
        checked = check([bits], takes, lenient=False)["x"]
        assert checked.dtype == np.float32
        assert checked.tolist() == [1.0, -2.0, float("inf")]


def test_bf16_stays_bits_for_a_model_that_takes_bf16():
    # It would be converted twice, and copied.
    bits = Given("x", "BF16", np.array([0x3F80], np.uint16), None)
    assert check([bits], signature(("x", "BF16", (-1,))), lenient=False)["x"] is bits.array


@pytest.mark.parametrize("wanted", [name for name in DATATYPES if name not in ("BYTES", "BOOL", "BF16")])
@pytest.mark.parametrize("given", ["INT64", "FP64"])
def test_v1_numbers_become_what_the_model_takes(given: str, wanted: str):
    # JSON gives INT64 or FP64 only: `"instances": [[1, 2]]` would fail for nearly every ONNX model.
    checked = check([sent("x", given, [[1, 2]])], signature(("x", wanted, (-1, 2))), lenient=True)["x"]
    assert checked.dtype == numpy_dtype(wanted)
    assert checked.tolist() == [[1, 2]]


def test_v1_numbers_become_bf16_rounded_to_the_nearest():
    # Cutting the lower bits would bias every weight and input towards zero.
    checked = check(
        [sent("x", "FP64", [1.0, 1.00390625, 1.01171875, float("nan")])],
        signature(("x", "BF16", (-1,))),
        lenient=True,
    )["x"]
    assert bf16_to_fp32(checked)[:3].tolist() == [1.0, 1.0, 1.015625]
    assert np.isnan(bf16_to_fp32(checked)[3])


@pytest.mark.parametrize(
    ("given", "values", "wanted", "got"),
    [
        pytest.param("INT64", [[1, 2**31]], "INT32", "2147483648", id="int too large"),
        pytest.param("INT64", [[1, -1]], "UINT8", "-1", id="negative"),
        pytest.param("INT64", [[1, -(2**63)]], "UINT64", str(-(2**63)), id="negative for the widest"),
        pytest.param("FP64", [[1.0, 2.5]], "INT64", "2.5", id="fraction"),
        pytest.param("FP64", [[1.0, 2.0**63]], "INT64", "9.223372036854775e+18", id="just past INT64"),
        pytest.param("FP64", [[1.0, float("nan")]], "INT64", "nan", id="nan"),
        pytest.param("FP64", [[1.0, 1e300]], "FP32", "1e+300", id="float too large"),
        pytest.param("FP64", [[1.0, 1e39]], "BF16", "1e+39", id="too large for BF16"),
        pytest.param("INT64", [[1, 70000]], "FP16", "70000", id="too large for FP16"),
        pytest.param("INT64", [[1, 2]], "BOOL", "2", id="no bool"),
    ],
)
def test_a_v1_number_that_does_not_fit_is_named(given: str, values: object, wanted: str, got: str):
    # It would wrap around or become infinite, and the prediction would be wrong without a word.
    message = refusal([sent("x", given, values)], signature(("x", wanted, (-1, 2))), lenient=True)
    assert message.startswith(f'inputs[0].data: element [0, 1] of input "x" is {got[:12]}')
    assert wanted in message


def test_infinity_is_a_float_in_any_width():
    # A model that takes infinities would refuse them from V1 clients.
    checked = check([sent("x", "FP64", [float("inf")])], signature(("x", "FP32", (-1,))), lenient=True)
    assert np.isposinf(checked["x"])[0]


def test_a_v1_list_fills_a_column():
    # skl2onnx declares a table's columns as [-1, 1]; `{"age": 5}` gives [rows].
    takes = signature(("age", "FP32", (-1, 1)), ("city", "BYTES", (-1, 1)))
    inputs = [sent("age", "INT64", [5, 6]), sent("city", "BYTES", ["Rome", "Oslo"])]
    checked = check(inputs, takes, lenient=True)
    assert checked["age"].tolist() == [[5.0], [6.0]]
    assert checked["city"].tolist() == [["Rome"], ["Oslo"]]


@pytest.mark.parametrize(
    ("lenient", "message"),
    [
        (False, 'inputs[0].datatype: input "x" takes FP32, got BYTES.'),
        (True, 'inputs[0]: input "x" takes numbers (FP32), got text, such as "5.1".'),
    ],
)
def test_text_for_numbers_is_refused(lenient: bool, message: str):
    # "5.1" in quotes is a client's mistake; converting it would hide a column that holds anything.
    assert refusal([sent("x", "BYTES", [["5.1"] * 4])], MATRIX, lenient=lenient) == message


def test_numbers_for_text_are_refused():
    # 5 and 5.0 would become different texts.
    message = refusal([sent("x", "INT64", [5])], signature(("x", "BYTES", (-1,))), lenient=True)
    assert message == 'inputs[0]: input "x" takes text, got numbers, such as 5.'


@pytest.mark.parametrize("lenient", [False, True])
def test_a_null_is_refused_with_its_position(lenient: bool):
    # A network would answer NaN for the whole row, with status 200.
    given = sent("x", "FP32", np.zeros((2, 4)), nulls=[6])
    message = refusal([given], MATRIX, lenient=lenient)
    where = "inputs[0].data: element [1, 2]"
    assert message == f'{where} of input "x" is null. Send a value: the model takes no missing ones.'


def test_a_null_passes_where_missing_values_are_meant():
    # Models that know missing values could not be told of one.
    given = sent("x", "FP64", [[1, float("nan"), 3, 4]], nulls=[1])
    checked = check([given], MATRIX, lenient=True, accepts_missing=True)["x"]
    assert np.isnan(checked[0, 1])


def test_zero_rows_are_a_request_like_any_other():
    # An empty page of a client's table would crash the check.
    for datatype in ("FP32", "FP64", "INT64"):
        assert check([sent("x", datatype, np.zeros((0, 4)))], MATRIX, lenient=True)["x"].shape == (0, 4)
    assert "takes numbers" in refusal([sent("x", "BYTES", np.zeros((0, 4)))], MATRIX, lenient=True)


def test_a_matching_input_costs_next_to_nothing():
    # It is paid by every request of the fastest models. 3 µs is the goal; the bound is lax for busy machines.
    inputs = [sent("input-0", "FP32", [[1, 2, 3, 4]])]
    best = min(timeit.repeat(lambda: check(inputs, MATRIX, lenient=False), number=1000, repeat=20))
    assert best / 1000 < 20e-6
