"""One event loop on a thread of its own, for what models declare `async`.

It starts with the first coroutine, so that a process without async models has no such thread, and a child
that was forked from a parent with one starts its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from typing import Any


class Loop:
    """The event loop thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is not None:
            return self._loop
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="modelport-loop", daemon=True).start()
                self._loop = loop
            return self._loop

    def submit(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine that handles its own errors; returns at once."""
        self._started().call_soon_threadsafe(self._begin, work)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine and waits for its result; not to be called on the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result()


LOOP = Loop()
"""The process's own."""


def settle(result: Any) -> Any:
    """What a hook returned, or if that is a coroutine, what it comes to. For load, start, stop and healthy."""
    return LOOP.call(result) if inspect.iscoroutine(result) else result


def _forget() -> None:
    LOOP.__init__()


os.register_at_fork(after_in_child=_forget)
