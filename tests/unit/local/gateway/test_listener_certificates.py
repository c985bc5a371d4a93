"""Which certificates a Gateway's listeners show, and what is said where one cannot be shown."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from seeing import seen

from modelport._dataplane import self_signed
from modelport.local.gateway.certificate import PLAIN, referenced
from modelport.local.gateway.check import check
from modelport.local.gateway.status import PROGRAMMED, gateway_status
from modelport.local.gateway.translate import Translation, translate
from modelport.wire.table import Certificate, encode

NOW = int(time.time())
DAY = 86_400
OLD = Certificate(secret="kserve/shop-tls", file="0" * 64)
LISTENER = "kserve/g/shop"
_, CHAIN, KEY = self_signed(["*.shop.example"], 10)
_, OTHER_CHAIN, OTHER_KEY = self_signed(["*.shop.example"], 10)


def secret(
    chain: str | None = CHAIN,
    key: str | None = KEY,
    *,
    name: str = "shop-tls",
    namespace: str = "kserve",
    kind: str = "kubernetes.io/tls",
) -> dict[str, Any]:
    entries = {"tls.crt": chain, "tls.key": key}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in entries.items() if text}
    return {"kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "type": kind, "data": data}


def listener(name: str = "shop", *refs: dict[str, Any], **more: Any) -> dict[str, Any]:
    tls = {"mode": "Terminate", "certificateRefs": list(refs or ({"name": "shop-tls"},))}
    return {"name": name, "hostname": "*.shop.example", "port": 443, "protocol": "HTTPS", "tls": tls} | more


def gateway(*listeners: dict[str, Any], name: str = "g", **meta: Any) -> dict[str, Any]:
    return {
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "kserve"} | meta,
        "spec": {"gatewayClassName": "modelport", "listeners": list(listeners)},
    }


def translated(
    *items: dict[str, Any], secrets: Any = (), now: int = NOW, tls: bool = True, **more: Any
) -> Translation:
    moment = datetime.fromtimestamp(now, UTC)
    found = translate(seen(yaml.safe_dump_all(items), tls=tls, now=moment, tls_secrets=list(secrets), **more))
    assert check(found.table) == []
    assert b"PRIVATE" not in encode(found.table)
    return found


def conditions(found: Translation, item: dict[str, Any], index: int = 0) -> dict[str, tuple[str, str, str]]:
    told = found.gateways.of((item["metadata"]["namespace"], item["metadata"]["name"]))
    status = gateway_status(item, told, PROGRAMMED, "127.0.0.1", datetime(2026, 1, 1, tzinfo=UTC))
    listed = status["listeners"][index]["conditions"]
    for one in listed:
        assert KEY.splitlines()[1] not in one["message"]
    return {one["type"]: (one["status"], one["reason"], one["message"]) for one in listed}


def test_a_secret_is_shown_for_its_listeners_host() -> None:
    item = gateway(listener())
    found = translated(item, secrets=[secret()])
    (name,) = found.table.tls
    assert (name.listener, name.host) == (LISTENER, "*.shop.example")
    (certificate,) = name.certificates
    assert certificate.secret == "kserve/shop-tls"
    assert set(found.files) == {certificate.file}
    content = found.files[certificate.file].decode()
    assert CHAIN.strip() in content
    assert KEY.strip() in content
    said = conditions(found, item)
    assert said["Programmed"][0] == "True"
    assert said["ResolvedRefs"][:2] == ("True", "ResolvedRefs")
    assert "Secret kserve/shop-tls is valid until 20" in said["ResolvedRefs"][2]
    assert found.next_at is not None
    assert NOW + 9 * DAY < found.next_at <= NOW + 10 * DAY + 60, "it must be told when it expires"


def test_the_same_secret_gives_the_same_file() -> None:
    """Else each look would be a new table."""
    item = gateway(listener())
    one, two = (translated(item, secrets=[secret()]) for _ in range(2))
    assert one.table == two.table
    assert one.table != translated(item, secrets=[secret(OTHER_CHAIN, OTHER_KEY)]).table


FAULTS = {
    "missing": (
        [],
        {},
        "InvalidCertificateRef",
        ['no Secret "shop-tls"', "kubectl create secret tls shop-tls"],
    ),
    "other key": (
        [secret(CHAIN, OTHER_KEY)],
        {},
        "InvalidCertificateRef",
        ["Secret kserve/shop-tls, tls.key: does not fit the first certificate in tls.crt"],
    ),
    "no PEM": ([secret("hello")], {}, "InvalidCertificateRef", ["tls.crt: holds no certificate in PEM"]),
    "no key": ([secret(CHAIN, None)], {}, "InvalidCertificateRef", ["tls.key: is missing or empty"]),
    "swapped": ([secret(KEY, CHAIN)], {}, "InvalidCertificateRef", ["tls.crt: holds no certificate in PEM"]),
    "expired": (
        [secret()],
        {"now": NOW + 11 * DAY},
        "InvalidCertificateRef",
        ["tls.crt: expired on 20", "Put a new certificate"],
    ),
    "too early": (
        [secret()],
        {"now": NOW - DAY},
        "InvalidCertificateRef",
        ["tls.crt: is not valid before 20"],
    ),
    "type": (
        [secret(kind="Opaque")],
        {},
        "InvalidCertificateRef",
        ['type must be kubernetes.io/tls, got "Opaque"'],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_secret_that_cannot_be_shown_is_told_and_the_last_good_certificate_stays(fault: str) -> None:
    secrets, more, reason, words = FAULTS[fault]
    item = gateway(listener())
    found = translated(item, secrets=secrets, **more)
    assert found.table.tls == []
    said = conditions(found, item)
    assert said["ResolvedRefs"][:2] == ("False", reason)
    assert said["Accepted"][0] == "True", "its routes are served all the same"
    assert said["Programmed"][:2] == ("False", "Invalid")
    for part in ["tls.certificateRefs[0]", *words, "shown the platform's own certificate"]:
        assert part in said["ResolvedRefs"][2]
    found = translated(item, secrets=secrets, kept={LISTENER: [OLD]}, **more)
    assert [name.certificates for name in found.table.tls] == [[OLD]]
    said = conditions(found, item)
    assert said["ResolvedRefs"][:2] == ("False", reason)
    assert "the certificate from before stays in force" in said["ResolvedRefs"][2]
    assert said["Programmed"][0] == "True"


def test_what_a_listener_had_stays_while_the_secret_that_it_names_now_is_not_there() -> None:
    """Whoever changes the Gateway first, and makes the Secret then, breaks nothing in between."""
    old = Certificate(secret="kserve/before", file="1" * 64)
    found = translated(gateway(listener()), kept={LISTENER: [old]})
    assert [name.certificates for name in found.table.tls] == [[old]]
    # One of two is broken: it alone is as before.
    refs = ({"name": "shop-tls"}, {"name": "rsa"})
    one, two = OLD, Certificate(secret="kserve/rsa", file="2" * 64)
    found = translated(gateway(listener("shop", *refs)), secrets=[secret()], kept={LISTENER: [one, two]})
    assert [c.secret for c in found.table.tls[0].certificates] == ["kserve/shop-tls", "kserve/rsa"]
    assert found.table.tls[0].certificates[0] != one
    assert found.table.tls[0].certificates[1] == two


GRANT = {
    "kind": "ReferenceGrant",
    "metadata": {"name": "g", "namespace": "vault"},
    "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "kserve"}],
        "to": [{"group": "", "kind": "Secret", "name": "shop-tls"}],
    },
}


def test_a_secret_of_another_namespace_needs_a_grant_and_is_dropped_with_it() -> None:
    ref = {"name": "shop-tls", "namespace": "vault"}
    item, far = gateway(listener("shop", ref)), secret(namespace="vault")
    found = translated(item, GRANT, secrets=[far])
    assert [c.secret for c in found.table.tls[0].certificates] == ["vault/shop-tls"]
    kept = {LISTENER: found.table.tls[0].certificates}
    found = translated(item, secrets=[far], kept=kept)
    assert (found.table.tls, found.files) == ([], {})
    said = conditions(found, item)["ResolvedRefs"]
    assert said[:2] == ("False", "RefNotPermitted")
    assert "Secret vault/shop-tls is in another namespace" in said[2]
    # What was shown by a permission that is gone does not come back by another fault.
    found = translated(gateway(listener("shop", {"name": "gone"})), kept=kept)
    assert found.table.tls == []
    other = GRANT | {"spec": GRANT["spec"] | {"to": [{"kind": "Secret", "name": "else"}]}}
    assert translated(item, other, secrets=[far]).table.tls == []


def test_a_reference_to_another_kind_is_refused() -> None:
    item = gateway(listener("shop", {"name": "c", "kind": "ConfigMap"}))
    said = conditions(translated(item), item)["ResolvedRefs"]
    assert said[:2] == ("False", "InvalidCertificateRef")
    assert "must be a Secret, got ConfigMap" in said[2]


def test_a_certificate_for_other_names_is_shown_and_told() -> None:
    item = gateway(listener(hostname="a.elsewhere.example"))
    found = translated(item, secrets=[secret()])
    assert [name.host for name in found.table.tls] == ["a.elsewhere.example"]
    said = conditions(found, item)["ResolvedRefs"]
    assert said[0] == "True"
    assert 'not for "a.elsewhere.example"' in said[2]


def test_of_two_listeners_with_one_host_the_older_gateways_is_shown() -> None:
    """Else who makes a Gateway later could take others' hosts."""
    young = gateway(listener("mine"), name="a", creationTimestamp="2026-02-01T00:00:00Z")
    old = gateway(listener("shop", {"name": "other"}), name="z", creationTimestamp="2026-01-01T00:00:00Z")
    secrets = [secret(), secret(OTHER_CHAIN, OTHER_KEY, name="other")]
    found = translated(young, old, secrets=secrets)
    assert [(name.listener, len(name.certificates)) for name in found.table.tls] == [("kserve/z/shop", 1)]
    assert len(found.files) == 1
    said = conditions(found, young)
    assert said["Conflicted"][:2] == ("True", "HostnameConflict")
    assert said["Programmed"][:2] == ("False", "Invalid")
    assert 'kserve/z/shop has hostname "*.shop.example" already' in said["Programmed"][2]
    assert conditions(found, old)["Programmed"][0] == "True"
    # Where the older one has none that works, the other's is.
    found = translated(young, old, secrets=secrets[:1])
    assert [name.listener for name in found.table.tls] == ["kserve/a/mine"]


def test_on_a_platform_with_plain_http_no_key_leaves_its_secret_and_that_is_said() -> None:
    item = gateway(listener())
    found = translated(item, secrets=[secret()], tls=False)
    assert (found.table.tls, found.files) == ([], {})
    said = conditions(found, item)
    assert said["Programmed"] == ("False", "Invalid", PLAIN)
    assert said["Accepted"][0] == "True"
    assert said["ResolvedRefs"][0] == "True"
    broken = conditions(translated(item, tls=False), item)["ResolvedRefs"]
    assert broken[:2] == ("False", "InvalidCertificateRef")


def test_a_listener_without_certificates_has_the_platforms_own() -> None:
    item = gateway(listener() | {"tls": {}})
    found = translated(item)
    assert found.table.tls == []
    said = conditions(found, item)
    assert said["Programmed"][0] == "True"
    assert "the platform's own" in said["ResolvedRefs"][2]


ROUTE = {
    "kind": "HTTPRoute",
    "metadata": {"name": "r", "namespace": "kserve"},
    "spec": {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "s", "port": 80}]}]},
}
UNSERVED = {
    "passthrough": ({"tls": {"mode": "Passthrough"}}, {}, "UnsupportedValue", "tls.mode: must be Terminate"),
    "clients": ({}, {"tls": {"frontend": {"default": {}}}}, "UnsupportedValue", "spec.tls.frontend"),
    "protocol": ({"protocol": "TLS"}, {}, "UnsupportedProtocol", "must be HTTP or HTTPS"),
}


@pytest.mark.parametrize("case", UNSERVED)
def test_what_cannot_be_carried_out_is_refused_and_takes_no_routes(case: str) -> None:
    """A listener that asks clients for certificates must not let everybody in instead."""
    more, spec, reason, words = UNSERVED[case]
    item = gateway(listener(**more))
    item["spec"] |= spec
    found = translated(item, ROUTE, secrets=[secret()])
    assert found.table.tls == []
    assert [route for route in found.table.routes if not route.internal] == []
    said = conditions(found, item)
    assert said["Accepted"][:2] == ("False", reason)
    assert words in said["Accepted"][2]


def test_which_secrets_are_looked_at() -> None:
    refs = ({"name": "a"}, {"name": "b", "namespace": "vault"})
    items = [gateway(listener("x", *refs)), {"metadata": {"namespace": "n"}, "spec": {"listeners": "torn"}}]
    assert referenced(items) == {("kserve", "a"), ("vault", "b")}
