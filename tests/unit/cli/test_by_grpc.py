"""`modelport predict --protocol grpc`: the tensors that a body becomes."""

from __future__ import annotations

import pytest

from modelport.cli import Mistake
from modelport.cli.by_grpc import tensors

TABLE = {"inputs": [{"name": "age", "datatype": "FP64"}, {"name": "city", "datatype": "BYTES"}]}


@pytest.mark.parametrize(
    "rows",
    [
        [[41, "Oslo"], [7, "Rom"]],
        [{"city": "Oslo", "age": 41}, {"age": 7, "city": "Rom"}],
    ],
    ids=["lists", "objects"],
)
def test_rows_become_columns(rows):
    """Lost otherwise: rows that REST takes are refused with `list indices must be integers`."""
    columns = tensors({"instances": rows}, lambda: TABLE)
    assert {name: array.tolist() for name, array in columns.items()} == {
        "age": [41.0, 7.0],
        "city": ["Oslo", "Rom"],
    }


def test_rows_for_a_model_that_does_not_say_what_it_takes():
    """Lost otherwise: a request without any tensor is sent, and the model's own error read."""
    with pytest.raises(Mistake, match="does not say what it takes") as raised:
        tensors({"instances": [[1, 2]]}, lambda: {"inputs": []})
    assert "datatype" in raised.value.hint


@pytest.mark.parametrize(
    ("row", "words"), [([41], "a row has fewer values"), ({"age": 41}, "'city' is missing")]
)
def test_a_row_that_is_too_short(row, words):
    with pytest.raises(Mistake, match=f"does not fit: {words}"):
        tensors({"instances": [row]}, lambda: TABLE)
