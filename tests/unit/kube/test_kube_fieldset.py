"""Sets of fields: server-side apply stands on their arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.fieldset import (
    SELF,
    difference,
    fitted,
    intersection,
    is_well_formed,
    members,
    union,
    with_named,
)
from modelport.kube.schema import Schema

ELEMENTS = ["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "i:0"]
PATHS = st.sets(st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=3).map(tuple), max_size=6)


def tree(paths):
    """The set of these paths, member by member."""
    root = {}
    for path in sorted(paths, key=len, reverse=True):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        if node:
            node[SELF] = {}
    return root


def paths(fields, prefix=()):
    found = set()
    for element, child in fields.items():
        if element != SELF:
            if not child or SELF in child:
                found.add((*prefix, element))
            found |= paths(child, (*prefix, element))
    return found


@given(PATHS, PATHS)
def test_sets_of_fields_are_sets(left, right):
    """Union, intersection and difference are those of Python's sets of paths, a parent apart from its children."""
    assert paths(tree(left)) == left
    assert paths(union(tree(left), tree(right))) == left | right
    assert paths(intersection(tree(left), tree(right))) == left & right
    assert paths(difference(tree(left), tree(right))) == left - right
    assert union(tree(left), tree(right)) == union(tree(right), tree(left))


@given(PATHS, PATHS, PATHS)
def test_laws_of_sets_hold(a, b, c):
    a, b, c = tree(a), tree(b), tree(c)
    assert union(a, union(b, c)) == union(union(a, b), c)
    assert difference(a, union(b, c)) == difference(difference(a, b), c)
    assert intersection(a, union(b, c)) == union(intersection(a, b), intersection(a, c))
    assert union(difference(a, b), intersection(a, b)) == a
    assert not difference(a, a)
    assert union(a, a) == a


@given(PATHS, PATHS)
def test_arithmetic_leaves_its_operands_alone(left, right):
    """The stored objects share these sets."""
    one, other = tree(left), tree(right)
    for operation in (union, intersection, difference):
        operation(one, other)
    assert one == tree(left)
    assert other == tree(right)


@given(PATHS)
def test_made_sets_are_well_formed(left):
    assert is_well_formed(tree(left))
    assert len(list(members(tree(left)))) == len(left)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {"a": {}},
        {"f:a": []},
        {"f:a": {".": {"f:b": {}}}},
        {"k:x": {}},
        {"k:[]": {}},
        {"v:": {}},
        {"z:a": {}},
    ],
)
def test_broken_sets_are_recognized(broken):
    """Clients may send any managedFields; they must not break the next apply."""
    assert not is_well_formed(broken)


def test_paths_print_as_in_kubernetes():
    fields = tree(
        [
            ("f:spec", "f:replicas"),
            ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:name"),
            ("f:metadata", "f:finalizers", 'v:"a/b"'),
            ("f:list", "i:3"),
        ]
    )
    assert set(members(fields)) == {
        ".spec.replicas",
        '.spec.ports[port=80,protocol="TCP"].name',
        '.metadata.finalizers[="a/b"]',
        ".list[3]",
    }


SCHEMA = Schema.of(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "selector": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "properties": {"a": {"type": "string"}},
                    },
                    "args": {"type": "array", "items": {"type": "string"}},
                    "ports": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port"],
                        "items": {"type": "object", "properties": {"port": {"type": "integer"}}},
                    },
                },
            }
        },
    }
)


def test_fixed_names_on_the_way_are_named():
    fields = tree([("f:spec", "f:labels", "f:app"), ("f:spec", "f:ports", 'k:{"port":1}', "f:port")])
    named = paths(with_named(fields, SCHEMA)) - paths(fields)
    assert named == {("f:spec",), ("f:spec", "f:labels"), ("f:spec", "f:ports")}


def test_field_that_became_atomic_is_owned_whole():
    """After an upgrade whose schema says `atomic`, owners of a part own the whole and conflicts are still found."""
    fields = tree(
        [("f:spec", "f:selector", "f:a"), ("f:spec", "f:args", 'v:"x"'), ("f:spec", "f:labels", "f:app")]
    )
    assert paths(fitted(fields, SCHEMA)) == {
        ("f:spec", "f:selector"),
        ("f:spec", "f:args"),
        ("f:spec", "f:labels", "f:app"),
    }
    same = tree([("f:spec", "f:labels", "f:app")])
    assert fitted(same, SCHEMA) is same
