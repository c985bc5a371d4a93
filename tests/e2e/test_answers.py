"""Every kind of model that people bring, served as they would, answers what it answers by itself.

Whoever loses this gets wrong predictions without knowing.
"""

from __future__ import annotations

import json

import joblib
import lightgbm
import numpy as np
import pandas as pd
import process
import pytest
import xgboost
from process import PREDICTORS, serving
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import modelport
from modelport.client.rest import Client, ClientError

FRAME = pd.DataFrame(
    {
        "age": [20.0, 30.0, np.nan, 50.0, 60.0, 70.0] * 5,
        "city": ["Oslo", "Köln", "Oslo", "Bergen", "Köln", "Bergen"] * 5,
    }
)
CHURNED = np.array(["no", "no", "yes", "yes", "no", "yes"] * 5)


def pipeline():
    columns = make_column_transformer(
        (SimpleImputer(), ["age"]), (OneHotEncoder(sparse_output=False), ["city"])
    )
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, CHURNED)


@pytest.fixture(scope="module")
def kinds(models, iris, iris_file):
    """All files, and what each model answers by itself to the rows of iris."""
    rows, labels = iris
    three = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(rows, labels)
    three.save_model(models / "boosted.ubj")
    light = lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(rows, labels)
    light.booster_.save_model(models / "light.txt")
    named = LogisticRegression(max_iter=1000).fit(
        rows, np.array(["setosa", "versicolor", "virginica"])[labels]
    )
    modelport.save(named, models / "named", example=rows[:3])
    churn = pipeline()
    modelport.save(churn, models / "churn", example=FRAME.head(4))
    return {
        "iris": joblib.load(iris_file).predict(rows),
        "boosted": three.predict_proba(rows),
        "light": light.predict(rows),
        "named": named.predict(rows),
        "churn": churn,
    }


@pytest.fixture(scope="module")
def server(models, kinds):
    """One server for all files."""
    names = {
        "iris": "iris.joblib",
        "boosted": "boosted.ubj",
        "light": "light.txt",
        "named": "named",
        "churn": "churn",
    }
    with serving(*(f"--model={name}={models / path}" for name, path in names.items())) as server:
        yield server


def close(got, expected) -> bool:
    got, expected = np.asarray(got), np.asarray(expected)
    if expected.dtype.kind in "USO":
        return got.tolist() == expected.tolist()
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["iris", "boosted", "light", "named"])
def test_every_protocol_gives_the_models_own_answer(server, kinds, iris, name):
    """V1, V2 as JSON and V2 in binary agree with the model, so a client may choose any."""
    rows, expected = iris[0], kinds[name]
    client = server.client(name)
    assert close(client.predict(rows), expected)
    body = {"inputs": [{"name": "x", "shape": [150, 4], "datatype": "FP64", "data": rows.ravel().tolist()}]}
    (output,) = server.ask(f"/v2/models/{name}/infer", body).json["outputs"]
    assert close(np.reshape(output["data"], output["shape"]), expected)
    for inputs in ({"x": rows}, rows):
        (binary,) = client.infer(inputs).values()
        assert close(binary, expected)


def test_tables_take_nulls_and_categories(server, kinds):
    """Rows of a table, as objects with nulls, are predicted as the data frame that they came from."""
    churn, client = kinds["churn"], server.client("churn")
    assert client.predict(FRAME) == churn.predict(FRAME).tolist()
    assert client.predict([[None, "Oslo"], [60, "Köln"]]) == ["yes", "no"]
    binary = client.infer({"age": FRAME["age"].to_numpy(), "city": FRAME["city"].to_numpy(object)})
    assert close(next(iter(binary.values())), churn.predict(FRAME))


def test_an_unknown_category_is_named(server):
    """A category that the model does not know is the client's to put right, so the answer says which."""
    with pytest.raises(ClientError, match="Atlantis") as caught:
        server.client("churn").predict([{"age": 1.0, "city": "Atlantis"}])
    assert caught.value.status == 400


def test_probabilities_by_a_request_parameter(server, classifier, iris):
    """One client can ask for probabilities while others get labels."""
    client = server.client("iris")
    assert np.allclose(client.predict(iris[0][:9], predict_proba=True), classifier.predict_proba(iris[0][:9]))
    (binary,) = client.infer({"x": iris[0][:9]}, predict_proba=True).values()
    assert np.allclose(binary, classifier.predict_proba(iris[0][:9]))
    assert client.predict(iris[0][:9]) == classifier.predict(iris[0][:9]).tolist()


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_probabilities_for_the_whole_server(serve, iris_file, classifier, iris, how):
    """KServe's PREDICT_PROBA, which its manifests set, means the same here; a request may still ask for labels."""
    flags, env = (["--predict-proba"], {}) if how == "flag" else ([], {"PREDICT_PROBA": "true"})
    client = serve(iris_file, *flags, env=env).client("iris")
    assert np.allclose(client.predict(iris[0][:9]), classifier.predict_proba(iris[0][:9]))
    assert client.predict(iris[0][:9], predict_proba=False) == classifier.predict(iris[0][:9]).tolist()


def test_a_saved_model_warms_up(server):
    """A replica is ready only when it has predicted its example as it was predicted at home."""
    assert "warm-up ok" in server.stdout


def test_versions(serve, models, constants):
    """Clients may pin a version; the others get the highest number, not the last in the alphabet."""
    for version in ("2", "9", "10"):
        constants(models / "repository" / "price" / version / "model.joblib", float(version))
    constants(models / "repository" / "rate" / "model.joblib", 7)
    server = serve(models / "repository")
    assert server.client("price").predict([[0, 0]]) == [10.0]
    assert server.client("rate").predict([[0, 0]]) == [7.0]
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0, 0]}]}
    for version in ("2", "9", "10"):
        answer = server.ask(f"/v2/models/price/versions/{version}/infer", body).json
        assert answer["outputs"][0]["data"] == [float(version)]
        assert answer["model_version"] == version
    missing = server.ask("/v2/models/price/versions/3/infer", body)
    assert missing.status == 404
    assert "3" in missing.error
    assert sorted(server.ask("/v2/models/price").json["versions"]) == ["10", "2", "9"]


@pytest.fixture(scope="module")
def written():
    """One server for the forms of models that people write."""
    names = ("Mean", "Total", "Waiting", "Counting", "AsyncCounting", "Echo")
    with serving(*(f"--model={name.lower()}={PREDICTORS}:{name}" for name in names)) as server:
        yield server


@pytest.mark.parametrize(("name", "expected"), [("mean", [1.5, 3.5]), ("total", [3.0, 7.0])])
def test_own_models_answer_every_protocol(written, name, expected):
    """A class with arrays, and one with payloads as in KServe, both answer V1 and V2."""
    rows = [[1.0, 2.0], [3.0, 4.0]]
    client = written.client(name)
    assert client.predict(rows) == expected
    body = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": rows}]}
    assert written.ask(f"/v2/models/{name}/infer", body).json["outputs"][0]["data"] == expected
    (binary,) = client.infer({"x": np.array(rows)}).values()
    assert binary.tolist() == expected


def test_explanations(written):
    """`explain` is reached over V1; a model without one says so instead of a 500."""
    assert written.client("total").explain([[1, 2, 3]]) == {"explanations": ["3 numbers"]}
    answer = written.ask("/v1/models/mean:explain", {"instances": [[1]]})
    assert answer.status == 501
    assert "explain" in answer.error


def test_async_models_wait_side_by_side(written):
    """Async models ask others; if they waited one by one, each caller would wait for all before."""
    bodies = {"instances": [[1, 2]]}
    answers = process.together(8, lambda _: written.ask("/v1/models/waiting:predict", bodies))
    assert [answer.json for answer in answers] == [{"predictions": [3]}] * 8
    assert max(int(answer.headers["x-together"]) for answer in answers) > 1


@pytest.mark.parametrize("name", ["counting", "asynccounting"])
def test_streams(written, name):
    """Generators stream lines, or events to clients that ask for them."""
    path, body = f"/v1/models/{name}:predict", {"instances": [300]}
    lines = written.ask(path, body)
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["number"] for line in lines.body.splitlines()] == list(range(300))
    events = written.ask(path, body, headers={"Accept": "text/event-stream"})
    assert events.headers["content-type"] == "text/event-stream"
    assert events.body.count(b"data: ") == 300


def test_a_stream_that_fails_at_once_has_a_status(written):
    """What fails before its first part is a 400, not a broken 200."""
    answer = written.ask("/v1/models/counting:predict", {"instances": [-1]})
    assert (answer.status, answer.error) == (400, "instances: must not be negative.")


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float32", "bool", "object"])
def test_datatypes_come_back_as_they_went(written, dtype):
    """Nothing is lost on the way in or out, whatever the datatype."""
    array = (
        np.array([["a", "ü"], ["", "c"]], object)
        if dtype == "object"
        else np.array([[0, 1], [1, 100]]).astype(dtype)
    )
    got = written.client("echo").infer({"x": array})["x"]
    assert got.dtype == array.dtype
    assert got.tolist() == array.tolist()


def test_a_client_is_shared_between_threads(written):
    """`Client` promises that threads may share it."""
    client: Client = written.client("mean")
    answers = process.together(16, lambda index: [client.predict([[index, n]]) for n in range(20)])
    assert answers == [[[(index + n) / 2] for n in range(20)] for index in range(16)]
