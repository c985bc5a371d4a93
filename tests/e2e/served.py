"""A server in a process of its own, started as people start it and asked over REST."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 120
"""A cold machine imports scikit-learn for half a minute; what hangs for longer is broken."""


class Running(NamedTuple):
    """A server that serves."""

    rest: str
    """Its address, such as `http://127.0.0.1:40045`."""
    grpc: str
    said: str
    """What it has printed so far."""


@contextlib.contextmanager
def running(*command: str, errors: Path, folder: Path | None = None, told: bool = False) -> Iterator[Running]:
    """A server that a Python command starts; told to end after that, and expected to end well.

    `told`: the test tells it to end. A second word ends a server at once, which is no good end.
    """
    with errors.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        said = _until_it_serves(process)
        addresses = dict(line.split() for line in said.splitlines() if line[:4] in ("REST", "gRPC"))
        if "REST" not in addresses:
            raise AssertionError(f"the server did not start:\n{said}\n{errors.read_text()}")
        yield Running(addresses["REST"], addresses.get("gRPC", ""), said)
        if not told:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0, errors.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _until_it_serves(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    until = time.monotonic() + PATIENCE_S
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"Ctrl-C" not in said and selector.select(max(0.0, until - time.monotonic())):
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                break
            said += part
    return said.decode()


def ask(url: str, body: object, accept: str = "*/*") -> tuple[int, Message, str]:
    """Status, headers and text of a POST."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Accept": accept}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()
