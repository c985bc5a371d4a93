"""LLMInferenceService v1alpha2: what people declare (KServe, pkg/apis/serving/v1alpha2)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from modelport.kinds.structural import IntOrString, Json, JsonList, Quantity


class Reference(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An object of the same namespace."""

    name: Annotated[str | None, Meta(description="Its name.")] = None


class FarReference(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An object of any namespace."""

    name: Annotated[str | None, Meta(description="Its name.")] = None
    namespace: Annotated[str | None, Meta(description="Its namespace.")] = None


class GatewayReference(FarReference, rename="camel", omit_defaults=True, kw_only=True):
    """A Gateway."""

    section_name: Annotated[str | None, Meta(description="One of its listeners.")] = None


class Confidential(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model that is stored encrypted."""

    enabled: Annotated[bool, Meta(description="Whether it is decrypted after the download.")]
    resource_id: Annotated[str | None, Meta(description="Where the key is, as in kbs:///a/b/c.")] = None


class Adapter(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A LoRA adapter."""

    uri: Annotated[str, Meta(description="Where it is.")]
    name: Annotated[str | None, Meta(description="Name by which clients ask for it.")] = None
    confidential: Annotated[Confidential | None, Meta(description="Decryption after the download.")] = None


class LoRA(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Adapters of the model."""

    adapters: Annotated[list[Adapter] | None, Meta(description="Adapters.")] = None
    max_rank: Annotated[int | None, Meta(description="Largest rank.")] = None
    max_adapters: Annotated[int | None, Meta(description="Most adapters in use at once.")] = None
    max_cpu_adapters: Annotated[int | None, Meta(description="Most adapters kept in memory.")] = None


class LLMModel(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The model."""

    uri: Annotated[str, Meta(description="Where it is, as in hf://owner/model.")]
    name: Annotated[str | None, Meta(description="Name by which clients ask. Default: the service's.")] = None
    lora: Annotated[LoRA | None, Meta(description="Adapters.")] = None
    confidential: Annotated[Confidential | None, Meta(description="Decryption after the download.")] = None


class StorageInitializer(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Fetching before the start."""

    enabled: Annotated[bool | None, Meta(description="Whether it is done. Default true.")] = None


class Keda(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Scaling by KEDA."""

    polling_interval: Annotated[int | None, Meta(description="Seconds between looks.")] = None
    cooldown_period: Annotated[int | None, Meta(description="Seconds before the last replica goes.")] = None
    initial_cooldown_period: Annotated[int | None, Meta(description="The same, after the start.")] = None
    idle_replica_count: Annotated[int | None, Meta(description="Replicas without load.")] = None
    fallback: Annotated[Json | None, Meta(description="Replicas where metrics fail.")] = None
    advanced: Annotated[Json | None, Meta(description="KEDA's advanced settings.")] = None


class DirectKeda(Keda, rename="camel", omit_defaults=True, kw_only=True):
    """Scaling by KEDA's own triggers."""

    triggers: Annotated[JsonList, Meta(description="At least one.")]


class Hpa(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Scaling by a HorizontalPodAutoscaler."""

    behavior: Annotated[Json | None, Meta(description="How fast it scales.")] = None


class Wva(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Scaling by llm-d's variant autoscaler."""

    variant_cost: Annotated[str | None, Meta(description="Cost of a replica. Default 10.0.")] = None
    hpa: Annotated[Hpa | None, Meta(description="Carried out by an HPA.")] = None
    keda: Annotated[Keda | None, Meta(description="Carried out by KEDA.")] = None


class Scaling(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How many replicas."""

    min_replicas: Annotated[int | None, Meta(description="Fewest. Default 1.")] = None
    max_replicas: Annotated[int, Meta(description="Most.")]
    wva: Annotated[Wva | None, Meta(description="By the variant autoscaler.")] = None
    keda: Annotated[DirectKeda | None, Meta(description="By KEDA.")] = None


class Parallelism(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How the model is spread over accelerators."""

    tensor: Annotated[int | None, Meta(description="Accelerators that share each layer.")] = None
    pipeline: Annotated[int | None, Meta(description="Stages that the model is cut into.")] = None
    data: Annotated[int | None, Meta(description="Copies of the model.")] = None
    data_local: Annotated[int | None, Meta(description="Copies on one machine.")] = None
    data_rpc_port: Annotated[int | None, Meta(description="Port between copies. Default 5555.")] = field(
        default=None, name="dataRPCPort"
    )
    expert: Annotated[bool | None, Meta(description="Spread experts. Default false.")] = None


class EmptyDirTier(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A folder of the pod."""

    size: Annotated[Quantity, Meta(description="Its size.")]


class ClaimReference(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A claim that is there."""

    name: Annotated[str, Meta(description="Its name.")]
    path: Annotated[str | None, Meta(description="Folder in it.")] = None


class ClaimTier(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A volume."""

    spec: Annotated[Json | None, Meta(description="A claim to make.")] = None
    ref: Annotated[ClaimReference | None, Meta(description="A claim that is there.")] = None


class FileTier(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Files."""

    empty_dir: Annotated[EmptyDirTier | None, Meta(description="In a folder of the pod.")] = None
    pvc: Annotated[ClaimTier | None, Meta(description="In a volume.")] = None


class Tier(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Where the cache goes that memory does not hold."""

    file_system: Annotated[FileTier | None, Meta(description="Files.")] = None


class KVCache(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The key-value cache beyond the accelerator."""

    cpu: Annotated[Quantity, Meta(description="Memory for it.")]
    eviction_policy: Annotated[Literal["lru", "arc"] | None, Meta(description="What goes first.")] = None
    secondary: Annotated[list[Tier] | None, Meta(description="Further tiers.")] = None


class RolloutStrategy(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How pods are replaced."""

    max_unavailable: Annotated[IntOrString | None, Meta(description="Most that may be missing.")] = None
    max_surge: Annotated[IntOrString | None, Meta(description="Most that may be there beside.")] = None


class Workload(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Pods that serve the model."""

    replicas: Annotated[int | None, Meta(description="How many; or `scaling`.")] = None
    scaling: Annotated[Scaling | None, Meta(description="How many, by load.")] = None
    parallelism: Annotated[Parallelism | None, Meta(description="Spread over accelerators.")] = None
    labels: Annotated[dict[str, str] | None, Meta(description="Labels of the pods.")] = None
    annotations: Annotated[dict[str, str] | None, Meta(description="Annotations of the pods.")] = None
    template: Annotated[Json | None, Meta(description="The pod, or a group's first.")] = None
    worker: Annotated[Json | None, Meta(description="A group's other pods.")] = None
    kv_cache_offloading: Annotated[KVCache | None, Meta(description="Cache beyond the accelerator.")] = None
    rollout_strategy: Annotated[RolloutStrategy | None, Meta(description="How pods are replaced.")] = None


class HttpRoutes(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """HTTPRoutes."""

    refs: Annotated[list[Reference] | None, Meta(description="Routes that are there.")] = None
    spec: Annotated[Json | None, Meta(description="A route to make.")] = None


class Route(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How requests arrive."""

    http: Annotated[HttpRoutes | None, Meta(description="HTTPRoutes.")] = None
    group: Annotated[str | None, Meta(description="Services that share requests.")] = None
    weight: Annotated[int | None, Meta(description="This one's share, relative to the others'.")] = None


class Gateways(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Gateways."""

    refs: Annotated[list[GatewayReference] | None, Meta(description="Gateways that are there.")] = None


class Ingress(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Ingresses."""

    refs: Annotated[list[FarReference] | None, Meta(description="Ingresses that are there.")] = None


class Pool(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Pods to choose from."""

    spec: Annotated[Json | None, Meta(description="A pool to make.")] = None
    ref: Annotated[Reference | None, Meta(description="A pool that is there.")] = None


class ConfigKey(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A key of a ConfigMap."""

    name: Annotated[str | None, Meta(description="The ConfigMap.")] = None
    key: Annotated[str | None, Meta(description="The key. Default epp.")] = None
    optional: Annotated[bool | None, Meta(description="Whether it may be missing.")] = None


class SchedulerConfig(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The scheduler's configuration."""

    inline: Annotated[Json | None, Meta(description="An EndpointPickerConfig.")] = None
    ref: Annotated[ConfigKey | None, Meta(description="One in a ConfigMap.")] = None


class Tokenizer(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Counts tokens for the scheduler."""

    template: Annotated[Json | None, Meta(description="Its pod.")] = None


class Scheduler(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Chooses a pod for each request."""

    pool: Annotated[Pool | None, Meta(description="Pods to choose from.")] = None
    labels: Annotated[dict[str, str] | None, Meta(description="Labels of its pods.")] = None
    annotations: Annotated[dict[str, str] | None, Meta(description="Annotations of its pods.")] = None
    template: Annotated[Json | None, Meta(description="Its pod.")] = None
    config: Annotated[SchedulerConfig | None, Meta(description="How it chooses.")] = None
    replicas: Annotated[int | None, Meta(description="How many.")] = None
    tokenizer: Annotated[Tokenizer | None, Meta(description="Counts tokens.")] = None


class Router(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """How requests reach pods; each part that is there, even empty, is made."""

    route: Annotated[Route | None, Meta(description="Routes.")] = None
    gateway: Annotated[Gateways | None, Meta(description="Gateways.")] = None
    ingress: Annotated[Ingress | None, Meta(description="Ingresses.")] = None
    scheduler: Annotated[Scheduler | None, Meta(description="Chooses a pod for each request.")] = None


class Tracing(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Traces."""

    exporter_endpoint: Annotated[str | None, Meta(description="Where they go.")] = None
    sampler: Annotated[str | None, Meta(description="Which are kept.")] = None
    sampler_arg: Annotated[str | None, Meta(description="The sampler's number.")] = None
    exporter: Annotated[str | None, Meta(description="In which protocol.")] = None


class LLMSpec(Workload, rename="camel", omit_defaults=True, kw_only=True):
    """A language model and what serves it."""

    model: Annotated[LLMModel, Meta(description="The model.")]
    storage_initializer: Annotated[StorageInitializer | None, Meta(description="Fetching.")] = None
    router: Annotated[Router | None, Meta(description="How requests reach pods.")] = None
    prefill: Annotated[Workload | None, Meta(description="Pods of their own for prompts.")] = None
    tracing: Annotated[Tracing | None, Meta(description="Traces.")] = None
    base_refs: Annotated[
        list[Reference] | None, Meta(description="LLMInferenceServiceConfigs below this spec.")
    ] = None


class ConfigSpec(Workload, rename="camel", omit_defaults=True, kw_only=True):
    """Parts of specs to share."""

    model: Annotated[Json | None, Meta(description="The model; may hold Go templates.")] = None
    storage_initializer: Annotated[StorageInitializer | None, Meta(description="Fetching.")] = None
    router: Annotated[Router | None, Meta(description="How requests reach pods.")] = None
    prefill: Annotated[Workload | None, Meta(description="Pods of their own for prompts.")] = None
    tracing: Annotated[Tracing | None, Meta(description="Traces.")] = None
    base_refs: Annotated[list[Reference] | None, Meta(description="Not allowed here.")] = None
