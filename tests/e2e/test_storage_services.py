"""Every scheme by an InferenceService: real stores, a real platform, the credentials where KServe wants them.

Each store holds a model of its own that answers with a number of its own: what serves is what that store has.
"""

from __future__ import annotations

import base64
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import joblib
import numpy as np
import pytest
import stores
import test_storage_azure
import test_storage_azurefile
import test_storage_git
import test_storage_hdfs
import test_storage_oci
import test_storage_registries
from hub import Hub
from node_platform import Platform, running
from sklearn.dummy import DummyRegressor
from test_storage_azure import azure  # noqa: F401 - a fixture
from test_storage_gs import gcs  # noqa: F401 - a fixture
from test_storage_oci import registry  # noqa: F401 - a fixture

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.resource import SECRET, SERVICE_ACCOUNT, Object

boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.skipif(
    not os.environ.get("MODELPORT_STORAGE_TOOLS"), reason="stores of other toolchains: run tests/storage.sh"
)

REGISTER = """
import os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
client.create_registered_model("churn")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[2], "model")
    client.create_model_version("churn", f"{run.info.artifact_uri}/model", run.info.run_id)
"""


class Case(NamedTuple):
    """What a user writes."""

    uri: str = ""
    secret: dict[str, str] = {}  # noqa: RUF012 - never written to
    annotations: dict[str, str] = {}  # noqa: RUF012
    environment: dict[str, str] = {}  # noqa: RUF012
    storage: Object = {}  # noqa: RUF012


def model(value: float) -> bytes:
    file = io.BytesIO()
    joblib.dump(DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, 1.0]), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("services") / "platform") as found:
        yield found


def predicted(platform: Platform, name: str, case: Case) -> float:
    """Applies what a user would, waits until it is Ready, and asks."""
    spec: Object = {"modelFormat": {"name": "sklearn"}}
    spec |= {"storage": case.storage} if case.storage else {"storageUri": case.uri}
    if case.environment:
        spec["env"] = [{"name": key, "value": value} for key, value in case.environment.items()]
    predictor: Object = {"model": spec}
    meta = {"name": name, "namespace": "default"}
    if case.secret:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in case.secret.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta | {"annotations": case.annotations}}
        if case.storage:
            secret["metadata"] = {"name": "storage-config", "namespace": "default"}
        else:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
            platform.apply(SERVICE_ACCOUNT, account | {"secrets": [{"name": name}]})
            predictor["serviceAccountName"] = name
        platform.apply(SECRET, secret | {"data": data})
    service = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": meta}
    platform.apply(INFERENCE_SERVICE, service | {"spec": {"predictor": predictor}})
    try:
        platform.modelport("wait", f"isvc/{name}", "--timeout", "120")
    except AssertionError as failure:
        told = platform.modelport("describe", name)
        raise AssertionError(f"{told}\n{failure}") from failure
    answer = platform.modelport("predict", name, "-d", '{"instances": [[0, 0]]}')
    platform.ask(lambda client: client.delete(INFERENCE_SERVICE, "default", name))
    return json.loads(answer)["predictions"][0]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stores.Store]:
    server = stores.moto(tmp_path_factory.mktemp("moto") / "log")
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden",
    )
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="churn/3/model.joblib", Body=model(1.0))
    client.put_object(Bucket="models", Key="other/model.joblib", Body=model(2.0))
    yield server
    server.close()


def test_s3_by_the_secret_of_a_service_account(platform: Platform, s3: stores.Store):
    case = Case(
        "s3://models/churn/3",
        secret={"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"},
        annotations={
            "serving.kserve.io/s3-endpoint": s3.host,
            "serving.kserve.io/s3-usehttps": "0",
            "serving.kserve.io/s3-region": "us-east-1",
        },
    )
    assert predicted(platform, "s3", case) == 1.0


def test_s3_by_a_storage_spec(platform: Platform, s3: stores.Store):
    entry = {
        "type": "s3",
        "access_key_id": "key",
        "secret_access_key": "hidden",
        "endpoint_url": s3.url,
        "bucket": "models",
        "region": "us-east-1",
    }
    case = Case(storage={"key": "minio", "path": "other"}, secret={"minio": json.dumps(entry)})
    assert predicted(platform, "spec", case) == 2.0


def test_gs(platform: Platform, gcs: stores.Store):  # noqa: F811
    import urllib.request

    url = f"{gcs.url}/upload/storage/v1/b/models/o?uploadType=media&name={quote('svc/model.joblib', safe='')}"
    urllib.request.urlopen(urllib.request.Request(url, data=model(3.0))).read()
    case = Case("gs://models/svc", environment={"STORAGE_EMULATOR_HOST": gcs.url})
    assert predicted(platform, "gs", case) == 3.0


def test_azure_blob(platform: Platform, azure: stores.Store):  # noqa: F811
    put, account = test_storage_azure.put, test_storage_azure.ACCOUNT
    put(azure.url, "/models/svc/model.joblib", model(4.0), headers={"x-ms-blob-type": "BlockBlob"})
    case = Case(
        f"https://{account}.blob.core.windows.net/models/svc",
        secret={
            "AZURE_STORAGE_ACCESS_KEY": test_storage_azure.KEY,
            "AZURE_SERVICE_URL": f"{azure.url}/{account}",
        },
    )
    assert predicted(platform, "azure", case) == 4.0


def test_hf(platform: Platform):
    hub = Hub()
    try:
        hub.repositories["team/churn"] = {"main": {"model.joblib": model(5.0), "README.md": b"churn"}}
        case = Case("hf://team/churn", environment={"HF_ENDPOINT": hub.url})
        assert predicted(platform, "hf", case) == 5.0
    finally:
        hub.close()


def test_oci(platform: Platform, registry: stores.Store):  # noqa: F811
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("models/model.joblib")
        entry.size = len(model(6.0))
        archive.addfile(entry, io.BytesIO(model(6.0)))
    test_storage_oci.push(registry, "svc", [(test_storage_oci.LAYER, packed.getvalue(), {})])
    assert predicted(platform, "oci", Case(f"oci://{registry.host}/svc:v1")) == 6.0


server = test_storage_git.server


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    test_storage_git.git(work, "init", "-q")
    (work / "model.joblib").write_bytes(model(7.0))
    test_storage_git.git(work, "add", ".")
    test_storage_git.git(work, "commit", "-qm", "one")
    test_storage_git.git(
        tmp_path, "clone", "-q", "--bare", str(work), str(tmp_path / "served" / "models.git")
    )
    return work


def test_git(platform: Platform, server: Any):
    assert predicted(platform, "git", Case(f"{server[0]}@main")) == 7.0


def test_mlflow(platform: Platform, tmp_path: Path):
    python = stores.tool("mlflow", "bin", "python")
    port = stores.free_port()
    server = stores.Store(
        [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--backend-store-uri", f"sqlite:///{tmp_path}/db", "--artifacts-destination", tmp_path / "artifacts", "--workers", "1"],
        f"http://127.0.0.1:{port}",
        log=tmp_path / "log",
        ready="/health",
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        folder=tmp_path,
    )  # fmt: skip
    try:
        (tmp_path / "model.joblib").write_bytes(model(8.0))
        made = subprocess.run(
            [python, "-c", REGISTER, server.url, tmp_path / "model.joblib"], capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr
        case = Case("models:/churn/1", environment={"MLFLOW_TRACKING_URI": server.url})
        assert predicted(platform, "mlflow", case) == 8.0
    finally:
        server.close()


def test_http_archive_with_a_header_per_host(platform: Platform):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("model.joblib")
        entry.size = len(model(9.0))
        archive.addfile(entry, io.BytesIO(model(9.0)))

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Silence."""

        def do_GET(self) -> None:
            body = packed.getvalue() if self.headers.get("Authorization") == "Bearer hidden" else b""
            self.send_response(200 if body else 401)
            self.send_header("Content-Type", "application/x-tar")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        headers = json.dumps({"Authorization": "Bearer hidden"})
        case = Case(
            f"http://127.0.0.1:{server.server_port}/churn.tar.gz",
            secret={"https-host": "127.0.0.1", "headers": headers},
        )
        assert predicted(platform, "http", case) == 9.0
    finally:
        server.shutdown()
        server.server_close()


namenode = test_storage_hdfs.namenode


def test_webhdfs(platform: Platform, namenode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(test_storage_hdfs.TREE, "/models/svc/model.joblib", model(10.0))
    case = Case(f"webhdfs://{namenode.partition('://')[2]}/models/svc")
    assert predicted(platform, "webhdfs", case) == 10.0


share = test_storage_azurefile.share


def test_an_azure_file_share(platform: Platform, share: Any):
    share[1].tree["svc/model.joblib"] = model(13.0)
    case = Case(
        f"https://{test_storage_azurefile.ACCOUNT}.file.core.windows.net/models/svc",
        secret={"AZURE_STORAGE_ACCESS_KEY": test_storage_azurefile.KEY, "AZURE_SERVICE_URL": share[0]},
    )
    assert predicted(platform, "share", case) == 13.0


modelscope = test_storage_registries.modelscope


def test_modelscope(platform: Platform, modelscope: Any):
    modelscope[1].clear()
    modelscope[1]["model.joblib"] = model(14.0)
    case = Case("modelscope://team/churn", environment={"MODELSCOPE_ENDPOINT": modelscope[0]})
    assert predicted(platform, "modelscope", case) == 14.0


def test_a_file_and_a_claim(platform: Platform, tmp_path: Path):
    (tmp_path / "model.joblib").write_bytes(model(11.0))
    assert predicted(platform, "file", Case(f"file://{tmp_path}")) == 11.0
    claim = platform.folder / "volumes" / "default" / "models" / "svc"
    claim.mkdir(parents=True)
    (claim / "model.joblib").write_bytes(model(12.0))
    assert predicted(platform, "claim", Case("pvc://models/svc")) == 12.0
