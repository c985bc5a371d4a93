"""Real object stores, registries and hubs as processes on loopback, for the storage tests."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelport import storage
from modelport.storage.credentials import of

TOOLS = Path(os.environ.get("MODELPORT_STORAGE_TOOLS", ""))
"""Where tests/storage.sh has put what is not Python."""


def tool(*names: str) -> Path:
    """A program or script of another toolchain; the test is skipped, by name, where it is not there."""
    path = TOOLS.joinpath(*names)
    if not os.environ.get("MODELPORT_STORAGE_TOOLS") or not path.exists():
        pytest.skip(f"{names[-1]} is not installed: run tests/storage.sh")
    return path.absolute()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Store:
    """A server process; its output is shown where it does not come up."""

    def __init__(
        self, command: list, url: str, *, log: Path, ready: str = "/", environment=None, folder=None
    ) -> None:
        self.url = url
        self.host = url.partition("://")[2]
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + 180
        while not self._answers(ready):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError(f"{command[0]} did not come up:\n{log.read_text(errors='replace')}")
            threading.Event().wait(0.05)

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Ends the server and whatever it started: MLflow's has ten processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def moto(log: Path) -> Store:
    """moto's S3 (and STS), as a server."""
    port = free_port()
    code = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', sys.argv[1]])"
    return Store([sys.executable, "-c", code, port], f"http://127.0.0.1:{port}", log=log, ready="/moto-api/")


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server of ours on loopback, for what no package has: its address, until the end of the block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., storage.Fetched]:
    """Fetches a URI with the values of one Secret, into a cache of the test's own. A test imports it by name."""

    def bound(uri: str, **values: str) -> storage.Fetched:
        retry = storage.Retry(budget_s=1.0, first_s=0.01)
        given = of(values, "Secret default/cloud")
        return storage.fetch(uri, cache=storage.Cache(tmp_path / "cache"), credentials=given, retry=retry)

    return bound
