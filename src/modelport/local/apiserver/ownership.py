"""`metadata.managedFields`: who set which fields."""

from __future__ import annotations

from datetime import datetime

from modelport.kube.apply import update_fields
from modelport.kube.resource import Object
from modelport.kube.schema import UNTYPED
from modelport.local.apiserver.registry import Served


def own(
    served: Served, old: Object | None, new: Object, manager: str, now: datetime, subresource: str = ""
) -> None:
    """Notes in `new` that `manager` set what differs from `old`, by a write that is no apply."""
    noted = update_fields(served.schema or UNTYPED, old, new, manager, "Update", now, subresource)
    new["metadata"] = noted["metadata"]
