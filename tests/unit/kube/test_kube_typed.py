"""Values seen through their schema: which fields they set, how they differ, how they merge."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.errors import ApiError
from modelport.kube.fieldset import members
from modelport.kube.resource import DEPLOYMENT, SERVICE
from modelport.kube.schema import UNTYPED, Schema, schema_of
from modelport.kube.typed import compare, fields_of, merge, remove
from modelport.kube.value import same

ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "proto": {"type": "string", "default": "TCP"},
        "value": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
SCHEMA = Schema.of(
    {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name", "proto"],
                "items": ITEM,
            },
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "plain": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "whole": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "additionalProperties": {"type": "string"},
            },
            "open": {"x-kubernetes-preserve-unknown-fields": True},
            "scalar": {"type": "integer"},
        },
    }
)


def fields(value):
    return set(members(fields_of(SCHEMA, value)))


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"scalar": 1}, {".scalar"}),
        ({"scalar": None}, {".scalar"}),
        ({"map": {"a": "x"}}, {".map.a"}),
        ({"map": {}}, {".map"}),
        ({"set": []}, set()),
        ({"set": ["x", "y"]}, {'.set[="x"]', '.set[="y"]'}),
        ({"plain": ["x"]}, {".plain"}),
        ({"whole": {"a": "x"}}, {".whole"}),
        ({"open": {"a": {"b": [1]}}}, {".open.a", ".open.a.b"}),
        (
            {"items": [{"name": "a", "value": 1}]},
            {f'.items[name="a",proto="TCP"]{field}' for field in ("", ".name", ".value")},
        ),
        (
            {"items": [{"name": "a", "proto": "UDP"}]},
            {f'.items[name="a",proto="UDP"]{field}' for field in ("", ".name", ".proto")},
        ),
    ],
)
def test_fields_of_a_value(value, paths):
    assert fields(value) == paths


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"spam": 1}, ".spam: field not declared in schema"),
        ({"items": [{"name": "a", "spam": 1}]}, "spam: field not declared in schema"),
        ({"items": [{"name": "a"}, {"name": "a", "proto": "TCP"}]}, ".items: duplicate entries for key"),
        ({"set": ["x", "x"]}, '.set: duplicate entries for key "x"'),
        ({"items": ["x"]}, ".items: element 0: associative list with keys may not have non-map elements"),
    ],
)
def test_what_cannot_be_applied_is_told(value, words):
    with pytest.raises(ApiError) as caught:
        fields(value)
    assert caught.value.code == 400
    assert words in caught.value.message


def test_item_without_any_key_is_told():
    schema = schema_of(DEPLOYMENT)
    item = {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}
    with pytest.raises(ApiError, match="omits all key fields"):
        fields_of(schema, item)


def test_port_without_protocol_is_the_tcp_port():
    """Kubernetes' schemas say TCP is the default: a second applier that says so means the same port."""
    schema = schema_of(SERVICE)
    live = {"spec": {"ports": [{"port": 80, "targetPort": 1}]}}
    assert merge(schema, live, {"spec": {"ports": [{"port": 80, "protocol": "TCP", "name": "http"}]}}) == {
        "spec": {"ports": [{"port": 80, "targetPort": 1, "protocol": "TCP", "name": "http"}]}
    }
    both = merge(schema, live, {"spec": {"ports": [{"port": 80, "protocol": "UDP"}]}})
    assert len(both["spec"]["ports"]) == 2


@pytest.mark.parametrize(
    ("live", "config", "merged"),
    [
        ({"scalar": 1}, {"scalar": 2}, {"scalar": 2}),
        ({"scalar": 1}, {"scalar": None}, {"scalar": None}),
        ({"map": {"a": "x"}}, {"map": {"b": "y"}}, {"map": {"a": "x", "b": "y"}}),
        ({"map": {"a": "x"}}, {"map": {}}, {"map": {"a": "x"}}),
        ({"map": {"a": "x"}}, {"map": None}, {"map": {"a": "x"}}),
        ({"map": None}, {"map": {}}, {"map": {}}),
        ({"whole": {"a": "x"}}, {"whole": {"b": "y"}}, {"whole": {"b": "y"}}),
        ({"plain": ["a"]}, {"plain": ["b"]}, {"plain": ["b"]}),
        ({"plain": ["a"]}, {"plain": []}, {"plain": []}),
        ({"set": ["a", "b"]}, {"set": ["c"]}, {"set": ["a", "b", "c"]}),
        ({"set": ["a", "b", "c"]}, {"set": ["c", "a"]}, {"set": ["b", "c", "a"]}),
        ({"set": ["b"]}, {"set": ["a", "b", "c"]}, {"set": ["a", "b", "c"]}),
        ({"open": {"a": [1]}}, {"open": {"a": [2], "b": 1}}, {"open": {"a": [2], "b": 1}}),
        ({"open": {"a": 1}}, {"open": [1]}, {"open": [1]}),
        ({"open": {"a": 1}}, {"open": {"a": True}}, {"open": {"a": True}}),
        (
            {"items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]},
            {"items": [{"name": "b", "value": 3}, {"name": "c"}]},
            {"items": [{"name": "a", "value": 1}, {"name": "b", "value": 3}, {"name": "c"}]},
        ),
    ],
)
def test_merging(live, config, merged):
    before = copy.deepcopy((live, config))
    assert same(merge(SCHEMA, live, config), merged)
    assert same([live, config], list(before))


NAMES = st.sampled_from("abcd")
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "items": st.lists(
            st.fixed_dictionaries(
                {"name": NAMES}, optional={"value": st.integers(0, 2), "tags": st.lists(NAMES)}
            ),
            max_size=4,
            unique_by=lambda item: item["name"],
        ),
        "set": st.lists(NAMES, max_size=4, unique=True),
        "plain": st.lists(NAMES, max_size=2),
        "map": st.dictionaries(NAMES, NAMES, max_size=3),
        "whole": st.dictionaries(NAMES, NAMES, max_size=2),
        "open": st.recursive(
            st.none() | st.booleans() | st.integers(0, 1),
            lambda inner: st.dictionaries(NAMES, inner, max_size=2) | st.lists(inner, max_size=2),
            max_leaves=4,
        ),
        "scalar": st.integers(0, 2),
    },
)


@given(VALUES, VALUES)
def test_merge_sets_what_is_applied_and_keeps_the_rest(live, config):
    merged = merge(SCHEMA, live, config)
    assert same(merge(SCHEMA, merged, config), merged)
    if live:
        again = copy.deepcopy(merged)
        assert merge(SCHEMA, merged, again) is merged
    set_by_config = fields(config)
    change = compare(SCHEMA, live, merged)
    # What an apply changes, it sets, but for the fixed names on the way and what a map turned into a leaf loses.
    assert set(members(change.modified)) <= set_by_config | {".open"}
    gone = set(members(change.removed))
    assert all(path.startswith(".open.") for path in gone)
    assert merged.get("map", {}) == live.get("map", {}) | config.get("map", {})
    assert set(merged.get("set", [])) == set(live.get("set", [])) | set(config.get("set", []))
    order = [item["name"] for item in merged.get("items", [])]
    applied = [item["name"] for item in config.get("items", [])]
    assert [name for name in order if name in applied] == applied
    others = [item["name"] for item in live.get("items", []) if item["name"] not in applied]
    assert [name for name in order if name not in applied] == others


@given(VALUES, VALUES)
def test_difference_is_empty_only_for_equal_values(old, new):
    change = compare(SCHEMA, old, new)
    normal = [
        {k: sorted(v, key=str) if k in ("set", "items") else v for k, v in value.items()}
        for value in (old, new)
    ]
    assert bool(change) is not same(*normal)
    back = compare(SCHEMA, new, old)
    assert change.added == back.removed
    assert change.removed == back.added
    assert change.modified == back.modified


@given(VALUES)
def test_removing_all_fields_leaves_nothing_but_what_holds_none(value):
    gone = remove(SCHEMA, value, fields_of(SCHEMA, value))
    assert fields_of(SCHEMA, gone or {}) == {}


def test_doubled_items_count_as_one_field():
    """Lists written before a check existed may have a key twice; nothing must break on them."""
    doubled = {"items": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]}
    single = {"items": [{"name": "a", "value": 1}]}
    path = '.items[name="a",proto="TCP"]'
    change = compare(SCHEMA, doubled, single)
    assert set(members(change.removed)) == {path}
    assert path in set(members(compare(SCHEMA, single, doubled).added))
    assert not compare(SCHEMA, doubled, copy.deepcopy(doubled))
    other = {"items": [{"name": "a", "value": 1}, {"name": "a", "value": 3}]}
    assert set(members(compare(SCHEMA, doubled, other).modified)) == {path}
    assert merge(SCHEMA, doubled, {"items": [{"name": "a", "value": 9}]}) == {
        "items": [{"name": "a", "value": 9}]
    }


@given(
    st.recursive(st.none() | st.booleans() | st.integers(), lambda i: st.dictionaries(NAMES, i) | st.lists(i))
)
def test_anything_at_all_has_fields_without_a_schema(value):
    item = {"a": value}
    assert same(merge(UNTYPED, {"a": 1}, item)["a"], value) or value == 1
    assert not compare(UNTYPED, item, copy.deepcopy(item))
