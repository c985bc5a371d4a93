"""Pods: all of them on the one node, which ends their processes before they go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from modelport.kube.errors import ApiError, Cause, forbidden
from modelport.kube.resource import SERVICE_ACCOUNT, Object
from modelport.local.apiserver.part import part, parts
from modelport.local.apiserver.strategies.template import (
    GROUPS,
    check_pod_spec,
    fill_pod_spec,
    quality,
)
from modelport.local.apiserver.strategy import Related, Strategy

NODE = "local"
"""The only node's name."""
GRACE_S = 30


class Pod(Strategy):
    """Given to the node at birth; deleted in grace."""

    returns_deleted = True
    selectable = frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    )

    absent = {"spec.hostNetwork": "false"}  # noqa: RUF012

    def default(self, obj: Object) -> None:
        """Kubernetes' defaults of a PodSpec."""
        if isinstance(obj.get("spec"), dict):
            fill_pod_spec(obj["spec"])
            obj["spec"].setdefault("enableServiceLinks", True)

    def create(self, obj: Object, now: datetime) -> None:
        """A new pod waits for its node."""
        del now
        if isinstance(obj.get("spec"), dict):
            obj["spec"].setdefault("nodeName", NODE)
            obj["status"] = {"phase": "Pending", "qosClass": quality(obj["spec"])}

    def update(self, obj: Object, old: Object) -> None:
        """Who says nothing of the node leaves the pod there."""
        if "spec" in obj and not obj["spec"].get("nodeName") and old["spec"].get("nodeName"):
            obj["spec"]["nodeName"] = old["spec"]["nodeName"]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """The PodSpec's rules; and of a pod that is there hardly anything may change."""
        causes = check_pod_spec(obj.get("spec"), "spec")
        if old is not None and not causes and _fixed(obj["spec"]) != _fixed(old["spec"]):
            # A pod without a node may be given one (pods/binding).
            free: Object = {} if old["spec"].get("nodeName") else {"nodeName": None}
            if _fixed(part(obj, "spec") | free) != _fixed(part(old, "spec") | free):
                causes.append(
                    forbidden(
                        "spec",
                        "pod updates may not change fields other than `spec.containers[*].image`,"
                        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
                        "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to "
                        "be set to 1 if it was previously negative)",
                    )
                )
        return causes

    def reserve(self, obj: Object, related: Related) -> Callable[[], None]:
        """Refuses a ServiceAccount that is not there: a model would be fetched without its credentials. `default`
        comes by itself, a moment after its namespace."""
        meta, name = obj["metadata"], obj["spec"].get("serviceAccountName") or "default"
        namespace = meta["namespace"]
        if name != "default" and related.get(SERVICE_ACCOUNT, namespace, name) is None:
            raise ApiError(
                403,
                "Forbidden",
                f'pods "{meta["name"]}" is forbidden: error looking up service account {namespace}/{name}:'
                f' serviceaccount "{name}" not found. Create it: kubectl create serviceaccount {name} -n {namespace}',
                details={"name": meta["name"], "kind": "pods"},
            )
        return super().reserve(obj, related)

    def grace_s(self, obj: Object, asked: int | None) -> int:
        """What the caller asks for, else the pod's own. None where nothing runs any more."""
        if part(obj, "status").get("phase") in ("Failed", "Succeeded"):
            return 0
        if not obj["spec"].get("nodeName"):
            return 0
        own = obj["spec"].get("terminationGracePeriodSeconds")
        return asked if asked is not None else GRACE_S if own is None else int(own)


class PodTemplate(Strategy):
    """A template that is kept and used by nobody here, as on a cluster: programs keep their own ends in it."""

    def default(self, obj: Object) -> None:
        """A pod's defaults."""
        spec = part(obj, "template", "spec")
        if spec:
            fill_pod_spec(spec)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """The PodSpec's rules."""
        del old
        return check_pod_spec(part(obj, "template").get("spec"), "template.spec")


def _fixed(spec: Object) -> Object:
    """What of a pod's spec may not change."""
    free = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
    kept: dict[str, Any] = {name: value for name, value in spec.items() if name not in free}
    for group in GROUPS:
        if group in kept:
            kept[group] = [
                {name: value for name, value in one.items() if name not in ("image", "imagePullPolicy")}
                for one in parts(kept, group)
            ]
    return kept
