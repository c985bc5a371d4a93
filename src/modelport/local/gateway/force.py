"""The table on disk, and which version of it the gateway has in force. Between the two every version may be."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from modelport.local.folder import write
from modelport.local.gateway import admin
from modelport.local.gateway.certificate_files import CertificateFiles
from modelport.wire import table as wire
from modelport.wire.table import Certificate, Route, Table

log = logging.getLogger(__name__)
PATIENCE_S = 5.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.05, 1.0
FIRST_VERSION = 1
"""A gateway without a table, or with one that it refused when it started, says 0."""
WATCH_S = 30.0
"""So long is a gateway asked to say at once when it ends, before it is asked again."""
_ROUTE = re.compile(r"routes\[\d+\] \(([^():]+/[^():]+)\)")
"""As in `routes[3] (default/iris).rules[0]: …`."""


class Force:
    """Writes tables and follows them into force. All methods are for the event loop's thread."""

    def __init__(self, path: Path, socket: Path) -> None:
        self._path, self._socket = path, socket
        self._files = CertificateFiles(path)
        self._secret: Mapping[str, bytes] = {}
        """Contents of the certificates' files, of the last table or of the one that is about to be written."""
        self.table, self._on_disk = _read(path)
        """The last table written, with its version."""
        self.acknowledged = -1
        """The version in force at least; -1 before the gateway has said any."""
        self.problem = ""
        """Why the written version is not in force, as far as one knows."""
        self._changed_in: dict[str, int] = {}
        self._endpoints = {self.table.version: _addresses(self.table)}
        self._written = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def is_current(self) -> bool:
        """Whether the gateway goes by what was written last."""
        return self.acknowledged >= self.table.version

    def in_force(self, route: str) -> bool:
        """Whether the gateway has that route as it is now: what changed elsewhere since does not matter."""
        return self.acknowledged >= self._changed_in.get(route, FIRST_VERSION)

    def may_route_to(self, address: str) -> bool:
        """Whether any version that may be in force leads to that address."""
        return any(address in addresses for addresses in self._endpoints.values())

    def certificates(self) -> dict[str, list[Certificate]]:
        """What listeners have in the table that was written last, as far as it can still be read."""
        found = {
            name.listener: [one for one in name.certificates if self._files.is_whole(one.file)]
            for name in self.table.tls
        }
        return {listener: certificates for listener, certificates in found.items() if certificates}

    async def put(self, table: Table, files: Mapping[str, bytes] | None = None) -> bool:
        """Writes the table with the next version, if it says anything new. Before it, the certificates that it names."""
        async with self._writing:
            return await self._put(table, files or {})

    async def _put(self, table: Table, files: Mapping[str, bytes]) -> bool:
        self._secret = files
        await asyncio.to_thread(self._files.write, files)
        old = self.table
        new = msgspec.structs.replace(table, version=old.version)
        if new == old and self._on_disk:
            return False
        new.version += 1
        await asyncio.to_thread(write, self._path, wire.encode(new))
        before, after = _by_name(old), _by_name(new)
        for name in before.keys() | after.keys():
            if name not in after:
                self._changed_in.pop(name, None)
            elif before.get(name) != after[name]:
                self._changed_in[name] = new.version
        self.table, self._on_disk = new, True
        self._endpoints[new.version] = _addresses(new)
        self._written.set()
        return True

    async def follow(self, on_change: Callable[[dict[str, str], dict[str, str]], None]) -> None:
        """Has the gateway take over what is written, until cancelled. Calls `on_change` when a version has come into
        force, or when one cannot, with what is wrong with which routes: those for which a table was refused, and those
        that were taken with rules that answer 500."""
        back_off_s = FIRST_BACK_OFF_S
        while True:
            while self.is_current or not self._on_disk:
                await self._news()
            wanted, problem = self.table.version, ""
            refused, limited = dict[str, str](), dict[str, str]()
            try:
                version, limited = await admin.reload(self._socket)
                if version >= wanted:
                    version = await admin.acknowledged(self._socket, wanted, PATIENCE_S)
                self._is_now(version)
                if version < wanted:
                    problem = f"it still goes by version {version}"
            except admin.Refused as error:
                problem, refused = str(error), _who(str(error))
                await self._mend()
            except admin.NoGateway as error:
                problem = f"it does not answer: {error}"
            if problem and problem != self.problem:
                log.warning("the gateway, asked to take over table version %d: %s", wanted, problem)
            self.problem = problem
            on_change(refused, limited)
            if not problem or self.table.version > wanted:  # a newer one may be the remedy
                back_off_s = FIRST_BACK_OFF_S
                continue
            self._written.clear()
            try:
                await asyncio.wait_for(self._written.wait(), back_off_s)
            except TimeoutError:
                back_off_s = min(back_off_s * 2, LONGEST_BACK_OFF_S)

    async def _news(self) -> None:
        """Until a table is written, or the gateway is another process than before: one that cannot read what its
        predecessor went by serves nothing, and it is for us to say so."""
        self._written.clear()
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._written.wait())]
        if self.acknowledged >= 0:
            tasks.append(asyncio.create_task(self._watch()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _mend(self) -> None:
        """Writes the table again where the file no longer holds what we wrote, and the certificates beside it."""
        async with self._writing:
            await asyncio.to_thread(self._files.write, self._secret)
            content = wire.encode(self.table)
            if self._on_disk and await asyncio.to_thread(_bytes_of, self._path) != content:
                log.warning("%s: it is not what was written. It is written again.", self._path)
                await asyncio.to_thread(write, self._path, content)

    async def _watch(self) -> None:
        """Asks for a version that nobody has written: the answer comes when the time is up or the process ends."""
        try:
            version = await admin.acknowledged(self._socket, self.table.version + 1, WATCH_S)
        except admin.NoGateway:
            # Mostly it is back in a moment, with the table on disk.
            await asyncio.sleep(FIRST_BACK_OFF_S)
            try:
                version = await admin.acknowledged(self._socket, 0, PATIENCE_S)
            except admin.NoGateway:
                await asyncio.sleep(LONGEST_BACK_OFF_S)
                return
        if version < self.acknowledged:
            log.warning("the gateway has begun anew, and goes by table version %d", version)
            self.acknowledged = version

    async def meet(self) -> None:
        """Learns which version is in force, so that the next one is newer even where the file was lost."""
        try:
            version = await admin.acknowledged(self._socket, 0, PATIENCE_S)
        except admin.NoGateway:
            return
        if version > self.table.version:
            self.table = msgspec.structs.replace(self.table, version=version)
            self._on_disk = False

    def _is_now(self, version: int) -> None:
        self.acknowledged = max(self.acknowledged, version)
        for old in [one for one in self._endpoints if one < min(self.acknowledged, self.table.version)]:
            del self._endpoints[old]
        if self.is_current:
            # Nobody reads those of the tables before any more.
            shown = {one.file for name in self.table.tls for one in name.certificates}
            self._files.keep(shown | self._secret.keys())


def _who(words: str) -> dict[str, str]:
    """The HTTPRoute that a refusal names: it alone is to be left out. (Internal routes, `default/iris:80`, are ours.)"""
    found = _ROUTE.search(words)
    return {found.group(1): words} if found else {}


def _read(path: Path) -> tuple[Table, bool]:
    """What is on disk, and whether it can be built on."""
    try:
        return wire.decode(path.read_bytes()), True
    except FileNotFoundError:
        return Table(version=0), False
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s: %s. It is written anew.", path, error)
        return Table(version=0), False


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _by_name(table: Table) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    for route in table.routes:
        if not route.internal:
            found.setdefault(route.name, []).append(route)
    return found


def _addresses(table: Table) -> frozenset[str]:
    """Hosts of all endpoints, without ports and brackets."""
    return frozenset(
        endpoint.rpartition(":")[0].strip("[]")
        for cluster in table.clusters.values()
        for endpoint in cluster.endpoints
    )
