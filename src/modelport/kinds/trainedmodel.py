"""TrainedModel v1alpha1: one of several models of an InferenceService whose server holds many."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.kind import AGE, Kind, PrinterColumn, Related, mismatch, whole
from modelport.kinds.problem import Problem
from modelport.kinds.structural import Quantity, structural
from modelport.kube.quantity import Quantity as Amount
from modelport.kube.resource import Object, Resource

TRAINED_MODEL = Resource(
    group="serving.kserve.io",
    version="v1alpha1",
    kind="TrainedModel",
    plural="trainedmodels",
    singular="trainedmodel",
    short_names=("tm",),
    subresources=("status",),
)
NAME = re.compile(r"[a-zA-Z0-9_-]+")
SCHEMES = ("gs://", "s3://", "https://", "http://")


class ModelSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The model."""

    storage_uri: Annotated[str, Meta(description="Where it is, as in s3://bucket/path.")]
    framework: Annotated[str, Meta(description="sklearn, xgboost, …")]
    memory: Annotated[
        Quantity, Meta(description="Most memory that it takes, as in 256Mi. Not to be changed.")
    ]


class TrainedModelSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The model, and whose it is."""

    inference_service: Annotated[str, Meta(description="The InferenceService that serves it.")]
    model: Annotated[ModelSpec, Meta(description="The model.")]


def validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    """KServe's rules in its words."""
    del related
    try:
        spec = msgspec.convert(obj.get("spec", {}), TrainedModelSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "trainedmodel")]
    name = obj["metadata"].get("name") or ""
    problems: list[Problem] = []
    if name and not NAME.fullmatch(name):
        problems.append(
            Problem(
                "metadata.name",
                f'the Trained Model "{name}" is invalid: a Trained Model name must consist of alphanumeric'
                " characters, '_', or '-'. (e.g. \"my-Name\" or \"abc_123\")",
            )
        )
    uri = spec.model.storage_uri
    if not uri.startswith(SCHEMES):
        problems.append(
            Problem(
                "spec.model.storageUri",
                f'the Trained Model "{name}" storageUri field is invalid. The storage uri must start with one of the'
                f' prefixes: {", ".join(SCHEMES)}. (the storage uri given is "{uri}")',
                reason="FieldValueNotSupported",
            )
        )
    try:
        Amount.parse(str(spec.model.memory))
    except ValueError as error:
        problems.append(Problem("spec.model.memory", str(error), "As in 256Mi."))
    was = (old or {}).get("spec", {}).get("model", {}).get("memory")
    if was is not None and str(was) != str(spec.model.memory):
        problems.append(
            Problem(
                "spec.model.memory",
                f'the Trained Model "{name}" memory field is immutable. The memory was "{was}" but it is updated to'
                f' "{spec.model.memory}"',
                "Delete it and apply it anew.",
                "FieldValueForbidden",
            )
        )
    return problems


KIND = Kind(
    resource=TRAINED_MODEL,
    schema=whole(
        "A model that is loaded into an InferenceService of many.",
        structural(TrainedModelSpec),
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
    columns=(
        PrinterColumn(name="URL", path=".status.url"),
        PrinterColumn(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
        AGE,
    ),
    default=lambda obj, related: obj,
    validate=validate,
)
