"""Asks for the same thing at a fixed rate, whatever the answers do, and notes when each request was due and how long
it took from then on: what a load generator's percentiles do not tell is which requests met what else was going on.

    python benchmarks/arrivals.py URL BODY EXPECT RATE SECONDS SEED > samples.json
"""

from __future__ import annotations

import collections
import json
import random
import selectors
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 32
PATIENCE_S = 30.0
SPIN_S = 0.0003
"""How long before a request is due it is waited for without sleep, since sleep ends late."""


class Caller:
    """A connection that is kept: one request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.received = b""

    def answer(self) -> bytes | None:
        """The answer, once all of it is there. Raises ConnectionError if the server has closed."""
        part = self.socket.recv(65536)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.received += part
        head, end, body = self.received.partition(b"\r\n\r\n")
        lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if not end or len(body) < int(lengths[0]):
            return None
        self.received = b""
        return head.split(b"\r\n")[0] + b" " + body


def ask(url: str, body: bytes, expect: bytes, rate: float, seconds: float, seed: int) -> dict[str, object]:
    """All requests of a Poisson process, each as (due, seconds that it took), and how many answers were wrong."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), int(parts.port or 80)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    chance = random.Random(seed)
    free = collections.deque(Caller(host, port) for _ in range(CONNECTIONS))
    waiting: collections.deque[float] = collections.deque()
    samples: list[tuple[float, float]] = []
    errors = open_ = 0
    selector = selectors.DefaultSelector()
    for caller in free:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
    now = time.monotonic()
    end, due = now + seconds, now + chance.expovariate(rate)
    while due < end or waiting or open_:
        now = time.monotonic()
        if now > end + PATIENCE_S:
            errors += open_ + len(waiting)
            break
        while due <= now and due < end:
            waiting.append(due)
            due += chance.expovariate(rate)
        while waiting and free:
            caller = free.popleft()
            caller.due = waiting.popleft()
            caller.socket.sendall(request)
            open_ += 1
        left = due - time.monotonic() - SPIN_S if due < end else 0.01
        for key, _ in selector.select(max(0.0, left) if not waiting else 0.01):
            caller = key.data
            answer = caller.answer()
            if answer is not None:
                samples.append((caller.due, time.monotonic() - caller.due))
                errors += b" 200 " not in answer or expect not in answer
                free.append(caller)
                open_ -= 1
    return {"samples": samples, "errors": errors}


def main() -> int:
    """The command."""
    url, body, expect, rate, seconds, seed = sys.argv[1:]
    found = ask(
        url, Path(body).read_bytes(), Path(expect).read_bytes(), float(rate), float(seconds), int(seed)
    )
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
