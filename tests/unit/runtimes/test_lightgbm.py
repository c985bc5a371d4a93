"""LightGBM boosters answer as `Booster.predict` does, in every form of table."""

from __future__ import annotations

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
from asking import answer, columns, settings
from sklearn import datasets
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport.protocol.errors import InvalidInput
from modelport.runtimes.lightgbm import LightgbmRuntime
from modelport.runtimes.sklearn import SklearnRuntime
from modelport.server.runtime import LoadError
from modelport.server.signature import TensorSpec

IRIS = datasets.load_iris(as_frame=True)
X, Y = IRIS.data.to_numpy(), IRIS.target.to_numpy()
SMALL = {"min_data_in_leaf": 2, "min_data_per_group": 1, "cat_smooth": 0, "verbose": -1, "seed": 0}


def train(parameters, data, label, **more):
    return lightgbm.train({**SMALL, **parameters}, lightgbm.Dataset(data, label, **more), 5)


def people(rows=80):
    chance = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age": chance.uniform(1, 80, rows).round(1),
            "city": pd.Categorical(chance.choice(["Bern", "Köln", "Rom"], rows)),
            "zone": pd.Categorical(chance.choice([10, 20, 30], rows)),
        }
    )
    return frame, ((frame["city"] == "Rom") | (frame["zone"] == 20)).to_numpy(int)


@pytest.fixture
def serve(tmp_path):
    def served(booster, suffix=".txt", **changes):
        path = tmp_path / f"model{suffix}"
        booster.save_model(path)
        assert LightgbmRuntime.recognises(path)
        return LightgbmRuntime.load(path, settings(**changes))

    return served


@pytest.mark.parametrize("suffix", [".txt", ".bst", ".lgb", ".model"])
def test_every_ending_loads(serve, suffix):
    """Lost otherwise: KServe's `.bst`, which LightGBM shares with XGBoost."""
    booster = train({"objective": "multiclass", "num_class": 3}, X, Y)
    loaded = serve(booster, suffix)
    assert loaded.description.startswith("LightGBM multiclass, 4 columns, 5 rounds")
    assert loaded.signature.inputs == (TensorSpec("input-0", "FP64", (-1, 4)),)
    assert loaded.signature.outputs == (TensorSpec("output-0", "FP64", (-1, 3)),)
    assert np.array_equal(answer(loaded, X), booster.predict(X))


@pytest.mark.parametrize("objective", ["binary", "regression", "poisson"])
def test_every_objective_answers_as_the_booster_does(serve, objective):
    """Lost otherwise: clients of KServe's lgbserver get another number."""
    booster = train({"objective": objective}, X, Y > 0)
    loaded = serve(booster)
    assert loaded.signature.outputs == (TensorSpec("output-0", "FP64"),)
    for data in (X, X.astype("f4")):
        assert np.array_equal(answer(loaded, data), booster.predict(data))


def test_named_columns_missing_values_and_large_integers(serve):
    """Lost otherwise: dictionaries, nulls, and ids beyond what FP32 tells apart."""
    big = IRIS.data.assign(big=2**24 + np.arange(150))
    booster = train({"objective": "regression"}, big, np.arange(150) % 2)
    loaded = serve(booster)
    sent = columns(big)
    sent["sepal width (cm)"][::4] = [None] * 38
    table = pd.DataFrame(sent).astype(float)
    expected = booster.predict(table)
    assert np.array_equal(answer(loaded, sent), expected)
    assert np.array_equal(answer(loaded, dict(reversed(sent.items()))), expected)
    assert np.array_equal(
        answer(loaded, np.full((1, 5), 2**24 + 1)), booster.predict(np.full((1, 5), 2.0**24 + 1))
    )
    with pytest.raises(InvalidInput, match="the model takes 5 columns, got 3"):
        answer(loaded, X[:, :3])


def test_categories_are_those_of_training_and_unknown_ones_are_missing(serve):
    """Lost otherwise: text columns, and the way in which LightGBM itself treats a new value."""
    frame, label = people()
    booster = train({"objective": "binary"}, frame, label)
    expected = booster.predict(frame)
    assert len(set(expected.tolist())) > 1
    loaded = serve(booster)
    assert [spec.datatype for spec in loaded.signature.inputs] == ["FP64", "BYTES", "FP64"]
    sent = columns(frame)
    assert np.array_equal(answer(loaded, sent), expected)
    sent["city"][2], sent["city"][3] = "Oslo", None
    changed = frame.assign(city=frame["city"].astype(object))
    changed.loc[2, "city"], changed.loc[3, "city"] = "Oslo", None
    expected = booster.predict(changed.astype({"city": "category"}))
    assert np.array_equal(answer(loaded, sent), expected)


def test_whose_file_it_is_follows_from_its_first_line(tmp_path):
    """Lost otherwise: a requirements.txt beside the model is taken for the model."""
    path = tmp_path / "requirements.txt"
    path.write_text("lightgbm\n")
    assert not LightgbmRuntime.recognises(path)
    with pytest.raises(LoadError, match="begins with the line `tree`"):
        LightgbmRuntime.load(path, settings())
    path.write_text("tree\nversion=v4\nnonsense")
    with pytest.raises(LoadError, match=r"LightGBM [\d.]+ cannot read it"):
        LightgbmRuntime.load(path, settings())


def test_the_scikit_learn_wrapper_through_joblib(tmp_path):
    """Lost otherwise: LGBMClassifier, which most people train with, alone and in a pipeline."""
    names = IRIS.target_names[Y]
    alone = lightgbm.LGBMClassifier(n_estimators=3, n_jobs=4, verbose=-1).fit(IRIS.data, names)
    piped = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=3, verbose=-1)).fit(
        IRIS.data, names
    )
    for model in (alone, piped):
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
        assert answer(loaded, X).tolist() == model.predict(IRIS.data).tolist()
        assert answer(loaded, columns(IRIS.data.iloc[:, ::-1])).tolist() == model.predict(IRIS.data).tolist()
        assert np.array_equal(answer(loaded, X, predict_proba=True), model.predict_proba(IRIS.data))


def test_the_wrapper_with_categories(tmp_path):
    """Lost otherwise: `train and valid dataset categorical_feature do not match`."""
    frame, label = people()
    model = lightgbm.LGBMClassifier(n_estimators=3, **SMALL).fit(frame, label)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert np.array_equal(answer(loaded, columns(frame)), model.predict(frame))


def test_a_pickled_booster(tmp_path):
    """Lost otherwise: a bare Booster in a joblib file."""
    booster = train({"objective": "binary"}, X, Y > 0)
    joblib.dump(booster, tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert np.array_equal(answer(loaded, X), booster.predict(X))
