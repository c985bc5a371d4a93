"""Examples that want a platform, run as their first lines say, on one platform."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PATIENCE_S = 180
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("platform")
    environment = os.environ | {"MODELPORT_DIR": str(folder / "home")}

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *(words if words[0].endswith(".py") else ("-m", "modelport", *words))]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment | more,
            timeout=PATIENCE_S,
            check=False,
        )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = run("up", "--detach", "--port", str(port))
    assert started.returncode == 0, started.stderr
    yield run
    stopped = run("down")
    if stopped.returncode != 0:
        status = json.loads(run("status", "-o", "json").stdout or "{}")
        for one in status.get("processes", []):
            os.kill(one["pid"], signal.SIGKILL)
    assert stopped.returncode == 0, stopped.stderr


def test_every_example_is_explained() -> None:
    text = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w./-]+)\)", text))
    files = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".yaml", ".json")
    }
    assert {name for name in named if not name.startswith("..")} == files


def test_formats(run: Run) -> None:
    made = run(str(EXAMPLES / "formats.py"), "models")
    assert made.returncode == 0, made.stderr
    commands = made.stdout.splitlines()
    assert [line.rpartition("-")[2] for line in commands] == ["xgboost", "lightgbm", "onnx"], made.stdout
    for line in commands:
        deployed = run(*line.split()[1:])
        assert deployed.returncode == 0, deployed.stderr
    for name in ("wine-xgboost", "wine-lightgbm"):
        answer = run("predict", name)
        assert answer.returncode == 0, answer.stderr
        # Boosters answer with a probability for each class, as KServe's servers do.
        assert [max(range(3), key=row.__getitem__) for row in json.loads(answer.stdout)["predictions"]] == [
            0,
            0,
        ]
    answer = run("predict", "wine-onnx", "-d", "models/wine-onnx.json")
    assert answer.returncode == 0, answer.stderr
    outputs = {one["name"]: one["data"] for one in json.loads(answer.stdout)["outputs"]}
    assert outputs["label"] == [0, 0]
    for line in commands:
        assert run("delete", "isvc", line.rpartition("/")[2]).returncode == 0


def test_update_and_undo(run: Run) -> None:
    done = run(str(EXAMPLES / "update_and_undo.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"→ (\d)", done.stdout) == ["0", "1", "1", "1"]
    assert "no such folder" in done.stderr
    assert "next: modelport rollout undo versions" in done.stderr


def test_api_keys(run: Run) -> None:
    assert run(str(EXAMPLES / "formats.py"), "models").returncode == 0
    deployed = run("deploy", "models/wine-xgboost", "--name", "churn")
    assert deployed.returncode == 0, deployed.stderr
    file, key = str(EXAMPLES / "access/api-keys.yaml"), "change-me-to-a-long-random-text"
    assert run("apply", "-f", file).returncode == 0
    end = time.monotonic() + PATIENCE_S
    while (refused := run("predict", "churn")).returncode == 0:
        assert time.monotonic() < end
    assert "--key KEY" in refused.stderr
    answer = run("predict", "churn", "--key", key)
    assert answer.returncode == 0, answer.stderr
    assert run("delete", "-f", file).returncode == 0
    while (answer := run("predict", "churn")).returncode != 0:
        assert time.monotonic() < end, answer.stderr
