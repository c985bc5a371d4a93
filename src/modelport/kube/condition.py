"""Conditions: what an object's controller says of it, a list of `{type, status, reason, message, …}`.

    status["conditions"] = set_condition(status.get("conditions"), "Ready", "True", "PodsReady", "", now)

Lists are never changed in place: what came from a cache stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from modelport.kube.meta import timestamp
from modelport.kube.resource import Object

Status = Literal["True", "False", "Unknown"]


def find_condition(conditions: Iterable[Object] | None, type: str) -> Object | None:  # noqa: A002
    """The condition of that type, or None."""
    return next((item for item in conditions or () if item.get("type") == type), None)


def is_true(holder: Object, type: str) -> bool:  # noqa: A002
    """Whether `status.conditions` of the object says True of `type`."""
    status: Object = holder.get("status") or {}
    found = find_condition(status.get("conditions"), type)
    return found is not None and found.get("status") == "True"


def set_condition(
    conditions: Iterable[Object] | None,
    type: str,  # noqa: A002 - the field's word
    status: Status,
    reason: str,
    message: str,
    now: datetime,
    observed_generation: int | None = None,
    *,
    severity: str = "",
) -> list[Object]:
    """A new list with that condition in its old place, or at the end.

    `lastTransitionTime` is `now` only where `status` changed. Empty words are left out, and so is `severity`
    unless given (Knative's `Info`). Fields that others wrote, such as `lastProbeTime`, stay.
    """
    items = list(conditions or ())
    at = next((index for index, item in enumerate(items) if item.get("type") == type), len(items))
    old: Object = items[at] if at < len(items) else {}
    new = {key: value for key, value in old.items() if key not in ("reason", "message", "severity")}
    new |= {"type": type, "status": status}
    new |= {k: v for k, v in (("severity", severity), ("reason", reason), ("message", message)) if v}
    if old.get("status") != status or "lastTransitionTime" not in old:
        new["lastTransitionTime"] = timestamp(now)
    if observed_generation is not None:
        new["observedGeneration"] = observed_generation
    items[at : at + 1] = [new]
    return items


def remove_condition(conditions: Iterable[Object] | None, type: str) -> list[Object]:  # noqa: A002
    """A new list without that condition."""
    return [item for item in conditions or () if item.get("type") != type]
