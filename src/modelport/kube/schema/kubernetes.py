"""Kubernetes' own schemas, from the file that `scripts/kubernetes-schema` writes. Read when first asked for."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec

from modelport.kube.resource import Object, Resource
from modelport.kube.schema.view import Schema

STRUCTURE = Path(__file__).with_name("kubernetes.json")
DESCRIPTIONS = Path(__file__).with_name("descriptions.json.gz")

CUSTOM = "io.k8s.networking.gateway."
"""Definitions of custom resources, which Kubernetes decodes by their schema, not into a Go type."""

# Required in what a server answers, but a client may leave them out: Go's zero value is what it means.
META_CONDITION = "io.k8s.apimachinery.pkg.apis.meta.v1.Condition"
STATUS_PARTS = ("io.k8s.api.core.v1.ContainerState", "io.k8s.api.core.v1.NodeSystemInfo")
TOLERATED = {
    "io.k8s.api.discovery.v1.EndpointSlice": ("endpoints",),
    "io.k8s.api.apps.v1.ControllerRevision": ("revision",),
    META_CONDITION: ("lastTransitionTime",),
}


class _File(msgspec.Struct):
    version: str
    """Kubernetes' version, as in v1.34.0."""
    kinds: dict[str, str]
    """`apiVersion/kind` to the name of its definition."""
    definitions: dict[str, msgspec.Raw]


@cache
def _file() -> _File:
    return msgspec.json.decode(STRUCTURE.read_bytes(), type=_File)


def version() -> str:
    """The version of Kubernetes whose schemas these are, as in v1.34.0."""
    return _file().version


@cache
def definition(name: str) -> Schema:
    """A shared definition, `io.k8s.api.core.v1.PodSpec`. KeyError where there is none."""
    schema = msgspec.json.decode(_file().definitions[name], type=Schema)
    schema.native = not name.startswith(CUSTOM)
    if (name.endswith(("Status", "Condition")) and name != META_CONDITION) or name.startswith(STATUS_PARTS):
        schema.required = ()
    elif name in TOLERATED:
        schema.required = tuple(field for field in schema.required if field not in TOLERATED[name])
    return schema


def definition_name(resource: Resource) -> str | None:
    """The name of a kind's definition, or None where it is not one of Kubernetes' own."""
    return _file().kinds.get(f"{resource.api_version}/{resource.kind}")


def schema_of(resource: Resource) -> Schema | None:
    """The schema of one of Kubernetes' own kinds (`kube.resource.STANDARD`), or None."""
    name = definition_name(resource)
    return definition(name) if name else None


def documents(names: list[str]) -> dict[str, Object]:
    """These definitions and all that they refer to, as OpenAPI v3 with descriptions, for `kubectl explain`.

    Read from disk each time: callers that serve it keep the encoded answer, not this.
    """
    words: dict[str, dict[str, str]] = msgspec.json.decode(gzip.decompress(DESCRIPTIONS.read_bytes()))
    found: dict[str, Object] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        document: Object = msgspec.json.decode(_file().definitions[name])
        found[name] = document
        waiting += _complete(document, words.get(name, {}), "")
    return found


def _complete(node: Any, words: dict[str, str], path: str) -> list[str]:
    """Adds descriptions, makes `$ref`s those of OpenAPI v3, returns the definitions referred to."""
    if not isinstance(node, dict):
        return []
    schema = cast("Object", node)
    referred: list[str] = []
    if path in words:
        schema["description"] = words[path]
    if "$ref" in schema:
        name = schema.pop("$ref")
        referred.append(name)
        reference = {"$ref": f"#/components/schemas/{name}"}
        # Siblings of a $ref count for nothing in OpenAPI v3, so Kubernetes wraps it.
        schema |= {"allOf": [reference]} if schema else reference
    properties: Object = schema.get("properties") or {}
    for name, child in properties.items():
        referred += _complete(child, words, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        referred += _complete(schema.get(key), words, f"{path}[]")
    return referred
