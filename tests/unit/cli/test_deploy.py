"""`modelport deploy`: the InferenceService that a file or URI becomes."""

from __future__ import annotations

import joblib
import pytest
from sklearn.dummy import DummyClassifier

from modelport.cli import Mistake, deploy, parser


def service(*arguments: str):
    return deploy.service(parser().parse_args(["deploy", *arguments]))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "My Churn_2.joblib"
    joblib.dump(DummyClassifier().fit([[0], [1]], [0, 1]), path)
    return path


def test_a_file_is_looked_into(model):
    item = service(str(model))
    assert item["metadata"] == {"name": "my-churn-2", "namespace": "default"}
    found = item["spec"]["predictor"]["model"]
    assert found["modelFormat"] == {"name": "sklearn"}
    assert found["storageUri"].startswith("file:///")
    assert "protocolVersion" not in found


def test_a_folder_is_named_after_itself(model):
    folder = model.parent / "wine"
    folder.mkdir()
    model.rename(folder / "model.joblib")
    assert service(str(folder))["metadata"]["name"] == "wine"
    assert service(str(folder), "--name", "w2", "-n", "x")["metadata"] == {"name": "w2", "namespace": "x"}


@pytest.mark.parametrize(
    ("uri", "name", "model_format"),
    [
        ("s3://models/churn/3/model.joblib", "model", "sklearn"),
        ("https://example.com/a/Net.onnx?version=2", "net", "onnx"),
        ("gs://bucket/trees.ubj", "trees", "xgboost"),
    ],
)
def test_a_uri_tells_by_its_ending(uri, name, model_format):
    item = service(uri, *([] if "?" not in uri else ["--format", model_format]))
    assert item["metadata"]["name"] == name
    assert item["spec"]["predictor"]["model"]["modelFormat"]["name"] == model_format
    assert item["spec"]["predictor"]["model"]["storageUri"] == uri


def test_onnx_speaks_v2_alone():
    found = service("s3://b/net.onnx")["spec"]["predictor"]["model"]
    assert found["protocolVersion"] == "v2"


def test_replicas_and_runtime(model):
    predictor = service(str(model), "--replicas", "3", "--runtime", "mine")["spec"]["predictor"]
    assert predictor["minReplicas"] == 3
    assert predictor["model"]["runtime"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nope/model.joblib"], "no such file or folder"),
        (["s3://models/churn/3"], "does not tell its format"),
        (["s3://b/42.joblib"], "no name for a service"),
        (["s3://b/a.joblib", "--replicas", "0"], "at least 1"),
    ],
)
def test_what_cannot_be_deployed_is_told_with_the_next_step(arguments, words):
    with pytest.raises(Mistake, match=words):
        service(*arguments)


@pytest.mark.parametrize("given", ["my_model.py", "my_model.py:Mean"])
def test_a_python_class_is_told_where_it_goes(tmp_path, given):
    """Lost otherwise: `my_model.py:Mean: no such file`, though serve takes the very same words."""
    (tmp_path / "my_model.py").write_text("")
    with pytest.raises(Mistake, match="not Python classes") as raised:
        service(str(tmp_path / given))
    assert "custom-containers" in (raised.value.hint or "")


def test_a_folder_of_several_models_is_told_to_be_named_by_its_file(model):
    """Lost otherwise: the hint asks for a format, and what has it is refused on the platform."""
    (model.parent / "other.joblib").write_bytes(model.read_bytes())
    with pytest.raises(Mistake, match=r"More than one .*Name one of them") as raised:
        service(str(model.parent))
    assert "name the model's file" in raised.value.hint
