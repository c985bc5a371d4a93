"""Decision trees, and forests of them: the sums are made in the forest's own order.

A forest spends milliseconds a call on handing its trees to joblib one by one. scikit-learn has a compiled loop over
many trees, gradient boosting's, which adds one value a tree to each row: just what a forest of regressors needs. A tree
of a classifier has a value for each class. So classifiers that are not too large get a copy of each tree whose one value
is the number of the leaf, and the leaves' values are looked up and added in NumPy.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut.form import (
    Excerpt,
    Function,
    Made,
    NotCovered,
    Scratch,
    altered,
    few_of,
    in_parts,
    is_finite,
    require,
    usual_classes,
)
from modelport.runtimes.shortcut.proof import rows_at, same_sums

_MOST_BYTES: Final = 16 << 20
"""What the copies of a forest's trees may take."""
_MOST_CELLS: Final = 1 << 16
"""Values that are added at a time: each thread keeps a megabyte for them and for the leaves' numbers."""
_FEW: Final = 10
"""Trees; with so many a forest's own methods take half a millisecond a call."""


def tree_classifier(model: Any) -> Made:
    """DecisionTreeClassifier and ExtraTreeClassifier of one output."""
    classes = usual_classes(model)
    tree, width = _usual_tree(model, len(classes)), int(model.n_features_in_)
    prepare, count = _preparation(model), len(classes)

    def proba(x: Any) -> Any:
        return tree.predict(prepare(x)[0])[:, :count]

    return Made({"predict": _labels(proba, classes), "predict_proba": proba}, width)


def tree_regressor(model: Any) -> Made:
    """DecisionTreeRegressor and ExtraTreeRegressor of one output."""
    tree, prepare = _usual_tree(model, 1), _preparation(model)
    return Made({"predict": lambda x: tree.predict(prepare(x)[0])[:, 0]}, int(model.n_features_in_))


def forest_classifier(model: Any) -> Made:
    """RandomForestClassifier and ExtraTreesClassifier of one output."""
    classes = usual_classes(model)
    trees, count = _usual_trees(model, len(classes)), len(classes)
    each = _each(trees, count)
    together = _together(trees, count, each)

    def methods(mean: Function) -> dict[str, Function]:
        return {"predict": _labels(mean, classes), "predict_proba": mean}

    return _forest(model, trees, count, together, methods)


def forest_regressor(model: Any) -> Made:
    """RandomForestRegressor and ExtraTreesRegressor of one output."""
    trees = _usual_trees(model, 1)
    return _forest(
        model, trees, 1, _added(model.estimators_), lambda mean: {"predict": lambda x: mean(x)[:, 0]}
    )


def single(x: Any) -> Any:
    """Rows as trees compare them: FP32, row-major."""
    return np.ascontiguousarray(x, np.float32)


def _forest(
    forest: Any,
    trees: list[Any],
    values: int,
    together: Function,
    methods: Callable[[Function], dict[str, Function]],
) -> Made:
    """Methods of what the trees say on average, `[rows, values]`; `together` makes the sum of finite rows."""
    prepare, each = _preparation(forest.estimators_[0]), _each(trees, values)

    def mean_of(some: list[Any], finite: Function, other: Function) -> Function:
        def mean(x: Any) -> Any:
            rows, gaps = prepare(x)
            total = (other if gaps else finite)(rows)  # scikit-learn's loop knows no NaN
            total /= len(some)
            return total

        return mean

    excerpt = None
    if len(trees) > _FEW:
        few = few_of(trees)
        plain = _each(few, values)
        excerpt = Excerpt(
            altered(forest, estimators_=few_of(forest.estimators_), n_estimators=len(few)),
            methods(mean_of(few, plain, plain)),
            lambda: same_sums(each, together, single(_rows_for(few))),
        )
    return Made(methods(mean_of(trees, together, each)), int(forest.n_features_in_), excerpt=excerpt)


def _rows_for(trees: list[Any]) -> Any:
    """Rows that take many ways through trees."""
    columns, limits = (
        np.concatenate([getattr(tree, name) for tree in trees]) for name in ("feature", "threshold")
    )
    inner = columns >= 0
    return rows_at(columns[inner], limits[inner], trees[0].n_features)


def _usual_tree(model: Any, values: int) -> Any:
    tree = model.tree_
    require(not vars(model).keys() & {"predict", "predict_proba"})
    require(getattr(model, "n_classes_", values) == values)
    require(model.n_outputs_ == 1 and tree.n_outputs == 1 and tree.max_n_classes == values)
    require(tree.n_features == model.n_features_in_)
    return tree


def _usual_trees(forest: Any, values: int) -> list[Any]:
    """The trees of a forest that adds them one by one: with more threads the order is anyone's."""
    require(forest.n_outputs_ == 1 and forest.n_jobs in (None, 1) and not forest.verbose)
    require(type(forest.estimators_) is list and len({type(each) for each in forest.estimators_}) == 1)
    own = framework("sklearn.tree", "sklearn")
    require(
        type(forest.estimators_[0])
        in (
            own.DecisionTreeClassifier,
            own.DecisionTreeRegressor,
            own.ExtraTreeClassifier,
            own.ExtraTreeRegressor,
        )
    )
    return [_usual_tree(each, values) for each in forest.estimators_]


def _added(estimators: list[Any]) -> Function:
    """The sum of one value a tree, `[rows, 1]`."""
    loop = framework("sklearn.ensemble._gradient_boosting", "sklearn").predict_stages
    table = np.empty((len(estimators), 1), object)
    table[:, 0] = estimators

    def add(x: Any) -> Any:
        total = np.zeros((len(x), 1))
        loop(table, x, 1.0, total)
        return total

    return add


def _together(trees: list[Any], classes: int, each: Function) -> Function:
    """The sum of the leaves' values `[rows, classes]`, of all trees in one call; `each` where they are too large."""
    nodes = sum(tree.node_count for tree in trees)
    if nodes * (72 + 8 * classes) > _MOST_BYTES:
        return each
    loop = framework("sklearn.ensemble._gradient_boosting", "sklearn").predict_stages
    table = np.empty((1, len(trees)), object)
    values = np.empty((nodes, classes))
    first = 0
    for position, tree in enumerate(trees):
        values[first : first + tree.node_count] = tree.value[:, 0, :]
        table[0, position] = SimpleNamespace(tree_=_numbered(tree, first))
        first += tree.node_count

    scratch, count = Scratch(), len(trees)

    def add(x: Any) -> Any:
        size = count * len(x)
        memory = scratch.floats(size * (2 + classes))
        leaves = memory[:size].reshape(len(x), count)
        leaves.fill(0)
        loop(table, x, 1.0, leaves)
        numbers = memory[size : 2 * size].view(np.intp).reshape(count, len(x))
        np.copyto(numbers, leaves.T, casting="unsafe")
        found = memory[2 * size :].reshape(count, len(x), classes)
        values.take(numbers, 0, found, "clip")
        # Along the first axis NumPy adds one after the other, as the forest does.
        return np.add.reduce(found.reshape(count, -1), 0).reshape(len(x), classes)

    most_rows = max(1, _MOST_CELLS // (len(trees) * classes))
    parts = in_parts(add, most_rows)
    # Of many parts, each walks all trees: then it is better to walk a tree with all rows.
    return lambda x: parts(x) if len(x) <= 4 * most_rows else each(x)


def _numbered(tree: Any, first: int) -> Any:
    """A copy of a tree, the value of whose nodes is their number."""
    copy = type(tree)(tree.n_features, np.ones(1, np.intp), 1)
    numbers = np.arange(first, first + tree.node_count, dtype=np.float64)
    copy.__setstate__({**tree.__getstate__(), "values": numbers.reshape(-1, 1, 1)})
    return copy


def _preparation(model: Any) -> Any:
    """Makes rows FP32, and says whether there is NaN among them."""
    gaps = bool(model._support_missing_values(np.zeros((1, 1), np.float32)))

    def prepare(x: Any) -> tuple[Any, bool]:
        rows = single(x)
        if is_finite(rows):
            return rows, False
        if not gaps or np.isinf(rows).any():
            raise NotCovered
        return rows, True

    return prepare


def _each(trees: list[Any], values: int) -> Function:
    """The sum of what the trees say, `[rows, values]`, a call each."""

    def add(x: Any) -> Any:
        total = np.zeros((len(x), values))
        for tree in trees:
            total += tree.predict(x)
        return total

    return add


def _labels(proba: Function, classes: Any) -> Function:
    return lambda x: classes.take(proba(x).argmax(1))
