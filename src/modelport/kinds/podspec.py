"""The fields of Kubernetes' PodSpec, inline in a component as KServe has them. Containers and the like stay raw JSON."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from modelport.kinds.structural import Json, JsonList, Keyed


class PodSpec(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What a pod is made of; see Kubernetes' reference."""

    containers: Annotated[Keyed | None, Meta(description="Containers of the pod.")] = None
    init_containers: Annotated[
        Keyed | None, Meta(description="Containers that run to their end before the others start.")
    ] = None
    ephemeral_containers: Annotated[Keyed | None, Meta(description="Not carried out.")] = None
    volumes: Annotated[Keyed | None, Meta(description="Volumes that containers mount.")] = None
    restart_policy: Annotated[str | None, Meta(description="Always, OnFailure or Never. Default Always.")] = (
        None
    )
    termination_grace_period_seconds: Annotated[
        int | None, Meta(description="Seconds between SIGTERM and SIGKILL. Default 30.")
    ] = None
    active_deadline_seconds: Annotated[int | None, Meta(description="Longest life of the pod, seconds.")] = (
        None
    )
    dns_policy: Annotated[str | None, Meta(description="How names are resolved. Default ClusterFirst.")] = (
        None
    )
    node_selector: Annotated[dict[str, str] | None, Meta(description="Labels that the node must have.")] = (
        None
    )
    service_account_name: Annotated[
        str | None, Meta(description="Whose credentials the pod has. Default `default`.")
    ] = None
    service_account: Annotated[str | None, Meta(description="Old name of serviceAccountName.")] = None
    automount_service_account_token: Annotated[
        bool | None, Meta(description="Whether a token of the service account is mounted. Default true.")
    ] = None
    node_name: Annotated[str | None, Meta(description="The node to run on.")] = None
    host_network: Annotated[bool | None, Meta(description="Use the node's network. Default false.")] = None
    host_pid: Annotated[bool | None, Meta(description="Use the node's process numbers.")] = msgspec.field(
        default=None, name="hostPID"
    )
    host_ipc: Annotated[bool | None, Meta(description="Use the node's shared memory.")] = msgspec.field(
        default=None, name="hostIPC"
    )
    host_users: Annotated[bool | None, Meta(description="Use the node's users. Default true.")] = None
    share_process_namespace: Annotated[
        bool | None, Meta(description="One process namespace for all containers.")
    ] = None
    security_context: Annotated[Json | None, Meta(description="Users and privileges of the pod.")] = None
    image_pull_secrets: Annotated[
        Keyed | None, Meta(description="Secrets with credentials for image registries.")
    ] = None
    hostname: Annotated[str | None, Meta(description="The pod's own name for itself.")] = None
    hostname_override: Annotated[str | None, Meta(description="The pod's hostname, whatever else says.")] = (
        None
    )
    subdomain: Annotated[str | None, Meta(description="Domain below the namespace's.")] = None
    affinity: Annotated[Json | None, Meta(description="Which nodes and neighbours are wanted.")] = None
    scheduler_name: Annotated[str | None, Meta(description="Which scheduler places the pod.")] = None
    tolerations: Annotated[JsonList | None, Meta(description="Taints that the pod bears.")] = None
    host_aliases: Annotated[JsonList | None, Meta(description="Further lines of /etc/hosts.")] = None
    priority_class_name: Annotated[str | None, Meta(description="The pod's priority, by name.")] = None
    priority: Annotated[int | None, Meta(description="The pod's priority.")] = None
    dns_config: Annotated[Json | None, Meta(description="More about how names are resolved.")] = None
    readiness_gates: Annotated[
        JsonList | None, Meta(description="Further conditions that the pod needs to be Ready.")
    ] = None
    runtime_class_name: Annotated[str | None, Meta(description="Which container runtime runs the pod.")] = (
        None
    )
    enable_service_links: Annotated[
        bool | None, Meta(description="Whether Services are listed in the environment. Default true.")
    ] = None
    preemption_policy: Annotated[str | None, Meta(description="Whether it may push others out.")] = None
    overhead: Annotated[
        dict[str, Any] | None, Meta(description="Resources that the container runtime needs.")
    ] = None
    topology_spread_constraints: Annotated[
        JsonList | None, Meta(description="How pods spread over nodes.")
    ] = None
    set_hostname_as_fqdn: Annotated[bool | None, Meta(description="Full name as hostname.")] = msgspec.field(
        default=None, name="setHostnameAsFQDN"
    )
    os: Annotated[Json | None, Meta(description="The operating system that the pod needs.")] = None
    scheduling_gates: Annotated[JsonList | None, Meta(description="What must go before it is placed.")] = None
    resource_claims: Annotated[JsonList | None, Meta(description="Devices that the pod claims.")] = None
    resources: Annotated[Json | None, Meta(description="Requests and limits of the pod as a whole.")] = None
