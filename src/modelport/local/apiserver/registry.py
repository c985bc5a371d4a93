"""What this server serves: a `Served` a resource, found by the words of an address.

registry = Registry([*standard("127.77"), *declared(KINDS)])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from modelport.kube.errors import Cause
from modelport.kube.resource import Object, Resource
from modelport.kube.schema import Schema, fill_defaults
from modelport.local.apiserver.strategy import Related, Strategy
from modelport.local.apiserver.table import Column

Default = Callable[[Object, Related], Object]
"""The object with its defaults filled in. It may change what it was given."""
Validate = Callable[[Object, Object | None, Related], Sequence[Cause]]
"""What is wrong with an object; the second argument is the object as it is now, None where it is created."""

Convert = Callable[[Object], Object]


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
    stored: Served | None = None
    """The version that the store keeps, where this is another one of the same kind."""
    up: Convert | None = None
    """From this version to the stored one; None: they differ by their name alone."""
    down: Convert | None = None
    """Back. It may change what it was given; so may `up`."""
    read_anew: bool = False
    """Whether the store may hold objects under another version's name, or without defaults that came later."""

    @property
    def kept(self) -> Served:
        """The version that the store keeps: its rules are those of all versions."""
        return self.stored or self

    def taken(self, obj: Object) -> Object:
        """An object of this version as one of the stored version."""
        if self.stored is None:
            return obj
        return (self.up(obj) if self.up else obj) | {"apiVersion": self.stored.resource.api_version}

    def given(self, obj: Object) -> Object:
        """A stored object as one of this version."""
        if self.stored is None and not self.read_anew:
            return obj
        found = (self.down(obj) if self.down else obj) | {"apiVersion": self.resource.api_version}
        return fill_defaults(self.schema, found) if self.read_anew and self.schema is not None else found

    def shown(self, value: bytes) -> bytes:
        """A stored object's JSON as this version's."""
        if self.stored is None and not self.read_anew:
            return value
        return msgspec.json.encode(self.given(msgspec.json.decode(value)))


class Registry:
    """All resources, by address: those that are built in, and those that users have defined."""

    def __init__(self, served: Iterable[Served]) -> None:
        self._served = {
            (one.resource.group, one.resource.version, one.resource.plural): one for one in served
        }
        self._built_in = set(self._served)
        self._custom: dict[str, list[Served]] = {}
        self._kept: dict[str, Served] = {}
        """Users' kinds in their stored version, served or not."""
        self.generation = 0
        """Counts changes of what is served."""

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def kinds(self) -> Iterator[Served]:
        """Each kind once, in the version that is stored."""
        return iter(({one.resource.qualified: one.kept for one in self} | self._kept).values())

    def native(self, resource: Resource) -> str:
        """The built-in resource that has these names in this group already, or nothing."""
        for group, version, plural in self._built_in:
            kind = self._served[group, version, plural].resource.kind
            if group == resource.group and (plural == resource.plural or kind == resource.kind):
                return f"{plural}.{group}"
        return ""

    def set_custom(self, name: str, versions: list[Served], kept: Served) -> None:
        """Serves a definition's kind, in all its versions. `kept`: the stored one, which may not be among them."""
        known = self._custom.get(name)
        if known is not None and list(map(_told, known)) == list(map(_told, versions)):
            return
        if known is not None:
            self.drop_custom(name)
        self._custom[name], self._kept[name] = versions, kept
        for one in versions:
            resource = one.resource
            self._served[resource.group, resource.version, resource.plural] = one
        self.generation += 1

    def drop_custom(self, name: str) -> None:
        """Serves it no longer."""
        known = self._custom.pop(name, None)
        self._kept.pop(name, None)
        if known is not None:
            for one in known:
                resource = one.resource
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
        """Group → version → its resources, in the order of registration, versions from the best one on."""
        groups: dict[str, dict[str, list[Served]]] = {}
        for one in self:
            groups.setdefault(one.resource.group, {}).setdefault(one.resource.version, []).append(one)
        return {
            group: dict(sorted(versions.items(), key=lambda item: _rank(item[0])))
            for group, versions in groups.items()
        }


def _told(one: Served) -> object:
    """What clients can see of it."""
    return (
        one.resource,
        one.document,
        one.columns,
        one.strategy.selectable,
        one.read_anew,
        one.stored and one.stored.resource,
    )


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def _rank(version: str) -> tuple[int, int, int, int, str]:
    """Kubernetes' order of versions: v10, v2, v1, v2beta1, v1beta2, v1alpha1, then all else by name."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (1, 0, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (0, stage, -int(found[1]), -int(found[3] or 0), version)
