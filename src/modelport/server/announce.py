"""What a server says to the person who started it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from modelport.server.options import ServerOptions
from modelport.server.ports import Bound
from modelport.wire.fork import TERMINATION_LOG


class Announcer:
    """Prints a server's events: addresses and models on stdout, trouble on stderr.

    It is also the channel of a worker that has no supervisor.
    """

    def __init__(self, options: ServerOptions, bound: Bound) -> None:
        self._options = options
        self._scheme = "https" if options.tls_certificate else "http"
        self._http = f"{options.host}:{bound.http_port}"
        self._metrics = None if bound.metrics_port is None else f"{options.host}:{bound.metrics_port}"
        self._grpc = None if bound.grpc_port is None else f"{options.host}:{bound.grpc_port}"

    def report(self, event: str, text: str = "") -> None:
        """Prints an event: `loaded`, `ready`, `failed`, or any other with a text of its own."""
        match event:
            case "loaded":
                _out(text.replace("{address}", f"{self._scheme}://{self._http}"))
            case "ready":
                self._ready()
            case "failed":
                leave_last_words(text)
                _err(f"error: {text}")
            case "asked":
                pass
            case _:
                _err(text or event)

    def when_stuck(self) -> None:
        """Nothing more to say: the data plane has, and there is nobody to start another process."""

    def _ready(self) -> None:
        _out(f"\nREST  {self._scheme}://{self._http}")
        grpc = self._http if self._options.one_port else self._grpc
        if grpc is not None:
            _out(f"gRPC  {grpc}")
        if self._metrics is not None:
            _out(f"metrics  http://{self._metrics}/metrics")
        if self._options.docs:
            _out(f"docs  {self._scheme}://{self._http}/docs")
        _out("Ctrl-C ends it.")


def leave_last_words(text: str) -> None:
    """Where the server runs as a pod's container: leaves the reason of its end for whoever asks the platform."""
    path = os.environ.get(TERMINATION_LOG)
    if path:
        with contextlib.suppress(OSError):
            Path(path).write_text(text[:4096], encoding="utf-8")


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _err(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
