"""The node's side of fork servers: one for each Python environment, started when first needed."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from modelport.local.folder import Folder, key_of
from modelport.local.node import overlay
from modelport.wire import fork
from modelport.wire.fork import Hello, Preload, Refused, Reply, Request, Start, Started

log = logging.getLogger(__name__)
START_LIMIT_S = 60.0


class ForkFailed(Exception):
    """A process could not be started. The message says why and what to do."""


class Forks:
    """All fork servers of this machine's platform."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._locks: dict[str, asyncio.Lock] = {}

    async def start(self, python: str, request: Start, log: Path) -> Started:
        """Starts a process by the fork server of an interpreter. Raises ForkFailed.

        An order that is out is carried out, so it is waited for also by who is told to stop meanwhile: then the process
        is there and has written itself down.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            await self._ready(python)
            asked = asyncio.ensure_future(
                asyncio.to_thread(_ask, self._folder.fork_socket(python), request, descriptor)
            )
            await _through(asked)
            reply = asked.result()
        except OSError as error:
            raise ForkFailed(f"the fork server of {python} does not answer: {error}") from error
        finally:
            os.close(descriptor)
        if isinstance(reply, Started):
            return reply
        raise ForkFailed(reply.message if isinstance(reply, Refused) else f"it answered {reply!r}")

    async def settle(self) -> None:
        """Returns once every fork server that runs has done what it was asked before: by a node that is dead, too."""
        for path in self._folder.run.glob("forkserver-*.sock"):
            await asyncio.to_thread(_answers, path)

    async def preload(self, python: str, modules: list[str]) -> None:
        """Starts the fork server of an interpreter and has it import what the first model will probably need."""
        try:
            await self._ready(python)
            await asyncio.to_thread(_ask, self._folder.fork_socket(python), Preload(modules=modules))
        except (OSError, ForkFailed) as error:
            log.warning("the fork server of %s is not warm: %s", python, error)

    async def _ready(self, python: str) -> None:
        """Makes sure that it runs."""
        lock = self._locks.setdefault(python, asyncio.Lock())
        async with lock:
            path = self._folder.fork_socket(python)
            if await asyncio.to_thread(_answers, path):
                return
            process = await asyncio.to_thread(self._spawn, python, path)
            until = asyncio.get_running_loop().time() + START_LIMIT_S
            while not await asyncio.to_thread(_answers, path):
                ended = process.poll()
                if ended is not None and ended != 3:  # 3: another one was faster
                    raise ForkFailed(
                        f"the fork server of {python} ended with code {ended}: {_tail(self._log(python))}"
                    )
                if asyncio.get_running_loop().time() > until:
                    process.kill()
                    raise ForkFailed(
                        f"the fork server of {python} did not start within {START_LIMIT_S:.0f} s"
                    )
                await asyncio.sleep(0.01)

    def _log(self, python: str) -> Path:
        return self._folder.logs / f"forkserver-{key_of(python)}.log"

    def _spawn(self, python: str, path: Path) -> subprocess.Popen[bytes]:
        arguments = [
            "--socket",
            str(path),
            "--exits",
            str(self._folder.exits),
            "--identity",
            str(path.with_suffix(".json")),
        ]
        command = [python, *self._way_in(python), *arguments]
        with self._log(python).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own program, by the interpreter that the pod names
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )

    def _way_in(self, python: str) -> list[str]:
        """How an interpreter finds our package: its own, or, behind everything that it has itself, a folder with ours."""
        if python == sys.executable:
            return ["-m", "modelport.forkserver"]
        place = overlay.make(self._folder.environments)
        code = (
            f"import sys; sys.path.append({str(place)!r}); import runpy; "
            "runpy.run_module('modelport.forkserver', run_name='__main__', alter_sys=True)"
        )
        return ["-c", code]


async def _through(asked: asyncio.Future[Reply]) -> None:
    """Waits to the end. CancelledError only then."""
    told_to_stop = False
    while not asked.done():
        try:
            await asyncio.wait({asked})
        except asyncio.CancelledError:
            told_to_stop = True
    if told_to_stop:
        asked.exception()  # nobody asks for it any more
        raise asyncio.CancelledError


def _environment() -> dict[str, str]:
    """The fork server's own environment: nothing that a pod should not see."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "USER",
        "LD_LIBRARY_PATH",
        "OPENBLAS_CORETYPE",
        "OPENBLAS_L2_SIZE",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}


def _answers(path: Path) -> bool:
    try:
        _ask(path, Hello())
    except OSError:
        return False
    return True


def _ask(path: Path, request: Request, descriptor: int | None = None) -> Reply:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(START_LIMIT_S)
        connection.connect(str(path))
        line = fork.encode(request) + b"\n"
        sent = (
            socket.send_fds(connection, [line], [descriptor])
            if descriptor is not None
            else connection.send(line)
        )
        connection.sendall(line[sent:])
        received = b""
        while not received.endswith(b"\n"):
            data = connection.recv(65536)
            if not data:
                raise OSError("it closed the connection")
            received += data
    try:
        return fork.decode_reply(received)
    except msgspec.DecodeError as error:
        raise OSError(f"its answer is not understood: {error}") from error


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip().rpartition("\n")[2][-500:]
    except OSError:
        return "its log cannot be read"
