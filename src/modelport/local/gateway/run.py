"""The loop that keeps the route table on disk, has the gateway take it over, and tells what became of it.

Level-triggered: a change anywhere wakes it, it looks at everything, and writes only what differs. Three things go on
beside each other: tables are written as the API changes, the gateway is followed (`force`), and pods and routes are
told (`release`, `tell`). So a gateway that hangs holds no table back, and a slow status write no pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelport.control import events
from modelport.control.cache import Cache, Change, key_of
from modelport.kube import resource as kinds
from modelport.kube.client import Client
from modelport.kube.part import mapping
from modelport.kube.resource import Object
from modelport.local.folder import Folder, write
from modelport.local.gateway import admin, key_file
from modelport.local.gateway.auth import ANONYMOUS, API_KEYS, JWKS, next_expiry, sources, where
from modelport.local.gateway.certificate import referenced
from modelport.local.gateway.check import check
from modelport.local.gateway.force import Force
from modelport.local.gateway.grants import Grants
from modelport.local.gateway.issuers import Issuers
from modelport.local.gateway.release import Release
from modelport.local.gateway.tell import Tell
from modelport.local.gateway.translate import Seen, translate

log = logging.getLogger(__name__)
DEBOUNCE_S = 0.005
SHARE = 2.0
"""So many times as long as a look took does the next one wait: at most a third of a core, however much changes."""
AGAIN_S = 1.0
LISTEN_S = 50.0
"""So long does one question for unknown keys last; the gateway answers within a minute."""
LONGEST_SLEEP_S = 3600.0
"""A clock may be set while the end of a key or certificate is waited for."""


async def run(
    client: Client,
    folder: Folder,
    address: str,
    *,
    require_keys: bool = False,
    tls: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Keeps the table true until cancelled. `address`: where the gateway listens, for the Gateways' status.
    `require_keys`: let nobody in while no key is known. `tls`: it speaks TLS there."""
    await Translator(client, folder, address, require_keys=require_keys, tls=tls, now=now).run()


class Translator:
    """Everything that the loop knows."""

    def __init__(
        self,
        client: Client,
        folder: Folder,
        address: str,
        *,
        require_keys: bool,
        tls: bool,
        now: Callable[[], datetime],
    ) -> None:
        self._client, self._require_keys, self._tls, self._now = client, require_keys, tls, now
        self._socket = folder.admin_socket
        self._force = Force(folder.table, folder.admin_socket)
        self._caches: dict[str, Cache] = {
            "classes": Cache(client, kinds.GATEWAY_CLASS),
            "gateways": Cache(client, kinds.GATEWAY),
            "routes": Cache(client, kinds.HTTP_ROUTE),
            "services": Cache(client, kinds.SERVICE),
            "slices": Cache(client, kinds.ENDPOINT_SLICE),
            "namespaces": Cache(client, kinds.NAMESPACE),
            "issuers": Cache(client, kinds.CONFIG_MAP, labels=f"{JWKS}=true"),
            "anonymous": Cache(client, kinds.CONFIG_MAP, labels=f"{ANONYMOUS}=true"),
        }
        self._secrets = Cache(client, kinds.SECRET, indexes={"access": _access})
        """All, for any may hold a listener's certificate; those with keys and issuers by their labels."""
        self._referenced: set[tuple[str, str]] = set()
        """Those that did when they were last looked at."""
        self._pods = Cache(client, kinds.POD, indexes={"uid": lambda pod: [pod["metadata"]["uid"]]})
        self._key_file = folder.key_file
        self._dirty = asyncio.Event()
        self._issuers = Issuers(folder.issuers, self._dirty.set, now)
        self._problems: list[str] | None = None
        """Those that were told; None before the first look."""
        self._problems_file = folder.problems
        self._alarm: asyncio.TimerHandle | None = None
        self._refused: dict[str, tuple[Any, str]] = {}
        """Routes that the gateway did not take: their spec as it was, and its words."""
        self._limited: dict[str, tuple[Any, str]] = {}
        """The same for those with rules that it answers 500."""
        self._release = Release(client, self._pods, self._force)
        self._tell = Tell(client, self._caches, self._force, address, now)
        self._grants = Grants(client, self._changed)
        for cache in (*self._caches.values(), self._pods):
            cache.subscribe(self._changed)
        self._secrets.subscribe(self._secret_changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for cache in (*self._caches.values(), self._pods, self._secrets):
                group.create_task(cache.run())
            for cache in (*self._caches.values(), self._pods, self._secrets):
                await cache.synced.wait()
            group.create_task(self._grants.run())
            await self._grants.synced.wait()
            await self._force.meet()
            self._dirty.set()
            group.create_task(self._write_forever())
            group.create_task(self._watch_keys())
            group.create_task(self._issuers.run())
            group.create_task(self._hear_of_unknown_keys())
            group.create_task(self._force.follow(self._on_force))
            group.create_task(self._release.run())
            group.create_task(self._tell.run())

    def _changed(self, change: Change) -> None:
        if _matters(change):
            self._dirty.set()

    def _secret_changed(self, change: Change) -> None:
        # A Gateway that begins to refer to one has changed itself.
        labelled = any(_access(item) for item in (change.old, change.new) if item is not None)
        if labelled or key_of(change.object) in self._referenced:
            self._changed(change)

    def _on_force(self, refused: dict[str, str], limited: dict[str, str]) -> None:
        """The gateway has taken a version over, or has not, and why."""
        for known, now in ((self._refused, refused), (self._limited, limited)):
            for name, words in now.items():
                route = self._caches["routes"].get(*name.split("/", 1)) if "/" in name else None
                if route is not None and known.get(name) != (route["spec"], words):
                    log.warning("HTTPRoute %s: the gateway does not take all of it: %s", name, words)
                    known[name] = (route["spec"], words)
                    self._dirty.set()
        self._release.in_force()
        self._tell.in_force()

    async def _write_forever(self) -> None:
        loop = asyncio.get_running_loop()
        not_before = 0.0
        while True:
            await self._dirty.wait()
            await asyncio.sleep(max(DEBOUNCE_S, not_before - loop.time()))
            self._dirty.clear()
            began = loop.time()
            try:
                await self._look()
            except OSError as error:  # the disk is full, say: the last table stays, and is tried again
                log.error("the route table cannot be written: %s", error)
                loop.call_later(AGAIN_S, self._dirty.set)
            not_before = loop.time() + SHARE * (loop.time() - began)

    async def _watch_keys(self) -> None:
        """Looks at everything anew when the file of keys has changed."""
        known = key_file.stamp(self._key_file)
        while True:
            await asyncio.sleep(key_file.EVERY_S)
            now = key_file.stamp(self._key_file)
            if now != known:
                known = now
                self._dirty.set()

    async def _hear_of_unknown_keys(self) -> None:
        """Has an issuer asked for its keys when the gateway gets tokens with others than it knows."""
        after: int | None = None
        while True:
            await self._issuers.some.wait()
            try:
                after, strange = await admin.unknown_keys(self._socket, after, LISTEN_S)
            except admin.NoGateway:
                after = None  # the next one counts from the beginning
                await asyncio.sleep(AGAIN_S)
                continue
            for issuer in strange:
                self._issuers.ask_again(issuer)

    async def _look(self) -> None:
        """Looks at everything once, and writes the table if it says anything new."""
        living = frozenset(
            pod["metadata"]["uid"] for pod in self._pods.all() if not pod["metadata"].get("deletionTimestamp")
        )
        seen = self._seen(living)
        self._issuers.want(sources(seen.secrets, seen.config_maps))
        found = translate(seen)
        self._wake_at_the_next_end(seen, found.next_at)
        if found.problems != self._problems:
            news = [problem for problem in found.problems if problem not in (self._problems or [])]
            content = msgspec.json.encode({"problems": found.problems})
            await asyncio.to_thread(write, self._problems_file, content)
            self._problems = found.problems
            await self._say(news, seen)
        faults = check(found.table)
        if faults:  # our own fault: the last table stays
            log.error("this table is not written, as the gateway would refuse it: %s", "; ".join(faults))
            return
        await self._force.put(found.table, found.files)
        self._release.written(living)
        self._tell.decided(found, seen)

    def _wake_at_the_next_end(self, seen: Seen, certificates: int | None) -> None:
        """Looks again when a key ends, or a certificate."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._now()
        ends = [next_expiry(seen.secrets, seen.key_file, now)]
        if certificates is not None:
            ends.append(datetime.fromtimestamp(certificates, UTC))
        delays_s = [(end - now).total_seconds() for end in ends if end is not None]
        if delays_s:
            delay_s = min(*delays_s, LONGEST_SLEEP_S)
            self._alarm = asyncio.get_running_loop().call_later(max(delay_s, 0.0), self._dirty.set)

    async def _say(self, problems: list[str], seen: Seen) -> None:
        """Tells of keys and issuers that cannot be read: in the log, and by an event of the Secret or ConfigMap."""
        for problem in problems:
            log.warning("%s", problem)
            for item in (*seen.secrets, *seen.config_maps):
                if problem.startswith((f"{where(item)}: ", f"{where(item)}, ")):
                    words = problem[len(where(item)) + 2 :]
                    await events.record(self._client, item, "Warning", "AccessNotRead", words, self._now())

    def _seen(self, living: frozenset[str]) -> Seen:
        def all_of(*names: str) -> list[Object]:
            found = {key_of(item): item for name in names for item in self._caches[name].all()}
            return list(found.values())

        gateways = all_of("gateways")
        self._referenced = referenced(gateways)
        secrets = (self._secrets.get(*name) for name in sorted(self._referenced))
        return Seen(
            classes=all_of("classes"),
            gateways=gateways,
            routes=all_of("routes"),
            services=all_of("services"),
            slices=all_of("slices"),
            namespaces=all_of("namespaces"),
            grants=self._grants.all(),
            secrets=self._secrets.by("access", "true"),
            config_maps=all_of("issuers", "anonymous"),
            key_file=key_file.read(self._key_file),
            fetched=self._issuers.known,
            now=self._now(),
            living=living,
            require_keys=self._require_keys,
            refused=self._still(self._refused),
            limited=self._still(self._limited),
            tls=self._tls,
            tls_secrets=[one for one in secrets if one is not None],
            kept=self._force.certificates(),
        )

    def _still(self, known: dict[str, tuple[Any, str]]) -> dict[str, str]:
        """Words of the gateway on routes that have not been changed since."""
        for name, (spec, _) in list(known.items()):
            route = self._caches["routes"].get(*name.split("/", 1))
            if route is None or route["spec"] != spec:
                del known[name]
        return {name: words for name, (_, words) in known.items()}


def _access(secret: Object) -> list[str]:
    """["true"] for a Secret that holds API keys, or names an issuer."""
    labels = mapping(secret["metadata"].get("labels"))
    return ["true"] if "true" in (labels.get(API_KEYS), labels.get(JWKS)) else []


def _matters(change: Change) -> bool:
    """Whether the table may follow from it: status writes, ours above all, change nothing."""
    old, new = change.old, change.new
    if old is None or new is None:
        return True
    if new.get("kind") == kinds.POD.kind:
        return _leaving(old) != _leaving(new)
    return _substance(old) != _substance(new)


def _leaving(pod: Object) -> tuple[str, bool]:
    return pod["metadata"]["uid"], bool(pod["metadata"].get("deletionTimestamp"))


def _substance(item: Object) -> tuple[Object, Any, Any, Any, Any]:
    meta = item["metadata"]
    rest = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    return (
        rest,
        meta["uid"],
        mapping(meta.get("labels")),
        mapping(meta.get("annotations")),
        meta.get("ownerReferences"),
    )
