"""/openapi.json is what it says it is, and its examples are answered."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import environments
import pytest
from served import PATIENCE_S, Running, ask


@pytest.fixture(scope="module")
def openapi(server: Running) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.rest}/openapi.json", timeout=PATIENCE_S) as response:
        return json.load(response)


def test_it_is_valid(openapi: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(openapi))
    command = [
        str(environments.python("openapi")),
        "-m",
        "openapi_spec_validator",
        "--errors",
        "all",
        str(file),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=environments.clean()
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("model", ["echo", "iris", "simple"])
@pytest.mark.parametrize("path", ["/v1/models/{}:predict", "/v2/models/{}/infer"])
def test_an_example_is_answered(server: Running, openapi: dict[str, Any], model: str, path: str) -> None:
    path = path.format(model)
    content = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    status, _, text = ask(server.rest + path, content["example"])
    assert status == 200, text


def test_every_get_without_parameters_is_there(server: Running, openapi: dict[str, Any]) -> None:
    for path, methods in openapi["paths"].items():
        if "get" in methods and "{" not in path:
            with urllib.request.urlopen(server.rest + path, timeout=PATIENCE_S) as response:
                kind = response.headers["content-type"].partition(";")[0]
            assert list(methods["get"]["responses"]["200"]["content"]) == [kind], path
