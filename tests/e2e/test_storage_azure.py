"""Azure Blob against azurite (npm)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import urllib.parse
import urllib.request
from datetime import UTC, datetime

import pytest
import stores

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
BIG = os.urandom(1 << 20) * 20


def put(url: str, path: str, body: bytes = b"", query: str = "", headers: dict | None = None) -> None:
    """A request signed with the account's key, by the protocol's own description."""
    sent = {
        "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-ms-version": "2021-08-06",
        **(headers or {}),
    }
    named = "\n".join(f"{name}:{value}" for name, value in sorted(sent.items()) if name.startswith("x-ms-"))
    resource = f"/{ACCOUNT}/{ACCOUNT}{urllib.parse.quote(path)}" + "".join(
        f"\n{name}:{value}" for name, value in sorted(urllib.parse.parse_qsl(query))
    )
    length = str(len(body)) if body else ""
    text = f"PUT\n\n\n{length}\n\napplication/octet-stream\n\n\n\n\n\n\n{named}\n{resource}"
    signature = base64.b64encode(
        hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    ).decode()
    sent |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Type": "application/octet-stream"}
    target = f"{url}/{ACCOUNT}{urllib.parse.quote(path)}" + (f"?{query}" if query else "")
    urllib.request.urlopen(urllib.request.Request(target, data=body, headers=sent, method="PUT")).read()


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    port = stores.free_port()
    folder = tmp_path_factory.mktemp("azurite")
    script = stores.tool("azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js")
    url = f"http://127.0.0.1:{port}"
    server = stores.Store(
        [
            "node",
            script,
            "--blobHost",
            "127.0.0.1",
            "--blobPort",
            port,
            "--location",
            folder,
            "--silent",
            "--skipApiVersionCheck",
        ],
        url,
        log=folder / "log",
    )
    put(url, "/models", query="restype=container")
    put(url, "/public", query="restype=container", headers={"x-ms-blob-public-access": "container"})
    for name, body in {
        "models/churn/3/model.joblib": b"weights",
        "models/churn/3/sub/a.txt": b"a",
        "models/big.bin": BIG,
        "public/m.onnx": b"free",
    }.items():
        put(url, f"/{name}", body, headers={"x-ms-blob-type": "BlockBlob"})
    yield server
    server.close()


@pytest.fixture
def fetch(tmp_path, azure, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "b2YgdGhlIG5vZGU=")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "of-the-node")

    def bound(uri, values=None, **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        given = {"AZURE_STORAGE_ACCESS_KEY": KEY} if values is None else values
        credentials = of({"AZURE_SERVICE_URL": f"{azure.url}/{ACCOUNT}", **given}, "Secret default/azure")
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=credentials, **more)

    return bound


@pytest.mark.parametrize(
    "uri",
    [
        f"https://{ACCOUNT}.blob.core.windows.net/models/churn/3",
        f"abfs://models@{ACCOUNT}.dfs.core.windows.net/churn/3",
        f"https://{ACCOUNT}.dfs.core.windows.net/models/churn/3/",
    ],
)
def test_every_spelling_of_a_container(fetch, uri):
    fetched = fetch(uri)
    assert (fetched.path / "model.joblib").read_bytes() == b"weights"
    assert (fetched.path / "sub" / "a.txt").read_bytes() == b"a"
    assert fetched.credential == "the key of Secret default/azure"
    assert fetch(uri).from_cache


def test_a_large_blob_comes_in_parts(fetch):
    assert (
        fetch(f"https://{ACCOUNT}.blob.core.windows.net/models/big.bin").path / "big.bin"
    ).read_bytes() == BIG


def test_a_public_container_needs_no_key(fetch):
    fetched = fetch(f"https://{ACCOUNT}.blob.core.windows.net/public/m.onnx", values={})
    assert (fetched.path / "m.onnx").read_bytes() == b"free"


def test_no_key_a_wrong_key_and_no_container(fetch):
    uri = f"https://{ACCOUNT}.blob.core.windows.net/models/churn/3"
    with pytest.raises(StorageError, match="Give a credential"):
        fetch(uri, values={})
    wrong = base64.b64encode(b"wrong").decode()
    with pytest.raises(StorageError, match=r"does not accept|may not be read") as failed:
        fetch(uri, values={"AZURE_STORAGE_ACCESS_KEY": wrong})
    assert "the key of Secret default/azure" in str(failed.value)
    assert wrong not in str(failed.value)
    with pytest.raises(StorageError, match="there is no container nothing"):
        fetch(f"https://{ACCOUNT}.blob.core.windows.net/nothing/x")
    with pytest.raises(StorageError, match="there is no model"):
        fetch(f"https://{ACCOUNT}.blob.core.windows.net/models/churn/99")
