"""The loop of Deployments."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from modelport.control.cache import Change, Key, key_of
from modelport.control.events import record
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of, is_controlled_by
from modelport.kube.resource import DEPLOYMENT, REPLICA_SET, Object
from modelport.kube.selector import from_object
from modelport.local.workloads.claim import candidates, carry_out, claim
from modelport.local.workloads.deployment.decide import Plan, decide
from modelport.local.workloads.deployment.sets import REVISION
from modelport.local.workloads.deployment.status import put
from modelport.local.workloads.deployment.template import find_new
from modelport.local.workloads.moment import soonest, utc_now
from modelport.local.workloads.part import namespace_of, number, part
from modelport.local.workloads.pod import is_over
from modelport.local.workloads.view import View

log = logging.getLogger(__name__)
WORKERS = 4
COMPONENT = "deployment-controller"


class Deployments:
    """Rolls each Deployment's pods from one template to the next."""

    def __init__(
        self,
        client: Client,
        deployments: View,
        replica_sets: View,
        pods: View,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._now = client, now
        self._deployments, self._replica_sets, self._pods = deployments, replica_sets, pods
        self.queue: Queue[Key] = Queue()
        deployments.cache.subscribe(lambda change: self.queue.add(key_of(change.object)))
        replica_sets.cache.subscribe(self._on_replica_set)
        pods.cache.subscribe(self._on_pod)

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _on_replica_set(self, change: Change) -> None:
        where = namespace_of(change.object)
        for replica_set in (change.old, change.new):
            owner = controller_of(replica_set) if replica_set else None
            if owner is not None and owner["kind"] == DEPLOYMENT.kind:
                self.queue.add((where, owner["name"]))
        if change.new is not None and controller_of(change.new) is None:
            labels = change.new["metadata"].get("labels")
            for deployment in self._deployments.all(where):
                if from_object(deployment["spec"].get("selector")).matches(labels):
                    self.queue.add(key_of(deployment))

    def _on_pod(self, change: Change) -> None:
        """Recreate waits until the last old pod has ended; all else is seen from the ReplicaSets."""
        if change.new is not None and not is_over(change.new):
            return
        owner = controller_of(change.object)
        if owner is None or owner["kind"] != REPLICA_SET.kind:
            return
        where = namespace_of(change.object)
        replica_set = self._replica_sets.get(where, owner["name"])
        manager = controller_of(replica_set) if replica_set else None
        if manager is not None:
            self.queue.add((where, manager["name"]))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one Deployment."""
        for view in (self._deployments, self._replica_sets, self._pods):
            await view.settle()
        deployment = self._deployments.get(*key)
        if deployment is None:
            return None
        selector = from_object(deployment["spec"].get("selector"))
        if selector.everything:
            log.warning("Deployment %s/%s: spec.selector selects everything; it is left alone", *key)
            return None
        found = claim(deployment, selector, candidates(self._replica_sets, deployment))
        mine = await carry_out(self._client, DEPLOYMENT, deployment, found, self._replica_sets)
        pods = {
            item["metadata"]["uid"]: self._pods.by("controller", item["metadata"]["uid"]) for item in mine
        }
        plan = decide(deployment, mine, pods, self._now())
        if plan.create is not None:
            try:
                await self._replica_sets.create(plan.create)
            except ApiError as error:
                return await self._not_created(deployment, plan, error)
        for replica_set in plan.write:
            await self._replica_sets.replace(replica_set)
        for replica_set in plan.delete:
            await self._replica_sets.delete(replica_set)
        if plan.revision is not None:
            deployment = await self._deployments.patch(deployment, {"annotations": {REVISION: plan.revision}})
        await self._tell(deployment, plan.status)
        await self._record(deployment, mine, plan)
        return soonest(plan.again_s, self._replica_sets.check_in_s)

    async def _record(self, deployment: Object, before: list[Object], plan: Plan) -> None:
        """Events, as `kubectl describe deployment` shows them."""
        known = {item["metadata"]["uid"]: number(item["spec"].get("replicas"), 1) for item in before}
        for item in [*([plan.create] if plan.create else []), *plan.write]:
            meta, now_wanted = item["metadata"], number(item["spec"].get("replicas"), 1)
            was_wanted = known.get(meta.get("uid", ""), 0)
            if was_wanted == now_wanted:
                continue
            way = "up" if now_wanted > was_wanted else "down"
            message = f"Scaled {way} replica set {meta['name']} from {was_wanted} to {now_wanted}"
            await record(
                self._client, deployment, "Normal", "ScalingReplicaSet", message, self._now(), COMPONENT
            )

    async def _not_created(self, deployment: Object, plan: Plan, error: ApiError) -> float:
        """The name is taken, by ourselves or by a stranger; or the API server refuses."""
        created = plan.create or {}
        meta = created["metadata"]
        if error.reason == "AlreadyExists":
            taken = await self._client.find(REPLICA_SET, meta["namespace"], meta["name"])
            if taken is not None and is_controlled_by(taken, deployment) and find_new(deployment, [taken]):
                return 0.0  # the cache was behind; the view asks before the next decision
            old = part(deployment, "status")
            await self._tell(deployment, old | {"collisionCount": number(old.get("collisionCount")) + 1})
            return 0.0
        conditions = put(
            plan.status["conditions"],
            "Progressing",
            "False",
            "ReplicaSetCreateError",
            f'Failed to create new replica set "{meta["name"]}": {error.message}',
            self._now(),
        )
        await self._tell(deployment, plan.status | {"conditions": conditions})
        raise error

    async def _tell(self, deployment: Object, status: Object) -> None:
        if status == part(deployment, "status"):
            return
        try:
            await self._deployments.replace(deployment | {"status": status}, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
