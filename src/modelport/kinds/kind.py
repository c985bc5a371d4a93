"""A kind as an API server needs it: its names, its schema, its columns, and its two hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from modelport.kinds.problem import Problem
from modelport.kube.resource import Object, Resource
from modelport.kube.schema import Schema, custom, definition


class Related(Protocol):
    """What defaulting and validation may look up. Plain reads; nothing waits."""

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object."""
        ...

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        """All objects, or those of a namespace."""
        ...


class PrinterColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of `kubectl get`, as in a CRD's additionalPrinterColumns."""

    name: str
    path: str
    """JSONPath, as in `.status.url`."""
    type: str = "string"
    priority: int = 0


class Older(msgspec.Struct, frozen=True, kw_only=True):
    """Another version in which a kind is served: stored as the kind's own."""

    version: str
    schema: Object
    """Structural OpenAPI schema of the whole object."""
    up: Callable[[Object], Object]
    """To the kind's own version; may change and return what it was given. Never raises."""
    down: Callable[[Object], Object]
    """Back."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One declared kind."""

    resource: Resource
    schema: Object
    """Structural OpenAPI schema of the whole object."""
    columns: tuple[PrinterColumn, ...] = ()
    default: Callable[[Object, Related], Object]
    """Fills in defaults; may change and return what it was given. Never raises."""
    kubernetes: tuple[tuple[str, str], ...] = ()
    """Where one of Kubernetes' own types is inline: a path, as in `spec.predictor.canary[]`, and the type's name in
    core/v1. The published schema leaves them open, for they would fill megabytes; `checked` does not."""
    validate: Callable[[Object, Object | None, Related], list[Problem]]
    """What is wrong with an object (the second: as it was, None for a new one). Never raises."""
    older: tuple[Older, ...] = ()
    """Other versions."""

    @property
    def others(self) -> list[Resource]:
        """The kind in its other versions."""
        return [msgspec.structs.replace(self.resource, version=one.version) for one in self.older]

    @property
    def checked(self) -> Schema:
        """The schema that objects are held to: with Kubernetes' own types where they are inline."""
        return self.check_by(self.schema)

    def check_by(self, document: Object) -> Schema:
        """The same of another version's schema."""
        schema = custom(document)
        for path, name in self.kubernetes:
            _graft(schema, path.split("."), definition(f"io.k8s.api.core.v1.{name}"))
        return schema


def _graft(schema: Schema, path: list[str], type_: Schema) -> None:
    """Gives the node at `path` the type's fields; those that it has of its own, other than open ones, stay."""
    for step in path:
        below = schema.properties[step.removesuffix("[]")]
        schema = below.items if step.endswith("[]") else below
    if not schema.properties:
        schema.properties, schema.native = type_.properties, True
    else:
        schema.properties = {
            name: type_.properties[name]
            if name in type_.properties and (own.preserve or not own.properties)
            else own
            for name, own in schema.properties.items()
        }
    schema.preserve = False


def mismatch(error: msgspec.ValidationError, kind: str, before: str = "spec") -> Problem:
    """msgspec's words, with the path in Kubernetes' spelling."""
    text, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".").replace("[...]", "[]")
    where = ".".join(part for part in (before, path) if part)
    return Problem(where, text[0].lower() + text[1:], f"kubectl explain {kind} says what it takes.")


AGE = PrinterColumn(name="Age", path=".metadata.creationTimestamp", type="date")


def whole(about: str, spec: Object, status: Object | None = None, *, more: Object | None = None) -> Object:
    """The schema of an object with this spec, and this status; `about` is what people read of the kind."""
    properties: Object = {
        "apiVersion": {"type": "string", "description": "Group and version of the kind."},
        "kind": {"type": "string", "description": "The kind's name."},
        "metadata": {"type": "object"},
        "spec": spec,
    }
    if status is not None:
        properties["status"] = status
    return {"type": "object", "description": about, "properties": properties | (more or {})}


def crd(kind: Kind) -> Object:
    """The kind as a CustomResourceDefinition."""
    resource = kind.resource
    names: Object = {"plural": resource.plural, "kind": resource.kind, "listKind": f"{resource.kind}List"}
    if resource.singular:
        names["singular"] = resource.singular
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.qualified},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [
                _version(kind, resource.version, kind.schema, stored=True),
                *(_version(kind, one.version, one.schema, stored=False) for one in kind.older),
            ],
        },
    }


def _version(kind: Kind, name: str, schema: Object, *, stored: bool) -> Object:
    version: Object = {
        "name": name,
        "served": True,
        "storage": stored,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            {"name": c.name, "type": c.type, "jsonPath": c.path}
            | ({"priority": c.priority} if c.priority else {})
            for c in kind.columns
        ],
    }
    if "status" in kind.resource.subresources:
        version["subresources"] = {"status": {}}
    return version
