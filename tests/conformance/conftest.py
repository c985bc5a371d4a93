"""One server for all clients, and a way to run a client in its own environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import environments
import joblib
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "e2e"))  # how a server is started is written once

from served import PATIENCE_S, Running, running  # noqa: E402

collect_ignore = ["kserve_docs", "kserve_e2e"]  # KServe's own; tests/conformance/sdk.sh runs them

MODELS = {"echo": "Echo", "simple": "Simple", "teller": "Teller"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The models of `models.py`, and a repository folder with `iris`, which may be unloaded and loaded."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "repository" / "iris").mkdir(parents=True)
    iris = LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True))
    joblib.dump(iris, folder / "repository" / "iris" / "model.joblib")
    command = ["-m", "modelport", "serve", str(folder / "repository"), "--http-port", "0", "--grpc-port", "0"]
    for name, kind in MODELS.items():
        command += ["--model", f"{name}={HERE / 'models.py'}:{kind}"]
    with running(*command, errors=folder / "errors.txt") as server:
        yield server


Tell = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def client() -> Tell:
    """`client(family, script, *arguments)` runs `clients/script` and returns what it told, by check."""

    def run(family: str, script: str, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(environments.python(family)), str(HERE / "clients" / script), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S * 3,
            env=environments.clean(),
        )
        assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
