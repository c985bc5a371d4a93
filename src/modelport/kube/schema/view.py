"""One view over Kubernetes' OpenAPI schemas and the structural schemas of custom resources."""

from __future__ import annotations

from typing import Any

import msgspec

from modelport.kube.resource import Object

METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class Schema(msgspec.Struct, kw_only=True, gc=False):
    """A node of a schema: the type of an object, a field or an item. Treat it as read-only.

    Only what decides is kept: descriptions are dropped (see `documents`), `$ref`s are followed when asked for.
    """

    type: str = ""
    """object, array, string, integer, number, boolean; empty for any (or see `one_of`, `int_or_string`)."""
    properties: dict[str, Schema] = msgspec.field(default_factory=dict[str, "Schema"])
    additional: Schema | bool | None = msgspec.field(default=None, name="additionalProperties")
    item: Schema | None = msgspec.field(default=None, name="items")
    ref: str = msgspec.field(default="", name="$ref")
    required: tuple[str, ...] = ()
    default: Any = msgspec.UNSET
    nullable: bool = False
    enum: list[Any] | None = None
    format: str = ""
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = msgspec.field(default=False, name="exclusiveMinimum")
    exclusive_maximum: bool = msgspec.field(default=False, name="exclusiveMaximum")
    multiple_of: float | None = msgspec.field(default=None, name="multipleOf")
    min_length: int | None = msgspec.field(default=None, name="minLength")
    max_length: int | None = msgspec.field(default=None, name="maxLength")
    min_items: int | None = msgspec.field(default=None, name="minItems")
    max_items: int | None = msgspec.field(default=None, name="maxItems")
    unique_items: bool = msgspec.field(default=False, name="uniqueItems")
    min_properties: int | None = msgspec.field(default=None, name="minProperties")
    max_properties: int | None = msgspec.field(default=None, name="maxProperties")
    all_of: tuple[Schema, ...] = msgspec.field(default=(), name="allOf")
    any_of: tuple[Schema, ...] = msgspec.field(default=(), name="anyOf")
    one_of: tuple[Schema, ...] = msgspec.field(default=(), name="oneOf")
    none_of: Schema | None = msgspec.field(default=None, name="not")
    preserve: bool = msgspec.field(default=False, name="x-kubernetes-preserve-unknown-fields")
    int_or_string: bool = msgspec.field(default=False, name="x-kubernetes-int-or-string")
    embedded: bool = msgspec.field(default=False, name="x-kubernetes-embedded-resource")
    list_type: str = msgspec.field(default="", name="x-kubernetes-list-type")
    list_keys: tuple[str, ...] = msgspec.field(default=(), name="x-kubernetes-list-map-keys")
    map_type: str = msgspec.field(default="", name="x-kubernetes-map-type")
    merge_key: str = msgspec.field(default="", name="x-kubernetes-patch-merge-key")
    patch_strategy: str = msgspec.field(default="", name="x-kubernetes-patch-strategy")
    native: bool = msgspec.field(default=False, name="x-native")
    """One of Kubernetes' own types: null means absent, and who writes a status may leave fields out."""

    def __post_init__(self) -> None:
        if self.format == "int-or-string":
            self.int_or_string, self.one_of = True, ()
        if not self.list_type and "merge" in self.patch_strategy.split(","):
            self.list_type = "map" if self.merge_key else "set"
        if self.list_type == "map" and not self.list_keys and self.merge_key:
            self.list_keys = (self.merge_key,)

    @property
    def open(self) -> bool:
        """Whether fields that it does not name are kept."""
        return self.preserve or (not self.type and not self.properties)

    def field(self, name: str) -> Schema | None:
        """The schema of a field or of a map's value; None where it has no such field."""
        found = self.properties.get(name)
        if found is not None:
            if found.ref:
                # Followed once; later look-ups find the target.
                found = self.properties[name] = found.target()
            return found
        if isinstance(self.additional, Schema):
            if self.additional.ref:
                self.additional = self.additional.target()
            return self.additional
        if self.additional or self.open:
            return UNTYPED
        if self.embedded and name in _IDENTITY:
            return _IDENTITY[name].target() if _IDENTITY[name].ref else _IDENTITY[name]
        return None

    @property
    def items(self) -> Schema:
        """The schema of a list's items."""
        if self.item is None:
            return UNTYPED
        if self.item.ref:
            self.item = self.item.target()
        return self.item

    def target(self) -> Schema:
        """The schema that `$ref` names, with what is said beside the `$ref`."""
        from modelport.kube.schema.kubernetes import definition

        found = definition(self.ref.rpartition("/")[2])
        changes: dict[str, Any] = {}
        if self.default is not msgspec.UNSET:
            changes["default"] = self.default
        if self.map_type:
            changes["map_type"] = self.map_type
        if self.patch_strategy:
            changes["patch_strategy"] = self.patch_strategy
        return msgspec.structs.replace(found, **changes) if changes else found

    @classmethod
    def of(cls, document: Object) -> Schema:
        """From an OpenAPI v3 schema as JSON. `$ref`s name Kubernetes' definitions."""
        return msgspec.convert(document, cls)


UNTYPED = Schema(preserve=True)
"""Anything at all. Maps merge by key, lists are replaced whole."""
_STRING = Schema(type="string")
_IDENTITY = {"apiVersion": _STRING, "kind": _STRING, "metadata": Schema(ref=METADATA)}


def custom(document: Object) -> Schema:
    """A custom resource's schema from its CRD's `openAPIV3Schema`: identity and metadata are Kubernetes' own."""
    schema = Schema.of(document)
    schema.type = schema.type or "object"
    for name, identity in _IDENTITY.items():
        schema.properties[name] = msgspec.structs.replace(identity)
    return schema
