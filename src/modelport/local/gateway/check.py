"""Reads a route table and lists what is inconsistent: what the gateway would refuse, or could never serve. Pure.

Run over every golden, and before a table is written: one that the gateway refuses would stop everybody's updates.
"""

from __future__ import annotations

from collections.abc import Iterator

from modelport.wire.table import Backend, Route, Table


def check(table: Table) -> list[str]:
    """One sentence a fault."""
    return [
        *(
            f"routes[{index}] ({route.name}){problem}"
            for index, route in enumerate(table.routes)
            for problem in _route(route, table)
        ),
        *_auth(table),
        *_tls(table),
    ]


def _route(route: Route, table: Table) -> Iterator[str]:
    if not route.hosts:
        yield ".hosts: is empty."
    if len(set(route.hosts)) != len(route.hosts):
        yield ".hosts: names a host twice."
    for host in route.hosts:
        if host != "*" and "*" in host.removeprefix("*."):
            yield f".hosts: {host!r} has a * that does not stand first."
        if ":" in host and not route.internal:
            yield f".hosts: {host!r} has a port, which only internal hosts have."
    for number, rule in enumerate(route.rules):
        if not rule.matches:
            yield f".rules[{number}].matches: is empty, so nothing ever fits."
        for backend in rule.backends:
            yield from (f".rules[{number}]{problem}" for problem in _backend(backend, table))
        for filters in [rule.filters, *(one.filters for one in rule.backends if one.filters)]:
            for mirror in filters.mirrors:
                if mirror.cluster not in table.clusters:
                    yield f".rules[{number}].filters.mirrors: there is no cluster {mirror.cluster!r}."


def _backend(backend: Backend, table: Table) -> Iterator[str]:
    if (backend.cluster is None) == (backend.failure is None):
        yield ".backends: must have either a cluster or a failure."
    if backend.cluster is not None and backend.cluster not in table.clusters:
        yield f".backends: there is no cluster {backend.cluster!r}."
    if backend.weight < 0:
        yield f".backends: weight must not be negative, got {backend.weight}."


def _auth(table: Table) -> Iterator[str]:
    hashes = [key.sha256 for key in table.auth.keys] if table.auth else []
    if len(set(hashes)) != len(hashes):
        yield "auth.keys: a key is listed twice."
    for index, issuer in enumerate(table.auth.jwks if table.auth else []):
        if not issuer.keys.get("keys"):
            yield f"auth.jwks[{index}].keys: has no key."


def _tls(table: Table) -> Iterator[str]:
    hosts = [name.host for name in table.tls]
    if len(set(hosts)) != len(hosts):
        yield "tls: a host is listed twice."
    for name in table.tls:
        if not name.certificates:
            yield f"tls ({name.listener}): has no certificate."
