"""EndpointSlices: which pods answer for a Service, and whether they are ready. The decision is pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from modelport.control.cache import Cache, Change, Key, key_of
from modelport.control.queue import Queue
from modelport.kube.client import Client
from modelport.kube.condition import is_true
from modelport.kube.errors import ApiError
from modelport.kube.meta import owner_reference
from modelport.kube.part import objects
from modelport.kube.resource import ENDPOINT_SLICE, Object
from modelport.kube.selector import from_labels
from modelport.local.workloads.part import labels_of, namespace_of, part

log = logging.getLogger(__name__)
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "modelport-endpointslice"
WORKERS = 2


def decide(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The Service's slices: one for each set of target ports that its pods have (named ports may differ)."""
    selector = part(service, "spec").get("selector")
    if not selector or part(service, "spec").get("type") == "ExternalName":
        return []
    wanted = from_labels(selector)
    always = bool(part(service, "spec").get("publishNotReadyAddresses"))
    groups: dict[tuple[tuple[str, int, str, str], ...], list[Object]] = {}
    for pod in sorted(pods, key=lambda one: one["metadata"]["name"]):
        address = part(pod, "status").get("podIP")
        if not address or not wanted.matches(labels_of(pod)):
            continue
        if part(pod, "status").get("phase") in ("Failed", "Succeeded"):
            continue
        groups.setdefault(_ports(service, pod), []).append(_endpoint(pod, address, always=always))
    if not groups:
        groups[()] = []
    return [
        _slice(service, ports, ends, number) for number, (ports, ends) in enumerate(sorted(groups.items()))
    ]


def _ports(service: Object, pod: Object) -> tuple[tuple[str, int, str, str], ...]:
    found: list[tuple[str, int, str, str]] = []
    for port in objects(part(service, "spec").get("ports")):
        number = _target(port, pod)
        if number is not None:
            found.append(
                (port.get("name") or "", number, port.get("protocol", "TCP"), port.get("appProtocol") or "")
            )
    return tuple(found)


def _target(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    for container in pod["spec"]["containers"]:
        for one in objects(container.get("ports")):
            if one.get("name") == target:
                return int(one["containerPort"])
    return int(target) if str(target).isdecimal() else None


def _endpoint(pod: Object, address: str, *, always: bool) -> Object:
    ready = is_true(pod, "Ready")
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    return {
        "addresses": [address],
        "conditions": {
            "ready": always or (ready and not terminating),
            "serving": always or ready,
            "terminating": terminating,
        },
        "nodeName": pod["spec"].get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace_of(pod),
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        },
    }


def _slice(
    service: Object, ports: tuple[tuple[str, int, str, str], ...], endpoints: list[Object], number: int
) -> Object:
    name = service["metadata"]["name"]
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": name if number == 0 else f"{name}-{number}",
            "namespace": namespace_of(service),
            "labels": {SERVICE_NAME: name, MANAGED_BY: MANAGER},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [
            {"name": port_name, "port": target, "protocol": protocol} | ({"appProtocol": app} if app else {})
            for port_name, target, protocol, app in ports
        ],
    }


class EndpointSlices:
    """Keeps them true."""

    def __init__(self, client: Client, services: Cache, slices: Cache, pods: Cache) -> None:
        self._client, self._services, self._slices, self._pods = client, services, slices, pods
        self.queue: Queue[Key] = Queue()
        services.subscribe(lambda change: self.queue.add(key_of(change.object)))
        slices.subscribe(self._on_slice)
        pods.subscribe(self._on_pod)

    async def work(self) -> None:
        """One worker, until cancelled."""
        await self.queue.work(self.reconcile)

    def _on_slice(self, change: Change) -> None:
        name = labels_of(change.object).get(SERVICE_NAME)
        if name:
            self.queue.add((namespace_of(change.object), name))

    def _on_pod(self, change: Change) -> None:
        where = namespace_of(change.object)
        for service in self._services.all(where):
            selector = part(service, "spec").get("selector")
            if selector and any(
                from_labels(selector).matches(labels_of(pod)) for pod in (change.old, change.new) if pod
            ):
                self.queue.add(key_of(service))

    async def reconcile(self, key: Key) -> float | None:
        """Looks at one Service."""
        service = self._services.get(*key)
        mine = {
            item["metadata"]["name"]: item
            for item in self._slices.all(key[0])
            if labels_of(item).get(SERVICE_NAME) == key[1] and labels_of(item).get(MANAGED_BY) == MANAGER
        }
        if service is None or service["metadata"].get("deletionTimestamp"):
            return None  # the garbage collector takes its slices
        plan = decide(service, self._pods.all(key[0]))
        for item in plan:
            live = mine.pop(item["metadata"]["name"], None)
            if live is not None and _same(live, item):
                continue
            await self._client.apply(ENDPOINT_SLICE, item, field_manager=MANAGER)
        for item in mine.values():
            try:
                await self._client.delete(ENDPOINT_SLICE, key[0], item["metadata"]["name"])
            except ApiError as error:
                if error.code != 404:
                    raise
        return None


def _same(live: Object, wanted: Object) -> bool:
    return all(live.get(field) == wanted[field] for field in ("endpoints", "ports", "addressType"))
