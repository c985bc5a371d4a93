"""EndpointSlices: which pods answer for a Service, and whether they are ready. The decision is pure."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from modelport.control.cache import Change, Key, key_of
from modelport.control.queue import Queue
from modelport.kube.errors import ApiError
from modelport.kube.meta import is_controlled_by, owner_reference
from modelport.kube.part import objects
from modelport.kube.resource import ENDPOINT_SLICE, Object
from modelport.kube.selector import from_labels
from modelport.kube.sidecar import sidecars
from modelport.local.workloads.part import labels_of, namespace_of, part
from modelport.local.workloads.pod import is_over, is_ready, is_terminating
from modelport.local.workloads.view import View

SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
"""Kubernetes' own word: tools that read slices know it."""
LARGEST = 1000
"""Endpoints in a slice (its validation)."""
WORKERS = 4


class Port(msgspec.Struct, frozen=True, order=True):
    """A Service's port as one pod has it."""

    name: str
    number: int
    protocol: str
    app_protocol: str


class Plan(msgspec.Struct):
    """What to write."""

    create: list[Object] = []
    replace: list[Object] = []
    delete: list[Object] = []


def has_endpoints(service: Object) -> bool:
    """Whether slices are made for it: not where people keep them by hand, or where it is but another name."""
    spec = part(service, "spec")
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def decide(service: Object, pods: Iterable[Object], slices: Sequence[Object]) -> Plan:
    """From the pods of its namespace and the slices that are there. Slices of others are left alone."""
    mine = {
        item["metadata"]["name"]: item
        for item in slices
        if labels_of(item).get(MANAGED_BY) == MANAGER and is_controlled_by(item, service)
    }
    plan = Plan()
    for item in wanted(service, pods):
        live = mine.pop(item["metadata"]["name"], None)
        if live is None:
            plan.create.append(item)
        elif not _same(live, item):
            meta = live["metadata"] | {"labels": item["metadata"]["labels"]}
            plan.replace.append(live | item | {"metadata": meta})
    plan.delete = list(mine.values())
    return plan


def wanted(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The Service's slices: one for each kind of address and each set of target ports, as named ports may differ
    from pod to pod. Without pods one that is empty: the Service is known, and nobody answers for it."""
    if not has_endpoints(service):
        return []
    selector = from_labels(part(service, "spec")["selector"])
    groups: dict[tuple[str, tuple[Port, ...]], list[Object]] = {}
    for pod in sorted((pod for pod in pods if selector.matches(labels_of(pod))), key=key_of):
        address = part(pod, "status").get("podIP")
        if not address or is_over(pod):
            continue
        family = "IPv6" if ":" in address else "IPv4"
        groups.setdefault((family, _ports(service, pod)), []).append(_endpoint(service, pod, address))
    if not groups:
        # With the ports that pods will most likely have, so that the first pod does not need another slice.
        groups["IPv4", _ports(service, {})] = []
    return [
        _slice(service, family, ports, ends[start : start + LARGEST], start // LARGEST)
        for (family, ports), ends in sorted(groups.items())
        for start in range(0, max(1, len(ends)), LARGEST)
    ]


def _ports(service: Object, pod: Object) -> tuple[Port, ...]:
    found: list[Port] = []
    for port in objects(part(service, "spec").get("ports")):
        protocol = port.get("protocol") or "TCP"
        number = _target(port, protocol, pod)
        if number is not None:
            found.append(Port(port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(found)


def _target(port: Object, protocol: str, pod: Object) -> int | None:
    """The number of the pod's port; None where it has none of that name."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    spec = part(pod, "spec")
    for container in [*objects(spec.get("containers")), *sidecars(pod)]:
        for one in objects(container.get("ports")):
            if one.get("name") == target and (one.get("protocol") or "TCP") == protocol:
                return int(one["containerPort"])
    return int(target) if str(target).isdecimal() else None


def _endpoint(service: Object, pod: Object, address: str) -> Object:
    always = bool(part(service, "spec").get("publishNotReadyAddresses"))
    ready, terminating = is_ready(pod), is_terminating(pod)
    spec, meta = part(pod, "spec"), pod["metadata"]
    found: Object = {
        "addresses": [address],
        "conditions": {
            "ready": always or (ready and not terminating),
            "serving": ready,
            "terminating": terminating,
        },
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace_of(pod),
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }
    if spec.get("nodeName"):
        found["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        found["hostname"] = spec["hostname"]
    return found


def _slice(
    service: Object, family: str, ports: tuple[Port, ...], endpoints: list[Object], number: int
) -> Object:
    meta = service["metadata"]
    labels = labels_of(service) | {SERVICE_NAME: meta["name"], MANAGED_BY: MANAGER}
    if part(service, "spec").get("clusterIP") == "None":
        labels[HEADLESS] = ""
    # The name follows from what makes it a slice of its own: another group that comes or goes renames nothing.
    digest = hashlib.sha256(msgspec.json.encode([meta["uid"], family, ports, number])).hexdigest()[:8]
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": f"{meta['name'][:240]}-{digest}",
            "namespace": namespace_of(service),
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [
            {"name": port.name, "port": port.number, "protocol": port.protocol}
            | ({"appProtocol": port.app_protocol} if port.app_protocol else {})
            for port in ports
        ],
    }


def _same(live: Object, item: Object) -> bool:
    fields = ("endpoints", "ports", "addressType")
    return labels_of(live) == labels_of(item) and all(
        (live.get(field) or []) == item[field] for field in fields
    )


class EndpointSlices:
    """Keeps them true."""

    def __init__(self, services: View, slices: View, pods: View) -> None:
        self._services, self._slices, self._pods = services, slices, pods
        self.queue: Queue[Key] = Queue()
        services.cache.subscribe(lambda change: self.queue.add(key_of(change.object)))
        slices.cache.subscribe(self._on_slice)
        pods.cache.subscribe(self._on_pod)

    async def run(self) -> None:
        """Works until cancelled."""
        await asyncio.gather(*(self.queue.work(self.reconcile) for _ in range(WORKERS)))

    def _on_slice(self, change: Change) -> None:
        name = labels_of(change.object).get(SERVICE_NAME)
        if name:
            self.queue.add((namespace_of(change.object), name))

    def _on_pod(self, change: Change) -> None:
        where = namespace_of(change.object)
        known = [labels_of(pod) for pod in (change.old, change.new) if pod is not None]
        for service in self._services.all(where):
            if not has_endpoints(service):
                continue
            selector = part(service, "spec")["selector"]
            if any(selector.items() <= labels.items() for labels in known):
                self.queue.add(key_of(service))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one Service."""
        await self._slices.settle()
        service = self._services.get(*key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            return None  # the garbage collector takes its slices
        slices = self._slices.by("service", "/".join(key))
        plan = decide(service, self._pods.all(key[0]), slices)
        for item in plan.create:
            try:
                await self._slices.create(item)
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    return 0.2  # the view asks what is there before the next decision
                raise
        for item in plan.replace:
            await self._slices.replace(item)
        for item in plan.delete:
            await self._slices.delete(item)
        return self._slices.check_in_s


def by_service(item: Object) -> list[str]:
    """The index that `EndpointSlices` needs as "service": `namespace/name` of the Service."""
    name = labels_of(item).get(SERVICE_NAME)
    return [f"{namespace_of(item)}/{name}"] if name else []
