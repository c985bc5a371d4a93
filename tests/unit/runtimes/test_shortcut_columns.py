"""Shortcuts of models that take columns of numbers and text: no frame is made, and nothing else changes."""

from __future__ import annotations

import functools
import warnings

import hypothesis
import numpy as np
import pandas as pd
import pytest
import sklearn
from asking import ask, settings
from hypothesis import given, strategies
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from xgboost import XGBClassifier

from modelport.protocol.errors import InvalidInput
from modelport.runtimes.shortcut.proof import same
from modelport.runtimes.sklearn import SklearnModel

NUMBERS = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
TEXTS = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
SPLITS = {
    "usual": ((NUMBERS, ["age", "fare"]), (TEXTS, ["city", "sex"])),
    "strict": ((MinMaxScaler(), ["fare", "class"]), (OneHotEncoder(), ["sex", "class"])),
    "dropped": (
        (StandardScaler(), ["class"]),
        (OneHotEncoder(drop="first", sparse_output=False), ["sex", "class"]),
    ),
    "binary": ((OneHotEncoder(drop="if_binary"), ["sex", "class"]), (StandardScaler(), ["fare"])),
    "codes": (
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["sex", "class"]),
        ("passthrough", ["fare"]),
    ),
    "filled": (
        (make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OrdinalEncoder()), ["sex"]),
        (SimpleImputer(), ["age"]),
    ),
    "alone": ((StandardScaler(), ["fare", "class"]),),
    "components": ((make_pipeline(StandardScaler(), PCA(2)), ["fare", "class"]), (OneHotEncoder(), ["sex"])),
}
LASTS = {
    "logistic": LogisticRegression(),
    "ridge": Ridge(),
    "forest": RandomForestClassifier(12, max_depth=3),
    "values": RandomForestRegressor(12, max_depth=3),
    "histogram": HistGradientBoostingClassifier(max_iter=12),
    "xgboost": XGBClassifier(n_estimators=3, max_depth=2),
}


def people(count=80, seed=0):
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": [f"p{row}" for row in range(count)],
            "age": chance.uniform(1, 80, count).round(1),
            "city": chance.choice(["Bern", "Rom", "Wien"], count),
            "sex": chance.choice(["f", "m"], count),
            "class": chance.integers(1, 4, count),
            "fare": chance.exponential(30, count),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "city"] = None
    return frame


@functools.cache
def loaded(split, last):
    """The model with shortcuts, and without."""
    frame = people()
    parts = [
        (sklearn.base.clone(part) if part != "passthrough" else part, names) for part, names in SPLITS[split]
    ]
    model = make_pipeline(make_column_transformer(*parts), sklearn.base.clone(LASTS[last]))
    model.fit(frame, (frame["fare"] + frame["class"] * 9 > 40).astype(int))
    return SklearnModel(model, settings(), "test"), SklearnModel(model, settings(shortcuts=False), "test")


def outcome(model, table, **parameters):
    try:
        return ask(model, table, **parameters)["output-0"]
    except Exception as error:  # noqa: BLE001 - compared
        return f"{type(error).__name__}: {error}"


def agree(one, other):
    return one == other if isinstance(one, str) or isinstance(other, str) else same(one, other)


def as_sent(frame):
    """Lists by column; None where nothing is known."""
    return {
        name: [None if value is None or value != value else value for value in frame[name].tolist()]
        for name in frame.columns
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("last", LASTS)
def test_a_table_goes_through_without_a_frame(split, last, monkeypatch):
    """Lost otherwise: nine tenths of the time of the most common kind of model in business."""
    quick, own = loaded(split, last)
    methods = sorted(quick._shortcuts)
    assert methods == (["predict"] if last in ("ridge", "values") else ["predict", "predict_proba"])
    tables = [as_sent(people(count, 3).assign(age=4.5, city="Rom")) for count in (1, 2, 30)]
    for method in methods:
        asked = {"predict_proba": True} if method == "predict_proba" else {}
        expected = [outcome(own, table, **asked) for table in tables]
        monkeypatch.setattr("modelport.runtimes.sklearn.frame", None)
        assert all(
            agree(outcome(quick, table, **asked), each) for table, each in zip(tables, expected, strict=True)
        )
        monkeypatch.undo()


NUMBER = (
    strategies.none()
    | strategies.floats(-1e3, 1e3)
    | strategies.sampled_from([1.0, 2.0, float("inf"), 1e300])
)
TEXT = strategies.none() | strategies.sampled_from(["f", "m", "Rom", "Wien", "elsewhere", "", "none"])
WHOLE = strategies.integers(1, 3) | strategies.integers(-5, 2**40)


@strategies.composite
def requests(draw):
    count = draw(strategies.integers(1, 6))

    def column(values):
        return draw(strategies.lists(values, min_size=count, max_size=count))

    sent = {
        "id": column(TEXT),
        "age": column(NUMBER),
        "city": column(TEXT),
        "sex": column(TEXT | strategies.sampled_from(["f", "m"])),
        "class": column(draw(strategies.sampled_from([WHOLE, NUMBER, strategies.integers(1, 3)]))),
        "fare": column(draw(strategies.sampled_from([NUMBER, strategies.floats(0, 99), WHOLE]))),
    }
    names = draw(strategies.permutations(list(sent)))
    left_out = draw(strategies.sampled_from([(), ("id",), ("id", "city"), ("age",)]))
    return {name: sent[name] for name in names if name not in left_out}


@hypothesis.settings(max_examples=300, deadline=None)
@given(
    strategies.sampled_from(sorted(SPLITS)),
    strategies.sampled_from(["logistic", "ridge", "forest", "histogram"]),
    requests(),
    strategies.booleans(),
)
def test_any_columns_are_answered_or_refused_as_by_the_estimator(split, last, sent, proba):
    """Lost otherwise: an unknown category, a missing value or an integer that is treated as scikit-learn does not."""
    quick, own = loaded(split, last)
    asked = {"predict_proba": True} if proba and last != "ridge" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, answer = outcome(own, sent, **asked), outcome(quick, sent, **asked)
    assert agree(expected, answer), (expected, answer)


def test_an_unknown_category_is_refused_in_the_same_words():
    """Lost otherwise: the client does not learn which value is wrong."""
    quick, _ = loaded("strict", "logistic")
    sent = as_sent(people(2)) | {"class": [9, 1]}
    assert "predict" in quick._shortcuts
    with pytest.raises(InvalidInput, match=r"9(\.0)? is not a category that the model knows"):
        ask(quick, sent)


@pytest.mark.parametrize("names", [True, False])
def test_a_matrix_of_numbers_is_taken_apart(names):
    """Lost otherwise: models of numbers alone that treat columns apart, asked with one tensor."""
    frame = people()[["class", "fare"]].astype(float)
    chosen = [["fare"], ["class"]] if names else [[1], [0]]
    split = make_column_transformer((StandardScaler(), chosen[0]), (MinMaxScaler(), chosen[1]))
    table = frame if names else frame.to_numpy()
    model = make_pipeline(split, LogisticRegression()).fit(table, frame["fare"] > 20)
    expected = model.predict_proba(table)
    quick = SklearnModel(model, settings(), "test")
    assert sorted(quick._shortcuts) == ["predict", "predict_proba"]
    assert same(quick._shortcuts["predict_proba"]({"": frame.to_numpy()}), expected)


def test_columns_by_position_hold_text_as_well():
    """Lost otherwise: models that were fitted on an array of objects."""
    frame = people().assign(age=3.0)[["fare", "sex"]]
    split = make_column_transformer((NUMBERS, [0]), (TEXTS, [1]))
    model = make_pipeline(split, LogisticRegression()).fit(frame.to_numpy(object), frame["fare"] > 20)
    quick, own = (
        SklearnModel(model, settings(), "test"),
        SklearnModel(model, settings(shortcuts=False), "test"),
    )
    assert quick._shortcuts
    for sent in ({"0": [3.5, 40.0], "1": ["f", "m"]}, {"0": [None, 40.0], "1": ["f", None]}):
        assert agree(outcome(own, sent), outcome(quick, sent))


def test_a_sparse_result_is_the_estimators_own_affair():
    """Lost otherwise: a sum over few of many columns, which is made in another order than over all."""
    frame = people()
    split = make_column_transformer((OneHotEncoder(), ["id"]), (StandardScaler(), ["fare"]))
    model = make_pipeline(split, LogisticRegression()).fit(frame, frame["fare"] > 20)
    assert not SklearnModel(model, settings(), "test")._shortcuts
