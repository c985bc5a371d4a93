"""What a fitted scikit-learn estimator answers with: datatype and shape, as far as its attributes say.

What cannot be told is left out: clients make room for what the metadata says, so a guess is worse than nothing.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from typing import Any, Final

import numpy as np

from modelport.protocol.datatype import datatype_of
from modelport.runtimes.structure import final, is_native, kind_of
from modelport.server.signature import TensorSpec

_COLUMN: Final = (-1,)


def outputs_of(estimator: Any, proba: bool) -> tuple[TensorSpec, ...]:
    """The outputs; none where they cannot be told."""
    last = final(estimator)
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        classes = getattr(last, "classes_", None)
    if proba:
        return _probabilities(last, classes)
    if not hasattr(estimator, "predict"):
        return _transformed(last)
    if classes is not None:
        return _labels(last, classes)
    kind = kind_of(last)
    labels = getattr(last, "labels_", None)
    if labels is not None and kind == "clusterer":
        return (TensorSpec("output-0", datatype_of(np.asarray(labels).dtype)),)
    if kind in ("clusterer", "outlier_detector", "density_estimator"):
        return (TensorSpec("output-0", "INT32" if type(last).__name__ == "SGDOneClassSVM" else "INT64"),)
    if type(last).__name__.endswith("Ranker"):
        return (TensorSpec("output-0", _float(last)),)
    shape = _values(last) if kind == "regressor" else None
    return () if shape is None else (TensorSpec("output-0", _float(last), shape),)


_UNTOLD: Final = frozenset(("FunctionTransformer", "LabelEncoder", "LabelBinarizer", "MultiLabelBinarizer"))
"""Transformers whose attributes do not say what they give."""


def _transformed(last: Any) -> tuple[TensorSpec, ...]:
    if type(last).__name__ in _UNTOLD or hasattr(last, "_sklearn_output_config"):  # set_output("pandas")
        return ()
    if type(last).__name__ == "MissingIndicator":
        return (TensorSpec("output-0", "BOOL", (-1, -1)),)
    return (TensorSpec("output-0", datatype_of(np.dtype(getattr(last, "dtype", None) or float)), (-1, -1)),)


def _probabilities(last: Any, classes: Any) -> tuple[TensorSpec, ...]:
    if isinstance(classes, list) and not _is_chain(last):
        return tuple(
            TensorSpec(f"output-{index}", "FP64", (-1, len(some))) for index, some in enumerate(classes)
        )
    width = -1 if classes is None else len(classes)
    if _library(last) == "xgboost" and (targets := _xgboost_targets(last)) > 1:
        width = targets
    return (TensorSpec("output-0", _float(last), (-1, width)),)


def _labels(last: Any, classes: Any) -> tuple[TensorSpec, ...]:
    if isinstance(classes, list):
        dtype = np.result_type(*(np.asarray(some).dtype for some in classes)) if classes else np.dtype(float)
        if _is_chain(last):
            dtype = np.dtype(float)  # it writes its labels into a matrix of floats
        return (TensorSpec("output-0", datatype_of(dtype), (-1, len(classes))),)
    datatype, shape = datatype_of(np.asarray(classes).dtype), _COLUMN
    if _library(last) == "xgboost" and (targets := _xgboost_targets(last)) > 1:
        datatype, shape = "FP64", (-1, targets)
    elif _library(last) == "catboost" and len(classes) > 2:
        shape = (-1, 1)
    elif getattr(last, "multilabel_", False) or _is_multilabel(getattr(last, "_label_binarizer", None)):
        shape = (-1, len(classes))
    return (TensorSpec("output-0", datatype, shape),)


def _is_chain(estimator: Any) -> bool:
    return type(estimator).__name__ == "ClassifierChain"


def _is_multilabel(binarizer: Any) -> bool:
    return str(getattr(binarizer, "y_type_", "")).startswith("multilabel")


def _library(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]


def _float(estimator: Any) -> str:
    """The datatype of values and probabilities: XGBoost's own is FP32, whatever it is given."""
    return "FP32" if _library(estimator) == "xgboost" else "FP64"


def _xgboost_targets(estimator: Any) -> int:
    """How many outputs of their own a booster has; classes of one output do not count."""
    from modelport.runtimes.xgboost import targets_of

    return targets_of(estimator.get_booster()) if hasattr(estimator, "get_booster") else 1


def _values(regressor: Any) -> tuple[int, ...] | None:
    """The shape of a regressor's values: `[rows]`, or `[rows, targets]`."""
    name, library = type(regressor).__name__, _library(regressor)
    if library == "xgboost":
        targets = _xgboost_targets(regressor)
        return (-1, targets) if targets > 1 else _COLUMN
    if not is_native(regressor):
        return _COLUMN if library == "lightgbm" else None
    if name in ("MultiOutputRegressor", "RegressorChain"):
        return (-1, len(regressor.estimators_))
    if name in ("SVR", "NuSVR"):
        return _COLUMN  # its coefficients have an axis too many
    if (inner := getattr(regressor, "regressor_", None)) is not None:
        return _COLUMN if getattr(regressor, "_training_dim", 2) == 1 else _values(final(inner))
    if (targets := getattr(regressor, "n_outputs_", None)) is not None:
        return (-1, int(targets)) if targets > 1 else _COLUMN
    if name == "BaggingRegressor":
        return _values(final(regressor.estimators_[0]))
    if (inner := getattr(regressor, "estimator_", None)) is not None:
        return _values(final(inner))
    if getattr(regressor, "_predict_1d", False):
        return _COLUMN  # PLS, trained on one column
    for attribute, axis in (("y_train_", 1), ("_y", 1), ("dual_coef_", 1), ("coef_", 0)):
        kept = getattr(regressor, attribute, None)
        if isinstance(kept, np.ndarray):
            return (-1, int(kept.shape[axis])) if kept.ndim == 2 else _COLUMN
    return _COLUMN
