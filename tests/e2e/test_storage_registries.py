"""`models:/` against MLflow's own tracking server, and `modelscope://` against a server of its documented answers."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
import stores

from modelport.storage import StorageError

REGISTER = """
import os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
from pathlib import Path
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
client.create_registered_model("churn")
for number in ("one", "two"):
    with mlflow.start_run() as run:
        folder = Path(sys.argv[2]) / number
        (folder / "data").mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: {}")
        (folder / "data" / "model.pkl").write_text(number)
        mlflow.log_artifacts(str(folder), "model")
        client.create_model_version("churn", f"{run.info.artifact_uri}/model", run.info.run_id)
client.set_registered_model_alias("churn", "champion", "1")
"""


fetch = stores.fetch


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """A tracking server that hands artifacts out itself, with two versions of `churn`."""
    python = stores.tool("mlflow", "bin", "python")
    folder = tmp_path_factory.mktemp("mlflow")
    port = stores.free_port()
    server = stores.Store(
        [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--backend-store-uri", f"sqlite:///{folder}/db", "--artifacts-destination", folder / "artifacts", "--workers", "1"],
        f"http://127.0.0.1:{port}",
        log=folder / "log",
        ready="/health",
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        folder=folder,
    )  # fmt: skip
    made = subprocess.run(
        [python, "-c", REGISTER, server.url, folder / "made"], capture_output=True, text=True, cwd=folder
    )
    assert made.returncode == 0, made.stderr
    yield server
    server.close()


def files(path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("models:/churn/1", b"one"),
        ("models:/churn/2", b"two"),
        ("models:/churn/latest", b"two"),
        ("models:/churn@champion", b"one"),
    ],
)
def test_versions_and_aliases(mlflow, fetch, uri, content):
    found = files(fetch(uri, MLFLOW_TRACKING_URI=mlflow.url).path)
    assert found == {"MLmodel": b"flavors: {}", "data/model.pkl": content}


def test_what_mlflow_says_is_passed_on(mlflow, fetch):
    with pytest.raises(StorageError, match=r"the registry at .* says: .*not found") as failed:
        fetch("models:/churn/9", MLFLOW_TRACKING_URI=mlflow.url)
    assert failed.value.reason == "NotFound"


def test_a_registry_must_be_named(fetch):
    with pytest.raises(
        StorageError, match="MLFLOW_TRACKING_URI must be the tracking server's http address, got ''"
    ):
        fetch("models:/churn/1")


@pytest.fixture
def modelscope():
    content = {"config.json": b"{}", "weights/model.safetensors": b"w" * 1000}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, body = 404, b"{}"
            if parts.path == "/api/v1/models/team/churn/repo/files" and query["Revision"] == "master":
                listed = [
                    {
                        "Path": path,
                        "Size": len(data),
                        "Type": "blob",
                        "Sha256": hashlib.sha256(data).hexdigest(),
                    }
                    for path, data in content.items()
                ]
                listed.append({"Path": "weights", "Type": "tree", "Size": 0})
                status, body = 200, json.dumps({"Success": True, "Data": {"Files": listed}}).encode()
            elif parts.path == "/api/v1/models/team/churn/repo":
                status, body = 200, content[query["FilePath"]]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with stores.serving(Handler) as url:
        yield url, content


def test_a_repository_of_modelscope(modelscope, fetch):
    url, content = modelscope
    assert files(fetch("modelscope://team/churn", MODELSCOPE_ENDPOINT=url).path) == content
    with pytest.raises(StorageError, match=r"no repository team/churn with a revision v9, or it is private"):
        fetch("modelscope://team/churn:v9", MODELSCOPE_ENDPOINT=url)
