"""Names inside the platform: every Service's port by the names that Kubernetes' DNS would give it. Pure.

Pods have no DNS here. What carries their requests (the node's relay) sends them to the gateway's internal listener,
which knows these hosts: `iris-predictor.default`, with `.svc` and `.svc.cluster.local`. A Service with several ports
is told by the port in the Host header, which HTTP clients leave out for port 80 alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelport.kube.resource import Object
from modelport.local.gateway.cluster import cluster_name, ports
from modelport.local.gateway.owner import service_of
from modelport.wire.table import Backend, Match, Route, Rule

SUFFIXES = ("", ".svc", ".svc.cluster.local")


def routes(services: Iterable[Object]) -> list[Route]:
    """A route a port, by name."""
    found: list[Route] = []
    for item in services:
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        known = ports(item)
        if not known:
            continue
        main = next((port for port in known if port["port"] == 80), known[0])["port"]
        for number in sorted({port["port"] for port in known}):
            cluster = cluster_name(namespace, name, number)
            names = [f"{name}.{namespace}{suffix}" for suffix in SUFFIXES]
            hosts = [f"{host}:{number}" for host in names]
            found.append(
                Route(
                    name=cluster,
                    service=service_of(item),
                    hosts=[*names, *hosts] if number == main else hosts,
                    rules=[Rule(matches=[Match()], backends=[Backend(cluster=cluster)])],
                    internal=True,
                )
            )
    return sorted(found, key=lambda route: route.name)
