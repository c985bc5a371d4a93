"""What the translator sees, from YAML: with the platform's own GatewayClass, Gateway and namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelport.local.gateway.translate import Seen

FIELDS = {
    "GatewayClass": "classes",
    "Gateway": "gateways",
    "HTTPRoute": "routes",
    "Service": "services",
    "EndpointSlice": "slices",
    "Namespace": "namespaces",
    "ReferenceGrant": "grants",
    "Secret": "secrets",
    "ConfigMap": "config_maps",
}
BASE = """
kind: GatewayClass
metadata: {name: modelport}
spec: {controllerName: modelport.io/gateway}
---
kind: Gateway
metadata: {name: kserve-ingress-gateway, namespace: kserve}
spec:
  gatewayClassName: modelport
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
kind: Namespace
metadata: {name: default}
"""


def seen(text: str, **more: Any) -> Seen:
    found: dict[str, list[Any]] = {}
    for item in [*yaml.safe_load_all(BASE), *yaml.safe_load_all(text)]:
        found.setdefault(FIELDS[item["kind"]], []).append(item)
    return Seen(**found, **more)  # type: ignore[arg-type]


def seen_at(path: Path, **more: Any) -> Seen:
    return seen(path.read_text(), **more)
