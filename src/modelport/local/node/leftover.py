"""What a node that was killed, or a pod's end, left behind: processes that were not written down yet, and pods that are gone.

A process writes its own number into `CONTAINER/process.json` before it does anything else, and a relay into
`relay.pid.json`, so whoever comes later finds it, also where the node died between asking for it and hearing of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from modelport.kube.meta import timestamp
from modelport.local import process
from modelport.local.folder import Folder
from modelport.local.node import volumes
from modelport.local.node.ending import kill_group
from modelport.local.node.record import Record, load
from modelport.local.process import Process
from modelport.wire.fork import TERMINATION_LOG

log = logging.getLogger(__name__)
PROCESS = "process.json"
RELAYS = ("relay.json", "relay.pid.json")
GONE_LIMIT_S = 5.0


def adopt(record: Record) -> None:
    """Takes over processes of a pod that run and that its record does not know."""
    for container in record.containers():
        state = record.state(container["name"])
        found = process.read(record.folder / container["name"] / PROCESS)
        if state.running or state.done or found is None or not found.alive:
            continue
        log.info("pod %s: container %s runs already, pid %d", record.name, container["name"], found.pid)
        state.pid, state.start = found.pid, found.start
        state.started_at = timestamp(datetime.now(UTC))
        state.waiting = state.message = ""
        state.ready, state.started = False, "startupProbe" not in container
        record.change()


def end(folder: Path) -> None:
    """Kills whatever runs of a pod, by its folder."""
    found = {one for one in _processes(folder) if one.alive}
    for one in found:
        kill_group(one, signal.SIGKILL)
    end_strays(folder)
    until = time.monotonic() + GONE_LIMIT_S
    for one in found:
        _wait(one, until)


def end_strays(folder: Path, container: str = "") -> None:
    """Kills what a pod's containers, or one of them, started and let go of: processes in sessions of their own, which
    neither their parent nor their group tells, but the environment that they were given."""
    for one in _strays(folder, container):
        log.info("pod %s: ending process %d, which it has left behind", folder.name, one.pid)
        one.signal(signal.SIGKILL)


def _strays(folder: Path, container: str) -> Iterator[Process]:
    mark = f"{TERMINATION_LOG}={folder}/{container and f'{container}/'}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or (found := Process.of(int(entry.name))) is None:
            continue
        with contextlib.suppress(OSError):  # ended, or another user's
            if any(line.startswith(mark) for line in (entry / "environ").read_bytes().split(b"\0")):
                yield found


def end_all(folder: Folder) -> None:
    """Kills whatever runs of any pod: the platform ends, and no node is there to do it gracefully."""
    for pod in folder.pods.glob("*"):
        end(pod)


def sweep(folder: Folder, found: list[Path], known: set[str], began: datetime) -> None:
    """Ends and removes pods that were deleted while no node ran, and what was noted of processes' ends.

    `found`: the pods' folders as they were when this node began, at `began`; `known`: uids of the pods that there are.
    """
    for pod in found:
        if pod.name.rpartition("_")[2] in known:
            continue
        log.info("pod %s is gone: ending what is left of it", pod.name)
        end(pod)
        volumes.clear(pod)
    forget_ends(folder, began)


def forget_ends(folder: Folder, before: datetime) -> None:
    """Removes what was noted of processes' ends before a moment and what no pod waits for: whoever a container has left
    behind has such a note too."""
    awaited = {f"{one.pid}.{one.start}" for pod in folder.pods.glob("*") for one in _processes(pod)}
    for note in folder.exits.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if note.name not in awaited and note.stat().st_mtime < before.timestamp():
                note.unlink()


def _processes(folder: Path) -> Iterator[Process]:
    kept = load(folder)
    for state in kept.containers.values() if kept is not None else ():
        if state.running:
            yield Process(state.pid, state.start)
    for path in (*folder.glob(f"*/{PROCESS}"), *(folder / name for name in RELAYS)):
        found = process.read(path)
        if found is not None:
            yield found


def _wait(one: Process, until: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(one.pid)
        try:
            if one.alive:
                select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        finally:
            os.close(descriptor)
