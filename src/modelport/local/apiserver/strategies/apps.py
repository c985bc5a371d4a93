"""Deployments and ReplicaSets."""

from __future__ import annotations

import re
from typing import Any

from modelport.kube.errors import ApiError, Cause, forbidden, invalid_value, not_supported, required
from modelport.kube.meta import validate_labels
from modelport.kube.resource import Object
from modelport.kube.selector import from_object
from modelport.local.apiserver.part import part
from modelport.local.apiserver.strategies.template import check_pod_spec, fill_pod_spec
from modelport.local.apiserver.strategy import Strategy

_PERCENT = re.compile(r"[0-9]+%")


class Workload(Strategy):
    """What both have in common: replicas, an immutable selector, a template whose labels fit it."""

    def default(self, obj: Object) -> None:
        """One replica, and a pod's defaults."""
        if "spec" not in obj:
            return
        obj["spec"].setdefault("replicas", 1)
        if "spec" in part(obj, "spec", "template"):
            fill_pod_spec(obj["spec"]["template"]["spec"])

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Replicas, selector and template, and what may not change."""
        spec = part(obj, "spec")
        causes = _check_count(spec.get("replicas"), "spec.replicas")
        causes += _check_count(spec.get("minReadySeconds"), "spec.minReadySeconds")
        template, labels = part(spec, "template"), part(spec, "template", "metadata", "labels")
        causes += validate_labels(labels, "spec.template.metadata.labels")
        causes += check_pod_spec(template.get("spec"), "spec.template.spec")
        policy = part(template, "spec").get("restartPolicy")
        if policy in ("OnFailure", "Never"):
            causes.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
        selector = spec.get("selector")
        if not selector:
            return [*causes, required("spec.selector")]
        if old is not None and selector != old["spec"].get("selector"):
            causes.append(invalid_value("spec.selector", selector, "field is immutable"))
        try:
            fits = from_object(selector).matches(labels)
        except ApiError as error:
            return [*causes, invalid_value("spec.selector", selector, error.message)]
        if not fits:
            causes.append(
                invalid_value(
                    "spec.template.metadata.labels", labels, "`selector` does not match template `labels`"
                )
            )
        return causes


class ReplicaSet(Workload):
    """Pods of one template."""

    selectable = frozenset({"status.replicas"})
    absent = {"status.replicas": "0"}  # noqa: RUF012


class Deployment(Workload):
    """Rolling by default."""

    told_with_status = ("annotations", "finalizers")

    def default(self, obj: Object) -> None:
        """Kubernetes' defaults."""
        super().default(obj)
        if "spec" not in obj:
            return
        spec: Object = obj["spec"]
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        strategy: Object = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy["rollingUpdate"] = part(strategy, "rollingUpdate")
            rolling.setdefault("maxSurge", "25%")
            rolling.setdefault("maxUnavailable", "25%")

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """How it rolls."""
        causes = super().validate(obj, old)
        spec = part(obj, "spec")
        causes += _check_count(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        at = "spec.strategy"
        kind, limits = part(spec, "strategy").get("type"), part(spec, "strategy", "rollingUpdate")
        if kind not in ("Recreate", "RollingUpdate"):
            causes.append(not_supported(f"{at}.type", kind, ("Recreate", "RollingUpdate")))
        elif kind == "Recreate" and limits:
            causes.append(
                forbidden(f"{at}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
            )
        elif kind == "RollingUpdate":
            for name in ("maxSurge", "maxUnavailable"):
                causes += _check_share(limits.get(name), f"{at}.rollingUpdate.{name}")
            if not causes and {str(limits.get(n)) for n in ("maxSurge", "maxUnavailable")} <= {"0", "0%"}:
                causes.append(
                    invalid_value(
                        f"{at}.rollingUpdate.maxUnavailable",
                        limits.get("maxUnavailable"),
                        "may not be 0 when `maxSurge` is 0",
                    )
                )
        deadline = spec.get("progressDeadlineSeconds") or 0
        if deadline <= (spec.get("minReadySeconds") or 0):
            causes.append(
                invalid_value(
                    "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
                )
            )
        return causes


def _check_count(value: Any, at: str) -> list[Cause]:
    if value is None or value >= 0:
        return []
    return [invalid_value(at, value, "must be greater than or equal to 0")]


def _check_share(value: Any, at: str) -> list[Cause]:
    """A number, or a percentage of replicas."""
    if isinstance(value, int) and value >= 0:
        return []
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return []
    return [invalid_value(at, value, "must be a number of pods, 0 or more, or a percentage as in '25%'")]
