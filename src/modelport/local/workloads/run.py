"""Runs all of Kubernetes' own controllers against one API server until cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from modelport.control.cache import Cache
from modelport.kube import resource as kinds
from modelport.kube.client import Client
from modelport.kube.resource import Resource
from modelport.local.workloads.account import Accounts, Claims
from modelport.local.workloads.claim import INDEXES
from modelport.local.workloads.deployment.loop import Deployments
from modelport.local.workloads.endpointslice import EndpointSlices
from modelport.local.workloads.garbage import Garbage
from modelport.local.workloads.replicaset.loop import ReplicaSets
from modelport.local.workloads.view import View

NOT_OWNED = (kinds.EVENT, kinds.NODE, kinds.LEASE, kinds.GATEWAY_CLASS, kinds.CUSTOM_RESOURCE_DEFINITION)
"""Kinds that own nothing and are owned by nobody."""


async def run(client: Client, declared: Iterable[Resource] = ()) -> None:
    """Every controller. `declared`: kinds beside Kubernetes' own whose objects own others."""
    pods = View(client, kinds.POD, INDEXES)
    sets = View(client, kinds.REPLICA_SET, INDEXES)
    deployments = View(client, kinds.DEPLOYMENT)
    caches: dict[Resource, Cache] = {
        kinds.POD: pods.cache,
        kinds.REPLICA_SET: sets.cache,
        kinds.DEPLOYMENT: deployments.cache,
    }
    for one in (*kinds.STANDARD, *declared):
        if one not in NOT_OWNED:
            caches.setdefault(one, Cache(client, one))
    rolling = Deployments(client, deployments, sets, pods)
    keeping = ReplicaSets(client, sets, pods)
    slices = EndpointSlices(client, caches[kinds.SERVICE], caches[kinds.ENDPOINT_SLICE], pods.cache)
    accounts = Accounts(client, caches[kinds.NAMESPACE], caches[kinds.SERVICE_ACCOUNT])
    claims = Claims(client, caches[kinds.PERSISTENT_VOLUME_CLAIM])
    garbage = Garbage(client, caches)
    async with asyncio.TaskGroup() as group:
        for cache in caches.values():
            group.create_task(cache.run())
        for cache in caches.values():
            await cache.synced.wait()
        group.create_task(rolling.run())
        group.create_task(keeping.run())
        for loop in (slices, accounts, claims, garbage):
            group.create_task(loop.work())
