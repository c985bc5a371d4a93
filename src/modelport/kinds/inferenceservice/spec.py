"""InferenceService v1beta1: what people declare (KServe, pkg/apis/serving/v1beta1)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.podspec import PodSpec
from modelport.kinds.structural import Json, JsonList

Protocol = Literal["v1", "v2", "grpc-v1", "grpc-v2"]
Name = Annotated[str, Meta(pattern="^[a-z]([-a-z0-9]*[a-z0-9])?$")]


class StorageUri(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One of several models, and where containers find it."""

    uri: Annotated[str, Meta(description="Where the model is, as in s3://bucket/path.")]
    mount_path: Annotated[
        Annotated[str, Meta(pattern="^/.*", max_length=255)] | None,
        Meta(description="Absolute folder in the container. Default /mnt/models."),
    ] = None


class Storage(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model in a store whose credentials are in the Secret `storage-config`."""

    path: Annotated[str | None, Meta(description="Path of the model below the bucket.")] = None
    schema_path: Annotated[str | None, Meta(description="Path of the model's schema.")] = None
    parameters: Annotated[
        dict[str, str] | None, Meta(description="Overrides of the store's settings: type, bucket, …")
    ] = None
    key: Annotated[
        str | None, Meta(description="Key in the Secret; default: default_<type>, then default.")
    ] = None


class Confidential(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model that is stored encrypted."""

    enabled: Annotated[bool | None, Meta(description="Whether it is decrypted after the download.")] = None
    resource_id: Annotated[str | None, Meta(description="Where the key is, as in kbs:///a/b/c.")] = None


class Container(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """The fields of a Kubernetes container, inline in a model as KServe has them."""

    name: Annotated[str | None, Meta(description="Name of the container.")] = None
    image: Annotated[str | None, Meta(description="Image, instead of the runtime's.")] = None
    command: Annotated[list[str] | None, Meta(description="Command, instead of the image's.")] = None
    args: Annotated[list[str] | None, Meta(description="Arguments; they follow the runtime's.")] = None
    working_dir: Annotated[str | None, Meta(description="Working folder.")] = None
    ports: Annotated[JsonList | None, Meta(description="Ports that it listens on.")] = None
    env: Annotated[JsonList | None, Meta(description="Environment variables.")] = None
    env_from: Annotated[JsonList | None, Meta(description="Secrets and ConfigMaps as environment.")] = None
    resources: Annotated[Json | None, Meta(description="Requests and limits of cpu and memory.")] = None
    resize_policy: Annotated[JsonList | None, Meta(description="What a change of resources restarts.")] = None
    restart_policy: Annotated[str | None, Meta(description="Always makes an init container a sidecar.")] = (
        None
    )
    restart_policy_rules: Annotated[JsonList | None, Meta(description="Restarts by exit code.")] = None
    volume_mounts: Annotated[JsonList | None, Meta(description="Volumes and where they appear.")] = None
    volume_devices: Annotated[JsonList | None, Meta(description="Block devices and where they appear.")] = (
        None
    )
    liveness_probe: Annotated[Json | None, Meta(description="When it fails, the container is restarted.")] = (
        None
    )
    readiness_probe: Annotated[Json | None, Meta(description="While it fails, no requests come.")] = None
    startup_probe: Annotated[Json | None, Meta(description="Until it succeeds, the others wait.")] = None
    lifecycle: Annotated[Json | None, Meta(description="Hooks after the start and before the stop.")] = None
    termination_message_path: Annotated[str | None, Meta(description="Where last words are written.")] = None
    termination_message_policy: Annotated[str | None, Meta(description="File or FallbackToLogsOnError.")] = (
        None
    )
    image_pull_policy: Annotated[str | None, Meta(description="Always, IfNotPresent or Never.")] = None
    security_context: Annotated[Json | None, Meta(description="User and privileges.")] = None
    stdin: Annotated[bool | None, Meta(description="Keep standard input open.")] = None
    stdin_once: Annotated[bool | None, Meta(description="Close it after the first client.")] = None
    tty: Annotated[bool | None, Meta(description="Give it a terminal.")] = None


class Extension(Container, rename="camel", omit_defaults=True, kw_only=True):
    """A model by a framework's name: `sklearn: {storageUri: …}`."""

    storage_uri: Annotated[str | None, Meta(description="Where the model is, as in s3://bucket/path.")] = None
    runtime_version: Annotated[str | None, Meta(description="Tag of the runtime's image.")] = None
    protocol_version: Annotated[
        Protocol | None, Meta(description="Protocol that clients will speak. Default v1.")
    ] = None
    storage: Annotated[Storage | None, Meta(description="The model by `storage-config`.")] = None
    confidential: Annotated[Confidential | None, Meta(description="Decryption after the download.")] = None


class ModelFormat(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What a model file is."""

    name: Annotated[str, Meta(description="sklearn, xgboost, lightgbm, onnx, pytorch, …")]
    version: Annotated[str | None, Meta(description="Version, compared as text. Default: any.")] = None


class Model(Extension, rename="camel", omit_defaults=True, kw_only=True):
    """A model by its format; a runtime for it is chosen, or named."""

    model_format: Annotated[ModelFormat, Meta(description="What the model file is.")]
    runtime: Annotated[
        str | None, Meta(description="A ServingRuntime or ClusterServingRuntime by name. Default: chosen.")
    ] = None


class LoggerStorage(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A store for logged payloads."""

    path: Annotated[str | None, Meta(description="Where in the store.")] = None
    parameters: Annotated[dict[str, str] | None, Meta(description="Settings: type, format, …")] = None
    key: Annotated[str | None, Meta(description="Key of the credentials.")] = None
    service_account_name: Annotated[str | None, Meta(description="Whose credentials.")] = None


class Logger(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Requests and responses to a sink, as CloudEvents or files."""

    url: Annotated[str | None, Meta(description="Address of the sink.")] = None
    mode: Annotated[
        Literal["all", "request", "response"] | None, Meta(description="What is logged. Default all.")
    ] = None
    metadata_headers: Annotated[list[str] | None, Meta(description="Request headers to log.")] = None
    metadata_annotations: Annotated[list[str] | None, Meta(description="Annotations to log.")] = None
    storage: Annotated[LoggerStorage | None, Meta(description="Files in a store instead of a sink.")] = None
    marshaller_url: Annotated[str | None, Meta(description="A service that makes the files.")] = None
    batch_size: Annotated[int | None, Meta(description="Payloads in a file.")] = None
    batch_interval: Annotated[str | None, Meta(description="Longest wait for a full file, as in 1m.")] = None


class Batcher(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Requests joined into batches. Our own runtimes join what waits in any case."""

    max_batch_size: Annotated[int | None, Meta(description="Most rows predicted together. Default 32.")] = (
        None
    )
    max_latency: Annotated[
        int | None, Meta(description="Longest wait for a full batch, ms. Default 5000.")
    ] = None
    timeout: Annotated[int | None, Meta(description="Accepted; KServe does nothing with it either.")] = None


class AutoScaling(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Scaling by metrics."""

    metrics: Annotated[
        JsonList | None, Meta(description="Metrics: type Resource, External or PodMetric, and its target.")
    ] = None
    behavior: Annotated[Json | None, Meta(description="How fast it scales up and down.")] = None


class Component(PodSpec, rename="camel", omit_defaults=True, kw_only=True):
    """What predictor, transformer and explainer have in common."""

    min_replicas: Annotated[
        int | None, Meta(description="Fewest replicas. 0 lets the component scale to zero. Default 1.")
    ] = None
    max_replicas: Annotated[int | None, Meta(description="Most replicas. 0: no limit.")] = None
    scale_target: Annotated[int | None, Meta(description="Value of the metric to hold.")] = None
    scale_metric: Annotated[
        Literal["cpu", "memory", "concurrency", "rps"] | None,
        Meta(description="What is measured. Default cpu."),
    ] = None
    scale_metric_type: Annotated[
        Literal["Utilization", "AverageValue", "Value"] | None, Meta(description="How the target is meant.")
    ] = None
    auto_scaling: Annotated[AutoScaling | None, Meta(description="Scaling by several metrics.")] = None
    container_concurrency: Annotated[
        int | None, Meta(description="Most requests at once in a replica. 0: no limit.")
    ] = None
    timeout: Annotated[int | None, Meta(description="Longest time for a request, seconds. Default 60.")] = (
        None
    )
    canary_traffic_percent: Annotated[
        int | None, Meta(description="Share of requests for the newest revision (Knative mode).")
    ] = None
    labels: Annotated[dict[str, str] | None, Meta(description="Labels of the pods.")] = None
    annotations: Annotated[dict[str, str] | None, Meta(description="Annotations of the pods.")] = None
    deployment_strategy: Annotated[
        Json | None, Meta(description="How pods are replaced, as in a Deployment. Default: rolling, 25%.")
    ] = None
    logger: Annotated[Logger | None, Meta(description="Logging of requests and responses.")] = None
    batcher: Annotated[Batcher | None, Meta(description="Joining of requests.")] = None
    storage_uris: Annotated[
        list[StorageUri] | None, Meta(description="Several models, each with its folder.")
    ] = None
    storage_container_name: Annotated[str | None, Meta(description="A ClusterStorageContainer by name.")] = (
        None
    )


class WorkerSpec(PodSpec, rename="camel", omit_defaults=True, kw_only=True):
    """Further pods of a model that is spread over several."""

    pipeline_parallel_size: Annotated[int | None, Meta(description="Stages that the model is cut into.")] = (
        None
    )
    tensor_parallel_size: Annotated[int | None, Meta(description="GPUs that share each layer.")] = None


class Predictor(Component, rename="camel", omit_defaults=True, kw_only=True):
    """The model itself."""

    sklearn: Annotated[Extension | None, Meta(description="A scikit-learn model.")] = None
    xgboost: Annotated[Extension | None, Meta(description="An XGBoost model.")] = None
    tensorflow: Annotated[Extension | None, Meta(description="A TensorFlow SavedModel.")] = None
    pytorch: Annotated[Extension | None, Meta(description="A PyTorch model.")] = None
    triton: Annotated[Extension | None, Meta(description="A Triton model repository.")] = None
    onnx: Annotated[Extension | None, Meta(description="An ONNX model.")] = None
    huggingface: Annotated[Extension | None, Meta(description="A Hugging Face model.")] = None
    pmml: Annotated[Extension | None, Meta(description="A PMML model.")] = None
    lightgbm: Annotated[Extension | None, Meta(description="A LightGBM model.")] = None
    paddle: Annotated[Extension | None, Meta(description="A PaddlePaddle model.")] = None
    model: Annotated[Model | None, Meta(description="A model by its format.")] = None
    name: Annotated[Name | None, Meta(description="Name of this version, with spec.canary.")] = None
    worker_spec: Annotated[WorkerSpec | None, Meta(description="Further pods of the same model.")] = None


class Transformer(Component, rename="camel", omit_defaults=True, kw_only=True):
    """What comes before and after the predictor: a container of one's own."""


class Art(Extension, rename="camel", omit_defaults=True, kw_only=True):
    """The Adversarial Robustness Toolbox."""

    type: Annotated[Literal["SquareAttack"], Meta(description="Which attack.")]
    config: Annotated[dict[str, str] | None, Meta(description="Its settings.")] = None


class Explainer(Component, rename="camel", omit_defaults=True, kw_only=True):
    """What explains predictions."""

    art: Annotated[Art | None, Meta(description="The Adversarial Robustness Toolbox.")] = None


class Canary(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Another version beside the stable one."""

    predictor: Annotated[
        Predictor, Meta(description="What differs from the stable predictor; `name` is needed.")
    ]
    traffic_percent: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="Share of requests, 0 to 100.")
    ] = None


class Spec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What is to serve."""

    predictor: Annotated[Predictor, Meta(description="The model itself.")]
    transformer: Annotated[Transformer | None, Meta(description="What comes before and after it.")] = None
    explainer: Annotated[Explainer | None, Meta(description="What explains its predictions.")] = None
    canary: Annotated[list[Canary] | None, Meta(description="Other versions beside it.")] = None


class Metadata(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """As much of ObjectMeta as is read here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    annotations: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    deletion_timestamp: str | None = None


class InferenceService(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A model behind an address."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec
    status: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
