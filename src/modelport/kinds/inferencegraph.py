"""InferenceGraph v1alpha1: several services behind one address: in a row, split, together, or by a condition."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.kind import AGE, Kind, PrinterColumn, Related, mismatch, whole
from modelport.kinds.problem import Problem
from modelport.kinds.structural import Json, JsonList, structural
from modelport.kube.resource import Object, Resource

INFERENCE_GRAPH = Resource(
    group="serving.kserve.io",
    version="v1alpha1",
    kind="InferenceGraph",
    plural="inferencegraphs",
    singular="inferencegraph",
    short_names=("ig",),
    subresources=("status",),
)
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ROOT = "root"


class Step(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One target of a node."""

    name: Annotated[str | None, Meta(description="Name of the step, unique in its node.")] = None
    node_name: Annotated[str | None, Meta(description="Another node of the graph.")] = None
    service_name: Annotated[str | None, Meta(description="An InferenceService of the namespace.")] = None
    service_url: Annotated[str | None, Meta(description="Any address.")] = None
    data: Annotated[
        str | None,
        Meta(description="What it is sent: $request, $response. Default: the step before's answer."),
    ] = None
    map_predictions_to_instances: Annotated[
        bool | None, Meta(description="Send the step before's `predictions` as `instances`.")
    ] = None
    weight: Annotated[int | None, Meta(description="Share of a Splitter's requests, per cent.")] = None
    condition: Annotated[str | None, Meta(description="A GJSON expression that must find something.")] = None
    dependency: Annotated[
        Literal["Soft", "Hard"] | None, Meta(description="Whether its failure is the graph's. Default Soft.")
    ] = None


class Node(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A way to pass requests on."""

    router_type: Annotated[
        Literal["Sequence", "Splitter", "Ensemble", "Switch"], Meta(description="How steps are chosen.")
    ]
    steps: Annotated[list[Step] | None, Meta(description="Targets.")] = None


class Timeouts(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The router's, seconds."""

    server_read: Annotated[int | None, Meta(description="To read a request. Default 60.")] = None
    server_write: Annotated[int | None, Meta(description="To write an answer. Default 60.")] = None
    server_idle: Annotated[int | None, Meta(description="Until an idle connection ends. Default 180.")] = None
    service_client: Annotated[int | None, Meta(description="For a step's answer. Default: none.")] = None


class GraphSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The graph."""

    nodes: Annotated[dict[str, Node], Meta(description="By name; requests begin at `root`.")]
    resources: Annotated[Json | None, Meta(description="Requests and limits of the router.")] = None
    affinity: Annotated[Json | None, Meta(description="Which nodes and neighbours are wanted.")] = None
    tolerations: Annotated[JsonList | None, Meta(description="Taints that the router bears.")] = None
    node_selector: Annotated[dict[str, str] | None, Meta(description="Labels that the node must have.")] = (
        None
    )
    node_name: Annotated[str | None, Meta(description="The node to run on.")] = None
    service_account_name: Annotated[str | None, Meta(description="Whose credentials the router has.")] = None
    timeout: Annotated[int | None, Meta(description="Longest time for a request, seconds.")] = None
    router_timeouts: Annotated[Timeouts | None, Meta(description="The router's own.")] = None
    min_replicas: Annotated[int | None, Meta(description="Fewest routers. Default 1.")] = None
    max_replicas: Annotated[int | None, Meta(description="Most routers.")] = None
    scale_target: Annotated[int | None, Meta(description="Value of the metric to hold.")] = None
    scale_metric: Annotated[
        Literal["cpu", "memory", "concurrency", "rps"] | None, Meta(description="What is measured.")
    ] = None


def validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    """KServe's rules in its words, with the path of each field."""
    del old, related
    try:
        spec = msgspec.convert(obj.get("spec", {}), GraphSpec)
    except msgspec.ValidationError as error:
        return [mismatch(error, "inferencegraph")]
    graph = obj["metadata"].get("name") or ""
    problems: list[Problem] = []
    if graph and not NAME.fullmatch(graph):
        problems.append(
            Problem(
                "metadata.name",
                f'The InferenceGraph "{graph}" is invalid: a InferenceGraph name must consist of lower case'
                " alphanumeric characters or '-', and must start with alphabetical character."
                ' (e.g. "my-name" or "abc-123")',
            )
        )
    if ROOT not in spec.nodes:
        problems.append(
            Problem(
                "spec.nodes",
                "root node not found, InferenceGraph needs a node with name 'root' as the root node of the graph",
                f"There are: {', '.join(sorted(spec.nodes)) or 'none'}.",
                "FieldValueRequired",
            )
        )
    for name, node in spec.nodes.items():
        problems += _node(graph, name, node, spec)
    if (
        spec.min_replicas is not None
        and spec.max_replicas not in (None, 0)
        and (spec.min_replicas > (spec.max_replicas or 0))
    ):
        problems.append(
            Problem(
                "spec.minReplicas",
                f"must be at most maxReplicas ({spec.max_replicas}), got {spec.min_replicas}",
            )
        )
    return problems


def _node(graph: str, name: str, node: Node, spec: GraphSpec) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    for position, step in enumerate(node.steps or []):
        where, called = f"spec.nodes.{name}.steps[{position}]", step.name or ""
        if called in seen:
            words = (
                f'Node "{name}" of InferenceGraph "{graph}" contains more than one step with name "{called}"'
            )
            problems.append(Problem(f"{where}.name", words, reason="FieldValueDuplicate"))
        if called:
            seen.add(called)
        targets = [one for one in (step.node_name, step.service_name, step.service_url) if one]
        at = f'Step {position} ("{called}") in node "{name}" of InferenceGraph "{graph}"'
        if not targets:
            problems.append(
                Problem(
                    where,
                    f"{at} does not specify an inference target",
                    "Give it one of nodeName, serviceName, serviceUrl.",
                    "FieldValueRequired",
                )
            )
        elif len(targets) > 1:
            problems.append(
                Problem(
                    where,
                    f"{at} specifies more than one of nodeName, serviceName, serviceUrl",
                    "Keep one.",
                    "FieldValueForbidden",
                )
            )
        if step.node_name and step.node_name not in spec.nodes:
            words = f"there is no node {step.node_name!r} in this graph"
            problems.append(
                Problem(f"{where}.nodeName", words, f"There are: {', '.join(sorted(spec.nodes))}.")
            )
        if node.router_type == "Splitter" and step.weight is None:
            target = step.service_name or step.node_name or step.service_url or called
            words = f"InferenceGraph[{graph}] Node[{name}] Route[{target}] missing the 'Weight'"
            problems.append(Problem(f"{where}.weight", words, reason="FieldValueRequired"))
    if node.router_type == "Splitter":
        weights = [step.weight for step in node.steps or [] if step.weight is not None]
        if len(weights) == len(node.steps or []) and sum(weights) != 100:
            words = (
                f"InferenceGraph[{graph}] Node[{name}] splitter node: the sum of traffic weights for all routing"
                f" targets should be 100, got {sum(weights)}"
            )
            problems.append(Problem(f"spec.nodes.{name}.steps", words))
    return problems


KIND = Kind(
    resource=INFERENCE_GRAPH,
    schema=whole(
        "Services that are asked one after another, together, or by choice.",
        structural(GraphSpec),
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
    columns=(
        PrinterColumn(name="URL", path=".status.url"),
        PrinterColumn(name="Ready", path=".status.conditions[?(@.type=='Ready')].status"),
        AGE,
    ),
    default=lambda obj, related: obj,
    validate=validate,
    kubernetes=(
        ("spec.resources", "ResourceRequirements"),
        ("spec.affinity", "Affinity"),
        ("spec.tolerations[]", "Toleration"),
    ),
)
