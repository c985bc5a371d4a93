"""Which rule wins where several fit: Gateway API's precedence, turned into the table's order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from modelport.wire.table import Match, RateLimit, Route, Rule

_PATHS = {"exact": 0, "regex": 1, "prefix": 2}
"""Gateway API leaves regular expressions to us; as Envoy Gateway does it, they come before prefixes."""


class Entry(msgspec.Struct):
    """One match of one rule of an HTTPRoute."""

    name: str
    """`namespace/name` of the route."""
    service: str
    created: str
    hosts: tuple[str, ...]
    rule_index: int
    match_index: int
    match: Match
    rule: Rule
    """Shared by the rule's entries; its own `matches` are empty."""
    limit: RateLimit | None = None
    """Of the whole route."""


def precedence(entry: Entry) -> tuple[object, ...]:
    """Sorts those first that win: exact path, longest path, a method, more headers, more query parameters; then the
    oldest route, the first by name, the first rule."""
    match = entry.match
    return (
        _PATHS[match.path.type],
        -len(match.path.value),
        match.method is None,
        -len(match.headers),
        -len(match.query),
        entry.created,
        entry.name,
        entry.rule_index,
        entry.match_index,
    )


def arrange(entries: Sequence[Entry]) -> list[Route]:
    """Routes whose rules are in order for every host. Only HTTPRoutes that share a host are mixed."""
    routes: list[Route] = []
    for group in _groups(entries):
        last: Entry | None = None
        for entry in sorted(group, key=precedence):
            if last is None or (last.name, last.hosts) != (entry.name, entry.hosts):
                routes.append(
                    Route(
                        name=entry.name,
                        service=entry.service,
                        hosts=list(entry.hosts),
                        rules=[],
                        limit=entry.limit,
                    )
                )
                last = None
            rules = routes[-1].rules
            if last is None or last.rule_index != entry.rule_index:
                rules.append(msgspec.structs.replace(entry.rule, matches=[]))
            rules[-1].matches.append(entry.match)
            last = entry
    return routes


def _groups(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Entries that are connected by hosts, in the order of their first names."""
    leader: dict[str, str] = {}

    def find(host: str) -> str:
        while leader.setdefault(host, host) != host:
            host = leader[host]
        return host

    ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        for host in entry.hosts:
            leader[find(host)] = find(entry.hosts[0])
    groups: dict[str, list[Entry]] = {}
    for entry in ordered:
        groups.setdefault(find(entry.hosts[0]), []).append(entry)
    return list(groups.values())
