"""Runs all of Kubernetes' own controllers against one API server until cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from modelport.control.cache import Cache
from modelport.kube import resource as kinds
from modelport.kube.client import Client
from modelport.kube.resource import Resource
from modelport.local.workloads.account import Accounts, Claims
from modelport.local.workloads.autoscaler.loop import Autoscalers
from modelport.local.workloads.claim import INDEXES
from modelport.local.workloads.defined import Defined
from modelport.local.workloads.deployment.loop import Deployments
from modelport.local.workloads.disruption import Budgets
from modelport.local.workloads.endpointslice import EndpointSlices, by_service
from modelport.local.workloads.garbage import Garbage
from modelport.local.workloads.moment import utc_now
from modelport.local.workloads.replicaset.loop import ReplicaSets
from modelport.local.workloads.view import View

NOT_OWNED = (kinds.EVENT, kinds.NODE, kinds.LEASE, kinds.GATEWAY_CLASS, kinds.CUSTOM_RESOURCE_DEFINITION)
"""Kinds that own nothing and are owned by nobody: the garbage collector does not watch them."""


async def run(
    client: Client, declared: Iterable[Resource] = (), now: Callable[[], datetime] = utc_now
) -> None:
    """Every controller. `declared`: kinds beside Kubernetes' own whose objects own others, or are owned."""
    declared = tuple(declared)
    views = {
        resource: View(
            client, resource, INDEXES | ({"service": by_service} if resource is kinds.ENDPOINT_SLICE else {})
        )
        for resource in (kinds.POD, kinds.REPLICA_SET, kinds.DEPLOYMENT, kinds.SERVICE, kinds.ENDPOINT_SLICE)
    }
    pods, sets, deployments = views[kinds.POD], views[kinds.REPLICA_SET], views[kinds.DEPLOYMENT]
    caches: dict[Resource, Cache] = {resource: view.cache for resource, view in views.items()}
    for one in (*kinds.STANDARD, *declared):
        if one not in NOT_OWNED and one not in caches:
            caches[one] = Cache(client, one, indexes={"owner": INDEXES["owner"]})
    definitions = Cache(client, kinds.CUSTOM_RESOURCE_DEFINITION)
    garbage = Garbage(client, caches)
    loops = (
        Deployments(client, deployments, sets, pods, now),
        ReplicaSets(client, sets, pods, caches[kinds.SERVICE_ACCOUNT], now),
        EndpointSlices(views[kinds.SERVICE], views[kinds.ENDPOINT_SLICE], pods),
        Accounts(client, caches[kinds.NAMESPACE], caches[kinds.SERVICE_ACCOUNT]),
        Claims(client, caches[kinds.PERSISTENT_VOLUME_CLAIM]),
        Autoscalers(client, caches[kinds.HORIZONTAL_POD_AUTOSCALER], deployments, sets, pods, now),
        Budgets(client, caches[kinds.POD_DISRUPTION_BUDGET], deployments, sets, pods, now),
        garbage,
        Defined(client, definitions, garbage, (*kinds.STANDARD, *declared)),
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(definitions.run())
        for cache in caches.values():
            group.create_task(cache.run())
        for cache in caches.values():
            await cache.synced.wait()
        for loop in loops:
            group.create_task(loop.run())
