"""For a process that does nothing but fetch: less memory for what its threads share."""

from __future__ import annotations

import contextlib
import os

ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's mallopt."""


def lean() -> None:
    """One heap for all threads (glibc gives each its own, of half a megabyte and more), two threads for obstore.

    To be called before the first fetch, and never by a library: it holds for the whole process.
    """
    os.environ.setdefault("TOKIO_WORKER_THREADS", "2")  # else one a processor, however many there are
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)
