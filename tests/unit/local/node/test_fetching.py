"""What the node makes of a `storage-initializer`: URIs and Secrets in, folders of the cache out."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading

import pytest

from modelport.local.node.fetching import FetchFailed, initialize, rules_of
from modelport.storage import Cache, clone
from modelport.storage.settings import Rules


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

    def start(uri, objects, environment=None, mirrors=None, account="default", **rules):
        container = {"args": [uri, "/mnt/models"], "env": [{"name": name} for name in environment or {}]}
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"serviceAccountName": account}}
        return asyncio.run(
            initialize(
                container,
                dict(environment or {}),
                pod,
                lambda resource, name: objects.get((resource.kind, name)),
                Rules(mirrors=mirrors or {}, **rules),
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
    mirrors = {"s3://models/": f"{private}/"}
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


def config(**data):
    return {"kind": "ConfigMap", "data": data}


def test_the_platforms_rules_hold_for_every_pod(run, private):
    # A pickle from anywhere runs its author's code in the pod.
    objects = {
        ("ServiceAccount", "trainer"): {"secrets": [{"name": "web"}]},
        ("Secret", "web"): secret(
            "web", {"https-host": "127.0.0.1", "headers": json.dumps({"Authorization": "Bearer hidden"})}
        ),
    }
    with pytest.raises(FetchFailed, match=r"model.pkl is a pickle .* the safe form is skops .*not trusted"):
        run(f"{private}/model.pkl", objects, account="trainer", unsafe="deny")
    assert run(f"{private}/model.pkl", objects, account="trainer", unsafe="deny", trusted=(f"{private}/",))


def test_rules_are_read_from_both_keys():
    # `modelport up --mirror` writes the one, people the other.
    text = "unsafe: deny\ntrusted: [s3://models/]\nlimit: 200Gi\npoll: 5m\nmirrors: {hf://: s3://hub/}"
    found = rules_of(config(storage=text, mirrors=json.dumps({"gs://a/": "file:///a/", "hf://": "x://"})))
    assert found.mirrors == {"gs://a/": "file:///a/", "hf://": "s3://hub/"}
    assert (found.policy.unsafe, found.policy.trusted, found.poll) == ("deny", ("s3://models/",), "5m")
    assert found.limit_bytes == 200 << 30
    assert rules_of(None).policy.unsafe == "warn"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"storage": "unsafe: never"}, r"key storage: Invalid enum value 'never' - at `\$.unsafe`"),
        ({"storage": "limt: 20Gi"}, "key storage: Object contains unknown field `limt`"),
        ({"storage": "limit: much"}, "key storage: .*much"),
        ({"storage": "a: [b"}, "key storage: "),
        ({"mirrors": '["gs://"]'}, "key mirrors: Expected `object`"),
        ({"mirrors": "{"}, "key mirrors: "),
    ],
)
def test_a_rule_that_cannot_be_read_stops_fetching(data, words):
    # If it counted as none, a slip in `unsafe: deny` would open the door.
    with pytest.raises(FetchFailed, match=f"ConfigMap kserve/modelport-config, {words}") as caught:
        rules_of(config(**data))
    assert caught.value.transient, "it holds once it is corrected"
