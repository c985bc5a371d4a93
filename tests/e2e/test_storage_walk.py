"""Each `modelport fetch` of docs/how-to/storage.md, as it is written there, against the stores: only hosts differ.

An example that has no line here fails: whoever writes one says against what it was tried.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import stores
import test_storage_azure
import test_storage_azurefile
import test_storage_git
import test_storage_hdfs
import test_storage_oci
import test_storage_registries
from hub import Hub

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "storage.md"
AZURE = test_storage_azure.ACCOUNT
EXAMPLES = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    for line in block.splitlines()
    if "modelport fetch " in line
]


class Here(NamedTuple):
    """What stands in an example, and what of this machine stands for it."""

    fixture: str
    instead: dict[str, str] = {}  # noqa: RUF012 - never written to
    environment: dict[str, str] = {}  # noqa: RUF012


BLOB = Here(
    "azure",
    {"account.": f"{AZURE}.", "STORAGE_ACCESS_KEY=…": f"STORAGE_ACCESS_KEY={test_storage_azure.KEY}"},
    {"AZURE_SERVICE_URL": f"URL/{AZURE}", "AZURE_STORAGE_ACCESS_KEY": test_storage_azure.KEY},
)
GOOGLE = Here(
    "gcs", {"kfserving-examples/models/sklearn/1.0/model": "models/churn/3"}, {"STORAGE_EMULATOR_HOST": "URL"}
)
HERE = {
    "/srv/models/churn": Here("web", {"/srv/models": "FOLDER"}),
    "https://example.com/": Here("web", {"https://example.com/models": "URL"}),
    "s3://": Here(
        "s3", {"http://minio:9000": "URL"}, {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden"}
    ),
    "gs://": GOOGLE,
    "https://account.blob.": BLOB,
    "abfs://": BLOB,
    "hf://": Here("hub", {"HF_TOKEN=hf_…": "HF_TOKEN=hf_secret"}, {"HF_ENDPOINT": "URL"}),
    "oci://": Here("registry", {"registry.example.com": "HOST"}),
    "https://github.com/": Here("server", {"https://github.com/org/models.git": "URL"}),
    "models:/": Here("mlflow", {"http://mlflow:5000": "URL", "churn/3 ": "churn/2 "}),
    "https://account.file.": Here(
        "share",
        {
            "account.": f"{test_storage_azurefile.ACCOUNT}.",
            "/share/": "/models/",
            "STORAGE_ACCESS_KEY=…": f"STORAGE_ACCESS_KEY={test_storage_azurefile.KEY}",
        },
        {"AZURE_SERVICE_URL": "URL"},
    ),
    "webhdfs://": Here("namenode", {"http://namenode:9870": "URL"}),
    "modelscope://": Here("modelscope", {"iic/nlp_structbert": "team/churn"}, {"MODELSCOPE_ENDPOINT": "URL"}),
}
"""By the beginning of its URI. The folder of the real HDFS is in `test_storage_hadoop`."""

azure, share, namenode = test_storage_azure.azure, test_storage_azurefile.share, test_storage_hdfs.namenode
server, mlflow, modelscope = (
    test_storage_git.server,
    test_storage_registries.mlflow,
    test_storage_registries.modelscope,
)
from test_storage_gs import gcs  # noqa: E402, F401 - a fixture


@pytest.fixture
def web(tmp_path: Path) -> Any:
    from test_storage_cli import web as served

    folder = tmp_path / "web"
    (folder / "churn").mkdir(parents=True)
    (folder / "churn" / "model.joblib").write_bytes(b"weights")
    with tarfile.open(folder / "churn.tar.gz", "w:gz") as packed:
        packed.add(folder / "churn" / "model.joblib", "model.joblib")
    shutil.move(folder, tmp_path / "kept")
    found = served.__wrapped__(tmp_path)
    place, url = next(found)
    shutil.copytree(tmp_path / "kept", place, dirs_exist_ok=True)
    yield url
    next(found, None)


@pytest.fixture
def s3(tmp_path: Path) -> Any:
    import boto3

    moto = stores.moto(tmp_path / "log")
    client = boto3.client(
        "s3",
        endpoint_url=moto.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hidden",
    )
    client.create_bucket(Bucket="models")
    client.put_object(Bucket="models", Key="churn/3/model.joblib", Body=b"weights")
    yield moto.url
    moto.close()


@pytest.fixture
def hub() -> Any:
    held = Hub()
    files = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"read"}
    held.repositories["sentence-transformers/all-MiniLM-L6-v2"] = {"main": files}
    held.repositories["meta-llama/Llama-3.2-1B"] = {"main": files}
    held.private["meta-llama/Llama-3.2-1B"] = "Bearer hf_secret"
    yield held.url
    held.close()


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = test_storage_oci.registry.__wrapped__(tmp_path_factory)
    store = next(found)
    title = {"org.opencontainers.image.title": "model.joblib"}
    test_storage_oci.push(store, "models/churn", [("application/octet-stream", b"weights", title)], tag="3")
    yield store
    next(found, None)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    test_storage_git.git(work, "init", "-q")
    (work / "model.joblib").write_bytes(b"weights")
    test_storage_git.git(work, "add", ".")
    test_storage_git.git(work, "commit", "-qm", "one")
    test_storage_git.git(work, "tag", "v1.2")
    test_storage_git.git(
        tmp_path, "clone", "-q", "--bare", str(work), str(tmp_path / "served" / "models.git")
    )
    return work


def test_the_page_has_them() -> None:
    assert len(EXAMPLES) >= 15, EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example(request: pytest.FixtureRequest, tmp_path: Path, example: str) -> None:
    uri = next(
        word
        for word in shlex.split(example)
        if ("://" in word and "=" not in word) or word.startswith(("/", "models:"))
    )
    here = next(found for start, found in HERE.items() if uri.startswith(start))
    store = request.getfixturevalue(here.fixture)
    url = getattr(store, "url", None) or (store if isinstance(store, str) else store[0])
    values = {"URL": url, "HOST": url.partition("://")[2], "FOLDER": str(tmp_path / "kept")}

    def of_here(text: str) -> str:
        return re.sub("URL|HOST|FOLDER", lambda found: values[found[0]], text)

    typed = example
    for there, own in here.instead.items():
        typed = typed.replace(there, of_here(own))
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "MODELPORT_DIR": str(tmp_path / "platform"),
        "MODELPORT_INSTANCE_CREDENTIALS": "never",
        "AWS_DEFAULT_REGION": "us-east-1",
    } | {name: of_here(value) for name, value in here.environment.items()}
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "key.json").write_text('{"type": "service_account"}')
    done = subprocess.run(
        ["sh", "-c", typed],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path / "cwd",
    )
    assert done.returncode == 0, f"{typed}\n{done.stderr}"
    put = done.stdout.strip().splitlines()[-1]
    assert put == example.rpartition("--to ./")[2]
    assert [one for one in (tmp_path / "cwd" / put).rglob("*") if one.is_file()], done.stderr
