"""The platform's first process: starts control, node and gateway, starts them again when they end, and keeps the
gateway's listening sockets, so that while it is restarted new connections wait instead of being refused.

It may be killed at any moment: the others go on, and the next supervisor finds them by what is written in `run/`.
It reaps what its children leave behind (as a subreaper) and writes down how it ended, for the node to read.
Its own code is small on purpose: standard library and msgspec only. What it imports besides is for its programs, which
are forks of it (`program.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from modelport.local import process
from modelport.local import program as programs
from modelport.local.folder import Folder, Settings, try_to_append, write
from modelport.local.process import Process

PR_SET_CHILD_SUBREAPER = 36
LONGEST_BACK_OFF_S = 5.0
STEADY_S = 10.0
"""A program that ran so long gets no back-off when it ends."""
ROLES = ("gateway", "node", "control")
"""In the order in which they are stopped: no new requests, then the models, then what they report to."""
STOP_LIMITS_S = {"gateway": 35.0, "node": 45.0, "control": 15.0}


class AlreadyRunning(Exception):
    """Another supervisor has this folder. The message is its process number."""


class PortTaken(Exception):
    """The gateway's port is somebody else's. The message says which, and what to do."""


class Program(msgspec.Struct):
    """One of the supervisor's three."""

    role: str
    process: Process | None = None
    descriptor: int = -1
    """Its pidfd."""
    started_at: float = 0.0
    failures: int = 0
    due_at: float = 0.0


class Supervisor:
    """Keeps a platform running until a signal ends it."""

    def __init__(self, folder: Folder, settings: Settings) -> None:
        """Raises AlreadyRunning."""
        self._folder = folder
        self._settings = settings
        self._programs = {role: Program(role) for role in reversed(ROLES)}
        self._selector = selectors.DefaultSelector()
        self._listeners: list[socket.socket] = []
        self._ending = False
        self._shared = False
        self._lock = _lock(folder)

    def prepare(self) -> None:
        """Takes over what runs already, and the gateway's port. Raises PortTaken."""
        self._folder.stopping.unlink(missing_ok=True)
        write(self._folder.run / "supervisor.json", msgspec.json.encode(Process.of(os.getpid())))
        for program in self._programs.values():
            found = process.read(self._folder.run / f"{program.role}.json")
            if found is not None and found.alive:
                self._watch(program, found)
        self._listeners = self._listen()

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Supervises until SIGTERM or SIGINT, then stops everything. `ready` is called once all have been started."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        self._shared = programs.share()
        self._start_due()
        ready()
        while not self._ending:
            for key, _ in self._selector.select(timeout=self._pause_s()):
                if key.data is None:
                    with contextlib.suppress(BlockingIOError):
                        wake_read.recv(4096)
            reap(self._folder)
            for program in self._programs.values():
                if program.process is not None and not program.process.alive:
                    self._lost(program)
            self._start_due()
        stop(self._folder, {role: one.process for role, one in self._programs.items() if one.process})
        reap(self._folder)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._ending = True

    def _pause_s(self) -> float | None:
        due = [program.due_at for program in self._programs.values() if program.process is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _lost(self, program: Program) -> None:
        self._selector.unregister(program.descriptor)
        os.close(program.descriptor)
        steady = time.monotonic() - program.started_at > STEADY_S
        program.failures = 0 if steady else program.failures + 1
        # The first time at once: whoever was killed should be missed as little as possible.
        back_off = (
            0.0 if program.failures <= 1 else min(0.2 * 2 ** (program.failures - 2), LONGEST_BACK_OFF_S)
        )
        program.due_at = time.monotonic() + back_off
        gone = program.process
        program.process = None
        if gone is not None:
            how = _how(self._folder, gone)
            _say(f"{program.role} (pid {gone.pid}) {how}; starting it again in {back_off:.1f} s")

    def _start_due(self) -> None:
        for program in self._programs.values():
            if program.process is None and program.due_at <= time.monotonic() and not self._ending:
                self._start(program)

    def _start(self, program: Program) -> None:
        keep = [listener.fileno() for listener in self._listeners] if program.role == "gateway" else []
        log = os.open(
            self._folder.logs / f"{program.role}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        try:
            pid = programs.start(self._words(program.role, keep), log, keep, shared=self._shared)
        except OSError as error:
            program.failures += 1
            program.due_at = time.monotonic() + LONGEST_BACK_OFF_S
            _say(f"{program.role} cannot be started: {error}")
            return
        finally:
            os.close(log)
        found = Process.of(pid)
        if found is None:  # ended already; reap() sees it, and the next round starts it again
            program.failures += 1
            program.due_at = time.monotonic() + min(0.2 * 2**program.failures, LONGEST_BACK_OFF_S)
            return
        _note(self._folder.run / f"{program.role}.json", found)
        program.started_at = time.monotonic()
        self._watch(program, found)

    def _words(self, role: str, listeners: list[int]) -> list[str]:
        """What follows `python -m`."""
        folder = self._folder
        if role != "gateway":
            command = [f"modelport.local.{role}", "--dir", str(folder.path)]
        else:
            command = [
                "modelport",
                "gateway",
                f"--listen-fd={','.join(map(str, listeners[:-1]))}",
                f"--internal-fd={listeners[-1]}",
                f"--table={folder.table}",
                f"--admin={folder.admin_socket}",
                f"--handover={folder.handover_socket}",
            ]
            if self._settings.tls_certificate and self._settings.tls_key:
                command += [
                    f"--tls-certificate={self._settings.tls_certificate}",
                    f"--tls-key={self._settings.tls_key}",
                ]
            if self._settings.access_log and _may_be_written(self._settings.access_log):
                command.append(f"--access-log={self._settings.access_log}")
        return command

    def _watch(self, program: Program, found: Process) -> None:
        try:
            program.descriptor = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return
        program.process = found
        self._selector.register(program.descriptor, selectors.EVENT_READ, program)

    def _listen(self) -> list[socket.socket]:
        """The gateway's sockets: from a gateway that runs, else bound anew. The last one is the internal one."""
        if self._programs["gateway"].process is not None:
            with contextlib.suppress(OSError, ValueError):
                return _take_over(self._folder.handover_socket)
            # It runs but does not answer: end it, so that its port is free.
            _say("the running gateway does not hand over its sockets; replacing it")
            end(self._programs["gateway"].process, 5.0)
        settings = self._settings
        return [bind(settings.host, settings.gateway_port), bind(*settings.internal)]


def stop(folder: Folder, known: Mapping[str, Process] | None = None) -> None:
    """Stops the programs in order, and with them the pods; returns when all have ended. `known`: by role, the processes
    that the caller has started, for on a full disk they could not be written down."""
    from modelport.local.node import leftover  # late: the supervisor itself stays small

    with contextlib.suppress(OSError):  # a full disk may not take even an empty file
        folder.stopping.touch()
    for role in ROLES:
        both = {(known or {}).get(role), process.read(folder.run / f"{role}.json")}
        for found in filter(None, both):
            end(found, STOP_LIMITS_S[role])
        (folder.run / f"{role}.json").unlink(missing_ok=True)
    leftover.end_all(folder)  # where the node had been killed
    for path in sorted(folder.run.glob("forkserver-*.json")):
        found = process.read(path)
        if found is not None:
            end(found, 5.0)
        path.unlink(missing_ok=True)


def end(found: Process, limit_s: float) -> None:
    """Asks a process to end, and makes it where it does not in time."""
    for number, allowed in ((signal.SIGTERM, limit_s), (signal.SIGKILL, 5.0)):
        if not found.signal(number):
            return
        try:
            descriptor = os.pidfd_open(found.pid)
        except ProcessLookupError:
            return
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(descriptor, selectors.EVENT_READ)
                until = time.monotonic() + allowed
                while found.alive and time.monotonic() < until:
                    selector.select(timeout=max(0.0, until - time.monotonic()))
        finally:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.pid, os.WNOHANG)
        if not found.alive:
            return


def reap(folder: Folder) -> None:
    """Takes note of every child that has ended, ours and those that others left to us."""
    while True:
        try:
            seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if seen is None:
            return
        pid = seen.si_pid
        try:
            start = _start_of_zombie(pid)
            killed = seen.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
            how = {"signal": seen.si_status} if killed else {"code": seen.si_status}
            write(folder.exits / f"{pid}.{start}", json.dumps(how).encode())
        except OSError as error:
            _say(f"how pid {pid} ended cannot be written down: {error}")
        # A container whose fork server is dead: while it is not reaped, its group is surely its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _how(folder: Folder, gone: Process) -> str:
    """How a process ended, as `reap` has written it down; one that is no child of ours has just ended."""
    note = folder.exits / f"{gone.pid}.{gone.start}"
    try:
        found = json.loads(note.read_bytes())
        note.unlink()
    except (OSError, ValueError):
        return "has ended"
    if "signal" in found:
        return f"was killed by signal {found['signal']} ({signal.strsignal(found['signal'])})"
    return f"has ended with exit code {found['code']}"


def _note(path: Path, found: Process) -> None:
    """Writes down which process it is. On a full disk in the old file's place, which needs no new block."""
    content = msgspec.json.encode(found)
    try:
        write(path, content)
    except OSError as error:
        try:
            with path.open("r+b", buffering=0) as file:
                length = len(file.read(256))
                file.seek(0)
                file.write(content.ljust(length))
        except OSError:
            _say(f"{path} cannot be written: {error}; modelport down will not find pid {found.pid}")


def _start_of_zombie(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _lock(folder: Folder) -> int:
    descriptor = os.open(folder.run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        found = process.read(folder.run / "supervisor.json")
        raise AlreadyRunning(str(found.pid) if found else "?") from None
    return descriptor


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise PortTaken(f"{host}:{port}: {error.strerror}") from error
    return listener


def _may_be_written(path: str) -> bool:
    """The gateway does not start with a log that it cannot write, and requests matter more than their log."""
    try:
        try_to_append(path)
    except OSError as error:
        _say(f"the access log {path} cannot be written: {error.strerror}; the gateway starts without it")
        return False
    return True


def _take_over(path: Path) -> list[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5.0)
        connection.connect(str(path))
        message, descriptors, _, _ = socket.recv_fds(connection, 4096, 16)
    if len(descriptors) < 2:
        raise ValueError(f"no sockets came over: {message!r}")
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not end it
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()


def main() -> int:
    """A detached supervisor, for a folder that `modelport up` has prepared."""
    parser = argparse.ArgumentParser(prog="modelport.local.supervisor")
    parser.add_argument("--dir", type=Path, required=True)
    folder = Folder(parser.parse_args().dir)
    settings = folder.settings()
    if settings is None:
        _say(f"{folder.path}: no platform here; run: modelport up")
        return 2
    try:
        supervisor = Supervisor(folder, settings)
        supervisor.prepare()
    except AlreadyRunning as error:
        _say(f"the platform runs already (pid {error})")
        return 2
    except PortTaken as error:
        _say(f"port {error}. Stop what listens there, or choose another: modelport up --port N")
        return 2
    supervisor.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
