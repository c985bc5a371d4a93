"""Estimators of which there is one of a kind: Gaussian naive Bayes, support vector machines."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.runtimes.shortcut.form import (
    PROOF_ROWS,
    Function,
    Made,
    need_finite,
    require,
    usual_array,
    usual_classes,
)


def gaussian(model: Any) -> Made:
    """GaussianNB."""
    classes = usual_classes(model)
    means, variances = usual_array(model.theta_, 2), usual_array(model.var_, 2)
    require((variances > 0).all() and len(means) == len(variances) == len(classes))
    prior = usual_array(model.class_prior_, 1)
    require((prior > 0).all())
    constant = [-0.5 * np.sum(np.log(2.0 * np.pi * variances[index, :])) for index in range(len(classes))]
    per_class = list(zip(np.log(prior), constant, means, variances, strict=True))

    def likelihood(x: Any) -> Any:
        need_finite(x)
        joint = np.empty((len(per_class), len(x)), np.result_type(x.dtype, means.dtype))
        for index, (before, start, mean, variance) in enumerate(per_class):
            joint[index] = before + (start - 0.5 * np.sum(((x - mean) ** 2) / variance, axis=1))
        return joint.T

    def proba(x: Any) -> Any:
        joint = likelihood(x)
        joint -= _log_of_sum(joint)
        return np.exp(joint)

    return Made(
        {"predict": lambda x: classes.take(likelihood(x).argmax(1)), "predict_proba": proba},
        int(model.n_features_in_),
    )


def _log_of_sum(values: Any) -> Any:
    """The logarithm of the exponentials' sum, `[rows, 1]`, in the steps of scikit-learn 1.9."""
    highest = values.max(1, keepdims=True)
    is_highest = values == highest
    rest = values.copy()
    rest[is_highest] = -np.inf
    count = np.sum(is_highest.astype(values.dtype), axis=1, keepdims=True)
    rest = np.exp(rest - highest)
    total = np.sum(rest, axis=1, keepdims=True)
    total = np.where(total == 0, total, total / count)
    return np.log1p(total) + np.log(count) + highest


def vector_classifier(model: Any) -> Made:
    """SVC and NuSVC: libsvm itself."""
    classes = usual_classes(model)
    require(not model.break_ties)
    values = _vectors(model)
    return Made(
        {"predict": lambda x: classes.take(np.asarray(values(x), np.intp))},
        int(model.n_features_in_),
        proof_rows=_proof_rows(model),
    )


def vector_regressor(model: Any) -> Made:
    """SVR and NuSVR: libsvm itself."""
    return Made({"predict": _vectors(model)}, int(model.n_features_in_), proof_rows=_proof_rows(model))


def _proof_rows(model: Any) -> int:
    return 4 if model.support_vectors_.size > 1_000_000 else PROOF_ROWS  # a row takes a millisecond


def _vectors(model: Any) -> Function:
    require(model.kernel in ("linear", "poly", "rbf", "sigmoid") and not model._sparse)
    usual_array(model.support_vectors_, 2)
    require(model.n_support_.sum() == len(model.support_vectors_))
    compute = model._dense_predict

    def values(x: Any) -> Any:
        rows = np.ascontiguousarray(x, np.float64)
        need_finite(rows)
        return compute(rows)

    return values
