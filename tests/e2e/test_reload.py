"""Artifacts that change while they are served."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import joblib
import pytest
from served import PATIENCE_S, ask, running
from sklearn.dummy import DummyClassifier

import modelport

CONSTANT = """
import numpy as np
import modelport

class Constant(modelport.Model):
    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), {value})
"""


def constant(value: int) -> DummyClassifier:
    return DummyClassifier(strategy="constant", constant=value).fit([[0.0], [1.0]], [value, value + 1])


def replace(path: Path, value: int) -> None:
    fresh = path.with_suffix(".new")
    joblib.dump(constant(value), fresh)
    fresh.replace(path)


class Asking:
    """Clients that ask without a pause and keep what was not answered well."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self._url = url
        self._end = threading.Event()
        self.answers: set[str] = set()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                status, _, text = ask(self._url, {"instances": [[0.5]]})
            except (urllib.error.URLError, OSError) as error:
                self.failures.append(repr(error))
                continue
            if status == 200:
                self.answers.add(text)
            else:
                self.failures.append(f"{status} {text}")

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def until(what, holds) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s for: {what}"
        time.sleep(0.05)


def prediction(value: int) -> str:
    return json.dumps({"predictions": [value]}, separators=(",", ":"))


def test_a_changed_artifact_is_served_without_a_failed_request(tmp_path: Path):
    """A user who retrains would lose requests, or go on with the old model."""
    model = tmp_path / "m.joblib"
    joblib.dump(constant(1), model)
    command = ["-m", "modelport", "serve", str(model), "--watch", "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=tmp_path / "err.txt") as server:
        with Asking(f"{server.rest}/v1/models/m:predict") as asking:
            until("the first model's answer", lambda: prediction(1) in asking.answers)
            replace(model, 2)
            until("the new model's answer", lambda: prediction(2) in asking.answers)
        assert asking.failures == []
        assert asking.answers == {prediction(1), prediction(2)}


def test_a_broken_artifact_leaves_the_old_one_serving_and_says_so(tmp_path: Path):
    """A half-copied file would take a good model away."""
    model = tmp_path / "m.joblib"
    joblib.dump(constant(1), model)
    command = ["-m", "modelport", "serve", str(model), "--watch", "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=tmp_path / "err.txt") as server:
        model.write_bytes(b"no model")
        until("the complaint", lambda: "keeps serving" in (tmp_path / "err.txt").read_text())
        assert ask(f"{server.rest}/v1/models/m:predict", {"instances": [[0.5]]})[2] == prediction(1)
        index = json.loads(ask(f"{server.rest}/v2/repository/index", {})[2])
        assert index[0]["state"] == "READY"
        assert "m.joblib" in index[0]["reason"]


def test_a_python_model_serves_after_it_is_loaded_again(tmp_path: Path):
    """Its predecessor's stop() would make it not ready for good."""
    file = tmp_path / "constant.py"
    file.write_text(CONSTANT.format(value=1))
    command = ["-m", "modelport", "serve", f"{file}:Constant", "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=tmp_path / "err.txt") as server:
        url = f"{server.rest}/v1/models/constant:predict"
        assert ask(url, {"instances": [[0.5]]})[2] == prediction(1)
        file.write_text(CONSTANT.format(value=2))
        assert ask(f"{server.rest}/v2/repository/models/constant/load", {})[0] == 200
        assert ask(url, {"instances": [[0.5]]})[2] == prediction(2)


def test_a_repository_loads_and_unloads_in_every_worker(tmp_path: Path):
    """With several workers, the answer would depend on which one accepts the connection."""
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        joblib.dump(constant(len(name)), tmp_path / "models" / name / "model.joblib")
    command = ["-m", "modelport", "serve", str(tmp_path / "models"), "--workers", "2"]
    with running(*command, "--http-port", "0", "--grpc-port", "0", errors=tmp_path / "err.txt") as server:
        until("both workers", lambda: metric(server.rest, "modelport_workers") == 2)
        assert ask(f"{server.rest}/v2/repository/models/one/unload", {})[0] == 200
        url = f"{server.rest}/v1/models/one:predict"
        assert {ask(url, {"instances": [[0.5]]})[0] for _ in range(20)} == {404}
        assert ask(f"{server.rest}/v2/repository/models/one/load", {})[0] == 200
        assert {ask(url, {"instances": [[0.5]]})[0] for _ in range(20)} == {200}
        status, _, text = ask(f"{server.rest}/v2/repository/models/three/load", {})
        assert (status, json.loads(text)) == (404, {"error": "Model with name three does not exist."})
        shutil.rmtree(tmp_path / "models" / "two")
        (tmp_path / "models" / "two").mkdir()
        (tmp_path / "models" / "two" / "model.joblib").write_bytes(b"no model")
        status, _, text = ask(f"{server.rest}/v2/repository/models/two/load", {})
        assert status == 503  # KServe's; clients that know it try again
        assert "model.joblib" in text
        assert ask(f"{server.rest}/v1/models/two:predict", {"instances": [[0.5]]})[0] == 200


def metric(address: str, name: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics", timeout=PATIENCE_S) as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize("example", [None, [[0.5]]])
def test_what_is_served_from_memory_is_what_was_given(example):
    """A notebook would see other answers than the model's own."""
    model = constant(3)
    with modelport.serve(model, example=example) as server:
        assert server.predict([[0.5], [1.5]]) == model.predict([[0.5], [1.5]]).tolist()
