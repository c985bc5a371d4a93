"""Kubernetes' own kinds as they are served here: strategies, schemas, and the columns that kubectl prints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from modelport.kube import resource as kinds
from modelport.kube.resource import STANDARD, Object, Resource
from modelport.kube.schema import schema_of
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.strategies import apps, core
from modelport.local.apiserver.strategy import Strategy
from modelport.local.apiserver.table import AGE, Column, age

Cell = Callable[[Object, datetime], Any]


def standard(network: str, taken: Callable[[], set[str]]) -> list[Served]:
    """All of them. `network` and `taken`: see `strategies.core.Service`."""
    strategies: dict[Resource, Strategy] = {
        kinds.POD: core.Pod(),
        kinds.SERVICE: core.Service(network, taken),
        kinds.NAMESPACE: core.Namespace(),
        kinds.SECRET: core.Secret(),
        kinds.CONFIG_MAP: core.ConfigMap(),
        kinds.EVENT: core.Event(),
        kinds.LEASE: core.Lease(),
        kinds.NODE: core.Plain(),
        kinds.SERVICE_ACCOUNT: core.Plain(),
        kinds.CONTROLLER_REVISION: core.Plain(),
        kinds.PERSISTENT_VOLUME_CLAIM: core.Claim(),
        kinds.ENDPOINT_SLICE: Strategy(),
        kinds.DEPLOYMENT: apps.Deployment(),
        kinds.REPLICA_SET: apps.ReplicaSet(),
    }
    return [
        Served(
            resource=one,
            schema=schema_of(one),
            columns=COLUMNS.get(one, (AGE,)),
            strategy=strategies.get(one, Strategy()),
            custom=one.group == "gateway.networking.k8s.io",
        )
        for one in STANDARD
        if one is not kinds.CUSTOM_RESOURCE_DEFINITION
    ]


def _column(name: str, cell: Cell | str, *, wide: bool = False, type: str = "string") -> Column:  # noqa: A002
    return Column(name=name, cell=cell, priority=1 if wide else 0, type=type)


def _pod_ready(obj: Object, now: datetime) -> str:
    del now
    statuses = obj.get("status", {}).get("containerStatuses") or []
    ready = sum(1 for one in statuses if one.get("ready"))
    return f"{ready}/{len(obj['spec'].get('containers', []))}"


def _pod_status(obj: Object, now: datetime) -> str:
    """As kubectl words it: the worst that is known of its containers."""
    del now
    status = obj.get("status", {})
    reason = status.get("reason") or status.get("phase") or "Unknown"
    for position, one in enumerate(status.get("initContainerStatuses") or []):
        state = one.get("state", {})
        ended, waits = state.get("terminated"), state.get("waiting")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if ended is not None:
            return f"Init:{ended.get('reason') or 'Error'}"
        if waits and waits.get("reason") not in (None, "PodInitializing"):
            return f"Init:{waits['reason']}"
        return f"Init:{position}/{len(status['initContainerStatuses'])}"
    for one in reversed(status.get("containerStatuses") or []):
        state = one.get("state", {})
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated"):
            reason = state["terminated"].get("reason") or f"ExitCode:{state['terminated'].get('exitCode')}"
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(reason)


def _restarts(obj: Object, now: datetime) -> Any:
    statuses = obj.get("status", {}).get("containerStatuses") or []
    count = sum(one.get("restartCount", 0) for one in statuses)
    times = [(one.get("lastState", {}).get("terminated") or {}).get("finishedAt") for one in statuses]
    last = max((time for time in times if time), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else count


def _ports(obj: Object, now: datetime) -> str:
    del now
    ports = obj["spec"].get("ports") or []
    return ",".join(f"{one['port']}/{one.get('protocol', 'TCP')}" for one in ports) or "<none>"


def _joined(path: str, *below: str) -> Cell:
    def cell(obj: Object, now: datetime) -> str:
        del now
        value: Any = obj
        for step in path.split("."):
            value = cast("Object", value or {}).get(step)
        if isinstance(value, dict):
            return ",".join(f"{k}={v}" for k, v in cast("Object", value).items()) or "<none>"
        found = cast("list[Any]", value or [])
        texts = [str(item.get(below[0], "")) if below else str(item) for item in found]
        return ",".join(texts) or "<none>"

    return cell


def _or(path: str, otherwise: Any) -> Cell:
    def cell(obj: Object, now: datetime) -> Any:
        del now
        value: Any = obj
        for step in path.split("."):
            value = cast("Object", value or {}).get(step)
        return otherwise if value is None else value

    return cell


def _count(name: str) -> Cell:
    return lambda obj, now: len(obj.get(name) or {})


def _endpoints(obj: Object, now: datetime) -> str:
    del now
    found = [address for one in obj.get("endpoints") or [] for address in one.get("addresses") or []]
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "") or "<unset>"


def _truth(kind: str) -> Cell:
    def cell(obj: Object, now: datetime) -> str:
        del now
        for one in obj.get("status", {}).get("conditions") or []:
            if one["type"] == kind:
                return str(one["status"])
        return "Unknown"

    return cell


def _node_status(obj: Object, now: datetime) -> str:
    return {"True": "Ready", "False": "NotReady"}.get(_truth("Ready")(obj, now), "Unknown")


def _seen(obj: Object, now: datetime) -> str:
    return age(
        obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp"), now
    )


def _about(obj: Object, now: datetime) -> str:
    del now
    about = obj.get("involvedObject", {})
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


_CONTAINERS = _joined("spec.template.spec.containers", "name")
_IMAGES = _joined("spec.template.spec.containers", "image")
_SELECTOR = _joined("spec.selector.matchLabels")
COLUMNS: dict[Resource, tuple[Column, ...]] = {
    kinds.POD: (
        _column("Ready", _pod_ready),
        _column("Status", _pod_status),
        _column("Restarts", _restarts),
        AGE,
        _column("IP", _or("status.podIP", "<none>"), wide=True),
        _column("Node", _or("spec.nodeName", "<none>"), wide=True),
    ),
    kinds.DEPLOYMENT: (
        _column(
            "Ready",
            lambda o, n: f"{o.get('status', {}).get('readyReplicas', 0)}/{o['spec'].get('replicas', 1)}",
        ),
        _column("Up-to-date", _or("status.updatedReplicas", 0), type="integer"),
        _column("Available", _or("status.availableReplicas", 0), type="integer"),
        AGE,
        _column("Containers", _CONTAINERS, wide=True),
        _column("Images", _IMAGES, wide=True),
        _column("Selector", _SELECTOR, wide=True),
    ),
    kinds.REPLICA_SET: (
        _column("Desired", _or("spec.replicas", 1), type="integer"),
        _column("Current", _or("status.replicas", 0), type="integer"),
        _column("Ready", _or("status.readyReplicas", 0), type="integer"),
        AGE,
        _column("Containers", _CONTAINERS, wide=True),
        _column("Images", _IMAGES, wide=True),
        _column("Selector", _SELECTOR, wide=True),
    ),
    kinds.SERVICE: (
        _column("Type", _or("spec.type", "ClusterIP")),
        _column("Cluster-IP", _or("spec.clusterIP", "<none>")),
        _column("External-IP", lambda o, n: "<none>"),
        _column("Port(s)", _ports),
        AGE,
        _column("Selector", _joined("spec.selector"), wide=True),
    ),
    kinds.NAMESPACE: (_column("Status", _or("status.phase", "Active")), AGE),
    kinds.NODE: (
        _column("Status", _node_status),
        _column("Roles", lambda o, n: "<none>"),
        AGE,
        _column("Version", _or("status.nodeInfo.kubeletVersion", "")),
        _column("Internal-IP", lambda o, n: "127.0.0.1", wide=True),
    ),
    kinds.SECRET: (_column("Type", ".type"), _column("Data", _count("data"), type="integer"), AGE),
    kinds.CONFIG_MAP: (_column("Data", _count("data"), type="integer"), AGE),
    kinds.SERVICE_ACCOUNT: (_column("Secrets", _count("secrets"), type="integer"), AGE),
    kinds.EVENT: (
        _column("Last Seen", _seen),
        _column("Type", ".type"),
        _column("Reason", ".reason"),
        _column("Object", _about),
        _column("Message", ".message"),
        _column("Count", _or("count", 1), wide=True, type="integer"),
    ),
    kinds.PERSISTENT_VOLUME_CLAIM: (
        _column("Status", _or("status.phase", "Pending")),
        _column("Volume", _or("spec.volumeName", "")),
        AGE,
    ),
    kinds.CONTROLLER_REVISION: (
        _column(
            "Controller", lambda o, n: (o["metadata"].get("ownerReferences") or [{}])[0].get("name", "<none>")
        ),
        _column("Revision", ".revision", type="integer"),
        AGE,
    ),
    kinds.ENDPOINT_SLICE: (
        _column("AddressType", ".addressType"),
        _column("Ports", _joined("ports", "port")),
        _column("Endpoints", _endpoints),
        AGE,
    ),
    kinds.HTTP_ROUTE: (_column("Hostnames", _joined("spec.hostnames")), AGE),
    kinds.GATEWAY: (
        _column("Class", ".spec.gatewayClassName"),
        _column("Address", ".status.addresses[0].value"),
        _column("Programmed", _truth("Programmed")),
        AGE,
    ),
    kinds.GATEWAY_CLASS: (
        _column("Controller", ".spec.controllerName"),
        _column("Accepted", _truth("Accepted")),
        AGE,
    ),
}
