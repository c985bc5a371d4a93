"""A model's pod: the runtime's containers with the model's own settings over them."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from modelport.kinds.builtin import FORMAT_VARIABLE, FORMATS
from modelport.kinds.inferenceservice.spec import Container, InferenceService, Model, Predictor
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import Runtime
from modelport.kube.errors import ApiError
from modelport.kube.part import mapping
from modelport.kube.quantity import less
from modelport.kube.resource import Object
from modelport.render.pod import MODEL, container, is_own, merge, pod_fields, set_env
from modelport.render.template import TemplateError, expand_all

RUNTIME_FIELDS = {
    "node_selector": "nodeSelector",
    "affinity": "affinity",
    "tolerations": "tolerations",
    "volumes": "volumes",
    "image_pull_secrets": "imagePullSecrets",
    "host_ipc": "hostIPC",
    "scheduler_name": "schedulerName",
    "resource_claims": "resourceClaims",
}
CONTAINER_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Container))


def pod(service: InferenceService, predictor: Predictor, model: Model, runtime: Runtime) -> Object | Problem:
    """The predictor's PodSpec."""
    below = _below(runtime)
    own = cast("Object", msgspec.to_builtins(model))
    mine: Object = {name: own[name] for name in CONTAINER_FIELDS if name in own} | {"name": MODEL}
    arguments = cast("list[str]", mine.pop("args", None) or [])
    above = pod_fields(predictor)
    others = [one for one in above.pop("containers", []) if one.get("name") != MODEL]
    beside = [one for one in predictor.containers or [] if one.get("name") == MODEL]
    for one in beside:  # KServe's users write it there, too
        arguments += one.get("args") or []
        mine = merge({"containers": [mine]}, {"containers": [{k: v for k, v in one.items() if k != "args"}]})[
            "containers"
        ][0]
    if not any(one.get("name") == MODEL for one in below["containers"]):
        return Problem(
            "spec.predictor.model.runtime",
            f"runtime {runtime.name} has no container called {MODEL}.",
            f"Name the container that serves the model {MODEL}.",
            "InvalidPredictorSpec",
        )
    try:
        merged = merge(below, above | {"containers": [mine, *others]})
    except ApiError as error:
        return Problem("spec.predictor", error.message, "Mend that field.", "InvalidPredictorSpec")
    main = container(merged, MODEL) or {}
    _agree(main, mine)
    if arguments:
        main["args"] = [*(main.get("args") or []), *arguments]
    values = {
        "Name": service.metadata.name,
        "Namespace": service.metadata.namespace,
        "Labels": service.metadata.labels,
        "Annotations": service.metadata.annotations,
    }
    try:
        merged["containers"] = expand_all(merged["containers"], values)
    except TemplateError as error:
        return Problem(f"runtime {runtime.name}", str(error), reason="InvalidPredictorSpec")
    main = container(merged, MODEL) or {}
    if is_own(str(main.get("image", ""))) and not main.get("command") and model.model_format.name in FORMATS:
        set_env(main, FORMAT_VARIABLE, model.model_format.name)
    if model.runtime_version:
        main["image"] = _tagged(str(main.get("image", "")), model.runtime_version)
    # Ours come first: whoever looks at a pod looks at the model.
    merged["containers"] = [main, *(one for one in merged["containers"] if one is not main)]
    return merged


def _agree(main: Object, mine: Object) -> None:
    """A runtime's request gives way to a lower limit of the user's, as its limit does to a higher request: they would
    be refused together else, with a number that the user has never written."""
    asked, most = (mapping(mapping(main.get("resources")).get(one)) for one in ("requests", "limits"))
    own = mapping(mine.get("resources"))
    for name in asked.keys() & most.keys():
        if not less(most[name], asked[name]):
            continue
        if name not in mapping(own.get("requests")):
            asked[name] = most[name]
        elif name not in mapping(own.get("limits")):
            most[name] = asked[name]


def _below(runtime: Runtime) -> Object:
    spec = runtime.spec
    below: Object = {"containers": msgspec.to_builtins(spec.containers)}
    for name, field in RUNTIME_FIELDS.items():
        value: Any = getattr(spec, name)
        if value is not None:
            below[field] = msgspec.to_builtins(value)
    return below


def _tagged(image: str, tag: str) -> str:
    """The image with another tag; one that is pinned by digest stays."""
    if "@" in image:
        return image
    return re.sub(r":[^:/]*$", "", image) + f":{tag}"
