"""Keeps the keys of issuers that are asked for over the network: asked again and again, the last good ones on disk. One
whose tokens come with keys that are not known is asked at once, for it may have begun to sign with a new one.

An issuer that is away takes nothing back: what it said last stays in force, also after a restart, and a problem tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from modelport.kube.meta import timestamp
from modelport.local.folder import write
from modelport.local.gateway.issuer import Fetched, Source

log = logging.getLogger(__name__)
RETRY_S = 2.0
"""After the first failure; twice as long after each further one."""
LONGEST_RETRY_S = 60.0
UNASKED_S = 30.0
"""Unknown keys have an issuer asked again so long after the last time at the earliest: anybody can make a token."""


class Issuers:
    """All places that are asked."""

    def __init__(self, kept: Path, changed: Callable[[], None], now: Callable[[], datetime]) -> None:
        """`kept`: the file of the last good keys. `changed` is called when `known` says something new."""
        self._kept, self._changed, self._now = kept, changed, now
        self._known = _read(kept)
        self._wanted: dict[str, Source] = {}
        self._new = asyncio.Event()
        self._strange: dict[str, asyncio.Event] = {}
        """By the issuer's name: set when a key of it came that is not known."""
        self.some = asyncio.Event()
        """Set while any are asked."""

    @property
    def known(self) -> Mapping[str, Fetched]:
        """What is known of each place, by its source's id."""
        return self._known

    def want(self, sources: Iterable[Source]) -> None:
        """From now on these are asked, and no others."""
        wanted = {source.id: source for source in sources}
        if wanted != self._wanted:
            self._wanted = wanted
            self._new.set()
            if wanted:
                self.some.set()
            else:
                self.some.clear()

    def ask_again(self, issuer: str) -> None:
        """A token of this issuer came with a key that is not known."""
        if event := self._strange.get(issuer):
            event.set()

    async def run(self) -> None:
        """Until cancelled."""
        asking: dict[str, tuple[Source, asyncio.Task[None]]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._new.wait()
                self._new.clear()
                for name, (source, task) in list(asking.items()):
                    if self._wanted.get(name) != source:
                        task.cancel()
                        del asking[name]
                for name, source in self._wanted.items():
                    if name not in asking:
                        asking[name] = (source, group.create_task(self._follow(source)))

    async def _follow(self, source: Source) -> None:
        # Late: its HTTP client is megabytes, and on most platforms nobody is asked.
        from modelport.local.gateway import ask_issuer

        failures = 0
        strange = self._strange.setdefault(source.issuer, asyncio.Event())
        while True:
            strange.clear()
            try:
                answer = await ask_issuer.ask(source)
            except ask_issuer.NotFetched as error:
                failures += 1
                pause_s = min(RETRY_S * 2 ** min(failures - 1, 10), LONGEST_RETRY_S)
                if source.refresh_s is not None:
                    pause_s = min(pause_s, source.refresh_s)
                self._put(source, msgspec.structs.replace(self._of(source), problem=str(error)))
            else:
                failures = 0
                pause_s = answer.fresh_s
                if answer.keys != self._of(source).keys:
                    names = ", ".join(str(key.get("kid", "without kid")) for key in answer.keys)
                    log.info("issuer %s has new keys: %s", source.issuer, names)
                self._put(source, Fetched(keys=answer.keys, at=timestamp(self._now())))
                self._keep()
            await _pause(pause_s, strange)

    def _of(self, source: Source) -> Fetched:
        return self._known.get(source.id, Fetched())

    def _put(self, source: Source, found: Fetched) -> None:
        before = self._of(source)
        self._known[source.id] = found
        if (before.keys, before.problem) != (found.keys, found.problem):
            self._changed()

    def _keep(self) -> None:
        """Writes down those that are wanted. A disk that is full costs a restart without the issuer, no request."""
        good = {
            name: msgspec.structs.replace(found, problem="")
            for name, found in self._known.items()
            if name in self._wanted and found.keys
        }
        try:
            write(self._kept, msgspec.json.encode(good))
        except OSError as error:
            log.error("the issuers' keys cannot be kept: %s", error)


async def _pause(longest_s: float, strange: asyncio.Event) -> None:
    """Until the time is up, or the issuer should be asked before that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await asyncio.sleep(UNASKED_S)
            await strange.wait()


def _read(path: Path) -> dict[str, Fetched]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Fetched])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s: %s. The issuers are asked anew.", path, error)
        return {}
