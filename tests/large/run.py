#!/usr/bin/env python3
"""An InferenceService with a model of 10 GB, on a real platform whose node has 256 MiB of memory.

    python tests/large/run.py                    # 25 GB of disk below --folder, some minutes
    python tests/large/run.py --size 1Gi

1. It becomes Ready; its status and events say how far the fetch is meanwhile; the model reads its last byte.
2. Deleted in the middle of a fetch: the fetch ends, and no pod, process or folder of it is left. What had come stays in
   the cache for whoever asks for that URI next.
3. The node is killed (SIGKILL) in the middle: what had come is not fetched again.

The limit is a control group's (version 1's, as root), page cache and all that the node starts included. Without one it
says so, and the most anonymous memory of the node is what counts.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelport.kube.quantity import Quantity

PATIENCE_S = 1800.0
LIMIT = 256 << 20
GROUPS = Path("/sys/fs/cgroup/memory")
MODEL = """
import mmap, os
from modelport import Model, ModelServer

class Large(Model):
    def load(self):
        self.path = "/mnt/models/model.bin"
        self.size = os.stat(self.path).st_size
        self.ready = True
        return True

    def predict(self, payload, headers=None):
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all:
            return {"predictions": [self.size, all[-1]]}

ModelServer().start([Large("large")])
"""


class Store:
    """One sparse file over http, whose last byte is 7; it counts what it sends, and stops sending where told to."""

    def __init__(self, file: Path) -> None:
        store, size = self, file.stat().st_size
        self.sent = 0
        self.lock = threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *words: object) -> None:  # noqa: A002
                """Silence."""

            def do_GET(self) -> None:
                found = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                start, stop = (int(found[1]), int(found[2] or size - 1) + 1) if found else (0, size)
                self.send_response(206 if found else 200)
                if found:
                    self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
                for name, value in {
                    "ETag": '"large"',
                    "Accept-Ranges": "bytes",
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(stop - start),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.flush()
                with file.open("rb") as content, contextlib.suppress(OSError):
                    while start < stop:
                        count = os.sendfile(
                            self.connection.fileno(), content.fileno(), start, min(1 << 20, stop - start)
                        )
                        start += count
                        with store.lock:
                            store.sent += count

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda request, client_address: None  # a killed node's connections end
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/model.bin"


class Platform:
    """A platform in a folder of its own, by its command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, given: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "modelport", *words],
            input=given, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            env=os.environ | {"MODELPORT_DIR": str(self.folder)},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"modelport {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def api(self, what: str) -> Any:
        return json.loads(self.run(*what.split(), "-o", "json"))

    def node(self) -> int:
        return json.loads((self.folder / "run" / "node.json").read_text())["pid"]

    def processes(self) -> list[str]:
        """Processes of pods."""
        found: list[str] = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and str((entry / "cwd").readlink()).startswith(
                    f"{self.folder}/pods"
                ):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what: str, holds: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come")
        time.sleep(0.5)
    return found


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@contextlib.contextmanager
def group() -> Iterator[Path | None]:
    """A control group of 256 MiB; None where there can be none."""
    folder = GROUPS / f"modelport-large-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        say(f"no control group here ({error}): nothing limits the node's memory")
        yield None
        return
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def anonymous(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) << 10 if found else 0
    return 0


class Trial:
    """What the three parts share."""

    def __init__(self, platform: Platform, store: Store, size: int, limits: Path | None) -> None:
        self.platform, self.store, self.size, self.limits = platform, store, size, limits
        self.model = platform.folder.parent / "model.py"
        self.model.write_text(MODEL)
        self.most = 0

    def limit(self) -> None:
        """The node that runs now, and what it starts."""
        if self.limits is not None:
            (self.limits / "cgroup.procs").write_text(str(self.platform.node()))

    def apply(self, name: str) -> None:
        container = {
            "name": "kserve-container",
            "image": "none",
            "command": [sys.executable, str(self.model), "--http_port=8080"],
            "env": [{"name": "STORAGE_URI", "value": self.store.url}],
        }
        service = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"predictor": {"containers": [container]}},
        }
        self.platform.run("apply", "-f", "-", given=json.dumps(service))

    def told(self, name: str) -> tuple[str, str]:
        """Status and message of ModelFetched."""
        self.most = max(self.most, anonymous(self.platform.node()))
        found = self.platform.api(f"get isvc {name}").get("status", {}).get("conditions", [])
        return next(
            ((one["status"], one.get("message", "")) for one in found if one["type"] == "ModelFetched"),
            ("", ""),
        )

    def share(self, name: str) -> float:
        """How far the status says that the fetch is."""
        found = re.search(r"· ([\d.]+) (\w+) of ([\d.]+) (\w+)", self.told(name)[1])
        if found is None:
            return 0.0
        units = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
        return float(found[1]) * units[found[2]] / (float(found[3]) * units[found[4]])

    def ready(self, name: str) -> list[str]:
        """Waits, and gives what the status said meanwhile."""
        seen: list[str] = []

        def holds() -> bool:
            message = self.told(name)[1]
            if message and message not in seen:
                seen.append(message)
            conditions = self.platform.api(f"get isvc {name}").get("status", {}).get("conditions", [])
            return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)

        until(f"{name} Ready", holds)
        answer = json.loads(
            self.platform.run("predict", name, "--model", "large", "-d", '{"instances": [[1]]}')
        )
        assert answer["predictions"] == [self.size, 7], answer
        return seen

    def forget(self) -> None:
        """Nothing of the model in the cache."""
        self.platform.run("storage", "prune", "--keep", "0")
        for place in ("trees", "blobs", "partial"):
            left = sum(
                path.stat().st_size
                for path in (self.platform.folder / "cache" / place).rglob("*")
                if path.is_file()
            )
            assert left < 1 << 20, f"{place} has {left} bytes"

    def first(self) -> None:
        began = time.monotonic()
        self.apply("whole")
        seen = self.ready("whole")
        progress = [message for message in seen if " of " in message]
        assert len(progress) > 2, seen
        say(
            f"Ready after {time.monotonic() - began:.0f} s; {len(progress)} moments of the fetch in the status, such as"
        )
        for message in (progress[0], progress[len(progress) // 2], seen[-1]):
            say(f"  {message}")
        events = self.platform.run("describe", "whole")
        assert "ModelFetched" in events, events
        self.platform.run("delete", "isvc", "whole")
        until("the end of its processes", lambda: not self.platform.processes())
        self.forget()

    def second(self) -> None:
        self.apply("cancelled")
        until("a third of it", lambda: self.share("cancelled") > 0.3)
        self.platform.run("delete", "isvc", "cancelled")
        until("no pod", lambda: not self.platform.api("get pods").get("items"))
        until(
            "no folder",
            lambda: not list((self.platform.folder / "pods").glob("*/*")) and not self.platform.processes(),
        )
        time.sleep(2)
        before = self.store.sent
        time.sleep(3)
        assert self.store.sent == before, "the fetch goes on"
        kept = sum(
            path.stat().st_blocks * 512
            for path in (self.platform.folder / "cache" / "partial").rglob("*")
            if path.is_file()
        )
        say(
            f"deleted in the middle: no pod, process or folder is left; {kept >> 20} MiB stay in the cache for the next try"
        )
        self.forget()

    def third(self) -> None:
        began = self.store.sent
        self.apply("resumed")
        until("a third of it", lambda: self.share("resumed") > 0.3)
        pid = self.platform.node()
        os.kill(pid, signal.SIGKILL)
        say(f"killed the node at {self.share('resumed'):.0%}")
        until("another node", lambda: self.platform.node() != pid)
        self.limit()
        self.ready("resumed")
        twice = self.store.sent - began - self.size
        say(f"Ready; {twice / 2**20:.0f} MiB of {self.size >> 20} were sent twice")
        assert twice < 256 << 20
        self.platform.run("delete", "isvc", "resumed")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--size", default="10G")
    options.add_argument("--folder", type=Path, help="where the disk is; without it the temporary folder")
    given = options.parse_args()
    size = Quantity.parse(given.size).whole()
    place = Path(tempfile.mkdtemp(prefix="large-", dir=given.folder))
    platform = Platform(place / "platform")
    try:
        with (place / "model.bin").open("wb") as file:
            file.seek(size - 1)
            file.write(b"\7")
        store = Store(place / "model.bin")
        with group() as limits:
            platform.run("up", "--detach", "--port", str(port()))
            try:
                trial = Trial(platform, store, size, limits)
                trial.limit()
                for part in (trial.first, trial.second, trial.third):
                    part()
                say(f"most anonymous memory of the node: {trial.most >> 20} MiB")
                if limits is not None:
                    most = int((limits / "memory.max_usage_in_bytes").read_text())
                    killed = "oom_kill 0" not in (limits / "memory.oom_control").read_text()
                    say(
                        f"most memory of its group, page cache included: {most >> 20} MiB; killed for memory: {killed}"
                    )
                    assert not killed
            finally:
                platform.run("down")
        print("1 passed")
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(place)], check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
