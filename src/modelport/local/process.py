"""A process that outlives whoever started it: found again by its number and its start time, never by number alone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path

import msgspec


class Process(msgspec.Struct, frozen=True):
    """One process of this machine."""

    pid: int
    start: int
    """Clock ticks after boot, field 22 of /proc/PID/stat: a number that is used again has another start."""

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this number now; None for none and for one that has ended and waits to be reaped."""
        start = _start(pid)
        return None if start is None else cls(pid, start)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _start(self.pid) == self.start

    @property
    def leads(self) -> bool:
        """Whether a group of its number is its own: it runs, or it has ended and nobody else has its number."""
        return _start(self.pid, ended=True) in (self.start, None)

    def signal(self, number: int) -> bool:
        """Sends a signal, to this very process; False where it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    def memory_bytes(self) -> int | None:
        """Its proportional share of memory (PSS); None where it has ended or may not be read."""
        return _pss(self.pid)


def mark(found: Process | None) -> str:
    """A process in one word: what a Node says of the program that it is, as Kubernetes' do of their boot."""
    return "" if found is None else f"{found.pid}.{found.start}"


def read(path: Path) -> Process | None:
    """A process that was written down; None where nothing was, or the file is no such thing."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Process)
    return None


def descendants(pid: int, stop: Collection[int] = ()) -> list[int]:
    """Processes whose parent is `pid`, and theirs; those in `stop`, and theirs, are left out."""
    try:
        direct = [
            int(text)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for text in (thread / "children").read_text().split()
        ]
    except OSError:
        return []
    return [found for child in direct if child not in stop for found in (child, *descendants(child, stop))]


def _start(pid: int, *, ended: bool = False) -> int | None:
    """When it began; None where there is none. `ended`: one that waits to be reaped counts, too."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and not ended else int(fields[19])


def _pss(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
