"""What is observed of an InferenceService, for `kubectl explain isvc.status` (KServe, pkg/apis/serving/v1beta1).

The schema stays open below: clients and other controllers may keep fields of their own there.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from msgspec import Meta, Struct

from modelport.kinds.structural import ANY, structural
from modelport.kube.resource import Object


class Address(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Where it is asked from within."""

    url: Annotated[str | None, Meta(description="As in http://iris-predictor.default.svc.cluster.local.")] = (
        None
    )


class ComponentStatus(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Of one component."""

    url: Annotated[str | None, Meta(description="Its own address, by the gateway.")] = None


class Condition(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One thing that holds, or does not."""

    type: Annotated[
        str,
        Meta(
            description="Ready, PredictorReady, TransformerReady, ExplainerReady, IngressReady,"
            " LatestDeploymentReady (False: the newest spec does not serve, and why), Stopped, ModelFetched"
            " (how far a fetch is, then the content's digest), FieldsIgnored (which fields nothing follows from)."
        ),
    ]
    status: Annotated[str, Meta(description="True, False or Unknown.")]
    reason: Annotated[str | None, Meta(description="Why, for programs.")] = None
    message: Annotated[str | None, Meta(description="Why, and the next step, for people.")] = None
    severity: Annotated[str | None, Meta(description="Info: it does not count for Ready.")] = None
    last_transition_time: Annotated[str | None, Meta(description="Since when.")] = None


class States(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Of the model that serves, and of the one that is to."""

    active_model_state: Annotated[
        str | None, Meta(description="Pending, Standby, Loading, Loaded or FailedToLoad: of what serves.")
    ] = None
    target_model_state: Annotated[str | None, Meta(description="The same of the newest spec.")] = None


class Failure(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Why the newest model is not loaded."""

    reason: Annotated[str | None, Meta(description="ModelLoadFailed, RuntimeUnhealthy, …")] = None
    message: Annotated[str | None, Meta(description="The loader's own words.")] = None
    location: Annotated[str | None, Meta(description="The pod.")] = None
    exit_code: Annotated[int | None, Meta(description="Of the container that ended.")] = None
    time: Annotated[str | None, Meta(description="When.")] = None


class Copies(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How many processes hold the model."""

    total_copies: Annotated[int | None, Meta(description="That are ready.")] = None
    failed_copies: Annotated[int | None, Meta(description="That could not load it.")] = None


class ModelStatus(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How the model is."""

    transition_status: Annotated[
        str | None,
        Meta(
            description="UpToDate, InProgress, BlockedByFailedLoad (the previous model serves) or InvalidSpec."
        ),
    ] = None
    states: Annotated[States | None, Meta(description="Of what serves, and of what is to.")] = None
    last_failure_info: Annotated[Failure | None, Meta(description="Why the newest model is not loaded.")] = (
        None
    )
    copies: Annotated[Copies | None, Meta(description="How many processes hold it.")] = None


class Status(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What was observed."""

    url: Annotated[str | None, Meta(description="Where it is asked, by the gateway.")] = None
    address: Annotated[Address | None, Meta(description="Where it is asked from within.")] = None
    components: Annotated[
        dict[str, ComponentStatus] | None, Meta(description="By name: predictor, transformer, explainer.")
    ] = None
    conditions: Annotated[list[Condition] | None, Meta(description="What holds, and what does not.")] = None
    model_status: Annotated[ModelStatus | None, Meta(description="How the model is.")] = None
    observed_generation: Annotated[
        int | None, Meta(description="The spec's generation that this is about.")
    ] = None
    deployment_mode: Annotated[str | None, Meta(description="Standard.")] = None
    serving_runtime_name: Annotated[str | None, Meta(description="The ServingRuntime that serves it.")] = None
    cluster_serving_runtime_name: Annotated[
        str | None, Meta(description="The ClusterServingRuntime that serves it.")
    ] = None


def schema() -> Object:
    """The status as it is published."""
    return cast("Object", _open(structural(Status)))


def _open(node: Any) -> Any:
    if isinstance(node, list):
        return [_open(one) for one in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    below = {name: _open(one) for name, one in cast("Object", node).items()}
    return below | (
        ANY if isinstance(below.get("properties"), dict) and below.get("type") == "object" else {}
    )
