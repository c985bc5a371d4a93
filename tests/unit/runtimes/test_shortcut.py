"""Shortcuts answer what scikit-learn answers, to the last bit, and leave to it what they are not sure of."""

from __future__ import annotations

import functools
import gc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import joblib
import numpy as np
import pytest
import sklearn
from asking import settings
from hypothesis import given, strategies
from hypothesis.extra import numpy as arrays
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from modelport.runtimes.shortcut import family, histogram, tree
from modelport.runtimes.shortcut.form import version
from modelport.runtimes.shortcut.proof import same
from modelport.runtimes.sklearn import SklearnModel, SklearnRuntime

WIDTH = 5
GAPS_IN_EXTRA_TREES = pytest.mark.skipif(version() < (1, 6), reason="they take none before scikit-learn 1.6")
CLASSIFIERS = {
    "logistic": LogisticRegression(),
    "logistic-cv": LogisticRegressionCV(Cs=2, cv=2),
    "no-intercept": LogisticRegression(fit_intercept=False),
    "ridge": RidgeClassifier(),
    "ridge-cv": RidgeClassifierCV(),
    "perceptron": Perceptron(),
    "sgd": SGDClassifier(),
    "sgd-log": SGDClassifier(loss="log_loss"),
    "linear-svc": LinearSVC(),
    "tree": DecisionTreeClassifier(max_depth=4),
    "extra-tree": ExtraTreeClassifier(max_depth=4),
    "forest": RandomForestClassifier(12, max_depth=4),
    "extra-trees": ExtraTreesClassifier(12, max_depth=4),
    "boosting": GradientBoostingClassifier(n_estimators=8),
    "boosting-zero": GradientBoostingClassifier(n_estimators=8, init="zero"),
    "histogram": HistGradientBoostingClassifier(max_iter=12),
    "bayes": GaussianNB(),
    "svc": SVC(),
    "nu-svc": NuSVC(nu=0.1),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
    "long": make_pipeline(SimpleImputer(), RobustScaler(), "passthrough", PCA(3), SVC(kernel="poly")),
    "foreign-step": make_pipeline(QuantileTransformer(n_quantiles=9), LogisticRegression()),
    "foreign-end": make_pipeline(SimpleImputer(strategy="median"), KMeans(3, n_init=1)),
    "search": GridSearchCV(
        make_pipeline(MaxAbsScaler(), LogisticRegression()), {"logisticregression__C": [1.0]}
    ),
}
REGRESSORS = {
    "linear": LinearRegression(),
    "ridge": Ridge(),
    "ridge-cv": RidgeCV(),
    "lasso": Lasso(0.01),
    "lasso-cv": LassoCV(cv=2),
    "elastic": ElasticNet(0.01),
    "elastic-cv": ElasticNetCV(cv=2),
    "bayesian": BayesianRidge(),
    "huber": HuberRegressor(),
    "sgd": SGDRegressor(),
    "linear-svr": LinearSVR(),
    "poisson": PoissonRegressor(),
    "gamma": GammaRegressor(),
    "tweedie": TweedieRegressor(),
    "tree": DecisionTreeRegressor(max_depth=4),
    "extra-tree": ExtraTreeRegressor(max_depth=4),
    "forest": RandomForestRegressor(12, max_depth=4),
    "extra-trees": ExtraTreesRegressor(12, max_depth=4),
    "boosting": GradientBoostingRegressor(n_estimators=8),
    "histogram": HistGradientBoostingRegressor(max_iter=12),
    "histogram-poisson": HistGradientBoostingRegressor(loss="poisson", max_iter=8),
    "svr": SVR(),
    "nu-svr": NuSVR(),
}
TRANSFORMERS = {
    "standard": StandardScaler(),
    "center": StandardScaler(with_std=False),
    "min-max": MinMaxScaler(),
    "clip": MinMaxScaler(clip=True),
    "max-abs": MaxAbsScaler(),
    "robust": RobustScaler(),
    "impute": SimpleImputer(),
    "impute-often": SimpleImputer(strategy="most_frequent"),
    "impute-zero": SimpleImputer(strategy="constant", fill_value=0.0),
    "components": PCA(2),
    "white": PCA(2, whiten=True),
}
NAMES = [
    *(f"{name}-{classes}" for name in CLASSIFIERS for classes in (2, 3)),
    *(f"{name}-values" for name in REGRESSORS),
    *(f"{name}-transform" for name in TRANSFORMERS),
]


def rows_of(count, seed=0):
    return np.random.default_rng(seed).normal(0.5, 2, (count, WIDTH))


@functools.cache
def fitted(name, gaps=False):
    kind, _, task = name.rpartition("-")
    rows = rows_of(90)
    chance = np.random.default_rng(1)
    if gaps:
        rows[chance.random(rows.shape) < 0.1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task == "values":
            return sklearn.base.clone(REGRESSORS[kind]).fit(rows, np.exp(rows_of(90)[:, 0] / 9))
        if task == "transform":
            return sklearn.base.clone(TRANSFORMERS[kind]).fit(rows)
        labels = np.array(["ab", "c", "def"])[chance.integers(0, int(task), 90)]
        return sklearn.base.clone(CLASSIFIERS[kind]).fit(rows, labels)


@functools.cache
def loaded(name, gaps=False):
    """The model with shortcuts, and without."""
    model = fitted(name, gaps)
    return SklearnModel(model, settings(), "test"), SklearnModel(model, settings(shortcuts=False), "test")


def outcome(model, rows, proba):
    """What is answered, or what is said of the error."""
    try:
        return model.predict({"": rows}, {"predict_proba": True} if proba else {})["output-0"]
    except Exception as error:  # noqa: BLE001 - compared
        return f"{type(error).__name__}: {error}"


def agree(one, other):
    return one == other if isinstance(one, str) or isinstance(other, str) else same(one, other)


def shortcuts(model, **changes):
    return sorted(SklearnModel(model, settings(**changes), "test")._shortcuts)


# Equality


@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_is_answered_for_without_being_asked(name, monkeypatch):
    """Lost otherwise: the time that shortcuts save, in silence."""
    quick, own = loaded(name)
    rows = rows_of(4, 5)
    methods = sorted(quick._shortcuts)
    assert methods, "no shortcut"
    assert quick.remarks == ("predicts by shortcut",)
    expected = [outcome(own, rows, method == "predict_proba") for method in methods]
    model = quick._model

    def refuse(_):
        raise AssertionError("asked")

    for method in methods:
        monkeypatch.setattr(model, method, refuse, raising=False)
    answers = [outcome(quick, rows, method == "predict_proba") for method in methods]
    assert [agree(*pair) for pair in zip(expected, answers, strict=True)] == [True] * len(methods)


FLOATS = (
    strategies.floats(-1e3, 1e3, width=32)
    | strategies.floats(width=32)
    | strategies.sampled_from([0.0, -0.0, 1e30])
)
TABLES = strategies.integers(1, 40).flatmap(
    lambda rows: (
        arrays.arrays(np.float64, (rows, WIDTH), elements=FLOATS, fill=strategies.floats(-9, 9))
        | arrays.arrays(np.float32, (rows, WIDTH), elements=FLOATS, fill=strategies.floats(-9, 9, width=32))
        | arrays.arrays(np.int64, (rows, WIDTH), elements=strategies.integers(-99, 99))
        | arrays.arrays(np.uint8, (rows, WIDTH))
        | arrays.arrays(np.float16, (rows, WIDTH), elements=strategies.floats(-9, 9, width=16))
        | arrays.arrays(np.bool_, (rows, WIDTH))
    )
)


@hypothesis.settings(max_examples=500, deadline=None)
@given(strategies.sampled_from(NAMES), TABLES, strategies.booleans(), strategies.booleans())
def test_any_table_is_answered_or_refused_as_by_the_estimator(name, rows, proba, is_fortran):
    """Lost otherwise: a label, a last digit, a dtype or an error that scikit-learn would not have given."""
    quick, own = loaded(name)
    proba = proba and hasattr(own._model, "predict_proba")
    table = np.asfortranarray(rows) if is_fortran else rows
    before = table.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, answer = outcome(own, table, proba), outcome(quick, table, proba)
    assert agree(expected, answer), (name, expected, answer)
    assert same(before, table), "the client's rows were changed"


@pytest.mark.parametrize(
    "name",
    [
        "tree-2",
        "forest-3",
        pytest.param("extra-trees-2", marks=GAPS_IN_EXTRA_TREES),
        "forest-values",
        "histogram-3",
        "histogram-values",
        "long-2",
        "impute-transform",
    ],
)
@pytest.mark.parametrize("rows", [1, 8])
def test_missing_values_take_the_way_that_was_learned(name, rows):
    """Lost otherwise: a forest sends NaN down the wrong branch."""
    quick, own = loaded(name, gaps=True)
    assert quick._shortcuts
    table = rows_of(rows, 3)
    table[:, 1] = np.nan
    answer = quick._shortcuts[min(quick._shortcuts)]({"": table})
    assert not isinstance(answer, str)
    assert agree(outcome(own, table, False), outcome(quick, table, False))


def test_trees_too_large_to_copy_answer_the_same(monkeypatch):
    """Lost otherwise: large forests, or the memory that copies of them take."""
    monkeypatch.setattr(tree, "_MOST_BYTES", 10)
    monkeypatch.setattr(histogram, "_MOST_JOINED", 10)
    for name in ("forest-3", "histogram-3"):
        model = fitted(name)
        quick = SklearnModel(model, settings(), "test")
        assert sorted(quick._shortcuts) == ["predict", "predict_proba"]
        for rows in (rows_of(1), rows_of(300)):
            assert same(quick._shortcuts["predict_proba"]({"": rows}), model.predict_proba(rows))


def test_batches_of_every_size_answer_the_same():
    """Lost otherwise: forests and boosting answer otherwise in large batches, which are walked in parts."""
    for name in ("forest-3", "forest-values", "histogram-3", "histogram-values", "boosting-3"):
        quick, own = loaded(name)
        for count in (1, 2, 700, 6000):
            rows = rows_of(count, count)
            for proba in (False, True) if hasattr(own._model, "predict_proba") else (False,):
                assert agree(outcome(own, rows, proba), outcome(quick, rows, proba)), (name, count)


def test_threads_do_not_disturb_each_other():
    """Lost otherwise: several requests at a time mix their rows."""
    for name in ("forest-3", "histogram-values", "long-2"):
        quick, own = loaded(name)
        tables = [rows_of(1 + index % 7, index) for index in range(40)]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda table, quick=quick: outcome(quick, table, False), tables))
        assert all(
            agree(outcome(own, table, False), each) for table, each in zip(tables, answers, strict=True)
        )


# None where something is unusual


class Shy(LogisticRegression):
    """Somebody's own."""


def test_a_subclass_is_asked_itself():
    """Lost otherwise: a user's `predict` is passed by."""
    rows, labels = rows_of(30), np.arange(30) % 3
    assert shortcuts(Shy().fit(rows, labels)) == []
    assert shortcuts(make_pipeline(Shy()).fit(rows, labels)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "predict", lambda table: np.zeros(len(table))),
        lambda model: setattr(model, "coef_", model.coef_.astype(object)),
        lambda model: setattr(model, "coef_", model.coef_[:2]),
        lambda model: setattr(model, "coef_", model.coef_ * np.nan),
        lambda model: setattr(model, "intercept_", model.intercept_.tolist()),
        lambda model: setattr(model, "classes_", model.classes_.tolist()),
        lambda model: delattr(model, "intercept_"),
    ],
    ids=["method", "dtype", "shape", "nan", "intercept", "classes", "gone"],
)
def test_strange_attributes_are_the_estimators_own_affair(change):
    """Lost otherwise: a model that was changed by hand, or saved by another version, answers nonsense."""
    model = LogisticRegression().fit(rows_of(30), np.arange(30) % 3)
    change(model)
    assert shortcuts(model) == []


def test_other_versions_of_scikit_learn_are_asked(monkeypatch):
    """Lost otherwise: a release that computes otherwise is answered for as if it were another."""
    model = fitted("logistic-2")
    monkeypatch.setattr(sklearn, "__version__", "99.0.1")
    assert shortcuts(model) == []


def test_settings_of_scikit_learn_that_change_answers_are_heeded():
    """Lost otherwise: frames that were asked for come as arrays."""
    model = fitted("standard-transform")
    with sklearn.config_context(transform_output="pandas"):
        assert shortcuts(model) == []
    told = sklearn.base.clone(model).fit(rows_of(20)).set_output(transform="pandas")
    assert shortcuts(told) == []


def test_a_forest_with_more_threads_uses_them():
    """Lost otherwise: --threads 4 has no effect on large batches."""
    model = RandomForestClassifier(5).fit(rows_of(30), np.arange(30) % 2)
    assert shortcuts(model, threads=2) == []
    assert shortcuts(model, threads=1) == ["predict", "predict_proba"]


def test_shortcuts_can_be_switched_off():
    """Lost otherwise: no way to tell whether a shortcut is at fault."""
    model = SklearnModel(fitted("logistic-2"), settings(shortcuts=False), "test")
    assert model._shortcuts == {}
    assert model.remarks == ()


def test_a_shortcut_that_differs_is_found_out(monkeypatch, caplog):
    """Lost otherwise: wrong answers, where a shortcut has a mistake."""
    model = fitted("ridge-values")

    def wrong(estimator):
        made = family.linear.regressor(estimator)
        values = made.methods["predict"]
        return made._replace(methods={"predict": lambda rows: np.nextafter(values(rows), np.inf)})

    monkeypatch.setitem(family._MAKERS, "linear_model._ridge.Ridge", wrong)
    with caplog.at_level("DEBUG", "modelport"):
        assert shortcuts(model) == []
    assert "the shortcut of predict is not proven to answer as its own method does" in caplog.text


def test_a_failing_shortcut_costs_no_answer():
    """Lost otherwise: a request, to a mistake in a shortcut."""
    quick, own = SklearnModel(fitted("ridge-values"), settings(), "test"), loaded("ridge-values")[1]

    def fail(_):
        raise ZeroDivisionError

    quick._shortcuts = {"predict": fail}
    assert agree(outcome(own, rows_of(3), False), outcome(quick, rows_of(3), False))


@pytest.mark.parametrize("rows", [rows_of(2)[:, :3], rows_of(2)[0], rows_of(0), rows_of(2).astype(object)])
def test_tables_of_other_shapes_are_refused_in_scikit_learns_words(rows):
    """Lost otherwise: an error that tells what is wrong with the table."""
    quick, own = loaded("scaled-3")
    said = outcome(own, rows, False)
    assert agree(said, outcome(quick, rows, False))


def test_a_model_that_is_unloaded_is_gone_at_once(tmp_path):
    """Where it held itself, models that come and go filled the memory: the collector is off while one is loaded."""
    joblib.dump(
        RandomForestClassifier(5, random_state=0).fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.joblib"
    )
    gc.disable()
    try:
        model = SklearnRuntime.load(tmp_path / "model.joblib", settings())
        model.predict({"": np.zeros((1, 1))}, {})
        assert model.remarks == ("predicts by shortcut",)
        forest = weakref.ref(model._model)
        del model
        assert forest() is None
    finally:
        gc.enable()
