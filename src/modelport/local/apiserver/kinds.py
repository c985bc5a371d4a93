"""Our declared kinds as they are served here."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modelport.kinds.kind import Kind, crd
from modelport.kube.errors import Cause
from modelport.kube.resource import Object
from modelport.local.apiserver.registry import Served, Validate
from modelport.local.apiserver.strategy import Related
from modelport.local.apiserver.table import Column


def declared(kinds: Sequence[Kind]) -> list[Served]:
    """Each with its schema, hooks and columns, in each of its versions."""
    return [one for kind in kinds for one in _versions(kind)]


def _versions(kind: Kind) -> list[Served]:
    stored = Served(
        resource=kind.resource,
        schema=kind.checked,
        document=kind.schema,
        inline=kind.kubernetes,
        columns=tuple(
            Column(name=one.name, cell=one.path, type=one.type, priority=one.priority) for one in kind.columns
        ),
        default=kind.default,
        validate=_causes(kind),
        custom=True,
        definition=crd(kind),
    )
    return [stored] + [
        msgspec.structs.replace(
            stored,
            resource=msgspec.structs.replace(kind.resource, version=one.version),
            schema=kind.check_by(one.schema),
            document=one.schema,
            definition=None,
            stored=stored,
            up=one.up,
            down=one.down,
        )
        for one in kind.older
    ]


def _causes(kind: Kind) -> Validate:
    def validate(obj: Object, old: Object | None, related: Related) -> list[Cause]:
        return [problem.cause() for problem in kind.validate(obj, old, related)]

    return validate
