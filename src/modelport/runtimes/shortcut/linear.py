"""Linear models: a matrix product, and what becomes of it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut.form import (
    FLOATS,
    Function,
    Made,
    NotCovered,
    Unusual,
    is_finite,
    need_finite,
    require,
    usual_array,
    usual_classes,
    version,
)


def classifier(model: Any) -> Made:
    """LinearSVC, RidgeClassifier, Perceptron and their like: the class of the highest score."""
    binarizer = getattr(model, "_label_binarizer", None)  # RidgeClassifier's
    require(binarizer is None or not binarizer.y_type_.startswith("multilabel"))
    classes = usual_classes(model)
    scores = _scores(model, 1 if len(classes) == 2 else len(classes))
    return Made({"predict": _labels(scores, classes)}, model.coef_.shape[-1])


def logistic(model: Any) -> Made:
    """LogisticRegression: softmax, or the logistic function where there are two classes."""
    made = classifier(model)
    scores = _scores(model, model.coef_.shape[0])
    if version() < (1, 8) and (
        getattr(model, "multi_class", "auto") not in ("auto", "deprecated")
        or (model.solver == "liblinear" and len(model.coef_) > 1)
    ):
        return made  # other probabilities
    proba = _one_against_rest(scores) if model.coef_.shape[0] == 1 else _softmax(scores)
    return made._replace(methods={**made.methods, "predict_proba": proba})


def descent(model: Any) -> Made:
    """SGDClassifier: probabilities with the loss of logistic regression."""
    made = classifier(model)
    if model.loss == "log_loss":
        proba = _one_against_rest(_scores(model, model.coef_.shape[0]))
        made = made._replace(methods={**made.methods, "predict_proba": proba})
    return made


def regressor(model: Any) -> Made:
    """LinearRegression, Ridge, Lasso and their like, of one target or several."""
    weights = model.coef_
    usual_array(weights, weights.ndim)
    require(weights.ndim in (1, 2))
    intercept = _intercept(model)
    right = weights.T

    def predict(x: Any) -> Any:
        need_finite(x)
        return x @ right + intercept

    return Made({"predict": predict}, weights.shape[-1])


def descent_regressor(model: Any) -> Made:
    """SGDRegressor and its like."""
    require(model.coef_.ndim == 1)
    made = regressor(model)
    values = made.methods["predict"]
    return made._replace(methods={"predict": lambda x: values(x).ravel()})


def generalized(model: Any) -> Made:
    """PoissonRegressor, GammaRegressor and TweedieRegressor: a link's inverse of the product."""
    require(model.coef_.ndim == 1)
    made = regressor(model)
    values, inverse = made.methods["predict"], model._base_loss.link.inverse

    def predict(x: Any) -> Any:
        # Integers become FP64 before the product: it depends on the layout, which a copy made by it has not.
        return inverse(values(x if x.dtype in FLOATS else x.astype(np.float64)))

    return made._replace(methods={"predict": predict})


def _intercept(model: Any) -> Any:
    intercept = model.intercept_
    if not (type(intercept) is np.ndarray and intercept.dtype in FLOATS) and not isinstance(intercept, float):
        raise Unusual
    require(np.isfinite(intercept).all())
    return intercept


def _scores(model: Any, outputs: int) -> Function:
    """The scores `[rows, outputs]`, or `[rows]` of one."""
    weights = usual_array(model.coef_, model.coef_.ndim)
    require(outputs == 1 if weights.ndim == 1 else weights.shape == (outputs, weights.shape[-1]))
    right, intercept = weights.T, _intercept(model)
    single = outputs == 1

    def scores(x: Any) -> Any:
        need_finite(x)
        values = x @ right + intercept
        return values.reshape(-1) if single else values

    return scores


def _labels(scores: Function, classes: Any) -> Function:
    if len(classes) == 2:
        return lambda x: classes.take((scores(x) > 0).astype(np.intp))
    return lambda x: classes.take(scores(x).argmax(1))


def _softmax(scores: Function) -> Function:
    def softmax(x: Any) -> Any:
        values = scores(x)
        values -= values.max(1).reshape(-1, 1)
        np.exp(values, out=values)
        values /= values.sum(1).reshape(-1, 1)
        return values

    return softmax


def _one_against_rest(scores: Function) -> Function:
    expit = framework("scipy.special", "sklearn").expit

    def proba(x: Any) -> Any:
        values = scores(x)
        expit(values, out=values)
        if values.ndim == 1:
            both = np.empty((len(values), 2), values.dtype)
            both[:, 1] = values
            np.subtract(1, values, out=both[:, 0])
            return both
        total = values.sum(1)
        if not is_finite(total) or not total.all():
            raise NotCovered  # a row of zeros becomes uniform
        values /= total.reshape(-1, 1)
        return values

    return proba
