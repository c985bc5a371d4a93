"""What `kubectl get` prints of Kubernetes' own kinds: the columns, and the words, of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, cast

from modelport.kube import resource as kinds
from modelport.kube.condition import find_condition
from modelport.kube.meta import controller_of
from modelport.kube.resource import Object, Resource
from modelport.kube.selector import from_labels, from_object
from modelport.local.apiserver.part import part, parts, texts
from modelport.local.apiserver.pod_summary import pod_ready, pod_restarts, pod_status
from modelport.local.apiserver.table import AGE, Column, age

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"
SHOWN_ENDPOINTS = 3
Cell = Callable[[Object], Any]


def _column(name: str, cell: Cell, *, wide: bool = False, type: str = "string", about: str = "") -> Column:  # noqa: A002
    return Column(
        name=name,
        cell=lambda obj, now: cell(obj),
        priority=1 if wide else 0,
        type=type,
        description=about,
    )


def _timed(name: str, cell: Callable[[Object, datetime], Any], *, wide: bool = False) -> Column:
    return Column(name=name, cell=cell, priority=1 if wide else 0)


def at(obj: Object, path: str, otherwise: Any = None) -> Any:
    """The value at a path of field names, `status.podIP`; `otherwise` where there is none."""
    value: Any = obj
    for step in path.split("."):
        value = cast("Object", value).get(step) if isinstance(value, dict) else None
    return otherwise if value in (None, "") else value


def _field(path: str, otherwise: Any = NONE) -> Cell:
    return lambda obj: at(obj, path, otherwise)


def _number(path: str) -> Cell:
    return lambda obj: at(obj, path, 0)


def _joined(texts: Iterable[Any]) -> str:
    return ",".join(str(text) for text in texts) or NONE


def _condition(type: str) -> Cell:  # noqa: A002 - the field's word
    def cell(obj: Object) -> str:
        found = find_condition(parts(obj, "status", "conditions"), type)
        return "Unknown" if found is None else str(found.get("status"))

    return cell


# Workloads


def _containers(obj: Object) -> list[Object]:
    return parts(obj, "spec", "template", "spec", "containers")


WORKLOAD = (
    _column("Containers", lambda obj: _joined(c.get("name", "") for c in _containers(obj)), wide=True),
    _column("Images", lambda obj: _joined(c.get("image", "") for c in _containers(obj)), wide=True),
    _column("Selector", lambda obj: str(from_object(at(obj, "spec.selector"))), wide=True),
)


def _deployment_ready(obj: Object) -> str:
    return f"{at(obj, 'status.readyReplicas', 0)}/{at(obj, 'spec.replicas', 0)}"


# Services


def _ports(obj: Object) -> str:
    return _joined(
        f"{port.get('port')}{':' + str(port['nodePort']) if port.get('nodePort') else ''}"
        f"/{port.get('protocol', 'TCP')}"
        for port in parts(obj, "spec", "ports")
    )


def _external(obj: Object) -> str:
    kind = at(obj, "spec.type")
    if kind == "ExternalName":
        return at(obj, "spec.externalName", NONE)
    addresses = texts(obj, "spec", "externalIPs")
    if kind == "LoadBalancer":
        given = parts(obj, "status", "loadBalancer", "ingress")
        addresses += [str(one.get("ip") or one.get("hostname")) for one in given]
        return ",".join(addresses) or "<pending>"
    return _joined(addresses)


def _selector(obj: Object) -> str:
    return str(from_labels(at(obj, "spec.selector"))) or NONE


def _slice_ports(obj: Object) -> str:
    numbers = [str(port["port"]) for port in parts(obj, "ports") if port.get("port") is not None]
    return _cut(numbers) or UNSET


def _slice_endpoints(obj: Object) -> str:
    addresses = [one for endpoint in parts(obj, "endpoints") for one in texts(endpoint, "addresses")]
    return _cut(addresses) or UNSET


def _cut(texts: list[str]) -> str:
    shown = ",".join(texts[:SHOWN_ENDPOINTS])
    return f"{shown} + {len(texts) - SHOWN_ENDPOINTS} more..." if len(texts) > SHOWN_ENDPOINTS else shown


def _listed(field: str) -> Cell:
    return lambda obj: _joined(one.get(field, "") for one in parts(obj, "template", "spec", "containers"))


# Quotas


def _quota(obj: Object, *, limits: bool) -> str:
    used = part(obj, "status", "used")
    return ", ".join(
        f"{name}: {used.get(name, 0)}/{most}"
        for name, most in sorted(part(obj, "status", "hard").items())
        if name.startswith("limits.") == limits
    )


# Events


def _seen(obj: Object, now: datetime) -> str:
    series = at(obj, "series.lastObservedTime")
    return age(series or obj.get("lastTimestamp") or obj.get("eventTime"), now)


def _first_seen(obj: Object, now: datetime) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _about(obj: Object) -> str:
    about = part(obj, "involvedObject")
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _source(obj: Object) -> str:
    source = part(obj, "source")
    words = [source.get("component") or obj.get("reportingComponent"), source.get("host")]
    return ", ".join(str(word) for word in words if word)


# Nodes


def _node_status(obj: Object) -> str:
    words = [{"True": "Ready", "False": "NotReady"}.get(_condition("Ready")(obj), "Unknown")]
    if at(obj, "spec.unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = part(obj, "metadata", "labels")
    return _joined(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix)))


def _address(kind: str) -> Cell:
    def cell(obj: Object) -> str:
        found = (one["address"] for one in parts(obj, "status", "addresses") if one.get("type") == kind)
        return next(found, NONE)

    return cell


# Others


def _claim_status(obj: Object) -> str:
    return "Terminating" if at(obj, "metadata.deletionTimestamp") else at(obj, "status.phase", "Pending")


def _modes(obj: Object) -> str:
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    bound = at(obj, "spec.volumeName")
    return ",".join(short.get(mode, mode) for mode in texts(obj, "status", "accessModes")) if bound else ""


def _controller(obj: Object) -> str:
    owner = controller_of(obj)
    if owner is None:
        return NONE
    group = str(owner.get("apiVersion") or "").rpartition("/")[0]
    kind = str(owner["kind"]).lower()
    return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"


def _target(obj: Object) -> str:
    return f"{at(obj, 'spec.scaleTargetRef.kind', '')}/{at(obj, 'spec.scaleTargetRef.name', '')}"


def _metrics(obj: Object) -> str:
    current = parts(obj, "status", "currentMetrics")
    shown: list[str] = []
    for index, metric in enumerate(parts(obj, "spec", "metrics")):
        if metric.get("type") != "Resource":
            shown.append(f"{metric.get('type')}: {UNKNOWN}")
            continue
        resource, target = part(metric, "resource"), part(metric, "resource", "target")
        now = part(current[index], "resource", "current") if index < len(current) else {}
        if target.get("averageUtilization") is not None:
            used = now.get("averageUtilization")
            value = UNKNOWN if used is None else f"{used}%"
            shown.append(f"{resource.get('name')}: {value}/{target['averageUtilization']}%")
        else:
            shown.append(
                f"{resource.get('name')}: {now.get('averageValue', UNKNOWN)}/{target.get('averageValue')}"
            )
    return ", ".join(shown) or NONE


def _created(obj: Object) -> str:
    return at(obj, "metadata.creationTimestamp", UNKNOWN)


def _count(*fields: str) -> Cell:
    return lambda obj: sum(len(obj.get(field) or ()) for field in fields)


COLUMNS: dict[Resource, tuple[Column, ...]] = {
    kinds.POD: (
        _column("Ready", pod_ready, about="How many of its containers are ready, of how many."),
        _column("Status", pod_status, about="What it does, or what keeps it from it."),
        _timed("Restarts", pod_restarts),
        AGE,
        _column("IP", _field("status.podIP"), wide=True),
        _column("Node", _field("spec.nodeName"), wide=True),
        _column("Nominated Node", _field("status.nominatedNodeName"), wide=True),
        _column("Readiness Gates", lambda obj: NONE, wide=True),
    ),
    kinds.DEPLOYMENT: (
        _column("Ready", _deployment_ready, about="Ready replicas of those wanted."),
        _column("Up-to-date", _number("status.updatedReplicas"), type="integer"),
        _column("Available", _number("status.availableReplicas"), type="integer"),
        AGE,
        *WORKLOAD,
    ),
    kinds.REPLICA_SET: (
        _column("Desired", _number("spec.replicas"), type="integer"),
        _column("Current", _number("status.replicas"), type="integer"),
        _column("Ready", _number("status.readyReplicas"), type="integer"),
        AGE,
        *WORKLOAD,
    ),
    kinds.SERVICE: (
        _column("Type", _field("spec.type", "ClusterIP")),
        _column("Cluster-IP", _field("spec.clusterIP")),
        _column("External-IP", _external),
        _column("Port(s)", _ports),
        AGE,
        _column("Selector", _selector, wide=True),
    ),
    kinds.NAMESPACE: (_column("Status", _field("status.phase", "Active")), AGE),
    kinds.NODE: (
        _column("Status", _node_status),
        _column("Roles", _roles),
        AGE,
        _column("Version", _field("status.nodeInfo.kubeletVersion", "")),
        _column("Internal-IP", _address("InternalIP"), wide=True),
        _column("External-IP", _address("ExternalIP"), wide=True),
        _column("OS-Image", _field("status.nodeInfo.osImage", UNKNOWN), wide=True),
        _column("Kernel-Version", _field("status.nodeInfo.kernelVersion", UNKNOWN), wide=True),
        _column("Container-Runtime", _field("status.nodeInfo.containerRuntimeVersion", UNKNOWN), wide=True),
    ),
    kinds.SECRET: (_column("Type", _field("type", "")), _column("Data", _count("data"), type="integer"), AGE),
    kinds.CONFIG_MAP: (_column("Data", _count("data", "binaryData"), type="integer"), AGE),
    kinds.SERVICE_ACCOUNT: (_column("Secrets", _count("secrets"), type="integer"), AGE),
    kinds.EVENT: (
        _timed("Last Seen", _seen),
        _column("Type", _field("type", "")),
        _column("Reason", _field("reason", "")),
        _column("Object", _about),
        _column("Subobject", _field("involvedObject.fieldPath", ""), wide=True),
        _column("Source", _source, wide=True),
        _column("Message", lambda obj: str(obj.get("message") or "").strip()),
        _timed("First Seen", _first_seen, wide=True),
        _column("Count", lambda obj: str(at(obj, "series.count") or obj.get("count") or 1), wide=True),
        _column("Name", _field("metadata.name"), wide=True),
    ),
    kinds.POD_TEMPLATE: (
        _column("Containers", _listed("name")),
        _column("Images", _listed("image")),
        _column("Pod Labels", lambda obj: str(from_labels(at(obj, "template.metadata.labels"))) or NONE),
        AGE,
    ),
    kinds.RESOURCE_QUOTA: (
        _column("Request", lambda obj: _quota(obj, limits=False)),
        _column("Limit", lambda obj: _quota(obj, limits=True)),
        AGE,
    ),
    kinds.PERSISTENT_VOLUME_CLAIM: (
        _column("Status", _claim_status),
        _column("Volume", _field("spec.volumeName", "")),
        _column("Capacity", _field("status.capacity.storage", "")),
        _column("Access Modes", _modes),
        _column("StorageClass", _field("spec.storageClassName", "")),
        _column("VolumeAttributesClass", _field("spec.volumeAttributesClassName", UNSET)),
        AGE,
        _column("VolumeMode", _field("spec.volumeMode", UNSET), wide=True),
    ),
    kinds.CONTROLLER_REVISION: (
        _column("Controller", _controller),
        _column("Revision", _number("revision"), type="integer"),
        AGE,
    ),
    kinds.ENDPOINT_SLICE: (
        _column("AddressType", _field("addressType", "")),
        _column("Ports", _slice_ports),
        _column("Endpoints", _slice_endpoints),
        AGE,
    ),
    kinds.LEASE: (_column("Holder", _field("spec.holderIdentity", "")), AGE),
    kinds.HORIZONTAL_POD_AUTOSCALER: (
        _column("Reference", _target),
        _column("Targets", _metrics),
        _column("MinPods", lambda obj: str(at(obj, "spec.minReplicas", UNSET))),
        _column("MaxPods", _number("spec.maxReplicas"), type="integer"),
        _column("Replicas", _number("status.currentReplicas"), type="integer"),
        AGE,
    ),
    kinds.POD_DISRUPTION_BUDGET: (
        _column("Min Available", lambda obj: str(at(obj, "spec.minAvailable", "N/A"))),
        _column("Max Unavailable", lambda obj: str(at(obj, "spec.maxUnavailable", "N/A"))),
        _column("Allowed Disruptions", _number("status.disruptionsAllowed"), type="integer"),
        AGE,
    ),
    kinds.HTTP_ROUTE: (_column("Hostnames", lambda obj: _list_as_json(at(obj, "spec.hostnames"))), AGE),
    kinds.GATEWAY: (
        _column("Class", _field("spec.gatewayClassName", "")),
        _column("Address", lambda obj: next((a["value"] for a in parts(obj, "status", "addresses")), "")),
        _column("Programmed", _condition("Programmed")),
        AGE,
    ),
    kinds.GATEWAY_CLASS: (
        _column("Controller", _field("spec.controllerName", "")),
        _column("Accepted", _condition("Accepted")),
        AGE,
        _column("Description", _field("spec.description", ""), wide=True),
    ),
    kinds.CUSTOM_RESOURCE_DEFINITION: (_column("Created At", _created),),
}


def _list_as_json(texts: list[str] | None) -> str:
    """As a cluster shows a list of a custom resource."""
    return "" if texts is None else "[" + ",".join(f'"{text}"' for text in texts) + "]"
