"""A work queue of keys: a key waits once however often it is added, is worked on by one worker at a time, and
backs off by itself when it fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
log = logging.getLogger(__name__)

FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.05, 30.0


class Queue(Generic[K]):
    """Keys to look at. All methods are for the event loop's thread."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}

    def add(self, key: K) -> None:
        """Looks at `key` as soon as a worker is free."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Looks at `key` in `delay_s` seconds, or earlier if somebody adds it."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay_s:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def work(self, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        """One worker, until cancelled. `reconcile` returns seconds after which to look again, or None.

        An exception is logged and tried again with exponential back-off of that key.
        """
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._working.add(key)
            try:
                again_s = await reconcile(key)
            except Exception as error:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                again_s = min(FIRST_BACK_OFF_S * 2 ** (failures - 1), LONGEST_BACK_OFF_S)
                # A conflict is everyday: somebody else wrote first.
                quiet = getattr(error, "code", None) == 409
                log.log(
                    logging.DEBUG if quiet else logging.WARNING,
                    "%s: %s; again in %.2f s",
                    key,
                    error,
                    again_s,
                    exc_info=not quiet and not hasattr(error, "code"),
                )
            else:
                self._failures.pop(key, None)
            finally:
                self._working.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif again_s is not None:
                self.add_after(key, again_s)
