"""`pods/exec`: a command in a pod, its streams over a WebSocket (`v5.channel.k8s.io` and `v4.channel.k8s.io`).

Each message's first byte is its channel: 0 standard input, 1 standard output, 2 standard error, 3 how it ended, 4 the
terminal's size; 255 (v5) says that the channel of the next byte has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from modelport.kube.resource import Object, Resource

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
CHUNK_BYTES = 32 << 10

Find = Callable[[Resource, str], Object | None]
"""A Secret or ConfigMap of the pod's namespace by name."""


class Execution(msgspec.Struct, kw_only=True):
    """A process to start."""

    arguments: list[str]
    terminal_arguments: list[str]
    """The same with its standard streams as its terminal."""
    environment: dict[str, str]


Execute = Callable[[Object, str, Sequence[str], Find], Execution]
"""Pod, container, command. Raises ApiError 400."""


class Asked(msgspec.Struct, kw_only=True):
    """Which streams the client wants."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


async def run(socket: WebSocket, what: Execution, asked: Asked) -> None:
    """Runs the command with its streams on an accepted connection; says how it ended. Dies with the connection."""
    master = slave = -1
    if asked.tty:
        master, slave = pty.openpty()
        streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
    else:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        streams = {
            "stdin": pipe if asked.stdin else null,
            "stdout": pipe if asked.stdout else null,
            "stderr": pipe if asked.stderr else null,
        }
    try:
        process = await asyncio.create_subprocess_exec(
            *(what.terminal_arguments if asked.tty else what.arguments),
            env=what.environment,
            start_new_session=True,
            **streams,
        )
    finally:
        if slave >= 0:
            os.close(slave)
    try:
        await _talk(socket, process, master, asked)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if master >= 0:
            os.close(master)


async def _talk(socket: WebSocket, process: asyncio.subprocess.Process, master: int, asked: Asked) -> None:
    if asked.tty:
        outputs = [asyncio.create_task(_show_terminal(socket, master))]
    else:
        outputs = [
            asyncio.create_task(_show(socket, channel, stream))
            for channel, stream in ((STDOUT, process.stdout), (STDERR, process.stderr))
            if stream is not None
        ]
    hearing = asyncio.create_task(_hear(socket, process, master))
    ending = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({hearing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            return  # the client has gone
        # What it has written is still to be shown; a child of its own may hold the pipes open for ever.
        await asyncio.wait(outputs, timeout=1.0) if outputs else None
        await socket.send_bytes(bytes([ERROR]) + msgspec.json.encode(_ended(process.returncode or 0)))
        await socket.close()
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        tasks: list[asyncio.Task[Any]] = [*outputs, hearing, ending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show(socket: WebSocket, channel: int, stream: asyncio.StreamReader) -> None:
    while content := await stream.read(CHUNK_BYTES):
        await socket.send_bytes(bytes([channel]) + content)


async def _show_terminal(socket: WebSocket, master: int) -> None:
    loop = asyncio.get_running_loop()
    os.set_blocking(master, False)
    ready = asyncio.Event()
    loop.add_reader(master, ready.set)
    try:
        while True:
            await ready.wait()
            ready.clear()
            try:
                content = os.read(master, CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # EIO: nobody has it as a terminal any more
                return
            if not content:
                return
            await socket.send_bytes(bytes([STDOUT]) + content)
    finally:
        loop.remove_reader(master)


async def _hear(socket: WebSocket, process: asyncio.subprocess.Process, master: int) -> None:
    """The client's side, until it goes."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        content: bytes = message.get("bytes") or (message.get("text") or "").encode()
        if not content:
            continue
        channel, rest = content[0], content[1:]
        if channel == STDIN and rest:
            await _give(process, master, rest)
        elif channel == RESIZE and master >= 0:
            _resize(master, rest)
        elif channel == CLOSE and rest[:1] == bytes([STDIN]) and process.stdin is not None:
            process.stdin.close()


async def _give(process: asyncio.subprocess.Process, master: int, content: bytes) -> None:
    with contextlib.suppress(OSError):  # it has closed its input: its affair
        if master >= 0:
            await asyncio.to_thread(_write_all, master, content)
        elif process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(content)
            await process.stdin.drain()


def _write_all(master: int, content: bytes) -> None:
    while content:
        try:
            content = content[os.write(master, content) :]
        except BlockingIOError:
            import select

            select.select([], [master], [], 1.0)


def _resize(master: int, content: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError, struct.error, OSError):
        size = cast("dict[str, Any]", msgspec.json.decode(content, type=dict[str, int]))
        room = struct.pack("HHHH", size.get("Height", 0), size.get("Width", 0), 0, 0)
        fcntl.ioctl(master, termios.TIOCSWINSZ, room)


def _ended(code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    # A shell's word for signals.
    number = code if code > 0 else 128 - code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {number}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(number)}]},
    }
