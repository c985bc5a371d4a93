"""`--model-format` and its variable hold: a model of another format is refused when the server starts."""

from __future__ import annotations

import os
import subprocess
import sys

import joblib
import pytest
from sklearn.linear_model import LogisticRegression


@pytest.mark.parametrize("how", ["flag", "kserve's spelling", "variable"])
def test_a_model_of_another_format_is_not_served(tmp_path, how):
    """A typing error in a manifest served another model than its clients were written for."""
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.joblib")
    words = {"flag": ["--model-format", "onnx"], "kserve's spelling": ["--model_format=onnx"], "variable": []}
    environment = os.environ | ({"MODELPORT_MODEL_FORMAT": "onnx"} if how == "variable" else {})
    ended = subprocess.run(
        [sys.executable, "-m", "modelport", "serve", str(tmp_path), "--http-port=0", "--grpc-port=0"]
        + words[how],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    assert "model format onnx: the folder holds model.joblib (sklearn)" in ended.stderr
    assert "or put an onnx model there" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_format_that_is_there_is_served(serve, tmp_path):
    joblib.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.joblib")
    server = serve(f"--model=m={tmp_path}", "--model-format", "sklearn")
    assert server.client("m").predict([[1.0]]) == [1]
