"""What a fitted scikit-learn estimator says of itself: its columns, what it does with missing values.

Nothing here predicts. Estimators are untyped, and those of other libraries and of users are among them: what
cannot be told is said to be unknown, never guessed.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false, reportPrivateUsage=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from modelport.protocol.datatype import datatype_of
from modelport.runtimes.structure import front_of, is_native, kind_of, parts_of, tag_of, walk


class Column(NamedTuple):
    """What is known of a column: `datatype` is empty where nothing is."""

    datatype: str
    categories: tuple[Any, ...] | None = None
    """The values that it may take, where others are refused."""
    optional: bool = False
    """Whether nothing uses it."""
    dtype_category: bool = False
    """Whether it must be a pandas categorical."""
    none: bool = False
    """Whether the model knows None, and not NaN, as the missing value."""
    text_or_integers: bool = False
    """Whether it takes integers for the text that they are written with."""


_NUMBER: Final = Column("FP64")
_UNKNOWN: Final = Column("")
_UNUSED: Final = Column("BYTES", optional=True)

Fate = Literal["refuses", "passes", "absorbs"]


def takes_documents(estimator: Any) -> bool:
    """Whether rows are texts, not tables."""
    for part in front_of(estimator):
        if is_native(part):
            tag = tag_of(part, "string")
            return bool(tag) and not tag_of(part, "two_d_array")
    return False


def takes_dicts(estimator: Any) -> bool:
    """Whether rows are dicts of any keys, as DictVectorizer takes them."""
    return any(is_native(part) and tag_of(part, "dict") for part in front_of(estimator))


def names_of(estimator: Any) -> list[str] | None:
    """The columns that it was fitted on, if they had names."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:  # older wrappers have names of their own, and nothing to tell that they were made up
        front = list(front_of(estimator))
        if len(front) != 1:
            return None
        names = getattr(front[0], "feature_name_", None) or getattr(front[0], "feature_names_", None)
        if not isinstance(names, list) or all(re.fullmatch(r"(Column_)?\d+", str(name)) for name in names):
            return None
    return [str(name) for name in names]


def width_of(estimator: Any) -> int | None:
    """How many columns it was fitted on, as far as it says."""
    width = getattr(estimator, "n_features_in_", None)
    if width == 0:  # CatBoost forgets it when pickled, not its columns' names
        front = list(front_of(estimator))
        names = getattr(front[0], "feature_names_", None) if len(front) == 1 else None
        return len(names) if names else None
    return None if width is None else int(width)


def columns_of(estimator: Any, width: int) -> list[Column]:
    """What is known of each column that the estimator was fitted on."""
    columns = _columns(estimator, width)
    return columns if len(columns) == width else [_UNKNOWN] * width


def accepts_missing(estimator: Any) -> bool:
    """Whether missing values may be sent at all; a column of its own may still refuse them."""
    return _fate(estimator) != "refuses"


def is_single(estimator: Any) -> bool:
    """Whether it was trained on FP32 and holds something that takes nothing else: scikit-learn's loops over clusters."""
    trained = (
        getattr(part, name, None)
        for part in walk(estimator)
        for name in _TRAINED_AS.get(type(part).__name__, ())
    )
    return any(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in trained)


_TRAINED_AS: Final = {
    **dict.fromkeys(("KMeans", "MiniBatchKMeans", "BisectingKMeans"), ("cluster_centers_",)),
    **dict.fromkeys(("NMF", "MiniBatchNMF"), ("components_",)),
}


def mixes_rows(estimator: Any) -> bool:
    """Whether a row's prediction may depend on the rows beside it."""
    if not hasattr(estimator, "get_params"):
        return True  # not an estimator: it may do anything
    return any(  # scale(), minmax_scale() and the like look at the whole batch
        type(part).__name__ == "FunctionTransformer"
        and getattr(part.func, "__module__", None) == "sklearn.preprocessing._data"
        for part in walk(estimator)
    )


def _columns(estimator: Any, width: int) -> list[Column]:
    if hasattr(estimator, "steps"):
        return _chain([step for _, step in estimator.steps], width)
    if hasattr(estimator, "transformers_"):
        return _split(estimator, width)
    if hasattr(estimator, "transformer_list"):
        return _merged([_columns(part, width) for _, part in estimator.transformer_list if part != "drop"])
    if getattr(estimator, "_preprocessor", None) is not None:  # HistGradientBoosting's own encoder
        return _split(estimator._preprocessor, width)
    if isinstance(getattr(estimator, "categories_", None), list):
        closed = getattr(estimator, "handle_unknown", "error") == "error" and not _is_target(estimator)
        return [_encoded(values, closed) for values in estimator.categories_]
    name = type(estimator).__name__
    if name == "SimpleImputer":
        return [_UNKNOWN if value is None else _typed(value) for value in estimator.statistics_.tolist()]
    if name == "FunctionTransformer":
        function = getattr(estimator.func, "func", estimator.func)  # what a partial is of
        module = str(getattr(function, "__module__", None))
        numeric = (
            function is None or isinstance(function, np.ufunc) or module.startswith(("numpy", "sklearn"))
        )
        return [_NUMBER if numeric else _UNKNOWN] * width
    if boosted := _boosted(estimator, width):
        return boosted
    parts = parts_of(estimator)
    if parts:
        return _merged([_columns(part, width) for part in parts])
    if not is_native(estimator):
        return [_UNKNOWN] * width
    if tag_of(estimator, "string") and not tag_of(estimator, "two_d_array"):
        return [Column("BYTES")] * width
    return [_NUMBER] * width


def _chain(steps: Sequence[Any], width: int) -> list[Column]:
    """Columns of a pipeline are those of its first step that does anything."""
    real = [step for step in steps if step is not None and not isinstance(step, str)]
    if not real:
        return [_NUMBER] * width
    columns = _columns(real[0], width)
    if len(real) > 1 and type(real[0]).__name__.endswith("Imputer"):
        after = _columns(real[1], width)
        if len(after) == len(columns):  # an imputer keeps the columns, the encoder after it knows the values
            return [
                known if known.datatype == "BYTES" else mine
                for mine, known in zip(columns, after, strict=True)
            ]
    return columns


def _split(transformer: Any, width: int) -> list[Column]:
    """Columns of a ColumnTransformer: each goes to some of its parts, or to none."""
    names = names_of(transformer)
    columns = [_UNUSED] * width
    for _, part, chosen in transformer.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        indices = indices_of(chosen, names, width)
        known = [_NUMBER] * len(indices) if isinstance(part, str) else _columns(part, len(indices))
        if len(known) != len(indices):
            known = [_UNKNOWN] * len(indices)
        for index, column in zip(indices, known, strict=True):
            columns[index] = _either(columns[index], column)
    return columns


def indices_of(chosen: Any, names: list[str] | None, width: int) -> list[int]:
    """The positions of the columns that a part of a fitted ColumnTransformer takes."""
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            order = names or []
            start = order.index(chosen.start) if chosen.start is not None else 0
            stop = order.index(chosen.stop) + 1 if chosen.stop is not None else width
            return list(range(start, stop))
        return list(range(width))[chosen]
    values = [chosen] if isinstance(chosen, str | int) else list(chosen)
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        return [index for index, value in enumerate(values) if value]
    return [(names or []).index(value) if isinstance(value, str) else int(value) % width for value in values]


def _merged(tables: list[list[Column]]) -> list[Column]:
    """Columns that go to several estimators at once."""
    first = tables[0] if tables else []
    for other in tables[1:]:
        if len(other) == len(first):
            first = [_either(mine, theirs) for mine, theirs in zip(first, other, strict=True)]
    return first


def _either(one: Column, other: Column) -> Column:
    """What two uses of one column say together."""
    if one.optional or other.optional:
        return other if one.optional else one
    if one.datatype == other.datatype and one.categories and other.categories:
        both = tuple(value for value in one.categories if value in other.categories)
        return one._replace(categories=both)
    ranked = sorted(
        (one, other), key=lambda it: (it.datatype != "BYTES", it.datatype == "", it.categories is None)
    )
    return ranked[0]


def _encoded(values: Any, closed: bool) -> Column:
    """A column that an encoder has seen these values of."""
    array = np.asarray(values)
    present = [value for value in array.tolist() if value is not None and value == value]
    none = any(value is None for value in array.tolist())
    text = any(isinstance(value, str) for value in present)
    datatype = "BYTES" if text else _number_type(array, present)
    return Column(datatype, tuple(present) if closed else None, none=none)


def _number_type(array: Any, present: list[Any]) -> str:
    if array.dtype.kind in "iufb":
        return datatype_of(array.dtype)
    if present and all(isinstance(value, bool) for value in present):
        return "BOOL"
    return "FP64" if present and all(isinstance(value, int | float) for value in present) else ""


def _typed(value: Any) -> Column:
    return Column("BYTES") if isinstance(value, str) else _NUMBER


def _is_target(estimator: Any) -> bool:
    return type(estimator).__name__ == "TargetEncoder"  # an unknown category gets the target's mean


def _boosted(estimator: Any, width: int) -> list[Column] | None:
    """Columns of the scikit-learn classes of XGBoost, LightGBM and CatBoost."""
    library = type(estimator).__module__.split(".")[0]
    if library == "xgboost" and hasattr(estimator, "get_booster"):
        from modelport.runtimes.xgboost import column_specs

        specs = column_specs(estimator.get_booster())
        if len(specs) != width:  # one matrix: the columns have no names
            return [_NUMBER] * width
        types = estimator.get_booster().feature_types or [""] * width
        return [
            Column(spec.datatype if spec.categories else "", spec.categories, dtype_category=True)
            if kind == "c"
            else Column(spec.datatype)
            for spec, kind in zip(specs, types, strict=True)
        ]
    if library == "lightgbm" and hasattr(estimator, "booster_"):
        from modelport.runtimes.lightgbm import column_categories

        known = column_categories(estimator.booster_)
        return [
            Column("BYTES" if _has_text(known.get(index)) else "FP64", dtype_category=index in known)
            for index in range(width)
        ]
    if library == "catboost" and hasattr(estimator, "get_cat_feature_indices"):
        text = dict.fromkeys(estimator.get_text_feature_indices(), Column("BYTES"))
        either = dict.fromkeys(estimator.get_cat_feature_indices(), Column("BYTES", text_or_integers=True))
        return [(text | either).get(index, _NUMBER) for index in range(width)]
    return None


def _has_text(categories: Sequence[Any] | None) -> bool:
    return categories is not None and any(isinstance(value, str) for value in categories)


def _fate(estimator: Any) -> Fate:
    """What becomes of missing values in an estimator."""
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps:
            if step is None or isinstance(step, str):
                continue
            fate = _fate(step)
            if fate != "passes":
                return fate
        return "passes"
    if hasattr(estimator, "transformers_"):
        parts = [
            part
            for _, part, chosen in estimator.transformers_
            if part != "drop" and len(np.atleast_1d(chosen))
        ]
        return _best(["passes" if isinstance(part, str) else _fate(part) for part in parts])
    if hasattr(estimator, "transformer_list"):
        return _worst([_fate(part) for _, part in estimator.transformer_list if not isinstance(part, str)])
    if type(estimator).__name__.endswith("Imputer"):
        return "absorbs"
    if isinstance(categories := getattr(estimator, "categories_", None), list):
        if getattr(estimator, "handle_unknown", "error") != "error" or _is_target(estimator):
            return "absorbs"
        known = any(
            value is None or value != value for some in categories for value in np.asarray(some).tolist()
        )
        return "absorbs" if known else "refuses"
    if parts := parts_of(estimator):
        return _worst([_fate(part) for part in parts])
    if not is_native(estimator) and kind_of(estimator) not in ("classifier", "regressor"):
        return "absorbs"  # a user's own transformer may well fill the gaps
    return "passes" if tag_of(estimator, "allow_nan") else "refuses"


def _best(fates: list[Fate]) -> Fate:
    return _first(("absorbs", "passes", "refuses"), fates)


def _worst(fates: list[Fate]) -> Fate:
    return _first(("refuses", "passes", "absorbs"), fates)


def _first(order: tuple[Fate, ...], fates: list[Fate]) -> Fate:
    for fate in order:
        if fate in fates:
            return fate
    return "passes"
