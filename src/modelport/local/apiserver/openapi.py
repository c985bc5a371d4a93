"""/openapi/v3: the schemas of all kinds, a document a group, as `kubectl explain` and clients' validation read them."""

from __future__ import annotations

import hashlib

import msgspec

from modelport.kube.resource import Object
from modelport.kube.schema.kubernetes import definition_name, documents
from modelport.local.apiserver.discovery import unknown_path
from modelport.local.apiserver.registry import Registry, Served

_RAW: dict[int, dict[str, Object]] = {}


def index(registry: Registry) -> Object:
    """The documents that there are, each with a hash, so that clients fetch each but once."""
    paths: Object = {}
    for group, versions in registry.groups().items():
        for version in versions:
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(msgspec.json.encode(document(registry, name))).hexdigest()[:32].upper()
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"}
    return {"paths": paths}


def document(registry: Registry, name: str) -> Object:
    """One group and version's document. ApiError 404."""
    known = _RAW.setdefault(id(registry), {})
    if name not in known:
        known[name] = _document(registry, name)
    return known[name]


def _document(registry: Registry, name: str) -> Object:
    parts = name.split("/")
    group, version = ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")
    if parts[0] == "apis" and len(parts) == 3:
        group, version = parts[1], parts[2]
    served = registry.groups().get(group, {}).get(version)
    if not served:
        raise unknown_path()
    schemas: dict[str, Object] = {}
    paths: Object = {}
    for one in served:
        key = _schema(one, schemas)
        paths |= _paths(one, key)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Modelport", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _schema(one: Served, schemas: dict[str, Object]) -> str:
    resource = one.resource
    native = definition_name(resource)
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    if native is not None:
        for name, found in documents([native]).items():
            schemas.setdefault(name, found)
        schemas[native] = schemas[native] | {"x-kubernetes-group-version-kind": [kind]}
        return native
    reverse = ".".join(reversed(resource.group.split(".")))
    key = f"{reverse}.{resource.version}.{resource.kind}"
    schemas[key] = declared(one) | {"x-kubernetes-group-version-kind": [kind]}
    return key


def declared(one: Served) -> Object:
    """The schema of one of our kinds, with its descriptions; metadata as Kubernetes has it."""
    from modelport.kinds.catalog import KINDS

    found = next((kind.schema for kind in KINDS if kind.resource == one.resource), {"type": "object"})
    return {k: v for k, v in found.items()}


def _paths(one: Served, key: str) -> Object:
    """Enough of the paths for clients to see what may be patched, and checked."""
    resource = one.resource
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{key}"}}}}
    done = {"200": {"description": "OK"} | body}
    query = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    many = resource.path("{namespace}" if resource.namespaced else None)
    single = resource.path("{namespace}" if resource.namespaced else None, "{name}")
    said = {"x-kubernetes-group-version-kind": kind}
    patch = {
        "requestBody": {
            "content": {
                media: {"schema": {"type": "object"}}
                for media in (
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    *(() if one.custom else ("application/strategic-merge-patch+json",)),
                    "application/apply-patch+yaml",
                )
            }
        }
    }
    return {
        many: {
            "get": {"responses": done, "x-kubernetes-action": "list"} | said,
            "post": {
                "responses": done,
                "requestBody": body,
                "parameters": query,
                "x-kubernetes-action": "post",
            }
            | said,
        },
        single: {
            "get": {"responses": done, "x-kubernetes-action": "get"} | said,
            "put": {"responses": done, "requestBody": body, "parameters": query, "x-kubernetes-action": "put"}
            | said,
            "patch": patch | {"responses": done, "parameters": query, "x-kubernetes-action": "patch"} | said,
            "delete": {"responses": done, "x-kubernetes-action": "delete"} | said,
        },
    }
