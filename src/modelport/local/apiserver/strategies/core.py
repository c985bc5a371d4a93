"""Pods, services, namespaces, secrets and the other core kinds."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from modelport.kube.errors import Cause
from modelport.kube.name import check_label, check_label_1035
from modelport.kube.resource import Object
from modelport.local.apiserver.strategy import Strategy

NODE = "local"


class Pod(Strategy):
    """Pods are given to the one node, and go when the node has ended their processes."""

    generation = True
    selectable = frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"}
    )

    def default(self, obj: Object) -> None:
        """Kubernetes' defaults of a PodSpec."""
        spec = obj.get("spec")
        if isinstance(spec, dict):
            default_pod_spec(cast("Object", spec))
            cast("Object", spec).setdefault("nodeName", NODE)

    def create(self, obj: Object, now: datetime) -> None:
        """A new pod waits for its node."""
        del now
        obj["status"] = {"phase": "Pending", "qosClass": _quality(obj)}

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """At least one container, and no two of one name."""
        del old
        return containers(obj.get("spec"), "spec")

    def grace_s(self, obj: Object, asked: int | None) -> int:
        """The pod's own, unless the caller hurries; none where nothing runs."""
        if obj.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            return 0
        if asked is not None:
            return asked
        own = obj.get("spec", {}).get("terminationGracePeriodSeconds")
        return 30 if own is None else int(own)


def default_pod_spec(spec: Object) -> None:
    """Fills in what Kubernetes fills in."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("securityContext", {})
    for group in ("initContainers", "containers"):
        for one in _objects(spec.get(group)):
            one.setdefault("terminationMessagePath", "/dev/termination-log")
            one.setdefault("terminationMessagePolicy", "File")
            image = str(one.get("image", ""))
            latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
            one.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
            one.setdefault("resources", {})
            for port in _objects(one.get("ports")):
                port.setdefault("protocol", "TCP")
            for name in ("livenessProbe", "readinessProbe", "startupProbe"):
                probe = one.get(name)
                if isinstance(probe, dict):
                    for field, value in (
                        ("timeoutSeconds", 1),
                        ("periodSeconds", 10),
                        ("successThreshold", 1),
                        ("failureThreshold", 3),
                    ):
                        cast("Object", probe).setdefault(field, value)
                    http = cast("Object", probe).get("httpGet")
                    if isinstance(http, dict):
                        cast("Object", http).setdefault("scheme", "HTTP")
                        cast("Object", http).setdefault("path", "/")


def containers(spec: Any, where: str) -> list[Cause]:
    """What is wrong with a PodSpec beyond its schema."""
    if not isinstance(spec, dict):
        return [Cause(where, "FieldValueRequired", "Required value")]
    found: list[Cause] = []
    names: list[Any] = []
    body = cast("Object", spec)
    if not body.get("containers"):
        found.append(Cause(f"{where}.containers", "FieldValueRequired", "Required value"))
    for group in ("initContainers", "containers"):
        for position, one in enumerate(_objects(body.get(group))):
            here = f"{where}.{group}[{position}]"
            name = one.get("name")
            if not name:
                found.append(Cause(f"{here}.name", "FieldValueRequired", "Required value"))
            elif name in names:
                found.append(Cause(f"{here}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
            else:
                names.append(name)
                found += [
                    Cause(f"{here}.name", "FieldValueInvalid", f'Invalid value: "{name}": {words}')
                    for words in check_label(str(name))
                ]
            if not one.get("image"):
                found.append(Cause(f"{here}.image", "FieldValueRequired", "Required value"))
    return found


def _quality(obj: Object) -> str:
    amounts = [one.get("resources") or {} for one in _objects(obj.get("spec", {}).get("containers"))]
    if not any(one.get("requests") or one.get("limits") for one in amounts):
        return "BestEffort"
    same = all(one.get("limits") and one.get("requests", one["limits"]) == one["limits"] for one in amounts)
    return "Guaranteed" if same else "Burstable"


class Service(Strategy):
    """A Service has a stable address of the loopback, out of a range of its own."""

    generation = False

    def __init__(self, network: str, taken: Callable[[], set[str]]) -> None:
        """`network`: first three octets, as in `127.77.255`; `taken`: addresses in use."""
        self._network = network
        self._taken = taken
        self._reserved: set[str] = set()

    @property
    def check_name(self) -> Callable[[str], list[str]]:
        """A DNS label that begins with a letter."""
        return check_label_1035

    def default(self, obj: Object) -> None:
        """Type, session affinity, protocol and target port."""
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        body = cast("Object", spec)
        body.setdefault("type", "ClusterIP")
        body.setdefault("sessionAffinity", "None")
        for port in _objects(body.get("ports")):
            port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))

    def update(self, obj: Object, old: Object) -> None:
        """The address stays."""
        spec, before = obj.get("spec"), old.get("spec", {})
        if isinstance(spec, dict) and not cast("Object", spec).get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]

    def reserve(self, obj: Object) -> Callable[[], None] | None:
        """Gives the Service an address, unless it is headless or asks for one."""
        spec = obj.get("spec")
        if not isinstance(spec, dict) or cast("Object", spec).get("clusterIP"):
            return None
        taken = self._taken() | self._reserved
        for last in range(1, 250 * 254):
            third, fourth = divmod(last, 254)
            address = f"{self._network}.{250 + third if third < 5 else third}.{fourth + 1}"
            if address not in taken:
                spec["clusterIP"] = address
                self._reserved.add(address)
                return lambda: self._reserved.discard(address)
        return None

    def removed(self, obj: Object) -> None:
        """The address is free again."""
        self._reserved.discard(obj.get("spec", {}).get("clusterIP", ""))


class Namespace(Strategy):
    """A namespace goes when its content has gone."""

    generation = False

    @property
    def check_name(self) -> Callable[[str], list[str]]:
        """A DNS label."""
        return check_label

    def default(self, obj: Object) -> None:
        """The label with its name."""
        meta = obj["metadata"]
        labels = meta.get("labels")
        if meta.get("name") and (labels is None or isinstance(labels, dict)):
            meta["labels"] = cast("Object", labels or {}) | {"kubernetes.io/metadata.name": meta["name"]}

    def create(self, obj: Object, now: datetime) -> None:
        """Active, with Kubernetes' finalizer."""
        del now
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def update(self, obj: Object, old: Object) -> None:
        """Only `finalize` takes finalizers away."""
        obj["spec"] = old.get("spec", {})

    def deleting(self, obj: Object) -> None:
        """It shows that it is going."""
        obj["status"] = {"phase": "Terminating"}


class Secret(Strategy):
    """Texts of `stringData` become `data`."""

    generation = False
    selectable = frozenset({"type"})

    def default(self, obj: Object) -> None:
        """Type Opaque; `stringData` into `data`."""
        obj.setdefault("type", "Opaque")
        texts = obj.pop("stringData", None)
        if isinstance(texts, dict):
            data = cast("Object", obj.get("data") or {})
            for name, text in cast("Object", texts).items():
                data[name] = base64.b64encode(str(text).encode()).decode()
            obj["data"] = data

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Values are base64; what is immutable stays."""
        found: list[Cause] = []
        for name, value in cast("Object", obj.get("data") or {}).items():
            try:
                base64.b64decode(str(value), validate=True)
            except ValueError:
                found.append(
                    Cause(
                        f"data[{name}]",
                        "FieldValueInvalid",
                        "Invalid value: it is no base64; use stringData for texts",
                    )
                )
        return found + immutable(obj, old, "data", "type")


class ConfigMap(Strategy):
    """Texts."""

    generation = False

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """What is immutable stays."""
        return immutable(obj, old, "data", "binaryData")


def immutable(obj: Object, old: Object | None, *fields: str) -> list[Cause]:
    """`immutable: true` cannot be taken back, nor the fields changed."""
    if old is None or not old.get("immutable"):
        return []
    return [
        Cause(field, "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set")
        for field in ("immutable", *fields)
        if obj.get(field) != old.get(field)
    ]


class Event(Strategy):
    """What happened; found by what it is about."""

    generation = False
    update_creates = True
    selectable = frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    )


class Plain(Strategy):
    """A kind whose changes are not counted."""

    generation = False


class Lease(Strategy):
    """Who leads."""

    generation = False
    update_creates = True


class Claim(Strategy):
    """A claim is pending until it is bound."""

    generation = False

    def create(self, obj: Object, now: datetime) -> None:
        """Pending."""
        del now
        obj["status"] = {"phase": "Pending"}


def _objects(value: Any) -> list[Object]:
    if not isinstance(value, list):
        return []
    return [cast("Object", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
