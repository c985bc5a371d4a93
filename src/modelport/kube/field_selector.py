"""Field selectors: `spec.nodeName=local,status.phase!=Failed`. Imported from `selector`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object


class FieldRequirement(msgspec.Struct, frozen=True):
    """One condition on a field."""

    path: tuple[str, ...]
    value: str
    equal: bool = True
    absent: str = ""
    """What a field is that is not there: Go's zero value."""

    @property
    def field(self) -> str:
        """The path as written, `spec.nodeName`."""
        return ".".join(self.path)

    def matches(self, item: Object) -> bool:
        """Whether the object's field, as text, is (not) the value."""
        found: Any = item
        for step in self.path:
            found = cast("Object", found).get(step) if isinstance(found, dict) else None
        text = self.absent if found is None else _text(found)
        return (text == self.value) == self.equal

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.equal else '!='}{_escape(self.value)}"


class FieldSelector(msgspec.Struct, frozen=True):
    """Conditions on fields, which all hold."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, item: Object) -> bool:
        """Whether the object is selected."""
        return all(requirement.matches(item) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether it selects every object."""
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The value that the field must have, if it must have one: `metadata.name=x` is a look-up."""
        return next((r.value for r in self.requirements if r.equal and r.field == field), None)

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


def parse_fields(
    text: str, supported: Collection[str] | None = None, absent: Mapping[str, str] | None = None
) -> FieldSelector:
    """The selector that `fieldSelector=` names; an empty text selects everything.

    With `supported`, other paths are refused as Kubernetes does. `\\,`, `\\=` and `\\\\` escape. `absent`: what fields
    are that an object does not have, where that is not the empty text.
    """
    requirements: list[FieldRequirement] = []
    for part in _split(text):
        if not part:
            continue
        match = _FIELD_TERM.fullmatch(part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field, operator, value = match.groups()
        if supported is not None and field not in supported:
            raise bad_request(f"field label not supported: {field}")
        path = tuple(field.split("."))
        zero = (absent or {}).get(field, "")
        requirements.append(FieldRequirement(path, _unescape(value), operator != "!=", zero))
    return FieldSelector(tuple(requirements))


# The first operator splits: what is before it holds no `=` and does not end in `!`.
_FIELD_TERM = re.compile(r"([^=]*?[^=!]|)(!=|==|=)(.*)", re.DOTALL)


def _split(text: str) -> list[str]:
    return [part for part in re.findall(r"((?:\\.|[^,\\]|\\$)*)(?:,|$)", text, re.DOTALL) if part]


def _unescape(value: str) -> str:
    def plain(match: re.Match[str]) -> str:
        character = match.group(1)
        if character not in ("\\", ",", "="):
            raise bad_request(f"invalid field selector: invalid escape sequence: \\{character}")
        return character

    unescaped = re.sub(r"\\(.?)", plain, value, flags=re.DOTALL)
    if "=" in re.sub(r"\\.", "", value, flags=re.DOTALL):
        raise bad_request(f"invalid field selector: unescaped character in value: {value}")
    return unescaped


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
