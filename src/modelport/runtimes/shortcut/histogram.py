"""Gradient boosting of histograms.

scikit-learn walks a tree a call, and a call takes longer than walking some rows down the tree. For some rows all trees are
walked in one call: they are joined under a root that leads to the right one by a column which numbers the trees.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut.boosting import classified
from modelport.runtimes.shortcut.form import (
    Excerpt,
    Function,
    Made,
    Scratch,
    altered,
    few_of,
    in_parts,
    require,
    usual_classes,
)
from modelport.runtimes.shortcut.proof import rows_at, same_sums

_FEW: Final = 10
"""Stages; of more, the estimator's own methods take long, a call a tree."""
_MOST_JOINED: Final = 1 << 17
"""Nodes that are copied at most, at 57 bytes each: 7.5 MB."""
_MOST_ROWS: Final = 128
"""Of more, finding the right tree takes longer than calling each."""
_MOST_CELLS: Final = 1 << 17
"""Cells of a matrix that has each row once a tree, at a time: 1 MB, kept for the next call by each thread."""


def classifier(model: Any) -> Made:
    """HistGradientBoostingClassifier without categorical columns."""
    classes = usual_classes(model)
    outputs = 1 if len(classes) == 2 else len(classes)
    return _made(model, outputs, lambda raw: classified(model, raw, classes, lambda scores: scores > 0))


def regressor(model: Any) -> Made:
    """HistGradientBoostingRegressor without categorical columns."""
    inverse = model._loss.link.inverse
    return _made(model, 1, lambda raw: {"predict": lambda x: inverse(raw(x).ravel())})


def _made(model: Any, outputs: int, methods: Callable[[Function], dict[str, Function]]) -> Made:
    """Methods of the trees' sum on top of the first guess, `[rows, outputs]`."""
    require(model._preprocessor is None and model.n_trees_per_iteration_ == outputs)
    kind = framework("sklearn.ensemble._hist_gradient_boosting.predictor", "sklearn").TreePredictor
    trees = [tree for stage in model._predictors for tree in stage]
    require(trees and all(type(tree) is kind and not tree.nodes["is_categorical"].any() for tree in trees))
    require(all(len(stage) == outputs for stage in model._predictors))
    require(model._baseline_prediction.dtype == np.float64)
    start = model._baseline_prediction + np.zeros((1, outputs))
    at_once, one_by_one = _at_once(model, trees, start), _one_by_one(model, trees, start)
    if at_once is None:
        return Made(methods(_of_doubles(one_by_one)), int(model.n_features_in_))

    def raw(rows: Any) -> Any:
        return (one_by_one if len(rows) > _MOST_ROWS else at_once)(rows)

    excerpt = None
    if len(model._predictors) > _FEW:
        few = few_of(model._predictors)
        plain = _one_by_one(model, [tree for stage in few for tree in stage], start)
        excerpt = Excerpt(
            altered(model, _predictors=few),
            methods(_of_doubles(plain)),
            lambda: same_sums(one_by_one, at_once, _rows_for(model, few)),
        )
    return Made(methods(_of_doubles(raw)), int(model.n_features_in_), excerpt=excerpt)


def _of_doubles(raw: Function) -> Function:
    return lambda x: raw(x if x.dtype == np.float64 else x.astype(np.float64))


def _rows_for(model: Any, stages: list[Any]) -> Any:
    """Rows that take many ways through trees."""
    nodes = np.concatenate([tree.nodes for stage in stages for tree in stage])
    inner = nodes[nodes["is_leaf"] == 0]
    return rows_at(inner["feature_idx"], inner["num_threshold"], int(model.n_features_in_), gaps=True)


def _walk(model: Any) -> Callable[[], Callable[[Any, Any, Any], None]]:
    """scikit-learn's compiled walk of rows down a tree, into an array of values, on as many threads as OpenMP has."""
    walk = framework("sklearn.ensemble._hist_gradient_boosting._predictor", "sklearn")._predict_from_raw_data
    count = framework("sklearn.utils._openmp_helpers", "sklearn")._openmp_effective_n_threads
    known, positions = model._bin_mapper.make_known_categories_bitsets()
    none = np.zeros((0, 8), np.uint32)

    def on_threads() -> Callable[[Any, Any, Any], None]:
        threads = count()
        return lambda nodes, rows, values: walk(nodes, rows, none, known, positions, threads, values)

    return on_threads


def _one_by_one(model: Any, trees: list[Any], start: Any) -> Function:
    walk, outputs = _walk(model), start.shape[1]
    nodes = [(index % outputs, tree.nodes) for index, tree in enumerate(trees)]

    def raw(rows: Any) -> Any:
        total = np.empty((len(rows), outputs), order="F")
        total[:] = start
        sums = [total[:, output] for output in range(outputs)]
        values, walked = np.empty(len(rows)), walk()
        for output, tree in nodes:
            walked(tree, rows, values)
            sums[output] += values
        return total

    return raw


def _at_once(model: Any, trees: list[Any], start: Any) -> Function | None:
    walk, outputs, width = _walk(model), start.shape[1], int(model.n_features_in_)
    most_rows = _MOST_CELLS // (len(trees) * (width + 1))
    if not most_rows or sum(len(tree.nodes) for tree in trees) > _MOST_JOINED:
        return None
    scratch = Scratch()
    joined = _joined([tree.nodes for tree in trees], width)
    numbers = np.arange(len(trees), dtype=np.float64)[:, None]
    first = start.reshape(outputs, 1)

    def raw(rows: Any) -> Any:
        cells = scratch.floats(len(trees) * len(rows) * (width + 1)).reshape(len(trees), len(rows), width + 1)
        cells[:, :, :width] = rows
        cells[:, :, width] = numbers
        sums = np.empty((len(trees) // outputs + 1, outputs, len(rows)))
        sums[0] = first
        walk()(joined, cells.reshape(-1, width + 1), sums[1:].reshape(-1))
        # Added one by one, as scikit-learn does: a sum would be made in pairs.
        return np.add.accumulate(sums, axis=0)[-1].T

    return in_parts(raw, most_rows)


def _joined(trees: list[Any], column: int) -> Any:
    """One tree of many: inner nodes that compare the tree's number, in `column`, then the trees' own nodes."""
    roots: list[int] = []
    size = len(trees) - 1
    for nodes in trees:
        roots.append(size)
        size += len(nodes)
    joined: Any = np.concatenate([np.zeros(len(trees) - 1, trees[0].dtype), *trees])
    moved = np.repeat([0, *roots], [len(trees) - 1, *map(len, trees)]).astype(joined["left"].dtype)
    joined["left"] += moved
    joined["right"] += moved
    free = iter(range(len(trees) - 1))

    def lead(first: int, end: int) -> int:
        if end - first == 1:
            return roots[first]
        place, middle = next(free), (first + end) // 2
        node = joined[place : place + 1]
        node["feature_idx"], node["num_threshold"] = column, middle - 0.5
        node["left"], node["right"] = lead(first, middle), lead(middle, end)
        return place

    lead(0, len(trees))
    return joined
