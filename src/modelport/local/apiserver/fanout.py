"""From the log to those who watch: each event is encoded once, kept a while, and handed to bounded queues.

A watcher that does not keep up is cut off: it lists or watches anew from where it was. Memory never grows with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from functools import cached_property

import msgspec

from modelport.kube.resource import Object
from modelport.local.apiserver.ledger import Row

QUEUE_LIMIT = 1000
"""Most events that wait for one watcher; one more cuts it off."""
RING_EVENTS, RING_BYTES = 256, 2 << 20
"""What is kept of one resource's recent events. Older ones are read from the log."""
_decode = msgspec.json.decode


class Event:
    """One change of one object."""

    def __init__(self, row: Row, old: bytes | None) -> None:
        self.row = row
        self.old_value = old

    def afresh(self) -> Event:
        """The same, without what was decoded and written for those who were told: ten times what the event takes."""
        return Event(self.row, self.old_value)

    @property
    def version(self) -> int:
        """The resourceVersion that it made."""
        return self.row.version

    @property
    def type(self) -> str:
        """ADDED, MODIFIED or DELETED, for whoever sees all objects."""
        return "DELETED" if self.row.deleted else "MODIFIED" if self.row.previous else "ADDED"

    @cached_property
    def object(self) -> Object:
        """The object as it became. Read-only: all watchers share it."""
        return _decode(self.row.value)

    @cached_property
    def old(self) -> Object | None:
        """The object as it was; None where it came into being."""
        return None if self.old_value is None else _decode(self.old_value)

    @cached_property
    def frame(self) -> bytes:
        """The line of a watch that tells it."""
        return frame(self.type, self.row.value)


def frame(type: str, value: bytes) -> bytes:  # noqa: A002 - the field's word
    """One line of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type.encode(), value)


class CutOff(Exception):
    """The watcher was too slow; what it missed is gone from its queue."""


class Ended(Exception):
    """The server stops."""


class Watcher:
    """One watch's queue. Made by the store; `close` it."""

    def __init__(self, fanout: Fanout, resource: str, limit: int) -> None:
        self._fanout = fanout
        self._resource = resource
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.cut = asyncio.Event()
        """Set when it has been cut off, or the server stops."""
        self._ended = False

    def close(self) -> None:
        """No more events, please."""
        self._fanout.leave(self._resource, self)

    def push(self, event: Event) -> None:
        """For the store."""
        if self.cut.is_set():
            return
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self.cut.set()
            self.close()
        else:
            self._queue.append(event)
        self._wake.set()

    def end(self) -> None:
        """For the store: the server stops."""
        self._ended = True
        self.cut.set()
        self._wake.set()

    async def take(self, timeout_s: float | None = None) -> list[Event]:
        """What waits; none after `timeout_s` without an event. Raises CutOff and Ended."""
        if not self._queue and not self.cut.is_set():
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                pass  # an event may have come between the bell and now
        if self._queue:
            events = list(self._queue)
            self._queue.clear()
            return events
        if self._ended:
            raise Ended
        if self.cut.is_set():
            raise CutOff
        return []


class Ring:
    """The recent events of one resource."""

    def __init__(self, since: int) -> None:
        self.since = since
        """Every event after this version is here."""
        self._events: deque[Event] = deque()
        self._bytes = 0

    def add(self, event: Event) -> None:
        """Keeps it, and lets go of the oldest ones."""
        self._events.append(event.afresh())
        self._bytes += len(event.row.value)
        while len(self._events) > RING_EVENTS or self._bytes > RING_BYTES:
            oldest = self._events.popleft()
            self._bytes -= len(oldest.row.value)
            self.since = oldest.version

    def after(self, version: int) -> list[Event] | None:
        """Events after `version`; None where some of them are no longer here."""
        if version < self.since:
            return None
        return [event.afresh() for event in self._events if event.version > version]


class Fanout:
    """All rings and watchers."""

    def __init__(self, version: int, limit: int = QUEUE_LIMIT) -> None:
        self._start = version
        self._limit = limit
        self._rings: dict[str, Ring] = {}
        self._watchers: dict[str, set[Watcher]] = {}
        self._ended = False

    @property
    def watchers(self) -> int:
        """How many there are."""
        return sum(map(len, self._watchers.values()))

    def join(self, resource: str) -> Watcher:
        """A watcher that hears of everything from now on."""
        watcher = Watcher(self, resource, self._limit)
        self._watchers.setdefault(resource, set()).add(watcher)
        if self._ended:
            watcher.end()
        return watcher

    def leave(self, resource: str, watcher: Watcher) -> None:
        """It hears no more."""
        self._watchers.get(resource, set()).discard(watcher)

    def recent(self, resource: str, after: int) -> list[Event] | None:
        """Events of a resource after a version, if all of them are still at hand."""
        ring = self._rings.get(resource)
        if ring is None:
            return [] if after >= self._start else None
        return ring.after(after)

    def publish(self, events: Iterable[Event]) -> None:
        """Tells everybody."""
        for event in events:
            ring = self._rings.setdefault(event.row.resource, Ring(self._start))
            ring.add(event)
            for watcher in list(self._watchers.get(event.row.resource, ())):
                watcher.push(event)

    def end(self) -> None:
        """Ends every watch, those to come too."""
        self._ended = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end()
