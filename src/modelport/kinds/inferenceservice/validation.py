"""What KServe's webhook refuses in an InferenceService: all problems at once, each with its path and the next step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from modelport.kinds import config as configuration
from modelport.kinds import pod_problems
from modelport.kinds.clusterstoragecontainer import CLUSTER_STORAGE_CONTAINER, supports, usable
from modelport.kinds.inferenceservice import replicas, uris
from modelport.kinds.inferenceservice.defaulting import FRAMEWORKS, MODE
from modelport.kinds.inferenceservice.spec import Component, InferenceService, Predictor
from modelport.kinds.kind import Related
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import python_path
from modelport.kube.part import mapping, objects
from modelport.kube.resource import CONFIG_MAP, Object

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LONGEST = 63
"""Characters of a label's value."""
AUTOSCALERS = ("hpa", "keda", "external", "none")
AUTOSCALER = "serving.kserve.io/autoscalerClass"


def validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    """All that is wrong. Never raises."""
    if not isinstance(obj.get("spec"), dict):
        return [Problem("spec", "is required", "It needs at least spec.predictor.", "FieldValueRequired")]
    try:
        service = msgspec.convert(obj, InferenceService)
    except msgspec.ValidationError as error:
        return [_mismatch(error)]
    config, _ = configuration.decode(related.get(CONFIG_MAP, configuration.NAMESPACE, configuration.NAME))
    mode = service.metadata.annotations.get(MODE) or config.deploy.default_deployment_mode
    problems = [
        *_name(service),
        *(_length(service) if old is None else []),
        *_autoscaler(service),
        *_environment(service),
        *_implementations(service),
        *uris.check(service, _schemes(related)),
        *_workers(service),
        *_logger(service),
        *_models(service),
        *_canaries(service, mode),
    ]
    for where, component in components(service):
        problems += replicas.check(
            component, where, mode, service.metadata.annotations.get(AUTOSCALER, "hpa")
        )
    problems += pod_problems.new_ones(_pods(obj), _pods(old) if old is not None else [])
    return problems + _changes(service, old)


def _pods(obj: Object) -> list[tuple[str, Object]]:
    """What will be pods, raw, with their paths."""
    spec = mapping(obj.get("spec"))
    found = [
        (f"spec.{name}", mapping(spec[name]))
        for name in ("predictor", "transformer", "explainer")
        if name in spec
    ]
    for index, canary in enumerate(objects(spec.get("canary"))):
        found.append((f"spec.canary[{index}].predictor", mapping(canary.get("predictor"))))
    return found


def components(service: InferenceService) -> list[tuple[str, Component]]:
    """Those that are there, with their paths."""
    spec = service.spec
    found = [
        ("spec.predictor", spec.predictor),
        ("spec.transformer", spec.transformer),
        ("spec.explainer", spec.explainer),
    ]
    return [(where, component) for where, component in found if component is not None]


def _mismatch(error: msgspec.ValidationError) -> Problem:
    """msgspec's words, with the path in Kubernetes' spelling."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".").replace("[...]", "[]")
    return Problem(path, text[0].lower() + text[1:], "kubectl explain inferenceservice says what it takes.")


def _name(service: InferenceService) -> list[Problem]:
    name = service.metadata.name
    if not name or NAME.fullmatch(name):
        return []
    return [
        Problem(
            "metadata.name",
            f"the InferenceService {name!r} is invalid: a InferenceService name must consist of lower case"
            " alphanumeric characters or '-', and must start with alphabetical character."
            ' (e.g. "my-name" or "abc-123", regex used for validation is \'[a-z]([-a-z0-9]*[a-z0-9])?\')',
        )
    ]


def _length(service: InferenceService) -> list[Problem]:
    """Its components' pods are labelled `app: isvc.NAME-COMPONENT`, as KServe's are. Of new ones only."""
    parts = [where.removeprefix("spec.") for where, _ in components(service)]
    most = LONGEST - max(len(f"isvc.-{part}") for part in parts)
    name = service.metadata.name
    if len(name) <= most:
        return []
    return [
        Problem(
            "metadata.name",
            f"must be no more than {most} characters, since isvc.{name[:8]}…-{max(parts, key=len)} is a label of its"
            f" pods; got {len(name)}.",
            "Shorten it.",
        )
    ]


def _autoscaler(service: InferenceService) -> list[Problem]:
    given = service.metadata.annotations.get(AUTOSCALER)
    if given is None or given in AUTOSCALERS:
        return []
    return [
        Problem(
            f"metadata.annotations[{AUTOSCALER}]",
            f"[{given}] is not a supported autoscaler class type.",
            f"Choose one of: {', '.join(AUTOSCALERS)}.",
            "FieldValueNotSupported",
        )
    ]


def _environment(service: InferenceService) -> list[Problem]:
    problems: list[Problem] = []
    for where, component in components(service):
        for position, container in enumerate(component.containers or []):
            problems += python_path(container, f"{where}.containers[{position}]")
            if container.get("name") == "transformer-container" and any(
                variable.get("name") == "STORAGE_URI" for variable in objects(container.get("env"))
            ):
                problems.append(
                    Problem(
                        f"{where}.containers[{position}].env",
                        "storage uri should not be specified in transformer container",
                        "Give it to the predictor.",
                        "FieldValueForbidden",
                    )
                )
        if isinstance(component, Predictor):
            if component.model is not None:
                problems += python_path(msgspec.to_builtins(component.model), f"{where}.model")
            for position, container in enumerate(
                (component.worker_spec and component.worker_spec.containers) or []
            ):
                problems += python_path(container, f"{where}.workerSpec.containers[{position}]")
    return problems


def _implementations(service: InferenceService) -> list[Problem]:
    problems: list[Problem] = []
    spec = service.spec
    predictor = spec.predictor
    named = [name for name in (*FRAMEWORKS, "model") if getattr(predictor, name) is not None]
    # Containers beside a model are sidecars.
    if not named and predictor.containers:
        named = ["containers"]
    if len(named) != 1:
        got = f"got {', '.join(named)}" if named else "got none"
        problems.append(
            Problem(
                "spec.predictor",
                f"exactly one of [{', '.join(sorted((*FRAMEWORKS, 'model', 'containers')))}] must be specified in"
                f" PredictorSpec, {got}.",
                "Keep one.",
                "FieldValueRequired" if not named else "FieldValueForbidden",
            )
        )
    if spec.transformer is not None and not spec.transformer.containers:
        problems.append(
            Problem(
                "spec.transformer",
                "exactly one of [containers] must be specified in TransformerSpec, got none.",
                "Give it a container.",
                "FieldValueRequired",
            )
        )
    explainer = spec.explainer
    if explainer is not None and (explainer.art is None) == (not explainer.containers):
        problems.append(
            Problem(
                "spec.explainer",
                "exactly one of [art, containers] must be specified in ExplainerSpec.",
                "Keep one.",
                "FieldValueRequired",
            )
        )
    return problems


def _schemes(related: Related) -> Callable[[str], bool]:
    """Whether a ClusterStorageContainer knows a URI."""
    found = [one for one in usable(related.list(CLUSTER_STORAGE_CONTAINER)) if not one.disabled]
    return lambda uri: any(supports(one.spec, uri) for one in found)


def _workers(service: InferenceService) -> list[Problem]:
    worker, where = service.spec.predictor.worker_spec, "spec.predictor.workerSpec"
    if worker is None:
        return []
    problems: list[Problem] = []
    if len(worker.containers or []) > 1:
        problems.append(Problem(f"{where}.containers", "must not have more than one container"))
    for name, size in (
        ("pipelineParallelSize", worker.pipeline_parallel_size),
        ("tensorParallelSize", worker.tensor_parallel_size),
    ):
        if size is not None and size < 1:
            problems.append(Problem(f"{where}.{name}", f"must be at least 1, got {size}"))
    for variable in cast("list[Any]", objects((worker.containers or [{}])[0].get("env"))):
        if variable.get("name") in ("PIPELINE_PARALLEL_SIZE", "TENSOR_PARALLEL_SIZE"):
            words = f"must not set {variable['name']}"
            problems += [Problem(f"{where}.containers[0].env", words, "Use the field instead.")]
    if service.metadata.annotations.get(AUTOSCALER) != "none":
        problems.append(
            Problem(where, f"needs the annotation {AUTOSCALER}: none", "Pods of one model are not scaled.")
        )
    return problems


def _logger(service: InferenceService) -> list[Problem]:
    problems: list[Problem] = []
    for where, component in components(service):
        logger = component.logger
        if logger is None:
            continue
        if logger.mode is None:
            problems.append(
                Problem(
                    f"{where}.logger.mode",
                    "invalid logger type: it is empty.",
                    "Give all, request or response.",
                )
            )
        storage = logger.storage
        if storage is not None and not (storage.path and storage.parameters and storage.key):
            problems.append(
                Problem(
                    f"{where}.logger.storage",
                    "invalid logger storage configuration: path, parameters and key are needed",
                )
            )
    return problems


def _models(service: InferenceService) -> list[Problem]:
    problems: list[Problem] = []
    predictor = service.spec.predictor
    for position, container in enumerate(predictor.containers or []):
        for variable in objects(container.get("env")):
            if variable.get("name") == "PROTOCOL" and variable.get("value") not in ("v1", "v2", None):
                words = f"PROTOCOL must be v1 or v2, got {variable.get('value')!r}"
                problems += [Problem(f"spec.predictor.containers[{position}].env", words)]
    model = predictor.model
    if model is None:
        return problems
    uri = (model.storage_uri or "").partition("?")[0]
    last = uri.rpartition("/")[2]
    if model.model_format.name == "onnx" and "." in last and not last.endswith(".onnx"):
        problems.append(
            Problem(
                "spec.predictor.model.storageUri",
                f"expected storageUri file extension: .onnx but got {last.rpartition('.')[2]!r}",
                "Name the .onnx file, or the folder that it is in.",
            )
        )
    return problems


def _canaries(service: InferenceService, mode: str) -> list[Problem]:
    canaries = service.spec.canary or []
    if not canaries:
        return []
    problems: list[Problem] = []
    if mode != "Standard":
        problems.append(
            Problem(
                "spec.canary",
                f"needs deployment mode Standard, this service has {mode}",
                f"Annotate it: {MODE}: Standard.",
            )
        )
    seen = {service.spec.predictor.name}
    least = service.spec.predictor.min_replicas
    for position, canary in enumerate(canaries):
        where, predictor = f"spec.canary[{position}]", canary.predictor
        if not predictor.name:
            problems.append(Problem(f"{where}.predictor.name", "is required", reason="FieldValueRequired"))
        elif predictor.name in seen:
            problems.append(Problem(f"{where}.predictor.name", f"{predictor.name!r} is there twice"))
        seen.add(predictor.name)
        for name in ("worker_spec", "max_replicas", "scale_target", "scale_metric", "auto_scaling"):
            if getattr(predictor, name) is not None:
                field = name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
                problems.append(
                    Problem(
                        f"{where}.predictor.{field}",
                        "is not allowed in a canary",
                        reason="FieldValueForbidden",
                    )
                )
        if predictor.min_replicas is not None and least is not None and predictor.min_replicas > least:
            problems.append(
                Problem(f"{where}.predictor.minReplicas", f"must be at most the stable predictor's {least}")
            )
    total = sum(canary.traffic_percent or 0 for canary in canaries)
    if total > 100:
        problems.append(Problem("spec.canary", f"trafficPercent adds up to {total}, which is more than 100"))
    return problems


def _changes(service: InferenceService, old: Object | None) -> list[Problem]:
    if old is None:
        return []
    was = old.get("status", {}).get("deploymentMode")
    wanted = service.metadata.annotations.get(MODE)
    # What was accepted once, and is carried out in another mode, may be applied again.
    before = mapping(mapping(old.get("metadata")).get("annotations"))
    if was and wanted and wanted not in (was, before.get(MODE)):
        return [
            Problem(
                f"metadata.annotations[{MODE}]",
                f"update rejected: deploymentMode cannot be changed from '{was}' to '{wanted}'.",
                "Delete the service and apply it anew.",
                "FieldValueForbidden",
            )
        ]
    return []
