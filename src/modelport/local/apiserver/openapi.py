"""/openapi/v3 and /openapi/v2: the schemas of all kinds, a document a group and version.

`kubectl explain` reads them, and clients that check before they send. Documents are made when they are first asked
for, in a thread, and kept compressed: with all descriptions they have some megabytes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Iterator
from importlib.metadata import version as package_version
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelport.kube.errors import ApiError
from modelport.kube.resource import Object
from modelport.kube.schema.kubernetes import definition_name, documents
from modelport.kube.schema.kubernetes import version as kubernetes_version
from modelport.kube.schema.view import METADATA
from modelport.local.apiserver.answer import plain
from modelport.local.apiserver.discovery import unknown_path
from modelport.local.apiserver.patch import APPLY, JSON_PATCH, MERGE, STRATEGIC
from modelport.local.apiserver.registry import Registry, Served

V2, V3 = "/openapi/v2", "/openapi/v3"
PREFIX = "#/components/schemas/"
KIND = "x-kubernetes-group-version-kind"
PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What kubectl accepts alone, and asks for where a kind is in no document of version 3: one that is not served."""
FOREVER = "public, max-age=31536000, immutable"
_encode = msgspec.json.encode


class OpenApi:
    """The documents of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kept: dict[str, asyncio.Task[bytes]] = {}
        self._digests: dict[str, str] = {}
        self._generation = registry.generation

    async def answer(self, request: Request, path: str) -> Response:
        """ApiError 404, and 406 for clients that want something else."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._kept, self._digests = {}, {}
        if path == V3:
            return plain(self._index())
        if path == V2:
            accept = request.headers.get("accept", "*/*")
            if "json" not in accept and "*/*" not in accept:
                if PROTOBUF not in accept:
                    words = f"only the following media types are accepted: application/json, {PROTOBUF}"
                    raise ApiError(406, "NotAcceptable", words)
                # With the "@" of the question it would be no media type: a cluster's answer has a dot.
                return Response(_no_definitions(), media_type=PROTOBUF.replace("@", "."))
            digest = self._digest("")
            compressed = await self._made("", lambda: _swagger(self._registry))
        else:
            name = path.removeprefix(V3 + "/")
            if name not in self._names():
                raise unknown_path()
            digest = self._digest(name)
            compressed = await self._made(name, lambda: document(self._registry, name))
        headers = {"ETag": f'"{digest}"', "Vary": "Accept-Encoding, Accept", "Cache-Control": "no-cache"}
        if request.query_params.get("hash") == digest:
            headers["Cache-Control"] = FOREVER
        if request.headers.get("if-none-match") == f'"{digest}"':
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(compressed, media_type="application/json", headers=headers)
        return Response(gzip.decompress(compressed), media_type="application/json", headers=headers)

    def _names(self) -> dict[str, list[Served]]:
        return {
            f"apis/{group}/{version}" if group else f"api/{version}": served
            for group, versions in self._registry.groups().items()
            for version, served in versions.items()
        }

    def _index(self) -> Object:
        return {
            "paths": {
                name: {"serverRelativeURL": f"{V3}/{name}?hash={self._digest(name)}"}
                for name in self._names()
            }
        }

    def _digest(self, name: str) -> str:
        """Changes whenever the document may have: clients keep what they have by it."""
        if name not in self._digests:
            served = self._names().get(name, list(self._registry))
            told = [package_version("modelport"), kubernetes_version()]
            parts = [
                [one.resource.path(), one.resource.subresources, one.document, one.verbs] for one in served
            ]
            self._digests[name] = hashlib.sha256(_encode([told, parts])).hexdigest()[:32].upper()
        return self._digests[name]

    async def _made(self, name: str, make: Callable[[], Object]) -> bytes:
        if name not in self._kept:
            work = asyncio.to_thread(lambda: gzip.compress(_encode(make()), 6))
            self._kept[name] = asyncio.create_task(work)
        return await asyncio.shield(self._kept[name])


def _no_definitions() -> bytes:
    """The older document as a protocol buffer, without a single kind: gnostic's `openapi.v2.Document` with `swagger`
    (1) and `info` (2) of `title` (1) and `version` (2). By it kubectl passes over its own validation and says what a
    cluster makes it say: that there is no such kind."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    info = field(1, b"Modelport") + field(2, kubernetes_version().encode())
    return field(1, b"2.0") + field(2, info)


def document(registry: Registry, name: str) -> Object:
    """The document of `api/v1` or `apis/GROUP/VERSION`."""
    *_, version = name.split("/")
    group = name.split("/")[1] if name.startswith("apis/") else ""
    served = registry.groups()[group][version]
    schemas: dict[str, Object] = {}
    paths: Object = {}
    for one in served:
        key = _schema(one, schemas)
        schemas[f"{key}List"] = _list_schema(one, key)
        paths |= _paths(one, key)
    for found in documents([_LIST_META, _DELETE, _STATUS]).items():
        schemas.setdefault(*found)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Modelport", "version": kubernetes_version()},
        "paths": paths,
        "components": {"schemas": schemas},
    }


_LIST_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
_DELETE = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"


def _kind(one: Served, suffix: str = "") -> Object:
    resource = one.resource
    return {"group": resource.group, "version": resource.version, "kind": resource.kind + suffix}


def _schema(one: Served, schemas: dict[str, Object]) -> str:
    """Adds the kind's schema, and all that it refers to; its key."""
    resource = one.resource
    native = definition_name(resource)
    if native is not None:
        for name, found in documents([native]).items():
            schemas.setdefault(name, found)
        schemas[native] = schemas[native] | {KIND: [_kind(one)]}
        return native
    key = ".".join((*reversed(resource.group.split(".")), resource.version, resource.kind))
    for name, found in documents([METADATA]).items():
        schemas.setdefault(name, found)
    schema: Object = dict(one.document or {"x-kubernetes-preserve-unknown-fields": True})
    for path, name in one.inline:
        if f"{_CORE}{name}" not in schemas:
            schemas |= documents([f"{_CORE}{name}"])
        schema = _grafted(schema, path.split("."), f"{_CORE}{name}", schemas)
    own: Object = schema.get("properties") or {}
    schema["properties"] = _NAMED | own | {"metadata": _metadata(own)}
    for field, told in _NAMED.items():
        schema["properties"][field] = told | schema["properties"][field]
    schemas[key] = schema | {KIND: [_kind(one)]}
    return key


_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_NAMED: dict[str, Object] = {
    "apiVersion": {
        "type": "string",
        "description": "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
        "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
        f"{_CONVENTIONS}#resources",
    },
    "kind": {
        "type": "string",
        "description": "Kind is a string value representing the REST resource this object represents. Servers may infer "
        "this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
        f"{_CONVENTIONS}#types-kinds",
    },
}
"""What every object has, whatever its definition says."""
_CORE = "io.k8s.api.core.v1."


def _grafted(node: Object, path: list[str], name: str, known: dict[str, Object]) -> Object:
    """A copy of the schema that tells of one of Kubernetes' own types at `path`, where the definition is left open."""
    if path:
        step, rest = path[0].removesuffix("[]"), path[1:]
        below = cast("Object", node["properties"][step])
        if path[0].endswith("[]"):
            below = below | {"items": _grafted(below["items"], rest, name, known)}
        else:
            below = _grafted(below, rest, name, known)
        return node | {"properties": node["properties"] | {step: below}}
    if "properties" not in node:
        words = {"description": node["description"]} if "description" in node else {}
        return words | {"allOf": [{"$ref": PREFIX + name}]}
    theirs = cast("Object", known[name]["properties"])
    own = cast("dict[str, Object]", node["properties"])
    return node | {
        "properties": {
            field: theirs[field] if field in theirs and "properties" not in schema else schema
            for field, schema in own.items()
        }
    }


def _metadata(properties: Object) -> Object:
    about = cast("Object", properties.get("metadata") or {}).get("description")
    about = about or f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"
    return {"description": about, "allOf": [{"$ref": PREFIX + METADATA}]}


def _list_schema(one: Served, key: str) -> Object:
    return {
        "type": "object",
        "description": f"{one.resource.kind}List is a list of {one.resource.kind}s.",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": PREFIX + _LIST_META}]},
            "items": {"type": "array", "items": {"$ref": PREFIX + key}},
        },
        KIND: [_kind(one, "List")],
    }


def _parameters(*names: str) -> list[Object]:
    types = {"limit": "integer", "timeoutSeconds": "integer", "gracePeriodSeconds": "integer"}
    types |= dict.fromkeys(("watch", "allowWatchBookmarks", "force", "sendInitialEvents"), "boolean")
    return [
        {"name": name, "in": "query", "schema": {"type": types.get(name, "string"), "uniqueItems": True}}
        for name in names
    ]


_READING = _parameters(
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_WRITING = _parameters("dryRun", "fieldManager", "fieldValidation")
_DELETING = _parameters("dryRun", "gracePeriodSeconds", "propagationPolicy")


def _paths(one: Served, key: str) -> Object:
    """Each path with its operations, as clients look for what may be patched, and checked."""
    resource = one.resource
    namespace = "{namespace}" if resource.namespaced else None
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in (*(("namespace",) if namespace else ()), "name")
    ]
    many: Object = {"parameters": in_path[:-1]} | dict(_collection(one, key))
    single: Object = {"parameters": in_path} | dict(_single(one, key))
    paths: Object = {resource.path(namespace): many, resource.path(namespace, "{name}"): single}
    if namespace:
        paths[resource.path()] = {"get": many["get"]}
    if "status" in resource.subresources:
        shown = {verb: single[verb] for verb in ("get", "put", "patch") if verb in single}
        paths[resource.path(namespace, "{name}", "status")] = {"parameters": in_path} | shown
    return paths


def _collection(one: Served, key: str) -> Iterator[tuple[str, Object]]:
    yield "get", _operation(one, "list", f"{key}List", _READING)
    if "create" in one.verbs:
        yield "post", _operation(one, "post", key, _WRITING, ("*/*", key))
        yield (
            "delete",
            _operation(one, "deletecollection", _STATUS, [*_READING, *_DELETING], ("*/*", _DELETE)),
        )


def _single(one: Served, key: str) -> Iterator[tuple[str, Object]]:
    yield "get", _operation(one, "get", key, [])
    if "create" not in one.verbs:
        return
    yield "put", _operation(one, "put", key, _WRITING, ("*/*", key))
    yield "delete", _operation(one, "delete", _STATUS, _DELETING, ("*/*", _DELETE))
    patch = _operation(one, "patch", key, [*_WRITING, *_parameters("force")])
    media = (JSON_PATCH, MERGE, *(() if one.custom else (STRATEGIC,)), APPLY)
    patch["requestBody"] = {
        "content": {name: {"schema": {"type": "object"}} for name in media},
        "required": True,
    }
    yield "patch", patch


def _operation(
    one: Served, action: str, answer: str, parameters: list[Object], body: tuple[str, str] | None = None
) -> Object:
    def content(media: str, key: str) -> Object:
        return {"content": {media: {"schema": {"$ref": PREFIX + key}}}}

    operation: Object = {
        "responses": {"200": {"description": "OK"} | content("application/json", answer)},
        "x-kubernetes-action": action,
        KIND: _kind(one),
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = content(*body)
    return operation


def _swagger(registry: Registry) -> Object:
    """The definitions alone, in the older form, for clients that know no other."""
    schemas: dict[str, Object] = {}
    for one in registry:
        key = _schema(one, schemas)
        if schemas[key].get("x-kubernetes-preserve-unknown-fields"):
            # Told of some fields, kubectl would refuse all others; it does not know this mark.
            schemas[key] = {"type": "object", KIND: [_kind(one)]}
    return {
        "swagger": "2.0",
        "info": {"title": "Modelport", "version": kubernetes_version()},
        "paths": {},
        "definitions": {name: _older(schema) for name, schema in schemas.items()},
    }


def _older(node: Any) -> Any:
    """A schema in the words of OpenAPI v2, which knows no oneOf, anyOf, not, nullable."""
    if isinstance(node, list):
        return [_older(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    schema = cast("Object", node)
    parts = schema.get("allOf")
    if isinstance(parts, list) and len(cast("list[Any]", parts)) == 1:
        schema = {name: value for name, value in schema.items() if name != "allOf"}
        schema |= cast("list[Object]", parts)[0]
    older: Object = {}
    for name, value in schema.items():
        if name == "$ref" and isinstance(value, str):
            older[name] = value.replace(PREFIX, "#/definitions/")
        elif name not in ("oneOf", "anyOf", "not", "nullable"):
            older[name] = _older(value)
        elif isinstance(value, dict):
            older[name] = _older(value)  # a property of that name
    return older
