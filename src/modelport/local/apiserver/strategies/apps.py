"""Deployments and ReplicaSets."""

from __future__ import annotations

from typing import cast

from modelport.kube.errors import ApiError, Cause
from modelport.kube.resource import Object
from modelport.kube.selector import from_object
from modelport.local.apiserver.strategies.core import containers, default_pod_spec
from modelport.local.apiserver.strategy import Strategy


class Workload(Strategy):
    """What both have in common: replicas, an immutable selector, a template whose labels fit it."""

    selectable = frozenset({"status.replicas"})

    def default(self, obj: Object) -> None:
        """One replica, and a pod's defaults."""
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        body = cast("Object", spec)
        body.setdefault("replicas", 1)
        template = body.get("template")
        pod = cast("Object", template).get("spec") if isinstance(template, dict) else None
        if isinstance(pod, dict):
            default_pod_spec(cast("Object", pod))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Selector and template, and what may not change."""
        spec: Object = obj.get("spec") or {}
        found: list[Cause] = []
        if spec.get("replicas", 0) < 0:
            found.append(
                Cause(
                    "spec.replicas",
                    "FieldValueInvalid",
                    f"Invalid value: {spec['replicas']}: must be greater than or equal to 0",
                )
            )
        template: Object = spec.get("template") or {}
        found += containers(template.get("spec"), "spec.template.spec")
        if not spec.get("selector"):
            return [*found, Cause("spec.selector", "FieldValueRequired", "Required value")]
        if old is not None and spec["selector"] != old["spec"].get("selector"):
            found.append(Cause("spec.selector", "FieldValueInvalid", "Invalid value: field is immutable"))
        try:
            fits = from_object(spec["selector"]).matches(template.get("metadata", {}).get("labels"))
        except ApiError as error:
            return [*found, Cause("spec.selector", "FieldValueInvalid", error.message)]
        if not fits:
            found.append(
                Cause(
                    "spec.template.metadata.labels",
                    "FieldValueInvalid",
                    "Invalid value: `selector` does not match template `labels`",
                )
            )
        return found


class Deployment(Workload):
    """Rolling by default."""

    def default(self, obj: Object) -> None:
        """Kubernetes' defaults."""
        super().default(obj)
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        body = cast("Object", spec)
        body.setdefault("revisionHistoryLimit", 10)
        body.setdefault("progressDeadlineSeconds", 600)
        strategy = body.setdefault("strategy", {})
        if isinstance(strategy, dict):
            kind = cast("Object", strategy).setdefault("type", "RollingUpdate")
            if kind == "RollingUpdate":
                rolling = cast("Object", strategy).setdefault("rollingUpdate", {})
                if isinstance(rolling, dict):
                    cast("Object", rolling).setdefault("maxSurge", "25%")
                    cast("Object", rolling).setdefault("maxUnavailable", "25%")


class ReplicaSet(Workload):
    """Pods of one template."""
