"""Which terminating pods the gateway has let go of: the node waits for the word before it stops their processes."""

from __future__ import annotations

import asyncio
import logging

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.part import mapping
from modelport.kube.resource import POD, Object
from modelport.local.gateway.force import Force

log = logging.getLogger(__name__)
UNROUTED = "internal.modelport.io/unrouted"
LIMIT_S = 5.0
"""A pod waits no longer than this, should the gateway be dead. (The node waits at most 10 s for us.)"""
WORKERS = 4


def is_waiting(pod: Object) -> bool:
    """Whether it is about to end and has not been told yet that no requests come any more."""
    meta = pod["metadata"]
    return bool(meta.get("deletionTimestamp")) and mapping(meta.get("annotations")).get(UNROUTED) != "true"


class Release:
    """Tells pods."""

    def __init__(self, client: Client, pods: Cache, force: Force) -> None:
        self._client, self._pods, self._force = client, pods, force
        self._since: dict[str, float] = {}
        self._out: set[str] = set()
        """Uids of pods that a translation has left out of the table."""
        self.queue: Queue[Key] = Queue()
        pods.subscribe(self._on_pod)

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _on_pod(self, change: Change) -> None:
        if change.new is None:
            uid = change.object["metadata"]["uid"]
            self._since.pop(uid, None)
            self._out.discard(uid)
        elif is_waiting(change.new):
            self._since.setdefault(change.new["metadata"]["uid"], asyncio.get_running_loop().time())

    def written(self, living: frozenset[str]) -> None:
        """A table has been made of what is there without all pods but the living: the others may be let go."""
        for pod in self._waiting():
            if pod["metadata"]["uid"] not in living:
                self._out.add(pod["metadata"]["uid"])
                self.queue.add(key_of(pod))

    def in_force(self) -> None:
        """Another version has come into force."""
        for pod in self._waiting():
            self.queue.add(key_of(pod))

    def _waiting(self) -> list[Object]:
        return [pod for uid in list(self._since) if (pod := self._find(uid)) is not None]

    def _find(self, uid: str) -> Object | None:
        found = self._pods.by("uid", uid)
        return found[0] if found and is_waiting(found[0]) else None

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one pod."""
        pod = self._pods.get(*key)
        if pod is None or not is_waiting(pod):
            return None
        meta = pod["metadata"]
        now = asyncio.get_running_loop().time()
        left_s = self._since.setdefault(meta["uid"], now) + LIMIT_S - now
        address = str(mapping(pod.get("status")).get("podIP") or "")
        is_out = meta["uid"] in self._out and not (address and self._force.may_route_to(address))
        if not is_out and left_s > 0:
            return left_s
        if not is_out:
            log.warning(
                "pod %s/%s: the gateway has not let go of it in %.0f s; it stops all the same", *key, LIMIT_S
            )
        body = {"metadata": {"uid": meta["uid"], "annotations": {UNROUTED: "true"}}}
        try:
            await self._client.patch(POD, key[0], key[1], body)
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another one of its name
                raise
        return None
