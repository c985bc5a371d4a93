"""`metrics.k8s.io`: what pods and the node use now, for `kubectl top` and the HorizontalPodAutoscaler. Stored nowhere."""

from __future__ import annotations

import math

from starlette.responses import Response

from modelport.kube.errors import ApiError, not_found
from modelport.kube.meta import timestamp
from modelport.kube.resource import NODE, POD, Object, Resource
from modelport.local.apiserver.answer import plain
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.select import selection
from modelport.local.apiserver.usage import ContainerUsage

GROUP = "metrics.k8s.io"
POD_METRICS = Resource(group=GROUP, version="v1beta1", kind="PodMetrics", plural="pods")
NODE_METRICS = Resource(group=GROUP, version="v1beta1", kind="NodeMetrics", plural="nodes", namespaced=False)


def served() -> list[Served]:
    """Both resources."""
    words = "It is measured, not written"
    return [
        Served(resource=one, custom=True, verbs=("get", "list"), read_only=words)
        for one in (POD_METRICS, NODE_METRICS)
    ]


async def answer(call: Call) -> Response:
    """One, or those that are selected. ApiError 404, 405."""
    resource = call.served.resource
    if call.verb not in ("get", "list"):
        raise ApiError(405, "MethodNotAllowed", f"{resource.qualified}: it is measured, not written")
    found = await (_nodes(call.api) if resource == NODE_METRICS else _pods(call))
    if call.verb == "get":
        one = next((item for item in found if item["metadata"]["name"] == call.name), None)
        if one is None:
            raise not_found(resource, call.name)
        return plain(_named(one, resource), call.form)
    wanted = selection(call)
    items = [_named(item, resource) for item in found if wanted.matches(item)]
    body: Object = {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": {},
        "items": items,
    }
    return plain(body, call.form)


def _named(item: Object, resource: Resource) -> Object:
    return {"kind": resource.kind, "apiVersion": resource.api_version} | item


async def _pods(call: Call) -> list[Object]:
    api, namespace = call.api, call.namespace or None
    pods = [decode(row) for row in api.store.rows(POD.qualified, namespace)]
    if call.name:
        pods = [pod for pod in pods if pod["metadata"]["name"] == call.name]
    usages = await _measure(api, pods)
    return [_pod(api, pod, usage) for pod, usage in zip(pods, usages, strict=True) if usage]


async def _measure(api: Api, pods: list[Object]) -> list[dict[str, ContainerUsage]]:
    if api.measure is None:
        raise ApiError(503, "ServiceUnavailable", "no node is beside this API server that could measure")
    return await api.measure(pods)


def _pod(api: Api, pod: Object, usage: dict[str, ContainerUsage]) -> Object:
    meta = pod["metadata"]
    kept = {name: meta[name] for name in ("name", "namespace", "labels", "creationTimestamp") if name in meta}
    return {
        "metadata": kept,
        "timestamp": timestamp(api.clock()),
        "window": f"{max(one.window_s for one in usage.values()):.3f}s",
        "containers": [
            {"name": name, "usage": quantities(one.cores, one.memory_bytes)} for name, one in usage.items()
        ],
    }


async def _nodes(api: Api) -> list[Object]:
    """The one node: what its pods use, as all else on the machine is not the platform's."""
    usages = await _measure(api, [decode(row) for row in api.store.rows(POD.qualified)])
    used = [one for usage in usages for one in usage.values()]
    total = quantities(sum(one.cores for one in used), sum(one.memory_bytes for one in used))
    return [
        {
            "metadata": {"name": row.name, "labels": decode(row)["metadata"].get("labels") or {}},
            "timestamp": timestamp(api.clock()),
            "window": "30s",
            "usage": total,
        }
        for row in api.store.rows(NODE.qualified)
    ]


def quantities(cores: float, memory_bytes: int) -> Object:
    """As the metrics server writes them."""
    return {"cpu": f"{math.ceil(cores * 1e9)}n", "memory": f"{memory_bytes // 1024}Ki"}
