"""CustomResourceDefinitions: kinds of the users' own, beside those that are built in."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from modelport.kube.errors import ApiError, Cause, forbidden, invalid_value, required
from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.kube.schema import custom
from modelport.kube.value import same
from modelport.local.apiserver.part import part
from modelport.local.apiserver.strategy import Strategy

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer: a kind's objects go before the kind."""


class Definition(Strategy):
    """Their rules. Only what this server can carry out is accepted."""

    def __init__(self) -> None:
        self.built_in: Collection[str] = ()
        """Names of those that nobody may change; set as they are published."""

    def default(self, obj: Object) -> None:
        """The names that follow from others."""
        names, spec = part(obj, "spec", "names"), part(obj, "spec")
        if isinstance(names.get("kind"), str):
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", f"{names['kind']}List")
        if spec:
            spec.setdefault("conversion", {"strategy": "None"})

    def create(self, obj: Object, now: datetime) -> None:
        """It waits for its objects when it is deleted."""
        del now
        meta = obj["metadata"]
        meta["finalizers"] = [*(meta.get("finalizers") or []), CLEANUP]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        """Names, versions, schemas. ApiError 403 for a kind that is built in."""
        name = str(obj["metadata"].get("name"))
        if name in self.built_in and not (old is not None and same(_said(obj), _said(old))):
            raise self._fixed(name)
        spec = part(obj, "spec")
        names = part(spec, "names")
        causes: list[Cause] = []
        if name != f"{names.get('plural')}.{spec.get('group')}":
            causes.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
        if "." not in str(spec.get("group")):
            causes.append(
                invalid_value("spec.group", spec.get("group"), "should be a domain with at least one dot")
            )
        if spec.get("scope") not in ("Namespaced", "Cluster"):
            causes.append(invalid_value("spec.scope", spec.get("scope"), "must be Namespaced or Cluster"))
        if part(spec, "conversion").get("strategy") != "None":
            causes.append(
                invalid_value(
                    "spec.conversion.strategy",
                    part(spec, "conversion").get("strategy"),
                    "only None is carried out here: no webhooks are called",
                )
            )
        causes += _versions(spec)
        causes += _unchanged(spec, part(old, "spec") if old is not None else spec)
        return causes

    def check_deletion(self, name: str) -> None:
        """ApiError 403 for a kind that is built in."""
        if name in self.built_in:
            raise self._fixed(name)

    def _fixed(self, name: str) -> ApiError:
        return ApiError(
            403,
            "Forbidden",
            f'customresourcedefinitions.apiextensions.k8s.io "{name}" is forbidden: this kind is built in; it comes '
            "with another version of modelport",
            details={"name": name, "group": "apiextensions.k8s.io", "kind": "customresourcedefinitions"},
        )


def _said(obj: Object) -> Object:
    return {"spec": obj.get("spec"), "labels": part(obj, "metadata").get("labels")}


def _versions(spec: Object) -> list[Cause]:
    versions = objects(spec.get("versions"))
    causes: list[Cause] = []
    if sum(1 for one in versions if one.get("storage")) != 1:
        causes.append(
            invalid_value(
                "spec.versions",
                [one.get("name") for one in versions],
                "must have exactly one version marked as storage version",
            )
        )
    for index, one in enumerate(versions):
        at = f"spec.versions[{index}].schema.openAPIV3Schema"
        schema = part(one, "schema", "openAPIV3Schema")
        if not schema:
            causes.append(required(at, "schemas are required"))
            continue
        if schema.get("type") != "object":
            causes.append(invalid_value(f"{at}.type", schema.get("type"), "must be object at the root"))
        if _refers(schema):
            causes.append(forbidden(at, "$ref is not supported in a structural schema"))
            continue
        try:
            custom(schema)
        except (msgspec.ValidationError, RecursionError) as error:
            causes.append(invalid_value(at, "", f"is no schema: {error}"))
    return causes


def _refers(schema: Any) -> bool:
    if isinstance(schema, dict):
        return isinstance(schema.get("$ref"), str) or any(map(_refers, schema.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    return isinstance(schema, list) and any(map(_refers, schema))  # pyright: ignore[reportUnknownArgumentType]


def _unchanged(spec: Object, old: Object) -> list[Cause]:
    """What would leave the stored objects without a home."""
    names, before = part(spec, "names"), part(old, "names")
    changed = [(f"spec.{field}", spec.get(field), old.get(field)) for field in ("group", "scope")]
    changed += [(f"spec.names.{field}", names.get(field), before.get(field)) for field in ("kind", "plural")]
    return [invalid_value(field, new, "field is immutable") for field, new, was in changed if new != was]
