"""The API server in a process of its own, over TLS: what durability and foreign clients are tried on."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apiserver_process
import httpx
from apiserver_api import wait_until


class Process:
    """The server in a process of its own, over TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        apiserver_process.prepare(folder, self.port)
        self.listed: dict[str, Any] = {}
        """What there was at the last check."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        script = Path(apiserver_process.__file__)
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(script), str(self.folder), str(self.port)], stdout=output, stderr=output
            )
        with self.client() as http:
            wait_until(lambda: self._is_ready(http), 60)

    def _is_ready(self, http: httpx.Client) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        with suppress(httpx.TransportError):
            return http.get("/readyz").status_code == 200
        return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def client(self) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"Authorization": "Bearer token-admin"},
            verify=trust,
            timeout=20,
            trust_env=False,
        )


@contextmanager
def running(folder: Path) -> Iterator[Process]:
    process = Process(folder)
    process.start()
    try:
        yield process
    finally:
        process.kill()
