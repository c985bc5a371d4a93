"""The fork server's loop: answers the node, reaps children and writes down how they ended."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import cast

import msgspec

import modelport
from modelport.forkserver import child
from modelport.forkserver.preload import Shared
from modelport.wire import fork
from modelport.wire.fork import Exit, Hello, Preload, Refused, Reply, Start, Started, Welcome

log = logging.getLogger(__name__)

READ_LIMIT_S = 5.0
"""Longest time for a client to send its line: everybody else waits meanwhile."""


class SocketTaken(Exception):
    """Another fork server listens there."""


class ForkServer:
    """One interpreter that forks. Single-threaded, for a fork copies no other thread."""

    def __init__(self, path: Path, exits: Path, idle_s: float, shared: Shared) -> None:
        self._path = path
        self._exits = exits
        self._idle_s = idle_s
        self._shared = shared
        self._children: dict[int, str] = {}
        self._ending = False
        self._asked_at = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._lock, self._listener = _listen(path)
        self._learn, self._share = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._learn.setblocking(False)
        self._share.setblocking(False)

    def run(self, identity: Path | None = None) -> None:
        """Serves until SIGTERM or idleness ends it. Children live on."""
        gc.disable()  # what is imported here stays; children collect for themselves
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGCHLD, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if identity is not None:
            identity.write_bytes(fork.encode({"pid": os.getpid(), "start": _start_time(os.getpid())}))
        self._selector.register(wake_read, selectors.EVENT_READ, "wake")
        self._selector.register(self._listener, selectors.EVENT_READ, "ask")
        self._selector.register(self._learn, selectors.EVENT_READ, "learn")
        log.info("pid %d, Python %s, listens on %s", os.getpid(), sys.version.split()[0], self._path)
        while not self._ending:
            for key, _ in self._selector.select(timeout=self._pause_s()):
                if key.data == "wake":
                    with contextlib.suppress(BlockingIOError):
                        wake_read.recv(4096)
                elif key.data == "ask":
                    self._answer_one()
                else:
                    self._learn_one()
            self._reap()
            if self._is_idle():
                log.info("idle for %.0f s: ending", self._idle_s)
                break
        self._path.unlink(missing_ok=True)
        if identity is not None:
            identity.unlink(missing_ok=True)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            self._ending = True

    def _pause_s(self) -> float | None:
        return None if self._children else max(0.0, self._asked_at + self._idle_s - time.monotonic())

    def _is_idle(self) -> bool:
        return not self._children and time.monotonic() >= self._asked_at + self._idle_s

    def _answer_one(self) -> None:
        connection, _ = self._listener.accept()
        self._asked_at = time.monotonic()
        descriptors: list[int] = []
        with connection:
            connection.settimeout(READ_LIMIT_S)
            try:
                request = fork.decode_request(_line(connection, descriptors))
                reply, afterwards = self._carry_out(request, descriptors)
                connection.sendall(fork.encode(reply) + b"\n")
            except (OSError, msgspec.DecodeError) as error:
                log.warning("a request could not be answered: %s", error)
                return
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        if afterwards is not None:
            self._preload(afterwards)

    def _carry_out(self, request: fork.Request, descriptors: list[int]) -> tuple[Reply, Preload | None]:
        match request:
            case Start():
                return self._start(request, descriptors), None
            case Preload():
                return self._welcome(), request
            case Hello():
                return self._welcome(), None

    def _welcome(self) -> Welcome:
        try:
            ours = modelport.__version__
        except PackageNotFoundError:
            ours = ""
        return Welcome(
            pid=os.getpid(), version=ours, python=sys.version.split()[0], preloaded=self._shared.packages
        )

    def _preload(self, request: Preload) -> None:
        if not self._shared.forks:
            return
        self._shared.server()
        self._shared.modules(request.modules)
        for path in request.models:
            self._shared.model(path)
        self._shared.settle()

    def _start(self, request: Start, descriptors: list[int]) -> Started | Refused:
        if len(descriptors) != 1:
            return Refused(message=f"a log must come with the request, got {len(descriptors)} descriptors")
        if request.serve and not self._shared.forks:
            arguments = [sys.executable, *_own_start(), "serve", *request.arguments]
            request = msgspec.structs.replace(request, serve=False, arguments=arguments)
        if request.serve:
            self._shared.server()
            self._shared.arguments(request.arguments)
            self._shared.settle()
        return self._fork(request, descriptors[0])

    def _fork(self, request: Start, log_descriptor: int) -> Started | Refused:
        troubles_read, troubles_write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(troubles_read)
            os.close(troubles_write)
            return Refused(message=f"no new process: {error.strerror}. Free memory or processes.")
        if pid == 0:
            child.become(request, log_descriptor, troubles_write, self._share.fileno())
        started = Started(pid=pid, start=_start_time(pid))
        os.close(troubles_write)
        with os.fdopen(troubles_read, "rb") as pipe:
            trouble = pipe.read().decode(errors="replace")
        if trouble:
            os.waitpid(pid, 0)
            return Refused(message=trouble)
        self._children[pid] = request.title
        return started

    def _learn_one(self) -> None:
        try:
            names = cast("list[str]", json.loads(self._learn.recv(1 << 20)))
        except (OSError, ValueError):
            return
        self._shared.learn([name for name in names if isinstance(name, str)])  # pyright: ignore[reportUnnecessaryIsInstance]
        self._shared.settle()

    def _reap(self) -> None:
        while True:
            try:
                seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if seen is None:
                return
            pid = seen.si_pid
            # While it is not reaped its number is nobody else's, so the rest of its group can be ended for sure.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            was_killed = seen.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            how = Exit(signal=seen.si_status) if was_killed else Exit(code=seen.si_status)
            try:
                fork.write_exit(self._exits, pid, _start_time(pid), how)
            except OSError as error:
                log.error("how pid %d ended cannot be written down: %s", pid, error)
            os.waitpid(pid, 0)
            log.info("%s (pid %d) ended: %s", self._children.pop(pid, "a child"), pid, how)
            self._asked_at = time.monotonic()


def _own_start() -> list[str]:
    """How this interpreter was led to our package: `-m modelport`, or a command that extends its path first."""
    if "-c" in sys.orig_argv[:4]:
        code = sys.orig_argv[sys.orig_argv.index("-c") + 1]
        return ["-c", code.replace("modelport.forkserver", "modelport")]
    return ["-m", "modelport"]


def _start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _line(connection: socket.socket, descriptors: list[int]) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        data, more, _, _ = socket.recv_fds(connection, 65536, 4)
        descriptors += more
        received += data
        if not data or len(received) > fork.MAX_LINE:
            break
    return received


def _listen(path: Path) -> tuple[int, socket.socket]:
    """The listening socket, and a lock that says whose it is: a dead fork server leaves the file behind."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SocketTaken(f"{path}: another fork server listens there.") from None
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return lock, listener
