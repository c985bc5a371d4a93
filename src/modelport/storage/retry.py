"""Trying again: with back-off, inside a stated budget, and only what may pass."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

from modelport.storage.failure import Cancelled, StorageError
from modelport.storage.progress import Reporter

PROGRESS_BYTES = 1 << 20
"""So many bytes since the last failure count as progress: the back-off starts anew."""


@dataclass(frozen=True)
class Retry:
    """How long to go on."""

    budget_s: float = 120.0
    """Seconds without progress until a transient failure is final."""
    first_s: float = 0.25
    """First pause; it doubles, with jitter."""
    longest_s: float = 15.0


class Budget:
    """What is left of a fetch's patience, shared by its workers."""

    def __init__(self, retry: Retry, reporter: Reporter, cancel: threading.Event) -> None:
        self._retry = retry
        self._reporter = reporter
        self._cancel = cancel
        self._lock = threading.Lock()
        self._since: float | None = None
        self._pause = retry.first_s
        self._progress = 0
        self.failures = 0

    def worked(self, count: int) -> None:
        """Bytes came in."""
        self._progress += count
        if self._since is not None and self._progress >= PROGRESS_BYTES:
            self.succeeded()

    def succeeded(self) -> None:
        """The store answers again."""
        with self._lock:
            self._since, self._pause, self._progress = None, self._retry.first_s, 0

    def failed(self, error: StorageError, stop: threading.Event | None = None) -> None:
        """Waits before the next try; raises the error where there is to be none.

        `stop` ends the wait early, beside the caller's event.
        """
        if not error.transient or error.exhausted:
            raise error
        now = time.monotonic()
        with self._lock:
            self.failures += 1
            self._progress = 0
            if self._since is None:
                self._since = now
            spent = now - self._since
            pause = self._pause * random.uniform(0.7, 1.3)  # noqa: S311 (jitter, not a secret)
            self._pause = min(self._pause * 2, self._retry.longest_s)
        if spent + pause > self._retry.budget_s:
            error.exhausted = True
            error.problem = f"{error.problem}, and again for {spent:.0f} s, which is the budget for retries"
            raise error
        hint = f". {error.hint}" if error.hint else ""
        self._reporter.note(f"{error.problem}; trying again{hint}", is_trouble=True)
        self._wait(pause, stop)

    def _wait(self, pause: float, stop: threading.Event | None) -> None:
        end = time.monotonic() + pause
        while (left := end - time.monotonic()) > 0:
            if self._cancel.wait(min(left, 0.1)):
                raise Cancelled
            if stop is not None and stop.is_set():
                return
