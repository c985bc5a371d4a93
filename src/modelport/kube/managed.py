"""`metadata.managedFields`: which manager set which fields, read and written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

import msgspec

from modelport.kube.fieldset import FieldSet, is_well_formed, union
from modelport.kube.meta import timestamp
from modelport.kube.resource import Object

MOST_UPDATERS = 10
"""Entries of updaters that are kept apart; the oldest beyond that become ANCIENT's."""
ANCIENT = "ancient-changes"


class Manager(msgspec.Struct, frozen=True):
    """Who holds an entry."""

    name: str
    operation: str
    """Apply or Update."""
    api_version: str
    """Of updates only: an applier's entry is one, whatever version it speaks."""
    subresource: str = ""

    def __str__(self) -> str:
        words = msgspec.json.encode(self.name).decode()
        if self.subresource:
            words += f' with subresource "{self.subresource}"'
        return f"{words} using {self.api_version}" if self.operation == "Update" else words


class Entry(msgspec.Struct, frozen=True):
    """What a manager holds."""

    fields: FieldSet
    api_version: str
    time: str


Managers = dict[Manager, Entry]


def read(entries: Any) -> Managers | None:
    """The managers that a list of entries names; None where it is no such list."""
    if not isinstance(entries, list):
        return None
    managers: Managers = {}
    for entry in cast("list[Any]", entries):
        if not isinstance(entry, dict):
            return None
        known = cast("Object", entry)
        operation: Any = known.get("operation")
        fields: FieldSet = known.get("fieldsV1") or {}
        if operation not in ("Apply", "Update") or not is_well_formed(fields):
            return None
        version = str(known.get("apiVersion") or "")
        manager = Manager(
            str(known.get("manager") or ""),
            operation,
            version if operation == "Update" else "",
            str(known.get("subresource") or ""),
        )
        managers[manager] = Entry(fields, version, str(known.get("time") or ""))
    return managers


def write(managers: Managers) -> list[Object]:
    """The entries as Kubernetes stores them: appliers first, then by time and name."""
    order = sorted(
        managers.items(),
        key=lambda pair: (
            pair[0].operation,
            pair[1].time,
            pair[0].name,
            pair[1].api_version,
            pair[0].subresource,
        ),
    )
    return [_written(manager, entry) for manager, entry in order]


def _written(manager: Manager, entry: Entry) -> Object:
    written: Object = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
    }
    if manager.subresource:
        written["subresource"] = manager.subresource
    return written


def is_reset(entries: Any) -> bool:
    """Whether a client asks to forget all managers: a list of one empty entry. An empty list does not, so that
    clients which know nothing of managers do not strip them."""
    return entries == [{}]


def managers_of(item: Object | None) -> Managers:
    """The managers of a stored object."""
    return read((item or {}).get("metadata", {}).get("managedFields") or []) or {}


def with_managers(item: Object, managers: Managers) -> Object:
    """The object with these managers, or without the field where there are none."""
    meta = {name: value for name, value in item.get("metadata", {}).items() if name != "managedFields"}
    if managers:
        meta["managedFields"] = write(managers)
    return {**item, "metadata": meta}


def together(sets: Iterable[FieldSet]) -> FieldSet:
    """The union of sets."""
    whole: FieldSet = {}
    for fields in sets:
        whole = union(whole, fields)
    return whole


def capped(managers: Managers) -> Managers:
    """At most MOST_UPDATERS entries of updaters."""
    updaters = sorted(
        (manager for manager in managers if manager.operation == "Update"),
        key=lambda manager: (managers[manager].time, manager.name),
    )
    old = updaters[: len(updaters) - MOST_UPDATERS + 1] if len(updaters) > MOST_UPDATERS else []
    if not old:
        return managers
    kept = {manager: entry for manager, entry in managers.items() if manager not in old}
    for manager in old:
        ancient = Manager(ANCIENT, "Update", manager.api_version)
        entry = managers[manager]
        known = kept.get(ancient)
        kept[ancient] = Entry(union(known.fields, entry.fields) if known else entry.fields, *_when(entry))
    return kept


def _when(entry: Entry) -> tuple[str, str]:
    return entry.api_version, entry.time


def now_entry(fields: FieldSet, api_version: str, now: datetime) -> Entry:
    """An entry that changes now."""
    return Entry(fields, api_version, timestamp(now))
