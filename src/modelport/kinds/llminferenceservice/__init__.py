"""LLMInferenceService v1alpha2 and the parts that several share: structs, defaulting, validation, kinds."""

from __future__ import annotations

from typing import cast

from modelport.kinds.kind import AGE, Kind, Older, PrinterColumn, Related, whole
from modelport.kinds.llminferenceservice import v1alpha1
from modelport.kinds.llminferenceservice.spec import ConfigSpec, LLMSpec
from modelport.kinds.llminferenceservice.validation import validate, validate_config
from modelport.kinds.structural import structural
from modelport.kube.resource import Object, Resource

GROUP_LABEL = "serving.kserve.io/routing-group"
LLM_INFERENCE_SERVICE = Resource(
    group="serving.kserve.io",
    version="v1alpha2",
    kind="LLMInferenceService",
    plural="llminferenceservices",
    singular="llminferenceservice",
    short_names=("llmisvc",),
    subresources=("status",),
)
LLM_INFERENCE_SERVICE_CONFIG = Resource(
    group="serving.kserve.io",
    version="v1alpha2",
    kind="LLMInferenceServiceConfig",
    plural="llminferenceserviceconfigs",
    singular="llminferenceserviceconfig",
    subresources=("status",),
)


def _default(obj: Object, related: Related) -> Object:
    """The model's name is the service's; the group becomes a label, so that members are found by it."""
    del related
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return obj
    parts = cast("Object", spec)
    model = parts.get("model")
    if isinstance(model, dict) and not cast("Object", model).get("name") and obj["metadata"].get("name"):
        cast("Object", model)["name"] = obj["metadata"]["name"]
    router = parts.get("router")
    route = cast("Object", router).get("route") if isinstance(router, dict) else None
    group = cast("Object", route).get("group") if isinstance(route, dict) else None
    labels = obj["metadata"].get("labels")
    if isinstance(labels, dict) or labels is None:
        rest = {key: value for key, value in cast("Object", labels or {}).items() if key != GROUP_LABEL}
        if isinstance(group, str):
            rest[GROUP_LABEL] = group
        if rest or labels:
            obj["metadata"]["labels"] = rest
    return obj


_READY = (
    PrinterColumn(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
    PrinterColumn(name="Reason", path=".status.conditions[?(@.type=='Ready')].reason"),
    AGE,
)
_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_PODS = tuple(
    (f"spec.{path}", "PodSpec")
    for path in (
        "template",
        "worker",
        "prefill.template",
        "prefill.worker",
        "router.scheduler.template",
        "router.scheduler.tokenizer.template",
    )
)
_SERVICE, _CONFIG = (
    whole("A language model that is served.", structural(LLMSpec), _OPEN),
    whole("What LLMInferenceServices have in common, by reference.", structural(ConfigSpec), _OPEN),
)


def _v1alpha1(schema: Object) -> tuple[Older, ...]:
    return (Older(version="v1alpha1", schema=v1alpha1.schema(schema), up=v1alpha1.up, down=v1alpha1.down),)


KINDS = (
    Kind(
        resource=LLM_INFERENCE_SERVICE,
        older=_v1alpha1(_SERVICE),
        schema=_SERVICE,
        columns=(
            PrinterColumn(name="URL", path=".status.url"),
            *_READY,
            PrinterColumn(name="URLs", path=".status.addresses[*].url", priority=1),
        ),
        default=_default,
        validate=validate,
        kubernetes=_PODS,
    ),
    Kind(
        resource=LLM_INFERENCE_SERVICE_CONFIG,
        older=_v1alpha1(_CONFIG),
        schema=_CONFIG,
        columns=_READY,
        default=lambda obj, related: obj,
        validate=validate_config,
        kubernetes=_PODS,
    ),
)
