"""Servers in processes of their own: all that they print is kept, and shown when a test fails."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from served import PATIENCE_S

from modelport.client.rest import Client

PREDICTORS = str(Path(__file__).parent / "predictors.py")
PAUSE_S = 0.02
LIVE: list[Server] = []
"""Servers that have not been stopped, for whoever reports a failed test."""


class Answer(NamedTuple):
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error; only where the answer is one, in the protocols' shape."""
        assert self.status >= 400, self
        assert list(self.json) == ["error"], self
        return self.json["error"]


def request(
    url: str,
    body: Any = None,
    verb: str = "",
    headers: dict[str, str] | None = None,
    timeout_s: float = PATIENCE_S,
) -> Answer:
    """One request on a connection of its own; with a body a POST."""
    parts = urlsplit(url)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    with contextlib.closing(
        http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    ) as connection:
        connection.request(verb or ("GET" if content is None else "POST"), parts.path, content, headers or {})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())


def until(condition: Callable[[], Any], what: str, limit_s: float = PATIENCE_S) -> Any:
    """Waits for a condition and returns what made it true."""
    end = time.monotonic() + limit_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {limit_s:g} s\n{output()}")
        time.sleep(PAUSE_S)


def output() -> str:
    """What all servers that still run have printed."""
    return "\n".join(str(server) for server in LIVE)


class Server:
    """A process that serves, by default `modelport serve ARGUMENTS` on free ports."""

    def __init__(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        folder: Path | None = None,
        command: tuple[str, ...] = ("-m", "modelport", "serve"),
        ports: tuple[str, ...] = ("--http-port", "0", "--grpc-port", "0"),
    ) -> None:
        self.command = [sys.executable, *command, *map(str, arguments), *ports]
        self.traceback_expected = False
        self._said: dict[str, str] = {"stdout": "", "stderr": ""}
        self._changed = threading.Condition()
        clean = {
            name: value for name, value in os.environ.items() if name not in ("PREDICT_PROBA", "CE_MERGE")
        }
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=clean | {"OMP_NUM_THREADS": "1"} | (env or {}),
            start_new_session=True,
        )
        LIVE.append(self)
        self._readers = [
            threading.Thread(target=self._read, args=(name, pipe), daemon=True)
            for name, pipe in (("stdout", self.process.stdout), ("stderr", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, pipe: Any) -> None:
        while part := os.read(pipe.fileno(), 65536):
            with self._changed:
                self._said[name] += part.decode(errors="replace")
                self._changed.notify_all()

    def started(self) -> Server:
        """Waits until it says that it serves."""
        self.wait_for("Ctrl-C ends it.")
        return self

    def wait_for(self, text: str, limit_s: float = PATIENCE_S) -> None:
        """Waits until it has printed this."""

        def over() -> bool:
            return text in self.said or (self.process.poll() is not None and not self._reading())

        with self._changed:
            end = time.monotonic() + limit_s
            while not over() and time.monotonic() < end:
                self._changed.wait(0.5)
        assert text in self.said, f"{text!r} was not printed\n{self}"

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    @property
    def stdout(self) -> str:
        return self._said["stdout"]

    @property
    def stderr(self) -> str:
        return self._said["stderr"]

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    @property
    def url(self) -> str:
        """The REST address."""
        found = re.search(r"^REST  (\S+)$", self.stdout, re.MULTILINE)
        assert found, self
        return found[1]

    def client(self, model: str = "model") -> Client:
        """Modelport's own client."""
        return Client(self.url, model, timeout_s=PATIENCE_S)

    def ask(self, path: str, body: Any = None, **more: Any) -> Answer:
        """One request on a connection of its own."""
        return request(self.url + path, body, **more)

    def ready(self) -> bool:
        """Whether the server says that it is ready; False where it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("/v2/health/ready").status == 200
        return False

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def all_serve(self, count: int = 2) -> list[int]:
        """Waits until so many workers have answered, by a model `troubled` that tells its process, and returns
        their process ids."""

        def there() -> list[int]:
            if len(pids := self.workers()) != count:
                return []
            told = {int(self.client("troubled").predict([[0]])[0]) for _ in range(10 * count)}
            return pids if told == set(pids) else []

        return until(there, f"{count} workers serve")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.ask("/metrics").body.decode().splitlines()
            if re.match(rf"{name}[{{ ]", line) and all(label in line for label in wanted)
        )

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal to the process that was started."""
        self.process.send_signal(number)

    def ended(self, code: int = 0) -> None:
        """Waits for the end, and expects this exit code and no traceback."""
        try:
            got = self.process.wait(timeout=PATIENCE_S)
            for reader in self._readers:
                reader.join(timeout=10)
            assert got == code, f"exit code {got}, not {code}\n{self}"
            assert self.traceback_expected or "Traceback" not in self.said, str(self)
        finally:
            self.kill()

    def stop(self) -> None:
        """SIGTERM, and a good end."""
        if self in LIVE:
            self.signal()
            self.ended()

    def kill(self) -> None:
        """Leaves nothing behind."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self in LIVE:
            LIVE.remove(self)

    def __str__(self) -> str:
        return f"$ {' '.join(self.command)}\n--- stdout\n{self.stdout}--- stderr\n{self.stderr}---"


@contextlib.contextmanager
def serving(*arguments: str | Path, **more: Any) -> Iterator[Server]:
    """A server that serves; stopped by SIGTERM at the end, and expected to end well."""
    server = Server(*arguments, **more)
    try:
        yield server.started()
        server.stop()
    finally:
        server.kill()


def run(*arguments: str | Path, env: dict[str, str] | None = None, folder: Path | None = None) -> Any:
    """A command that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "modelport", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
        check=False,
    )


def is_refused(url: str) -> bool:
    """Whether nothing listens there any more."""
    try:
        request(url, timeout_s=5)
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return False


def resident_kb(pid: int) -> int:
    """Memory that a process holds by itself: shared pages count by their share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1])  # type: ignore[index]


class Traffic:
    """Threads that ask without a pause, on kept connections, as good HTTP clients do.

    A request that a kept connection ends without a byte of an answer is sent again on a new one: the server
    may close a connection that is idle at any time. Anything else that is no 200 is a failure. A refused
    connection ends the thread if `ends_when_refused`.
    """

    def __init__(
        self, url: str, body: Any, *, threads: int = 4, ends_when_refused: bool = False, check: Any = None
    ) -> None:
        self._url = urlsplit(url)
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._ends_when_refused = ends_when_refused
        self._check = check
        self._over = threading.Event()
        self.answered = [0] * threads
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask_on, args=(i,), daemon=True) for i in range(threads)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.flows()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=PATIENCE_S)
            assert not thread.is_alive(), f"a request was never answered\n{output()}"

    def flows(self, more: int = 20) -> None:
        """Waits until every thread has got some more answers, or failed."""
        goals = [count + more for count in self.answered]

        def there() -> bool:
            return bool(self.failures) or all(
                count >= goal or not thread.is_alive()
                for count, goal, thread in zip(self.answered, goals, self._threads, strict=True)
            )

        until(there, "requests are answered")

    def _ask_on(self, index: int) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            kept = connection is not None
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        self._url.hostname or "", self._url.port, timeout=PATIENCE_S
                    )
                    try:
                        connection.connect()
                    except ConnectionRefusedError:
                        if self._ends_when_refused:
                            return
                        raise
                connection.request("POST", self._url.path, self._body)
                response = connection.getresponse()
                content = response.read()
                if response.status != 200 or (self._check and not self._check(json.loads(content))):
                    self.failures.append(f"{response.status} {content!r}")
                self.answered[index] += 1
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                if connection is not None:
                    connection.close()
                connection = None
                lost = isinstance(
                    error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError
                )
                if not (kept and lost):
                    self.failures.append(f"{type(error).__name__}: {error}")
                    if len(self.failures) > 100:
                        return
        if connection is not None:
            connection.close()


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Runs `work(0)`, `work(1)`… in threads that begin at the same time; their results, in order."""
    start = threading.Barrier(count)

    def one(index: int) -> Any:
        start.wait(timeout=PATIENCE_S)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
