"""The translator's small rules, a table each."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given
from seeing import seen

from modelport.local.gateway import match
from modelport.local.gateway.attach import covers, intersection
from modelport.local.gateway.check import check
from modelport.local.gateway.order import Entry, arrange, precedence
from modelport.local.gateway.spec import PathMatch as WantedPath
from modelport.local.gateway.spec import RouteMatch
from modelport.local.gateway.translate import translate
from modelport.wire.table import Backend, Match, PathMatch, Route, Rule, Table, ValueMatch


@pytest.mark.parametrize(
    ("routes", "listener", "expected"),
    [
        ([], None, ["*"]),
        ([], "a.org", ["a.org"]),
        (["a.org"], None, ["a.org"]),
        (["a.org"], "b.org", []),
        (["x.a.org"], "*.a.org", ["x.a.org"]),
        (["x.y.a.org"], "*.a.org", ["x.y.a.org"]),
        (["a.org"], "*.a.org", []),
        (["*.a.org"], "x.a.org", ["x.a.org"]),
        (["*.a.org"], "*.x.a.org", ["*.x.a.org"]),
        (["*.x.a.org"], "*.a.org", ["*.x.a.org"]),
        (["xa.org"], "*.a.org", []),
        (["A.org", "a.ORG"], None, ["a.org"]),
        (["a.org", "b.org", "x.a.org"], "*.a.org", ["x.a.org"]),
    ],
)
def test_hosts_are_what_route_and_listener_both_want(
    routes: list[str], listener: str | None, expected: list[str]
) -> None:
    """The table of Gateway API's `HTTPRoute.spec.hostnames`."""
    assert intersection(routes, listener) == expected


names = st.sampled_from(["*", "*.a.org", "*.b.a.org", "a.org", "b.a.org", "c.b.a.org", "org"])


@given(names, names, names)
def test_covering_is_transitive(a: str, b: str, c: str) -> None:
    if covers(a, b) and covers(b, c):
        assert covers(a, c)
    assert covers(a, a)


@pytest.mark.parametrize(
    ("regex", "is_fine"),
    [
        (r"^/v1/models/[\w-]+:explain$", True),
        (r"^/inference\.GRPCInferenceService/.*$", True),
        (r"/\pL+", True),
        (r"(?i)/V1", True),
        (r"/[[:alpha:]]+", True),
        (r"/(", False),
        (r"/*+x", False),
        (r"(a)\1", False),
        (r"(?=/v1).*", False),
        (r"(?<!x)/v1", False),
    ],
)
def test_a_regex_that_the_gateway_cannot_run_is_refused_with_words(regex: str, is_fine: bool) -> None:
    """Else the whole table would be refused for one user's typo."""
    wanted = RouteMatch(path=WantedPath(type="RegularExpression", value=regex))
    _, problems = match.translate(wanted, "spec.rules[0].matches[0]")
    assert (problems == []) == is_fine
    assert all(text.startswith("spec.rules[0].matches[0].path.value: ") for text in problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("60s", 60_000), ("1m30s", 90_000), ("500ms", 500), ("1h", 3_600_000), ("0s", None)],
)
def test_timeouts(text: str, expected: int | None) -> None:
    route = f"""
kind: HTTPRoute
metadata: {{name: r, namespace: default}}
spec:
  parentRefs: [{{namespace: kserve, name: kserve-ingress-gateway}}]
  rules: [{{timeouts: {{request: {text}, backendRequest: {text}}}}}]
"""
    (rule,) = translate(seen(route)).table.routes[0].rules
    assert (rule.timeout_ms, rule.backend_timeout_ms) == (expected, expected)


def test_an_annotation_lets_nothing_be_sent_twice() -> None:
    route = """
kind: HTTPRoute
metadata: {name: r, namespace: default, annotations: {serving.modelport.io/retry: "false"}}
spec: {parentRefs: [{namespace: kserve, name: kserve-ingress-gateway}]}
"""
    (rule,) = translate(seen(route)).table.routes[0].rules
    assert not rule.retry


def test_keys_required_and_none_known_lets_nobody_in() -> None:
    """`--host` without any Secret must not be an open door."""
    assert translate(seen("", require_keys=True)).table.auth is not None
    assert translate(seen("")).table.auth is None


hosts = st.lists(st.sampled_from(["a", "b", "c", "*"]), min_size=1, max_size=3, unique=True).map(tuple)
matches = st.builds(
    Match,
    path=st.builds(
        PathMatch,
        type=st.sampled_from(["exact", "prefix", "regex"]),
        value=st.sampled_from(["/", "/v1", "/v2/x"]),
    ),
    method=st.sampled_from([None, "GET"]),
    headers=st.lists(st.just(ValueMatch(name="x", value="y")), max_size=1),
)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    found: list[Entry] = []
    for number in range(draw(st.integers(1, 5))):
        its_hosts = draw(hosts)
        for rule_index in range(draw(st.integers(1, 3))):
            rule = Rule(matches=[], backends=[Backend(failure=f"{number}.{rule_index}")])
            created = draw(st.sampled_from(["2025", "2026"]))
            found += [
                Entry(f"ns/r{number}", "ns/s", created, its_hosts, rule_index, index, item, rule)
                for index, item in enumerate(draw(st.lists(matches, min_size=1, max_size=3)))
            ]
    return found


@given(entries())
def test_every_host_sees_its_rules_in_order_of_precedence(found: list[Entry]) -> None:
    """Whatever routes share: for each host the table's order is the order of all its entries, none lost."""
    table = arrange(found)
    for host in {host for entry in found for host in entry.hosts}:
        mine = sorted((entry for entry in found if host in entry.hosts), key=precedence)
        wanted = [(entry.name, entry.rule.backends[0].failure, entry.match) for entry in mine]
        got = [
            (route.name, rule.backends[0].failure, item)
            for route in table
            if host in route.hosts
            for rule in route.rules
            for item in rule.matches
        ]
        assert got == wanted
    assert check(Table(version=1, routes=table)) == []


def test_the_checker_finds_what_the_gateway_would_refuse() -> None:
    bad = Table(
        version=1,
        routes=[
            Route(name="a", service="a", hosts=[], rules=[]),
            Route(
                name="b",
                service="b",
                hosts=["x", "x", "a.*.b", "y:80"],
                rules=[Rule(matches=[], backends=[Backend(cluster="gone"), Backend()])],
            ),
        ],
    )
    assert check(bad) == [
        "routes[0] (a).hosts: is empty.",
        "routes[1] (b).hosts: names a host twice.",
        "routes[1] (b).hosts: 'a.*.b' has a * that does not stand first.",
        "routes[1] (b).hosts: 'y:80' has a port, which only internal hosts have.",
        "routes[1] (b).rules[0].matches: is empty, so nothing ever fits.",
        "routes[1] (b).rules[0].backends: there is no cluster 'gone'.",
        "routes[1] (b).rules[0].backends: must have either a cluster or a failure.",
    ]
