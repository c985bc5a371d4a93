"""How processes end: noticed whoever their parent is, signalled as groups, and their exit codes looked up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from modelport.local.process import Process
from modelport.wire import fork

WRITTEN_LIMIT_S = 2.0
"""So long the exit code of a dead process may take to be written down."""
DEAD_LIMIT_S = 5.0
"""So long a process that was killed may take to be gone."""


async def end_of(process: Process) -> None:
    """Returns once a process has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive:
            return
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(descriptor, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


async def exit_of(exits: Path, process: Process) -> fork.Exit | None:
    """How a process that is dead has ended; None where nobody wrote it down."""
    path = fork.exit_file(exits, process.pid, process.start)
    until = asyncio.get_running_loop().time() + WRITTEN_LIMIT_S
    while (how := fork.read_exit(path)) is None:
        if asyncio.get_running_loop().time() > until:
            return None
        await asyncio.sleep(0.01)
    path.unlink(missing_ok=True)
    return how


def kill_group(process: Process, number: int, *, leader_only: bool = False) -> None:
    """Signals a process and what it has started and left; our own server passes signals on by itself."""
    if leader_only:
        process.signal(number)
        return
    if process.leads:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def terminate(process: Process, grace_s: float, *, leader_only: bool) -> None:
    """SIGTERM, and after the grace period SIGKILL to whatever is left of the group. Without one, SIGKILL."""
    if grace_s > 0:
        kill_group(process, signal.SIGTERM, leader_only=leader_only)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(end_of(process), grace_s)
    kill_group(process, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(end_of(process), DEAD_LIMIT_S)
