"""kill -9 at any moment: whatever was acknowledged is there afterwards, and watches go on from where they were.

MODELPORT_KILL_ROUNDS sets how often the server is killed (20).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apiserver_process
import httpx
import msgspec
from apiserver_api import wait_until
from apiserver_running import Process, running

ROUNDS = int(os.environ.get("MODELPORT_KILL_ROUNDS", "20"))
WRITERS = 4
NAMES = 6
"""Names of each writer: they meet in the log, not in an object."""
PATH = "/api/v1/namespaces/default/configmaps"
GONE = None


class Writer:
    """Writes to objects that nobody else writes to, and remembers what was acknowledged."""

    def __init__(self, index: int) -> None:
        self.random = random.Random(index)
        self.names = [f"w{index}-{number}" for number in range(NAMES)]
        self.known: dict[str, Any] = dict.fromkeys(self.names, GONE)
        """Name to the data that was acknowledged last; GONE for none."""
        self.asked: tuple[str, Any] | None = None
        """What is on its way: afterwards it may have happened or not."""
        self.acknowledged = 0
        self.version = 0

    def write(self, http: httpx.Client) -> None:
        """One write. Transport errors are the caller's."""
        name = self.random.choice(self.names)
        data = {"n": str(self.random.randrange(10**9)), "text": "x" * self.random.randrange(3000)}
        before = self.known[name]
        if before is GONE:
            self.asked = (name, data)
            answer = http.post(PATH, json={"metadata": {"name": name}, "data": data})
            after: Any = data
        elif self.random.random() < 0.3:
            self.asked = (name, GONE)
            answer = http.delete(f"{PATH}/{name}")
            after = GONE
        else:
            self.asked = (name, before | data)
            media = {"Content-Type": "application/merge-patch+json"}
            answer = http.patch(f"{PATH}/{name}", content=msgspec.json.encode({"data": data}), headers=media)
            after = before | data
        assert answer.status_code in (200, 201), answer.text
        self.known[name] = after
        self.asked = None
        self.acknowledged += 1
        version = answer.json()["metadata"].get("resourceVersion")
        self.version = max(self.version, int(version or 0))

    def check(self, found: dict[str, Any]) -> None:
        """What is there is what was acknowledged, or what was asked for when the server died."""
        for name in self.names:
            present = found.get(name, GONE)
            allowed = [self.known[name]] + ([self.asked[1]] if self.asked and self.asked[0] == name else [])
            assert present in allowed, f"{name}: acknowledged {allowed}, found {present}"
            self.known[name] = present
        self.asked = None


def test_what_was_acknowledged_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    server = Process(tmp_path)
    dice = random.Random(4711)
    writers = [Writer(index) for index in range(WRITERS)]
    newest = 0
    for _ in range(ROUNDS):
        server.start()
        newest = _check(server, writers, newest)
        dead = threading.Event()
        failures: list[BaseException] = []

        def work(
            writer: Writer, dead: threading.Event = dead, failures: list[BaseException] = failures
        ) -> None:
            with server.client() as http:
                while not dead.is_set():
                    try:
                        writer.write(http)
                    except httpx.TransportError:
                        return
                    except BaseException as error:
                        failures.append(error)
                        raise

        threads = [threading.Thread(target=work, args=(writer,)) for writer in writers]
        for thread in threads:
            thread.start()
        goal = sum(writer.acknowledged for writer in writers) + dice.randrange(1, 60)
        wait_until(lambda goal=goal: sum(w.acknowledged for w in writers) >= goal or failures, 60)
        time.sleep(dice.random() * 0.02)  # the moment is a random choice, nothing is waited for
        server.kill()
        dead.set()
        for thread in threads:
            thread.join(30)
        assert not failures, failures
    server.start()
    _check(server, writers, newest)
    server.kill()
    assert sum(writer.acknowledged for writer in writers) > ROUNDS


def _check(server: Process, writers: list[Writer], newest: int) -> int:
    """What is there is right, and can be watched from `newest`, the version at the last check, on. The version now."""
    with server.client() as http:
        listing = http.get(PATH).json()
        found = {item["metadata"]["name"]: item.get("data") for item in listing["items"]}
        for writer in writers:
            writer.check(found)
        now = int(listing["metadata"]["resourceVersion"])
        assert now >= max(newest, *(writer.version for writer in writers)), "versions never go back"
        if newest:
            params = {"watch": "1", "resourceVersion": str(newest), "timeoutSeconds": "10"}
            then = dict(server.listed)
            with http.stream("GET", PATH, params=params) as answer:
                lines = answer.iter_lines()
                while then != found and (line := next(lines, "")):
                    event = msgspec.json.decode(line)
                    item = event["object"]
                    then[item["metadata"]["name"]] = item.get("data")
                    if event["type"] == "DELETED":
                        del then[item["metadata"]["name"]]
            assert then == found, "a watch from before the death goes on without a gap"
        server.listed = found
        return now


def test_it_stops_in_good_order_when_told_to(tmp_path: Path) -> None:
    server = Process(tmp_path)
    server.start()
    with server.client() as http:
        assert http.post(PATH, json={"metadata": {"name": "a"}}).status_code == 201
        params = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "30"}
        with http.stream("GET", PATH, params=params) as answer:
            lines = answer.iter_lines()
            assert '"ADDED"' in next(lines)
            with ThreadPoolExecutor() as pool:
                rest = pool.submit(list, lines)
                assert server.kill(signal.SIGTERM) == 0
                assert rest.result(30) == [], "the watch ends, it does not break"
    assert "Traceback" not in (tmp_path / "server.log").read_text()
    assert not (tmp_path / "state.db-wal").exists(), "all is in the file"


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with running(tmp_path / "a") as server:
        (tmp_path / "b").mkdir()
        apiserver_process.prepare(tmp_path / "b", server.port)
        script = Path(apiserver_process.__file__)
        done = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "b"), str(server.port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert f"127.0.0.1:{server.port}" in done.stderr
    assert "in use. End what uses that port" in done.stderr
