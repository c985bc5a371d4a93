"""Stores that redirect a read elsewhere: a bucket's endpoint is named by whoever writes the Secret, and must not lead
to what only this machine may ask.
"""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading

import pytest
import stores
from test_storage_tokens import BLOBS, LISTING

from modelport.storage import StorageError
from modelport.storage.scheme import gs

fetch = stores.fetch
WHERE = {
    "s3": "s3://models/m",
    "gs": "gs://models/m",
    "azure": "abfs://models@account.dfs.core.windows.net/m",
}


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """What nobody is to reach."""

    asked: list[str] = []  # noqa: RUF012

    def log_message(self, *words: object) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        for name, value in {
            "Content-Length": "7",
            "ETag": '"1"',
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"secrets")


def redirecting(target: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Store(http.server.BaseHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            """Silence."""

        def do_GET(self) -> None:
            listed = "list" in self.path
            body = (BLOBS if "comp=list" in self.path else LISTING).encode() if listed else b""
            self.send_response(200 if listed else 307)
            if not listed:
                self.send_header("Location", f"{target}/latest/meta-data")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Store


@pytest.mark.parametrize("scheme", WHERE)
def test_no_other_host_over_plain_http(fetch, monkeypatch, scheme):
    Elsewhere.asked.clear()
    with stores.serving(Elsewhere) as elsewhere:
        named = elsewhere.replace("127.0.0.1", "localhost")
        with stores.serving(redirecting(named)) as store:
            monkeypatch.setattr(gs, "ENDPOINT", store)
            with pytest.raises(
                StorageError, match="redirects to another host, which is not followed"
            ) as failed:
                fetch(WHERE[scheme], AWS_ENDPOINT_URL=store, AZURE_SERVICE_URL=store)
    assert (failed.value.reason, failed.value.transient) == ("Refused", False)
    assert Elsewhere.asked == []


def test_the_same_host_is_followed(fetch):
    Elsewhere.asked.clear()
    with stores.serving(Elsewhere) as elsewhere, stores.serving(redirecting(elsewhere)) as store:
        fetched = fetch("s3://models/m", AWS_ENDPOINT_URL=store)
    assert (fetched.path / "model.onnx").read_bytes() == b"secrets"


def test_from_https_to_https_alone(fetch, tmp_path):
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=127.0.0.1",
        "-days",
        "1",
    ]
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    Elsewhere.asked.clear()
    with stores.serving(Elsewhere) as elsewhere:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), redirecting(elsewhere))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            with pytest.raises(StorageError):
                fetch(
                    "s3://models/m",
                    AWS_ENDPOINT_URL=f"https://127.0.0.1:{server.server_port}",
                    S3_VERIFY_SSL="0",
                )
        finally:
            server.shutdown()
            server.server_close()
    assert Elsewhere.asked == []
