"""The parent of the worker processes: binds the ports, starts them, replaces what died or hangs, ends gracefully.

It imports the frameworks, so that workers share their memory, but never loads or predicts: OpenMP's
thread pools do not survive a fork, and a parent that has predicted once leaves its children hanging.
Where processes cannot be forked they are spawned (`spawn.py`).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from modelport.server.options import Plan
from modelport.server.ports import Bound, Sockets
from modelport.server.repository import Asked
from modelport.server.spawn import Order, end_with, settle_in, spawn, start_method, taken_order
from modelport.server.worker import News, exit_now
from modelport.wire.fork import SHARE_DESCRIPTOR

Work = Callable[[Sockets, "Pipe", socket.socket, Asked], int]
"""What a worker does, in the forked process: sockets, the way back, commands, and what the API asked for."""
Show = Callable[[str, str], None]
"""Shows an event (`loaded`, `ready`, `failed`, `restarted`) and its text to the person who started the server."""

FIRST_BACK_OFF_S = 0.5
LONGEST_BACK_OFF_S = 30.0


class Message(msgspec.Struct):
    """A line from a worker to its supervisor."""

    event: str
    text: str = ""


class Pipe:
    """The worker's end of the way to its supervisor."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def report(self, event: str, text: str = "") -> None:
        """Tells the supervisor; does nothing once it is gone."""
        with contextlib.suppress(OSError):
            self._connection.sendall(msgspec.json.encode(Message(event, text)) + b"\n")

    def when_stuck(self) -> tuple[int, bytes]:
        """The descriptor and the line that tell the supervisor of a model that does not return."""
        return self._connection.fileno(), msgspec.json.encode(Message("stuck")) + b"\n"


class _Worker:
    def __init__(self, pid: int, serial: int, connection: socket.socket, control: Path) -> None:
        self.pid = pid
        self.serial = serial
        self.connection = connection
        self.control = control
        self.received = b""
        self.state = "starting"
        self.started_at = time.monotonic()
        self.failure = ""


LATE = frozenset({"pandas"})
"""Packages that are shared once a model has imported them, and not before: most do without."""


def share(modules: list[str]) -> None:
    """Imports what a worker had to import, if it belongs to packages that are imported here anyway."""
    for name in modules:
        top = name.partition(".")[0]
        if name not in sys.modules and top != "__main__" and (top in sys.modules or top in LATE):
            with contextlib.suppress(Exception):  # then each worker imports it by itself
                importlib.import_module(name)


def _pass_on(modules: str) -> None:
    """Tells the fork server that this process came from, if any, so that the next model shares them too."""
    descriptor = os.environ.get(SHARE_DESCRIPTOR)
    if descriptor is not None:
        with contextlib.suppress(OSError, ValueError):
            os.write(int(descriptor), modules.encode())


def serve_if_spawned(work: Callable[[Plan], Work]) -> None:
    """In a process that a supervisor spawned: serves and ends the process. In any other: nothing."""
    order = taken_order()
    if order is not None:
        _work_and_exit(work(order.plan), lambda: order.sockets, settle_in(order), order.asked)


def _work_and_exit(
    work: Work, begin: Callable[[], Sockets], connection: socket.socket, asked: Asked
) -> NoReturn:
    code = 1
    channel = Pipe(connection)
    try:
        code = work(begin(), channel, connection, asked)
    except BaseException as error:  # noqa: BLE001 - the last frame of a worker process: nothing may escape it
        traceback.print_exc()
        channel.report("failed", f"the worker failed: {type(error).__name__}: {error}")
    finally:
        exit_now(code)


class Supervisor:
    """Keeps `plan.server.workers` processes serving until a signal ends it."""

    def __init__(self, plan: Plan, bound: Bound, work: Work, show: Show) -> None:
        self._plan = plan
        self._spawns = start_method() == "spawn"
        self._bound = bound
        self._work = work
        self._show = show
        self._workers: dict[int, _Worker] = {}
        self._asked: Asked = {}
        self._needed: list[str] = []
        """What the newest worker had to import: the next one is to share it."""
        self._serial = 0
        self._failures = 0
        self._next_start = 0.0
        self._ever_ready = False
        self._ending_since: float | None = None
        self._selector = selectors.DefaultSelector()
        self._folder = Path(tempfile.mkdtemp(prefix="modelport-"))  # mode 0700: control sockets are private

    def run(self) -> int:
        """Serves; returns the exit code."""
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        try:
            while True:
                self._start_missing()
                for key, _ in self._selector.select(timeout=0.5):
                    if key.data is None:
                        with contextlib.suppress(BlockingIOError):
                            wake_read.recv(4096)
                    else:
                        self._receive(key.data)
                self._reap()
                if self._ending_since is not None:
                    # The ports close with the workers' copies. With ours open, whoever connects meanwhile would
                    # wait for nothing instead of being refused.
                    self._bound.close()
                    if not self._workers:
                        return 0
                    self._hurry()
                elif self._failed_at_start():
                    return 1
                self._kill_late()
        finally:
            for worker in self._workers.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGCHLD:
            return  # it has woken the selector
        first = self._ending_since is None
        self._ending_since = self._ending_since or time.monotonic()
        for worker in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                # A second Ctrl-C is from somebody who does not want to wait.
                os.kill(worker.pid, signal.SIGTERM if first else signal.SIGKILL)

    def _start_missing(self) -> None:
        if self._ending_since is not None or time.monotonic() < self._next_start:
            return
        useful = sum(1 for worker in self._workers.values() if worker.state in ("starting", "ready"))
        # The first one shows which modules the models need: the others share them.
        wanted = self._plan.server.workers if self._ever_ready else 1
        for _ in range(wanted - useful):
            self._start_one()

    def _start_one(self) -> None:
        self._serial += 1
        control_path = self._folder / f"worker-{self._serial}.sock"
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        control.bind(str(control_path))
        control.listen(64)
        ours, theirs = socket.socketpair()
        pid = self._spawn(control, theirs) if self._spawns else self._fork(control, ours, theirs)
        theirs.close()
        control.close()
        ours.setblocking(False)
        worker = _Worker(pid, self._serial, ours, control_path)
        self._workers[pid] = worker
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _spawn(self, control: socket.socket, theirs: socket.socket) -> int:
        sockets = self._bound.copies()
        try:
            return spawn(
                Order(
                    plan=self._plan,
                    sockets=msgspec.structs.replace(sockets, control=control.fileno()),
                    connection=theirs.fileno(),
                    asked=self._asked,
                    parent=os.getpid(),
                )
            )
        finally:
            for copy in (sockets.http, sockets.grpc, sockets.metrics):
                if copy is not None:
                    os.close(copy)

    def _fork(self, control: socket.socket, ours: socket.socket, theirs: socket.socket) -> int:
        share(self._needed)  # only now: with one worker these would be in memory twice
        self._needed = []
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        gc.freeze()  # a collection in the child would write to every page that it shares
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:

            def begin() -> Sockets:
                self._become_worker(parent, ours)
                sockets = self._bound.give_away()
                sockets.control = control.detach()
                return sockets

            _work_and_exit(self._work, begin, theirs, self._asked)
        return pid

    def _become_worker(self, parent: int, ours: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the supervisor passes it on
        end_with(parent)
        self._selector.close()
        ours.close()
        for sibling in self._workers.values():
            sibling.connection.close()

    def _receive(self, worker: _Worker) -> None:
        try:
            data = worker.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(worker.connection)
            worker.connection.close()
            return
        *lines, worker.received = (worker.received + data).split(b"\n")
        for line in lines:
            self._heard(worker, msgspec.json.decode(line, type=Message))

    def _heard(self, worker: _Worker, message: Message) -> None:
        match message.event:
            case "ready":
                worker.state = "ready"
                self._failures = 0
                if not self._ever_ready:
                    self._ever_ready = True
                    self._show("ready", "")
                elif worker.serial > self._plan.server.workers:
                    self._show("restarted", f"worker {worker.pid} serves")
                self._tell_peers()
            case "stuck":
                worker.state = "stuck"
                self._show(
                    "stuck", f"worker {worker.pid}: a model did not return in time; replacing the process"
                )
            case "asked":
                self._heard_orders(msgspec.json.decode(message.text, type=Asked))
            case "failed":
                worker.failure = message.text
            case "loaded" if not self._ever_ready:
                self._show("loaded", message.text)
            case "modules" if not self._spawns:
                self._needed = msgspec.json.decode(message.text, type=list[str])
                _pass_on(message.text)
            case _:
                pass

    def _heard_orders(self, asked: Asked) -> None:
        newer = {
            name: order for name, order in asked.items() if order[1] > self._asked.get(name, (True, 0))[1]
        }
        if newer:
            self._asked |= newer
            self._tell_peers()

    def _tell_peers(self) -> None:
        ready = [worker for worker in self._workers.values() if worker.state == "ready"]
        for worker in ready:
            peers = [str(other.control) for other in ready if other is not worker]
            with contextlib.suppress(OSError):
                worker.connection.sendall(msgspec.json.encode(News(peers, self._asked)) + b"\n")

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            while worker.connection.fileno() >= 0:  # what it said last
                before = worker.received
                self._receive(worker)
                if worker.connection.fileno() >= 0 and worker.received == before:
                    break
            if worker.connection.fileno() >= 0:
                self._selector.unregister(worker.connection)
                worker.connection.close()
            worker.control.unlink(missing_ok=True)
            if self._ending_since is None:
                self._lost(worker, status)

    def _lost(self, worker: _Worker, status: int) -> None:
        self._tell_peers()
        if worker.state == "stuck":
            return  # its replacement has been started
        code = os.waitstatus_to_exitcode(status)
        why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if worker.state == "starting":
            self._failures += 1
            back_off = min(FIRST_BACK_OFF_S * 2 ** (self._failures - 1), LONGEST_BACK_OFF_S)
            self._next_start = time.monotonic() + back_off
            self._show("failed", worker.failure or f"worker {worker.pid} ended before it served: {why}")
        else:
            self._show("lost", f"worker {worker.pid} ended ({why}); starting another")

    def _failed_at_start(self) -> bool:
        """The first worker could not load its models: the person at the keyboard wants to know, not to wait."""
        return not self._ever_ready and self._failures > 0

    def _hurry(self) -> None:
        server = self._plan.server
        allowed = server.drain_delay_s + server.drain_timeout_s + 5.0
        if time.monotonic() - (self._ending_since or 0.0) > allowed:
            self._kill(lambda worker: True)

    def _kill_late(self) -> None:
        now = time.monotonic()
        limit = self._plan.server.load_timeout_s
        self._kill(lambda worker: worker.state == "starting" and now - worker.started_at > limit)

    def _kill(self, which: Callable[[_Worker], bool]) -> None:
        for worker in self._workers.values():
            if which(worker):
                worker.failure = worker.failure or f"worker {worker.pid} did not get ready in time"
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
