"""Values seen through their schema: which fields they set, how two of them differ, how one is merged into another.

A map is granular unless `x-kubernetes-map-type: atomic`; a list is atomic unless it is a `set` or a `map` by keys.
Where the schema says nothing, maps are granular and lists atomic. Values are shared, never changed in place.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from modelport.kube.errors import bad_request
from modelport.kube.fieldset import LEAF, SELF, FieldSet, is_member, union
from modelport.kube.resource import Object
from modelport.kube.schema.view import UNTYPED, Schema
from modelport.kube.value import same

_encode = msgspec.json.encode
_ABSENT = object()


class Difference(msgspec.Struct):
    """How a new value differs from an old one. No field is in more than one of the sets."""

    removed: FieldSet
    modified: FieldSet
    added: FieldSet

    @property
    def changed(self) -> FieldSet:
        """What is added or modified."""
        return union(self.modified, self.added)

    def __bool__(self) -> bool:
        return bool(self.removed or self.modified or self.added)


def fields_of(schema: Schema, value: Object, *, stored: bool = False) -> FieldSet:
    """The fields that the value sets: its leaves, items and map entries, but no fixed name with something below.

    ApiError 400 names a field that the schema lacks, a list item without its keys, or two with the same. What is
    `stored` already is taken as it is: it may be from before the schema, and items with the same keys are one field.
    """
    return _fields_of(schema, value, "", stored) or {}


def _fields_of(schema: Schema, value: Any, path: str, stored: bool) -> FieldSet | None:
    if isinstance(value, dict):
        if schema.map_type == "atomic":
            return LEAF
        found: FieldSet = {}
        for name, child in cast("Object", value).items():
            field = schema.field(name) or (UNTYPED if stored else None)
            if field is None:
                raise bad_request(f"{path}.{name}: field not declared in schema")
            node = _fields_of(field, child, f"{path}.{name}", stored)
            if node is None:
                # Nothing below: an empty map counts, an empty list of a fixed name does not.
                if child is None or isinstance(child, dict) or name not in schema.properties:
                    found[f"f:{name}"] = LEAF
            elif node and name not in schema.properties:
                found[f"f:{name}"] = {SELF: LEAF, **node}
            else:
                found[f"f:{name}"] = node
        return found or None
    if isinstance(value, list):
        if schema.list_type not in ("map", "set"):
            return LEAF
        found = {}
        for element, item in elements(schema, cast("list[Any]", value), path, stored):
            if element in found:
                if not stored:
                    raise bad_request(f"{path}: duplicate entries for key {element[2:]}")
                found[element] = LEAF
                continue
            node = _fields_of(schema.items, item, f"{path}[{element[2:]}]", stored)
            found[element] = {SELF: LEAF, **node} if node else LEAF
        return found or None
    return LEAF


def elements(schema: Schema, items: list[Any], path: str = "", stored: bool = True) -> list[tuple[str, Any]]:
    """The items of a set or a map-like list with their path elements. A key's default counts where it is absent.

    What is stored without keys goes by its index; in what is applied that is ApiError 400.
    """
    if schema.list_type == "set":
        return [(f"v:{_encode(item, order='sorted').decode()}", item) for item in items]
    keys, item_schema = sorted(schema.list_keys), schema.items
    found: list[tuple[str, Any]] = []
    for index, listed in enumerate(items):
        named: Object = {}
        is_map = isinstance(listed, dict)
        entry = cast("Object", listed) if is_map else {}
        for key in keys if is_map else ():
            known = item_schema.properties.get(key)
            if key in entry:
                named[key] = entry[key]
            elif known is not None and known.default is not msgspec.UNSET:
                named[key] = known.default
        if named:
            found.append((f"k:{_encode(named).decode()}", items[index]))
        elif stored:
            found.append((f"i:{index}", items[index]))
        else:
            problem = (
                "may not have non-map elements"
                if not is_map
                else f"has an element that omits all key fields {keys!r} "
                "(and doesn't have default values for any key fields)"
            )
            raise bad_request(f"{path}: element {index}: associative list with keys {problem}")
    return found


def compare(schema: Schema, old: Object, new: Object) -> Difference:
    """What a change from `old` to `new` removes, modifies and adds, with everything on the way to what is new."""
    removed, modified, added = _compare(schema, old, new)
    return Difference(removed or {}, modified or {}, added or {})


_Three = tuple[FieldSet | None, FieldSet | None, FieldSet | None]
_NOTHING: _Three = (None, None, None)


def _compare(schema: Schema, old: Any, new: Any) -> _Three:
    if old is new:
        return _NOTHING
    if old is _ABSENT:
        return None, None, _everything(schema, new)
    if new is _ABSENT:
        return _everything(schema, old), None, None
    # Null is an empty map or list to what is granular.
    if schema.map_type != "atomic" and _are_maps(old, new):
        return _compare_maps(schema, cast("Object", old or {}), cast("Object", new or {}))
    if schema.list_type in ("map", "set") and _are_lists(old, new):
        return _compare_lists(schema, cast("list[Any]", old or []), cast("list[Any]", new or []))
    if same(old, new):
        return _NOTHING
    # Of another type now, perhaps: what was below it is gone, what is below it now is new.
    return _below(schema, old), LEAF, _below(schema, new)


def _below(schema: Schema, value: Any) -> FieldSet | None:
    return {name: node for name, node in _everything(schema, value).items() if name != SELF} or None


def _are_maps(old: Any, new: Any) -> bool:
    """Whether both are maps or null and something is in them: an empty map is a leaf, and so differs from null."""
    return bool(old or new) and all(value is None or isinstance(value, dict) for value in (old, new))


def _are_lists(old: Any, new: Any) -> bool:
    return bool(old or new) and all(value is None or isinstance(value, list) for value in (old, new))


def _compare_maps(schema: Schema, old: Object, new: Object) -> _Three:
    removed: FieldSet = {}
    modified: FieldSet = {}
    added: FieldSet = {}
    for name, after in new.items():
        before = old.get(name, _ABSENT)
        if before is not after:
            _note(f"f:{name}", _compare(_field(schema, name), before, after), removed, modified, added)
    for name, before in old.items():
        if name not in new:
            removed[f"f:{name}"] = _everything(_field(schema, name), before)
    return removed or None, modified or None, added or None


def _compare_lists(schema: Schema, old: list[Any], new: list[Any]) -> _Three:
    removed: FieldSet = {}
    modified: FieldSet = {}
    added: FieldSet = {}
    befores, afters = _grouped(schema, old), _grouped(schema, new)
    for element in befores | afters:
        before, after = befores.get(element, []), afters.get(element, [])
        if len(before) <= 1 and len(after) <= 1:
            three = _compare(schema.items, *(group[0] if group else _ABSENT for group in (before, after)))
        elif len(before) > 1 and len(after) > 1:
            three = _NOTHING if same(before, after) else (None, LEAF, None)
        elif len(before) > 1:
            # Items that share a key are one field; now there is at most one.
            three = (LEAF, None, _everything(schema.items, after[0]) if after else None)
        else:
            three = (_everything(schema.items, before[0]) if before else None, None, LEAF)
        _note(element, three, removed, modified, added)
    return removed or None, modified or None, added or None


def _grouped(schema: Schema, items: list[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for element, item in elements(schema, items):
        groups.setdefault(element, []).append(item)
    return groups


def _note(element: str, three: _Three, removed: FieldSet, modified: FieldSet, added: FieldSet) -> None:
    for part, into in zip(three, (removed, modified, added), strict=True):
        if part is not None:
            into[element] = part


def _everything(schema: Schema, value: Any) -> FieldSet:
    """A node with the value and all that is in it, fixed names included."""
    if isinstance(value, dict) and value and schema.map_type != "atomic":
        entries = cast("Object", value).items()
        return {SELF: LEAF} | {f"f:{k}": _everything(_field(schema, k), v) for k, v in entries}
    if isinstance(value, list) and value and schema.list_type in ("map", "set"):
        groups = _grouped(schema, cast("list[Any]", value))
        return {SELF: LEAF} | {
            element: _everything(schema.items, group[0]) if len(group) == 1 else LEAF
            for element, group in groups.items()
        }
    return LEAF


def _field(schema: Schema, name: str) -> Schema:
    """Of a stored field: what the schema does not know (any more) is taken as it is."""
    return schema.field(name) or UNTYPED


def merge(schema: Schema, live: Any, config: Any) -> Any:
    """`live` with what `config` sets. `live` itself where that changes nothing."""
    if live and (config is None or type(config) is type(live)):
        if isinstance(live, dict) and schema.map_type != "atomic":
            return _merge_maps(schema, cast("Object", live), cast("Object", config or {}))
        if isinstance(live, list) and schema.list_type in ("map", "set"):
            return _merge_lists(schema, cast("list[Any]", live), cast("list[Any]", config or []))
    return cast("object", live if same(live, config) else config)


def _merge_maps(schema: Schema, live: Object, config: Object) -> Object:
    merged: Object | None = None
    for name, value in config.items():
        old = live.get(name, _ABSENT)
        new = value if old is _ABSENT else merge(_field(schema, name), old, value)
        if new is not old:
            merged = merged if merged is not None else dict(live)
            merged[name] = new
    return merged if merged is not None else live


def _merge_lists(schema: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Live items keep their order, applied ones theirs; where they differ, the applied one's counts."""
    lefts, rights = elements(schema, live), elements(schema, config)
    theirs: dict[str, Any] = {}
    for element, item in lefts:
        # Items that share a key are not merged with the applied one, which takes their place.
        theirs[element] = _ABSENT if element in theirs else item
    ours = dict(rights)
    shared = [element for element, _ in rights if element in theirs]
    merged: list[Any] = []
    done: set[str] = set()

    def take(element: str) -> None:
        old = theirs.get(element, _ABSENT)
        merged.append(ours[element] if old is _ABSENT else merge(schema.items, old, ours[element]))
        done.add(element)
        if shared and shared[0] == element:
            del shared[0]

    left = 0
    for element, _ in rights:
        while left < len(lefts):
            name, item = lefts[left]
            if name == element:
                left += 1
                break
            if name not in ours:
                merged.append(item)
                left += 1
            elif shared and shared[0] != name:
                # Taken already, or its turn by the applied order comes later.
                left += 1
            else:
                left += name in done
                break
        take(element)
    merged += [item for name, item in lefts[left:] if name not in ours]
    unchanged = len(merged) == len(live) and all(new is old for new, old in zip(merged, live, strict=True))
    return live if unchanged else merged


def remove(schema: Schema, value: Any, gone: FieldSet) -> Any:
    """The value without the members of `gone` (children of a root or node); None where nothing is left of it."""
    if isinstance(value, dict):
        if schema.map_type == "atomic":
            return cast("Object", value)
        kept: Object = {}
        for name, child in cast("Object", value).items():
            node = gone.get(f"f:{name}")
            if node is None:
                kept[name] = child
            elif not is_member(node):
                rest = remove(_field(schema, name), child, node)
                if rest is not None:
                    kept[name] = rest
        return kept or None
    if isinstance(value, list):
        if schema.list_type not in ("map", "set"):
            return cast("list[Any]", value)
        items: list[Any] = []
        for element, item in elements(schema, cast("list[Any]", value)):
            node = gone.get(element)
            if node is None:
                items.append(item)
            elif not is_member(node):
                rest = remove(schema.items, item, node)
                if rest is not None:
                    items.append(rest)
        return items or None
    return value
