"""CatBoost models answer as the class does that trained them, from a file that does not say which it was."""

from __future__ import annotations

import catboost
import joblib
import numpy as np
import pandas as pd
import pytest
from asking import answer, columns, settings
from sklearn import datasets
from sklearn.pipeline import make_pipeline

import modelport
from modelport.protocol.datatype import datatype_of
from modelport.protocol.errors import InvalidInput
from modelport.runtimes.catboost import CatboostRuntime
from modelport.runtimes.sklearn import SklearnRuntime
from modelport.server.runtime import LoadError
from modelport.server.saved import read_saved
from modelport.server.signature import TensorSpec
from modelport.server.warmup import warm_up

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
        InvalidInput, match='row 3, column "city": null, but the model takes no missing category'
    ):
        answer(loaded, sent)


def shops(rows=80):
    chance = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "store": chance.integers(10, 16, rows),
            "member": chance.integers(0, 2, rows).astype(bool),
            "spend": chance.uniform(1, 80, rows).round(1),
        }
    )
    return frame, np.where((frame["store"] % 2 == 0) ^ frame["member"], frame["spend"], 1.0)


EITHER = ["store", "member"]


@pytest.mark.parametrize("form", ["cbm", "pickled", "in a pipeline"])
def test_integer_categories(serve, tmp_path, form):
    """Lost otherwise: store and zip codes, which clients send as the numbers that the model was trained on."""
    frame, label = shops()
    model = catboost.CatBoostRegressor(**QUICK, cat_features=EITHER)
    model = (make_pipeline(model) if form == "in a pipeline" else model).fit(frame, label)
    if form == "cbm":
        loaded = serve(model)
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    either = [spec.text_or_integers for spec in loaded.signature.inputs]
    assert either == [True, True, False]
    asked = frame.head(9).assign(store=[10, 11, 12, 13, 14, 15, 99, -1, 2**62])
    expected = model.predict(asked).tolist()
    assert len(set(expected)) > 3
    sent = columns(asked)
    assert answer(loaded, sent).tolist() == expected
    text = [str(store) for store in sent["store"]]
    assert answer(loaded, sent | {"store": text}).tolist() == expected
    as_numbers = [int(member) for member in sent["member"]]
    assert answer(loaded, sent | {"member": as_numbers}).tolist() == expected
    some = asked.head(8)
    assert answer(loaded, some.to_numpy(float)).tolist() == expected[:8]
    assert (
        answer(loaded, some.assign(member=some["member"].astype(int)).to_numpy(str)).tolist() == expected[:8]
    )


@pytest.mark.parametrize("form", ["cbm", "in a pipeline"])
@pytest.mark.parametrize("value", [None, np.nan, 11.0, 11.5])
def test_what_is_no_category_for_catboost_is_none_here(serve, tmp_path, form, value):
    """Lost otherwise: an answer where the model itself has none, or a 500 for the client's mistake."""
    frame, label = shops()
    model = catboost.CatBoostRegressor(**QUICK, cat_features=EITHER)
    model = (make_pipeline(model) if form == "in a pipeline" else model).fit(frame, label)
    if form == "cbm":
        loaded = serve(model)
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    asked = frame.head(3).astype({"store": object})
    asked.loc[1, "store"] = value
    with pytest.raises((catboost.CatBoostError, TypeError)):
        model.predict(asked)
    sent = columns(asked)
    if value == 11.0:  # JSON's 10, 11.0, 12 are floats, of which the others may have been integers
        sent["store"] = [float(store) for store in sent["store"]]
    with pytest.raises(InvalidInput, match='column "store"'):
        answer(loaded, sent)


def test_text_features_take_no_integers(serve):
    """Lost otherwise: an error of CatBoost's, a 500, for what the signature lets through."""
    frame = pd.DataFrame({"said": ["good day", "bad day", "good"] * 20, "age": range(60)})
    model = catboost.CatBoostClassifier(**QUICK).fit(frame, [0, 1, 0] * 20, text_features=["said"])
    loaded = serve(model)
    assert not any(spec.text_or_integers for spec in loaded.signature.inputs)
    assert answer(loaded, columns(frame.head(5))).tolist() == model.predict(frame.head(5)).tolist()
    with pytest.raises(InvalidInput, match=r'column "said" takes text \(BYTES\), got INT64'):
        answer(loaded, {"said": [5], "age": [1]})


@pytest.mark.parametrize("dtype", ["int64", "int8", "category", "bool", "object"])
def test_a_saved_signature_says_what_the_frame_had(tmp_path, dtype):
    """Lost otherwise: text, and categories that come first after the rows that were saved."""
    frame, label = shops()
    if dtype == "bool":
        frame["store"] = frame["store"] > 12
    frame["store"] = frame["store"].astype(dtype)
    model = catboost.CatBoostRegressor(**QUICK, cat_features=EITHER).fit(frame, label)
    folder = modelport.save(model, tmp_path / "saved", example=frame.head(3))
    found = read_saved(folder)
    loaded = CatboostRuntime.load(folder / "model.cbm", settings(signature=found.signature))
    declared = {"int8": "INT8", "bool": "BOOL"}.get(dtype, "INT64")
    store = TensorSpec("store", declared, text_or_integers=True)
    assert loaded.signature.inputs[0] == store
    assert warm_up(loaded, found) == (True, "warm-up ok")
    asked = frame.tail(9).astype({"store": object if dtype == "category" else dtype})
    if dtype == "category":
        asked.loc[asked.index[0], "store"] = 99
    expected = model.predict(asked).tolist()
    sent = columns(asked)
    assert answer(loaded, sent).tolist() == expected
    assert answer(loaded, sent | {"store": [str(int(value)) for value in sent["store"]]}).tolist() == expected


def test_a_saved_array_of_integers(tmp_path):
    """Lost otherwise: a model without column names, of which `save` keeps a matrix of FP64."""
    frame, label = shops()
    rows = frame.assign(spend=frame["spend"].astype(int)).to_numpy(int)
    model = catboost.CatBoostRegressor(**QUICK, cat_features=[0, 1]).fit(rows, label)
    folder = modelport.save(model, tmp_path / "saved", example=rows[:3])
    found = read_saved(folder)
    loaded = CatboostRuntime.load(folder / "model.cbm", settings(signature=found.signature))
    assert [(spec.name, spec.text_or_integers) for spec in loaded.signature.inputs] == [
        ("0", True),
        ("1", True),
        ("2", False),
    ]
    assert warm_up(loaded, found) == (True, "warm-up ok")
    assert answer(loaded, rows).tolist() == model.predict(rows).tolist()
    assert answer(loaded, rows.astype(float)).tolist() == model.predict(rows).tolist()


def targets(*shape):
    return np.abs(np.random.default_rng(6).normal(size=(len(X), *shape)))


REGRESSIONS = {
    "RMSE": (targets(), ()),
    "MultiRMSE": (targets(2), (2,)),
    "MultiRMSEWithMissingValues": (targets(3), (3,)),
    "MultiQuantile:alpha=0.1,0.5,0.9": (targets(), (3,)),
    "RMSEWithUncertainty": (targets(), (2,)),
    "Poisson": (targets(), ()),
    "SurvivalAft:dist=Normal": (targets(2).cumsum(axis=1), ()),
}


@pytest.mark.parametrize("loss", REGRESSIONS)
def test_values_of_several_targets_are_declared(serve, loss):
    """Lost otherwise: clients that make room for what the metadata says, which said nothing."""
    wanted, axes = REGRESSIONS[loss]
    model = catboost.CatBoostRegressor(**QUICK, loss_function=loss).fit(X, wanted)
    loaded = serve(model)
    got = answer(loaded, X)
    assert np.array_equal(got, model.predict(X))
    assert loaded.signature.outputs == (TensorSpec("output-0", "FP64", (-1, *axes)),)
    assert got.shape == (len(X), *axes)
    assert answer(loaded, X[:1]).shape == (1, *axes)


CLASSIFICATIONS = {
    "Logloss": Y > 0,
    "CrossEntropy": targets() % 1,
    "MultiClass": Y,
    "MultiClassOneVsAll": IRIS.target_names[Y],
    "MultiLogloss": (targets(3) > 0.5).astype(int),
    "MultiCrossEntropy": targets(3) % 1,
}


@pytest.mark.parametrize("proba", [False, True])
@pytest.mark.parametrize("loss", CLASSIFICATIONS)
def test_labels_and_probabilities_are_declared_as_they_come(serve, loss, proba):
    """Lost otherwise: the same for classifiers, where each class may be a question of its own."""
    model = catboost.CatBoostClassifier(**QUICK, loss_function=loss).fit(X, CLASSIFICATIONS[loss])
    loaded = serve(model, predict_proba=proba)
    for rows in (X, X[:1]):
        got = answer(loaded, rows)
        expected = model.predict_proba(rows) if proba else model.predict(rows)
        assert got.tolist() == (expected if expected.shape[1:] != (1,) else expected.reshape(-1)).tolist()
        (spec,) = loaded.signature.outputs
        assert (spec.datatype, spec.shape) == (datatype_of(got.dtype), (-1, *got.shape[1:]))


SAVED = {
    "MultiClass": catboost.CatBoostClassifier(**QUICK),
    "MultiClass, bare": catboost.CatBoost(QUICK | {"loss_function": "MultiClass"}),
    "Poisson": catboost.CatBoostRegressor(**QUICK, loss_function="Poisson"),
    "Poisson, bare": catboost.CatBoost(QUICK | {"loss_function": "Poisson"}),
    "RMSEWithUncertainty": catboost.CatBoostRegressor(**QUICK, loss_function="RMSEWithUncertainty"),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_model_predicts_what_was_saved_with_it(tmp_path, name):
    """Lost otherwise: a model that is refused, for its file answers another form than its class."""
    folder = modelport.save(SAVED[name].fit(X, Y), tmp_path / "saved", example=X[:3])
    found = read_saved(folder)
    loaded = CatboostRuntime.load(folder / "model.cbm", settings(signature=found.signature))
    assert warm_up(loaded, found) == (True, "warm-up ok")
    assert (
        loaded.signature.outputs == CatboostRuntime.load(folder / "model.cbm", settings()).signature.outputs
    )


def test_probabilities_of_a_saved_model_are_declared(tmp_path):
    """Lost otherwise: metadata of the labels that were saved, where the server gives probabilities."""
    model = catboost.CatBoostClassifier(**QUICK).fit(X, Y)
    folder = modelport.save(model, tmp_path / "saved", example=X[:3])
    found = read_saved(folder).signature
    assert found.outputs[0].datatype == "INT64"
    loaded = CatboostRuntime.load(folder / "model.cbm", settings(signature=found, predict_proba=True))
    assert loaded.signature.outputs == (TensorSpec("output-0", "FP64", (-1, 3)),)


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
