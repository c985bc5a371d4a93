"""All that is seen of the API, translated: the route table, and what to say of each route and Gateway. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway import filter as filters
from modelport.local.gateway import internal, match
from modelport.local.gateway.attach import Attached, Gateways
from modelport.local.gateway.auth import auth
from modelport.local.gateway.backend import Backends, Failure
from modelport.local.gateway.cluster import clusters
from modelport.local.gateway.order import Entry, arrange
from modelport.local.gateway.owner import service_of
from modelport.local.gateway.spec import RouteMatch, RouteRule, RouteSpec, Timeouts, Verdict
from modelport.wire.table import Backend, Match, Rule, Table

RETRY = "serving.modelport.io/retry"
"""Annotation of an HTTPRoute: "false" lets nothing be sent twice, not even predictions."""
_DURATION = re.compile(r"(\d+)(ms|h|m|s)")
_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

Name = tuple[str, str]


class Seen(msgspec.Struct, kw_only=True):
    """What there is."""

    classes: Sequence[Object] = ()
    gateways: Sequence[Object] = ()
    routes: Sequence[Object] = ()
    services: Sequence[Object] = ()
    slices: Sequence[Object] = ()
    namespaces: Sequence[Object] = ()
    grants: Sequence[Object] = ()
    secrets: Sequence[Object] = ()
    """Those labelled as API keys or JWKS; so too with the ConfigMaps."""
    config_maps: Sequence[Object] = ()
    living: Collection[str] | None = None
    """Uids of the pods that are not about to end."""
    require_keys: bool = False
    refused: Mapping[str, str] = {}
    """Routes that the gateway itself did not take, by `namespace/name`, with its words."""


class ParentVerdicts(msgspec.Struct):
    """What a Gateway of ours says of a route: an entry of `status.parents`."""

    parent: Object
    """The parentRef, as written."""
    verdicts: list[Verdict]


class Translation(msgspec.Struct):
    """What follows."""

    table: Table
    """Its version is 0: the writer counts."""
    routes: dict[Name, list[ParentVerdicts]]
    gateways: Gateways
    problems: list[str]
    """What nobody's conditions can tell: unreadable keys."""


def translate(seen: Seen) -> Translation:
    """The table, and verdicts on all routes that refer to a Gateway of ours."""
    gateways = Gateways(seen.classes, seen.gateways, seen.namespaces)
    backends = Backends(seen.services, seen.grants)
    entries: list[Entry] = []
    verdicts: dict[Name, list[ParentVerdicts]] = {}
    for route in sorted(seen.routes, key=_name):
        words = seen.refused.get("/".join(_name(route)))
        said, its = (
            _route(route, gateways, backends) if words is None else (_unreadable(route, gateways, words), [])
        )
        if said:
            verdicts[_name(route)] = said
        entries += its
    section, problems = auth(seen.secrets, seen.config_maps, required=seen.require_keys)
    table = Table(
        version=0,
        routes=[*arrange(entries), *internal.routes(seen.services)],
        clusters=clusters(seen.services, seen.slices, seen.living),
        auth=section,
    )
    return Translation(table, verdicts, gateways, problems)


def _name(item: Object) -> Name:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _route(route: Object, gateways: Gateways, backends: Backends) -> tuple[list[ParentVerdicts], list[Entry]]:
    try:
        spec = msgspec.convert(route["spec"], RouteSpec)
    except msgspec.ValidationError as error:
        return _unreadable(route, gateways, f"spec: {error}."), []
    namespace, name = _name(route)
    written: list[Object] = route["spec"].get("parentRefs") or []
    attached: list[Attached] = []
    said: list[ParentVerdicts] = []
    rules = _Rules(route, spec, backends)
    for parent, raw in zip(spec.parent_refs, written, strict=True):
        key = gateways.find(parent, namespace)
        if key is None:
            continue
        found = gateways.attach(key, parent, route, spec)
        if isinstance(found, Attached):
            attached.append(found)
            said.append(ParentVerdicts(raw, rules.verdicts()))
        else:
            said.append(ParentVerdicts(raw, [found, rules.resolved()]))
    hosts = tuple(dict.fromkeys(host for item in attached for host in item.hosts))
    if not hosts or rules.refused:
        return said, []
    entries = [
        Entry(
            name=f"{namespace}/{name}",
            service=service_of(route),
            created=route["metadata"].get("creationTimestamp") or "",
            hosts=hosts,
            rule_index=rule_index,
            match_index=match_index,
            match=found,
            rule=rule,
        )
        for rule_index, (rule, matches) in enumerate(rules.rules)
        for match_index, found in enumerate(matches)
    ]
    return said, entries


def _unreadable(route: Object, gateways: Gateways, message: str) -> list[ParentVerdicts]:
    written: list[Object] = route["spec"].get("parentRefs") or []
    said: list[ParentVerdicts] = []
    for raw in written:
        key = (raw.get("namespace") or route["metadata"]["namespace"], raw.get("name"))
        if key in gateways.specs:
            verdict = Verdict("Accepted", good=False, reason="UnsupportedValue", message=message)
            said.append(ParentVerdicts(raw, [verdict]))
    return said


class _Rules:
    """A route's rules, and what is wrong with them. A rule that cannot be carried out as written answers 500 rather
    than let its requests fall through to another rule (Gateway API: filters must not be skipped)."""

    def __init__(self, route: Object, spec: RouteSpec, backends: Backends) -> None:
        annotations: Object = route["metadata"].get("annotations") or {}
        self._retry = annotations.get(RETRY) != "false"
        self._namespace = route["metadata"]["namespace"]
        self._failures: list[Failure] = []
        self._problems: dict[int, list[str]] = {}
        self.rules: list[tuple[Rule, list[Match]]] = [
            self._rule(rule, index, backends) for index, rule in enumerate(spec.rules)
        ]

    @property
    def refused(self) -> bool:
        """Whether no rule can be carried out: then the route is not accepted."""
        return bool(self.rules) and len(self._problems) == len(self.rules)

    def verdicts(self) -> list[Verdict]:
        """Of a route that a Gateway takes."""
        words = " ".join(problem for problems in self._problems.values() for problem in problems)
        if self.refused:
            return [
                Verdict("Accepted", good=False, reason="UnsupportedValue", message=words),
                self.resolved(),
            ]
        said = [
            Verdict("Accepted", good=True, reason="Accepted", message="The gateway serves this route."),
            self.resolved(),
        ]
        if self._problems:
            listed = ", ".join(str(index) for index in self._problems)
            message = f"Dropped Rule(s) {listed}, whose requests are answered 500: {words}"
            said.append(Verdict("PartiallyInvalid", good=True, reason="UnsupportedValue", message=message))
        return said

    def resolved(self) -> Verdict:
        """Whether all references lead somewhere."""
        if not self._failures:
            return Verdict(
                "ResolvedRefs", good=True, reason="ResolvedRefs", message="All references lead to Services."
            )
        words = " ".join(failure.message for failure in self._failures)
        return Verdict("ResolvedRefs", good=False, reason=self._failures[0].reason, message=words)

    def _rule(self, rule: RouteRule, index: int, backends: Backends) -> tuple[Rule, list[Match]]:
        where = f"spec.rules[{index}]"
        matches: list[Match] = []
        problems: list[str] = []
        for number, wanted in enumerate(rule.matches or [RouteMatch()]):
            found, wrong = match.translate(wanted, f"{where}.matches[{number}]")
            problems += wrong
            if not wrong:
                matches.append(found)
        edits, wrong = filters.translate(rule.filters, f"{where}.filters")
        problems += wrong
        limits, wrong = _timeouts(rule.timeouts or Timeouts(), f"{where}.timeouts")
        problems += wrong
        retry = self._retry
        if rule.retry is not None:
            if rule.retry.get("attempts") == 0:
                retry = False
            else:
                problems.append(
                    f"{where}.retry: the gateway retries once by rules of its own; leave it out, or set attempts to 0."
                )
        if rule.session_persistence is not None:
            problems.append(f"{where}.sessionPersistence: the gateway has none. Leave it out.")
        found_backends, failures = backends.resolve(
            rule.backend_refs, self._namespace, f"{where}.backendRefs"
        )
        self._failures += failures
        if problems:
            self._problems[index] = problems
            found_backends = [Backend(failure=" ".join(problems))]
        return (
            Rule(
                matches=[],
                filters=edits,
                backends=found_backends,
                timeout_ms=limits[0],
                backend_timeout_ms=limits[1],
                retry=retry,
            ),
            matches,
        )


def _timeouts(wanted: Timeouts, where: str) -> tuple[tuple[int | None, int | None], list[str]]:
    problems: list[str] = []

    def read(text: str | None, name: str) -> int | None:
        if text is None:
            return None
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            problems.append(f'{where}.{name}: must be a duration as in 1m30s, got "{text}".')
            return None
        # None is no limit, and so is 0s (GEP-2257).
        return sum(int(number) * _MS[unit] for number, unit in parts) or None

    return (read(wanted.request, "request"), read(wanted.backend_request, "backendRequest")), problems
