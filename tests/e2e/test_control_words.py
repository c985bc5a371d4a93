"""What keeps a service from being Ready is told where one looks: condition, event, `modelport describe`, the exit code.

One platform, as its user has it; every service is broken in another way, and all are broken at once.
"""

from __future__ import annotations

import json
import os
import signal
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
from sklearn.linear_model import LogisticRegression

import modelport

PATIENCE_S = 120


class Platform:
    """The command, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MODELPORT_DIR": str(self.folder / "home")}
        return subprocess.run(
            [sys.executable, "-m", "modelport", *words],
            capture_output=True,
            text=True,
            input=given,
            env=environment,
            timeout=PATIENCE_S,
            check=False,
        )

    def apply(self, **predictors: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Services by name."""
        items = [
            {
                "apiVersion": "serving.kserve.io/v1beta1",
                "kind": "InferenceService",
                "metadata": {"name": name},
                "spec": {"predictor": predictor},
            }
            for name, predictor in predictors.items()
        ]
        return self.run("apply", "-f", "-", given=json.dumps({"kind": "List", "items": items}))

    def until(self, said: Any, *words: str) -> str:
        """What a command prints, once it prints what is wanted."""
        end = time.monotonic() + PATIENCE_S
        while True:
            text = self.run(*words).stdout
            if said(text):
                return text
            assert time.monotonic() < end, f"{' '.join(words)} never said it:\n{text}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    rows = np.arange(8.0).reshape(4, 2)
    good = LogisticRegression().fit(rows, [0, 1, 0, 1])
    modelport.save(good, folder / "good", example=rows[:1])
    modelport.save(good, folder / "unfit", example=rows[:1])
    # Another model under the same signature: its warm-up prediction fails.
    joblib.dump(
        LogisticRegression().fit(np.arange(12.0).reshape(4, 3), [0, 1, 0, 1]), folder / "unfit/model.joblib"
    )
    return folder


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    found = Platform(tmp_path_factory.mktemp("platform"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    started = found.run("up", "--detach", "--port", str(port))
    assert started.returncode == 0, started.stderr
    yield found
    stopped = found.run("down")
    if stopped.returncode != 0:
        status = json.loads(found.run("status", "-o", "json").stdout or "{}")
        for one in status.get("processes", []):
            os.kill(one["pid"], signal.SIGKILL)
    assert stopped.returncode == 0, stopped.stderr


def custom(*command: str, **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "kserve-container", "image": "mine", "command": list(command), **more}]}


EATER = "import time; x = [bytearray(10**7) for _ in range(100)]; time.sleep(600)"
CLASH = "import socket; a = socket.socket(); a.bind(('', 0)); b = socket.socket(); b.bind(('', a.getsockname()[1]))"


@pytest.fixture(scope="module")
def broken(platform: Platform, models: Path) -> dict[str, tuple[str, str]]:
    """Name → reason and words, all applied."""
    good = f"file://{models}/good"
    missing = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "k"}}}]
    lost = [sys.executable, "-c", "raise SystemExit('no licence to prepare')"]
    prepare = {"name": "prep", "image": "mine", "command": lost}
    found: dict[str, tuple[dict[str, Any], str, str]] = {
        "runtime": (
            {"model": {"modelFormat": {"name": "sklearn"}, "runtime": "nope", "storageUri": good}},
            "RuntimeNotRecognized",
            "no ServingRuntime or ClusterServingRuntime is called 'nope'. Waiting",
        ),
        "format": ({"pmml": {"storageUri": good}}, "NoSupportingRuntime", "PMML's runtime is not part"),
        "uri": (
            {"sklearn": {"storageUri": "file:///nope"}},
            "ModelLoadFailed",
            "file:///nope: resolve: no such",
        ),
        "secret": (
            {"sklearn": {"storageUri": good, "env": missing}},
            "RuntimeUnhealthy",
            "Secret 'nowhere' does not exist. Create it.",
        ),
        "key": (
            {"sklearn": {"storage": {"key": "mine", "path": "m", "parameters": {"type": "s3"}}}},
            "ModelLoadFailed",
            "Secret 'storage-config' does not exist. Create it.",
        ),
        "clash": (custom(sys.executable, "-c", CLASH), "ModelLoadFailed", "Address already in use"),
        "crash": (
            custom(sys.executable, "-c", "raise SystemExit('no licence')"),
            "ModelLoadFailed",
            "no licence · next: modelport logs crash",
        ),
        "done": (
            custom("true"),
            "RuntimeUnhealthy",
            "container kserve-container: ended by itself with exit code 0, where a server goes on · next:",
        ),
        "account": (
            {"serviceAccountName": "nobody", "sklearn": {"storageUri": good}},
            "RuntimeUnhealthy",
            'serviceaccount "nobody" not found. Create it: kubectl create serviceaccount nobody -n default',
        ),
        "image": (custom(), "RuntimeUnhealthy", "image 'mine' is not known on this machine"),
        "command": (
            custom("nosuch"),
            "ModelLoadFailed",
            "command 'nosuch': No such file or directory in PATH.",
        ),
        "memory": (
            custom(sys.executable, "-c", EATER, resources={"limits": {"memory": "150Mi"}}),
            "ModelLoadFailed",
            "container kserve-container used more than its memory limit of 150Mi",
        ),
        "prepare": (
            {"sklearn": {"storageUri": good}, "initContainers": [prepare]},
            "ModelLoadFailed",
            "init container prep: no licence to prepare · next: modelport logs prepare",
        ),
        "probe": (
            custom(
                sys.executable,
                "-m",
                "http.server",
                "8080",
                livenessProbe={
                    "httpGet": {"path": "/nope", "port": 8080},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            ),
            "ModelLoadFailed",
            "container kserve-container failed its liveness probe",
        ),
        "other-format": (
            {"onnx": {"storageUri": good}},
            "ModelLoadFailed",
            "model format onnx: the file is model.joblib (sklearn)",
        ),
        "warmup": (
            {"sklearn": {"storageUri": f"file://{models}/unfit"}},
            "ModelLoadFailed",
            "warm-up failed",
        ),
    }
    services = {name: predictor for name, (predictor, _, _) in found.items()}
    applied = platform.apply(**services, mute=custom("sleep", "3600"))
    assert applied.returncode == 0, applied.stderr
    return {name: (reason, words) for name, (_, reason, words) in found.items()}


NAMES = (
    "runtime",
    "format",
    "uri",
    "secret",
    "key",
    "clash",
    "crash",
    "done",
    "account",
    "image",
    "other-format",
    "warmup",
    "command",
    "memory",
    "prepare",
    "probe",
)


@pytest.mark.parametrize("name", NAMES)
def test_cause_and_next_step_are_in_condition_event_and_describe(
    platform: Platform, broken: Any, name: str
) -> None:
    reason, words = broken[name]
    text = platform.until(lambda said: words in said.partition("EVENTS")[2], "describe", name)
    above, _, below = text.partition("CONDITIONS")
    assert words in above, "the summary names it first"
    assert reason in below
    assert "Ready:       False" in above
    if name == "uri":
        status = platform.run("rollout", "status", name)
        assert status.returncode == 1
        assert words in status.stderr


@pytest.mark.usefixtures("broken")
def test_a_container_that_answers_nothing_names_its_probe(platform: Platform) -> None:
    platform.until(lambda said: "readiness probe yet (TCP port 8080)" in said, "describe", "mute")
    platform.until(
        lambda said: "container kserve-container: readiness probe failed: " in said.partition("EVENTS")[2],
        "describe",
        "mute",
    )


def test_a_deployment_that_makes_no_progress_says_so_after_its_deadline(platform: Platform) -> None:
    """`kubectl rollout status` must end for a Deployment of one's own that never answers."""
    container = {
        "name": "mute",
        "image": "mine",
        "command": ["sleep", "3600"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    labels = {"app": "slow"}
    slow = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "slow"},
        "spec": {
            "progressDeadlineSeconds": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    assert platform.run("apply", "-f", "-", given=json.dumps(slow)).returncode == 0
    waited = platform.run(
        "wait", "deployment/slow", "--for", "condition=Progressing=False", "--timeout", "60"
    )
    assert waited.returncode == 0, waited.stderr
    found = json.loads(platform.run("get", "deployment", "slow", "-o", "json").stdout)
    said = {one["type"]: one for one in found["status"]["conditions"]}["Progressing"]
    assert said["reason"] == "ProgressDeadlineExceeded"
    assert "has timed out progressing" in said["message"]
    assert platform.run("delete", "deployment", "slow").returncode == 0


def test_a_transformer_that_fails_is_named_and_the_predictor_is_not_blamed(
    platform: Platform, models: Path
) -> None:
    predictor = {"sklearn": {"storageUri": f"file://{models}/good"}}
    item = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "front"},
        "spec": {
            "predictor": predictor,
            "transformer": custom(sys.executable, "-c", "raise SystemExit('no luck')"),
        },
    }
    assert platform.run("apply", "-f", "-", given=json.dumps(item)).returncode == 0
    text = platform.until(
        lambda said: "transformer: no luck · next: modelport logs front" in said, "describe", "front"
    )
    assert "TransformerReady            False" in text
    platform.until(lambda said: "PredictorReady              True" in said, "describe", "front")


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        (
            {"minReplica": 1, "sklearn": {"storageUri": "file:///m"}},
            ".spec.predictor.minReplica: field not declared in schema",
        ),
        ({"minReplicas": "many", "sklearn": {"storageUri": "file:///m"}}, "spec.predictor.minReplicas"),
        (
            {"sklearn": {"storageUri": "file:///m"}, "xgboost": {"storageUri": "file:///m"}},
            "got sklearn, xgboost",
        ),
        ({"sklearn": {"storageUri": "ftp://m"}}, "StorageUri [ftp://m] is not supported"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(platform: Platform, predictor: Any, words: str) -> None:
    refused = platform.apply(refused=predictor)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert platform.run("get", "isvc", "refused").returncode == 1


def test_a_bad_update_is_told_while_the_old_version_answers(platform: Platform, models: Path) -> None:
    deployed = platform.run("deploy", str(models / "good"), "--name", "good")
    assert deployed.returncode == 0, deployed.stderr
    assert platform.apply(good={"sklearn": {"storageUri": "file:///nope"}}).returncode == 0
    text = platform.until(lambda said: "rollout undo good" in said, "describe", "good")
    assert "file:///nope: resolve: no such" in text
    assert "the previous version keeps serving" in text
    for protocol in ("v1", "v2", "grpc"):
        answer = platform.run("predict", "good", "--protocol", protocol)
        assert answer.returncode == 0, answer.stderr
        assert "asked with" in answer.stderr
        found = json.loads(answer.stdout)
        assert found.get("predictions") == [0] or found["outputs"][0]["data"] == [0]
    rows = platform.run("predict", "good", "--protocol", "grpc", "-d", '{"instances": [[0, 1], [6, 7]]}')
    assert json.loads(rows.stdout)["outputs"][0]["shape"] == [2]
    unfit = platform.run("predict", "good", "--protocol", "grpc", "-d", '{"inputs": [{"name": "x"}]}')
    assert unfit.returncode == 2
    assert (
        "the body does not fit: 'datatype' is missing" in unfit.stderr or "'data' is missing" in unfit.stderr
    )
    undone = platform.run("rollout", "undo", "good")
    assert undone.returncode == 0, undone.stderr
    assert platform.run("rollout", "status", "good").returncode == 0
