"""One event loop on a thread of its own, for what models declare `async`.

It starts with the first coroutine, so that a process without async models has no such thread, and a child
that was forked from a parent with one starts its own.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

LOOK_S = 0.1
"""How often it is looked whether somebody still waits for what runs."""


class Loop:
    """The event loop thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[asyncio.Task[None], Callable[[], bool]] = {}
        self._looks = False

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is not None:
            return self._loop
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="modelport-loop", daemon=True).start()
                self._loop = loop
            return self._loop

    def submit(self, work: Coroutine[Any, Any, None], is_moot: Callable[[], bool]) -> None:
        """Runs a coroutine that handles its own errors; returns at once.

        It is cancelled, once, when `is_moot` says that nobody waits for it any more.
        """
        self._started().call_soon_threadsafe(self._begin, work, is_moot)

    def _begin(self, work: Coroutine[Any, Any, None], is_moot: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._tasks[task] = is_moot  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.pop)
        if not self._looks:
            self._looks = True
            loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        for task, is_moot in self._tasks.items():
            if is_moot():
                task.cancel()
                self._tasks[task] = _never  # it may take its time to clean up
        self._looks = bool(self._tasks)
        if self._looks:
            asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine and waits for its result; not to be called on the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._started()).result()


def _never() -> bool:
    return False


LOOP = Loop()
"""The process's own."""


def settle(result: Any) -> Any:
    """What a hook returned, or if that is a coroutine, what it comes to. For load, start, stop and healthy."""
    return LOOP.call(result) if inspect.iscoroutine(result) else result


def _forget() -> None:
    LOOP.__init__()


os.register_at_fork(after_in_child=_forget)
