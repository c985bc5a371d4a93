"""What a scikit-learn estimator is made of: its steps and parts, and what it says of its kind."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from modelport.runtimes.framework import framework
from modelport.server.courtesy import let_pass

_LEAVES: Final = frozenset((str, int, float, bool, type(None), np.int64, np.float64))


def walk(root: Any) -> Iterator[Any]:
    """The estimator and all those that it is made of."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        item = stack.pop()
        if type(item) in _LEAVES or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, np.ndarray):
            if item.dtype == object:
                stack.extend(item.ravel().tolist())
        elif hasattr(item, "get_params") and not isinstance(item, type):
            let_pass()
            yield item
            stack.extend(getattr(item, "__dict__", {}).values())


def is_native(estimator: Any) -> bool:
    """Whether the class is scikit-learn's own."""
    return type(estimator).__module__.split(".")[0] == "sklearn"


def final(estimator: Any) -> Any:
    """The estimator that answers in the end."""
    while True:
        if hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def parts_of(estimator: Any) -> list[Any]:
    """The fitted estimators that a meta-estimator hands its input to as it is."""
    for name in ("best_estimator_", "regressor_", "estimator_"):
        if (part := getattr(estimator, name, None)) is not None:
            return [part]
    if calibrated := getattr(estimator, "calibrated_classifiers_", None):
        return [calibrated[0].estimator]
    if type(estimator).__name__ == "FrozenEstimator":
        return [estimator.estimator]
    parts = getattr(estimator, "estimators_", None)
    if isinstance(parts, list) and type(estimator).__name__.startswith(
        ("Voting", "Stacking", "MultiOutput", "OneVs")
    ):
        return [part for part in parts if hasattr(part, "get_params")]
    return []


def front_of(estimator: Any) -> Iterator[Any]:
    """The estimators that see the input first."""
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps:
            if step is not None and not isinstance(step, str):
                yield from front_of(step)
                return
    elif hasattr(estimator, "transformer_list"):
        for _, part in estimator.transformer_list:
            yield from front_of(part)
    elif parts := parts_of(estimator):
        yield from front_of(parts[0])
    else:
        yield estimator


def tag_of(estimator: Any, name: str) -> Any:
    """An input tag, by the way of scikit-learn 1.6 and later or by the old one."""
    get_tags: Any = getattr(framework("sklearn.utils", "sklearn"), "get_tags", None)
    if get_tags is None:
        old = estimator._get_tags() if hasattr(estimator, "_get_tags") else {}
        types = old.get("X_types", ["2darray"])
        named = {"string": "string", "dict": "dict", "two_d_array": "2darray"}
        return named[name] in types if name in named else old.get(name)
    try:
        return getattr(get_tags(estimator).input_tags, name)
    except Exception:  # noqa: BLE001 (a user's class may define its tags wrongly)
        return name == "two_d_array"


def kind_of(estimator: Any) -> str | None:
    """classifier, regressor, clusterer or outlier_detector."""
    kind = getattr(estimator, "_estimator_type", None)
    if kind is None:
        try:
            kind = framework("sklearn.utils", "sklearn").get_tags(estimator).estimator_type
        except Exception:  # noqa: BLE001 (as above)
            return None
    return kind
