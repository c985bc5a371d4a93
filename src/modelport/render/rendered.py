"""What `render` is given beside the spec, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modelport.kinds.clusterstoragecontainer import StorageContainer
from modelport.kinds.config import Config
from modelport.kinds.problem import Problem
from modelport.kinds.servingruntime import Runtime
from modelport.kube.resource import Object


class Around(msgspec.Struct, kw_only=True):
    """What a service is rendered among."""

    config: Config
    runtimes: Sequence[Runtime] = ()
    """Those of its namespace and of the cluster."""
    storage_containers: Sequence[StorageContainer] = ()


class Part(msgspec.Struct, kw_only=True):
    """One component's objects."""

    component: str
    """predictor, transformer or explainer."""
    name: str
    """Name of its Deployment and Service."""
    objects: list[Object]
    grpc_port: int | None = None
    """The Service's port for gRPC alone, where there is one."""


class Rendered(msgspec.Struct, kw_only=True):
    """The plan for one service."""

    objects: list[Object] = msgspec.field(default_factory=list[Object])
    """In the order in which they are applied."""
    problems: list[Problem] = msgspec.field(default_factory=list[Problem])
    """What keeps the spec from being carried out. With problems there are no objects to apply."""
    ignored: list[str] = msgspec.field(default_factory=list[str])
    """Paths of fields that are accepted, but not carried out yet."""
    parts: list[Part] = msgspec.field(default_factory=list[Part])
    stopped: bool = False
    url: str = ""
    """Where clients from outside reach it."""
    address: str = ""
    """Where others on the platform reach it."""
    component_urls: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    runtime: str = ""
    cluster_runtime: bool = False
    """Whether `runtime` is the cluster's."""
    protocol: str = "v1"
