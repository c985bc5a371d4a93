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
from apiserver_writer import CONFIG_MAPS, DEPLOYMENTS, Writer, seen

ROUNDS = int(os.environ.get("MODELPORT_KILL_ROUNDS", "20"))
WRITERS = 4


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
    verbs = set[str]().union(*(writer.verbs for writer in writers))
    assert {"create", "apply", "replace", "merge", "json", "strategic", "scale", "status"} <= verbs
    assert {"delete", "delete_slowly", "let_go", "delete_collection"} <= verbs
    print(f"{ROUNDS} deaths, {sum(writer.acknowledged for writer in writers)} acknowledged calls")


def _check(server: Process, writers: list[Writer], newest: int) -> int:
    """What is there is right, and can be watched from `newest`, the version at the last check, on. The version now."""
    now = 0
    with server.client() as http:
        everything: dict[str, Any] = {}
        for path in (CONFIG_MAPS, DEPLOYMENTS):
            listing = http.get(path).json()
            found = {item["metadata"]["name"]: seen(item) for item in listing["items"]}
            everything |= found
            now = int(listing["metadata"]["resourceVersion"])
            assert now >= max(newest, *(writer.version for writer in writers)), "versions never go back"
            if newest:
                _watch(http, path, newest, server.listed.get(path, {}), found)
            server.listed[path] = found
        for writer in writers:
            writer.check(everything)
    return now


def _watch(http: httpx.Client, path: str, since: int, before: dict[str, Any], found: dict[str, Any]) -> None:
    params = {"watch": "1", "resourceVersion": str(since), "timeoutSeconds": "10"}
    then = dict(before)
    with http.stream("GET", path, params=params) as answer:
        lines = answer.iter_lines()
        while then != found and (line := next(lines, "")):
            event = msgspec.json.decode(line)
            item = event["object"]
            assert event["type"] != "ERROR", item
            then[item["metadata"]["name"]] = seen(item)
            if event["type"] == "DELETED":
                del then[item["metadata"]["name"]]
    assert then == found, "a watch from before the death goes on without a gap"


def test_it_stops_in_good_order_when_told_to(tmp_path: Path) -> None:
    server = Process(tmp_path)
    server.start()
    with server.client() as http:
        assert http.post(CONFIG_MAPS, json={"metadata": {"name": "a"}}).status_code == 201
        params = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "30"}
        with http.stream("GET", CONFIG_MAPS, params=params) as answer:
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
