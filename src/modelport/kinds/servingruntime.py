"""ServingRuntime and ClusterServingRuntime v1alpha1: how a model of some format is served."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from modelport.kinds import pod_problems
from modelport.kinds.kind import AGE, Kind, PrinterColumn, Related, whole
from modelport.kinds.podspec import PodSpec
from modelport.kinds.problem import Problem
from modelport.kinds.structural import Json, JsonList, Keyed, structural
from modelport.kube.part import mapping
from modelport.kube.resource import Object, Resource

GROUP = "serving.kserve.io"
SERVING_RUNTIME = Resource(
    group=GROUP,
    version="v1alpha1",
    kind="ServingRuntime",
    plural="servingruntimes",
    singular="servingruntime",
)
CLUSTER_SERVING_RUNTIME = Resource(
    group=GROUP,
    version="v1alpha1",
    kind="ClusterServingRuntime",
    plural="clusterservingruntimes",
    singular="clusterservingruntime",
    namespaced=False,
)


class Format(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model format that a runtime serves."""

    name: Annotated[str, Meta(description="The format's name.")]
    version: Annotated[str | None, Meta(description="Its version, compared as text.")] = None
    auto_select: Annotated[bool | None, Meta(description="Choose this runtime where none is named.")] = None
    priority: Annotated[int | None, Meta(description="Among several, the highest is chosen. At least 1.")] = (
        None
    )


class Worker(PodSpec, rename="camel", omit_defaults=True, kw_only=True):
    """Further pods of a runtime over several machines."""

    pipeline_parallel_size: Annotated[int | None, Meta(description="Stages that the model is cut into.")] = (
        None
    )
    tensor_parallel_size: Annotated[int | None, Meta(description="GPUs that share each layer.")] = None
    labels: Annotated[dict[str, str] | None, Meta(description="Labels of the pods.")] = None
    annotations: Annotated[dict[str, str] | None, Meta(description="Annotations of the pods.")] = None


class RuntimeSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How models are served."""

    supported_model_formats: Annotated[list[Format] | None, Meta(description="What it serves.")] = None
    multi_model: Annotated[bool | None, Meta(description="Whether a pod serves several models.")] = None
    disabled: Annotated[bool | None, Meta(description="Never use it.")] = None
    protocol_versions: Annotated[
        list[str] | None, Meta(description="Protocols: v1, v2, grpc-v1, grpc-v2.")
    ] = None
    worker_spec: Annotated[Worker | None, Meta(description="Further pods of one model.")] = None
    containers: Annotated[Keyed, Meta(description="Containers; the model is served by `kserve-container`.")]
    volumes: Annotated[Keyed | None, Meta(description="Volumes that containers mount.")] = None
    node_selector: Annotated[dict[str, str] | None, Meta(description="Labels that the node must have.")] = (
        None
    )
    affinity: Annotated[Json | None, Meta(description="Which nodes and neighbours are wanted.")] = None
    tolerations: Annotated[JsonList | None, Meta(description="Taints that the pods bear.")] = None
    labels: Annotated[dict[str, str] | None, Meta(description="Labels of the pods.")] = None
    annotations: Annotated[dict[str, str] | None, Meta(description="Annotations of the pods.")] = None
    image_pull_secrets: Annotated[Keyed | None, Meta(description="Credentials for image registries.")] = None
    host_ipc: Annotated[bool | None, Meta(description="Use the node's shared memory.")] = msgspec.field(
        default=None, name="hostIPC"
    )
    scheduler_name: Annotated[str | None, Meta(description="Which scheduler places the pods.")] = None
    resource_claims: Annotated[JsonList | None, Meta(description="Devices that the pods claim.")] = None
    grpc_endpoint: Annotated[str | None, Meta(description="ModelMesh's; not carried out.")] = None
    grpc_data_endpoint: Annotated[str | None, Meta(description="ModelMesh's; not carried out.")] = None
    http_data_endpoint: Annotated[str | None, Meta(description="ModelMesh's; not carried out.")] = (
        msgspec.field(default=None, name="httpDataEndpoint")
    )
    replicas: Annotated[int | None, Meta(description="ModelMesh's; not carried out.")] = None
    storage_helper: Annotated[Json | None, Meta(description="ModelMesh's; not carried out.")] = None
    built_in_adapter: Annotated[Json | None, Meta(description="ModelMesh's; not carried out.")] = None


class Runtime(Struct, kw_only=True):
    """A runtime, of a namespace or of the whole cluster."""

    name: str
    cluster: bool
    created: str
    """RFC 3339; the newest is preferred."""
    spec: RuntimeSpec


def decode(obj: Object, *, cluster: bool) -> Runtime:
    """The typed view of a stored object. msgspec.ValidationError for one that does not fit the schema."""
    meta = obj["metadata"]
    spec = msgspec.convert(obj.get("spec", {}), RuntimeSpec)
    return Runtime(name=meta["name"], cluster=cluster, created=meta.get("creationTimestamp") or "", spec=spec)


def _default(obj: Object, related: Related) -> Object:
    del related
    return obj


def _validate(obj: Object, old: Object | None, related: Related) -> list[Problem]:
    cluster = obj.get("kind") == "ClusterServingRuntime"
    try:
        new = decode(obj, cluster=cluster)
    except msgspec.ValidationError as error:
        return [Problem("spec", str(error))]
    if new.spec.disabled:
        return []
    problems = _alone(new)
    before = [("spec", mapping(old.get("spec")))] if old is not None else []
    problems += pod_problems.new_ones([("spec", mapping(obj.get("spec")))], before)
    if old is not None and old.get("spec", {}).get("workerSpec") and new.spec.worker_spec is None:
        problems.append(Problem("spec.workerSpec", "cannot be removed once it was set"))
    resource = CLUSTER_SERVING_RUNTIME if cluster else SERVING_RUNTIME
    namespace = None if cluster else obj["metadata"].get("namespace")
    for other in related.list(resource, namespace):
        if other["metadata"]["name"] == new.name:
            continue
        try:
            problems += _clash(new, decode(other, cluster=cluster), namespace)
        except msgspec.ValidationError:
            continue
    return problems


def _alone(runtime: Runtime) -> list[Problem]:
    problems: list[Problem] = []
    spec = runtime.spec
    if not spec.containers:
        problems.append(Problem("spec.containers", "must have at least one container"))
    seen: dict[str, int | None] = {}
    for position, one in enumerate(spec.supported_model_formats or []):
        where = f"spec.supportedModelFormats[{position}].priority"
        if one.priority is not None and one.priority < 1:
            problems.append(Problem(where, f"must be at least 1, got {one.priority}"))
        if not one.auto_select:
            continue
        if one.name in seen and seen[one.name] != one.priority:
            problems.append(
                Problem(where, f"different priorities are assigned for the model format {one.name}; give one")
            )
        seen[one.name] = one.priority
    for position, container in enumerate(spec.containers):
        problems += python_path(container, f"spec.containers[{position}]")
    worker = spec.worker_spec
    if worker is not None:
        if len(worker.containers or []) > 1:
            problems.append(Problem("spec.workerSpec.containers", "must not have more than one container"))
        for name, size in (
            ("pipelineParallelSize", worker.pipeline_parallel_size),
            ("tensorParallelSize", worker.tensor_parallel_size),
        ):
            if size is not None and size < 1:
                problems.append(Problem(f"spec.workerSpec.{name}", f"must be at least 1, got {size}"))
    return problems


def python_path(container: dict[str, Any], where: str) -> list[Problem]:
    """KServe blocks PYTHONPATH: it would put somebody else's code into a server."""
    return [
        Problem(
            f"{where}.env[{position}]",
            f"PYTHONPATH is not allowed in container {container.get('name', '')!r} for security reasons",
            "Install the code into the image, or use the annotation serving.modelport.io/python.",
            "FieldValueForbidden",
        )
        for position, variable in enumerate(container.get("env") or [])
        if isinstance(variable, dict) and variable.get("name") == "PYTHONPATH"  # pyright: ignore[reportUnknownMemberType]
    ]


def _clash(new: Runtime, other: Runtime, namespace: str | None) -> list[Problem]:
    if other.spec.disabled or not set(new.spec.protocol_versions or []) & set(
        other.spec.protocol_versions or []
    ):
        return []
    where = f" in namespace {namespace}" if namespace else ""
    return [
        Problem(
            f"spec.supportedModelFormats[{position}].priority",
            f"same priority assigned for the model format {mine.name} in the servingruntimes {new.name} and"
            f" {other.name}{where}",
            "Give one of them another priority, or switch its autoSelect off.",
        )
        for position, mine in enumerate(new.spec.supported_model_formats or [])
        for theirs in other.spec.supported_model_formats or []
        if mine.auto_select
        and theirs.auto_select
        and mine.name.lower() == theirs.name.lower()
        and (mine.version or "").lower() == (theirs.version or "").lower()
        and mine.priority is not None
        and mine.priority == theirs.priority
    ]


_COLUMNS = (
    PrinterColumn(name="Disabled", path=".spec.disabled", type="boolean"),
    PrinterColumn(name="ModelType", path=".spec.supportedModelFormats[*].name"),
    PrinterColumn(name="Containers", path=".spec.containers[*].name"),
    AGE,
)
_SCHEMA = whole(
    "A server for models of some formats: chosen by format, or by name.",
    structural(RuntimeSpec),
    {"type": "object"},
)
KINDS = tuple(
    Kind(
        resource=resource,
        schema=_SCHEMA,
        columns=_COLUMNS,
        default=_default,
        validate=_validate,
        kubernetes=(("spec", "PodSpec"), ("spec.workerSpec", "PodSpec")),
    )
    for resource in (SERVING_RUNTIME, CLUSTER_SERVING_RUNTIME)
)
