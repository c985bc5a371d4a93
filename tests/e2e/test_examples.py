"""Every example runs as its first lines say: served by a process of its own, asked over REST, and ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from served import PATIENCE_S, ask, running

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all examples that are a class in a file."""
    models = {
        "nearest": "python_model.py:Nearest",
        "wine": "kserve_predictor.py:Wine",
        "forecast": "stream.py:Forecast",
        "score": "async_features.py:Score",
        "progression": "explained.py:Progression",
    }
    flags = [f"--model={name}={EXAMPLES / path}" for name, path in models.items()]
    errors = tmp_path_factory.mktemp("server") / "stderr"
    command = ["-m", "modelport", "serve", *flags, "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=errors) as server:
        yield server.rest


def test_python_model(server):
    status, _, text = ask(f"{server}/v1/models/nearest:predict", {"instances": [[13.2, 1.78], [12.1, 5.6]]})
    assert status == 200
    first, second = json.loads(text)["predictions"]
    assert (first["class"], first["distance"]) == ("class_0", 0.0)
    assert second["class"] == "class_2"
    status, _, text = ask(f"{server}/v1/models/nearest:predict", {"instances": [[13.2]]})
    assert status == 400
    assert "got shape [1, 1]" in text


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        (
            "/v1/models/wine:predict",
            {"instances": [[13.2, 1.78, 4.38, 1.05, 1050.0]]},
            lambda said: said["predictions"],
        ),
        (
            "/v2/models/wine/infer",
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [1, 5],
                        "datatype": "FP64",
                        "data": [13.2, 1.78, 4.38, 1.05, 1050.0],
                    }
                ]
            },
            lambda said: said["outputs"][0]["data"],
        ),
    ],
    ids=["v1", "v2"],
)
def test_kserve_predictor(server, path, body, answer):
    status, _, text = ask(server + path, body)
    assert status == 200, text
    assert answer(json.loads(text)) == ["class_0"]


def test_kserve_predictor_as_a_script(tmp_path):
    script = str(EXAMPLES / "kserve_predictor.py")
    flags = ["--model_name", "mine", "--http_port", "0", "--grpc_port", "0"]
    with running(script, *flags, errors=tmp_path / "stderr") as server:
        status, _, text = ask(
            f"{server.rest}/v1/models/mine:predict", {"instances": [[13.2, 1.78, 4.38, 1.05, 1050.0]]}
        )
        assert (status, json.loads(text)) == (200, {"predictions": ["class_0"]})


def test_stream(server):
    body = {"instances": [3, 5, 8, 12], "parameters": {"steps": 3}}
    status, headers, lines = ask(f"{server}/v1/models/forecast:predict", body)
    assert status == 200
    assert headers["content-type"] == "application/x-ndjson"
    steps = [json.loads(line) for line in lines.splitlines()]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert 12 < steps[0]["value"] < steps[1]["value"] < steps[2]["value"]

    _, headers, events = ask(f"{server}/v1/models/forecast:predict", body, "text/event-stream")
    assert headers["content-type"] == "text/event-stream"
    assert [json.loads(event.removeprefix("data: ")) for event in events.split("\n\n") if event] == steps

    status, _, text = ask(f"{server}/v1/models/forecast:predict", {"instances": [3]})
    assert (status, "two values" in text) == (400, True)


def test_async_features(server):
    status, headers, text = ask(
        f"{server}/v1/models/score:predict", {"instances": [{"customer": "ada", "amount": 40}]}
    )
    assert (status, json.loads(text)) == (200, {"predictions": [1.0]})
    assert headers["x-scored-by"] == "z-score"
    status, _, text = ask(
        f"{server}/v1/models/score:predict", {"instances": [{"customer": "bob", "amount": 40}]}
    )
    assert (status, json.loads(text)) == (404, {"error": "No customer is called 'bob'."})


def test_explained(server):
    url = f"{server}/v1/models/progression"
    body = {"instances": [[0.05, 0.02]]}
    _, _, predicted = ask(f"{url}:predict", body)
    status, _, explained = ask(f"{url}:explain", body)
    assert status == 200
    (parts,) = json.loads(explained)["explanations"]
    assert sum(parts.values()) == pytest.approx(json.loads(predicted)["predictions"][0])


def test_xgboost_categories(tmp_path):
    pytest.importorskip("xgboost")
    folder = tmp_path / "tips"
    script = str(EXAMPLES / "xgboost_categories.py")
    subprocess.run([sys.executable, script, str(folder)], check=True, capture_output=True, timeout=PATIENCE_S)
    command = ["-m", "modelport", "serve", str(folder), "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=tmp_path / "stderr") as server:
        days = [{"bill": 24.5, "size": 2, "day": day} for day in ("Sun", "Fri")]
        status, _, text = ask(f"{server.rest}/v1/models/tips:predict", {"instances": days})
        assert status == 200, text
        sunday, friday = json.loads(text)["predictions"]
        assert sunday - friday == pytest.approx(2.0, abs=0.5)
        status, _, text = ask(
            f"{server.rest}/v1/models/tips:predict", {"instances": [days[0] | {"day": "Mon"}]}
        )
        assert status == 400
        assert '\\"Mon\\" is not a category' in text
