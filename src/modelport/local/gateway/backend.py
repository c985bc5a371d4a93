"""Where a rule's requests go: references to Services, resolved, or the reason why that cannot be. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway.cluster import UNSUPPORTED, cluster_name
from modelport.local.gateway.grant import is_granted
from modelport.local.gateway.spec import BackendRef, MirrorRef


class Failure(msgspec.Struct, frozen=True):
    """Why a reference leads nowhere."""

    reason: str
    """Gateway API's word: BackendNotFound, RefNotPermitted, InvalidKind, UnsupportedProtocol, UnsupportedValue."""
    message: str


class Backends:
    """The Services there are, and who may refer to those of other namespaces."""

    def __init__(self, services: Iterable[Object], grants: Iterable[Object] = ()) -> None:
        self._services = {
            (item["metadata"]["namespace"], item["metadata"]["name"]): item for item in services
        }
        self._grants = list(grants)

    def resolve(self, ref: BackendRef | MirrorRef, namespace: str, where: str) -> str | Failure:
        """The cluster that a route in `namespace` refers to."""
        if (ref.group or "", ref.kind or "Service") != ("", "Service"):
            kind = f"{ref.kind}.{ref.group}" if ref.group else f"{ref.kind}"
            return Failure("InvalidKind", f"{where}: must be a Service, got {kind}.")
        target = ref.namespace or namespace
        if target != namespace and not is_granted(
            self._grants, ("HTTPRoute", namespace), ("Service", target, ref.name)
        ):
            return Failure(
                "RefNotPermitted",
                f"{where}: Service {target}/{ref.name} is in another namespace, and no ReferenceGrant there "
                f"allows HTTPRoutes of {namespace} to use it.",
            )
        service = self._services.get((target, ref.name))
        if service is None:
            return Failure("BackendNotFound", f'{where}: no Service "{ref.name}" in namespace {target}.')
        return _port(service, ref, target, where)


def _port(service: Object, ref: BackendRef | MirrorRef, namespace: str, where: str) -> str | Failure:
    spec: Object = service["spec"]
    known: list[Object] = spec.get("ports") or []
    if spec.get("type") == "ExternalName":
        return Failure(
            "UnsupportedValue",
            f"{where}: Service {namespace}/{ref.name} is an ExternalName; the gateway forwards to endpoints only.",
        )
    if ref.port is None:
        return Failure("UnsupportedValue", f"{where}.port: must be given for a Service.")
    port = next((item for item in known if item["port"] == ref.port), None)
    if port is None:
        listed = ", ".join(str(item["port"]) for item in known) or "none"
        return Failure(
            "BackendNotFound",
            f"{where}.port: Service {namespace}/{ref.name} has no port {ref.port}; it has: {listed}.",
        )
    if port.get("protocol", "TCP") != "TCP" or port.get("appProtocol") in UNSUPPORTED:
        kind = port.get("appProtocol") or port.get("protocol")
        return Failure(
            "UnsupportedProtocol",
            f"{where}.port: the gateway speaks HTTP/1.1, h2c and gRPC to Services, "
            f"and port {ref.port} of {namespace}/{ref.name} is {kind}.",
        )
    return cluster_name(namespace, ref.name, ref.port)
