"""Fields that are accepted, but not carried out yet: none is passed over in silence.

A pattern names a field of a component; `spec.canary[]` and what is below is told as one. The test walks the schema: a
field that changes nothing in the plan must be listed here.
"""

from __future__ import annotations

from typing import Any, Final, cast

from modelport.kube.resource import Object

COMPONENT: Final = (
    "maxReplicas",
    "scaleTarget",
    "scaleMetric",
    "scaleMetricType",
    "autoScaling",
    "containerConcurrency",
    "canaryTrafficPercent",
    "logger",
    "storageContainerName",
)
"""Of every component."""
PREDICTOR: Final = ("workerSpec", "name", "model.name", "model.storage.schemaPath", "model.confidential")
POD: Final = (
    "ephemeralContainers",
    "affinity",
    "tolerations",
    "nodeSelector",
    "nodeName",
    "schedulerName",
    "priority",
    "priorityClassName",
    "preemptionPolicy",
    "topologySpreadConstraints",
    "runtimeClassName",
    "overhead",
    "resourceClaims",
    "schedulingGates",
    "imagePullSecrets",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "hostUsers",
    "shareProcessNamespace",
    "dnsPolicy",
    "dnsConfig",
    "subdomain",
    "hostname",
    "hostnameOverride",
    "setHostnameAsFQDN",
    "os",
    "readinessGates",
    "securityContext",
    "activeDeadlineSeconds",
    "enableServiceLinks",
    "resources",
    "automountServiceAccountToken",
)
"""Of a pod: they reach the pod, and on a cluster Kubernetes carries them out; one machine has no use for them."""


def fields(spec: Object, *, embedded: bool = True) -> list[str]:
    """Paths of fields that are set and not carried out, sorted."""
    found: list[str] = []
    for component in ("predictor", "transformer", "explainer"):
        given = spec.get(component)
        if not isinstance(given, dict):
            continue
        names = [*COMPONENT, *(PREDICTOR if component == "predictor" else ()), *(POD if embedded else ())]
        found += [f"spec.{component}.{name}" for name in names if _is_set(cast("Object", given), name)]
        least = cast("Object", given).get("minReplicas")
        if least == 0:
            found.append(f"spec.{component}.minReplicas")
        batcher = cast("Object", given).get("batcher")
        if isinstance(batcher, dict) and "timeout" in batcher:
            found.append(f"spec.{component}.batcher.timeout")
        if batcher and component != "predictor":
            found.append(f"spec.{component}.batcher")
    if spec.get("canary"):
        found.append("spec.canary")
    art = spec.get("explainer")
    if isinstance(art, dict) and "art" in art:
        found.append("spec.explainer.art")
    return sorted(found)


def _is_set(given: Object, name: str) -> bool:
    value: Any = given
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return False
        value = cast("Object", value)[step]
    # KServe's SDK sends an empty `name` with every model, and its configuration may ask for the other one:
    # neither is a field that the user set.
    return value not in ("", None) and not (name == "automountServiceAccountToken" and value is False)
