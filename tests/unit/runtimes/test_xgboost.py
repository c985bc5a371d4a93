"""XGBoost boosters answer as `Booster.predict` does, from every file form and in every form of table."""

from __future__ import annotations

import json
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import xgboost
from asking import answer, columns, settings
from sklearn import datasets
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport.protocol.errors import InvalidInput
from modelport.runtimes.sklearn import SklearnRuntime
from modelport.runtimes.xgboost import XgboostRuntime
from modelport.server.runtime import LoadError
from modelport.server.signature import Signature, TensorSpec

IRIS = datasets.load_iris(as_frame=True)
X, Y = IRIS.data.to_numpy(), IRIS.target.to_numpy()
CANCER = datasets.load_breast_cancer(return_X_y=True)

stores_categories = pytest.mark.skipif(
    tuple(map(int, xgboost.__version__.split(".")[:2])) < (3, 1),
    reason="XGBoost stores categories from 3.1 on",
)


def train(parameters, data, label, rounds=5, **more):
    return xgboost.train({"seed": 0, **parameters}, xgboost.DMatrix(data, label, **more), rounds)


def people(rows=80):
    chance = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age": chance.uniform(1, 80, rows).round(1),
            "city": pd.Categorical(chance.choice(["Bern", "Genf", "Rom"], rows)),
            "zone": pd.Categorical(chance.choice([10, 20, 30], rows)),
            "count": chance.integers(0, 9, rows),
        }
    )
    return frame, ((frame["city"] == "Rom") | (frame["zone"] == 20)).to_numpy(int)


@pytest.fixture
def serve(tmp_path):
    def served(booster, suffix=".ubj", written="ubj", **changes):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(booster.save_raw(written))
        assert XgboostRuntime.recognises(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return XgboostRuntime.load(path, settings(**changes))

    return served


@pytest.mark.parametrize("suffix", [".ubj", ".bst", ".json", ".model", ".deprecated"])
@pytest.mark.parametrize("written", ["ubj", "json"])
def test_every_file_form_loads_whatever_its_ending(serve, suffix, written):
    """Lost otherwise: KServe's `.bst` holds UBJSON or JSON, depending on who saved it."""
    booster = train({"objective": "multi:softprob", "num_class": 3}, X, Y)
    loaded = serve(booster, suffix, written)
    assert loaded.platform == f"xgboost_{written}"
    assert np.array_equal(answer(loaded, X), booster.predict(xgboost.DMatrix(X)))


@pytest.mark.parametrize(
    ("parameters", "data", "shape"),
    [
        ({"objective": "multi:softprob", "num_class": 3}, (X, Y), (-1, 3)),
        ({"objective": "multi:softmax", "num_class": 3}, (X, Y), (-1,)),
        ({"objective": "binary:logistic"}, CANCER, (-1,)),
        ({"objective": "reg:squarederror"}, datasets.load_diabetes(return_X_y=True), (-1,)),
        ({"objective": "reg:squarederror"}, (X, np.c_[Y, Y]), (-1, 2)),
        ({"booster": "gblinear"}, (X, Y), (-1,)),
        ({"booster": "dart"}, (X, Y), (-1,)),
    ],
    ids=["softprob", "softmax", "logistic", "regression", "two targets", "linear", "dart"],
)
def test_every_objective_answers_as_the_booster_does(serve, parameters, data, shape):
    """Lost otherwise: clients of KServe's xgbserver get another shape or another number."""
    booster = train(parameters, *data)
    loaded = serve(booster)
    expected = booster.predict(xgboost.DMatrix(data[0]))
    got = answer(loaded, data[0])
    assert np.array_equal(got, expected)
    assert got.dtype == np.float32
    assert loaded.signature.outputs == (TensorSpec("output-0", "FP32", shape),)
    assert len(shape) == got.ndim


def test_named_columns_in_any_order_and_missing_values(serve):
    """Lost otherwise: dictionaries and nulls, both of which XGBoost itself is at home with."""
    booster = train({}, IRIS.data, Y)
    loaded = serve(booster)
    assert [spec.name for spec in loaded.signature.inputs] == list(IRIS.data.columns)
    sent = X.astype(object)
    sent[::4, 1] = None
    expected = booster.predict(xgboost.DMatrix(pd.DataFrame(sent.astype(float), columns=IRIS.data.columns)))
    assert np.array_equal(answer(loaded, sent), expected)
    shuffled = columns(pd.DataFrame(sent, columns=IRIS.data.columns).iloc[:, ::-1])
    assert np.array_equal(answer(loaded, shuffled), expected)
    with pytest.raises(InvalidInput, match="the model takes 4 columns, got 3"):
        answer(loaded, X[:, :3])


@stores_categories
def test_categories_are_those_of_training(serve):
    """Lost otherwise: `Rom` becomes the first category that the request happens to name."""
    frame, label = people()
    booster = train({"objective": "binary:logistic"}, frame, label, enable_categorical=True)
    loaded = serve(booster)
    specs = {spec.name: spec for spec in loaded.signature.inputs}
    assert specs["city"].categories == ("Bern", "Genf", "Rom")
    assert specs["zone"].categories == (10, 20, 30)
    assert [spec.datatype for spec in loaded.signature.inputs] == ["FP32", "BYTES", "INT64", "INT64"]
    expected = booster.predict(xgboost.DMatrix(frame, enable_categorical=True))
    assert len(set(expected.tolist())) > 1
    sent = columns(frame)
    assert np.array_equal(answer(loaded, sent), expected)
    assert np.array_equal(answer(loaded, {name: values[:1] for name, values in sent.items()}), expected[:1])
    sent["city"][3] = None
    frame.loc[3, "city"] = None
    expected = booster.predict(xgboost.DMatrix(frame, enable_categorical=True))
    assert np.array_equal(answer(loaded, sent), expected)
    sent["city"][4] = "Oslo"
    with pytest.raises(InvalidInput, match='row 4, column "city": "Oslo" is not a category'):
        answer(loaded, sent)


def test_categories_of_the_signature_serve_older_files(serve):
    """Lost otherwise: files of XGBoost before 3.1 do not hold the categories."""
    frame, label = people()
    booster = train({}, frame, label, enable_categorical=True)
    expected = booster.predict(xgboost.DMatrix(frame, enable_categorical=True))
    content = json.loads(booster.save_raw("json"))
    content["learner"]["gradient_booster"]["model"].pop("cats", None)
    older = xgboost.Booster()
    older.load_model(bytearray(json.dumps(content), "utf-8"))
    sent = columns(frame.assign(city=frame["city"].cat.codes, zone=frame["zone"].cat.codes))
    assert np.array_equal(answer(serve(older), sent), expected)  # without them: codes
    names = ("Bern", "Genf", "Rom")
    signature = Signature(
        (
            TensorSpec("age", "FP32"),
            TensorSpec("city", "BYTES", (-1,), names),
            TensorSpec("zone", "INT64", (-1,), (10, 20, 30)),
            TensorSpec("count", "INT64"),
        ),
        kind="columns",
    )
    assert np.array_equal(answer(serve(older, signature=signature), columns(frame)), expected)
    unsaid = Signature((TensorSpec("age", "FP32"), TensorSpec("city", "BYTES")), kind="columns")
    with pytest.raises(LoadError, match='column "city" is text, but neither the booster nor the signature'):
        serve(older, signature=unsaid)


def test_categories_that_xgboost_stores_wrongly_are_not_believed(serve, tmp_path):
    """Lost otherwise: XGBoost cuts "Köln" to "Köl", and the next city begins with its n."""
    frame, label = people()
    frame["city"] = frame["city"].cat.rename_categories({"Genf": "Köln"})
    booster = train({}, frame, label, enable_categorical=True)
    expected = booster.predict(xgboost.DMatrix(frame, enable_categorical=True))
    loaded = serve(booster)
    assert "does not hold the categories of city" in loaded.notes[0]
    inputs = (
        TensorSpec("age", "FP32"),
        TensorSpec("city", "BYTES", (-1,), tuple(frame["city"].cat.categories)),
        TensorSpec("zone", "INT64", (-1,), (10, 20, 30)),
        TensorSpec("count", "INT64"),
    )
    signature = Signature(inputs, kind="columns")
    assert np.array_equal(answer(serve(booster, signature=signature), columns(frame)), expected)

    model = xgboost.XGBClassifier(n_estimators=3, enable_categorical=True).fit(frame, label)
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(LoadError, match='column "city" is categorical, and the file does not hold'):
        SklearnRuntime.load(tmp_path / "model.joblib", settings())
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings(signature=signature))
    assert np.array_equal(answer(loaded, columns(frame)), model.predict(frame))


def test_rounds_after_the_best_are_mentioned(serve):
    """Lost otherwise: the wrapper stops at the best round, the booster does not, and the numbers differ."""
    data = xgboost.DMatrix(X, Y)
    booster = xgboost.train({}, data, 8)
    booster.set_attr(best_iteration="3")
    assert "training stopped early at round 3, but all 8 rounds are used" in serve(booster).notes[0]


@pytest.mark.parametrize(
    ("name", "content", "mine"),
    [
        ("model.json", b'{"nodes": []}', False),
        ("model.json", b'{\n "version": [3, 1, 0], "learner": {}}', True),
        ("model.bst", b"tree\nversion=v4\n", False),
        ("model.model", b"tree\r\nversion=v4\n", False),
        ("model.bst", b"binf\0\0\0", True),
        ("model.txt", b'{"learner": {}}', False),
    ],
)
def test_whose_file_it_is_follows_from_its_first_bytes(tmp_path, name, content, mine):
    """Lost otherwise: somebody's config.json is taken for a model, or LightGBM's .bst for XGBoost's."""
    path = tmp_path / name
    path.write_bytes(content)
    assert XgboostRuntime.recognises(path) is mine


def test_files_that_cannot_be_read_say_why(tmp_path):
    """Lost otherwise: a C++ stack trace."""
    path = tmp_path / "model.bst"
    path.write_bytes(b"binf\0\0\0")
    with pytest.raises(LoadError, match=r"old binary format: load it with pip install 'xgboost<3.1'"):
        XgboostRuntime.load(path, settings())
    path.write_bytes(b'{"learner": {}')
    with pytest.raises(LoadError, match=r"model.bst: XGBoost [\d.]+ cannot read it") as refused:
        XgboostRuntime.load(path, settings())
    assert "\n" not in str(refused.value)


def test_the_scikit_learn_wrapper_through_joblib(tmp_path):
    """Lost otherwise: XGBClassifier, which most people train with, alone and in a pipeline."""
    alone = xgboost.XGBClassifier(n_estimators=3, n_jobs=4).fit(IRIS.data, Y)
    piped = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=3)).fit(IRIS.data, Y)
    for model in (alone, piped):
        joblib.dump(model, tmp_path / "model.joblib")
        loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
        assert loaded.signature.outputs[0].datatype == "INT64"
        assert np.array_equal(answer(loaded, X), model.predict(IRIS.data))
        assert np.array_equal(answer(loaded, columns(IRIS.data.iloc[:, ::-1])), model.predict(IRIS.data))
        assert np.array_equal(
            answer(loaded, X, predict_proba=True), model.predict_proba(IRIS.data).astype("f8")
        )


@stores_categories
def test_the_wrapper_with_categories(tmp_path):
    """Lost otherwise: categories in a joblib file behave unlike those in a .ubj file."""
    frame, label = people()
    model = xgboost.XGBClassifier(n_estimators=3, enable_categorical=True).fit(frame, label)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert np.array_equal(answer(loaded, columns(frame)), model.predict(frame))
    sent = {**columns(frame[:1]), "city": ["Oslo"]}
    with pytest.raises(InvalidInput, match="not a category"):
        answer(loaded, sent)


def test_a_pickled_booster(tmp_path):
    """Lost otherwise: a bare Booster in a joblib file."""
    booster = train({}, X, Y)
    joblib.dump(booster, tmp_path / "model.joblib")
    loaded = SklearnRuntime.load(tmp_path / "model.joblib", settings())
    assert np.array_equal(answer(loaded, X), booster.predict(xgboost.DMatrix(X)))
