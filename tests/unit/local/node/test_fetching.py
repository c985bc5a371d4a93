"""What the node makes of a `storage-initializer`: URIs and Secrets in, folders of the cache out."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading

import pytest

from modelport.local.node.fetching import FetchFailed, initialize
from modelport.storage import Cache, Mirror, clone


@pytest.fixture
def private():
    """A server that hands out one file to who has the header."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            allowed = self.headers.get("Authorization") == "Bearer hidden"
            body = b"weights" if allowed else b""
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def secret(name: str, data: dict[str, str]) -> dict:
    return {
        "metadata": {"name": name, "namespace": "default"},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@pytest.fixture
def run(tmp_path):
    said: list[str] = []

    def start(uri, objects, environment=None, mirrors=(), account="default"):
        container = {"args": [uri, "/mnt/models"], "env": [{"name": name} for name in environment or {}]}
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"serviceAccountName": account}}
        return asyncio.run(
            initialize(
                container,
                dict(environment or {}),
                pod,
                lambda resource, name: objects.get((resource.kind, name)),
                list(mirrors),
                Cache(tmp_path / "cache"),
                lambda claim: tmp_path,
                tmp_path,
                said.append,
                lambda progress: None,
            )
        )["/mnt/models"].path

    start.said = said
    yield start
    clone.remove(tmp_path / "cache")


def test_a_secret_of_the_service_account_opens_a_private_model(run, private):
    headers = json.dumps({"Authorization": "Bearer hidden"})
    objects = {
        ("ServiceAccount", "trainer"): {"secrets": [{"name": "web"}, {"name": "gone"}]},
        ("Secret", "web"): secret("web", {"https-host": "127.0.0.1", "headers": headers}),
    }
    folder = run(f"{private}/model.onnx", objects, account="trainer")
    assert (folder / "model.onnx").read_bytes() == b"weights"
    assert "warning: Secret gone, which the ServiceAccount names, does not exist" in run.said
    assert not [line for line in run.said if "hidden" in line]
    with pytest.raises(FetchFailed, match=r"wants to know who asks. Give a credential") as failed:
        run(f"{private}/other.onnx", {})
    assert not failed.value.transient


def test_a_storage_spec_names_key_bucket_and_credentials(run, private):
    """The address that it comes to is seen here by way of a mirror."""
    config = json.dumps({"type": "s3", "bucket": "models", "access_key_id": "k", "secret_access_key": "s"})
    objects = {("Secret", "storage-config"): secret("storage-config", {"minio": config})}
    environment = {"STORAGE_CONFIG_SECRET": "storage-config", "STORAGE_CONFIG_KEYS": "minio"}
    mirrors = [Mirror("s3://models/", f"{private}/")]
    uri = "<scheme-placeholder>://churn/model.onnx"
    with pytest.raises(
        FetchFailed, match=r"s3://models/churn/model\.onnx \(mirror: .*wants to know who asks"
    ):
        run(uri, objects, environment, mirrors)
    with pytest.raises(
        FetchFailed, match="specified storage key other not found in storage secret storage-config"
    ) as failed:
        run(uri, objects, {**environment, "STORAGE_CONFIG_KEYS": "other"}, mirrors)
    assert failed.value.transient, "the Secret may be corrected"
