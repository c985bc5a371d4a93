"""The loop of HorizontalPodAutoscalers: looks at each now and then, and at nothing where there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.control.events import record
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.part import mapping, objects
from modelport.kube.quantity import Quantity
from modelport.kube.resource import DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER, REPLICA_SET, Object, Resource
from modelport.kube.selector import from_object
from modelport.local.workloads.autoscaler.behavior import Memory
from modelport.local.workloads.autoscaler.decide import decide, unable
from modelport.local.workloads.autoscaler.metric import Usage
from modelport.local.workloads.moment import utc_now
from modelport.local.workloads.part import labels_of, part
from modelport.local.workloads.view import View

log = logging.getLogger(__name__)
EVERY_S = 15.0
COMPONENT = "horizontal-pod-autoscaler"
POD_METRICS = Resource(group="metrics.k8s.io", version="v1beta1", kind="PodMetrics", plural="pods")


class Autoscalers:
    """Keeps their targets at as many replicas as the metrics ask for."""

    def __init__(
        self,
        client: Client,
        scalers: Cache,
        deployments: View,
        sets: View,
        pods: View,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._scalers, self._pods, self._now = client, scalers, pods, now
        self._targets = {DEPLOYMENT.kind: deployments, REPLICA_SET.kind: sets}
        self._memories: dict[str, Memory] = {}
        self.queue: Queue[Key] = Queue()
        scalers.subscribe(self._changed)

    async def run(self) -> None:
        """Works until cancelled."""
        await self.queue.work(self.reconcile)

    def _changed(self, change: Change) -> None:
        if change.new is None:
            self._memories.pop(change.object["metadata"]["uid"], None)
        elif change.old is None or change.old.get("spec") != change.new.get("spec"):
            self.queue.add(key_of(change.new))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one; again in a while."""
        scaler = self._scalers.get(*key)
        if scaler is None or scaler["metadata"].get("deletionTimestamp"):
            return None
        reference = part(scaler, "spec", "scaleTargetRef")
        view = self._targets.get(str(reference.get("kind")))
        target = None if view is None else view.get(key[0], str(reference.get("name")))
        if view is None or target is None:
            words = (
                f"spec.scaleTargetRef: {reference.get('kind')} {reference.get('name')} is not there"
                if view is not None
                else f"spec.scaleTargetRef: {reference.get('kind')} cannot be scaled here; Deployment and ReplicaSet can"
            )
            await self._tell(scaler, unable(scaler, "FailedGetScale", words, self._now()))
            return EVERY_S
        selector = from_object(target["spec"].get("selector"))
        pods = [pod for pod in self._pods.all(key[0]) if selector.matches(labels_of(pod))]
        usage = await self._measured(key[0], str(selector))
        replicas = int(target["spec"].get("replicas", 1))
        uid = scaler["metadata"]["uid"]
        memory = self._memories.get(uid, Memory())
        plan = decide(scaler, replicas, pods, usage, memory, self._now())
        if plan.replicas is not None:
            await self._scale(view.resource, target, plan.replicas)
            await record(
                self._client, scaler, "Normal", "SuccessfulRescale", plan.message, self._now(), COMPONENT
            )
        self._memories[uid] = plan.memory
        await self._tell(scaler, plan.status)
        return EVERY_S

    async def _scale(self, resource: Resource, target: Object, replicas: int) -> None:
        meta = target["metadata"]
        patch: Object = {"spec": {"replicas": replicas}}
        await self._client.patch(
            resource, meta["namespace"], meta["name"], patch, subresource="scale", field_manager=COMPONENT
        )

    async def _measured(self, namespace: str, selector: str) -> Usage:
        try:
            listing = await self._client.request(
                "GET", POD_METRICS.path(namespace), params={"labelSelector": selector}
            )
        except ApiError as error:
            log.warning("metrics of %s: %s", namespace, error)
            return {}
        found: dict[str, dict[str, dict[str, float]]] = {}
        for item in objects(listing.get("items")):
            found[item["metadata"]["name"]] = {
                one["name"]: {
                    name: float(Quantity.parse(amount).amount)
                    for name, amount in mapping(one.get("usage")).items()
                }
                for one in objects(item.get("containers"))
            }
        return found

    async def _tell(self, scaler: Object, status: Object) -> None:
        if status == part(scaler, "status"):
            return
        try:
            await self._client.replace(
                HORIZONTAL_POD_AUTOSCALER, scaler | {"status": status}, subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
