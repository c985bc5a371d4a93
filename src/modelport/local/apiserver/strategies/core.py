"""Namespaces, data, events and the other small kinds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import datetime

from modelport.kube.errors import ApiError, Cause, forbidden, invalid_value, required, too_long
from modelport.kube.name import check_config_key, check_label
from modelport.kube.resource import Object
from modelport.local.apiserver.part import part, parts
from modelport.local.apiserver.strategy import Strategy

DATA_LIMIT_BYTES = 1 << 20
"""Largest Secret or ConfigMap."""
PERMANENT = ("default", "kube-system", "kube-public")
"""Namespaces that cannot be deleted."""


class Plain(Strategy):
    """A kind whose changes are not counted."""

    generation = False


class Namespace(Plain):
    """A namespace goes when its content has gone."""

    selectable = frozenset({"status.phase"})

    @property
    def check_name(self) -> Callable[[str], list[str]]:
        """A DNS label."""
        return check_label

    def default(self, obj: Object) -> None:
        """The label with its name."""
        meta = obj["metadata"]
        if meta.get("name"):
            meta["labels"] = part(meta, "labels") | {"kubernetes.io/metadata.name": meta["name"]}

    def create(self, obj: Object, now: datetime) -> None:
        """Active, with Kubernetes' finalizer."""
        del now
        obj["spec"] = {"finalizers": ["kubernetes"]}
        obj["status"] = {"phase": "Active"}

    def update(self, obj: Object, old: Object) -> None:
        """Only `finalize` takes the spec's finalizers away."""
        obj["spec"] = old.get("spec") or {}

    def deleting(self, obj: Object) -> None:
        """It shows that it is going."""
        obj["status"] = part(obj, "status") | {"phase": "Terminating"}

    def check_deletion(self, name: str) -> None:
        """Some must stay."""
        if name in PERMANENT:
            raise ApiError(
                403,
                "Forbidden",
                f'namespaces "{name}" is forbidden: this namespace may not be deleted',
                details={"name": name, "kind": "namespaces"},
            )


class Secret(Plain):
    """Texts of `stringData` become `data`."""

    selectable = frozenset({"type"})

    def default(self, obj: Object) -> None:
        """Type Opaque; `stringData` into `data`."""
        obj.setdefault("type", "Opaque")
        given = part(obj, "stringData")
        obj.pop("stringData", None)
        if given:
            encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in given.items()}
            obj["data"] = part(obj, "data") | encoded

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Keys, sizes, what its type needs; what is immutable stays."""
        data = part(obj, "data")
        causes = _check_keys(data, "data")
        size = 0
        for name, value in data.items():
            try:
                size += len(base64.b64decode(value or "", validate=True))
            except (ValueError, binascii.Error):
                causes.append(
                    invalid_value(f"data[{name}]", "[redacted]", "must be base64; use stringData for texts")
                )
        if size > DATA_LIMIT_BYTES:
            causes.append(too_long("data", DATA_LIMIT_BYTES))
        needed = {
            "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
            "kubernetes.io/tls": ["tls.crt", "tls.key"],
        }
        causes += [required(f"data[{key}]") for key in needed.get(obj["type"], []) if key not in data]
        if old is not None and obj["type"] != old.get("type"):
            causes.append(invalid_value("type", obj["type"], "field is immutable"))
        return causes + _check_immutable(obj, old, "data")


class ConfigMap(Plain):
    """Texts and bytes."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Keys and sizes; what is immutable stays."""
        data, binary = part(obj, "data"), part(obj, "binaryData")
        causes = _check_keys(data, "data") + _check_keys(binary, "binaryData")
        causes += [
            invalid_value(f"data[{name}]", name, "duplicate of key present in binaryData")
            for name in data.keys() & binary.keys()
        ]
        size = sum(len(str(value).encode()) for value in (*data.values(), *binary.values()))
        if size > DATA_LIMIT_BYTES:
            causes.append(too_long("data", DATA_LIMIT_BYTES))
        return causes + _check_immutable(obj, old, "data", "binaryData")


def _check_keys(data: Object, at: str) -> list[Cause]:
    return [
        invalid_value(f"{at}[{name}]", name, problem) for name in data for problem in check_config_key(name)
    ]


def _check_immutable(obj: Object, old: Object | None, *fields: str) -> list[Cause]:
    """`immutable: true` cannot be taken back, nor the fields changed."""
    if old is None or not old.get("immutable"):
        return []
    return [
        forbidden(field, "field is immutable when `immutable` is set")
        for field in ("immutable", *fields)
        if (obj.get(field) or None) != (old.get(field) or None)
    ]


class Event(Plain):
    """What happened; found by what it is about."""

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
            "source.component",
            "type",
        }
    )

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """It lies in the namespace of what it is about."""
        about = part(obj, "involvedObject").get("namespace") or ""
        home = obj["metadata"].get("namespace")
        # What lies in no namespace is told of in `default`.
        if old is None and about != home and not (not about and home in ("default", "kube-system")):
            return [invalid_value("involvedObject.namespace", about, "does not match event.namespace")]
        return []


class Node(Plain):
    """The machine."""

    selectable = frozenset({"spec.unschedulable"})
    absent = {"spec.unschedulable": "false"}  # noqa: RUF012


class Lease(Plain):
    """Who leads."""

    update_creates = True


class Account(Plain):
    """Who a pod is."""

    returns_deleted = True


class Claim(Plain):
    """A claim is pending until it is bound."""

    returns_deleted = True

    def create(self, obj: Object, now: datetime) -> None:
        """Pending."""
        del now
        obj["status"] = {"phase": "Pending"}


class EndpointSlice(Strategy):
    """Addresses of a Service."""

    def default(self, obj: Object) -> None:
        """Ports are TCP."""
        for port in parts(obj, "ports"):
            port.setdefault("protocol", "TCP")
            port.setdefault("name", "")

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """The kind of addresses is fixed."""
        causes: list[Cause] = []
        if obj.get("addressType") not in ("IPv4", "IPv6", "FQDN"):
            causes.append(required("addressType", "one of IPv4, IPv6, FQDN"))
        if old is not None and obj.get("addressType") != old.get("addressType"):
            causes.append(invalid_value("addressType", obj.get("addressType"), "field is immutable"))
        return causes


class ControllerRevision(Plain):
    """A state that was, as it was."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Data never changes."""
        if old is not None and obj.get("data") != old.get("data"):
            return [forbidden("data", "updates to controller revision data are forbidden")]
        return []


class Autoscaler(Plain):
    """HorizontalPodAutoscaler: one replica at least, unless it says otherwise."""

    def default(self, obj: Object) -> None:
        """minReplicas 1."""
        if isinstance(obj.get("spec"), dict):
            obj["spec"].setdefault("minReplicas", 1)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """The bounds' order."""
        spec = part(obj, "spec")
        low, high = spec.get("minReplicas") or 0, spec.get("maxReplicas") or 0
        causes: list[Cause] = []
        if high < 1:
            causes.append(invalid_value("spec.maxReplicas", high, "must be greater than 0"))
        elif high < low:
            causes.append(
                invalid_value("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
            )
        return causes


class Budget(Strategy):
    """PodDisruptionBudget."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """One bound, and no negative one."""
        spec = part(obj, "spec")
        causes: list[Cause] = []
        given = [field for field in ("minAvailable", "maxUnavailable") if spec.get(field) is not None]
        if len(given) == 2:
            causes.append(invalid_value("spec", given, "minAvailable and maxUnavailable cannot be both set"))
        for field in given:
            text = str(spec[field])
            digits = text.removesuffix("%")
            if not digits.isdecimal() or (text.endswith("%") and int(digits) > 100):
                causes.append(
                    invalid_value(f"spec.{field}", spec[field], "must be a number, or a percentage to 100%")
                )
        return causes
