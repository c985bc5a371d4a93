"""Services: each with a stable address of this machine's loopback, out of a range of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from modelport.kube.container import check_port
from modelport.kube.errors import ApiError, Cause, duplicate, invalid_value, not_supported, required
from modelport.kube.name import check_label, check_label_1035
from modelport.kube.resource import SERVICE, Object
from modelport.local.apiserver.part import part, parts, texts
from modelport.local.apiserver.strategy import Related, Strategy

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
HEADLESS = "None"
FIRST, LAST = 250, 255
"""Third octets of the services' addresses; those below are the pods'."""
EACH = 254


class Service(Strategy):
    """Defaults, an address, and the rules of ports."""

    generation = False
    returns_deleted = True
    selectable = frozenset({"spec.clusterIP", "spec.type"})

    def __init__(self, network: str) -> None:
        """`network`: the first two octets of the platform's part of the loopback, as in `127.77`."""
        self._network = network
        self._reserved: set[str] = set()

    @property
    def check_name(self) -> Callable[[str], list[str]]:
        """A DNS label that begins with a letter."""
        return check_label_1035

    def default(self, obj: Object) -> None:
        """Kubernetes' defaults."""
        if not isinstance(obj.get("spec"), dict):
            return
        spec: Object = obj["spec"]
        spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        if spec["type"] == "ExternalName":
            return
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        for port in parts(spec, "ports"):
            port.setdefault("protocol", "TCP")
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port")

    def create(self, obj: Object, now: datetime) -> None:
        """No load balancer gives it an address."""
        del now
        obj["status"] = {"loadBalancer": {}}

    def update(self, obj: Object, old: Object) -> None:
        """Who says nothing of the address keeps it."""
        before = part(old, "spec")
        if "spec" in obj and obj["spec"].get("type") != "ExternalName":
            for field in ("clusterIP", "clusterIPs"):
                if not obj["spec"].get(field) and before.get(field):
                    obj["spec"][field] = before[field]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Type, ports, selector and address."""
        if not isinstance(obj.get("spec"), dict):
            return [required("spec")]
        spec: Object = obj["spec"]
        kind, ports = spec.get("type"), parts(spec, "ports")
        causes: list[Cause] = []
        if kind not in TYPES:
            causes.append(not_supported("spec.type", kind, TYPES))
        if kind == "ExternalName" and not spec.get("externalName"):
            causes.append(required("spec.externalName"))
        if not ports and spec.get("clusterIP") != HEADLESS and kind != "ExternalName":
            causes.append(required("spec.ports"))
        causes += _check_ports(ports)
        if spec.get("sessionAffinity") not in ("None", "ClientIP"):
            causes.append(
                not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
            )
        before = part(old, "spec").get("clusterIP")
        if before and spec.get("clusterIP") != before and kind != "ExternalName":
            causes.append(
                invalid_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set")
            )
        return causes

    def reserve(self, obj: Object, related: Related) -> Callable[[], None]:
        """Gives the Service the address that its name leads to, or the next free one."""
        spec = obj["spec"]
        asked = spec.get("clusterIP") or next(iter(texts(spec, "clusterIPs")), "")
        if spec["type"] == "ExternalName" or asked == HEADLESS:
            if asked:
                spec["clusterIPs"] = [asked]
            return super().reserve(obj, related)
        taken = related.texts(SERVICE, "spec", "clusterIP") | self._reserved
        address = self._check(asked, taken, obj) if asked else self._free(obj["metadata"], taken)
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        self._reserved.add(address)
        return lambda: self._reserved.discard(address)

    def _check(self, address: str, taken: set[Any], obj: Object) -> str:
        low, high = f"{self._network}.{FIRST}.1", f"{self._network}.{LAST}.{EACH}"
        parts = address.split(".")
        inside = (
            ".".join(parts[:2]) == self._network
            and len(parts) == 4
            and all(part.isdecimal() and str(int(part)) == part for part in parts)
            and FIRST <= int(parts[2]) <= LAST
            and 1 <= int(parts[3]) <= EACH
        )
        if not inside:
            why = f"the provided IP is not in the valid range ({low} to {high}). Leave it out to be given one"
        elif address in taken:
            why = "provided IP is already allocated"
        else:
            return address
        name = obj["metadata"].get("name") or ""
        cause = invalid_value("spec.clusterIPs", [address], f"failed to allocate IP {address}: {why}")
        raise ApiError(
            422,
            "Invalid",
            f'Service "{name}" is invalid: {cause.field}: {cause.message}',
            details={
                "name": name,
                "kind": "services",
                "causes": [{"field": cause.field, "reason": cause.reason, "message": cause.message}],
            },
        )

    def _free(self, meta: Object, taken: set[Any]) -> str:
        """A Service that is deleted and made again mostly has its old address: clients may remember it."""
        size = (LAST - FIRST + 1) * EACH
        digest = hashlib.sha256(f"{meta.get('namespace')}/{meta.get('name')}".encode()).digest()
        first = int.from_bytes(digest[:8]) % size
        for step in range(size):
            third, fourth = divmod((first + step) % size, EACH)
            address = f"{self._network}.{FIRST + third}.{fourth + 1}"
            if address not in taken:
                return address
        raise ApiError(
            500,
            "InternalError",
            f"Internal error occurred: all {size} addresses of Services are in use. Delete some, or make new ones "
            "headless (clusterIP: None).",
        )


def _check_ports(ports: list[Object]) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        causes += check_port(port.get("port"), f"{at}.port")
        target = port.get("targetPort")
        if isinstance(target, int):
            causes += check_port(target, f"{at}.targetPort")
        if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
            causes.append(not_supported(f"{at}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP")))
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            causes.append(required(f"{at}.name"))
        elif name:
            causes += [invalid_value(f"{at}.name", name, problem) for problem in check_label(name)]
            if name in names:
                causes.append(duplicate(f"{at}.name", name))
            names.add(name)
        pair = (port.get("protocol"), port.get("port"))
        if pair in numbers:
            causes.append(duplicate(at, {"port": pair[1], "protocol": pair[0]}))
        numbers.add(pair)
    return causes
