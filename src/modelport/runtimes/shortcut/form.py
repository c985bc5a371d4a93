"""What shortcuts are made of: functions of rows, and the checks that they share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np

from modelport.protocol.datatype import Array
from modelport.runtimes.framework import framework

Function = Callable[[Any], Any]
"""A method as a function. It takes a matrix `[rows, columns]` of numbers, or the table's columns by name or position
(`Columns`), never changes them, and raises NotCovered for rows that it does not answer."""


class NotCovered(Exception):
    """These rows are for the estimator's own method, which answers or refuses them."""


class Unusual(Exception):
    """The estimator has no shortcut: it is of another type, or not as that type usually is."""


class Columns(NamedTuple):
    """What a function that takes columns wants to be given."""

    wanted: Mapping[str | int, Sequence[object] | None]
    """By name or position; the values that a column of categories may have, None for numbers."""


PROOF_ROWS: Final = 33


class Made(NamedTuple):
    """A shortcut for an estimator."""

    methods: Mapping[str, Function]
    """By the names of the estimator's methods: `predict`, `predict_proba`, `transform`."""
    width: int
    """How many columns a row has."""
    columns: Columns | None = None
    """None: the functions take a matrix."""
    excerpt: Excerpt | None = None
    """What to prove it by where the estimator's own methods call every tree; None: the estimator itself."""
    proof_rows: int = PROOF_ROWS
    """How many rows the largest table of a proof has."""


class Excerpt(NamedTuple):
    """A proof in two steps for an estimator of many trees, a call of whose own methods takes milliseconds.

    What scikit-learn does around and between the trees is seen of few of them: its own methods of `model` answer as
    `methods` do. These are made as those of the shortcut are, but for the sum over the trees, which is made in a plain
    way, a tree at a time. What is new with the others is the sum: `is_sum_proven` compares both ways to it, of all trees.
    """

    model: Any
    """A copy of the estimator that has few of its trees."""
    methods: Mapping[str, Function]
    is_sum_proven: Callable[[], bool]
    """Raises nothing."""

    def within(self, model: Any, before: Callable[[Function], Function]) -> Excerpt:
        """The same where the estimator is the last part of another, of which `model` is a copy with the copy in it."""
        return Excerpt(
            model, {name: before(method) for name, method in self.methods.items()}, self.is_sum_proven
        )


NUMBERS: Final = frozenset(
    np.dtype(name) for name in ("f8", "f4", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1")
)
"""What a matrix may hold; FP16 and BOOL are rare, and each estimator treats them in its own way."""

NUMERIC: Final = (np.dtype(np.float64), np.dtype(np.int64))
"""What a column of numbers holds that comes by name."""

FLOATS: Final = frozenset((np.dtype(np.float64), np.dtype(np.float32)))


def version() -> tuple[int, ...]:
    """Of scikit-learn, such as (1, 9)."""
    text: str = framework("sklearn", "sklearn").__version__
    return tuple(map(int, text.split(".")[:2]))


def require(usual: object) -> None:
    """Raises Unusual unless something is as it usually is."""
    if not usual:
        raise Unusual


class Scratch(threading.local):
    """Memory that a thread uses again: to ask the system for a megabyte a call may take longer than all the rest."""

    def __init__(self) -> None:
        self._memory = np.empty(0)

    def floats(self, count: int) -> Any:
        """So many FP64 numbers of any value, until the next call."""
        if len(self._memory) < count:
            self._memory = np.empty(count)
        return self._memory[:count]


def in_parts(function: Callable[[Any], Any], most_rows: int) -> Callable[[Any], Any]:
    """The function, given so many rows at a time at most: what it makes for them ought to fit the processor's cache."""

    def run(x: Any) -> Any:
        if len(x) <= most_rows:
            return function(x)
        return np.concatenate(
            [function(x[start : start + most_rows]) for start in range(0, len(x), most_rows)]
        )

    return run


def altered(model: Any, **attributes: Any) -> Any:
    """A copy of an estimator, which shares all but these attributes with it."""
    copied: Any = object.__new__(cast("type[Any]", type(model)))
    copied.__dict__.update(model.__dict__, **attributes)
    return copied


def few_of(trees: Sequence[Any]) -> list[Any]:
    """The first, the middle and the last of more: three numbers tell in which order they were added."""
    return [trees[0], trees[len(trees) // 2], trees[-1]]


def makes_arrays(model: Any) -> bool:
    """Whether a transformer gives arrays, and has not been told by `set_output` to give frames."""
    return getattr(model, "_sklearn_output_config", {}).get("transform", "default") == "default"


def is_finite(x: Any) -> bool:
    """Whether no number is NaN or infinite."""
    if x.dtype.kind != "f":
        return True
    # The sum of squares is the fastest to see, and overflows at times.
    squares = cast("float", np.vdot(x, x))
    return math.isfinite(squares) or bool(np.isfinite(x).all())


def require_nan_as_missing(imputer: Any) -> None:
    """A SimpleImputer that puts values in place of NaN, and adds no columns."""
    require(not imputer.add_indicator and isinstance(imputer.missing_values, float))
    require(imputer.missing_values != imputer.missing_values)


def need_finite(x: Array) -> None:
    """For estimators that refuse NaN and infinity."""
    if not is_finite(x):
        raise NotCovered


def need_no_infinity(x: Array) -> None:
    """For estimators that take NaN, and refuse infinity."""
    if not is_finite(x) and np.isinf(x).any():
        raise NotCovered


def floats(x: Array) -> Array:
    """A copy of the same layout, as scikit-learn makes it: FP32 stays, integers become FP64."""
    return x.astype(x.dtype if x.dtype in FLOATS else np.float64, copy=True)


def usual_array(value: Any, ndim: int) -> Any:
    """An attribute that ought to be an array of finite floats."""
    require(type(value) is np.ndarray and value.ndim == ndim and value.dtype in FLOATS)
    require(value.size and np.isfinite(value).all())
    return value


def usual_classes(model: Any) -> Any:
    """The labels `[classes]` of a classifier of one output."""
    classes = model.classes_
    require(type(classes) is np.ndarray and classes.ndim == 1 and len(classes) >= 2)
    return classes
