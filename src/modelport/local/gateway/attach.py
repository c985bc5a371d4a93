"""Which of our Gateways' listeners take a route, and for which hosts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from modelport.kube.errors import ApiError
from modelport.kube.resource import Object
from modelport.kube.selector import from_object
from modelport.local.gateway.spec import (
    CONTROLLER,
    GROUP,
    GatewaySpec,
    Listener,
    ParentRef,
    RouteSpec,
    Verdict,
)

PROTOCOLS = ("HTTP", "HTTPS")
SUPPORTED = {"group": GROUP, "kind": "HTTPRoute"}


def unserved(listener: Listener, spec: GatewaySpec) -> tuple[str, str] | None:
    """Why a listener is not served, as a reason and a sentence; None where it is."""
    if listener.protocol not in PROTOCOLS:
        words = f'protocol: must be HTTP or HTTPS for this gateway, got "{listener.protocol}".'
        return "UnsupportedProtocol", words
    if listener.tls and listener.tls.mode not in (None, "", "Terminate"):
        words = (
            f"tls.mode: must be Terminate, got {listener.tls.mode}: HTTPRoutes go by what is inside TLS, which this "
            "gateway has to end."
        )
        return "UnsupportedValue", words
    if listener.protocol == "HTTPS" and (spec.tls or {}).get("frontend"):
        words = "spec.tls.frontend: this gateway asks no client for a certificate. Take it away to serve everybody."
        return "UnsupportedValue", words
    return None


class Attached(msgspec.Struct):
    """What a route has at one parent."""

    hosts: list[str]
    listeners: list[str]


class Told(msgspec.Struct, frozen=True):
    """What is known of a Gateway."""

    spec: GatewaySpec | None
    broken: str | None
    """What is wrong with it."""
    attached: dict[str, set[str]]
    """The routes of each listener."""
    said: dict[str, list[Verdict]]
    """What differs from what is said of every listener."""


class Gateways:
    """The Gateways whose class is ours."""

    def __init__(
        self, classes: Iterable[Object], gateways: Iterable[Object], namespaces: Iterable[Object]
    ) -> None:
        self.classes = {
            item["metadata"]["name"]: item
            for item in classes
            if item["spec"].get("controllerName") == CONTROLLER
        }
        self.broken: dict[tuple[str, str], str] = {}
        self._created: dict[tuple[str, str], str] = {}
        self.specs: dict[tuple[str, str], GatewaySpec] = {}
        for item in gateways:
            key = (item["metadata"]["namespace"], item["metadata"]["name"])
            if item["spec"].get("gatewayClassName") not in self.classes:
                continue
            self._created[key] = item["metadata"].get("creationTimestamp") or ""
            try:
                self.specs[key] = msgspec.convert(item["spec"], GatewaySpec)
            except msgspec.ValidationError as error:
                self.specs[key] = GatewaySpec(gateway_class_name=item["spec"]["gatewayClassName"])
                self.broken[key] = f"spec: {error}."
        self._labels: Mapping[str, dict[str, str]] = {
            item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in namespaces
        }
        self.attached: dict[tuple[str, str], dict[str, set[str]]] = {}
        """Names of the routes that each listener took."""
        self.said: dict[tuple[str, str], dict[str, list[Verdict]]] = {}
        """What is to be said of listeners beside that, by their names."""

    def of(self, key: tuple[str, str]) -> Told:
        """What is known of a Gateway."""
        return Told(
            self.specs.get(key), self.broken.get(key), self.attached.get(key, {}), self.said.get(key, {})
        )

    def by_age(self) -> list[tuple[str, str]]:
        """The oldest first: where two want the same, it is theirs."""
        return sorted(self.specs, key=lambda key: (self._created[key], key))

    def find(self, parent: ParentRef, namespace: str) -> tuple[str, str] | None:
        """The Gateway of ours that a route in `namespace` refers to, or None where it is none."""
        key = (parent.namespace or namespace, parent.name)
        return key if (parent.group, parent.kind) == (GROUP, "Gateway") and key in self.specs else None

    def attach(
        self, key: tuple[str, str], parent: ParentRef, route: Object, spec: RouteSpec
    ) -> Attached | Verdict:
        """The hosts for which the Gateway takes the route, or why it does not."""
        namespace = route["metadata"]["namespace"]
        listeners = [
            item
            for item in self.specs[key].listeners
            if unserved(item, self.specs[key]) is None
            and parent.section_name in (None, "", item.name)
            and parent.port in (None, item.port)
        ]
        gateway = f"Gateway {key[0]}/{key[1]}"
        if not listeners:
            wanted = parent.section_name or parent.port
            return _refused(
                "NoMatchingParent",
                f'{gateway} has no HTTP listener "{wanted}".'
                if wanted
                else f"{gateway} has no HTTP listener.",
            )
        allowed = [item for item in listeners if self._allows(item, key[0], namespace)]
        if not allowed:
            return _refused(
                "NotAllowedByListeners",
                f"{gateway} takes no HTTPRoutes of namespace {namespace} (its listeners' allowedRoutes).",
            )
        found = Attached([], [])
        for listener in allowed:
            hosts = intersection(spec.hostnames, listener.hostname)
            if hosts:
                found.listeners.append(listener.name)
                found.hosts += [host for host in hosts if host not in found.hosts]
        if not found.hosts:
            listed = ", ".join(item.hostname or "*" for item in allowed)
            return _refused(
                "NoMatchingListenerHostname",
                f"{gateway} listens for {listed}, and spec.hostnames is {', '.join(spec.hostnames)}.",
            )
        for listener in found.listeners:
            names = self.attached.setdefault(key, {}).setdefault(listener, set())
            names.add(f"{namespace}/{route['metadata']['name']}")
        return found

    def _allows(self, listener: Listener, own: str, namespace: str) -> bool:
        allowed = listener.allowed_routes
        if allowed is not None and allowed.kinds:
            wanted = [(item.group or GROUP, item.kind) for item in allowed.kinds]
            if (GROUP, "HTTPRoute") not in wanted:
                return False
        namespaces = allowed.namespaces if allowed else None
        match (namespaces.from_ if namespaces else None) or "Same":
            case "All":
                return True
            case "Same":
                return namespace == own
            case "Selector" if namespaces is not None:
                try:
                    return from_object(namespaces.selector).matches(self._labels.get(namespace, {}))
                except ApiError:
                    return False  # a selector that is none selects nothing
            case _:
                return False


def intersection(hostnames: list[str], listener: str | None) -> list[str]:
    """The hosts that both want; the narrower of two that overlap. No hostnames, or none at the listener: all."""
    wanted = [host.lower() for host in hostnames] or ["*"]
    offered = (listener or "*").lower()
    found: list[str] = []
    for host in wanted:
        if covers(offered, host):
            found.append(host)
        elif covers(host, offered):
            found.append(offered)
    return list(dict.fromkeys(found))


def covers(wide: str, host: str) -> bool:
    """Whether every request for `host` is one for `wide`."""
    if wide == "*" or wide == host:
        return True
    return wide.startswith("*.") and host.removeprefix("*").endswith(wide[1:])


def _refused(reason: str, message: str) -> Verdict:
    return Verdict("Accepted", good=False, reason=reason, message=message)
