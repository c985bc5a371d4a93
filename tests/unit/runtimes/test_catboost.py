"""CatBoost models answer as the class does that trained them, from a file that does not say which it was."""

from __future__ import annotations

import catboost
import joblib
import numpy as np
import pandas as pd
import pytest
from asking import answer, columns, settings
from sklearn import datasets

from modelport.protocol.errors import InvalidInput
from modelport.runtimes.catboost import CatboostRuntime
from modelport.runtimes.sklearn import SklearnRuntime
from modelport.server.runtime import LoadError
from modelport.server.signature import TensorSpec

IRIS = datasets.load_iris(as_frame=True)
X, Y = IRIS.data.to_numpy(), IRIS.target.to_numpy()
QUICK = {"iterations": 5, "verbose": 0, "allow_writing_files": False, "random_seed": 0, "thread_count": 2}


def people(rows=80):
    chance = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"age": chance.uniform(1, 80, rows).round(1), "city": chance.choice(["Bern", "Köln", "Rom"], rows)}
    )
    return frame, np.where((frame["city"] == "Rom") | (frame["age"] > 60), "stays", "leaves")


@pytest.fixture
def serve(tmp_path):
    def served(model, **changes):
        path = tmp_path / "model.cbm"
        model.save_model(str(path))
        return CatboostRuntime.load(path, settings(**changes))

    return served


@pytest.mark.parametrize(
    "label",
    [Y, IRIS.target_names[Y], Y > 0, IRIS.target_names[Y.clip(0, 1)]],
    ids=["int", "text", "bool", "two"],
)
def test_a_classifier_gives_flat_labels(serve, label):
    """Lost otherwise: multiclass labels arrive as a column, binary ones as numbers."""
    model = catboost.CatBoostClassifier(**QUICK).fit(X, label)
    loaded = serve(model)
    expected = model.predict(X).reshape(-1)
    got = answer(loaded, X)
    assert got.tolist() == expected.tolist()
    assert loaded.signature.inputs == (TensorSpec("input-0", "FP64", (-1, 4)),)
    assert np.array_equal(answer(loaded, X, predict_proba=True), model.predict_proba(X))
    assert np.array_equal(answer(serve(model, predict_proba=True), X), model.predict_proba(X))


@pytest.mark.parametrize("loss", ["RMSE", "Poisson", "RMSEWithUncertainty"])
def test_a_regressor_gives_what_its_class_gives(serve, loss):
    """Lost otherwise: a Poisson model answers with logarithms."""
    model = catboost.CatBoostRegressor(**QUICK, loss_function=loss).fit(X, Y + 1)
    loaded = serve(model, predict_proba=True)
    expected = model.predict(X)
    assert np.array_equal(answer(loaded, X), expected)
    assert len(loaded.signature.outputs[0].shape) == expected.ndim
    assert "no classifier: values are served" in loaded.notes[0]
    with pytest.raises(InvalidInput, match="no classifier"):
        answer(loaded, X, predict_proba=True)


def test_text_columns(serve):
    """Lost otherwise: categories, which are what CatBoost is chosen for."""
    frame, label = people()
    model = catboost.CatBoostClassifier(**QUICK).fit(frame, label, cat_features=["city"])
    loaded = serve(model)
    assert [spec.datatype for spec in loaded.signature.inputs] == ["FP64", "BYTES"]
    assert loaded.description == "CatBoost Logloss, 2 columns (age FP64, city BYTES), 2 classes, 5 trees"
    sent = columns(frame)
    sent["age"][1], sent["city"][2] = None, "Oslo"
    changed = frame.copy()
    changed.loc[1, "age"], changed.loc[2, "city"] = np.nan, "Oslo"
    expected = model.predict(changed).tolist()
    assert answer(loaded, sent).tolist() == expected
    assert answer(loaded, dict(reversed(sent.items()))).tolist() == expected
    assert answer(loaded, {"0": sent["age"], "1": sent["city"]}).tolist() == expected
    sent["city"][3] = None
    with pytest.raises(
        InvalidInput, match='row 3, column "city": null, but CatBoost takes no missing category'
    ):
        answer(loaded, sent)


def test_missing_numbers(serve):
    """Lost otherwise: nulls, which CatBoost itself takes."""
    model = catboost.CatBoostClassifier(**QUICK).fit(IRIS.data, Y)
    sent = X.astype(object)
    sent[::3, 0] = None
    assert np.array_equal(answer(serve(model), sent), model.predict(sent.astype(float)).reshape(-1))


def test_a_broken_file_says_so(tmp_path):
    """Lost otherwise: a C++ message without a file name."""
    path = tmp_path / "model.cbm"
    path.write_bytes(b"nothing")
    with pytest.raises(LoadError, match=r"model.cbm: CatBoost [\d.]+ cannot read it"):
        CatboostRuntime.load(path, settings())


def test_a_pickled_model(tmp_path):
    """Lost otherwise: CatBoostClassifier saved with joblib like everything else."""
    frame, label = people()
    model = catboost.CatBoostClassifier(**QUICK, cat_features=["city"]).fit(frame, label)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert answer(loaded, columns(frame)).tolist() == model.predict(frame).tolist()
