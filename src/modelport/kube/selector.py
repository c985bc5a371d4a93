"""Selectors: which objects a list, a watch or a controller means.

    parse_labels("app=web,tier in (front,back),!legacy").matches(labels)
    from_object({"matchLabels": {"app": "web"}}).matches(labels)
    parse_fields("spec.nodeName=local,status.phase!=Failed").matches(pod)

Texts follow Kubernetes' grammar and so do the words of the errors, all of them ApiError 400.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.field_selector import FieldSelector as FieldSelector
from modelport.kube.field_selector import parse_fields as parse_fields
from modelport.kube.name import check_label_value, check_qualified
from modelport.kube.resource import Object

_BINARY = ("in", "notin", "=", "==", "!=", "gt", "lt")
_SYMBOLS = frozenset("=!(),><")
_TOKENS = frozenset((")", ",", "!", "==", "=", ">", "<", "!=", "("))
_SPACE = " \t\r\n"
_END = ""


class Requirement(msgspec.Struct, frozen=True):
    """One condition on labels."""

    key: str
    operator: str
    """Of in, notin, =, ==, !=, gt, lt, exists and ! (does not exist)."""
    values: tuple[str, ...] = ()
    """Sorted; one for =, ==, !=, gt and lt, none for exists and !."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it. A key that is absent fulfils notin, != and !."""
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compare(value)

    def _compare(self, value: str) -> bool:
        try:
            number, bound = int(value), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                # `()` would be no value at all, `(,)` is the empty one.
                return f"{self.key} {self.operator} ({','.join(self.values) or ','})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


class Selector(msgspec.Struct, frozen=True):
    """Requirements that all hold. Without any it selects everything, unless it is NOTHING."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Selects nothing at all, as an absent LabelSelector does."""

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        known = labels or {}
        return all(requirement.matches(known) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether it selects every object."""
        return not self.requirements and not self.nothing

    def exact(self) -> dict[str, str]:
        """The labels that a selected object has for certain: a loop's index can begin with them."""
        return {
            requirement.key: requirement.values[0]
            for requirement in self.requirements
            if requirement.operator in ("=", "==", "in") and len(requirement.values) == 1
        }

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


def parse_labels(text: str) -> Selector:
    """The selector that `labelSelector=` or `kubectl -l` names; an empty text selects everything."""
    if not text.strip(_SPACE):
        return EVERYTHING
    requirements = _Parser(text).parse()
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """The selector of a map of labels, as a Service has; an empty map selects everything."""
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted((labels or {}).items())))


def from_object(selector: Mapping[str, Any] | None) -> Selector:
    """The selector that a LabelSelector means. None selects nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    labels = cast("dict[str, str]", selector.get("matchLabels") or {})
    requirements = [_requirement(key, "=", [value]) for key, value in labels.items()]
    for expression in cast("list[Object]", selector.get("matchExpressions") or []):
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise bad_request(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        requirements.append(_requirement(expression.get("key", ""), operator, expression.get("values") or []))
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def _check_key(key: str, path: str) -> None:
    problems = check_qualified(key)
    if problems:
        raise bad_request(f"{path}: Invalid value: {_quote(key)}: {'; '.join(problems)}")


def _requirement(key: str, operator: str, values: Collection[str]) -> Requirement:
    """Checked as Kubernetes does; ApiError 400 names all that is wrong."""
    wrong: list[str] = []
    problems = check_qualified(key)
    if problems:
        wrong.append(f"key: Invalid value: {_quote(key)}: {'; '.join(problems)}")
    ordered = tuple(sorted(set(values)))
    shown = "[]string{" + ", ".join(_quote(value) for value in ordered) + "}"
    match operator:
        case "in" | "notin":
            if not ordered:
                wrong.append(
                    f"values: Invalid value: {shown}: for 'in', 'notin' operators, values set can't be empty"
                )
        case "exists" | "!":
            if ordered:
                wrong.append(
                    f"values: Invalid value: {shown}: values set must be empty for exists and does not exist"
                )
        case "gt" | "lt":
            if len(ordered) != 1:
                wrong.append(
                    f"values: Invalid value: {shown}: for 'Gt', 'Lt' operators, exactly one value is required"
                )
            wrong += [
                f"values[{index}]: Invalid value: {_quote(value)}: "
                "for 'Gt', 'Lt' operators, the value must be an integer"
                for index, value in enumerate(ordered)
                if not re.fullmatch(r"[-+]?[0-9]+", value)
            ]
        case _:
            if len(ordered) != 1:
                wrong.append(
                    f"values: Invalid value: {shown}: exact-match compatibility requires one single value"
                )
    for index, value in enumerate(ordered):
        problems = check_label_value(value)
        if problems:
            wrong.append(f"values[{index}][{key}]: Invalid value: {_quote(value)}: {'; '.join(problems)}")
    if wrong:
        raise bad_request(wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")
    return Requirement(key, operator, ordered)


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()


class _Parser:
    """Kubernetes' own grammar, token by token. `in` and `notin` are names except after a key."""

    def __init__(self, text: str) -> None:
        self._tokens = _scan(text)
        self._at = 0

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            word = self._peek()
            if word == _END:
                return requirements
            if not (_is_name(word) or word == "!"):
                raise bad_request(f"found '{word}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._parse_requirement())
            except ApiError as error:
                raise bad_request(f"unable to parse requirement: {error.message}") from None
            word = self._next()
            if word == _END:
                return requirements
            if word != ",":
                raise bad_request(f"found '{word}', expected: ',' or 'end of string'")
            word = self._peek()
            if not (_is_name(word) or word == "!"):
                raise bad_request(f"found '{word}', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word

    def _parse_requirement(self) -> Requirement:
        key = self._next()
        absent = key == "!"
        if absent:
            key = self._next()
        if not _is_name(key):
            raise bad_request(f"found '{key}', expected: identifier")
        _check_key(key, "<nil>")
        if absent:
            return Requirement(key, "!")
        if self._peek() in (_END, ","):
            return Requirement(key, "exists")
        operator = _OPERATORS.get(self._next())
        if operator is None:
            self._at -= 1
            raise bad_request(f"found '{self._peek()}', expected: {', '.join(_BINARY)}")
        values = self._parse_values() if operator in ("in", "notin") else self._parse_value()
        return _requirement(key, operator, values)

    def _parse_value(self) -> list[str]:
        if self._peek() in (_END, ","):
            return [""]
        word = self._next()
        if not _is_name(word):
            raise bad_request(f"found '{word}', expected: identifier")
        return [word]

    def _parse_values(self) -> list[str]:
        word = self._next()
        if word != "(":
            raise bad_request(f"found '{word}' expected: '('")
        if self._peek() == ")":
            self._at += 1
            return []
        values: list[str] = []
        # An empty place, as in `(,a)` and `(a,)`, is the empty value.
        while True:
            word = self._peek()
            if _is_name(word):
                values.append(self._next())
            elif word in (",", ")"):
                values.append("")
            else:
                raise bad_request(f"found '{word}', expected: ',', ')' or identifier")
            word = self._next()
            if word == ")":
                return values
            if word != ",":
                raise bad_request(f"found '{word}', expected: ',' or ')'")


_OPERATORS = {
    "in": "in",
    "notin": "notin",
    "=": "=",
    "==": "==",
    "!=": "!=",
    ">": "gt",
    "<": "lt",
}


def _is_name(word: str) -> bool:
    return word != _END and word[0] not in _SYMBOLS


def _scan(text: str) -> list[str]:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in _SPACE:
            at += 1
        elif text[at] in _SYMBOLS:
            # The longest symbol, of at most two characters.
            size = 2 if text[at : at + 2] in _TOKENS else 1
            tokens.append(text[at : at + size])
            at += size
        else:
            end = at
            while end < len(text) and text[end] not in _SYMBOLS and text[end] not in _SPACE:
                end += 1
            tokens.append(text[at:end])
            at = end
    return tokens
