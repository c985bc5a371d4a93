"""A client that goes away: what an async model still awaits for it is cancelled, and can clean up."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading

import numpy as np
import pytest

import modelport
import modelport.testing

PATIENCE_S = 60


class Awaiting(modelport.Model):
    """Waits for another service that never answers; before that, says something, if it is asked for a stream."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.began, self.cleaned = threading.Event(), threading.Event()
        self.cancellations = 0

    async def wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancellations += 1
            await asyncio.sleep(0.5)  # a farewell, longer than it takes to look again
            self.cleaned.set()
            raise


class Whole(Awaiting):
    async def predict(self, payload, headers=None):
        await self.wait()


class Streaming(Awaiting):
    async def predict(self, payload, headers=None):
        yield "first"
        await self.wait()


class Array(Awaiting):
    async def predict(self, x: np.ndarray) -> np.ndarray:
        await self.wait()
        return x


def begin(url: str, headers: str = "") -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    body = json.dumps({"instances": [1]}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("kind", [Whole, Streaming, Array])
def test_what_nobody_waits_for_is_cancelled_once(
    kind: type[Awaiting], caplog: pytest.LogCaptureFixture
) -> None:
    model = kind("m")
    with caplog.at_level(logging.ERROR), modelport.testing.client(model) as client:
        connection = begin(client.url)
        assert model.began.wait(PATIENCE_S)
        connection.close()
        assert model.cleaned.wait(PATIENCE_S)
    assert model.cancellations == 1
    assert not caplog.records


def test_a_deadline_cancels_too() -> None:
    model = Whole("m")
    with (
        modelport.testing.client(model) as client,
        begin(client.url, "X-Request-Timeout: 0.2\r\n") as connection,
    ):
        assert connection.recv(100).startswith(b"HTTP/1.1 504")
        assert model.cleaned.wait(PATIENCE_S)
