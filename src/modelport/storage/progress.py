"""How far a fetch is, as a value: the CLI draws a bar of it, the platform puts it into status and events."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from modelport.storage.failure import Step

Phase = Step | Literal["wait", "done"]
"""A step, or `wait` for another process that fetches the same, or `done`."""

EVERY_S = 0.1
WINDOW_S = 3.0


@dataclass(frozen=True)
class Progress:
    """A moment of a fetch."""

    uri: str
    """Without secrets."""
    phase: Phase = "resolve"
    bytes_done: int = 0
    """Of the model's bytes, those that are on this machine, however they came there."""
    bytes_total: int | None = None
    """None until it is known, and for servers that do not say."""
    bytes_cached: int = 0
    """Of `bytes_done`, those that did not have to be transferred."""
    bytes_per_second: float = 0.0
    """Over the last few seconds."""
    files_done: int = 0
    files_total: int | None = None
    note: str = ""
    """What a person should know now: a mirror in use, a retry and why."""
    is_trouble: bool = False
    """Whether the note is of a retry."""


class Reporter:
    """Counts for a fetch, from many threads, and tells the subscriber at most ten times a second.

    The subscriber is called on the thread that runs the fetch, never on its workers.
    """

    def __init__(self, uri: str, subscriber: Callable[[Progress], None] | None) -> None:
        self._subscriber = subscriber
        self._lock = threading.Lock()
        self._now = Progress(uri)
        self._added = 0
        self._files = 0
        self._told: Progress | None = None
        self._told_at = 0.0
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def now(self) -> Progress:
        """The latest."""
        with self._lock:
            return self._counted()

    def _counted(self) -> Progress:
        """With what was added since it was last made: workers add thousands of times a second."""
        if self._added or self._files:
            self._now = replace(
                self._now,
                bytes_done=self._now.bytes_done + self._added,
                files_done=self._now.files_done + self._files,
            )
            self._added = self._files = 0
        return self._now

    def add(self, count: int) -> None:
        """Bytes came in; a negative count takes back what will be read again."""
        with self._lock:
            self._added += count

    def file_done(self) -> None:
        """One more file is whole."""
        with self._lock:
            self._files += 1

    def note(self, text: str, *, is_trouble: bool = False) -> None:
        """Something to know, shown with what follows."""
        with self._lock:
            self._now = replace(self._now, note=text, is_trouble=is_trouble)

    def enter(self, phase: Phase) -> None:
        """The next phase began. Told at once."""
        with self._lock:
            self._now = replace(self._now, phase=phase)
        self.tell(force=True)

    def set(
        self, *, done: int, total: int | None, cached: int, files_done: int, files_total: int | None
    ) -> None:
        """What is known once the files are listed, or what another process has done so far."""
        with self._lock:
            self._seen.clear()
            self._added = self._files = 0
            self._now = replace(
                self._now,
                bytes_done=done,
                bytes_total=total,
                bytes_cached=cached,
                files_done=files_done,
                files_total=files_total,
            )

    def tell(self, *, force: bool = False) -> None:
        """Tells the subscriber, if it is time and something is new."""
        if self._subscriber is None:
            return
        now = time.monotonic()
        if not force and now - self._told_at < EVERY_S:
            return
        with self._lock:
            latest = self._counted()
            self._seen.append((now, latest.bytes_done))
            while now - self._seen[0][0] > WINDOW_S:
                self._seen.popleft()
            then, before = self._seen[0]
            speed = (latest.bytes_done - before) / (now - then) if now > then else 0.0
            told = replace(latest, bytes_per_second=max(speed, 0.0))
        if told != self._told:
            self._told, self._told_at = told, now
            self._subscriber(told)
