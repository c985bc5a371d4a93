"""Server-side apply: every field has managers, and an applier sets, shares and gives up its fields.

    new = apply(schema, live, applied, manager="modelport", force=True, now=now)
    new = update_fields(schema, old, new, "kubectl-edit", "Update", now)

The rules are those of Kubernetes ("Server-Side Apply" in its documentation, structured-merge-diff in its code):
- An applier owns exactly what it last applied. What it owned, no longer applies and nobody else owns, goes.
- A field that another manager owns with another value is a conflict (409), unless forced: then the other loses it.
- The same value is shared. Who writes without applying owns what its write changed.
Neither knows versions of a kind: all of them have one schema here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.fieldset import (
    SELF,
    FieldSet,
    difference,
    fitted,
    intersection,
    members,
    union,
    with_named,
)
from modelport.kube.managed import (
    Entry,
    Manager,
    Managers,
    capped,
    is_reset,
    managers_of,
    now_entry,
    read,
    together,
    with_managers,
)
from modelport.kube.resource import Object
from modelport.kube.schema.view import Schema
from modelport.kube.typed import Difference, compare, fields_of, merge, remove

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST = "before-first-apply"
"""Owner of all that an object has when it is first applied and has no managers."""
UNMANAGED = frozenset(
    (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    )
)
"""Metadata that nobody owns: it names the object, or the server sets it."""

SERVER_SET = frozenset(("creationTimestamp", "selfLink", "generation", "managedFields"))


def apply(
    schema: Schema,
    live: Object | None,
    applied: Object,
    manager: str,
    force: bool,
    now: datetime,
    subresource: str = "",
) -> Object:
    """The object after `manager` has applied `applied`; `live` itself where nothing changes, managers included.

    `applied` is the main resource without `status` where that is a subresource (the caller drops it), or, for a
    subresource, what it shows: of `status` nothing but `status` counts. Defaults are filled in afterwards.
    ApiError 409 names the conflicts, 400 fields that the schema lacks and lists with a key twice.
    """
    applied = _cleaned(applied, subresource)
    try:
        mine = fields_of(schema, _owned_part(applied))
    except ApiError as error:
        raise _untyped(applied, error) from None
    before = _without_managers(live) if live is not None else {}
    managers = managers_of(live)
    if live is not None and not managers:
        managers = _owned_by_first(schema, before, live, now)
    version = str(applied.get("apiVersion") or "")
    self = Manager(manager, "Apply", "", subresource)
    after: Object = merge(schema, before, applied) or {}
    known = managers.get(self)
    if live is not None and after is before and known is not None and known.fields == mine:
        return live
    managers = {who: Entry(fitted(e.fields, schema), e.api_version, e.time) for who, e in managers.items()}
    last = managers.get(self)
    others = {who: entry for who, entry in managers.items() if who != self}
    if last is not None:
        after = _give_up(schema, after, last.fields, union(mine, together(e.fields for e in others.values())))
    change = _compare(schema, before, after)
    others = _take(others, change, force or _may_upgrade(schema, manager, before, others, change))
    same_fields = last is not None and last.fields == mine
    if mine:
        unchanged = same_fields and not change
        others[self] = (
            Entry(mine, version, last.time) if last and unchanged else now_entry(mine, version, now)
        )
    if live is not None and after is before and others == managers_of(live):
        return live
    return with_managers(after, others)


def update_fields(
    schema: Schema,
    old: Object | None,
    new: Object,
    manager: str,
    operation: str,
    now: datetime,
    subresource: str = "",
) -> Object:
    """`new` with `managedFields` after a write that is no apply (create, replace, patch): `operation` is Update.

    `old` is None for a create. Both are as they are stored, defaults filled in. The manager gets what differs,
    others lose what differs from theirs. `managedFields` in `new` count where they make sense (a client may hand
    on or edit them); `[{}]` makes the object forget all managers, until it is next applied.
    """
    given = _meta(new).get("managedFields")
    if is_reset(given) and not subresource:
        return with_managers(new, {})
    managers = (None if subresource else read(given)) or managers_of(old)
    if old is not None and not managers:
        return with_managers(new, {})
    change = _compare(schema, _without_managers(old) if old is not None else {}, _without_managers(new))
    self = Manager(manager, operation, str(new.get("apiVersion") or ""), subresource)
    if not change:
        return with_managers(new, managers)
    managers = {who: Entry(fitted(e.fields, schema), e.api_version, e.time) for who, e in managers.items()}
    changed = change.changed
    managers = _take(managers, change, force=True)
    if changed:
        known = managers.get(self)
        fields = union(known.fields, changed) if known else changed
        managers[self] = now_entry(fields, self.api_version, now)
    return with_managers(new, capped(managers))


def _meta(item: Object) -> Object:
    return item.get("metadata") or {}


def _cleaned(applied: Object, subresource: str) -> Object:
    """What of an applied configuration counts: not what only the server sets, which `kubectl` writes as null."""
    meta = _meta(applied)
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    cleaned = dict(applied)
    if subresource == "status":
        cleaned = {name: applied[name] for name in ("apiVersion", "kind", "status") if name in applied}
        meta = {name: value for name, value in meta.items() if name in UNMANAGED}
    cleaned["metadata"] = {
        name: value
        for name, value in meta.items()
        if name not in SERVER_SET and not (value is None and name in UNMANAGED)
    }
    return cleaned


def _owned_part(item: Object) -> Object:
    """What managers can own: not the identity, nor what the server sets."""
    part = {name: value for name, value in item.items() if name not in ("apiVersion", "kind", "metadata")}
    meta = _meta(item)
    owned = {name: value for name, value in meta.items() if name not in UNMANAGED}
    return {"metadata": owned, **part} if owned else part


def _compare(schema: Schema, old: Object, new: Object) -> Difference:
    change = compare(schema, _owned_part(old), _owned_part(new))
    for fields in (change.removed, change.modified, change.added):
        meta: FieldSet | None = fields.get("f:metadata")
        if meta is not None and SELF in meta:
            fields["f:metadata"] = {name: child for name, child in meta.items() if name != SELF}
    return change


def _without_managers(item: Object) -> Object:
    meta = _meta(item)
    if "managedFields" not in meta:
        return item
    return {**item, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}}


def _owned_by_first(schema: Schema, before: Object, live: Object, now: datetime) -> Managers:
    fields = _compare(schema, {}, before).added
    version = str(live.get("apiVersion") or "")
    first = Manager(BEFORE_FIRST, "Update", version)
    return {first: now_entry(fields, version, now)} if fields else {}


def _give_up(schema: Schema, merged: Object, last: FieldSet, owned: FieldSet) -> Object:
    """`merged` without what the applier owned and no longer applies, unless somebody else owns it."""
    last, owned = with_named(last, schema), with_named(owned, schema)
    if not difference(last, owned):
        return merged
    # First all of it goes; then comes back what somebody owns, and last what was never the applier's.
    whole = _named_fields(schema, merged)
    rest = _named_fields(schema, remove(schema, merged, last))
    unowned = difference(whole, union(rest, owned))
    kept = _named_fields(schema, remove(schema, merged, unowned))
    return remove(schema, merged, intersection(difference(whole, kept), last)) or {}


def _named_fields(schema: Schema, item: Object | None) -> FieldSet:
    return with_named(fields_of(schema, item, stored=True), schema) if item else {}


def _take(others: Managers, change: Difference, force: bool) -> Managers:
    """The other managers without what the change took from them. ApiError 409 unless forced."""
    changed = change.changed
    if not force:
        conflicts = {
            who: fields for who, entry in others.items() if (fields := intersection(entry.fields, changed))
        }
        if conflicts:
            raise _conflict(conflicts)
    lost = union(changed, change.removed)
    if not lost:
        return dict(others)
    left: Managers = {}
    for who, entry in others.items():
        fields = difference(entry.fields, lost)
        if fields:
            left[who] = entry if fields == entry.fields else Entry(fields, entry.api_version, entry.time)
    return left


def _may_upgrade(schema: Schema, manager: str, before: Object, others: Managers, change: Difference) -> bool:
    """Whether every conflict is with kubectl's own client-side apply: then kubectl may go over to server-side apply.

    It may take fields that are still as its annotation last applied them.
    """
    annotations: Mapping[str, Any] = _meta(before).get("annotations") or {}
    if manager != "kubectl" or LAST_APPLIED not in annotations:
        return False
    try:
        configured: Any = msgspec.json.decode(annotations[LAST_APPLIED])
        theirs = fields_of(schema, _owned_part(configured))
        since = compare(schema, _owned_part(configured), _owned_part(before))
    except (msgspec.DecodeError, ApiError, AttributeError, TypeError):
        return False
    allowed = difference(theirs, union(since.removed, since.changed))
    changed = change.changed
    return all(not difference(intersection(entry.fields, changed), allowed) for entry in others.values())


def _conflict(conflicts: Mapping[Manager, FieldSet]) -> ApiError:
    by_manager = sorted((str(who), sorted(members(fields))) for who, fields in conflicts.items())
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, paths in by_manager
        for path in paths
    ]
    if len(causes) == 1:
        words = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines: list[str] = []
        for who, paths in by_manager:
            lines += [f"conflicts with {who}:", *(f"- {path}" for path in paths)]
        words = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return ApiError(409, "Conflict", words, details={"causes": causes})


def _untyped(applied: Object, error: ApiError) -> ApiError:
    meta = _meta(applied)
    name = "/".join(str(part) for part in (meta.get("namespace"), meta.get("name")) if part)
    where = f"{name}; {applied.get('apiVersion')}, Kind={applied.get('kind')}"
    return bad_request(f"failed to create typed patch object ({where}): {error.message}")
