"""Columns of categories: encoders as look-ups, value by value."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from modelport.runtimes.shortcut.form import (
    NUMERIC,
    NotCovered,
    is_finite,
    makes_arrays,
    require,
    require_nan_as_missing,
)


class Category(NamedTuple):
    """What an encoder does with one column."""

    codes: Mapping[object, float]
    """The place of a value's 1 among the encoded columns, -1 where it has none; or the value's code itself."""
    unknown: float | None
    """The same for values that are not in `codes`; None where they are refused."""
    fill: object
    """What an imputer before the encoder puts in place of a missing value; None where there is none."""
    width: int
    """How many columns it becomes."""
    is_text: bool
    is_hot: bool
    """Whether `codes` are places of a 1."""

    def values(self, nulls: bool) -> list[object]:
        """Values to try it with; `nulls` as below."""
        if self.fill is None or (self.is_text and not nulls):
            return list(self.codes)
        return [*self.codes, None if self.is_text else float("nan")]

    def looked_up(self, column: Any, nulls: bool) -> list[float]:
        """The codes of a column `[rows]`. `nulls`: None among text is a missing value."""
        if self.is_text != (column.dtype == object):
            raise NotCovered
        if not self.is_text and (
            column.dtype not in NUMERIC or (self.fill is None and not is_finite(column))
        ):
            raise NotCovered
        codes = self.codes
        found: list[float] = []
        for value in column.tolist():
            code = codes.get(value)
            found.append(self._other(value, nulls) if code is None else code)
        return found

    def _other(self, value: Any, nulls: bool) -> float:
        if value is None or value != value:
            if self.fill is None or (self.is_text and not nulls):
                raise NotCovered
            code = self.codes.get(self.fill, self.unknown)
        else:
            strange = not isinstance(value, str) if self.is_text else value - value != 0  # infinity
            code = None if strange else self.unknown
        if code is None:
            raise NotCovered
        return code


def one_hot(model: Any, fills: list[object]) -> list[Category]:
    """OneHotEncoder, as it was fitted to several columns."""
    _usual(model)
    grouped = model._drop_idx_after_grouping
    dropped: list[Any] = [None] * len(fills) if grouped is None else list(grouped)
    # Where categories are dropped, unknown ones are warned of.
    unknown = -1.0 if model.handle_unknown == "ignore" and model.drop is None else None
    require(model.handle_unknown in ("error", "ignore"))
    categories: list[Category] = []
    for values, drop, width, fill in zip(
        model.categories_, dropped, model._n_features_outs, fills, strict=True
    ):
        codes = {
            value: -1.0 if code == drop else float(code - (drop is not None and code > drop))
            for code, value in enumerate(values.tolist())
        }
        categories.append(_category(codes, unknown, fill, int(width), is_hot=True))
    return categories


def ordinal(model: Any, fills: list[object]) -> list[Category]:
    """OrdinalEncoder, as it was fitted to several columns."""
    _usual(model)
    require(not model._missing_indices)
    unknown = None
    if model.handle_unknown != "error":
        require(model.handle_unknown == "use_encoded_value")
        unknown = float(model.unknown_value)
    return [
        _category(
            {value: float(code) for code, value in enumerate(values.tolist())}, unknown, fill, 1, is_hot=False
        )
        for values, fill in zip(model.categories_, fills, strict=True)
    ]


def fills_of(imputer: Any) -> list[object]:
    """What SimpleImputer puts in place of missing values, a column each."""
    require_nan_as_missing(imputer)
    fills: list[object] = list(imputer.statistics_.tolist())
    require(all(fill is not None and fill == fill for fill in fills))
    # A number that is given may not fit a column's dtype: scikit-learn refuses that.
    require(imputer.strategy != "constant" or all(isinstance(fill, str) for fill in fills))
    return fills


def _usual(model: Any) -> None:
    require(model.dtype is np.float64 and not model._infrequent_enabled)
    require(makes_arrays(model))


def _category(
    codes: dict[object, float], unknown: float | None, fill: object, width: int, *, is_hot: bool
) -> Category:
    kinds = {type(value) for value in codes}
    require(codes and all(value == value for value in codes) and (kinds == {str} or kinds <= {int, float}))
    require(fill is None or isinstance(fill, str) == (kinds == {str}))
    return Category(codes, unknown, fill, width, kinds == {str}, is_hot)
