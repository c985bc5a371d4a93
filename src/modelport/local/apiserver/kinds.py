"""Our declared kinds as they are served here."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.kinds.kind import Kind, crd
from modelport.kube.errors import Cause
from modelport.kube.resource import Object
from modelport.local.apiserver.registry import Served, Validate
from modelport.local.apiserver.strategy import Related
from modelport.local.apiserver.table import Column


def declared(kinds: Sequence[Kind]) -> list[Served]:
    """Each with its schema, hooks and columns."""
    return [
        Served(
            resource=kind.resource,
            schema=kind.checked,
            document=kind.schema,
            inline=kind.kubernetes,
            columns=tuple(
                Column(name=one.name, cell=one.path, type=one.type, priority=one.priority)
                for one in kind.columns
            ),
            default=kind.default,
            validate=_causes(kind),
            custom=True,
            definition=crd(kind),
        )
        for kind in kinds
    ]


def _causes(kind: Kind) -> Validate:
    def validate(obj: Object, old: Object | None, related: Related) -> list[Cause]:
        return [problem.cause() for problem in kind.validate(obj, old, related)]

    return validate
