"""What this server serves: a `Served` a resource, found by the words of an address.

registry = Registry([*standard("127.77"), *declared(KINDS)])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from modelport.kube.errors import Cause
from modelport.kube.resource import Object, Resource
from modelport.kube.schema import Schema
from modelport.local.apiserver.strategy import Related, Strategy
from modelport.local.apiserver.table import Column

Default = Callable[[Object, Related], Object]
"""The object with its defaults filled in. It may change what it was given."""
Validate = Callable[[Object, Object | None, Related], Sequence[Cause]]
"""What is wrong with an object; the second argument is the object as it is now, None where it is created."""


READING = ("get", "list", "watch")
VERBS = ("create", "delete", "deletecollection", *READING, "patch", "update")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as it is served."""

    resource: Resource
    schema: Schema | None = None
    """The kind's OpenAPI schema; None accepts anything."""
    columns: tuple[Column, ...] = ()
    """Columns of `kubectl get`, after the name; `Age` is added where there are none."""
    default: Default | None = None
    validate: Validate | None = None
    strategy: Strategy = Strategy()
    """The rules of Kubernetes' own kinds."""
    verbs: tuple[str, ...] = VERBS
    read_only: str = ""
    """Why clients cannot write it, and what to do, where `verbs` has no writing ones."""
    custom: bool = False
    """A custom resource on a cluster: no strategic merge patches."""
    document: Object | None = None
    """The schema as OpenAPI, with descriptions, of a kind that is not Kubernetes' own."""
    inline: tuple[tuple[str, str], ...] = ()
    """Where the document has one of Kubernetes' own types inline, and leaves it open: a path, and its name in core/v1."""
    definition: Object | None = None
    """Its CustomResourceDefinition, where it is published as one."""


class Registry:
    """All resources, by address: those that are built in, and those that users have defined."""

    def __init__(self, served: Iterable[Served]) -> None:
        self._served = {
            (one.resource.group, one.resource.version, one.resource.plural): one for one in served
        }
        self._built_in = set(self._served)
        self._custom: dict[str, Served] = {}
        self.generation = 0
        """Counts changes of what is served."""

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def native(self, resource: Resource) -> str:
        """The built-in resource that has these names in this group already, or nothing."""
        for group, version, plural in self._built_in:
            kind = self._served[group, version, plural].resource.kind
            if group == resource.group and (plural == resource.plural or kind == resource.kind):
                return f"{plural}.{group}"
        return ""

    def set_custom(self, name: str, served: Served) -> None:
        """Serves a definition's kind."""
        known, resource = self._custom.get(name), served.resource
        if (
            known is not None
            and known.resource == resource
            and known.document == served.document
            and known.columns == served.columns
            and known.strategy.selectable == served.strategy.selectable
        ):
            return
        if known is not None:
            self.drop_custom(name)
        self._custom[name] = served
        self._served[resource.group, resource.version, resource.plural] = served
        self.generation += 1

    def drop_custom(self, name: str) -> None:
        """Serves it no longer."""
        known = self._custom.pop(name, None)
        if known is not None:
            resource = known.resource
            del self._served[resource.group, resource.version, resource.plural]
            self.generation += 1

    def keep_custom(self, names: set[str]) -> None:
        """Serves none but these."""
        for name in set(self._custom) - names:
            self.drop_custom(name)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        """The resource of an address."""
        return self._served.get((group, version, plural))

    def of(self, resource: Resource) -> Served:
        """The resource, as it is served. KeyError where it is not."""
        return self._served[resource.group, resource.version, resource.plural]

    def groups(self) -> dict[str, dict[str, list[Served]]]:
        """Group → version → its resources, in the order of registration."""
        groups: dict[str, dict[str, list[Served]]] = {}
        for one in self:
            groups.setdefault(one.resource.group, {}).setdefault(one.resource.version, []).append(one)
        return groups
