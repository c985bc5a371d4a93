"""Services that cannot serve: status, doctor and describe name the cause and the next step; then all are deleted."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from node_platform import PATIENCE_S, Platform
from sklearn.dummy import DummyRegressor

from modelport.cli.up import _free_network  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("told"))
    try:
        found.start()
        yield found
    finally:
        found.modelport("down")


def apply(platform: Platform, folder: Path, *items: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "items.json").write_text(json.dumps({"kind": "List", "items": items}))
    command = [sys.executable, "-m", "modelport", "apply", "-f", str(folder / "items.json")]
    return subprocess.run(
        [*command, "--dir", str(platform.folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def service(name: str, predictor: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": predictor},
    }


def test_each_trouble_is_named_with_its_next_step(platform: Platform, tmp_path: Path) -> None:
    model = DummyRegressor(strategy="constant", constant=1.0).fit(np.zeros((2, 2)), [0.0, 0.0])
    joblib.dump(model, tmp_path / "m.joblib")
    good = {"modelFormat": {"name": "sklearn"}, "storageUri": f"file://{tmp_path}/m.joblib"}
    of_key = {"secretKeyRef": {"name": "mine", "key": "token"}}
    network = json.loads((platform.folder / "platform.json").read_text())["pod_network"]
    assert _free_network() != network  # no other platform's pods get addresses of these
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mine"},
        "stringData": {"other": "x"},
    }
    with socket.create_server((f"{network}.1.1", 8080)):  # where its first pod would listen
        assert apply(platform, tmp_path, service("busy", {"model": good})).returncode == 0
        wanted = {"busy": "is in use by another program, which ss -ltnp 'sport = :"}
        until_told(platform, wanted)
        done = apply(
            platform,
            tmp_path,
            secret,
            service("away", {"model": good | {"storageUri": f"file://{tmp_path}/none.joblib"}}),
            service("nokey", {"model": good | {"env": [{"name": "T", "valueFrom": of_key}]}}),
            service("nocommand", {"containers": [{"name": "kserve-container", "image": "example.com/x:1"}]}),
        )
        assert done.returncode == 0, done.stderr
        wanted |= {
            "away": "Is it on this machine, and is it written right?",
            "nokey": "Secret 'mine' has no key 'token'. Add it, or name one of its keys: other.",
            "nocommand": "Give the container a `command:` to run here",
        }
        until_told(platform, wanted)
        for name, words in wanted.items():
            assert words in platform.modelport("describe", name)
            assert f"service default/{name}: " in platform.modelport("doctor")
        deleted = platform.modelport("delete", "isvc", "--all")
    assert sorted(deleted.split()[::2]) == sorted(
        f"inferenceservices.serving.kserve.io/{name}" for name in wanted
    )
    assert platform.modelport("delete", "isvc", "--all") == ""
    assert json.loads(platform.modelport("status", "-o", "json"))["services"] == []


def until_told(platform: Platform, wanted: dict[str, str]) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        found = json.loads(platform.modelport("status", "-o", "json"))["services"]
        told = {one["name"]: one["problem"] for one in found}
        if all(words in told.get(name, "") for name, words in wanted.items()):
            return
        assert time.monotonic() < end, told
        time.sleep(0.2)


def test_amounts_that_cannot_be_are_refused_when_applied(platform: Platform, tmp_path: Path) -> None:
    container = {
        "name": "kserve-container",
        "image": "python",
        "command": ["x"],
        "resources": {"limits": {"memory": "1GG"}},
        "readinessProbe": {"httpGet": {"port": "http!"}},
    }
    done = apply(platform, tmp_path, service("bad", {"containers": [container]}))
    assert done.returncode == 1
    where = "spec.predictor.containers[0]"
    assert f'{where}.resources.limits[memory]: Invalid value: "1GG": quantities must match' in done.stderr
    assert f'{where}.readinessProbe.httpGet.port: Invalid value: "http!": must contain only' in done.stderr
