"""Transformers of numbers: scalers, the imputer of single columns, principal components."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.runtimes.shortcut.form import (
    FLOATS,
    Function,
    Made,
    NotCovered,
    floats,
    is_finite,
    need_finite,
    need_no_infinity,
    require,
    require_nan_as_missing,
    usual_array,
    version,
)


def standard(model: Any) -> Made:
    """StandardScaler."""
    center = model.mean_ if model.with_mean else None
    # Since scikit-learn 1.8 FP32 is scaled by FP32, before by FP64.
    return _centered(model, center, model.scale_ if model.with_std else None, alike=version() >= (1, 8))


def min_max(model: Any) -> Made:
    """MinMaxScaler."""
    require(model.copy)
    scale, offset = usual_array(model.scale_, 1), usual_array(model.min_, 1)
    limits = model.feature_range if model.clip else None

    def transform(x: Any) -> Any:
        need_no_infinity(x)
        values = floats(x)
        values *= scale
        values += offset
        if limits is not None:
            np.clip(values, limits[0], limits[1], out=values)
        return values

    return _made(model, transform)


def max_abs(model: Any) -> Made:
    """MaxAbsScaler."""
    require(model.copy and not getattr(model, "clip", False))
    scale = usual_array(model.scale_, 1)

    def transform(x: Any) -> Any:
        need_no_infinity(x)
        values = floats(x)
        values /= scale
        return values

    return _made(model, transform)


def robust(model: Any) -> Made:
    """RobustScaler."""
    center = model.center_ if model.with_centering else None
    return _centered(model, center, model.scale_ if model.with_scaling else None, alike=False)


def imputer(model: Any) -> Made:
    """SimpleImputer of numbers, for which NaN is the missing value."""
    require(model.copy and model._fit_dtype == np.float64)
    require_nan_as_missing(model)
    require(model.strategy in ("mean", "median", "most_frequent", "constant"))
    fill = usual_array(model.statistics_.astype(getattr(model, "_fill_dtype", np.float64)), 1)
    makes_floats = model.strategy in ("mean", "median")

    def transform(x: Any) -> Any:
        if not makes_floats and x.dtype not in FLOATS:
            raise NotCovered  # integers stay what they are, or are refused
        values = floats(x)
        if not is_finite(values):
            need_no_infinity(values)
            np.copyto(values, fill, where=np.isnan(values), casting="same_kind")
        return values

    return _made(model, transform)


def components(model: Any) -> Made:
    """PCA."""
    right = usual_array(model.components_, 2).T
    middle = usual_array(model.mean_, 1).reshape(1, -1) @ right
    scale = None
    if model.whiten:
        scale = np.sqrt(usual_array(model.explained_variance_, 1))
        scale[scale < np.finfo(scale.dtype).eps] = np.finfo(scale.dtype).eps

    def transform(x: Any) -> Any:
        need_finite(x)
        values = (x if x.dtype in FLOATS else x.astype(np.float64)) @ right
        values -= middle
        if scale is not None:
            values /= scale
        return values

    return _made(model, transform)


def _centered(model: Any, center: Any, scale: Any, *, alike: bool) -> Made:
    """Less a center, over a scale, where there are such; `alike`: both of the rows' dtype."""
    require(model.copy)
    given = [None if each is None else usual_array(each, 1) for each in (center, scale)]
    typed: dict[Any, Any] = {
        dtype: [each.astype(dtype) if alike and each is not None else each for each in given]
        for dtype in FLOATS
    }

    def transform(x: Any) -> Any:
        need_no_infinity(x)
        values = floats(x)
        less, by = typed[values.dtype]
        if less is not None:
            values -= less
        if by is not None:
            values /= by
        return values

    return _made(model, transform)


def _made(model: Any, transform: Function) -> Made:
    return Made({"transform": transform}, int(model.n_features_in_))
