"""Each component's pod: predictor by runtime or custom, transformer, explainer."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.kinds import builtin
from modelport.kinds.inferenceservice.spec import Component, InferenceService, Model, Predictor
from modelport.kinds.problem import Problem
from modelport.kinds.selection import Selection
from modelport.kube.part import objects, texts
from modelport.kube.resource import Object
from modelport.render import runtime as runtimes
from modelport.render import storage
from modelport.render.pod import (
    MODEL,
    PORT,
    TRANSFORMER,
    container,
    finish,
    is_own,
    labels,
    pod_annotations,
    pod_fields,
    set_env,
)
from modelport.render.rendered import Around, Part
from modelport.render.workload import deployment, service_object


def predictor(
    service: InferenceService, around: Around, selection: Selection | None, version: str
) -> Part | list[Problem]:
    """The model's own pods."""
    component = service.spec.predictor
    name = component_name(service, "predictor")
    model = component.model
    if model is not None and selection is not None:
        pod = runtimes.pod(service, component, model, selection.runtime)
        if isinstance(pod, Problem):
            return [pod]
        below = (selection.runtime.spec.labels or {}, selection.runtime.spec.annotations or {})
    else:
        pod, below = _custom(component), (dict[str, str](), dict[str, str]())
    if not pod["containers"]:
        return [_empty("predictor")]
    main = container(pod, MODEL) or pod["containers"][0]
    _batch(component, main)
    uris = storage.uris_of(component, model)
    if model is not None and not uris and _is_empty_handed(model, main):
        return [
            Problem(
                "spec.predictor.model.storageUri",
                "is missing, and nothing else says where the model is.",
                f"Name the model's folder or file there, or mount a volume at {storage.MOUNT}.",
                "InvalidPredictorSpec",
            )
        ]
    legacy = storage.legacy_uri(pod) if model is None and not uris else None
    if legacy is not None:
        uris = [storage.StorageUri(uri=legacy, mount_path=storage.MOUNT)]
    return _part(service, around, "predictor", component, name, pod, below, uris, version)


def _is_empty_handed(model: Model, main: Object) -> bool:
    """Whether our own server would look into an empty folder."""
    ours = str(main.get("image", "")).startswith(f"{builtin.IMAGE}:") and main.get("command") is None
    mounts = [str(one.get("mountPath", "")) for one in objects(main.get("volumeMounts"))]
    named = model.storage is not None or model.args or any(one.startswith(storage.MOUNT) for one in mounts)
    return ours and not named


def transformer(service: InferenceService, around: Around, version: str) -> Part | list[Problem]:
    """What comes before and after the predictor."""
    component = service.spec.transformer
    if component is None:
        return []
    pod = _custom(component)
    if not pod["containers"]:
        return [_empty("transformer")]
    _point_at_predictor(service, component, pod["containers"][0])
    uris = storage.uris_of(component, None)
    name = component_name(service, "transformer")
    return _part(service, around, "transformer", component, name, pod, ({}, {}), uris, version)


def explainer(service: InferenceService, around: Around, version: str) -> Part | list[Problem]:
    """What explains predictions."""
    component = service.spec.explainer
    if component is None:
        return []
    if component.art is not None:
        return [
            Problem(
                "spec.explainer.art",
                "the ART explainer is not part of this platform.",
                "Run one of your own as a custom container.",
                "InvalidPredictorSpec",
            )
        ]
    pod = _custom(component)
    if not pod["containers"]:
        return [_empty("explainer")]
    _point_at_predictor(service, component, pod["containers"][0])
    uris = storage.uris_of(component, None)
    name = component_name(service, "explainer")
    return _part(service, around, "explainer", component, name, pod, ({}, {}), uris, version)


def component_name(service: InferenceService, component: str) -> str:
    """Name of a component's Deployment and Service."""
    return f"{service.metadata.name}-{component}"


def _empty(component: str) -> Problem:
    return Problem(f"spec.{component}", "has no container.", "Give it one.", "InvalidPredictorSpec")


def _custom(component: Component) -> Object:
    """A pod of containers of one's own: the first is the one that serves, whatever it is called."""
    pod = pod_fields(component)
    containers = objects(pod.get("containers", []))
    pod["containers"] = [dict(one) for one in containers]
    if containers and all(one.get("name") not in (MODEL, TRANSFORMER) for one in containers):
        pod["containers"][0]["name"] = MODEL
    return pod


def _point_at_predictor(service: InferenceService, component: Component, target: Object) -> None:
    """KServe's arguments for a custom transformer or explainer, unless they are there."""
    arguments = texts(target.get("args"))
    host = f"{component_name(service, 'predictor')}.{service.metadata.namespace}"
    wanted = {
        "--model_name": service.metadata.name,
        "--predictor_host": host,
        "--http_port": str(PORT),
    }
    if component.container_concurrency:
        wanted["--workers"] = str(component.container_concurrency)
    for flag, value in wanted.items():
        if not any(one == flag or one.startswith(f"{flag}=") for one in arguments):
            arguments += [flag, value]
    target["args"] = arguments


def _batch(component: Predictor, main: Object) -> None:
    """Our own server joins requests itself: the batcher's numbers are its flags."""
    if component.batcher is None or not is_own(str(main.get("image", ""))):
        return
    arguments = texts(main.get("args"))
    if component.batcher.max_batch_size:
        arguments.append(f"--max-batch-size={component.batcher.max_batch_size}")
    if component.batcher.max_latency:
        arguments.append(f"--batch-delay={component.batcher.max_latency}")
    main["args"] = arguments


def _part(
    service: InferenceService,
    around: Around,
    component: str,
    spec: Component,
    name: str,
    pod: Object,
    below: tuple[dict[str, str], dict[str, str]],
    uris: Sequence[storage.StorageUri],
    version: str,
) -> Part | list[Problem]:
    config = around.config
    model = spec.model if isinstance(spec, Predictor) else None
    problems = storage.add(pod, service, spec, model, list(uris), around, version)
    if problems:
        return problems
    main = container(pod, TRANSFORMER) or container(pod, MODEL) or pod["containers"][0]
    if component == "predictor" and model is None:
        for each in pod["containers"]:
            if each["name"] == MODEL:
                set_env(each, "PROTOCOL", "v1")
    finish(pod, service, str(main["name"]))
    pod_labels = labels(service, component, below[0], spec.labels or {})
    disallowed = config.inference_service.service_annotation_disallowed_list
    its_annotations = pod_annotations(service, disallowed, below[1], spec.annotations or {})
    pod_labels = {
        k: v for k, v in pod_labels.items() if k not in config.inference_service.service_label_disallowed_list
    }
    front, grpc = service_object(service, name, pod, pod_labels, its_annotations, config)
    plan = deployment(service, spec, name, pod, pod_labels, its_annotations, config)
    return Part(component=component, name=name, objects=[plan, front], grpc_port=grpc)
