"""Which form of an answer a client wants: JSON, YAML, a Table, or metadata alone; and what a body is written in."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec

from modelport.kube.errors import ApiError, bad_request
from modelport.local.apiserver.protobuf import parse_protobuf

As = Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
ANY_JSON = ("*/*", "application/*", JSON)
NEARLY_JSON = (PROTOBUF, "application/cbor", "application/cbor-seq")
"""What we do not answer in; who asks for it understands JSON."""
_SMALL = 64 << 10


class Form(msgspec.Struct, frozen=True):
    """How to answer."""

    media: str = JSON
    kind: As = ""
    version: str = "v1"
    """Of `meta.k8s.io`, for Table and metadata."""


def negotiate(header: str) -> Form:
    """The first form in the `Accept` header that we can give. ApiError 406."""
    fallback: Form | None = None
    for part in header.split(","):
        media, _, rest = part.strip().partition(";")
        media = media.strip().lower()
        words = {
            name.strip(): value.strip()
            for name, _, value in (word.partition("=") for word in rest.split(";"))
        }
        kind, version = words.get("as", ""), words.get("v", "v1")
        if media in NEARLY_JSON:
            fallback = fallback or _form(JSON, kind, version)
        elif media in ANY_JSON or not media:
            found = _form(JSON, kind, version)
            if found is not None:
                return found
        elif media in (YAML, "application/x-yaml", "text/yaml"):
            found = _form(YAML, kind, version)
            if found is not None:
                return found
    if fallback is not None:
        return fallback
    raise ApiError(
        406,
        "NotAcceptable",
        f"only the following media types are accepted: {JSON}, {YAML}; got Accept: {header[:200]}",
    )


def _form(media: str, kind: str, version: str) -> Form | None:
    if kind == "APIGroupDiscoveryList":
        return Form(media)  # discovery looks at the header itself
    if kind not in ("", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
        return None
    return Form(media, kind, version) if not kind or version in ("v1", "v1beta1") else None


def unsupported(got: str, *accepted: str) -> ApiError:
    """415."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"{', '.join(accepted)}; got Content-Type: {got[:200] or 'none'}",
    )


async def parse(body: bytes, media: str) -> Any:
    """A body as plain data. ApiError 400 and 415."""
    media = media.partition(";")[0].strip().lower()
    if media in ("", JSON):
        return parse_json(body)
    if media in (YAML, "application/x-yaml", "text/yaml", "application/apply-patch+yaml"):
        return await parse_yaml(body)
    if media == PROTOBUF:
        return parse_protobuf(body)
    raise unsupported(media, JSON, YAML, PROTOBUF)


def parse_json(body: bytes) -> Any:
    """JSON. ApiError 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request(f"the body is no JSON: {error}") from error


async def parse_yaml(body: bytes) -> Any:
    """YAML, which JSON mostly is. ApiError 400."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass
    from modelport.local.apiserver.yaml_text import loaded  # late: clients send JSON, and YAML is a megabyte

    try:
        # Parsing takes about a second a megabyte.
        return loaded(body) if len(body) <= _SMALL else await asyncio.to_thread(loaded, body)
    except (RecursionError, ValueError) as error:
        raise bad_request(f"the body is no YAML: {error}") from error
