"""Worker processes that die, hang or are told to end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import PATIENCE_S, ask, running
from test_reload import Asking, metric, until

SLOW = """
import asyncio
import os
import re
import time
import numpy as np
import modelport

class Slow(modelport.Model):
    def predict(self, x: np.ndarray) -> np.ndarray:
        if x[0, 0] == 1:
            time.sleep(3600)
        if x[0, 0] == 2:  # holds the GIL
            re.match(r"(a+)+$", "a" * 64 + "b")
        if x[0, 0] > 2:
            time.sleep(float(x[0, 0]) / 1000)
        return x[:, 0]

class Awaiting(modelport.Model):
    async def predict(self, payload, headers=None):
        what = payload["instances"][0][0]
        if what == 1:
            await asyncio.Event().wait()
        if what == 2:  # holds up the event loop, where nothing can be cancelled
            time.sleep(3600)
        return {"predictions": [what], "pid": os.getpid()}

class Quick(modelport.Model):
    def predict(self, x: np.ndarray) -> np.ndarray:
        return x[:, 0]
"""


def serve(folder: Path, *more: str) -> list[str]:
    (folder / "models.py").write_text(SLOW)
    classes = ("Slow", "Quick", "Awaiting")
    sources = [word for name in classes for word in ("--model", f"{name.lower()}={folder}/models.py:{name}")]
    return ["-m", "modelport", "serve", *sources, "--http-port", "0", "--grpc-port", "0", *more]


def get(url: str) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=PATIENCE_S)
    connection.request("GET", parts.path)
    return connection.getresponse().status


def workers(server_pid: int) -> list[int]:
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()
    return [int(child) for child in children]


def supervisor_of(address: str) -> int:
    """The process that listens on the port and has children."""
    port = urlsplit(address).port
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if b"serve" in command and b"modelport" in command and workers(int(entry.name)):
                inodes = {str(fd.readlink()) for fd in (entry / "fd").iterdir()}
                if any(inode in inodes for inode in listeners(port)):
                    return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"no process listens on port {port}")


def listeners(port: int | None) -> set[str]:
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


@pytest.mark.parametrize("how", [1, 2], ids=["sleeps", "holds the GIL"])
def test_a_hanging_model_costs_its_request_and_no_more(tmp_path: Path, how: int):
    """One poisonous request would silence health checks and every other model."""
    errors = tmp_path / "err.txt"
    with running(*serve(tmp_path, "--predict-timeout", "2", "--drain-timeout", "5"), errors=errors) as server:
        outcome: list[tuple[int, str]] = []

        def poison() -> None:
            status, _, text = ask(f"{server.rest}/v1/models/slow:predict", {"instances": [[how]]})
            outcome.append((status, text))

        client = threading.Thread(target=poison)
        client.start()
        until(
            "the request in the model", lambda: outcome or metric(server.rest, "modelport_in_flight_requests")
        )
        assert get(f"{server.rest}/v2/health/live") == 200
        client.join(PATIENCE_S)
        assert outcome[0][0] == 504
        assert "predict timeout" in json.loads(outcome[0][1])["error"]
        until(
            "a new worker",
            lambda: ask(f"{server.rest}/v1/models/slow:predict", {"instances": [[0]]})[0] == 200,
        )
        assert ask(f"{server.rest}/v1/models/quick:predict", {"instances": [[7]]})[2] == '{"predictions":[7]}'


@pytest.mark.parametrize("how", [1, 2], ids=["awaits", "holds up the loop"])
def test_an_async_model_that_hangs_is_given_up(tmp_path: Path, how: int):
    """A client would wait for ever; what only awaits is cancelled, and costs no process."""
    with running(*serve(tmp_path, "--predict-timeout", "1"), errors=tmp_path / "err.txt") as server:

        def call(what: int) -> tuple[int, dict[str, object]]:
            status, _, text = ask(f"{server.rest}/v1/models/awaiting:predict", {"instances": [[what]]})
            return status, json.loads(text)

        before = call(0)[1]["pid"]
        status, answer = call(how)
        assert status == 504
        assert "predict timeout" in str(answer["error"])
        if how == 2:
            until("a new worker", lambda: get(f"{server.rest}/v2/health/live") == 200 and call(0)[0] == 200)
        status, answer = call(0)
        assert status == 200
        assert (answer["pid"] == before) == (how == 1)


def test_killed_worker_loses_only_its_own_requests(tmp_path: Path):
    """A crash would take the service down, or go unnoticed."""
    with running(*serve(tmp_path, "--workers", "2"), errors=tmp_path / "err.txt") as server:
        until("both workers", lambda: metric(server.rest, "modelport_workers") == 2)
        parent = supervisor_of(server.rest)
        victim = workers(parent)[0]
        with Asking(f"{server.rest}/v1/models/quick:predict") as asking:
            until("answers", lambda: asking.answers)
            os.kill(victim, signal.SIGKILL)
            until("its replacement", lambda: len(set(workers(parent)) - {victim}) == 2)
            until("both workers again", lambda: metric(server.rest, "modelport_workers") == 2)
        # Each client has one connection at a time: at most those in the dead process's hands are lost.
        assert len(asking.failures) <= 4, asking.failures


def test_termination_answers_what_was_asked(tmp_path: Path):
    """A rolling update would fail requests that were on their way."""
    outcome: list[tuple[int, str]] = []
    with running(*serve(tmp_path), errors=tmp_path / "err.txt", told=True) as server:

        def slow() -> None:
            status, _, text = ask(f"{server.rest}/v1/models/slow:predict", {"instances": [[2000]]})
            outcome.append((status, text))

        clients = [threading.Thread(target=slow) for _ in range(3)]
        for client in clients:
            client.start()
        until("the requests in the server", lambda: metric(server.rest, "modelport_in_flight_requests") == 3)
        os.kill(supervisor_of(server.rest), signal.SIGTERM)
        for client in clients:
            client.join(PATIENCE_S)
    assert [status for status, _ in outcome] == [200, 200, 200]


def test_who_comes_while_it_ends_is_refused_and_does_not_wait(tmp_path: Path):
    """A balancer would hang on a server that takes connections and never answers, rather than ask another one."""
    answers: list[int] = []
    with running(*serve(tmp_path), errors=tmp_path / "err.txt", told=True) as server:
        url = f"{server.rest}/v1/models/slow:predict"
        client = threading.Thread(target=lambda: answers.append(ask(url, {"instances": [[10_000]]})[0]))
        client.start()
        until("the request in the server", lambda: metric(server.rest, "modelport_in_flight_requests") == 1)
        os.kill(supervisor_of(server.rest), signal.SIGTERM)
        address = urlsplit(server.rest)

        def is_refused() -> bool:
            try:
                socket.create_connection((str(address.hostname), address.port or 0), timeout=0.2).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                pass
            return False

        until("a refusal", is_refused)
        assert not answers, "the port closed with the process, not before it"
        client.join(PATIENCE_S)
    assert answers == [200]


def test_a_full_queue_is_refused_with_retry_after(tmp_path: Path):
    """Waiting requests would grow memory without a bound, and clients would not know to back off."""
    with running(*serve(tmp_path, "--queue-limit", "1"), errors=tmp_path / "err.txt") as server:
        url = f"{server.rest}/v1/models/slow:predict"
        clients = []
        for count in (1, 2):  # one in the model, one in the queue
            client = threading.Thread(target=ask, args=(url, {"instances": [[4000]]}))
            client.start()
            clients.append(client)
            until(
                "it in the server",
                lambda count=count: metric(server.rest, "modelport_in_flight_requests") == count,
            )
            time.sleep(0.2)  # the first must have left the queue
        status, headers, text = ask(url, {"instances": [[0]]})
        for client in clients:
            client.join(PATIENCE_S)
        assert status == 429
        assert headers["Retry-After"]
        assert "full" in json.loads(text)["error"]


def test_metrics_speak_for_all_workers(tmp_path: Path):
    """A dashboard would show the counts of whichever worker was asked."""
    with running(*serve(tmp_path, "--workers", "2"), errors=tmp_path / "err.txt") as server:
        until("both workers", lambda: metric(server.rest, "modelport_workers") == 2)
        for _ in range(20):
            ask(f"{server.rest}/v1/models/quick:predict", {"instances": [[1]]})
        name = 'modelport_requests_total{model_name="quick"'
        assert {metric(server.rest, name) for _ in range(6)} == {20.0}
        with urllib.request.urlopen(f"{server.rest}/metrics", timeout=PATIENCE_S) as response:
            assert response.headers["content-type"].startswith("text/plain")
