"""What `LoadedModel.predict` is given, as the matrix or data frame that a framework wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InvalidInput
from modelport.runtimes.framework import framework
from modelport.server.signature import TensorSpec


def matrix(inputs: Mapping[str, Array]) -> Array:
    """All columns as one array `[rows, columns]`: of objects where there is text, else of numbers."""
    if len(inputs) == 1:
        (array,) = inputs.values()
        return array if array.ndim > 1 else array.reshape(-1, 1)
    if any(array.ndim != 1 for array in inputs.values()):
        raise InvalidInput(
            f"inputs: the model takes one matrix or one tensor a column, got {len(inputs)} tensors of other shapes."
        )
    columns = list(inputs.values())
    if any(column.dtype == object for column in columns):
        mixed = np.empty((len(columns[0]), len(columns)), object)
        for position, column in enumerate(columns):
            mixed[:, position] = column
        return mixed
    return np.column_stack(columns)


def frame(
    inputs: Mapping[str, Array],
    names: Sequence[str],
    categories: Mapping[str, Sequence[object] | None] | None = None,
    keeps_none: frozenset[str] = frozenset(),
) -> Any:
    """All columns as a pandas DataFrame. `names` are those of a matrix' columns.

    Columns in `categories` become pandas categoricals, with those categories where they are given. A missing
    text is NaN, as pandas reads it from files, except in the columns that `keeps_none` names.
    """
    pd = framework("pandas", "sklearn")
    if len(inputs) == 1 and "" in inputs:
        data: Any = pd.DataFrame(inputs[""], columns=pd.Index(names), copy=False)
    else:
        columns: dict[str, Any] = {}
        for name, array in inputs.items():
            if array.dtype == object and name in keeps_none:
                columns[name] = pd.Series(array, dtype=object)  # else pandas 3 makes it text, with NaN
                continue
            if array.dtype == object:
                values: list[object] = array.tolist()
                array = np.array([np.nan if value is None else value for value in values], object)
            columns[name] = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
        data = pd.DataFrame(columns, copy=False)
    for name, known in (categories or {}).items():
        if name in data.columns:
            data[name] = pd.Categorical(data[name], categories=None if known is None else list(known))
    return data


def codes(inputs: Mapping[str, Array], categories: Mapping[str, Mapping[object, int]]) -> Array:
    """A matrix of numbers in which categories are their codes; NaN stands for a missing or unknown one."""
    if not categories or "" in inputs:
        return matrix(inputs)
    numbers: dict[str, Array] = {}
    for name, array in inputs.items():
        if (known := categories.get(name)) is not None:
            values: list[object] = array.ravel().tolist()
            array = np.array([known.get(value, np.nan) for value in values], np.float64)
        numbers[name] = array
    return matrix(numbers)


def shape_of(specs: Sequence[TensorSpec]) -> str:
    """A table in words, such as `4 columns (age FP64, city BYTES, height FP64, …)`."""
    if len(specs) == 1 and len(specs[0].shape) > 1:
        width = specs[0].shape[1]
        return f"{width} column{'' if width == 1 else 's'}"
    some = ", ".join(f"{spec.name} {spec.datatype}" for spec in specs[:3])
    return f"{len(specs)} column{'' if len(specs) == 1 else 's'} ({some}{', …' if len(specs) > 3 else ''})"
