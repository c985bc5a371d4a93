"""Credentials that are exchanged for a token: a Google service account, a user of gcloud, an Azure service principal.

One server of ours is the token's giver and the store that wants it; emulators of these stores check no tokens.
"""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
from urllib.parse import parse_qs

import pytest
import stores

from modelport.storage import StorageError
from modelport.storage.scheme import gs

LISTING = (
    '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>m/model.onnx</Key>'
    '<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"1"</ETag><Size>7</Size></Contents></ListBucketResult>'
)
BLOBS = (
    '<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>m/model.onnx</Name><Properties>'
    "<Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>1</Etag><Content-Length>7</Content-Length><Content-Type>application/octet-stream</Content-Type>"
    "</Properties></Blob></Blobs><NextMarker/></EnumerationResults>"
)


fetch = stores.fetch


@pytest.fixture
def server():
    """Gives `good` for `right`, and the file for `good`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        forms: list[dict] = []  # noqa: RUF012
        right = True
        accept = None

        def log_message(self, *arguments):
            pass

        def reply(self, status, body, kind="application/json"):
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                "ETag": '"1"',
                "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            type(self).forms.append({name: values[0] for name, values in parse_qs(text).items()})
            if not type(self).right:
                return self.reply(401, b'{"error": "invalid_client"}')
            return self.reply(200, b'{"access_token": "good", "expires_in": 3600, "token_type": "Bearer"}')

        def do_GET(self):
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token != "good" and not (type(self).accept and type(self).accept(token)):
                return self.reply(403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml")
            if "list" in self.path:
                return self.reply(
                    200, (BLOBS if "comp=list" in self.path else LISTING).encode(), "application/xml"
                )
            return self.reply(200, b"weights", "application/octet-stream")

    with stores.serving(Handler) as url:
        yield url, Handler


def test_a_service_account_of_google_signs_its_own_token(server, fetch, monkeypatch):
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding

    url, handler = server
    key = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA"], capture_output=True, check=True, text=True
    ).stdout
    public = serialization.load_pem_private_key(key.encode(), None).public_key()

    def unpacked(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def accept(token: str) -> bool:
        signed, _, signature = token.rpartition(".")
        public.verify(unpacked(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return json.loads(unpacked(signed.partition(".")[2]))["iss"] == "trainer@team"

    monkeypatch.setattr(handler, "accept", staticmethod(accept))
    monkeypatch.setattr(gs, "ENDPOINT", url)
    account = {
        "type": "service_account",
        "client_email": "trainer@team",
        "private_key": key,
        "private_key_id": "1",
    }
    fetched = fetch("gs://models/m", **{gs.FILE: json.dumps(account)})
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert fetched.credential == "the service account trainer@team of Secret default/cloud"


def test_a_user_of_gcloud(server, fetch, monkeypatch, tmp_path):
    url, handler = server
    monkeypatch.setattr(gs, "ENDPOINT", url)
    user = {
        "type": "authorized_user",
        "client_id": "c",
        "client_secret": "s",
        "refresh_token": "r",
        "token_uri": f"{url}/token",
    }
    (tmp_path / "adc.json").write_text(json.dumps(user))
    fetched = fetch("gs://models/m", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "adc.json"))
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert handler.forms[0]["refresh_token"] == "r"
    monkeypatch.setattr(handler, "right", False)
    with pytest.raises(StorageError, match="does not accept the credential") as failed:
        fetch("gs://models/m", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "adc.json"))
    assert "adc.json" in str(failed.value)


def test_a_missing_key_file_is_named(fetch):
    with pytest.raises(
        StorageError, match=r"the key file /nowhere/key.json of Secret default/cloud cannot be read"
    ):
        fetch("gs://models/m", GOOGLE_APPLICATION_CREDENTIALS="/nowhere/key.json")


def test_a_service_principal_of_azure(server, fetch, monkeypatch):
    url, handler = server
    values = {
        "AZURE_SERVICE_URL": url,
        "AZURE_AUTHORITY_HOST": url,
        "AZURE_CLIENT_ID": "client",
        "AZURE_TENANT_ID": "tenant",
        "AZURE_CLIENT_SECRET": "hidden",
    }
    fetched = fetch("abfs://models@account.dfs.core.windows.net/m", **values)
    assert (fetched.path / "model.onnx").read_bytes() == b"weights"
    assert fetched.credential == "the service principal client of Secret default/cloud"
    assert handler.forms[0]["client_secret"] == "hidden"
    monkeypatch.setattr(handler, "right", False)
    with pytest.raises(StorageError, match="does not accept the service principal client") as failed:
        fetch("abfs://models@account.dfs.core.windows.net/m", **values)
    assert "hidden" not in str(failed.value)
