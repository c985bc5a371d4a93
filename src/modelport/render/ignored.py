"""Fields that are accepted, but not carried out yet: none is passed over in silence.

A name is a field of a component; `spec.canary` and what is below is told as one. The test walks the schema: a field
that changes nothing in the plan must be listed here, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object

SCALING = "Load does not change the number of pods yet: minReplicas of them run, at least one."
SCHEDULING = "There is one machine, so nothing is to be chosen."
PROCESS = "Pods are processes of this machine, not containers."
DEVICES = "Devices are not given out: every process sees all of this machine's."
HELD = ("cpu", "memory")
"""Resources that the node holds containers to."""
MESH = "ModelMesh's own; nothing here reads it."
WORKERS = "Models over several machines need a cluster."

COMPONENT: Final = {
    "maxReplicas": SCALING,
    "scaleTarget": SCALING,
    "scaleMetric": SCALING,
    "scaleMetricType": SCALING,
    "autoScaling": SCALING,
    "containerConcurrency": "Requests at once are not limited; our own server joins them into batches.",
    "canaryTrafficPercent": "Canaries are not there yet: a changed spec is a rolling update.",
    "logger": "Payloads are not logged yet.",
}
"""Of every component."""
PREDICTOR: Final = {
    "workerSpec": WORKERS,
    "name": "It names a version beside others; canaries are not there yet.",
    "model.name": "The container that serves the model is called kserve-container.",
    "model.storage.schemaPath": "Nothing reads a schema beside the model.",
    "model.confidential": "Models are not decrypted yet.",
}
POD: Final = {
    "ephemeralContainers": PROCESS,
    "affinity": SCHEDULING,
    "tolerations": SCHEDULING,
    "nodeSelector": SCHEDULING,
    "nodeName": SCHEDULING,
    "schedulerName": SCHEDULING,
    "priority": SCHEDULING,
    "priorityClassName": SCHEDULING,
    "preemptionPolicy": SCHEDULING,
    "topologySpreadConstraints": SCHEDULING,
    "schedulingGates": SCHEDULING,
    "resourceClaims": SCHEDULING,
    "runtimeClassName": PROCESS,
    "overhead": PROCESS,
    "hostNetwork": PROCESS,
    "hostPID": PROCESS,
    "hostIPC": PROCESS,
    "hostUsers": PROCESS,
    "hostAliases": PROCESS,
    "shareProcessNamespace": PROCESS,
    "dnsPolicy": PROCESS,
    "dnsConfig": PROCESS,
    "subdomain": PROCESS,
    "hostname": PROCESS,
    "hostnameOverride": PROCESS,
    "setHostnameAsFQDN": PROCESS,
    "os": PROCESS,
    "securityContext": "A pod's processes run as the user who started the platform.",
    "readinessGates": "Nothing sets further conditions of pods.",
    "activeDeadlineSeconds": "Pods that serve have no end.",
    "enableServiceLinks": "Services are not listed in the environment.",
    "resources": "Limits are held for each container, not for the pod as a whole.",
    "automountServiceAccountToken": "Pods get no token of the API server.",
}
"""Of a pod: they reach the pod, and on a cluster Kubernetes carries them out; one machine has no use for them."""
CONTAINER: Final = {
    "securityContext": "A pod's processes run as the user who started the platform.",
    "volumeDevices": PROCESS,
    "resizePolicy": "A change of resources is a rolling update.",
    "restartPolicyRules": "A container that ends is started again, whatever its exit code.",
    "stdin": PROCESS,
    "stdinOnce": PROCESS,
    "tty": PROCESS,
    "terminationMessagePath": "Last words are read from the file that $MODELPORT_TERMINATION_LOG names.",
    "lifecycle.postStart": "Only preStop is carried out.",
    "lifecycle.stopSignal": "Every process is stopped by SIGTERM.",
}
"""Of a container."""
MOUNT: Final = {"mountPropagation": PROCESS, "recursiveReadOnly": PROCESS}
"""Of a container's mount."""
VOLUME: Final = {
    "emptyDir.sizeLimit": "Volumes are folders of this machine, and not limited.",
    "emptyDir.medium": "Volumes are folders of this machine's disk.",
}
"""Of a volume. Kinds that there are none of here are refused when the pod starts."""
TOKENS: Final[dict[str, str]] = dict.fromkeys(
    ("serviceAccountToken", "clusterTrustBundle", "podCertificate"), POD["automountServiceAccountToken"]
)
"""Of a source of a projected volume."""
RUNTIME: Final = {
    "multiModel": "A pod serves one model.",
    "workerSpec": WORKERS,
    "grpcEndpoint": MESH,
    "grpcDataEndpoint": MESH,
    "httpDataEndpoint": MESH,
    "replicas": MESH,
    "storageHelper": MESH,
    "builtInAdapter": MESH,
}
"""Of a ServingRuntime, beside those of its pod."""

ANNOTATIONS: Final = {
    "serving.kserve.io/autoscalerClass": SCALING,
    "serving.kserve.io/metrics": SCALING,
    "serving.kserve.io/targetUtilizationPercentage": SCALING,
    "serving.kserve.io/enable-tag-routing": "Canaries are not there yet, so no version has an address of its own.",
    "serving.kserve.io/enable-metric-aggregation": "There is no queue proxy: our server's metrics are at one place.",
    "serving.kserve.io/enable-prometheus-scraping": "No Prometheus looks for annotations of pods here.",
    "serving.kserve.io/nodegroup": SCHEDULING,
    "autoscaling.knative.dev/": SCALING,
    "serving.knative.dev/": "There is no Knative here: services are served in Standard mode.",
    "sidecar.istio.io/": "There is no mesh here.",
}
"""Of a service: a name, or the beginning of names with `/` at its end."""
MODES: Final = {
    "Knative": "There is no Knative here: the service is served in Standard mode.",
    "ModelMesh": "There is no ModelMesh here: the service is served in Standard mode, with a pod of its own.",
}
_MODE = "serving.kserve.io/deploymentMode"
_FIXED = ("none", "external")
"""Autoscaler classes that leave the number of pods alone, as is done here."""


def fields(spec: Object, annotations: Mapping[str, str] | None = None, *, embedded: bool = True) -> list[str]:
    """Paths of fields that are set and not carried out, sorted. A mode that is not there says what is done instead."""
    found = sorted(reasons(spec, annotations, embedded=embedded))
    mode = (annotations or {}).get(_MODE, "")
    where = _annotation(_MODE)
    return [f"{one}={mode} (served in Standard mode)" if one == where else one for one in found]


def reasons(
    spec: Object, annotations: Mapping[str, str] | None = None, *, embedded: bool = True
) -> dict[str, str]:
    """The same paths, each with the reason. `annotations`: the service's."""
    found = _annotations(annotations or {}) if embedded else {}
    for component in ("predictor", "transformer", "explainer"):
        given = spec.get(component)
        if not isinstance(given, dict):
            continue
        part, where = cast("Object", given), f"spec.{component}"
        found |= _set(part, COMPONENT, where)
        if component == "predictor":
            found |= _set(part, PREDICTOR, where)
        if embedded:
            found |= _pod(part, where)
            if isinstance(part.get("model"), dict):
                found |= _set(part["model"], CONTAINER, f"{where}.model")
                found |= _devices(part["model"], f"{where}.model")
        model = mapping(part.get("model"))
        if model.get("storageUri") and "path" in mapping(model.get("storage")):
            found[f"{where}.model.storage.path"] = "storageUri says where the model is."
        if part.get("minReplicas") == 0:
            found[f"{where}.minReplicas"] = SCALING
        batcher = part.get("batcher")
        if isinstance(batcher, dict) and "timeout" in batcher:
            found[f"{where}.batcher.timeout"] = "KServe does nothing with it either."
        if batcher and component != "predictor":
            found[f"{where}.batcher"] = "Only our own server joins requests."
    if spec.get("canary"):
        found["spec.canary"] = COMPONENT["canaryTrafficPercent"]
    return found


def _annotations(given: Mapping[str, str]) -> dict[str, str]:
    found = {
        _annotation(name): why
        for name in given
        for known, why in ANNOTATIONS.items()
        if (name.startswith(known) if known.endswith("/") else name == known)
    }
    if given.get("serving.kserve.io/autoscalerClass") in _FIXED:
        del found[_annotation("serving.kserve.io/autoscalerClass")]
    if why := MODES.get(given.get(_MODE, "")):
        found[_annotation(_MODE)] = why
    return found


def _annotation(name: str) -> str:
    return f"metadata.annotations[{name}]"


def of_runtime(spec: Object, *, embedded: bool = True) -> dict[str, str]:
    """Paths of a runtime's fields that are set and not carried out, each with the reason."""
    return _set(spec, RUNTIME, "spec") | (_pod(spec, "spec", skip=tuple(RUNTIME)) if embedded else {})


def _pod(part: Object, where: str, skip: tuple[str, ...] = ()) -> dict[str, str]:
    found = _set(part, {name: why for name, why in POD.items() if name not in skip}, where)
    for kind in ("containers", "initContainers"):
        for position, container in enumerate(objects(part.get(kind))):
            found |= _set(container, CONTAINER, f"{where}.{kind}[{position}]")
            found |= _devices(container, f"{where}.{kind}[{position}]")
            for number, mount in enumerate(objects(container.get("volumeMounts"))):
                found |= _set(mount, MOUNT, f"{where}.{kind}[{position}].volumeMounts[{number}]")
    for position, volume in enumerate(objects(part.get("volumes"))):
        found |= _set(volume, VOLUME, f"{where}.volumes[{position}]")
        for number, source in enumerate(objects(mapping(volume.get("projected")).get("sources"))):
            found |= _set(source, TOKENS, f"{where}.volumes[{position}].projected.sources[{number}]")
    return found


def _devices(container: Object, where: str) -> dict[str, str]:
    """GPUs and whatever else a cluster's nodes give out."""
    resources = mapping(container.get("resources"))
    return {
        f"{where}.resources.{group}[{name}]": DEVICES
        for group in ("limits", "requests")
        for name in mapping(resources.get(group))
        if name not in HELD
    }


def _set(given: Object, names: Mapping[str, str], where: str) -> dict[str, str]:
    return {f"{where}.{name}": why for name, why in names.items() if _is_set(given, name)}


def _is_set(given: Object, name: str) -> bool:
    value: Any = given
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return False
        value = cast("Object", value)[step]
    # KServe's SDK sends an empty `name` with every model, and its configuration may ask for the other one:
    # neither is a field that the user set.
    return value not in ("", None) and not (name == "automountServiceAccountToken" and value is False)
