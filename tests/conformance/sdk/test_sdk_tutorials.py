"""KServe's tutorials "custom predictor" and "custom transformer": their code and KServe's package, unchanged.

Where a cluster has an image, a service here names the command and the virtual environment; the rest of the YAML is
the page's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml
from kserve import InferenceGRPCClient, InferInput, InferRequest
from sdk_platform import HERE, PATIENCE_S, ROOT, Platform

DOCUMENTS = ROOT / "tests" / "conformance" / "kserve_docs"
TUTORIALS = os.environ.get("TUTORIALS_PYTHON", "")

pytestmark = [
    pytest.mark.skipif(
        not TUTORIALS, reason="TUTORIALS_PYTHON names no environment with kserve and torchvision"
    ),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="KServe's servers bind 0.0.0.0, which needs a network namespace"
    ),
]


class Alexnet(NamedTuple):
    """Where its weights are, a picture in base64, and the five highest values for it."""

    weights: Path
    picture: str
    expected: list[float]


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Alexnet:
    folder = tmp_path_factory.mktemp("alexnet")
    made = subprocess.run(
        [TUTORIALS, str(HERE / "alexnet.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S * 3,
    )
    assert made.returncode == 0, made.stderr
    expected = json.loads((folder / "expected.json").read_text())
    return Alexnet(folder / "torch", (folder / "image.txt").read_text(), expected)


def here(container: dict[str, Any], module: str, code: str, alexnet: Alexnet) -> dict[str, Any]:
    """What an image would bring: the command, the folder with the code, the weights."""
    return container | {
        "command": ["python", "-m", module],
        "workingDir": str(DOCUMENTS / code),
        "env": [{"name": "TORCH_HOME", "value": str(alexnet.weights)}],
    }


def document(name: str) -> dict[str, Any]:
    item = yaml.safe_load((DOCUMENTS / f"{name}.yaml").read_text())
    item["metadata"]["annotations"] = {"serving.modelport.io/python": TUTORIALS}
    return item


@pytest.fixture
def apply(platform: Platform) -> Iterator[Any]:
    names: list[str] = []

    def applied(item: dict[str, Any]) -> str:
        """Applies it, waits until it is Ready, returns its host."""
        name = item["metadata"]["name"]
        names.append(name)
        platform.must("kubectl", "apply", "-f", "-", given=json.dumps(item))
        done = platform.run("kubectl", "wait", "--for=condition=Ready", f"isvc/{name}", "--timeout=120s")
        assert done.returncode == 0, (
            platform.must("modelport", "describe", name)
            + platform.run("modelport", "logs", name, "--tail", "30").stdout
        )
        return platform.status(name)["url"].removeprefix("http://")

    yield applied
    for name in names:
        platform.must("kubectl", "delete", "isvc", name, "--timeout=60s")


def test_custom_predictor(platform: Platform, apply: Any, alexnet: Alexnet) -> None:
    """The page's REST server, asked as the page does, with the response header that it adds."""
    item = document("custom-predictor")
    containers = item["spec"]["predictor"]["containers"]
    containers[0] = here(containers[0], "model", "custom_predictor", alexnet)
    answer = requests.post(
        f"http://{platform.gateway}/v1/models/custom-model:predict",
        json={"instances": [{"image": {"b64": alexnet.picture}}]},
        headers={"Host": apply(item)},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == pytest.approx(alexnet.expected, abs=1e-4)
    assert "prediction-time-latency" in answer.headers


def test_custom_grpc_predictor(platform: Platform, apply: Any, alexnet: Alexnet) -> None:
    """The page's gRPC server, with the page's client."""
    item = document("custom-predictor-grpc")
    containers = item["spec"]["predictor"]["containers"]
    containers[0] = here(containers[0], "model_grpc", "custom_predictor_grpc", alexnet)
    host = apply(item)

    async def ask() -> Any:
        client = InferenceGRPCClient(
            platform.gateway, timeout=120, channel_args=[("grpc.ssl_target_name_override", host)]
        )
        given = InferInput("input-0", [1], "BYTES", [base64.b64decode(alexnet.picture)])
        return await client.infer(InferRequest("custom-model", [given]))

    assert list(asyncio.run(ask()).outputs[0].data) == pytest.approx(alexnet.expected, abs=1e-4)


def test_custom_transformer(platform: Platform, apply: Any, alexnet: Alexnet) -> None:
    """KServe's image transformer before KServe's custom model: it finds its predictor by the name that KServe gives."""
    item = document("custom-transformer")
    predictor = {
        "name": "kserve-container",
        "image": "custom-model",
        "args": ["--model_name", "custom-model"],
    }
    item["spec"]["predictor"] = {"containers": [here(predictor, "model", "custom_model", alexnet)]}
    containers = item["spec"]["transformer"]["containers"]
    containers[0] = here(containers[0], "model", "custom_transformer", alexnet)
    containers[0]["args"] = ["--model_name", "custom-model"]
    answer = requests.post(
        f"http://{platform.gateway}/v1/models/custom-model:predict",
        json={"instances": [{"image": {"b64": alexnet.picture}}]},
        headers={"Host": apply(item)},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == pytest.approx(alexnet.expected, abs=1e-4)
