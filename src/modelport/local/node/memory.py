"""Memory limits without control groups: the proportional share (PSS) of a container's processes is watched."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from modelport.kube.quantity import to_bytes
from modelport.kube.resource import Object
from modelport.local.process import Process, descendants

EVERY_S, NEAR_S = 2.0, 0.2
"""Between looks: while there is room, and once more than half of the limit is used."""
PAGE = os.sysconf("SC_PAGE_SIZE")


async def watch(container: Object, process: Process) -> bool:
    """True once the container uses more than its limit; never returns where there is none."""
    given = container.get("resources", {}).get("limits", {}).get("memory")
    if given is None:
        await asyncio.Event().wait()
    limit = to_bytes(given or "0")
    while True:
        resident = await asyncio.to_thread(resident_bytes, process)
        if resident > limit and await asyncio.to_thread(used_bytes, process) > limit:
            return True
        await asyncio.sleep(NEAR_S if resident > limit / 2 else EVERY_S)


def used_bytes(process: Process) -> int:
    """What a process and its children use, at most: exactly (PSS) where their resident sizes come near a limit."""
    found = [process, *(child for pid in descendants(process.pid) if (child := Process.of(pid)) is not None)]
    return sum(one.memory_bytes() or 0 for one in found)


def resident_bytes(process: Process) -> int:
    """The same with shared pages counted in each: never less, and cheap to ask."""
    total = 0
    for pid in (process.pid, *descendants(process.pid)):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
    return total
