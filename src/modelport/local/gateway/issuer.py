"""Issuers of tokens: where their keys come from, and which of them the gateway can check signatures with. Pure.

data: {issuer: https://login.example.com}                        keys by OpenID discovery
data: {issuer: …, jwks_uri: https://login.example.com/keys}      keys from there
data: {issuer: …, jwks.json: '{"keys": […]}'}                    keys as they lie here: nobody is asked
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from modelport.kube.resource import Object

DISCOVERY = "/.well-known/openid-configuration"
LONGEST_REFRESH_S = 86400
_COMMON = ("kty", "crv", "kid", "alg", "use")
_RSA_BYTES = 256


class _Kind(msgspec.Struct, frozen=True):
    name: str
    members: tuple[str, ...]
    algorithms: tuple[str, ...]
    size: int = 0


_KINDS: dict[tuple[Any, Any], _Kind] = {
    ("RSA", None): _Kind("RSA", ("n", "e"), ("RS256",)),
    ("EC", "P-256"): _Kind("P-256", ("x", "y"), ("ES256",), 32),
    ("OKP", "Ed25519"): _Kind("Ed25519", ("x",), ("EdDSA", "Ed25519"), 32),
}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where an issuer's keys are asked for."""

    issuer: str
    url: str
    """The key set's, or the issuer's discovery document's."""
    discovered: bool = False
    """Whether `url` is the latter."""
    authority: str = ""
    """PEM: trusted instead of this machine's authorities."""
    refresh_s: float | None = None
    """So often; None: as the issuer's Cache-Control says, within bounds."""

    @property
    def id(self) -> str:
        """The same for all who ask the same place in the same way: keys that were fetched are theirs alone."""
        parts = (self.issuer, self.url, self.authority)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Fetched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last good keys from a place, and how the last try went."""

    keys: list[dict[str, Any]] = []
    """Empty: there have never been any."""
    at: str = ""
    """When they came, RFC 3339."""
    problem: str = ""
    """Why the last try brought none."""


def settings(data: Mapping[str, Any]) -> dict[str, str]:
    """An object's data as text."""
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
        for name, value in data.items()
    }


def source(texts: Mapping[str, str]) -> Source | None:
    """Where the keys are to be asked for; None where they lie in the object. ValueError says what is wrong."""
    issuer = texts.get("issuer", "").strip()
    if not issuer:
        raise ValueError("issuer: is missing. Put the tokens' `iss` there.")
    given = texts.get("jwks_uri", "").strip()
    if "jwks.json" in texts:
        if given:
            raise ValueError("jwks_uri: stands beside jwks.json. Keep one.")
        return None
    check_url(given or issuer, "jwks_uri" if given else "issuer")
    return Source(
        issuer=issuer,
        url=given or issuer.rstrip("/") + DISCOVERY,
        discovered=not given,
        authority=texts.get("ca.crt", "").strip(),
        refresh_s=_refresh(texts.get("refresh", "").strip()),
    )


def check_url(url: str, where: str) -> None:
    """ValueError unless keys may be asked for there: over TLS, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ValueError(f'{where}: is no address: {error}, got "{url}".') from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{where}: must hold no user or password.")
    if parts.scheme == "https" and host:
        return
    if parts.scheme == "http" and is_loopback(host):
        return
    hint = "" if where == "jwks_uri" else " Or put the keys into jwks.json, or their address into jwks_uri."
    raise ValueError(f'{where}: must be an https:// address to ask for keys, got "{url}".{hint}')


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refresh(text: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= LONGEST_REFRESH_S:
        raise ValueError(f'refresh: must be seconds, 1 to {LONGEST_REFRESH_S}, got "{text}".')
    return float(text)


def written_keys(text: str) -> list[Object]:
    """The public keys of a `jwks.json`. ValueError says what is wrong."""
    return public_keys(text.encode(), "jwks.json")


def public_keys(text: bytes, where: str) -> list[Object]:
    """The keys that the gateway can check signatures with, their public members only, should somebody have put a
    private key there. Keys for other purposes, of other kinds or too short are passed over, as issuers add what they like."""
    try:
        jwks = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{where}: must be a JWKS: {error}") from error
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not listed:
        raise ValueError(f'{where}: has no "keys".')
    found: list[Object] = []
    for index, item in enumerate(cast("list[Any]", listed)):
        if not isinstance(item, dict):
            raise ValueError(f"{where}: keys[{index}] must be an object.")
        key = cast("Object", item)
        if key.get("kty") == "oct":
            raise ValueError(f"{where}: keys[{index}] is a shared secret. Use RSA, P-256 or Ed25519 keys.")
        kind = _KINDS.get((key.get("kty"), key.get("crv") if key.get("kty") != "RSA" else None))
        if (
            kind is None
            or key.get("use", "sig") != "sig"
            or key.get("alg", kind.algorithms[0]) not in kind.algorithms
        ):
            continue
        if kind.name == "RSA" and 0 < _size(key.get("n")) < _RSA_BYTES:
            continue  # an old one that is still listed locks nobody out
        for name in kind.members:
            size = _size(key.get(name))
            if not size or (kind.size and size != kind.size):
                raise ValueError(f"{where}: keys[{index}].{name} is no {kind.name} key's.")
        found.append({name: key[name] for name in (*_COMMON, *kind.members) if name in key})
    if not found:
        raise ValueError(f"{where}: has no key for signatures: RSA of 2048 bits or more, P-256 or Ed25519.")
    return found


def _size(text: Any) -> int:
    """Bytes of a number in base64url; 0 where it is none."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return 0
    return len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
