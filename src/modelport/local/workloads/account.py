"""What every namespace has: a ServiceAccount `default`. And claims, which one machine can always bind."""

from __future__ import annotations

from modelport.control.cache import Cache, Key, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.resource import PERSISTENT_VOLUME_CLAIM, SERVICE_ACCOUNT, Object
from modelport.local.workloads.part import part


class Accounts:
    """Makes ServiceAccounts."""

    def __init__(self, client: Client, namespaces: Cache, accounts: Cache) -> None:
        self._client, self._namespaces, self._accounts = client, namespaces, accounts
        self.queue: Queue[str] = Queue()
        namespaces.subscribe(lambda change: self.queue.add(change.object["metadata"]["name"]))
        accounts.subscribe(lambda change: self.queue.add(change.object["metadata"]["namespace"]))

    async def run(self) -> None:
        """Works until cancelled."""
        await self.queue.work(self.reconcile)

    async def reconcile(self, namespace: str) -> float | None:
        """Looks at one namespace."""
        found = self._namespaces.get(None, namespace)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None
        if self._accounts.get(namespace, "default") is not None:
            return None
        item: Object = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": namespace},
        }
        try:
            await self._client.create(SERVICE_ACCOUNT, item)
        except ApiError as error:
            if error.code not in (403, 404, 409):
                raise
        return None


class Claims:
    """Binds claims: each is a folder, made by the node when a pod first mounts it."""

    def __init__(self, client: Client, claims: Cache) -> None:
        self._client, self._claims = client, claims
        self.queue: Queue[Key] = Queue()
        claims.subscribe(lambda change: self.queue.add(key_of(change.object)))

    async def run(self) -> None:
        """Works until cancelled."""
        await self.queue.work(self.reconcile)

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one claim."""
        claim = self._claims.get(*key)
        if claim is None or part(claim, "status").get("phase") == "Bound":
            return None
        spec = part(claim, "spec")
        status: Object = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": part(claim, "spec", "resources").get("requests") or {},
        }
        try:
            await self._client.replace(
                PERSISTENT_VOLUME_CLAIM, claim | {"status": status}, subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None
