"""A mistake in a shortcut to a sum over trees is found when a model is loaded, and it is found without asking all trees."""

from __future__ import annotations

import functools
from itertools import product

import numpy as np
import pytest
from asking import settings
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._forest import ForestClassifier, ForestRegressor
from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from modelport.runtimes.shortcut import histogram, tree
from modelport.runtimes.sklearn import SklearnModel
from modelport.runtimes.structure import final

TREES = 60
WRONG = 57


@functools.cache
def fitted(name):
    chance = np.random.default_rng(0)
    rows = chance.normal(0.5, 2, (150, 5))
    values = rows[:, 0] * rows[:, 1] + chance.normal(size=150)
    labels = np.digitize(values, [-1, 1])
    match name:
        case "labels":
            return forest().fit(rows, labels)
        case "values":
            return RandomForestRegressor(TREES, random_state=0).fit(rows, values)
        case "pipeline":
            return make_pipeline(StandardScaler(), forest()).fit(rows, labels)
        case "search":
            pipeline = make_pipeline(StandardScaler(), forest())
            return GridSearchCV(pipeline, {"randomforestclassifier__max_depth": [5]}, cv=2).fit(rows, labels)
        case "histogram":
            return HistGradientBoostingClassifier(max_iter=TREES).fit(rows, labels)
        case _:
            return HistGradientBoostingRegressor(max_iter=TREES).fit(rows, values)


def forest():
    """Leaves of one label alone have whole numbers, whose sum is the same in any order and dtype."""
    return RandomForestClassifier(TREES, min_samples_leaf=4, random_state=0)


def shortcuts(name):
    return sorted(SklearnModel(fitted(name), settings(), "test")._shortcuts)


NAMES = ["labels", "values", "pipeline", "search", "histogram", "histogram-values"]
OF_LABELS = ["labels", "pipeline", "search"]
FORESTS = [*OF_LABELS, "values"]
HISTOGRAMS = ["histogram", "histogram-values"]


@pytest.mark.parametrize("name", NAMES)
def test_one_without_a_mistake_is_used(name):
    """Lost otherwise: all that shortcuts save; and what is below proves nothing."""
    assert "predict" in shortcuts(name)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("wrong", [0, 1, WRONG, TREES - 1])
def test_a_wrong_leaf_of_one_tree_is_found(name, wrong, monkeypatch):
    """Lost otherwise: a forest of which one tree answers with its neighbour's leaf."""
    numbered, made = tree._numbered, []

    def faulty(each, first):
        made.append(first)
        return numbered(each, first + (len(made) == wrong + 1))

    monkeypatch.setattr(tree, "_numbered", faulty)
    assert shortcuts(name) == []
    assert len(made) == TREES


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_a_wrong_leaf_of_one_boosted_tree_is_found(name, monkeypatch):
    """Lost otherwise: boosting of which one tree answers with another's leaf."""
    joined = histogram._joined

    def faulty(trees, column):
        changed = [nodes.copy() for nodes in trees]
        changed[WRONG]["value"] = np.roll(changed[WRONG]["value"], 1)
        return joined(changed, column)

    monkeypatch.setattr(histogram, "_joined", faulty)
    assert shortcuts(name) == []


def in_wrong_order(real):
    return lambda trees, *rest: real(trees[::-1], *rest)


def halved(real):
    """Sums in FP32 for FP64."""
    return changed(real, lambda total: total.astype(np.float32))


def rounded(real):
    return changed(real, lambda total: total.astype(np.float32).astype(np.float64))


def transposed(real):
    """The same numbers in another layout, which what comes after may add up in another order."""
    return changed(real, np.ascontiguousarray)


def changed(real, change):
    def make(*parts):
        add = real(*parts)
        return lambda rows: change(add(rows))

    return make


@pytest.mark.parametrize("name", FORESTS)
@pytest.mark.parametrize("mistake", [in_wrong_order, halved, rounded])
def test_a_sum_in_another_order_or_dtype_is_found(name, mistake, monkeypatch):
    """Lost otherwise: last bits, or the dtype that clients were told."""
    way = "_added" if name == "values" else "_together"
    monkeypatch.setattr(tree, way, mistake(getattr(tree, way)))
    assert shortcuts(name) == []


@pytest.mark.parametrize(
    ("name", "mistake"), [*product(HISTOGRAMS, [halved, rounded]), ("histogram", transposed)]
)
def test_a_sum_of_boosted_trees_in_another_dtype_or_layout_is_found(name, mistake, monkeypatch):
    """Lost otherwise: last bits, or the dtype that clients were told."""
    monkeypatch.setattr(histogram, "_at_once", mistake(histogram._at_once))
    assert shortcuts(name) == []


def test_boosted_trees_in_another_order_are_found(monkeypatch):
    """Lost otherwise: last bits."""
    monkeypatch.setattr(
        histogram,
        "_at_once",
        lambda model, trees, start, real=histogram._at_once: real(model, trees[::-1], start),
    )
    assert shortcuts("histogram-values") == []


@pytest.mark.parametrize("name", FORESTS)
def test_another_way_of_adding_in_scikit_learn_is_found(name, monkeypatch):
    """Lost otherwise: a release that averages otherwise is answered for as if it were the one before.

    All of the shortcut's own ways agree then; only scikit-learn's methods tell.
    """
    kind, method = (ForestRegressor, "predict") if name == "values" else (ForestClassifier, "predict_proba")
    own = getattr(kind, method)

    def backwards(self, table):
        turned = object.__new__(type(self))
        turned.__dict__.update(self.__dict__, estimators_=self.estimators_[::-1])
        return own(turned, table)

    monkeypatch.setattr(kind, method, backwards)
    assert shortcuts(name) == (["predict"] if name != "values" else [])  # labels are the same either way


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_another_way_of_boosting_in_scikit_learn_is_found(name, monkeypatch):
    """Lost otherwise: a release that adds otherwise is answered for as if it were the one before."""
    own = BaseHistGradientBoosting._raw_predict
    monkeypatch.setattr(
        BaseHistGradientBoosting, "_raw_predict", lambda *given, **named: own(*given, **named) + 1e-12
    )
    assert "predict_proba" not in shortcuts(name)
    assert name == "histogram" or shortcuts(name) == []


@pytest.mark.parametrize("name", FORESTS)
def test_a_tree_that_is_not_like_the_others_is_no_shortcuts_affair(name, monkeypatch):
    """Lost otherwise: a tree that somebody has changed answers as it did before; few of the trees are asked themselves."""
    model, rows = fitted(name), np.ones((2, 5))
    method = "predict" if name == "values" else "predict_proba"
    before = getattr(model, method)(rows)
    own = final(model).estimators_[WRONG]
    monkeypatch.setitem(vars(own), method, lambda table, check_input: np.full_like(before, 99))
    after = SklearnModel(model, settings(), "test").predict({"": rows}, {"predict_proba": name != "values"})
    assert (after["output-0"] > before).all()


@pytest.mark.parametrize("name", OF_LABELS)
def test_few_trees_are_asked(name, monkeypatch):
    """Lost otherwise: a model's neighbours wait for milliseconds a call while it is loaded."""
    asked, own = set(), DecisionTreeClassifier.predict_proba

    def counted(self, *given, **named):
        asked.add(id(self))
        return own(self, *given, **named)

    monkeypatch.setattr(DecisionTreeClassifier, "predict_proba", counted)
    assert "predict" in shortcuts(name)
    assert 1 < len(asked) <= 3


def test_the_model_itself_stays_whole():
    """Lost otherwise: rows that a shortcut leaves to the estimator are answered by three of its trees."""
    for name in NAMES:
        model = fitted(name)
        before = str(model.get_params())
        shortcuts(name)
        assert str(model.get_params()) == before
    assert len(fitted("labels").estimators_) == TREES
    assert fitted("histogram").n_iter_ == TREES
