"""Who may call: labelled Secrets and ConfigMaps as the table's auth section, which knows hashes and public keys only.

    kubectl create secret generic team-a --from-literal=team-a=$(openssl rand -hex 24)
    kubectl label secret team-a serving.modelport.io/api-keys=true

Each entry of a Secret labelled `serving.modelport.io/api-keys: "true"` is a caller's name and its key, or `sha256:` and
the key's hash. A Secret or ConfigMap labelled `serving.modelport.io/jwks: "true"` names an issuer of tokens (`issuer`,
`audience`, `jwks.json`, `scopes_claim`), a ConfigMap labelled `serving.modelport.io/anonymous: "true"` what callers
without either may do. The annotation `serving.modelport.io/scopes` holds what they may do, as JSON:
`[{"service": "default/iris", "verbs": ["predict", "explain", "admin"]}]`; by default predict and explain with every
service of their own namespace. Only those in namespace `kserve` can give more than their own namespace. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway import key_file
from modelport.wire.table import ApiKey, Auth, Issuer, Scope

PREFIX = "serving.modelport.io/"
API_KEYS, JWKS, ANONYMOUS, SCOPES = (
    PREFIX + "api-keys",
    PREFIX + "jwks",
    PREFIX + "anonymous",
    PREFIX + "scopes",
)
PLATFORM_NAMESPACE = "kserve"
_HASH = re.compile(r"[0-9a-f]{64}")
_SERVICE = re.compile(r"[a-z0-9-]+/([a-z0-9.-]+|\*)|\*/\*")
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


def auth(
    secrets: Iterable[Object],
    config_maps: Iterable[Object],
    *,
    required: bool = False,
    file: key_file.Content | None = None,
) -> tuple[Auth | None, list[str]]:
    """The section, and what could not be read. None (everybody may do everything) only where nothing is labelled,
    there is no `file` with keys, and keys are not `required`: what cannot be read lets nobody in, never everybody."""
    found, problems, seen = Auth(), list[str](), required
    if file is not None:
        seen = True
        found.keys, problems = key_file.parse(file)
    sources = [(item, _secret_data(item)) for item in secrets]
    sources += [(item, item.get("data") or {}) for item in config_maps]
    for item, data in sorted(sources, key=lambda source: where(source[0])):
        labels: Object = item["metadata"].get("labels") or {}
        kind = item.get("kind")
        try:
            if labels.get(API_KEYS) == "true" and kind == "Secret":
                seen = True
                found.keys += _keys(item, data, problems)
            if labels.get(JWKS) == "true":
                seen = True
                found.jwks.append(_issuer(item, data))
            if labels.get(ANONYMOUS) == "true" and kind == "ConfigMap":
                seen = True
                found.anonymous += _scopes(item)
        except ValueError as error:
            problems.append(f"{where(item)}: {error}")
    found.keys = _merged(found.keys)
    return (found if seen else None), problems


def _merged(keys: list[ApiKey]) -> list[ApiKey]:
    """A key that is listed twice may do what either entry says."""
    found: dict[str, ApiKey] = {}
    for key in keys:
        known = found.get(key.sha256)
        scopes = key.scopes if known is None else [*known.scopes, *key.scopes]
        found[key.sha256] = ApiKey(id=known.id if known else key.id, sha256=key.sha256, scopes=scopes)
    return list(found.values())


def where(item: Object) -> str:
    """How problems name an object: they begin with it."""
    return f"{item.get('kind')} {item['metadata']['namespace']}/{item['metadata']['name']}"


def _secret_data(item: Object) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    data: dict[str, str] = item.get("data") or {}
    for name, value in data.items():
        try:
            found[name] = base64.b64decode(value, validate=True)
        except binascii.Error:
            found[name] = None
    return found


def _keys(item: Object, data: dict[str, Any], problems: list[str]) -> list[ApiKey]:
    scopes = _scopes(item)
    found: list[ApiKey] = []
    for name, value in sorted(data.items()):
        key = value.strip() if value else b""
        digest = key.removeprefix(b"sha256:").decode(errors="replace")
        if not key:
            problems.append(f"{where(item)}, {name}: is empty. Put a key there.")
        elif not key.startswith(b"sha256:"):
            found.append(ApiKey(id=name, sha256=hashlib.sha256(key).hexdigest(), scopes=scopes))
        elif _HASH.fullmatch(digest.lower()):
            found.append(ApiKey(id=name, sha256=digest.lower(), scopes=scopes))
        else:
            problems.append(f"{where(item)}, {name}: must be sha256: and 64 hexadecimal digits.")
    return found


def _scopes(item: Object) -> list[Scope]:
    """ValueError where they are none, or reach beyond the object's namespace."""
    namespace = item["metadata"]["namespace"]
    annotations: Object = item["metadata"].get("annotations") or {}
    text = annotations.get(SCOPES)
    if text is None:
        service = "*/*" if namespace == PLATFORM_NAMESPACE else f"{namespace}/*"
        return [Scope(service=service, verbs=["predict", "explain"])]
    try:
        scopes = msgspec.json.decode(text, type=list[Scope])
    except msgspec.DecodeError as error:
        raise ValueError(
            f'annotation {SCOPES}: {error}. Write it as [{{"service": "{namespace}/*", "verbs": ["predict"]}}].'
        ) from error
    for scope in scopes:
        if not _SERVICE.fullmatch(scope.service):
            raise ValueError(
                f'annotation {SCOPES}: service must be namespace/name or namespace/*, got "{scope.service}".'
            )
        if namespace not in (PLATFORM_NAMESPACE, scope.service.partition("/")[0]):
            raise ValueError(
                f'annotation {SCOPES}: may name services of namespace {namespace} only, got "{scope.service}". '
                f"Put it into namespace {PLATFORM_NAMESPACE} to give more."
            )
    return scopes


def _issuer(item: Object, data: dict[str, Any]) -> Issuer:
    texts = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
        for name, value in data.items()
    }
    issuer, keys = texts.get("issuer", "").strip(), texts.get("jwks.json", "")
    if not issuer:
        raise ValueError("issuer: is missing. Put the tokens' `iss` there.")
    try:
        decoded = msgspec.json.decode(keys, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"jwks.json: must be a JWKS: {error}") from error
    return Issuer(
        issuer=issuer,
        audience=texts.get("audience", "").strip() or None,
        keys={"keys": _public_keys(decoded)},
        scopes_claim=texts.get("scopes_claim", "").strip() or "scope",
    )


def _public_keys(jwks: dict[str, Any]) -> list[dict[str, Any]]:
    """The keys that the gateway can check signatures with, their public members only, should somebody have put a
    private key there. Keys for other purposes and of other kinds are passed over, as issuers add what they like."""
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not listed:
        raise ValueError('jwks.json: has no "keys".')
    found: list[dict[str, Any]] = []
    for index, item in enumerate(cast("list[Any]", listed)):
        if not isinstance(item, dict):
            raise ValueError(f"jwks.json: keys[{index}] must be an object.")
        key = cast("Object", item)
        if key.get("kty") == "oct":
            raise ValueError(f"jwks.json: keys[{index}] is a shared secret. Use RSA, P-256 or Ed25519 keys.")
        kind = _KINDS.get((key.get("kty"), key.get("crv") if key.get("kty") != "RSA" else None))
        if (
            kind is None
            or key.get("use", "sig") != "sig"
            or key.get("alg", kind.algorithms[0]) not in kind.algorithms
        ):
            continue
        for name in kind.members:
            size = _size(key.get(name))
            if not size or (kind.size and size != kind.size) or (name == "n" and size < _RSA_BYTES):
                raise ValueError(f"jwks.json: keys[{index}].{name} is no {kind.name} key's, or too short.")
        found.append({name: key[name] for name in (*_COMMON, *kind.members) if name in key})
    if not found:
        raise ValueError("jwks.json: has no RSA, P-256 or Ed25519 key for signatures.")
    return found


def _size(text: Any) -> int:
    """Bytes of a number in base64url; 0 where it is none."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return 0
    return len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
