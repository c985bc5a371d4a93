"""Services and their EndpointSlices as the table's clusters: a cluster a port. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from modelport.kube.resource import Object
from modelport.local.gateway import policy
from modelport.render.workload import H2C_TOO
from modelport.wire.table import Cluster

SERVICE_NAME = "kubernetes.io/service-name"
H2C = frozenset({"kubernetes.io/h2c", "h2c", "grpc"})
HTTP1 = frozenset({"kubernetes.io/ws"})
UNSUPPORTED = frozenset({"kubernetes.io/wss", "https", "tls", "tcp", "udp"})
"""What the gateway would have to speak TLS, or no HTTP, to its endpoints for."""


def cluster_name(namespace: str, service: str, port: int) -> str:
    """Its key in the table."""
    return f"{namespace}/{service}:{port}"


def ports(service: Object) -> list[Object]:
    """The Service's ports that the gateway can serve."""
    spec: Object = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    found: list[Object] = spec.get("ports") or []
    return [
        port
        for port in found
        if port.get("protocol", "TCP") == "TCP" and port.get("appProtocol") not in UNSUPPORTED
    ]


def clusters(
    services: Iterable[Object], slices: Iterable[Object], living: Collection[str] | None = None
) -> dict[str, Cluster]:
    """All clusters. `living`: uids of pods that exist and are not about to end; endpoints of other pods are left out
    even where their slices do not say so yet. None: go by the slices alone."""
    by_service: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        labels: Object = item["metadata"].get("labels") or {}
        name = labels.get(SERVICE_NAME)
        if name:
            by_service.setdefault((item["metadata"]["namespace"], name), []).append(item)
    found: dict[str, Cluster] = {}
    for service in services:
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        its = by_service.get((namespace, name), [])
        outlier, _ = policy.outlier(service)
        for port in ports(service):
            endpoints = {end for item in its for end in _endpoints(item, port.get("name") or "", living)}
            found[cluster_name(namespace, name, port["port"])] = Cluster(
                endpoints=sorted(endpoints), protocol=_protocol(port, service), outlier=outlier
            )
    return found


def _protocol(port: Object, service: Object) -> Any:
    """What the port's `appProtocol` says; without one, what the Service does."""
    kind = port.get("appProtocol")
    annotations: Object = service["metadata"].get("annotations") or {}
    if kind is None and annotations.get(H2C_TOO) == "true":
        return "both"
    return "h2c" if kind in H2C else "http1" if kind in HTTP1 else "auto"


def _endpoints(item: Object, port_name: str, living: Collection[str] | None) -> Iterable[str]:
    """Addresses of those that are ready, at the slice's port of that name."""
    slice_ports: list[Object] = item.get("ports") or []
    numbers = [
        port["port"] for port in slice_ports if (port.get("name") or "") == port_name and port.get("port")
    ]
    if not numbers or item.get("addressType") == "FQDN":
        return
    endpoints: list[Object] = item.get("endpoints") or []
    for endpoint in endpoints:
        conditions: Object = endpoint.get("conditions") or {}
        target: Object = endpoint.get("targetRef") or {}
        is_gone = living is not None and target.get("kind") == "Pod" and target.get("uid") not in living
        # Whoever says nothing of its readiness is ready (EndpointConditions).
        if conditions.get("ready") is False or is_gone:
            continue
        # Kubernetes: only the first address counts.
        for address in endpoint["addresses"][:1]:
            host = f"[{address}]" if ":" in address else address
            yield from (f"{host}:{number}" for number in numbers)
