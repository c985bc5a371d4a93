"""`gs://` against fake-gcs-server (Go)."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request

import pytest
import stores

from modelport import storage
from modelport.storage import StorageError
from modelport.storage.credentials import of

BIG = os.urandom(1 << 20) * 20


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    port = stores.free_port()
    url = f"http://127.0.0.1:{port}"
    server = stores.Store(
        [stores.tool("bin", "fake-gcs-server"), "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-public-host", f"127.0.0.1:{port}"],
        url,
        log=tmp_path_factory.mktemp("gcs") / "log",
        ready="/_internal/healthcheck",
    )  # fmt: skip

    def post(path: str, body: bytes) -> None:
        request = urllib.request.Request(url + path, data=body, headers={"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()

    post("/storage/v1/b", json.dumps({"name": "models"}).encode())
    for name, body in {
        "churn/3/model.joblib": b"weights",
        "churn/3/sub/a.txt": b"a",
        "churn/31/x": b"x",
        "big.bin": BIG,
    }.items():
        post(f"/upload/storage/v1/b/models/o?uploadType=media&name={urllib.parse.quote(name, safe='')}", body)
    yield server
    server.close()


@pytest.fixture
def fetch(tmp_path, gcs):
    given = of({"STORAGE_EMULATOR_HOST": gcs.url}, "Secret default/gcs")

    def bound(uri, **more):
        more.setdefault("retry", storage.Retry(budget_s=1.0, first_s=0.01))
        credentials = of(more.pop("values", {}), "Secret default/gcs").over(given)
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=credentials, **more)

    return bound


def test_a_prefix_and_an_object(fetch):
    fetched = fetch("gs://models/churn/3")
    assert sorted(p.relative_to(fetched.path).as_posix() for p in fetched.path.rglob("*.*")) == [
        "model.joblib",
        "sub/a.txt",
    ]
    assert (fetch("gs://models/churn/3/model.joblib").path / "model.joblib").read_bytes() == b"weights"
    assert fetch("gs://models/churn/3").from_cache


def test_a_large_object_comes_in_parts(fetch):
    assert (fetch("gs://models/big.bin").path / "big.bin").read_bytes() == BIG


def test_no_key(fetch):
    with pytest.raises(StorageError, match="there is no model"):
        fetch("gs://models/churn/99")


def test_a_key_file_that_is_none(tmp_path):
    given = of({"gcloud-application-credentials.json": "oops"}, "Secret default/gcs")
    with pytest.raises(StorageError, match=r"the key in Secret default/gcs is no JSON object with a type"):
        storage.fetch("gs://models/churn/3", cache=storage.Cache(tmp_path), credentials=given)
