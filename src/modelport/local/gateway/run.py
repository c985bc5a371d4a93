"""The loop that keeps the route table on disk, has the gateway take it over, and tells what became of it.

Level-triggered: a change anywhere wakes it, it looks at everything, and writes only what differs. With the gateway
dead the table is written all the same, and terminating pods are let go after a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from modelport.control.cache import Cache, Change
from modelport.kube import resource as kinds
from modelport.kube.client import Client, Unreachable
from modelport.kube.condition import set_condition
from modelport.kube.errors import ApiError
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object, Resource
from modelport.local.folder import Folder, write
from modelport.local.gateway import admin
from modelport.local.gateway.auth import ANONYMOUS, API_KEYS, JWKS
from modelport.local.gateway.spec import CONTROLLER, Verdict
from modelport.local.gateway.translate import ParentVerdicts, Seen, Translation, translate
from modelport.wire import table as wire
from modelport.wire.table import Table

log = logging.getLogger(__name__)
UNROUTED = "internal.modelport.io/unrouted"
DEBOUNCE_S = 0.005
ACK_S = 3.0
DEAD_ACK_S = 0.2
"""A gateway that did not answer the last time is not waited for long."""
AGAIN_S = 1.0


class Translator:
    """Everything that the loop knows."""

    def __init__(
        self,
        client: Client,
        folder: Folder,
        address: str,
        *,
        require_keys: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._folder, self._address = client, folder, address
        self._require_keys, self._now = require_keys, now
        self._dirty = asyncio.Event()
        self._caches: dict[str, Cache] = {
            "classes": Cache(client, kinds.GATEWAY_CLASS),
            "gateways": Cache(client, kinds.GATEWAY),
            "routes": Cache(client, kinds.HTTP_ROUTE),
            "services": Cache(client, kinds.SERVICE),
            "slices": Cache(client, kinds.ENDPOINT_SLICE),
            "namespaces": Cache(client, kinds.NAMESPACE),
            "pods": Cache(client, kinds.POD),
            "keys": Cache(client, kinds.SECRET, labels=f"{API_KEYS}=true"),
            "secret issuers": Cache(client, kinds.SECRET, labels=f"{JWKS}=true"),
            "issuers": Cache(client, kinds.CONFIG_MAP, labels=f"{JWKS}=true"),
            "anonymous": Cache(client, kinds.CONFIG_MAP, labels=f"{ANONYMOUS}=true"),
        }
        for cache in self._caches.values():
            cache.subscribe(self._changed)
        self._table = self._on_disk()
        self._answers = True
        self._acknowledged = -1

    def _on_disk(self) -> Table:
        try:
            return wire.decode(self._folder.table.read_bytes())
        except (OSError, msgspec.DecodeError):
            return Table(version=0)

    def _changed(self, change: Change) -> None:
        del change
        self._dirty.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for cache in self._caches.values():
                group.create_task(cache.run())
            for cache in self._caches.values():
                await cache.synced.wait()
            self._dirty.set()
            while True:
                await self._dirty.wait()
                await asyncio.sleep(DEBOUNCE_S)
                self._dirty.clear()
                try:
                    again = await self._look()
                except (ApiError, Unreachable, OSError) as error:
                    log.warning("the gateway's table: %s", error)
                    again = True
                if again:
                    asyncio.get_running_loop().call_later(AGAIN_S, self._dirty.set)

    def _all(self, name: str) -> list[Object]:
        return list(self._caches[name].all())

    async def _look(self) -> bool:
        """Looks at everything once; True where it should look again soon."""
        pods = self._all("pods")
        living = {pod["metadata"]["uid"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}
        secrets = {key: item for name in ("keys", "secret issuers") for key, item in _by_key(self._all(name))}
        config_maps = {
            key: item for name in ("issuers", "anonymous") for key, item in _by_key(self._all(name))
        }
        found = translate(
            Seen(
                classes=self._all("classes"),
                gateways=self._all("gateways"),
                routes=self._all("routes"),
                services=self._all("services"),
                slices=self._all("slices"),
                namespaces=self._all("namespaces"),
                secrets=list(secrets.values()),
                config_maps=list(config_maps.values()),
                living=living,
                require_keys=self._require_keys,
            )
        )
        for problem in found.problems:
            log.warning("%s", problem)
        self._write(found.table)
        in_force = await self._hand_over()
        await self._release(pods, in_force=in_force)
        await self._tell(found)
        return not in_force

    def _write(self, table: Table) -> None:
        if (
            self._folder.table.exists()
            and msgspec.structs.replace(table, version=self._table.version) == self._table
        ):
            return
        self._table = msgspec.structs.replace(table, version=self._table.version + 1)
        write(self._folder.table, wire.encode(self._table))

    async def _hand_over(self) -> bool:
        """Has the gateway take the table over; False where it does not answer."""
        if self._acknowledged >= self._table.version and self._answers:
            return True
        socket = self._folder.admin_socket
        try:
            refused = await admin.reload(socket)
            if refused is not None:
                log.error("the gateway refuses table version %d: %s", self._table.version, refused)
                return False
            limit_s = ACK_S if self._answers else DEAD_ACK_S
            self._answers = await admin.acknowledged(socket, self._table.version, limit_s)
        except admin.NoGateway as error:
            if self._answers:
                log.warning("the gateway does not answer: %s", error)
            self._answers = False
        if self._answers:
            self._acknowledged = self._table.version
        return self._answers

    async def _release(self, pods: list[Object], *, in_force: bool) -> None:
        """Tells the node which terminating pods get no requests any more."""
        ends = {end for cluster in self._table.clusters.values() for end in cluster.endpoints}
        for pod in pods:
            meta = pod["metadata"]
            if not meta.get("deletionTimestamp") or mapping(meta.get("annotations")).get(UNROUTED):
                continue
            ip = pod.get("status", {}).get("podIP", "")
            # With the gateway dead nobody is asked, and the node's own limit holds.
            if not in_force or any(end.rpartition(":")[0] == ip for end in ends):
                continue
            patch = {"metadata": {"uid": meta["uid"], "annotations": {UNROUTED: "true"}}}
            try:
                await self._client.patch(kinds.POD, meta["namespace"], meta["name"], patch)
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    async def _tell(self, found: Translation) -> None:
        for (namespace, name), said in found.routes.items():
            item = self._caches["routes"].get(namespace, name)
            if item is not None:
                await self._status(kinds.HTTP_ROUTE, item, self._route_status(item, said))
        for name, item in found.gateways.classes.items():
            words = Verdict(
                "Accepted", good=True, reason="Accepted", message="The platform's gateway carries it out."
            )
            del name
            await self._status(
                kinds.GATEWAY_CLASS, item, {"conditions": self._conditions(item, _before(item), [words])}
            )
        for (namespace, name), spec in found.gateways.specs.items():
            item = self._caches["gateways"].get(namespace, name)
            if item is None:
                continue
            broken = found.gateways.broken.get((namespace, name))
            attached = found.gateways.attached.get((namespace, name), {})
            await self._status(kinds.GATEWAY, item, self._gateway_status(item, spec, broken, attached))

    def _route_status(self, item: Object, said: list[ParentVerdicts]) -> Object:
        before: list[Object] = objects(item.get("status", {}).get("parents"))
        others = [one for one in before if one.get("controllerName") != CONTROLLER]
        mine = {
            msgspec.json.encode(one["parentRef"], order="deterministic"): one
            for one in before
            if one.get("controllerName") == CONTROLLER
        }
        parents: list[Object] = []
        for one in said:
            known = mine.get(msgspec.json.encode(one.parent, order="deterministic"), {})
            parents.append(
                {
                    "parentRef": one.parent,
                    "controllerName": CONTROLLER,
                    "conditions": self._conditions(item, known.get("conditions"), one.verdicts),
                }
            )
        return {"parents": [*others, *parents]}

    def _gateway_status(
        self, item: Object, spec: Any, broken: str | None, attached: dict[str, set[str]]
    ) -> Object:
        good = broken is None
        words = broken or "The platform's gateway serves it."
        verdicts = [
            Verdict("Accepted", good=good, reason="Accepted" if good else "Invalid", message=words),
            Verdict("Programmed", good=good, reason="Programmed" if good else "Invalid", message=words),
        ]
        status: Object = item.get("status", {})
        listeners: list[Object] = []
        known = {one["name"]: one for one in objects(status.get("listeners"))}
        for listener in spec.listeners:
            before = known.get(listener.name, {}).get("conditions")
            listeners.append(
                {
                    "name": listener.name,
                    "attachedRoutes": len(attached.get(listener.name, ())),
                    "supportedKinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
                    "conditions": self._conditions(
                        item,
                        before,
                        [
                            *verdicts,
                            Verdict(
                                "ResolvedRefs",
                                good=True,
                                reason="ResolvedRefs",
                                message="Nothing is referred to.",
                            ),
                        ],
                    ),
                }
            )
        return {
            "addresses": [{"type": "IPAddress", "value": self._address}],
            "conditions": self._conditions(item, _before(item), verdicts),
            "listeners": listeners,
        }

    def _conditions(self, item: Object, before: list[Object] | None, verdicts: list[Verdict]) -> list[Object]:
        conditions = [one for one in before or [] if one["type"] in {v.type for v in verdicts}]
        for one in verdicts:
            conditions = set_condition(
                conditions,
                one.type,
                "True" if one.good else "False",
                one.reason,
                one.message,
                self._now(),
                item["metadata"].get("generation"),
            )
        return conditions

    async def _status(self, kind: Resource, item: Object, status: Object) -> None:
        if item.get("status") == status:
            return
        try:
            await self._client.replace(kind, item | {"status": status}, subresource="status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            self._dirty.set()


def _before(item: Object) -> list[Object] | None:
    return item.get("status", {}).get("conditions")


def _by_key(items: list[Object]) -> list[tuple[tuple[str, str], Object]]:
    return [((item["metadata"]["namespace"], item["metadata"]["name"]), item) for item in items]


async def run(client: Client, folder: Folder, address: str, *, require_keys: bool = False) -> None:
    """Keeps the table true until cancelled. `address`: where the gateway listens, for the Gateways' status."""
    await Translator(client, folder, address, require_keys=require_keys).run()
