"""The proof of a shortcut: on made-up rows it answers what the estimator's own method answers, bit for bit."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.shortcut.form import Columns

Inputs = Mapping[str, Array]
"""A table as `LoadedModel.predict` is given it."""


def matrices(width: int, most: int, *, gaps: bool) -> Iterator[Inputs]:
    """Numbers of several magnitudes and dtypes, alone and together; with `gaps` some are missing."""
    chance = np.random.default_rng(0)
    for rows, dtype in ((1, "f8"), (most, "f8"), (2, "f4"), (3, "i8")):
        magnitude = 10 ** chance.uniform(-1, 2, (rows, 1))
        yield {"": (chance.normal(0.3, 1, (rows, width)) * magnitude).astype(dtype)}
    if gaps:
        numbers = chance.normal(0, 2, (7, width))
        numbers[chance.random((7, width)) < 0.3] = np.nan
        yield {"": numbers}


def tables(names: Sequence[str], columns: Columns, *, named: bool, gaps: bool) -> Iterator[Inputs]:
    """Columns of numbers, and of categories that the estimator knows."""
    chance = np.random.default_rng(0)
    for rows in (1, 33):
        table: dict[str, Array] = {}
        for position, name in enumerate(names):
            key = name if named else position
            values = columns.wanted.get(key)
            if values is None:
                numbers = chance.normal(0.3, 1, rows) * 10 ** chance.uniform(-1, 2, rows)
                if gaps and rows > 1:
                    numbers[chance.random(rows) < 0.2] = np.nan
                table[name] = numbers if key in columns.wanted else np.full(rows, "", object)
                continue
            picked = [values[index] for index in chance.integers(0, len(values), rows)]
            table[name] = np.array(
                picked, object if any(isinstance(each, str) for each in values) else np.float64
            )
        yield table


def rows_at(columns: Any, limits: Any, width: int, *, gaps: bool = False) -> Any:
    """Rows `[33, width]` for trees that compare numbers of these columns with these limits, an element a comparison.

    Two thirds of them are at limits, taken at random, so that they reach many leaves; with `gaps` some numbers are missing.
    """
    chance = np.random.default_rng(0)
    rows = chance.normal(0.3, 1, (33, width)) * 10 ** chance.uniform(-1, 2, (33, 1))
    order = np.argsort(columns, kind="stable")
    ends = np.searchsorted(columns[order], np.arange(width + 1))
    used = np.flatnonzero(np.diff(ends))
    picked = ends[used] + chance.random((22, len(used))) * np.diff(ends)[used]
    rows[11:, used] = limits[order][picked.astype(np.intp)]
    if gaps:
        rows[::4][chance.random(rows[::4].shape) < 0.3] = np.nan
    return rows


def same_sums(plain: Callable[[Any], Any], quick: Callable[[Any], Any], rows: Any) -> bool:
    """Whether two ways to a sum over trees are equal, in memory layout too, of a row alone and of all."""
    try:
        pairs = [(plain(some), quick(some)) for some in (rows[-1:], rows)]
    except Exception:  # noqa: BLE001 - a tree or a copy is not as expected
        return False
    return all(same(one, other) and one.strides == other.strides for one, other in pairs)


def proven(own: Callable[[Inputs], Any], quick: Callable[[Inputs], Any], samples: Iterator[Inputs]) -> bool:
    """Whether both answer the same. Rows that the shortcut leaves to the estimator prove nothing; some must not.

    Raises what the estimator raises for rows that the shortcut answers.
    """
    answered = False
    for inputs in samples:
        try:
            answer = quick(inputs)
        except Exception:  # noqa: BLE001, S112 - NotCovered, or an error of a step: the estimator is asked then
            continue
        if not same(own(inputs), answer):
            return False
        answered = True
    return answered


def same(one: Any, other: Any) -> bool:
    """Whether two arrays are equal to the last bit, dtype and shape included."""
    if type(one) is not np.ndarray or type(other) is not np.ndarray:
        return False
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return one.tobytes() == other.tobytes()
