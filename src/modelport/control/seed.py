"""What a new platform holds before anybody applies anything: namespace, configuration, gateway, runtimes."""

from __future__ import annotations

import msgspec

from modelport.kinds import builtin
from modelport.kinds.config import EMBEDDED, NAME, NAMESPACE
from modelport.kinds.servingruntime import CLUSTER_SERVING_RUNTIME
from modelport.kube import resource
from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.resource import Object, Resource

MANAGER = "modelport-seed"
CONTROLLER = "modelport.io/gateway"


async def seed(client: Client, version: str) -> None:
    """Applies it. What people changed in it stays; the configuration is only made where there is none."""
    await _ensure(
        client,
        resource.NAMESPACE,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
    )
    await _ensure(client, resource.CONFIG_MAP, config_map())
    for kind, item in _gateway():
        await _ensure(client, kind, item)
    for item in builtin.runtimes(version):
        await _apply(client, CLUSTER_SERVING_RUNTIME, item)


def config_map() -> Object:
    """`inferenceservice-config`, as it is until somebody changes it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {
            key: msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
            for key, value in EMBEDDED.items()
        },
    }


def _gateway() -> list[tuple[Resource, Object]]:
    group = "gateway.networking.k8s.io/v1"
    return [
        (
            resource.GATEWAY_CLASS,
            {
                "apiVersion": group,
                "kind": "GatewayClass",
                "metadata": {"name": "modelport"},
                "spec": {"controllerName": CONTROLLER},
            },
        ),
        (
            resource.GATEWAY,
            {
                "apiVersion": group,
                "kind": "Gateway",
                "metadata": {"name": "kserve-ingress-gateway", "namespace": NAMESPACE},
                "spec": {
                    "gatewayClassName": "modelport",
                    "listeners": [
                        {
                            "name": "http",
                            "port": 80,
                            "protocol": "HTTP",
                            "allowedRoutes": {"namespaces": {"from": "All"}},
                        }
                    ],
                },
            },
        ),
    ]


async def _ensure(client: Client, kind: Resource, item: Object) -> None:
    """Makes it where there is none."""
    try:
        await client.create(kind, item)
    except ApiError as error:
        if error.code != 409:
            raise


async def _apply(client: Client, kind: Resource, item: Object) -> None:
    """Applies it, but for what somebody else has set."""
    try:
        await client.apply(kind, item, field_manager=MANAGER, force=False)
    except ApiError as error:
        if error.code != 409:
            raise
