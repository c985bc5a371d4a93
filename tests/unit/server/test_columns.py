"""What clients send becomes the table that the model was trained on, or an error that they can act on."""

from __future__ import annotations

import timeit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.protocol.datatype import numpy_dtype
from modelport.protocol.errors import InvalidInput
from modelport.server.columns import Given, arrange, first_unusable
from modelport.server.signature import Signature, TensorSpec


def number(name, **more):
    return TensorSpec(name, "FP64", **more)


def text(name, **more):
    return TensorSpec(name, "BYTES", **more)


def table(*specs):
    return Signature(inputs=specs, kind="columns")


def values(*elements):
    return np.array(elements, object)


IRIS = table(*map(number, ("sepal_length", "sepal_width", "petal_length", "petal_width")))
NAMELESS = table(TensorSpec("input-0", "FP64", (-1, 4)))
PEOPLE = table(number("age"), text("city", categories=("Bern", "Rom")))
ROW = np.array([[5.1, 3.5, 1.4, 0.2]])


def shown(arranged):
    return {name: array.tolist() for name, array in arranged.items()}


@pytest.mark.parametrize("signature", [IRIS, NAMELESS], ids=["named", "nameless"])
@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT64", "BOOL"])
def test_a_matrix_passes_untouched(signature, datatype):
    """Lost otherwise: the common request's speed, and the precision that the client chose."""
    matrix = ROW.astype({"FP64": "f8", "FP32": "f4", "INT64": "i8", "BOOL": "?"}[datatype])
    assert arrange([Given("anything", datatype, matrix)], signature, False)[""] is matrix


def test_a_matrix_costs_next_to_nothing():
    """Lost otherwise: requests a second, for every client."""
    inputs = [Given("input-0", "FP64", ROW)]
    best = min(timeit.repeat(lambda: arrange(inputs, IRIS, False), number=2000, repeat=5)) / 2000
    assert best < 20e-6  # 0.5 µs on an idle machine


def test_columns_come_in_any_order_and_as_columns_of_one():
    """Lost otherwise: a client that sends a dictionary gets its columns mixed up."""
    arranged = arrange(
        [
            Given("petal_width", "FP64", np.array([0.2, 0.3])),
            Given("sepal_width", "INT64", np.array([[3], [4]])),
            Given("petal_length", "FP32", np.array([1, 2], "f4")),
            Given("sepal_length", "FP64", np.array([5.1, 5.2])),
        ],
        IRIS,
        False,
    )
    assert list(arranged) == [spec.name for spec in IRIS.inputs]
    assert shown(arranged)["sepal_width"] == [3, 4]
    assert shown(arranged)["petal_width"] == [0.2, 0.3]


def test_columns_named_by_position_are_taken_by_position():
    """Lost otherwise: V1 rows that mix numbers and text."""
    arranged = arrange(
        [Given("1", "BYTES", values(b"Rom")), Given("0", "INT64", np.array([41]))], PEOPLE, False
    )
    assert shown(arranged) == {"age": [41], "city": ["Rom"]}


def test_a_model_without_names_takes_named_columns_as_they_come():
    """Lost otherwise: V1 dictionaries sent to a model that was trained on an array, which KServe takes."""
    inputs = [Given(spec.name, "FP64", ROW[:, index]) for index, spec in enumerate(IRIS.inputs)]
    assert shown(arrange(inputs, NAMELESS, False)) == {"": ROW.tolist()}
    by_position = [Given(str(index), "FP64", ROW[:, index]) for index in (3, 1, 0, 2)]
    assert shown(arrange(by_position, NAMELESS, False)) == {"": ROW.tolist()}


def test_a_matrix_of_text_becomes_columns():
    """Lost otherwise: V2 clients that send a mixed table as one BYTES tensor."""
    arranged = arrange([Given("input-0", "BYTES", np.array([[b"41", b"Rom"]], object))], PEOPLE, False)
    assert shown(arranged) == {"age": [41.0], "city": ["Rom"]}
    assert arranged["city"].dtype == object


SHOPS = table(text("store", text_or_integers=True), number("spend"))


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64", "UINT64"])
@pytest.mark.parametrize("declared", ["BYTES", "INT64"])
def test_integers_stand_for_their_text(datatype, declared):
    """Lost otherwise: categories that are numbers, as store and zip codes are."""
    signature = table(TensorSpec("store", declared, text_or_integers=True), number("spend"))
    spend = Given("spend", "FP64", np.array([1.5, 2.5]))
    for store in (
        Given("store", datatype, np.array([17, 8], numpy_dtype(datatype))),
        Given("store", "BYTES", values(b"17", b"8")),
    ):
        arranged = arrange([spend, store], signature, True)
        assert shown(arranged) == {"store": ["17", "8"], "spend": [1.5, 2.5]}
        assert arranged["store"].dtype == object


def test_bools_are_zero_and_one():
    """Lost otherwise: categories that were bools in training, which CatBoost has read as numbers."""
    given = [Given("store", "BOOL", np.array([True, False])), Given("spend", "FP64", np.array([1.5, 2.5]))]
    assert shown(arrange(given, SHOPS, True))["store"] == ["1", "0"]


def test_large_integers_stay_exact():
    """Lost otherwise: account numbers, of which many round to the same float."""
    spend = Given("spend", "FP64", np.array([1.0]))
    largest = Given("store", "UINT64", np.array([2**64 - 1], np.uint64))
    assert shown(arrange([largest, spend], SHOPS, True))["store"] == ["18446744073709551615"]
    with pytest.raises(InvalidInput, match=r'row 0, column "store": takes text or integers, got 1\.80143985'):
        arrange([Given("input-0", "FP64", np.array([[2.0**54, 1.5]]))], SHOPS, True)


def test_a_matrix_may_hold_integers_as_floats():
    """Lost otherwise: V1's [[17, 1.5]], which has one datatype only."""
    matrix = np.array([[17.0, 1.5], [-8.0, 2.5]])
    arranged = arrange([Given("input-0", "FP64", matrix)], SHOPS, True)
    assert shown(arranged) == {"store": ["17", "-8"], "spend": [1.5, 2.5]}
    arranged = arrange([Given("input-0", "FP64", matrix, [3])], SHOPS, True)
    assert np.isnan(arranged["spend"][1])
    arranged = arrange([Given("input-0", "BYTES", np.array([[b"17", b"1.5"]], object))], SHOPS, True)
    assert shown(arranged) == {"store": ["17"], "spend": [1.5]}
    for wrong in (17.5, np.inf, -np.inf):
        matrix[1, 0] = wrong
        with pytest.raises(InvalidInput, match=r'row 1, column "store": takes text or integers, got'):
            arrange([Given("input-0", "FP64", matrix)], SHOPS, True)


@pytest.mark.parametrize(
    ("datatype", "sent", "example"),
    [("FP64", np.array([17.0]), "17.0"), ("BF16", np.array([0x4188], np.uint16), "17.0")],
)
def test_other_numbers_are_no_categories(datatype, sent, example):
    """Lost otherwise: the error of whoever sends what the model was not trained on."""
    given = [Given("store", datatype, sent), Given("spend", "FP64", np.array([1.0]))]
    told = rf'^inputs\[0\]\.datatype: column "store" takes text or integers, got {datatype}, such as {example}\. Send'
    with pytest.raises(InvalidInput, match=told):
        arrange(given, SHOPS, True)


@pytest.mark.parametrize("accepts_missing", [True, False])
def test_a_missing_category_is_refused(accepts_missing):
    """Lost otherwise: a null makes numbers of JSON floats, which would then be refused for that."""
    spend = Given("spend", "FP64", np.array([1.0, 2.0]))
    told = 'row 1, column "store": null, but the model takes no missing'
    for store in (
        Given("store", "FP64", np.array([17.0, np.nan]), [1]),
        Given("store", "BYTES", values(b"17", None), [1]),
    ):
        with pytest.raises(InvalidInput, match=told):
            arrange([store, spend], SHOPS, accepts_missing)
    matrix = np.array([[17.0, 1.5], [np.nan, 2.5]])
    for nulls in ([2], None):
        with pytest.raises(InvalidInput, match=told):
            arrange([Given("input-0", "FP64", matrix, nulls)], SHOPS, accepts_missing)


def test_a_model_of_one_column_takes_a_plain_list():
    """Lost otherwise: text classifiers, whose rows are strings."""
    arranged = arrange(
        [Given("input-0", "BYTES", values(b"gut", "schön".encode()))], table(text("text")), False
    )
    assert shown(arranged) == {"text": ["gut", "schön"]}


def test_columns_that_the_model_does_not_use_may_come_or_stay_away():
    """Lost otherwise: a client has to invent values for columns that training dropped."""
    signature = table(number("age"), text("id", optional=True))
    age = Given("age", "FP64", np.array([1.0]))
    assert shown(arrange([age], signature, False)) == {"age": [1.0]}
    assert shown(arrange([Given("id", "INT64", np.array([7])), age], signature, False)) == {
        "age": [1.0],
        "id": [7],
    }


def test_blanks_in_names_may_have_become_underscores():
    """Lost otherwise: LightGBM renames "sepal length" in training, and no client can know."""
    sent = [
        Given(spec.name.replace("_", " "), "FP64", ROW[:, index]) for index, spec in enumerate(IRIS.inputs)
    ]
    arranged = arrange(sent[::-1], IRIS, False)
    assert np.column_stack(list(arranged.values())).tolist() == ROW.tolist()


def test_nulls_become_nan_and_none_where_missing_values_are_taken():
    """Lost otherwise: models trained with an imputer cannot be asked about incomplete rows."""
    arranged = arrange(
        [Given("age", "INT64", np.array([41, 0]), [1]), Given("city", "BYTES", values(None, b"Rom"), [0])],
        PEOPLE,
        True,
    )
    assert arranged["age"].dtype == np.float64
    assert arranged["age"][0] == 41
    assert np.isnan(arranged["age"][1])
    assert arranged["city"].tolist() == [None, "Rom"]


def test_a_column_of_nulls_only_has_no_datatype_to_complain_about():
    """Lost otherwise: JSON's null says neither number nor text."""
    arranged = arrange(
        [Given("age", "BYTES", values(None)), Given("city", "FP64", np.zeros(1), [0])], PEOPLE, True
    )
    assert np.isnan(arranged["age"][0])
    assert arranged["city"].tolist() == [None]


def test_a_matrix_with_nulls_is_copied_not_written_to():
    """Lost otherwise: another reader of the same buffer sees our NaN."""
    matrix = ROW.copy()
    arranged = arrange([Given("x", "FP64", matrix, [2])], IRIS, True)[""]
    assert np.isnan(arranged[0, 2])
    assert matrix[0, 2] == 1.4


def test_without_a_signature_inputs_keep_their_names():
    """Lost otherwise: models that do not say what they take."""
    assert list(arrange([Given("x", "FP64", ROW)], Signature(), False)) == [""]
    arranged = arrange([Given("b", "BYTES", values(b"x")), Given("a", "FP64", ROW)], Signature(), False)
    assert shown(arranged) == {"b": ["x"], "a": ROW.tolist()}


def test_bf16_is_widened():
    """Lost otherwise: BF16 arrives as raw bits, which would be taken for large integers."""
    bits = (np.array([[1, 2, 0.5, -1]], "f4").view("u4") >> 16).astype("u2")
    assert shown(arrange([Given("x", "BF16", bits)], IRIS, False)) == {"": [[1, 2, 0.5, -1]]}


REFUSED = {
    "too few columns": (
        [Given("x", "FP64", ROW[:, :3])],
        IRIS,
        "inputs[0].shape: the model takes 4 columns, got 3 (shape [1, 3]).",
    ),
    "a row without brackets": (
        [Given("x", "FP64", ROW[0])],
        IRIS,
        (
            "inputs[0].shape: the model takes a table of 4 columns (shape [rows, 4]), got shape [4]. One row has "
            "shape [1, 4]: put it in brackets."
        ),
    ),
    "an image": (
        [Given("x", "FP64", np.zeros((1, 2, 2)))],
        IRIS,
        "inputs[0].shape: the model takes a table of 4 columns (shape [rows, 4]), got shape [1, 2, 2].",
    ),
    "a misspelt name": (
        [Given("agee", "FP64", np.ones(1)), Given("city", "BYTES", values(b"Rom"))],
        PEOPLE,
        (
            'inputs: "age" is missing, and "agee" is not a column of the model (did you mean "age"?). The model\'s '
            'columns are "age", "city".'
        ),
    ),
    "nothing but a misspelt name": (
        [Given("agee", "FP64", np.ones(1))],
        PEOPLE,
        (
            'inputs: "age", "city" are missing, and "agee" is not a column of the model (did you mean "age"?). The '
            'model\'s columns are "age", "city".'
        ),
    ),
    "a plain list of numbers": (
        [Given("input-0", "FP64", np.ones(3))],
        PEOPLE,
        "inputs[0].shape: the model takes a table of 2 columns (shape [rows, 2]), got shape [3].",
    ),
    "a missing column": (
        [Given("city", "BYTES", values(b"Rom"))],
        PEOPLE,
        'inputs: "age" is missing. The model\'s columns are "age", "city".',
    ),
    "too few positions": (
        [Given("0", "FP64", np.ones(1)), Given("1", "FP64", np.ones(1))],
        IRIS,
        "inputs: the model takes 4 columns, got 2.",
    ),
    "text for a number": (
        [Given("age", "BYTES", values(b"41")), Given("city", "BYTES", values(b"Rom"))],
        PEOPLE,
        'inputs[0].datatype: column "age" takes numbers (FP64), got BYTES, such as "41".',
    ),
    "a number for text": (
        [Given("age", "FP64", np.ones(1)), Given("city", "INT64", np.ones(1, "i8"))],
        PEOPLE,
        'inputs[1].datatype: column "city" takes text (BYTES), got INT64, such as 1.',
    ),
    "a matrix of numbers for text": (
        [Given("x", "FP64", np.ones((1, 2)))],
        PEOPLE,
        'inputs[0].datatype: column "city" takes text (BYTES), got FP64, such as 1.0.',
    ),
    "a matrix of text for numbers": (
        [Given("x", "BYTES", np.array([[b"1", b"2", b"3", b"4"]], object))],
        IRIS,
        'inputs[0].datatype: column "sepal_length" takes numbers (FP64), got BYTES, such as "1".',
    ),
    "a word in a matrix of text": (
        [Given("x", "BYTES", np.array([[b"1", b"Rom"], [b"1_0", b"Rom"]], object))],
        PEOPLE,
        'row 1, column "age": the model takes a number (FP64), got "1_0".',
    ),
    "null": (
        [Given("age", "FP64", np.ones(2)), Given("city", "BYTES", values(b"Rom", None), [1])],
        PEOPLE,
        (
            'row 1, column "city": null, but the model takes no missing values. Send a value, or train the model '
            "with an imputer before it."
        ),
    ),
    "null in a matrix": (
        [Given("x", "FP64", np.ones((3, 4)), [9, 6])],
        IRIS,
        (
            'row 1, column "petal_length": null, but the model takes no missing values. Send a value, or train the '
            "model with an imputer before it."
        ),
    ),
    "an unknown category": (
        [Given("age", "FP64", np.ones(2)), Given("city", "BYTES", values(b"Rom", b"Oslo"))],
        PEOPLE,
        'row 1, column "city": "Oslo" is not a category that the model knows. It knows "Bern", "Rom".',
    ),
    "broken text": (
        [Given("age", "FP64", np.ones(2)), Given("city", "BYTES", values(b"Rom", b"\xff"))],
        PEOPLE,
        'row 1, column "city": not valid UTF-8 (invalid start byte at byte 0). The model takes text.',
    ),
    "ragged columns": (
        [Given("age", "FP64", np.ones(2)), Given("city", "BYTES", values(b"Rom"))],
        PEOPLE,
        'inputs[1].shape: all columns must have the same number of rows, got 1 for "city" and 2 for "age".',
    ),
    "a column of rows": (
        [Given("age", "FP64", np.ones((1, 2))), Given("city", "BYTES", values(b"Rom"))],
        PEOPLE,
        'inputs[0].shape: a column has shape [rows] or [rows, 1], got [1, 2] for "age".',
    ),
}


@pytest.mark.parametrize(("inputs", "signature", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_say_where_and_why(inputs, signature, message):
    """Lost otherwise: the client sees a framework's traceback, or worse, a wrong prediction."""
    with pytest.raises(InvalidInput) as refusal:
        arrange(inputs, signature, False)
    assert str(refusal.value) == message


@given(
    kept=st.permutations(range(4)),
    rows=st.integers(0, 5),
    tall=st.booleans(),
    form=st.sampled_from(["names", "positions", "matrix"]),
)
@settings(deadline=None)
def test_every_form_of_the_same_table_arranges_alike(kept, rows, tall, form):
    """Lost otherwise: the answer depends on how the client wrote the table down."""
    matrix = np.arange(rows * 4.0).reshape(rows, 4)
    shape = (rows, 1) if tall else (rows,)
    names = [spec.name if form == "names" else str(index) for index, spec in enumerate(IRIS.inputs)]
    inputs = [Given(names[index], "FP64", matrix[:, index].reshape(shape)) for index in kept]
    if form == "matrix":
        inputs = [Given("x", "FP64", matrix)]
    arranged = arrange(inputs, IRIS, False)
    got = arranged[""] if "" in arranged else np.column_stack(list(arranged.values()))
    assert np.array_equal(got, matrix)


def test_signatures_that_come_and_go_are_not_confused():
    """Lost otherwise: a model that takes the memory of an unloaded one inherits its columns."""
    for width in range(1, 600):
        signature = table(TensorSpec("input-0", "FP64", (-1, width)))
        assert arrange([Given("x", "FP64", np.ones((1, width)))], signature, False)[""].shape == (1, width)


def test_the_first_unusable_number_is_found():
    """Lost otherwise: a NaN in a binary tensor is reported as the model's failure."""
    matrix = np.ones((2, 4))
    assert first_unusable({"": matrix}, IRIS) is None
    matrix[1, 2] = np.inf
    assert first_unusable({"": matrix}, IRIS) == 'row 1, column "petal_length": inf'
    assert first_unusable({"": matrix}, NAMELESS) == 'row 1, column "2": inf'
    assert first_unusable({"city": values("a", None)}, PEOPLE) == 'row 1, column "city": null'
