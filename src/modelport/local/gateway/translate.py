"""All that is seen of the API, translated: the route table, and what to say of each route and Gateway. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway import filter as filters
from modelport.local.gateway import internal, key_file, match, policy
from modelport.local.gateway.attach import Attached, Gateways
from modelport.local.gateway.auth import auth
from modelport.local.gateway.backend import Backends, Failure
from modelport.local.gateway.certificate import certificates
from modelport.local.gateway.cluster import clusters
from modelport.local.gateway.issuer import Fetched
from modelport.local.gateway.order import Entry, arrange
from modelport.local.gateway.owner import service_of
from modelport.local.gateway.spec import BackendRef, RouteMatch, RouteRule, RouteSpec, Verdict
from modelport.wire.table import Backend, Certificate, Match, RateLimit, Rule, Table

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
    key_file: key_file.Content | None = None
    """The platform's own file of keys, if there is one."""
    fetched: Mapping[str, Fetched] = {}
    """Issuers' keys that were asked for, by their source's id."""
    now: datetime | None = None
    """For keys and certificates that end. None: none has."""
    living: Collection[str] | None = None
    """Uids of the pods that are not about to end."""
    require_keys: bool = False
    refused: Mapping[str, str] = {}
    """Routes that the gateway itself did not take, by `namespace/name`, with its words."""
    limited: Mapping[str, str] = {}
    """Routes of which it did not take some rules, whose requests it answers 500."""
    tls: bool = False
    """The platform's port speaks TLS."""
    tls_secrets: Sequence[Object] = ()
    """Those that listeners refer to."""
    kept: Mapping[str, list[Certificate]] = {}
    """What listeners have in the last table, by `namespace/gateway/listener`: it stays where a Secret is broken."""


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
    files: dict[str, bytes]
    """Certificates with their keys, by the names under which the table has them."""
    next_at: int | None
    """When to look at the same again, because a certificate expires."""
    problems: list[str]
    """What nobody's conditions can tell: unreadable keys."""


def translate(seen: Seen) -> Translation:
    """The table, and verdicts on all routes that refer to a Gateway of ours."""
    gateways = Gateways(seen.classes, seen.gateways, seen.namespaces)
    backends = Backends(seen.services, seen.grants)
    entries: list[Entry] = []
    verdicts: dict[Name, list[ParentVerdicts]] = {}
    for route in sorted(seen.routes, key=_name):
        name = "/".join(_name(route))
        words = seen.refused.get(name)
        if words is None:
            said, its = _route(route, gateways, backends, seen.limited.get(name))
        else:
            said, its = _unreadable(route, gateways, words), []
        if said:
            verdicts[_name(route)] = said
        entries += its
    section, problems = auth(
        seen.secrets,
        seen.config_maps,
        required=seen.require_keys,
        file=seen.key_file,
        fetched=seen.fetched,
        now=seen.now,
    )
    table = Table(
        version=0,
        routes=[*arrange(entries), *internal.routes(seen.services)],
        clusters=clusters(seen.services, seen.slices, seen.living),
        auth=section,
    )
    shown = certificates(gateways, seen.tls_secrets, seen.grants, seen.kept, seen.now, tls=seen.tls)
    table.tls, gateways.said = shown.names, shown.said
    for service in seen.services:
        problems += policy.outlier(service)[1]
    return Translation(table, verdicts, gateways, shown.files, shown.next_at, problems)


def _name(item: Object) -> Name:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _route(
    route: Object, gateways: Gateways, backends: Backends, limited: str | None
) -> tuple[list[ParentVerdicts], list[Entry]]:
    try:
        spec = msgspec.convert(route["spec"], RouteSpec)
    except msgspec.ValidationError as error:
        return _unreadable(route, gateways, f"spec: {error}."), []
    namespace, name = _name(route)
    written: list[Object] = route["spec"].get("parentRefs") or []
    attached: list[Attached] = []
    said: list[ParentVerdicts] = []
    rules = _Rules(route, spec, backends, limited)
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
            limit=rules.limit,
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

    def __init__(self, route: Object, spec: RouteSpec, backends: Backends, limited: str | None) -> None:
        self._annotations: Object = route["metadata"].get("annotations") or {}
        self._namespace = route["metadata"]["namespace"]
        self._limited = limited
        self._failures: list[Failure] = []
        self._problems: dict[int, list[str]] = {}
        self.limit: RateLimit | None
        self.limit, wrong = policy.rate_limit(self._annotations)
        self.rules: list[tuple[Rule, list[Match]]] = [
            self._rule(rule, index, backends, wrong) for index, rule in enumerate(spec.rules)
        ]

    @property
    def refused(self) -> bool:
        """Whether no rule can be carried out: then the route is not accepted."""
        if self._limited is not None and len(self.rules) == 1:
            return True
        return bool(self.rules) and len(self._problems) == len(self.rules)

    def verdicts(self) -> list[Verdict]:
        """Of a route that a Gateway takes."""
        words = " ".join(problem for problems in self._problems.values() for problem in problems)
        if self.refused:
            words = words or self._limited or ""
            return [
                Verdict("Accepted", good=False, reason="UnsupportedValue", message=words),
                self.resolved(),
            ]
        said = [
            Verdict("Accepted", good=True, reason="Accepted", message="The gateway serves this route."),
            self.resolved(),
        ]
        if self._problems or self._limited:
            listed = ", ".join(str(index) for index in self._problems)
            message = f"Dropped Rule(s) {listed}, whose requests are answered 500: {words}" if listed else ""
            if self._limited:
                message = f"{message} The gateway answers 500 for a rule: {self._limited}".strip()
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

    def _rule(
        self, rule: RouteRule, index: int, backends: Backends, wrong: list[str]
    ) -> tuple[Rule, list[Match]]:
        where = f"spec.rules[{index}]"
        matches: list[Match] = []
        problems = list(wrong)
        for number, wanted in enumerate(rule.matches or [RouteMatch()]):
            found, wrong = match.translate(wanted, f"{where}.matches[{number}]")
            problems += wrong
            if not wrong:
                matches.append(found)
        prefixes_only = all(found.path.type == "prefix" for found in matches)
        place = filters.Place(self._namespace, f"{where}.filters", prefixes_only)
        edits, wrong, failures = filters.translate(rule.filters, place, backends)
        problems += wrong
        self._failures += failures
        written = Rule(matches=[], filters=edits)
        problems += policy.apply(written, rule, self._annotations, where)
        if edits.redirect and rule.backend_refs:
            problems.append(f"{where}: RequestRedirect asks no backend. Leave backendRefs out.")
        for number, ref in enumerate(rule.backend_refs):
            field = f"{where}.backendRefs[{number}]"
            own = filters.Place(self._namespace, f"{field}.filters", prefixes_only, is_backend=True)
            written.backends.append(self._backend(ref, field, own, backends))
        if problems:
            self._problems[index] = problems
            written.filters.redirect = None
            written.backends = [Backend(failure=" ".join(problems))]
        return written, matches

    def _backend(self, ref: BackendRef, where: str, place: filters.Place, backends: Backends) -> Backend:
        """A reference that leads nowhere, or has filters that cannot be carried out, keeps its weight: its share is
        answered 500 (Gateway API, HTTPBackendRef)."""
        weight = 1 if ref.weight is None else ref.weight
        cluster = backends.resolve(ref, self._namespace, where)
        if isinstance(cluster, Failure):
            self._failures.append(cluster)
            return Backend(failure=cluster.message, weight=weight)
        if not ref.filters:
            return Backend(cluster=cluster, weight=weight)
        edits, wrong, failures = filters.translate(ref.filters, place, backends)
        self._failures += failures
        if wrong:
            words = " ".join(wrong)
            self._failures.append(Failure("UnsupportedValue", words))
            return Backend(failure=words, weight=weight)
        return Backend(cluster=cluster, weight=weight, filters=edits)
