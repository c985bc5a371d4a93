"""What a resource is called: group, version, kind, and the words of its address."""

from __future__ import annotations

from typing import Any

import msgspec

Object = dict[str, Any]
"""A Kubernetes object as JSON: `apiVersion`, `kind`, `metadata`, and the rest."""


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a kind, as an API server serves it."""

    group: str
    """API group; empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    """Of `status` and `scale`."""

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`plural.group`, as CRDs and `kubectl` name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The address below the server's root: of the collection, or of one object."""
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


def core(kind: str, plural: str, **more: Any) -> Resource:
    """A resource of the core group, version v1."""
    return Resource(group="", version="v1", kind=kind, plural=plural, **more)


def apps(kind: str, plural: str, **more: Any) -> Resource:
    """A resource of `apps/v1`."""
    return Resource(group="apps", version="v1", kind=kind, plural=plural, **more)


NAMESPACE = core("Namespace", "namespaces", namespaced=False, short_names=("ns",), subresources=("status",))
NODE = core("Node", "nodes", namespaced=False, short_names=("no",), subresources=("status",))
POD = core("Pod", "pods", short_names=("po",), categories=("all",), subresources=("status",))
SERVICE = core("Service", "services", short_names=("svc",), categories=("all",), subresources=("status",))
SECRET = core("Secret", "secrets")
CONFIG_MAP = core("ConfigMap", "configmaps", short_names=("cm",))
SERVICE_ACCOUNT = core("ServiceAccount", "serviceaccounts", short_names=("sa",))
EVENT = core("Event", "events", short_names=("ev",))
PERSISTENT_VOLUME_CLAIM = core(
    "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), subresources=("status",)
)
POD_TEMPLATE = core("PodTemplate", "podtemplates")
RESOURCE_QUOTA = core("ResourceQuota", "resourcequotas", short_names=("quota",), subresources=("status",))
LIMIT_RANGE = core("LimitRange", "limitranges", short_names=("limits",))
DEPLOYMENT = apps(
    "Deployment",
    "deployments",
    short_names=("deploy",),
    categories=("all",),
    subresources=("status", "scale"),
)
REPLICA_SET = apps(
    "ReplicaSet",
    "replicasets",
    short_names=("rs",),
    categories=("all",),
    subresources=("status", "scale"),
)
CONTROLLER_REVISION = apps("ControllerRevision", "controllerrevisions")
ENDPOINT_SLICE = Resource(
    group="discovery.k8s.io", version="v1", kind="EndpointSlice", plural="endpointslices"
)
LEASE = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
HORIZONTAL_POD_AUTOSCALER = Resource(
    group="autoscaling",
    version="v2",
    kind="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    short_names=("hpa",),
    categories=("all",),
    subresources=("status",),
)
POD_DISRUPTION_BUDGET = Resource(
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    short_names=("pdb",),
    subresources=("status",),
)
HTTP_ROUTE = Resource(
    group="gateway.networking.k8s.io",
    version="v1",
    kind="HTTPRoute",
    plural="httproutes",
    subresources=("status",),
)
GATEWAY = Resource(
    group="gateway.networking.k8s.io",
    version="v1",
    kind="Gateway",
    plural="gateways",
    short_names=("gtw",),
    subresources=("status",),
)
GATEWAY_CLASS = Resource(
    group="gateway.networking.k8s.io",
    version="v1",
    kind="GatewayClass",
    plural="gatewayclasses",
    namespaced=False,
    short_names=("gc",),
    subresources=("status",),
)
CUSTOM_RESOURCE_DEFINITION = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    subresources=("status",),
)

STANDARD = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    SECRET,
    CONFIG_MAP,
    SERVICE_ACCOUNT,
    EVENT,
    PERSISTENT_VOLUME_CLAIM,
    POD_TEMPLATE,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    DEPLOYMENT,
    REPLICA_SET,
    CONTROLLER_REVISION,
    ENDPOINT_SLICE,
    LEASE,
    HORIZONTAL_POD_AUTOSCALER,
    POD_DISRUPTION_BUDGET,
    HTTP_ROUTE,
    GATEWAY,
    GATEWAY_CLASS,
    CUSTOM_RESOURCE_DEFINITION,
)
"""Kubernetes' own kinds that the embedded platform serves and that we emit on a cluster."""
