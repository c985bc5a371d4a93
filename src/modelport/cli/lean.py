"""For a process that does nothing but fetch: less memory. It is one of hundreds, each beside a model."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's mallopt."""


def lean() -> None:
    """One heap for all threads (glibc gives each its own, of half a megabyte and more), two threads for obstore.

    To be called before the first fetch and before `modelport.storage` is imported, never by a library: it holds for
    the whole process.
    """
    os.environ.setdefault("TOKIO_WORKER_THREADS", "2")  # else one a processor, however many there are
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(ARENA_MAX, 1)
    if "inspect" not in sys.modules and "msgspec" not in sys.modules:
        from modelport.runtimes.later import put_off

        # dataclasses imports it, a megabyte, and hardly ever asks it anything.
        with put_off(("inspect",)):
            importlib.import_module("inspect")
        _without_extensions()


def _without_extensions() -> None:
    """Imports msgspec without `typing_extensions`, which it does not need here, and which would use `inspect`."""
    absent: dict[str, object] = {"typing_extensions": None}
    sys.modules.update(absent)  # type: ignore[arg-type]
    try:
        import msgspec  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        del sys.modules["typing_extensions"]
