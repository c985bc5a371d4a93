"""How long a thread's turns on a processor are: long ones for who has time, so that others need not wait for its end.

Linux lets a thread that wakes take the processor from one whose turns are longer than its own, and else makes it
wait for the next tick, 4 ms on many systems. A thread that asks for longer turns gets no less of the processor: that
is what a lower priority would do, under which one that holds Python's lock, with others waiting for it, may come to
a standstill. Needs no right. Kernels before 6.12 know no such thing, and change nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import platform
import struct
import sys
from collections.abc import Generator
from typing import Final, NamedTuple

log = logging.getLogger("modelport")

LONG_NS: Final = 100_000_000
"""The longest turn that Linux gives."""
_CALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Numbers of sched_setattr and sched_getattr, which C libraries do not wrap."""
_LAYOUT: Final = struct.Struct("=IIQiIQQQII")
_NORMAL: Final = (0, 3)
"""SCHED_OTHER and SCHED_BATCH."""
_RESET_ON_FORK: Final = 1


class Turns(NamedTuple):
    """`struct sched_attr`."""

    size: int = _LAYOUT.size
    policy: int = 0
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime_ns: int = 0
    """The length of a turn; 0 where the kernel does not tell it."""
    deadline_ns: int = 0
    period_ns: int = 0
    util_min: int = 0
    util_max: int = 0


def turns() -> Turns | None:
    """The calling thread's, or None where the system does not say."""
    calls = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return None
    room = ctypes.create_string_buffer(_LAYOUT.size)
    if ctypes.CDLL(None).syscall(calls[1], 0, room, _LAYOUT.size, 0):
        return None  # a sandbox forbids it
    return Turns(*_LAYOUT.unpack(room.raw))


@contextlib.contextmanager
def long_turns() -> Generator[None]:
    """Long turns for the calling thread, and not for those that it starts, such as a framework's pool.

    The mark that keeps them from those cannot be taken off again, so use it in threads that do nothing else for long.
    """
    before = turns()
    if before is None or before.policy not in _NORMAL or before.runtime_ns == 0 or before.nice < 0:
        yield  # under a negative nice the mark would cost the threads started here that, too
        return
    mine = before._replace(size=_LAYOUT.size, flags=before.flags | _RESET_ON_FORK)
    _set(mine._replace(runtime_ns=LONG_NS))
    try:
        yield
    finally:
        _set(mine)


def _set(wanted: Turns) -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(_CALLS[platform.machine()][0], 0, _LAYOUT.pack(*wanted), 0):
        log.debug("sched_setattr: errno %d; loading goes on as other threads do", ctypes.get_errno())
