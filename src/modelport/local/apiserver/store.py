"""Objects by key, their history, and watches: the ledger behind one writer thread.

Writes queue up for the writer, which commits all that wait in one transaction (group commit) and answers after
fsync. Reads have connections of their own and never wait for the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from modelport.local.apiserver.fanout import QUEUE_LIMIT, Event, Fanout, Watcher
from modelport.local.apiserver.ledger import (
    Change,
    Compacted,
    Key,
    Ledger,
    Reader,
    Refused,
    Row,
)
from modelport.local.apiserver.state_file import StoreError, WriteError

log = logging.getLogger(__name__)

GROUP_LIMIT = 256
"""Most changes in one transaction."""
KEEP_ROWS, KEEP_S = 10_000, 300
COMPACT_EVERY = 1000
"""Rows between two looks at what can be forgotten."""
CHUNK = 200
"""Rows that are read before others get their turn."""

Waiting = tuple[Change, "asyncio.Future[Row]"]


class Future(Exception):
    """The version asked for has not come to be yet. The message is the newest that there is."""


class Store:
    """All methods but the constructor are for the event loop that called `start`."""

    def __init__(
        self,
        path: Path,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        keep_rows: int = KEEP_ROWS,
        keep_s: int = KEEP_S,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """Opens or makes the file. Raises StoreError."""
        self._ledger = Ledger(path)
        self._clock_ms = clock_ms
        self._keep_rows, self._keep_ms = keep_rows, keep_s * 1000
        self._compacted_at = self._ledger.version
        self._fanout = Fanout(self._ledger.version, queue_limit)
        self._reader = self._ledger.reader()
        self._idle_readers: list[Reader] = []
        self._changes: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="store", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ending = asyncio.Event()
        """Set when the server stops: whatever goes on for long ends by itself."""
        self.version = self._ledger.version
        """The newest version that watchers have been told."""
        self._listeners: list[Callable[[Sequence[Event]], None]] = []

    @property
    def path(self) -> Path:
        """The file."""
        return self._ledger.path

    @property
    def watchers(self) -> int:
        """How many watches there are."""
        return self._fanout.watchers

    def start(self) -> None:
        """Begins to write, for the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Writes what waits, ends watches, and lets go of the file."""
        self.end_watches()
        if self._thread.is_alive():
            self._changes.put(None)
            await asyncio.to_thread(self._thread.join)
        for reader in (self._reader, *self._idle_readers):
            reader.close()
        self._ledger.close()

    def end_watches(self) -> None:
        """The server stops: every watch ends by itself."""
        self.ending.set()
        self._fanout.end()

    # Reading

    def get(self, key: Key) -> Row | None:
        """One object as it is now."""
        return self._reader.get(key)

    def rows(self, resource: str, namespace: str | None = None) -> list[Row]:
        """All objects as they are now. For few of them: nobody else gets a turn meanwhile."""
        return self._reader.rows(resource, namespace, ("", ""), -1)

    def count(self, resource: str) -> int:
        """How many objects there are now."""
        return self._reader.count(resource, None, ("", ""))

    def size_bytes(self) -> int:
        """Size of the file."""
        return self._ledger.path.stat().st_size

    @asynccontextmanager
    async def snapshot(self, at: int | None = None) -> AsyncGenerator[Snapshot]:
        """The store as it is, or as it was `at` a version. Raises Compacted and Future."""
        reader = self._idle_readers.pop() if self._idle_readers else self._ledger.reader()
        try:
            version, compacted = reader.begin()
            if at is not None and at > version:
                raise Future(str(version))
            if at is not None and at < compacted:
                raise Compacted(str(compacted))
            yield Snapshot(
                reader, version if at is None else at, compacted, past=at is not None and at != version
            )
        finally:
            reader.end()
            self._idle_readers.append(reader)

    async def watch(self, resource: str, after: int) -> tuple[Watcher, AsyncGenerator[Event]]:
        """A watcher, which hears what comes, and the events after `after` until then: read those first.

        Both may tell the same event: skip what has no higher version than the last. Raises Compacted and Future.
        """
        if after > self.version:
            # A list is read from the file, and may know of what is not published yet: by now it is,
            await asyncio.sleep(0)
        if after > self.version:
            # unless the writer's thread has committed and not come to tell: the file is who knows.
            async with self.snapshot() as snapshot:
                if after > snapshot.version:
                    raise Future(str(snapshot.version))
        watcher = self._fanout.join(resource)
        recent = self._fanout.recent(resource, after)
        if recent is not None:
            return watcher, _each(recent)
        try:
            async with self.snapshot() as snapshot:
                if after < snapshot.compacted:
                    raise Compacted(str(snapshot.compacted))
        except BaseException:
            watcher.close()
            raise
        return watcher, self._past(resource, after)

    async def _past(self, resource: str, after: int) -> AsyncGenerator[Event]:
        async with self.snapshot() as snapshot:
            if after < snapshot.compacted:
                raise Compacted(str(snapshot.compacted))
            async for event in snapshot.changes(resource, after):
                yield event

    def listen(self, heard: Callable[[Sequence[Event]], None]) -> None:
        """Calls `heard` with every change from now on, whatever the resource. It must be quick."""
        self._listeners.append(heard)

    # Writing

    async def write(self, change: Change) -> Row:
        """Writes, and returns once it is on disk and watchers know. Raises Refused and StoreError.

        Goes on when the caller is cancelled: what was asked for is done or refused, never half done.
        """
        assert self._loop is not None, "the store has not been started"  # noqa: S101
        waiting: asyncio.Future[Row] = self._loop.create_future()
        waiting.add_done_callback(_heard)
        self._changes.put((change, waiting))
        return await asyncio.shield(waiting)

    def _write(self) -> None:
        while True:
            first = self._changes.get()
            if first is None:
                return
            group = [first]
            last = False
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP_LIMIT and not last:
                    more = self._changes.get_nowait()
                    if more is None:
                        last = True
                    else:
                        group.append(more)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[Waiting]) -> None:
        assert self._loop is not None  # noqa: S101
        try:
            answers: list[Row | Refused] = self._ledger.commit(
                [change for change, _ in group], self._clock_ms()
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            failed = error if isinstance(error, StoreError) else WriteError(f"{self._ledger.path}: {error}")
            log.error("%s", failed)
            self._loop.call_soon_threadsafe(_fail, group, failed)
            return
        self._loop.call_soon_threadsafe(self._committed, group, answers)
        if self._ledger.version - self._compacted_at >= COMPACT_EVERY:
            self._compacted_at = self._ledger.version
            try:
                self._ledger.compact(
                    keep_rows=self._keep_rows, keep_ms=self._keep_ms, now_ms=self._clock_ms()
                )
            except StoreError as error:
                log.error("%s", error)

    def _committed(self, group: list[Waiting], answers: list[Row | Refused]) -> None:
        events: list[Event] = []
        for (change, _), answer in zip(group, answers, strict=True):
            if isinstance(answer, Row):
                events.append(Event(answer, change.before.value if change.before else None))
                self.version = answer.version
        self._fanout.publish(events)
        for heard in self._listeners:
            heard(events)
        for (_, waiting), answer in zip(group, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Row):
                waiting.set_result(answer)
            else:
                waiting.set_exception(answer)


class Snapshot:
    """The store at one version."""

    def __init__(self, reader: Reader, version: int, compacted: int, *, past: bool) -> None:
        self._reader = reader
        self._past = past
        self.version = version
        self.compacted = compacted

    async def rows(
        self, resource: str, namespace: str | None = None, after: tuple[str, str] = ("", "")
    ) -> AsyncGenerator[Row]:
        """Objects in the order of namespace and name, from behind `after`."""
        while True:
            found = self._reader.rows(
                resource, namespace, after, CHUNK, at=self.version if self._past else None
            )
            for row in found:
                yield row
            if len(found) < CHUNK:
                return
            after = (found[-1].namespace, found[-1].name)
            await asyncio.sleep(0)

    def count(self, resource: str, namespace: str | None, after: tuple[str, str]) -> int:
        """How many objects come behind `after`."""
        return self._reader.count(resource, namespace, after, at=self.version if self._past else None)

    async def changes(self, resource: str, after: int) -> AsyncGenerator[Event]:
        """What happened to a resource after a version, until this one."""
        while True:
            found = self._reader.changes(resource, after, CHUNK)
            for row, old in found:
                yield Event(row, old)
            if len(found) < CHUNK:
                return
            after = found[-1][0].version
            await asyncio.sleep(0)


async def _each(events: list[Event]) -> AsyncGenerator[Event]:
    for event in events:
        yield event


def _fail(group: list[Waiting], error: StoreError) -> None:
    for _, waiting in group:
        if not waiting.done():
            waiting.set_exception(error)


def _heard(waiting: asyncio.Future[Row]) -> None:
    """A refusal that nobody waits for any more is no news."""
    if not waiting.cancelled():
        waiting.exception()
