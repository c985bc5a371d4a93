"""What pods use of this machine: processor time and memory of their processes, read when somebody asks."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque

import msgspec

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local import process
from modelport.local.apiserver.usage import ContainerUsage

WINDOW_S = 30.0
"""Processor use is what was used since the oldest sample that is not older."""
SHORTEST_S = 1.0
"""Between two samples: in less the clock's ticks count for too much."""
KEPT = 1000
"""Containers whose samples are kept."""
TICKS = os.sysconf("SC_CLK_TCK")


class _Sample(msgspec.Struct, frozen=True):
    at: float
    cpu_s: float


class Usage:
    """Samples of processor time, by container."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], deque[_Sample]] = {}

    async def of(self, pods: list[Object]) -> list[dict[str, ContainerUsage]]:
        """Of each pod, by container; those that do not run are left out. The first time it takes a second."""
        running = [_pids(pod) for pod in pods]
        first = await asyncio.to_thread(self._sample, running)
        if first:
            await asyncio.sleep(SHORTEST_S)
            await asyncio.to_thread(self._sample, running)
        return await asyncio.to_thread(lambda: [self._usage(one) for one in running])

    def _sample(self, running: list[dict[str, tuple[str, int]]]) -> bool:
        """Takes a sample of each; whether one of them has no older one to compare it with."""
        now, first = time.monotonic(), False
        for key in (key for one in running for key in one.values()):
            spent = _cpu_s(key[1])
            if spent is None:
                continue
            samples = self._samples.pop(key, None) or deque[_Sample]()
            self._samples[key] = samples  # to the end: the longest unasked are let go first
            if not samples or now - samples[-1].at >= SHORTEST_S:
                samples.append(_Sample(now, spent))
            while len(samples) > 2 and now - samples[0].at > WINDOW_S:
                samples.popleft()
            first = first or len(samples) < 2
        while len(self._samples) > KEPT:
            del self._samples[next(iter(self._samples))]
        return first

    def _usage(self, running: dict[str, tuple[str, int]]) -> dict[str, ContainerUsage]:
        found: dict[str, ContainerUsage] = {}
        for name, key in running.items():
            samples, memory = self._samples.get(key), _memory_bytes(key[1])
            if samples is None or len(samples) < 2 or memory is None:
                continue
            span = samples[-1].at - samples[0].at
            cores = max(0.0, samples[-1].cpu_s - samples[0].cpu_s) / span
            found[name] = ContainerUsage(cores=cores, memory_bytes=memory, window_s=span)
        return found


def _pids(pod: Object) -> dict[str, tuple[str, int]]:
    """Container to the pod's uid and its process."""
    found: dict[str, tuple[str, int]] = {}
    for one in objects(mapping(pod.get("status")).get("containerStatuses")):
        kind, _, pid = str(one.get("containerID") or "").partition("://")
        if "running" in mapping(one.get("state")) and kind == "process" and pid.isdecimal():
            found[one["name"]] = (pod["metadata"]["uid"], int(pid))
    return found


def _tree(pid: int) -> list[int]:
    return [pid, *process.descendants(pid)]


def _cpu_s(pid: int) -> float | None:
    """Of a process and its descendants, ended ones that were waited for included; None where it has ended."""
    total, alive = 0, False
    for one in _tree(pid):
        try:
            with open(f"/proc/{one}/stat") as file:  # noqa: PTH123 - thousands of times
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        alive = True
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS if alive else None


def _memory_bytes(pid: int) -> int | None:
    found = [size for one in _tree(pid) if (size := process.Process(one, 0).memory_bytes()) is not None]
    return sum(found) if found else None
