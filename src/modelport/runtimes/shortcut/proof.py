"""The proof of a shortcut: on made-up rows it answers what the estimator's own method answers, bit for bit."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.shortcut.form import Columns

Inputs = Mapping[str, Array]
"""A table as `LoadedModel.predict` is given it."""

_BATCHES: Final = ((1, "f8"), (33, "f8"), (2, "f4"), (3, "i8"))
_FEW: Final = ((2, "f8"), (3, "f4"))
"""For estimators whose own methods are slow: a thousand trees take half a second a dozen calls."""


def matrices(width: int, *, gaps: bool, heavy: bool) -> Iterator[Inputs]:
    """Numbers of several magnitudes and dtypes, alone and together; with `gaps` some are missing."""
    chance = np.random.default_rng(0)
    for rows, dtype in _FEW if heavy else _BATCHES:
        magnitude = 10 ** chance.uniform(-1, 2, (rows, 1))
        yield {"": (chance.normal(0.3, 1, (rows, width)) * magnitude).astype(dtype)}
    if gaps:
        numbers = chance.normal(0, 2, (7, width))
        numbers[chance.random((7, width)) < 0.3] = np.nan
        yield {"": numbers}


def tables(names: Sequence[str], columns: Columns, *, named: bool, gaps: bool) -> Iterator[Inputs]:
    """Columns of numbers, and of categories that the estimator knows."""
    chance = np.random.default_rng(0)
    for rows in (1, 5, 33):
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
