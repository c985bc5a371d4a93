"""An issuer of tokens for tests: a real HTTPS server with an authority of its own, which can rotate its keys and fail."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from modelport import _dataplane

DISCOVERY = "/.well-known/openid-configuration"


class Login:
    """What it answers, by path: a status, headers and a body; callables write what they like."""

    def __init__(self, port: int, authority: str, scheme: str) -> None:
        self.address = f"{scheme}://localhost:{port}"
        self.authority = authority
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    def says(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        self.answers[path] = (status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())

    def serves(self, keys: dict[str, Any]) -> None:
        """Discovery and keys, as issuers do."""
        self.says(DISCOVERY, {"issuer": self.address, "jwks_uri": f"{self.address}/keys"})
        self.says("/keys", keys)


@contextmanager
def login(*, tls: bool = True) -> Iterator[Login]:
    """One that runs meanwhile."""
    found: list[Login] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found[0].asked.append(self.path)
            answer = found[0].answers.get(self.path, (404, {}, b""))
            if callable(answer):
                answer(self.wfile)
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Clients that do not trust it, or have had enough, are what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    authority, certificate, key = _dataplane.self_signed(["localhost", "127.0.0.1"], 10)
    if tls:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pem").write_text(certificate + key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(Path(folder) / "pem")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.append(Login(server.server_address[1], authority, "https" if tls else "http"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
