"""Checks a value against a schema, in the words of a Kubernetes API server. Every problem is named, not the first."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, cast

import msgspec

from modelport.kube.errors import (
    Cause,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
    wrong_type,
)
from modelport.kube.resource import Object
from modelport.kube.schema.format import FORMATS, INTEGER_RANGES
from modelport.kube.schema.view import Schema


def validate(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """What is wrong with the value, with paths below `path`. Unknown fields are `prune`'s affair."""
    causes: list[Cause] = []
    _check(schema, value, path, native=schema.native, causes=causes)
    return causes


_TYPE_NAMES: dict[type, str] = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    dict: "object",
    list: "array",
    type(None): "null",
}


def _check(schema: Schema, value: Any, path: str, *, native: bool, causes: list[Cause]) -> None:
    native = native or schema.native
    if value is None:
        if not (schema.nullable or native or schema.open):
            causes.append(_misfit(schema, value, path))
        return
    if schema.int_or_string:
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            causes.append(_type_cause(path, "integer,string", value))
            return
    elif schema.type and not _fits(schema.type, value, native):
        causes.append(_misfit(schema, value, path))
        return
    if isinstance(value, dict):
        _check_map(schema, cast("Object", value), path, native, causes)
    elif isinstance(value, list):
        _check_list(schema, cast("list[Any]", value), path, native, causes)
    elif isinstance(value, str):
        _check_text(schema, value, path, causes)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(schema, value, path, causes)
    if schema.enum is not None and value not in schema.enum:
        causes.append(not_supported(path, value, schema.enum))
    if schema.any_of or schema.one_of or schema.all_of or schema.none_of:
        _check_combined(schema, value, path, native, causes)


def _fits(wanted: str, value: Any, native: bool) -> bool:
    match wanted:
        case "string":
            return isinstance(value, str)
        case "integer":
            # JSON has one kind of number: 1.0 is an integer to a custom resource, not to a Go type.
            whole = isinstance(value, float) and value.is_integer() and not native
            return whole or (isinstance(value, int) and not isinstance(value, bool))
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            return True


def _misfit(schema: Schema, value: Any, path: str) -> Cause:
    return _type_cause(path, schema.type, value)


def _type_cause(path: str, wanted: str, value: Any) -> Cause:
    got = next((name for kind, name in _TYPE_NAMES.items() if isinstance(value, kind)), "unknown")
    return wrong_type(path, got, f'{path} in body must be of type {wanted}: "{got}"')


def _check_map(schema: Schema, value: Object, path: str, native: bool, causes: list[Cause]) -> None:
    causes += [
        required(f"{path}.{name}" if path else name)
        for name in schema.required
        if name not in value or (native and value[name] is None)
    ]
    size = len(value)
    if schema.max_properties is not None and size > schema.max_properties:
        causes.append(too_many(path, size, schema.max_properties))
    if schema.min_properties is not None and size < schema.min_properties:
        causes.append(
            invalid_value(
                path, value, f"{path} in body should have at least {schema.min_properties} properties"
            )
        )
    for name, child in value.items():
        field = schema.field(name)
        if field is not None and not (field.preserve and not field.type):
            _check(field, child, f"{path}.{name}" if path else name, native=native, causes=causes)


def _check_list(schema: Schema, value: list[Any], path: str, native: bool, causes: list[Cause]) -> None:
    size = len(value)
    if schema.max_items is not None and size > schema.max_items:
        causes.append(too_many(path, size, schema.max_items))
    if schema.min_items is not None and size < schema.min_items:
        causes.append(
            invalid_value(path, value, f"{path} in body should have at least {schema.min_items} items")
        )
    item_schema = schema.items
    for index, item in enumerate(value):
        _check(item_schema, item, f"{path}[{index}]", native=native, causes=causes)
    if schema.unique_items and len({_identity(item) for item in value}) < size:
        causes.append(invalid_value(path, value, f"{path} in body shouldn't contain duplicates"))
    if schema.list_type in ("set", "map") and not native:
        # Kubernetes' own lists are checked by their kinds: some allow a key twice.
        seen: set[bytes] = set()
        for index, item in enumerate(value):
            key: Any = item
            if schema.list_type == "map":
                if not isinstance(item, dict):
                    continue
                entry = cast("Object", item)
                key = {word: entry[word] for word in schema.list_keys if word in entry}
            identity = _identity(key)
            if identity in seen:
                causes.append(duplicate(f"{path}[{index}]", key))
            seen.add(identity)


def _identity(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _check_text(schema: Schema, value: str, path: str, causes: list[Cause]) -> None:
    if schema.max_length is not None and len(value) > schema.max_length:
        # No further: a pattern may take its time over a text that is far too long.
        causes.append(too_long(path, schema.max_length))
        return
    if schema.min_length is not None and len(value) < schema.min_length:
        causes.append(
            invalid_value(path, value, f"{path} in body should be at least {schema.min_length} chars long")
        )
    if schema.pattern and not _matches(schema.pattern, value):
        causes.append(invalid_value(path, value, f"{path} in body should match '{schema.pattern}'"))
    check = FORMATS.get(schema.format) if schema.format else None
    if check is not None and not check(value):
        causes.append(wrong_type(path, value, f'{path} in body must be of type {schema.format}: "{value}"'))


@lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    # Kubernetes has Go's RE2. Python knows its syntax but for \z and classes such as [[:alpha:]], left unchecked.
    if "[[:" in pattern:
        return None
    try:
        return re.compile(pattern.replace(r"\z", r"\Z"), re.ASCII)
    except re.error:
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.search(value) is not None


def _check_number(schema: Schema, value: float, path: str, causes: list[Cause]) -> None:
    bounds = INTEGER_RANGES.get(schema.format) if schema.type == "integer" else None
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        causes.append(
            invalid_value(
                path, value, f"Checked value must be of type integer with format {schema.format} in {path}"
            )
        )
    low, high = schema.minimum, schema.maximum
    if high is not None and (value >= high if schema.exclusive_maximum else value > high):
        than = "less than" if schema.exclusive_maximum else "less than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {than} {_number(high)}"))
    if low is not None and (value <= low if schema.exclusive_minimum else value < low):
        than = "greater than" if schema.exclusive_minimum else "greater than or equal to"
        causes.append(invalid_value(path, value, f"{path} in body should be {than} {_number(low)}"))
    step = schema.multiple_of
    if step and not (value / step).is_integer():
        causes.append(invalid_value(path, value, f"{path} in body should be a multiple of {_number(step)}"))


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _check_combined(schema: Schema, value: Any, path: str, native: bool, causes: list[Cause]) -> None:
    def fits(part: Schema) -> bool:
        found: list[Cause] = []
        _check(part, value, path, native=native, causes=found)
        return not found

    words = ""
    for part in schema.all_of:
        _check(part, value, path, native=native, causes=causes)
    if schema.any_of and not any(fits(part) for part in schema.any_of):
        words = "must validate at least one schema (anyOf)"
    elif schema.one_of:
        count = sum(fits(part) for part in schema.one_of)
        if count != 1:
            found = "Found none valid" if count == 0 else f"Found {count} valid alternatives"
            words = f"must validate one and only one schema (oneOf). {found}"
    if words:
        causes.append(invalid_value(path, value, f'"{path}" {words}'))
    if schema.none_of is not None and fits(schema.none_of):
        causes.append(invalid_value(path, value, f'"{path}" must not validate the schema (not)'))
