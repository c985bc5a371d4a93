"""Kubernetes' own kinds as they are served here: each with its strategy, its schema and its columns."""

from __future__ import annotations

from modelport.kube import resource as kinds
from modelport.kube.resource import STANDARD, Resource
from modelport.kube.schema import schema_of
from modelport.local.apiserver import pod_metrics
from modelport.local.apiserver.columns import COLUMNS
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.strategies import apps, core, definition, limits, pod, service
from modelport.local.apiserver.strategy import Strategy

GATEWAY_API = "gateway.networking.k8s.io"


def standard(network: str) -> list[Served]:
    """All of them. `network`: the first two octets of the platform's part of the loopback, as in `127.77`."""
    strategies: dict[Resource, Strategy] = {
        kinds.NAMESPACE: core.Namespace(),
        kinds.NODE: core.Node(),
        kinds.POD: pod.Pod(),
        kinds.POD_TEMPLATE: pod.PodTemplate(),
        kinds.SERVICE: service.Service(network),
        kinds.SECRET: core.Secret(),
        kinds.CONFIG_MAP: core.ConfigMap(),
        kinds.SERVICE_ACCOUNT: core.Account(),
        kinds.EVENT: core.Event(),
        kinds.PERSISTENT_VOLUME_CLAIM: core.Claim(),
        kinds.RESOURCE_QUOTA: limits.ResourceQuota(),
        kinds.LIMIT_RANGE: limits.LimitRange(),
        kinds.DEPLOYMENT: apps.Deployment(),
        kinds.REPLICA_SET: apps.ReplicaSet(),
        kinds.CONTROLLER_REVISION: core.ControllerRevision(),
        kinds.ENDPOINT_SLICE: core.EndpointSlice(),
        kinds.LEASE: core.Lease(),
        kinds.HORIZONTAL_POD_AUTOSCALER: core.Autoscaler(),
        kinds.POD_DISRUPTION_BUDGET: core.Budget(),
        kinds.CUSTOM_RESOURCE_DEFINITION: definition.Definition(),
    }
    return [
        Served(
            resource=one,
            schema=schema_of(one),
            columns=COLUMNS.get(one, ()),
            strategy=strategies.get(one, Strategy()),
            custom=one.group == GATEWAY_API,
        )
        for one in STANDARD
    ] + pod_metrics.served()
