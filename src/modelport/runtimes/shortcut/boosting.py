"""Gradient boosting: scikit-learn's loop over the trees, without the checks before it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut.form import Function, Made, need_finite, require, usual_classes
from modelport.runtimes.shortcut.tree import single


def classifier(model: Any) -> Made:
    """GradientBoostingClassifier."""
    classes = usual_classes(model)
    raw = _raw(model, 1 if len(classes) == 2 else len(classes))
    return Made(classified(model, raw, classes, lambda scores: scores >= 0), int(model.n_features_in_))


def regressor(model: Any) -> Made:
    """GradientBoostingRegressor."""
    raw = _raw(model, 1)
    return Made({"predict": lambda x: raw(x).ravel()}, int(model.n_features_in_))


def classified(model: Any, raw: Function, classes: Any, is_second: Function) -> dict[str, Function]:
    """A classifier's methods by its raw scores `[rows, outputs]`; `is_second` decides between two classes."""
    probabilities = model._loss.predict_proba
    if len(classes) == 2:
        return {
            "predict": lambda x: classes.take(is_second(raw(x).ravel()).astype(np.intp)),
            "predict_proba": lambda x: probabilities(raw(x).ravel()),
        }
    return {
        "predict": lambda x: classes.take(raw(x).argmax(1)),
        "predict_proba": lambda x: probabilities(raw(x)),
    }


def _raw(model: Any, outputs: int) -> Function:
    """The trees' sum on top of the first guess, `[rows, outputs]`."""
    module = framework("sklearn.ensemble._gb", "sklearn")
    loop = module.predict_stages
    trees, rate = model.estimators_, model.learning_rate
    tree = framework("sklearn.tree", "sklearn").DecisionTreeRegressor
    require(trees.ndim == 2 and trees.shape[1] == outputs and all(type(each) is tree for each in trees.flat))
    start = _start(model, outputs, module)

    def raw(x: Any) -> Any:
        rows = single(x)
        need_finite(rows)
        total = np.empty((len(rows), outputs))
        total[:] = start
        loop(trees, rows, rate, total)
        return total

    return raw


def _start(model: Any, outputs: int, module: Any) -> Any:
    """The first guess, the same for all rows, `[outputs]`."""
    if isinstance(model.init_, str):
        require(model.init_ == "zero")
        return np.zeros(outputs)
    dummy = framework("sklearn.dummy", "sklearn")
    classifies = hasattr(model, "classes_")
    require(type(model.init_) is (dummy.DummyClassifier if classifies else dummy.DummyRegressor))
    require(model.init_.strategy in ("prior", "mean", "quantile", "median", "constant"))
    rows = np.zeros((2, model.n_features_in_), np.float32)
    guesses = module._init_raw_predictions(rows, model.init_, model._loss, classifies)
    require(guesses.shape == (2, outputs) and guesses.dtype == np.float64)
    return guesses[0].copy()
