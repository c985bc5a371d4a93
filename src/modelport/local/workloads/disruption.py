"""PodDisruptionBudgets: how many of the pods that they select may go by eviction now. The decision is pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.condition import set_condition
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of
from modelport.kube.resource import POD_DISRUPTION_BUDGET, REPLICA_SET, Object
from modelport.kube.selector import from_object
from modelport.local.workloads.moment import utc_now
from modelport.local.workloads.part import conditions_of, labels_of, namespace_of, number, part
from modelport.local.workloads.pod import is_active, is_ready
from modelport.local.workloads.view import View


def decide(budget: Object, pods: Iterable[Object], expected: int, now: datetime) -> Object:
    """The budget's status: from the pods that it selects, and how many of them there are to be."""
    healthy = sum(1 for pod in pods if is_active(pod) and is_ready(pod))
    spec = part(budget, "spec")
    if spec.get("maxUnavailable") is not None:
        wanted = max(0, expected - _of(spec["maxUnavailable"], expected))
    else:
        wanted = _of(spec.get("minAvailable", 1), expected)
    allowed = max(0, healthy - wanted) if expected > 0 else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    conditions = set_condition(
        conditions_of(budget), "DisruptionAllowed", "True" if allowed else "False", reason, "", now
    )
    return {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": expected,
        "conditions": conditions,
    }


def _of(amount: Any, expected: int) -> int:
    """A number, or a percentage of the expected pods, rounded up."""
    text = str(amount)
    return math.ceil(int(text.removesuffix("%")) * expected / 100) if text.endswith("%") else int(text)


class Budgets:
    """Keeps their status true."""

    def __init__(
        self,
        client: Client,
        budgets: Cache,
        deployments: View,
        sets: View,
        pods: View,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client, self._budgets, self._now = client, budgets, now
        self._deployments, self._sets, self._pods = deployments, sets, pods
        self.queue: Queue[Key] = Queue()
        budgets.subscribe(lambda change: self.queue.add(key_of(change.object)))
        for view in (deployments, sets, pods):
            view.cache.subscribe(self._on_below)

    async def run(self) -> None:
        """Works until cancelled."""
        await self.queue.work(self.reconcile)

    def _on_below(self, change: Change) -> None:
        # Few budgets: those of the namespace all look.
        for budget in self._budgets.all(namespace_of(change.object)):
            self.queue.add(key_of(budget))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one."""
        budget = self._budgets.get(*key)
        if budget is None or budget["metadata"].get("deletionTimestamp"):
            return None
        selector = from_object(part(budget, "spec").get("selector"))
        pods = [pod for pod in self._pods.all(key[0]) if selector.matches(labels_of(pod))]
        status = decide(budget, pods, self._expected(key[0], pods), self._now())
        if status == part(budget, "status"):
            return None
        try:
            await self._client.replace(
                POD_DISRUPTION_BUDGET, budget | {"status": status}, subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    def _expected(self, namespace: str, pods: Iterable[Object]) -> int:
        """The replicas of the pods' controllers, each once; a pod without one counts for itself."""
        wanted: dict[str, int] = {}
        for pod in pods:
            uid, count = pod["metadata"]["uid"], 1
            owner = controller_of(pod)
            item = (
                self._sets.get(namespace, owner["name"])
                if owner is not None and owner["kind"] == REPLICA_SET.kind
                else None
            )
            if item is not None:
                above = controller_of(item)
                deployment = self._deployments.get(namespace, above["name"]) if above is not None else None
                holder = deployment or item
                uid, count = holder["metadata"]["uid"], number(holder["spec"].get("replicas"), 1)
            wanted[uid] = count
        return sum(wanted.values())
