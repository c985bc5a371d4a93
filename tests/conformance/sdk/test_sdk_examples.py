"""Every YAML file in `examples/` does what its first lines say, by kubectl and the URL of the service."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from sdk_platform import COMMANDS, PATIENCE_S, ROOT, Platform

EXAMPLES = ROOT / "examples"
CASES: dict[str, tuple[str, Any, Any]] = {
    "sklearn-iris": ("sklearn-iris", [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]], [1, 1]),
    "batcher": ("iris-batched", [[6.8, 2.8, 4.8, 1.4]], [1]),
    "transformer": ("iris-names", [[2.7, 1.1, 1.9, 0.6], [2.0, 1.4, 0.55, 0.1]], ["versicolor", "setosa"]),
    "own-runtime": ("means", [1.0, 4.0], [0.5, 5.0]),
    "private-model": ("iris-private", [[6.8, 2.8, 4.8, 1.4]], [1]),
}
"""By file: the service, rows, and what is said of them."""
NAMESPACED = ("transformer", "own-runtime")
FILL = """
import sys, boto3
endpoint, model = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
s3.create_bucket(Bucket="models")
s3.upload_file(model, "models", "iris/model.joblib")
"""


def test_each_example_has_a_test() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == set(CASES)


@pytest.fixture
def store(platform: Platform) -> Iterator[str]:
    """An S3 server with the model; its host and port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = subprocess.Popen(
        [str(COMMANDS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{port}/moto-api/", timeout=60)
                break
            assert time.monotonic() < until
            time.sleep(0.1)
        model = platform.models / "models" / "sklearn" / "iris" / "model.joblib"
        fill = [str(COMMANDS / "python"), "-c", FILL, f"http://127.0.0.1:{port}", str(model)]
        subprocess.run(fill, check=True, timeout=PATIENCE_S)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


@pytest.mark.parametrize("name", CASES)
def test_example(platform: Platform, name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if name in NAMESPACED and os.geteuid() != 0:
        pytest.skip("code in a ConfigMap is mounted in a namespace, which needs root")
    text = (EXAMPLES / f"{name}.yaml").read_text()
    if name == "private-model":
        text = text.replace("minio.example.com:9000", request.getfixturevalue("store"))
    file = tmp_path / f"{name}.yaml"
    file.write_text(text)
    service, rows, answer = CASES[name]
    kinds = {item["kind"] for item in yaml.safe_load_all(text)}
    assert "InferenceService" in kinds
    try:
        platform.must("kubectl", "apply", "-f", str(file))
        done = platform.run("kubectl", "wait", "--for=condition=Ready", f"isvc/{service}", "--timeout=60s")
        assert done.returncode == 0, platform.must("modelport", "describe", service)
        said = requests.post(
            f"http://{platform.gateway}/v1/models/{service}:predict",
            json={"instances": rows},
            headers={"Host": f"{service}-default.localhost"},
            timeout=60,
        )
        assert (said.status_code, said.json()) == (200, {"predictions": answer})
    finally:
        platform.must("kubectl", "delete", "-f", str(file), "--ignore-not-found", "--timeout=60s")
