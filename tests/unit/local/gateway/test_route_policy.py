"""What a user's HTTPRoute says beyond hosts and paths, as the gateway's table has it, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import yaml
from seeing import seen

from modelport.local.gateway import policy
from modelport.local.gateway.translate import Translation, translate
from modelport.wire.table import Rule

SERVICES = """
kind: Service
metadata: {name: a, namespace: default}
spec: {ports: [{port: 80}]}
---
kind: Service
metadata: {name: b, namespace: default, annotations: {serving.modelport.io/outliers: failures=2 eject=1m}}
spec: {ports: [{port: 80}]}
"""
A = {"name": "a", "port": 80}


def translated(*rules: dict[str, Any], annotations: dict[str, str] | None = None, **more: Any) -> Translation:
    route = {
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "default", "annotations": annotations or {}},
        "spec": {
            "parentRefs": [{"namespace": "kserve", "name": "kserve-ingress-gateway"}],
            "rules": list(rules),
        },
    }
    return translate(seen(SERVICES + "---\n" + yaml.safe_dump(route), **more))


def only(found: Translation) -> Rule:
    (route,) = [route for route in found.table.routes if not route.internal]
    (rule,) = route.rules
    return rule


def said(found: Translation) -> dict[str, tuple[bool, str, str]]:
    (parent,) = found.routes["default", "r"]
    return {one.type: (one.good, one.reason, one.message) for one in parent.verdicts}


def plain(item: object) -> Any:
    return msgspec.to_builtins(item)


def test_filters_arrive_as_written() -> None:
    """A redirect, a rewrite or a mirror that got lost on the way would send real traffic astray."""
    rewrite = {"hostname": "in.org", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}}
    mirrors = [
        {"backendRef": {"name": "b", "port": 80}},
        {"backendRef": {"name": "b", "port": 80}, "percent": 5},
        {"backendRef": {"name": "b", "port": 80}, "fraction": {"numerator": 1, "denominator": 1000}},
    ]
    headers = {"set": [{"name": "x", "value": "1"}]}
    own = [{"type": "RequestHeaderModifier", "requestHeaderModifier": headers}]
    found = translated(
        {
            "matches": [{"path": {"value": "/iris"}}],
            "filters": [
                {"type": "URLRewrite", "urlRewrite": rewrite},
                *({"type": "RequestMirror", "requestMirror": one} for one in mirrors),
            ],
            "backendRefs": [A | {"filters": own}],
        }
    )
    rule = only(found)
    assert plain(rule.filters.rewrite) == {"hostname": "in.org", "path": {"type": "prefix", "value": "/v1"}}
    shares = [(one.cluster, one.numerator, one.denominator) for one in rule.filters.mirrors]
    assert shares == [("default/b:80", 100, 100), ("default/b:80", 5, 100), ("default/b:80", 1, 1000)]
    (backend,) = rule.backends
    assert backend.filters is not None
    assert backend.filters.request_headers.set == [("x", "1")]
    assert all(good for good, _, _ in said(found).values())

    redirect = {
        "scheme": "https",
        "hostname": "o.org",
        "port": 8443,
        "path": {"type": "ReplaceFullPath", "replaceFullPath": "/x"},
        "statusCode": 308,
    }
    rule = only(translated({"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}))
    assert plain(rule.filters.redirect) == {
        "scheme": "https",
        "hostname": "o.org",
        "port": 8443,
        "path": {"type": "full", "value": "/x"},
        "status": 308,
    }


def redirect_to(**more: Any) -> dict[str, Any]:
    return {"type": "RequestRedirect", "requestRedirect": more}


def rewrite_to(**path: str) -> dict[str, Any]:
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"filters": [redirect_to(scheme="ftp")]}, "scheme: must be http or https"),
        ({"filters": [redirect_to(statusCode=200)]}, "statusCode: must be 301"),
        ({"filters": [redirect_to(hostname="a b")]}, "must be a host's name"),
        ({"filters": [redirect_to(), redirect_to()]}, "there is another RequestRedirect"),
        ({"filters": [redirect_to(), rewrite_to(type="ReplaceFullPath")]}, "exclude each other"),
        ({"filters": [redirect_to()], "backendRefs": [A]}, "asks no backend"),
        ({"filters": [rewrite_to(type="ReplaceFullPath", replaceFullPath="x")]}, 'begins with "/"'),
        ({"filters": [rewrite_to(type="Other")]}, "must be ReplaceFullPath or ReplacePrefixMatch"),
        (
            {
                "matches": [{"path": {"type": "Exact", "value": "/a"}}],
                "filters": [rewrite_to(type="ReplacePrefixMatch", replacePrefixMatch="/b")],
            },
            "needs a rule whose matches are all of path type PathPrefix",
        ),
        (
            {
                "filters": [
                    {
                        "type": "RequestMirror",
                        "requestMirror": {
                            "backendRef": A,
                            "percent": 1,
                            "fraction": {"numerator": 1},
                        },
                    }
                ]
            },
            "exclude each other",
        ),
        ({"filters": [{"type": "CORS"}]}, 'got "CORS"'),
        ({"timeouts": {"request": "1s", "backendRequest": "2s"}}, "must not be longer than request"),
        ({"retry": {"backoff": "soon"}}, "must be a duration"),
        ({"sessionPersistence": {"type": "Query"}}, "must be Cookie or Header"),
        ({"sessionPersistence": {"idleTimeout": "1m"}}, "the gateway keeps no sessions"),
        ({"sessionPersistence": {"cookieConfig": {"lifetimeType": "Permanent"}}}, "absoluteTimeout: must be"),
    ],
)
def test_what_cannot_be_carried_out_is_a_500_and_said(rule: dict[str, Any], words: str) -> None:
    """Another rule that stays good keeps the route accepted; the bad one never falls through to it."""
    found = translated(rule, {"matches": [{"path": {"value": "/good"}}], "backendRefs": [A]})
    state = said(found)
    assert state["Accepted"][0]
    assert state["PartiallyInvalid"][0]
    assert words in state["PartiallyInvalid"][2]
    rules = {one.backends[0].cluster: one for route in found.table.routes[:1] for one in route.rules}
    assert words in (rules[None].backends[0].failure or "")
    assert rules[None].filters.redirect is None
    assert rules["default/a:80"].backends[0].failure is None


def test_a_backend_whose_filters_cannot_be_carried_out_keeps_its_share_of_500s() -> None:
    bad = A | {"filters": [redirect_to()], "weight": 1}
    found = translated({"backendRefs": [bad, A | {"weight": 9}]})
    backends = only(found).backends
    assert [(one.cluster, one.weight) for one in backends] == [(None, 1), ("default/a:80", 9)]
    assert said(found)["ResolvedRefs"][:2] == (False, "UnsupportedValue")


def test_a_mirror_that_leads_nowhere_is_said_and_hurts_nobody() -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "gone", "port": 80}}}
    found = translated({"filters": [mirror], "backendRefs": [A]})
    assert only(found).backends[0].cluster == "default/a:80"
    assert said(found)["ResolvedRefs"][:2] == (False, "BackendNotFound")


def test_retries_and_stickiness() -> None:
    rule = only(
        translated(
            {
                "backendRefs": [A],
                "retry": {"codes": [503, 500], "attempts": 2, "backoff": "100ms"},
                "sessionPersistence": {
                    "sessionName": "s",
                    "absoluteTimeout": "1h",
                    "cookieConfig": {"lifetimeType": "Permanent"},
                },
            }
        )
    )
    assert plain(rule.again) == {"codes": [500, 503], "attempts": 2, "backoff_ms": 100}
    assert plain(rule.sticky) == {"by": "cookie", "name": "s", "max_age_s": 3600}
    assert not only(translated({"backendRefs": [A], "retry": {"attempts": 0}})).retry
    hashed = only(
        translated({"backendRefs": [A]}, annotations={"serving.modelport.io/hash-header": "X-User"})
    )
    assert plain(hashed.sticky) == {"by": "hash", "name": "x-user"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100/s", (100, 1_000, 100, "route", None)),
        ("5/m burst=2", (5, 60_000, 2, "route", None)),
        ("1/h by=client", (1, 3_600_000, 1, "client", None)),
        ("1/h by=caller", (1, 3_600_000, 1, "caller", None)),
        ("7/s by=header:X-Tenant burst=9", (7, 1_000, 9, "header", "x-tenant")),
    ],
)
def test_rate_limits_are_read(text: str, expected: tuple[object, ...]) -> None:
    found = translated({"backendRefs": [A]}, annotations={policy.RATE_LIMIT: text})
    (route,) = [route for route in found.table.routes if not route.internal]
    limit = route.limit
    assert limit is not None
    assert (limit.requests, limit.per_ms, limit.burst, limit.by, limit.header) == expected


@pytest.mark.parametrize(
    "text", ["", "100", "0/s", "1/d", "1/s by=me", "1/s by=header:", "1/s burst=0", "-1/s"]
)
def test_a_rate_limit_that_is_none_lets_nobody_through(text: str) -> None:
    """Whoever writes a limit wants one: a typo must not open the door."""
    found = translated({"backendRefs": [A]}, annotations={policy.RATE_LIMIT: text})
    assert said(found)["Accepted"][:2] == (False, "UnsupportedValue")
    assert not [route for route in found.table.routes if not route.internal]


def test_services_say_when_an_endpoint_is_an_outlier() -> None:
    found = translated({"backendRefs": [A]})
    outlier = found.table.clusters["default/b:80"].outlier
    assert outlier is not None
    assert (outlier.failures, outlier.eject_ms) == (2, 60_000)
    service: dict[str, Any] = {"metadata": {"name": "s", "namespace": "n"}}
    service["metadata"]["annotations"] = {policy.OUTLIERS: "off"}
    assert policy.outlier(service) == (None, [])
    service["metadata"]["annotations"] = {policy.OUTLIERS: "failures=many"}
    assert policy.outlier(service)[1]


def test_a_rule_that_only_the_gateway_cannot_read_leaves_the_others() -> None:
    rules = [{"matches": [{"path": {"value": f"/{name}"}}], "backendRefs": [A]} for name in "xy"]
    found = translated(*rules, limited={"default/r": "rules[0]: too large."})
    assert said(found)["PartiallyInvalid"][2] == "The gateway answers 500 for a rule: rules[0]: too large."
    assert len(found.table.routes[0].rules) == 2
    found = translated(rules[0], limited={"default/r": "rules[0]: too large."})
    assert said(found)["Accepted"] == (False, "UnsupportedValue", "rules[0]: too large.")
