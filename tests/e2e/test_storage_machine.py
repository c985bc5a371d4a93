"""A machine's own role in its cloud: EC2's against moto's metadata, Google's and Azure's against servers written from
their documentation (no package has those): the header that each demands, the path, the token in the store's request.
"""

from __future__ import annotations

import http.server
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stores
from test_storage_tokens import BLOBS, LISTING

from modelport.storage import StorageError
from modelport.storage.scheme import gs

boto3 = pytest.importorskip("boto3")


fetch = stores.fetch


@pytest.fixture
def machine() -> Iterator[Any]:
    """Metadata of Google and Azure, and a store that wants the token that they give."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status = 200
        asked: list[str]

        def log_message(self, *words: object) -> None:
            """Silence."""

        def reply(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            type(self).asked.append(parts.path)
            google = parts.path == "/computeMetadata/v1/instance/service-accounts/default/token"
            azure = parts.path == "/metadata/identity/oauth2/token"
            if google or azure:
                proved = self.headers.get("Metadata-Flavor") == "Google" if google else False
                if azure:
                    query = parse_qs(parts.query)
                    proved = self.headers.get("Metadata") == "true" and query["api-version"] == ["2018-02-01"]
                    proved = proved and query["resource"] == ["https://storage.azure.com/"]
                seconds: Any = 3599 if google else "3599"  # Azure's is a string
                token = {"access_token": "mine", "expires_in": seconds, "token_type": "Bearer"}
                self.reply(type(self).status if proved else 403, json.dumps(token))
            elif self.headers.get("Authorization") != "Bearer mine":
                self.reply(403, "<Error><Code>AccessDenied</Code></Error>")
            elif "list" in parts.query:
                self.reply(200, BLOBS if "comp=list" in parts.query else LISTING)
            else:
                self.reply(200, "weights")

    Handler.asked = []
    with stores.serving(Handler) as url:
        yield url, Handler


def test_the_role_of_an_ec2_machine(fetch, tmp_path):
    server = stores.moto(tmp_path / "log")
    try:
        client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="hidden",
        )
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="m/model.onnx", Body=b"weights")
        fetched = fetch(
            "s3://models/m",
            AWS_ENDPOINT_URL=server.url,
            MODELPORT_INSTANCE_CREDENTIALS="aws",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=server.url,
        )
        assert (fetched.path / "model.onnx").read_bytes() == b"weights"
        assert fetched.credential == "this machine's role"
    finally:
        server.close()


def test_the_service_account_of_a_google_machine(fetch, machine, monkeypatch):
    url, handler = machine
    monkeypatch.setattr(gs, "ENDPOINT", url)
    values = {"MODELPORT_INSTANCE_CREDENTIALS": "gcp", "GCE_METADATA_HOST": url.partition("://")[2]}
    fetched = fetch("gs://models/m", **values)
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert fetched.credential == "this machine's service account"
    monkeypatch.setattr(handler, "status", 404)
    with pytest.raises(
        StorageError, match=r"authenticate: .* which gives out the role, answered 404. Has this"
    ):
        fetch("gs://models/m", **values, HF_TOKEN="another who asks")


def test_the_identity_of_an_azure_machine(fetch, machine):
    url, _ = machine
    fetched = fetch(
        "abfs://models@account.dfs.core.windows.net/m",
        AZURE_SERVICE_URL=url,
        MODELPORT_INSTANCE_CREDENTIALS="azure",
        AZURE_POD_IDENTITY_AUTHORITY_HOST=url,
    )
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert fetched.credential == "this machine's identity"


def test_no_other_machine_is_asked_for_credentials(fetch):
    """A Secret must not send this machine's questions about itself elsewhere."""
    with pytest.raises(
        StorageError, match=r"GCE_METADATA_HOST of Secret default/cloud names example.com, which is no"
    ):
        fetch("gs://models/m", MODELPORT_INSTANCE_CREDENTIALS="gcp", GCE_METADATA_HOST="example.com")


def test_a_metadata_server_that_is_down_may_come_back(fetch):
    with pytest.raises(StorageError, match=r"which gives out the role, does not answer") as failed:
        fetch(
            "gs://models/m",
            MODELPORT_INSTANCE_CREDENTIALS="gcp",
            GCE_METADATA_HOST=f"127.0.0.1:{stores.free_port()}",
        )
    assert failed.value.transient
