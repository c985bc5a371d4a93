"""Which estimators have shortcuts, and what is made of several: pipelines and searches."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from modelport.runtimes.estimator import indices_of
from modelport.runtimes.shortcut import boosting, column, histogram, linear, other, scale, tree
from modelport.runtimes.shortcut.column import Order
from modelport.runtimes.shortcut.form import Function, Made, Unusual, altered, makes_arrays, require

VERSIONS: Final = frozenset(((1, 5), (1, 6), (1, 7), (1, 8), (1, 9)))
"""Of scikit-learn, those that the shortcuts were written for and have been tested with."""

_MAKERS: Final[dict[str, Callable[[Any], Made]]] = {
    "linear_model._logistic.LogisticRegression": linear.logistic,
    "linear_model._logistic.LogisticRegressionCV": linear.logistic,
    "linear_model._ridge.RidgeClassifier": linear.classifier,
    "linear_model._ridge.RidgeClassifierCV": linear.classifier,
    "linear_model._perceptron.Perceptron": linear.classifier,
    "linear_model._passive_aggressive.PassiveAggressiveClassifier": linear.classifier,
    "linear_model._stochastic_gradient.SGDClassifier": linear.descent,
    "svm._classes.LinearSVC": linear.classifier,
    "linear_model._base.LinearRegression": linear.regressor,
    "linear_model._ridge.Ridge": linear.regressor,
    "linear_model._ridge.RidgeCV": linear.regressor,
    "linear_model._coordinate_descent.Lasso": linear.regressor,
    "linear_model._coordinate_descent.LassoCV": linear.regressor,
    "linear_model._coordinate_descent.ElasticNet": linear.regressor,
    "linear_model._coordinate_descent.ElasticNetCV": linear.regressor,
    "linear_model._bayes.BayesianRidge": linear.regressor,
    "linear_model._huber.HuberRegressor": linear.regressor,
    "linear_model._stochastic_gradient.SGDRegressor": linear.descent_regressor,
    "svm._classes.LinearSVR": linear.regressor,
    "linear_model._glm.glm.PoissonRegressor": linear.generalized,
    "linear_model._glm.glm.GammaRegressor": linear.generalized,
    "linear_model._glm.glm.TweedieRegressor": linear.generalized,
    "tree._classes.DecisionTreeClassifier": tree.tree_classifier,
    "tree._classes.ExtraTreeClassifier": tree.tree_classifier,
    "tree._classes.DecisionTreeRegressor": tree.tree_regressor,
    "tree._classes.ExtraTreeRegressor": tree.tree_regressor,
    "ensemble._forest.RandomForestClassifier": tree.forest_classifier,
    "ensemble._forest.ExtraTreesClassifier": tree.forest_classifier,
    "ensemble._forest.RandomForestRegressor": tree.forest_regressor,
    "ensemble._forest.ExtraTreesRegressor": tree.forest_regressor,
    "ensemble._gb.GradientBoostingClassifier": boosting.classifier,
    "ensemble._gb.GradientBoostingRegressor": boosting.regressor,
    "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": histogram.classifier,
    "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor": histogram.regressor,
    "naive_bayes.GaussianNB": other.gaussian,
    "svm._classes.SVC": other.vector_classifier,
    "svm._classes.NuSVC": other.vector_classifier,
    "svm._classes.SVR": other.vector_regressor,
    "svm._classes.NuSVR": other.vector_regressor,
    "preprocessing._data.StandardScaler": scale.standard,
    "preprocessing._data.MinMaxScaler": scale.min_max,
    "preprocessing._data.MaxAbsScaler": scale.max_abs,
    "preprocessing._data.RobustScaler": scale.robust,
    "impute._base.SimpleImputer": scale.imputer,
    "decomposition._pca.PCA": scale.components,
}
METHODS: Final = ("predict", "predict_proba", "transform")


def made_of(model: Any, order: Order) -> Made:
    """The shortcut of a fitted estimator. `order`: see `column.transformer`.

    Raises Unusual, or whatever a strange attribute leads to, where there is none.
    """
    kind = type(model)
    module, name = kind.__module__, kind.__qualname__
    require(module.startswith("sklearn.") and getattr(sys.modules[module], name) is kind)
    require(not vars(model).keys() & {*METHODS, "decision_function"} and makes_arrays(model))
    match f"{module.removeprefix('sklearn.')}.{name}":
        case "pipeline.Pipeline":
            return _pipeline(model, order)
        case "model_selection._search.GridSearchCV" | "model_selection._search.RandomizedSearchCV":
            made = made_of(model.best_estimator_, order)
            if made.excerpt is None:
                return made
            copy = altered(model, best_estimator_=made.excerpt.model)
            return made._replace(excerpt=made.excerpt._replace(model=copy))
        case "compose._column_transformer.ColumnTransformer":
            names = getattr(model, "feature_names_in_", None)
            listed = None if names is None else [str(each) for each in names]
            width = int(model.n_features_in_)
            return column.transformer(
                model,
                order,
                lambda part: made_of(part, order),
                lambda chosen: indices_of(chosen, listed, width),
            )
        case known if known in _MAKERS:
            return _MAKERS[known](model)
        case _:
            raise Unusual


def _pipeline(model: Any, order: Order) -> Made:
    """Its steps in turn. Those without a shortcut are called as ever, if there is another with one."""
    require(getattr(model, "transform_input", None) is None)
    steps = [step for _, step in model.steps if step is not None and step != "passthrough"]
    made = [_attempt(step, order) for step in steps]
    for position in range(1, len(made)):
        if (later := made[position]) is not None and later.columns is not None:
            made[position] = None  # a ColumnTransformer after other steps is given a matrix
    require(any(made))
    before: list[Function] = [
        each.methods["transform"] if each else step.transform
        for each, step in zip(made[:-1], steps[:-1], strict=True)
    ]
    methods: dict[str, Function] = {}
    for name in METHODS:
        if name == "transform" and "predict" in methods:
            continue
        if made[-1] is not None and name in made[-1].methods:
            methods[name] = _chained(before, made[-1].methods[name])
        elif hasattr(steps[-1], name) and any(made[:-1]):
            methods[name] = _chained(before, getattr(steps[-1], name))
    excerpt = made[-1].excerpt if made[-1] else None
    if excerpt is not None:
        ends = [(name, excerpt.model if step is steps[-1] else step) for name, step in model.steps]
        excerpt = excerpt.within(altered(model, steps=ends), lambda last: _chained(before, last))
    return Made(
        methods,
        int(model.n_features_in_),
        made[0].columns if made[0] else None,
        excerpt,
        min(each.proof_rows for each in made if each),
    )


def _attempt(step: Any, order: Order) -> Made | None:
    try:
        return made_of(step, order)
    except Exception:  # noqa: BLE001 - whatever a strange attribute leads to
        return None


def _chained(functions: list[Function], last: Function) -> Function:
    match functions:
        case []:
            return last
        case [first]:
            return lambda rows: last(first(rows))
        case _:
            pass

    def run(rows: Any) -> Any:
        for function in functions:
            rows = function(rows)
        return last(rows)

    return run
