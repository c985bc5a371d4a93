"""KServe's ConfigMap `inferenceservice-config` (namespace kserve): its values are JSON texts, read at every use."""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec
from msgspec import Struct, field

from modelport.kinds.problem import Problem
from modelport.kube.part import mapping
from modelport.kube.resource import Object

NAMESPACE, NAME = "kserve", "inferenceservice-config"


class Ingress(Struct, rename="camel", kw_only=True):
    """Hosts, addresses and the gateway."""

    enable_gateway_api: bool = False
    kserve_ingress_gateway: str = "kserve/kserve-ingress-gateway"
    ingress_gateway: str = "knative-serving/knative-ingress-gateway"
    ingress_domain: str = "example.com"
    additional_ingress_domains: list[str] = field(default_factory=list[str])
    domain_template: str = "{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}"
    url_scheme: str = "http"
    path_template: str = ""
    disable_ingress_creation: bool = False
    disable_http_route_timeout: bool = field(default=False, name="disableHTTPRouteTimeout")
    ingress_class_name: str = "istio"


class Resources(Struct, rename="camel", kw_only=True):
    """Requests and limits of custom containers that name none."""

    cpu_limit: str = "1"
    memory_limit: str = "2Gi"
    cpu_request: str = "1"
    memory_request: str = "2Gi"


class Service(Struct, rename="camel", kw_only=True):
    """Key `inferenceService`."""

    resource: Resources = field(default_factory=Resources)
    service_annotation_disallowed_list: list[str] = field(default_factory=list[str])
    service_label_disallowed_list: list[str] = field(default_factory=list[str])


class Rollout(Struct, rename="camel", kw_only=True):
    """Numbers or percentages."""

    max_surge: str = "25%"
    max_unavailable: str = "25%"


class RolloutStrategy(Struct, rename="camel", kw_only=True):
    """Key `deploy`, below deploymentRolloutStrategy."""

    default_rollout: Rollout | None = None


class Deploy(Struct, rename="camel", kw_only=True):
    """Key `deploy`."""

    default_deployment_mode: str = "Standard"
    deployment_rollout_strategy: RolloutStrategy = field(default_factory=RolloutStrategy)


class Credentials(Struct, rename="camel", kw_only=True):
    """Key `credentials`."""

    storage_spec_secret_name: str = "storage-config"  # noqa: S105 - a Secret's name
    storage_secret_name_annotation: str = "serving.kserve.io/storageSecretName"  # noqa: S105 - an annotation


class Security(Struct, rename="camel", kw_only=True):
    """Key `security`."""

    auto_mount_service_account_token: bool = True


class HeadlessServices(Struct, rename="camel", kw_only=True):
    """Key `service`."""

    service_cluster_ip_none: bool = field(default=False, name="serviceClusterIPNone")


class Config(Struct, kw_only=True):
    """As much of the ConfigMap as is carried out here."""

    ingress: Ingress = field(default_factory=Ingress)
    inference_service: Service = field(default_factory=Service)
    deploy: Deploy = field(default_factory=Deploy)
    credentials: Credentials = field(default_factory=Credentials)
    security: Security = field(default_factory=Security)
    service: HeadlessServices = field(default_factory=HeadlessServices)


KEYS: dict[str, tuple[str, type[Struct]]] = {
    "ingress": ("ingress", Ingress),
    "inferenceService": ("inference_service", Service),
    "deploy": ("deploy", Deploy),
    "credentials": ("credentials", Credentials),
    "security": ("security", Security),
    "service": ("service", HeadlessServices),
}
"""Keys that are read, each with the field of `Config` that it fills."""

EMBEDDED: dict[str, Any] = {
    "deploy": {"defaultDeploymentMode": "Standard"},
    "ingress": {
        "enableGatewayApi": True,
        "kserveIngressGateway": "kserve/kserve-ingress-gateway",
        "ingressDomain": "example.com",
        "additionalIngressDomains": ["localhost"],
        "urlScheme": "http",
    },
    # KServe's SDK asks here how the keys of a Secret are called, and fails where it is not told.
    "credentials": {
        "storageSpecSecretName": "storage-config",
        "storageSecretNameAnnotation": "serving.kserve.io/storageSecretName",
        "gcs": {"gcsCredentialFileName": "gcloud-application-credentials.json"},
        "s3": {"s3AccessKeyIDName": "AWS_ACCESS_KEY_ID", "s3SecretAccessKeyName": "AWS_SECRET_ACCESS_KEY"},
    },
}
"""What the ConfigMap holds on one machine until somebody changes it."""


def decode(config_map: Object | None) -> tuple[Config, list[Problem]]:
    """The configuration; keys that cannot be read keep their defaults and are told."""
    config, problems = Config(), list[Problem]()
    data: dict[str, Any] = mapping((config_map or {}).get("data"))
    for key, (name, kind) in KEYS.items():
        if key not in data:
            continue
        try:
            setattr(config, name, msgspec.json.decode(str(data[key]), type=kind))
        except msgspec.DecodeError as error:
            problems.append(
                Problem(
                    f"configmap {NAMESPACE}/{NAME}, data.{key}",
                    f"unable to parse {key} config json: {error}",
                    "Mend it: kubectl edit configmap -n kserve inferenceservice-config. Until then services stay as they are.",
                    "InvalidConfig",
                )
            )
    problems += _check(config)
    return config, problems


ELSEWHERE: dict[str, str] = {
    "ingress.ingressGateway": "It is for Knative mode.",
    "ingress.ingressClassName": "Routes are Gateway API's, not Ingresses.",
    "ingress.localGateway": "It is for Knative mode.",
    "ingress.localGatewayService": "It is for Knative mode.",
    "ingress.knativeLocalGatewayService": "It is for Knative mode.",
    "ingress.disableIstioVirtualHost": "It is for Knative mode.",
    "autoscaler": "Load does not change the number of pods yet.",
    "opentelemetryCollector": "Load does not change the number of pods yet.",
    "storageInitializer": "The platform fetches models itself; `modelport storage` has its settings.",
    "logger": "Payloads are not logged yet.",
    "batcher": "Our own server joins requests; the batcher's numbers in a service are its flags.",
    "agent": "There are no sidecars.",
    "router": "InferenceGraphs are not carried out yet.",
    "explainers": "The ART explainer is not part of this platform.",
    "localModel": "Model caches are not carried out yet.",
    "multiNode": "Models over several machines need a cluster.",
    "metricsAggregator": "Every server has its own /metrics.",
}
"""Why a key, or a field of one, is not carried out."""


def ignored(config_map: Object) -> dict[str, str]:
    """Paths of keys and fields that are set and not carried out, each with the reason."""
    found: dict[str, str] = {}
    for key, text in mapping(config_map.get("data")).items():
        if key.startswith("_"):
            continue  # KServe's example is a comment
        if key not in KEYS:
            found[f"data.{key}"] = ELSEWHERE.get(key, "Nothing here reads it.")
            continue
        try:
            given: Any = msgspec.json.decode(str(text))
        except msgspec.DecodeError:
            continue  # `decode` tells
        found |= _unread(mapping(given), KEYS[key][1], key)
    return found


def _unread(given: Object, kind: type[Struct], path: str) -> dict[str, str]:
    known = {one.encode_name: one for one in msgspec.structs.fields(kind)}
    found: dict[str, str] = {}
    for name, value in given.items():
        at = f"{path}.{name}"
        if name not in known or at in ELSEWHERE:
            found[f"data.{at}"] = ELSEWHERE.get(at, "Nothing here reads it.")
        elif at == "ingress.enableGatewayApi" and value is False:
            found[f"data.{at}"] = "Routes are Gateway API's in any case."
        elif at == "deploy.defaultDeploymentMode" and value not in ("Standard", "RawDeployment"):
            found[f"data.{at}"] = "Every service is carried out in Standard mode."
        elif isinstance(value, dict) and (below := _struct_of(known[name].type)) is not None:
            found |= _unread(cast("Object", value), below, at)
    return found


def _struct_of(kind: Any) -> type[Struct] | None:
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, Struct):
            return one
    return None


def _check(config: Config) -> list[Problem]:
    ingress, problems = config.ingress, list[Problem]()
    where = f"configmap {NAMESPACE}/{NAME}, data.ingress"
    if ingress.enable_gateway_api:
        parts = ingress.kserve_ingress_gateway.split("/")
        if not ingress.kserve_ingress_gateway:
            problems.append(
                Problem(
                    where, "invalid ingress config - kserveIngressGateway is required", reason="InvalidConfig"
                )
            )
        elif len(parts) != 2 or not all(parts):
            problems.append(
                Problem(
                    where,
                    "invalid ingress config - kserveIngressGateway should be in the format <namespace>/<name>",
                    f"It is {ingress.kserve_ingress_gateway!r}.",
                    "InvalidConfig",
                )
            )
    if ingress.path_template and not ingress.ingress_domain:
        problems.append(
            Problem(
                where,
                "invalid ingress config - ingressDomain is required if pathTemplate is given",
                reason="InvalidConfig",
            )
        )
    return problems
