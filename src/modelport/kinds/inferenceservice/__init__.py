"""InferenceService v1beta1: structs (`spec`), defaulting, validation, and the kind for the API server."""

from __future__ import annotations

import msgspec

from modelport.kinds.inferenceservice import status
from modelport.kinds.inferenceservice.defaulting import FRAMEWORKS, default
from modelport.kinds.inferenceservice.spec import InferenceService, Spec
from modelport.kinds.inferenceservice.validation import validate
from modelport.kinds.kind import AGE, Kind, PrinterColumn, whole
from modelport.kinds.structural import structural
from modelport.kube.resource import Object, Resource

INFERENCE_SERVICE = Resource(
    group="serving.kserve.io",
    version="v1beta1",
    kind="InferenceService",
    plural="inferenceservices",
    singular="inferenceservice",
    short_names=("isvc",),
    subresources=("status",),
)

KIND = Kind(
    resource=INFERENCE_SERVICE,
    schema=whole(
        "A model that is served: by what, from where, and how it is.", structural(Spec), status.schema()
    ),
    columns=(
        PrinterColumn(name="URL", path=".status.url"),
        PrinterColumn(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
        PrinterColumn(
            name="Prev", path=".status.components.predictor.traffic[?(@.tag=='prev')].percent", type="integer"
        ),
        PrinterColumn(
            name="Latest",
            path=".status.components.predictor.traffic[?(@.latestRevision=='True')].percent",
            type="integer",
        ),
        PrinterColumn(
            name="PrevRolledoutRevision",
            path=".status.components.predictor.traffic[?(@.tag=='prev')].revisionName",
        ),
        PrinterColumn(
            name="LatestReadyRevision",
            path=".status.components.predictor.traffic[?(@.latestRevision=='True')].revisionName",
        ),
        AGE,
    ),
    default=default,
    validate=validate,
    kubernetes=(
        *(
            (f"spec.{name}", "PodSpec")
            for name in ("predictor", "transformer", "explainer", "canary[].predictor")
        ),
        *((f"spec.{name}.workerSpec", "PodSpec") for name in ("predictor", "canary[].predictor")),
        *(
            (f"spec.{name}.{model}", "Container")
            for name in ("predictor", "canary[].predictor")
            for model in (*FRAMEWORKS, "model")
        ),
        ("spec.explainer.art", "Container"),
    ),
)


def decode(obj: Object) -> InferenceService:
    """The typed view of a stored object. msgspec.ValidationError for one that does not fit the schema."""
    return msgspec.convert(obj, InferenceService)


__all__ = ["INFERENCE_SERVICE", "KIND", "InferenceService", "decode"]
