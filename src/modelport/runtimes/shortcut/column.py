"""ColumnTransformer: from columns by name to one matrix, without a frame in between."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut.encode import Category, fills_of, one_hot, ordinal
from modelport.runtimes.shortcut.form import (
    NUMERIC,
    Columns,
    Made,
    NotCovered,
    Unusual,
    makes_arrays,
    require,
)

Table = Mapping[str | int, Array]
"""Columns `[rows]` by name, or by position where the model was fitted without names."""
Order = Literal["C", "F"]
Block = Callable[[Table, Any], None]
"""Writes its part of a matrix, a view `[rows, width]` of zeros."""


def transformer(
    model: Any, order: Order, made_of: Callable[[Any], Made], chosen: Callable[[Any], list[int]]
) -> Made:
    """ColumnTransformer of numbers and categories, with a dense result of FP64.

    `order` is the matrix' layout: scikit-learn's follows from those of its parts, and sums depend on it. `chosen`
    gives the positions of the columns that a part takes.
    """
    require(not model.sparse_output_ and not model.transformer_weights)
    names = getattr(model, "feature_names_in_", None)
    parts: list[tuple[Block, int]] = []
    wanted: dict[str | int, Sequence[object] | None] = {}
    computes = False
    for _, part, columns in model.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        keys = [index if names is None else str(names[index]) for index in chosen(columns)]
        if not keys:
            continue
        if _is_identity(part):
            parts.append((_numbers(keys, None), len(keys)))
            wanted |= {key: wanted.get(key) for key in keys}
            continue
        computes = True
        if (categories := _categories(part)) is not None:
            require(len(categories) == len(keys))
            nulls = names is not None  # in a frame None is NaN, which imputers see
            parts.append((_encoded(keys, categories, nulls), sum(each.width for each in categories)))
            wanted |= {key: each.values(nulls) for key, each in zip(keys, categories, strict=True)}
            continue
        made = made_of(part)
        require(made.columns is None and made.width == len(keys))
        transform = made.methods["transform"]
        width = transform(np.ones((1, len(keys)))).shape[1]
        parts.append((_numbers(keys, transform), width))
        wanted |= {key: wanted.get(key) for key in keys}
    require(computes)  # else the columns keep their dtypes
    total = sum(width for _, width in parts)

    def transform_all(table: Table) -> Array:
        rows = len(next(iter(table.values())))
        matrix: Array = np.zeros((rows, total), order=order)
        start = 0
        try:
            for block, width in parts:
                block(table, matrix[:, start : start + width])
                start += width
        except KeyError:
            raise NotCovered from None  # a column was left out
        return matrix

    return Made({"transform": transform_all}, int(model.n_features_in_), Columns(wanted))


def _is_identity(part: Any) -> bool:
    if isinstance(part, str):
        return part == "passthrough"
    return (
        type(part) is framework("sklearn.preprocessing", "sklearn").FunctionTransformer
        and part.func is None
        and not part.validate
        and makes_arrays(part)
    )


def _categories(part: Any) -> list[Category] | None:
    """The columns of an encoder, or of an imputer and an encoder after it; None if it is something else."""
    steps: list[Any] = [part]
    if type(part) is framework("sklearn.pipeline", "sklearn").Pipeline:
        steps = [step for _, step in part.steps]
    own = framework("sklearn.preprocessing", "sklearn")
    makers = {own.OneHotEncoder: one_hot, own.OrdinalEncoder: ordinal}
    make = makers.get(type(steps[-1]))
    if make is None:
        return None
    if len(steps) == 1:
        return make(steps[-1], [None] * len(steps[-1].categories_))
    if len(steps) != 2 or type(steps[0]) is not framework("sklearn.impute", "sklearn").SimpleImputer:
        raise Unusual
    return make(steps[-1], fills_of(steps[0]))


def _numbers(keys: list[str | int], transform: Any) -> Block:
    def write(table: Table, out: Any) -> None:
        if transform is None:
            for position, key in enumerate(keys):
                out[:, position] = _numeric(table[key])
            return
        columns = [_numeric(table[key]) for key in keys]
        whole = all(column.dtype == np.int64 for column in columns)
        matrix = np.empty((len(out), len(keys)), np.int64 if whole else np.float64)
        for position, column in enumerate(columns):
            matrix[:, position] = column
        out[:] = transform(matrix)

    return write


def _numeric(column: Any) -> Any:
    if column.dtype not in NUMERIC:
        raise NotCovered
    return column


def _encoded(keys: list[str | int], categories: list[Category], nulls: bool) -> Block:
    def write(table: Table, out: Any) -> None:
        start = 0
        for key, category in zip(keys, categories, strict=True):
            codes = category.looked_up(table[key], nulls)
            if not category.is_hot:
                out[:, start] = codes
            else:
                for row, code in enumerate(codes):
                    if code >= 0:
                        out[row, start + int(code)] = 1.0
            start += category.width

    return write
