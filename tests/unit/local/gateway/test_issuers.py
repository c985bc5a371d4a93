"""Keys of issuers over the network: what is asked, what is refused, and what stays in force when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from login import DISCOVERY, Login, login

from modelport.local.gateway import ask_issuer, auth, issuer, issuers
from modelport.local.gateway.ask_issuer import NotFetched, ask
from modelport.local.gateway.issuer import Fetched, Source

PATIENCE_S = 60.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def keys(kid: str) -> dict[str, Any]:
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A" * 43}]}


def source(at: Login, **more: Any) -> Source:
    texts = {"issuer": at.address, "ca.crt": at.authority} | more
    found = issuer.source(texts)
    assert found is not None
    return found


def refusal(asked: Source) -> str:
    with pytest.raises(NotFetched) as caught:
        asyncio.run(ask(asked))
    return str(caught.value)


def test_an_issuer_is_found_by_discovery_or_by_the_address_of_its_keys() -> None:
    with login() as at:
        at.serves(keys("one"))
        found = asyncio.run(ask(source(at)))
        assert [key["kid"] for key in found.keys] == ["one"]
        assert at.asked == [DISCOVERY, "/keys"]
        at.asked.clear()
        found = asyncio.run(ask(source(at, jwks_uri=f"{at.address}/keys")))
        assert [key["kid"] for key in found.keys] == ["one"]
        assert at.asked == ["/keys"]
        assert found.fresh_s == ask_issuer.EVERY_S
        for said, fresh_s in (("max-age=120", 120), ("public, max-age=1", 60), ("max-age=9999999", 3600)):
            at.says("/keys", keys("one"), Cache_Control=said)
            assert asyncio.run(ask(source(at))).fresh_s == fresh_s
        assert asyncio.run(ask(source(at, refresh="7"))).fresh_s == 7


def test_a_certificate_of_somebody_else_is_refused() -> None:
    with login() as at, login() as other:
        at.serves(keys("one"))
        asked = issuer.source({"issuer": at.address, "ca.crt": other.authority})
        assert asked is not None
        assert "its certificate is not trusted" in refusal(asked)
        assert "ca.crt" in refusal(issuer.source({"issuer": at.address}) or asked)
        assert "ca.crt: holds no certificates" in refusal(source(at, **{"ca.crt": "nonsense"}))
    assert "it refuses connections" in refusal(asked)


def test_answers_that_are_no_keys_are_refused_with_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(out: Any) -> None:
        with contextlib.suppress(OSError):
            out.write(b"HTTP/1.0 200 OK\r\n\r\n")
            while True:
                out.write(b" ")
                out.flush()
                time.sleep(0.01)

    with login() as at:
        asked = source(at, jwks_uri=f"{at.address}/keys")
        for answer, words in (
            ((b"{", 200), "must be a JWKS"),
            (({"keys": []}, 200), 'has no "keys"'),
            (({"keys": [{"kty": "oct", "k": "AA"}]}, 200), "is a shared secret"),
            ((b"", 503), "answered 503"),
            ((b" " * (ask_issuer.LONGEST + 1), 200), "is no set of keys"),
        ):
            at.says("/keys", *answer)
            assert words in refusal(asked)
        at.says("/keys", b"", 302, Location="https://else.example.com/keys")
        assert "redirects to https://else.example.com/keys. Name that in jwks_uri" in refusal(asked)
        # Discovery that speaks for somebody else, or leads where nothing may be asked.
        at.says(DISCOVERY, {"issuer": "https://else.example.com", "jwks_uri": f"{at.address}/keys"})
        assert 'is of the issuer "https://else.example.com"' in refusal(source(at))
        at.says(DISCOVERY, {"issuer": at.address, "jwks_uri": "http://169.254.169.254/keys"})
        assert "must be an https:// address" in refusal(source(at))
        monkeypatch.setattr(ask_issuer, "ALL_S", 0.5)
        at.answers["/keys"] = drip
        assert "no whole answer within" in refusal(asked)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://login.example.com", "must be an https:// address"),
        ("https://user:secret@login.example.com", "must hold no user or password"),
        ("file:///etc/passwd", "must be an https:// address"),
        ("joe", "must be an https:// address"),
        ("https://[", "is no address"),
    ],
)
def test_addresses_that_may_not_be_asked_are_refused(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        issuer.source({"issuer": address})
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["https://169.254.169.254", "https://[fd00:ec2::254]", "https://[::ffff:169.254.169.254]"]
)
def test_link_local_and_metadata_addresses_are_refused(address: str) -> None:
    found = issuer.source({"issuer": address})
    assert found is not None
    assert "link-local or metadata address" in refusal(found)


def test_this_machine_may_be_asked_without_tls_and_past_every_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with login(tls=False) as at:
        at.serves(keys("one"))
        found = issuer.source({"issuer": at.address})
        assert found is not None
        assert [key["kid"] for key in asyncio.run(ask(found)).keys] == ["one"]


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_the_last_good_keys_stay_when_the_issuer_is_away_and_over_a_restart(tmp_path: Path) -> None:
    kept = tmp_path / "issuers.json"

    async def play() -> None:
        with login() as at:
            at.serves(keys("one"))
            asked = source(at, refresh="1")
            news = asyncio.Event()
            first = issuers.Issuers(kept, news.set, lambda: NOW)
            first.want([asked])
            task = asyncio.create_task(first.run())
            await asyncio.wait_for(news.wait(), PATIENCE_S)
            assert [key["kid"] for key in first.known[asked.id].keys] == ["one"]
            at.serves(keys("two"))  # rotation
            await until(lambda: first.known[asked.id].keys[0]["kid"] == "two")
            at.says("/keys", b"", 500)
            await until(lambda: "answered 500" in first.known[asked.id].problem)
            assert first.known[asked.id].keys[0]["kid"] == "two"
            task.cancel()
        again = issuers.Issuers(kept, lambda: None, lambda: NOW)
        again.want([asked])
        assert again.known[asked.id].keys[0]["kid"] == "two"
        task = asyncio.create_task(again.run())
        await until(lambda: "refuses connections" in again.known[asked.id].problem)
        assert again.known[asked.id].keys[0]["kid"] == "two"
        # Another authority or address is another place: nothing is taken over from this one.
        assert source(at, jwks_uri=f"{at.address}/other").id not in again.known
        task.cancel()

    asyncio.run(play())


def test_an_issuer_that_signs_by_an_unknown_key_is_asked_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a rotation without notice would cost every caller up to an hour."""

    async def play() -> None:
        with login() as at:
            at.serves(keys("one"))
            asked = source(at, jwks_uri=f"{at.address}/keys", refresh="86400")
            known = issuers.Issuers(tmp_path / "issuers.json", lambda: None, lambda: NOW)
            known.want([asked])
            task = asyncio.create_task(known.run())
            await until(lambda: asked.id in known.known)
            at.serves(keys("two"))
            known.ask_again("https://else.example.com")
            known.ask_again(asked.issuer)
            await until(lambda: known.known[asked.id].keys[0]["kid"] == "two")
            task.cancel()

    monkeypatch.setattr(issuers, "UNASKED_S", 0.0)
    asyncio.run(play())


def test_a_flood_of_unknown_keys_does_not_become_a_flood_of_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can make a token with an unknown key could use us against the login service."""

    async def play() -> None:
        with login() as at:
            at.serves(keys("one"))
            asked = source(at, jwks_uri=f"{at.address}/keys", refresh="1")
            known = issuers.Issuers(tmp_path / "issuers.json", lambda: None, lambda: NOW)
            known.want([asked])
            task = asyncio.create_task(known.run())
            await until(lambda: asked.id in known.known)
            questions = len(at.asked)
            while len(at.asked) == questions:  # until it is time anyway
                known.ask_again(asked.issuer)
                await asyncio.sleep(0)
            assert len(at.asked) == questions + 1
            task.cancel()

    monkeypatch.setattr(issuers, "UNASKED_S", 3600.0)
    asyncio.run(play())


def test_what_is_known_of_an_issuer_is_what_its_tokens_are_held_to() -> None:
    item = {
        "kind": "ConfigMap",
        "metadata": {"name": "login", "namespace": "default", "labels": {auth.JWKS: "true"}},
        "data": {"issuer": "https://login.example.com"},
    }
    (asked,) = auth.sources([], [item])
    section, problems = auth.auth([], [item])
    # Nobody is let in before there are keys, and the gateway takes no empty set.
    assert section is not None
    assert (section.jwks, problems) == ([], [])
    known = Fetched(keys=keys("one")["keys"], at="2026-01-01T00:00:00Z")
    section, problems = auth.auth([], [item], fetched={asked.id: known})
    assert section is not None
    assert (section.jwks[0].keys, problems) == (keys("one"), [])
    away = Fetched(keys=known.keys, at=known.at, problem="it is away.")
    section, problems = auth.auth([], [item], fetched={asked.id: away})
    assert section is not None
    assert section.jwks[0].keys == keys("one")
    assert problems == [
        "ConfigMap default/login: it is away. The keys of 2026-01-01T00:00:00Z stay in force."
    ]


def test_a_key_that_is_too_short_is_passed_over_like_those_of_other_kinds() -> None:
    """An issuer that still lists an old key of 1024 bits would lock everybody out."""
    short = {"kty": "RSA", "kid": "old", "n": "A" * 171, "e": "AQAB"}
    good = {"kty": "RSA", "kid": "new", "n": "A" * 342, "e": "AQAB"}
    assert issuer.public_keys(json.dumps({"keys": [short, good]}).encode(), "keys") == [good]
    with pytest.raises(ValueError, match="no key for signatures: RSA of 2048 bits or more, P-256 or Ed25519"):
        issuer.public_keys(json.dumps({"keys": [short]}).encode(), "keys")
    with pytest.raises(ValueError, match="is no RSA key's"):
        issuer.public_keys(json.dumps({"keys": [good, short | {"n": "?"}]}).encode(), "keys")
