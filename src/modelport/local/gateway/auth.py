"""Who may call: labelled Secrets and ConfigMaps as the table's auth section, which knows hashes and public keys only.

    kubectl create secret generic team-a --from-literal=team-a=$(openssl rand -hex 24)
    kubectl label secret team-a serving.modelport.io/api-keys=true

Each entry of a Secret labelled `serving.modelport.io/api-keys: "true"` is a caller's name and its key, or `sha256:` and
the key's hash; the annotation `serving.modelport.io/expires` says when they end. A Secret or ConfigMap labelled
`serving.modelport.io/jwks: "true"` names an issuer of tokens (`issuer.py`), a ConfigMap labelled
`serving.modelport.io/anonymous: "true"` what callers without either may do. The annotation
`serving.modelport.io/scopes` holds what they may do, as JSON:
`[{"service": "default/iris", "verbs": ["predict", "explain", "admin"]}]`; by default predict and explain with every
service of their own namespace. Only those in namespace `kserve` can give more than their own namespace. Pure.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from modelport.kube.resource import Object
from modelport.local.gateway import issuer, key_file
from modelport.local.gateway.expiry import gone, moment
from modelport.local.gateway.issuer import Fetched, Source
from modelport.wire.table import ApiKey, Auth, Issuer, Scope

PREFIX = "serving.modelport.io/"
API_KEYS, JWKS, ANONYMOUS, SCOPES, EXPIRES = (
    PREFIX + "api-keys",
    PREFIX + "jwks",
    PREFIX + "anonymous",
    PREFIX + "scopes",
    PREFIX + "expires",
)
PLATFORM_NAMESPACE = "kserve"
_HASH = re.compile(r"[0-9a-f]{64}")
_SERVICE = re.compile(r"[a-z0-9-]+/([a-z0-9.-]+|\*)|\*/\*")


def auth(
    secrets: Iterable[Object],
    config_maps: Iterable[Object],
    *,
    required: bool = False,
    file: key_file.Content | None = None,
    fetched: Mapping[str, Fetched] | None = None,
    now: datetime | None = None,
) -> tuple[Auth | None, list[str]]:
    """The section, and what could not be read. None (everybody may do everything) only where nothing is labelled,
    there is no `file` with keys, and keys are not `required`: what cannot be read lets nobody in, never everybody.
    `fetched`: issuers' keys, by their source's id. Keys that have ended at `now` are left out."""
    found, problems, seen = Auth(), list[str](), required
    if file is not None:
        seen = True
        found.keys, problems = key_file.parse(file, now)
    sources = [(item, _secret_data(item)) for item in secrets]
    sources += [(item, item.get("data") or {}) for item in config_maps]
    for item, data in sorted(sources, key=lambda source: where(source[0])):
        labels: Object = item["metadata"].get("labels") or {}
        kind = item.get("kind")
        try:
            if labels.get(API_KEYS) == "true" and kind == "Secret":
                seen = True
                keys = _keys(item, data, problems)
                found.keys += [] if gone(_expires(item), now) else keys
            if labels.get(JWKS) == "true":
                seen = True
                trusted = _issuer(item, data, fetched or {}, problems)
                # Without any key nobody can be its; and the gateway takes no empty set.
                found.jwks += [trusted] if trusted.keys["keys"] else []
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


def terms(item: Object) -> tuple[list[Scope], datetime | None, str]:
    """What the keys of a Secret may do, until when, and why they open nothing, if they do not."""
    try:
        return _scopes(item), _expires(item), ""
    except ValueError as error:
        return [], None, str(error)


def _expires(item: Object) -> datetime | None:
    """When all keys of a Secret end. ValueError where the annotation cannot be read."""
    annotations: Object = item["metadata"].get("annotations") or {}
    text = annotations.get(EXPIRES)
    return None if text is None else moment(str(text), f"annotation {EXPIRES}:")


def _issuer(
    item: Object, data: dict[str, Any], fetched: Mapping[str, Fetched], problems: list[str]
) -> Issuer:
    texts = issuer.settings(data)
    asked = issuer.source(texts)
    if asked is None:
        keys = issuer.written_keys(texts["jwks.json"])
    else:
        found = fetched.get(asked.id, Fetched())
        keys = found.keys
        if found.problem:
            kept = (
                f" The keys of {found.at} stay in force."
                if found.keys
                else " No token is accepted until then."
            )
            problems.append(f"{where(item)}: {found.problem}{kept}")
    return Issuer(
        issuer=texts["issuer"].strip(),
        audience=texts.get("audience", "").strip() or None,
        keys={"keys": keys},
        scopes_claim=texts.get("scopes_claim", "").strip() or "scope",
    )


def sources(secrets: Iterable[Object], config_maps: Iterable[Object]) -> list[Source]:
    """The places that issuers' keys are to be asked for at. What cannot be read is `auth`'s to tell."""
    found: list[Source] = []
    read = [(item, _secret_data(item)) for item in secrets]
    for item, data in [*read, *((item, item.get("data") or {}) for item in config_maps)]:
        labels: Object = item["metadata"].get("labels") or {}
        if labels.get(JWKS) != "true":
            continue
        with contextlib.suppress(ValueError):
            asked = issuer.source(issuer.settings(data))
            found += [asked] if asked is not None else []
    return found


def next_expiry(secrets: Iterable[Object], file: key_file.Content | None, now: datetime) -> datetime | None:
    """When the next key ends: then the table must be looked at again."""
    ends = [one.expires for one in (key_file.entries(file)[0] if file is not None else [])]
    for item in secrets:
        with contextlib.suppress(ValueError):
            ends.append(_expires(item))
    return min((end for end in ends if end is not None and end > now), default=None)
