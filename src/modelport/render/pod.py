"""A component's pod: merged from runtime and spec, with names, labels, environment, probes and storage filled in."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from modelport.kinds.builtin import IMAGE, ONE_PORT
from modelport.kinds.inferenceservice.spec import Component, InferenceService
from modelport.kinds.podspec import PodSpec
from modelport.kube.part import objects, texts
from modelport.kube.resource import Object, core
from modelport.kube.schema.kubernetes import schema_of
from modelport.kube.strategic import strategic_patch

MODEL, TRANSFORMER = "kserve-container", "transformer-container"
PORT, GRPC_PORT = 8080, 8081
POD_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(PodSpec))
OWN_IMAGES = (
    IMAGE,
    "kserve/sklearnserver",
    "kserve/xgbserver",
    "kserve/lgbserver",
    "kserve/predictiveserver",
)
_POD = core("Pod", "pods")


def pod_fields(component: Component) -> Object:
    """The component's inline PodSpec, as JSON."""
    given = cast("Object", msgspec.to_builtins(component))
    return {name: given[name] for name in POD_FIELDS if name in given}


def merge(below: Object, above: Object) -> Object:
    """Two PodSpecs by strategic merge; `above` wins."""
    schema = schema_of(_POD)
    spec = schema.field("spec") if schema else None
    if spec is None:
        raise LookupError("the schema of pods is missing")
    return strategic_patch(below, above, spec)


def container(pod: Object, name: str) -> Object | None:
    """A container by name."""
    return next((c for c in pod.get("containers", []) if c.get("name") == name), None)


def labels(
    service: InferenceService, component: str, runtime: dict[str, str], own: dict[str, str]
) -> dict[str, str]:
    """A pod's labels: the component's over the service's over the runtime's; ours over all."""
    given = {k: v for k, v in service.metadata.labels.items() if not k.startswith("kubectl.kubernetes.io/")}
    return (
        runtime
        | given
        | own
        | {
            "serving.kserve.io/inferenceservice": service.metadata.name,
            "component": component,
        }
    )


NOT_FOR_PODS = (
    "kubectl.kubernetes.io/",
    "autoscaling.knative.dev/",
    "serving.knative.dev/",
    "serving.kserve.io/stop",
    "serving.kserve.io/deploymentMode",
    "serving.kserve.io/autoscalerClass",
    "modelport.io/",
)


def pod_annotations(
    service: InferenceService, disallowed: list[str], runtime: dict[str, str], own: dict[str, str]
) -> dict[str, str]:
    """A pod's annotations, by the same precedence, without those that are about the service alone."""
    found = runtime | service.metadata.annotations | own
    return {
        key: value
        for key, value in found.items()
        if key not in disallowed and not key.startswith(NOT_FOR_PODS)
    }


def set_env(target: Object, name: str, value: str) -> None:
    """Adds a variable, unless it is set already."""
    env = cast("list[Object]", target.setdefault("env", []))
    if all(variable.get("name") != name for variable in env):
        env.append({"name": name, "value": value})


def finish(pod: Object, service: InferenceService, main: str) -> Object:
    """What every component's pod gets: the service's name, a readiness probe, Kubernetes' defaults where ours differ."""
    for each in objects(pod.get("containers", [])):
        if each["name"] not in (MODEL, TRANSFORMER):
            continue
        set_env(each, "INFERENCE_SERVICE_NAME", service.metadata.name)
        each.setdefault("imagePullPolicy", "IfNotPresent")
        if is_own(str(each.get("image", ""))):
            _listen(each)
        # A model beside its transformer must answer, too, before requests come.
        asked = each["name"] == main or is_own(str(each.get("image", ""))) or bool(ports(each))
        if asked and "readinessProbe" not in each:
            each["readinessProbe"] = probe(each)
    return pod


def _listen(target: Object) -> None:
    """Our own server listens where the container's ports say, as requests will go there."""
    words = texts(target.get("args"))
    for number, port in enumerate(ports(target)):
        name, wanted = str(port.get("name", "")), int(port["containerPort"])
        if "grpc" in name or "h2c" in name or wanted == GRPC_PORT:
            # As with KServe's servers: who names the gRPC port has it beside that of REST.
            words = [word for word in words if word != ONE_PORT]
            if wanted not in (GRPC_PORT, rest_port(target)) and not _has(words, "grpc"):
                words.append(f"--grpc_port={wanted}")
        elif number == 0 and wanted != rest_port(target):
            words.append(f"--http_port={wanted}")
        target["args"] = words


def _has(words: list[str], kind: str) -> bool:
    return any(word.partition("=")[0].replace("-", "_") == f"__{kind}_port" for word in words)


def probe(target: Object) -> Object:
    """Readiness: our own server says whether a warm-up prediction succeeded; others accept a connection."""
    timing: Object = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    if is_own(target.get("image", "")):
        return {"httpGet": {"path": "/v2/health/ready", "port": rest_port(target)}} | timing
    return {"tcpSocket": {"port": first_port(target)}} | timing


def is_own(image: str) -> bool:
    """Whether an image is our server's, or one of KServe's that ours stands in for."""
    name = image.partition("@")[0]
    path, _, tag = name.rpartition(":")
    repository = path if path and "/" not in tag else name
    return repository.removeprefix("docker.io/").removeprefix("index.docker.io/") in OWN_IMAGES


def rest_port(target: Object) -> int:
    """The port on which our own server answers REST: its last flag's, also where only the gRPC port is declared."""
    words, found = texts(target.get("args")), PORT
    for number, word in enumerate(words):
        flag, given, value = word.partition("=")
        if flag in ("--http_port", "--http-port"):
            text = value if given else "".join(words[number + 1 : number + 2])
            found = int(text) if text.isdecimal() else found
    return found


def ports(target: Object) -> list[Object]:
    """Ports of a container."""
    return [port for port in cast("list[Any]", objects(target.get("ports"))) if isinstance(port, dict)]


def first_port(target: Object) -> int:
    """The port that requests go to."""
    found = ports(target)
    return int(found[0].get("containerPort", PORT)) if found else PORT
