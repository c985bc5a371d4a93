"""Which objects a controller manages: those that name it as their controller, and orphans that its selector selects."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of, owner_reference, owners_of
from modelport.kube.resource import Object, Resource
from modelport.kube.selector import Selector
from modelport.local.workloads.view import Indexes, View

INDEXES: Indexes = {
    "controller": lambda item: [owner["uid"]] if (owner := controller_of(item)) else [],
    "orphan": lambda item: [] if controller_of(item) else [item["metadata"].get("namespace") or ""],
    "owner": lambda item: [owner["uid"] for owner in owners_of(item)],
}
"""Indexes that `candidates` and the garbage collector need."""


class Claim(msgspec.Struct):
    """What follows from an owner and its selector."""

    mine: list[Object]
    adopt: list[Object]
    """Selected, and nobody's."""
    release: list[Object]
    """Ours, but no longer selected."""


def candidates(view: View, owner: Object) -> list[Object]:
    """What `owner` might manage."""
    meta = owner["metadata"]
    return view.by("controller", meta["uid"]) + view.by("orphan", meta.get("namespace") or "")


def claim(owner: Object, selector: Selector, found: Iterable[Object]) -> Claim:
    """Sorts what was found. An owner that is being deleted takes and gives up nothing."""
    result = Claim([], [], [])
    uid, leaving = owner["metadata"]["uid"], bool(owner["metadata"].get("deletionTimestamp"))
    for item in found:
        reference = controller_of(item)
        selected = selector.matches(item["metadata"].get("labels"))
        if reference is not None and reference["uid"] == uid:
            if selected or leaving:
                result.mine.append(item)
            else:
                result.release.append(item)
        elif reference is None and selected and not leaving and not item["metadata"].get("deletionTimestamp"):
            result.adopt.append(item)
    return result


async def carry_out(
    client: Client, resource: Resource, owner: Object, wanted: Claim, view: View
) -> list[Object]:
    """Writes adoptions and releases. Returns all that is the owner's now."""
    mine = list(wanted.mine)
    if wanted.adopt:
        meta = owner["metadata"]
        # The cache may be behind: an owner that is being deleted must not take children that then die with it.
        live = await client.find(resource, meta.get("namespace"), meta["name"])
        if (
            live is None
            or live["metadata"]["uid"] != meta["uid"]
            or live["metadata"].get("deletionTimestamp")
        ):
            return mine
    for item in wanted.adopt:
        adopted = await _own(view, item, [*owners_of(item), owner_reference(owner)])
        if adopted is not None:
            mine.append(adopted)
    for item in wanted.release:
        await _own(view, item, [ref for ref in owners_of(item) if ref["uid"] != owner["metadata"]["uid"]])
    return mine


async def _own(view: View, item: Object, references: list[Object]) -> Object | None:
    try:
        return await view.patch(item, {"ownerReferences": references})
    except ApiError as error:
        if error.code == 404:
            return None
        raise
