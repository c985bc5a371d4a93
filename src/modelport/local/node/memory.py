"""Memory limits without control groups: the proportional share (PSS) of a container's processes is watched."""

from __future__ import annotations

import asyncio

from modelport.kube.quantity import to_bytes
from modelport.kube.resource import Object
from modelport.local.process import Process, descendants

EVERY_S = 2.0


async def watch(container: Object, process: Process) -> bool:
    """True once the container uses more than its limit; never returns where there is none."""
    given = container.get("resources", {}).get("limits", {}).get("memory")
    if given is None:
        await asyncio.Event().wait()
    limit = to_bytes(given or "0")
    while True:
        await asyncio.sleep(EVERY_S)
        if await asyncio.to_thread(used_bytes, process) > limit:
            return True


def used_bytes(process: Process) -> int:
    """What a process and its children use."""
    total = process.memory_bytes() or 0
    for pid in descendants(process.pid):
        child = Process.of(pid)
        total += (child.memory_bytes() or 0) if child is not None else 0
    return total
