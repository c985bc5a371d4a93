"""Strategic merge patches: `kubectl patch`, `edit`, `set image` and client-side `apply` send them."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.errors import ApiError
from modelport.kube.patch import merge_patch, strategic_patch
from modelport.kube.resource import DEPLOYMENT, POD, SERVICE
from modelport.kube.schema import Schema, schema_of
from modelport.kube.value import same


def pod(**spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


def patched(item, spec):
    before = copy.deepcopy(item)
    changed = strategic_patch(item, {"spec": spec}, schema_of(POD))
    assert item == before
    return changed["spec"]


TWO = pod(
    containers=[
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "b:1", "args": ["one", "two"]},
    ],
    tolerations=[{"key": "dedicated", "operator": "Exists"}],
)


def test_image_of_one_container_changes():
    """`kubectl set image`: the other container and the environment stay."""
    spec = patched(TWO, {"containers": [{"name": "a", "image": "a:2"}]})
    assert spec["containers"][0] == TWO["spec"]["containers"][0] | {"image": "a:2"}
    assert spec["containers"][1] == TWO["spec"]["containers"][1]


def test_new_container_comes_first_as_in_kubernetes():
    """The documentation's own example (patch-demo) shows it before the old one."""
    spec = patched(TWO, {"containers": [{"name": "c", "image": "redis"}]})
    assert [container["name"] for container in spec["containers"]] == ["c", "a", "b"]


def test_list_without_merge_key_is_replaced():
    spec = patched(TWO, {"tolerations": [{"key": "disk", "operator": "Exists"}]})
    assert spec["tolerations"] == [{"key": "disk", "operator": "Exists"}]
    spec = patched(TWO, {"containers": [{"name": "b", "args": ["three"]}]})
    assert spec["containers"][1]["args"] == ["three"]


def test_nested_lists_merge_by_their_own_keys():
    spec = patched(TWO, {"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]})
    assert spec["containers"][0]["env"] == [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]


def test_item_is_deleted_by_its_key():
    spec = patched(TWO, {"containers": [{"$patch": "delete", "name": "a"}]})
    assert [container["name"] for container in spec["containers"]] == ["b"]
    spec = patched(TWO, {"containers": [{"$patch": "delete", "name": "absent"}]})
    assert spec == TWO["spec"]


def test_list_is_replaced_on_demand():
    spec = patched(TWO, {"containers": [{"$patch": "replace"}, {"name": "c", "image": "redis"}]})
    assert spec["containers"] == [{"name": "c", "image": "redis"}]


def test_map_is_replaced_or_emptied_on_demand():
    item = pod(nodeSelector={"disk": "ssd", "zone": "x"})
    assert patched(item, {"nodeSelector": {"$patch": "replace", "gpu": "yes"}})["nodeSelector"] == {
        "gpu": "yes"
    }
    assert patched(item, {"nodeSelector": {"$patch": "delete"}})["nodeSelector"] == {}
    assert patched(item, {"nodeSelector": {"$patch": "merge", "gpu": "yes"}})["nodeSelector"] == {
        "disk": "ssd",
        "zone": "x",
        "gpu": "yes",
    }
    assert patched(item, {"nodeSelector": {"zone": None}})["nodeSelector"] == {"disk": "ssd"}


def test_retained_keys_clear_what_excludes_them():
    """From RollingUpdate to Recreate: the old parameters would make the Deployment invalid."""
    item = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_patch(item, patch, schema_of(DEPLOYMENT))["spec"]["strategy"] == {"type": "Recreate"}
    volumes = pod(volumes=[{"name": "v", "emptyDir": {}}])
    patch = {"volumes": [{"name": "v", "configMap": {"name": "c"}, "$retainKeys": ["name", "configMap"]}]}
    assert patched(volumes, patch)["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]


def test_values_leave_a_primitive_list():
    """Finalizers are a set: two controllers take off theirs without knowing of each other."""
    item = {"metadata": {"finalizers": ["a/1", "b/2", "c/3"]}}
    gone = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/2", "z/9"]}}
    assert strategic_patch(item, gone, schema_of(POD))["metadata"]["finalizers"] == ["a/1", "c/3"]
    more = {"metadata": {"finalizers": ["d/4", "a/1"]}}
    assert strategic_patch(item, more, schema_of(POD))["metadata"]["finalizers"] == [
        "d/4",
        "a/1",
        "b/2",
        "c/3",
    ]


def test_order_is_the_patchs_with_others_about_where_they_were():
    item = pod(containers=[{"name": name, "image": "i"} for name in "abcd"])
    order = {"$setElementOrder/containers": [{"name": "d"}, {"name": "b"}]}
    assert [c["name"] for c in patched(item, order)["containers"]] == ["a", "c", "d", "b"]
    both = {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "e"}, {"name": "a"}],
        "containers": [{"name": "e", "image": "e"}, {"name": "a", "image": "j"}],
    }
    assert [c["name"] for c in patched(item, both)["containers"]] == ["b", "c", "e", "a", "d"]
    assert patched(item, both)["containers"][3] == {"name": "a", "image": "j"}


def test_ports_of_a_service_merge_by_port():
    item = {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}
    patch = {"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "targetPort": 8443}]}}
    assert strategic_patch(item, patch, schema_of(SERVICE))["spec"]["ports"] == [
        {"port": 80, "targetPort": 8080, "name": "http"},
        {"port": 443, "targetPort": 8443},
    ]


def test_what_is_new_comes_without_directives_and_nulls():
    patch = {
        "securityContext": {"$retainKeys": ["runAsUser"], "runAsUser": 1, "runAsGroup": None},
        "volumes": [{"name": "v", "emptyDir": {"medium": None}}, {"$patch": "delete", "name": "w"}],
        "nodeSelector": None,
    }
    assert patched(pod(), patch) == {
        "securityContext": {"runAsUser": 1},
        "volumes": [{"name": "v", "emptyDir": {}}],
    }


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"containers": [{"image": "x"}]},
            ".spec.containers[0]: map: {'image': 'x'} does not contain declared merge key",
        ),
        ({"containers": ["x", {"name": "a"}]}, ".spec.containers[0]: must be an object, got 'x'"),
        ({"nodeSelector": {"$patch": "spam"}}, ".spec.nodeSelector: unknown patch type found: 'spam'"),
        ({"containers": [{"name": "a", "$patch": "spam"}]}, "unknown patch type found: 'spam'"),
        (
            {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]},
            ".spec.$setElementOrder/containers: the order in patch list ['a'] doesn't match the order ['b']",
        ),
        ({"$setElementOrder/containers": "a"}, ".spec.$setElementOrder/containers: must be a list, got 'a'"),
        (
            {"$retainKeys": ["a"], "hostNetwork": True},
            ".spec.$retainKeys: must list every field that the patch sets, 'hostNetwork' is missing",
        ),
    ],
)
def test_senseless_patch_names_the_place(spec, words):
    item = pod(containers=[{"name": "a"}], nodeSelector={"a": "b"})
    with pytest.raises(ApiError) as caught:
        strategic_patch(item, {"spec": spec}, schema_of(POD))
    assert caught.value.code == 400
    assert words in caught.value.message


SCHEMA = Schema.of(
    {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "name",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
            "plain": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
)
ITEMS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd"), "value": st.integers(0, 3)}),
    unique_by=lambda item: item["name"],
    max_size=4,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "items": ITEMS,
        "plain": st.lists(st.sampled_from("xyz"), max_size=3),
        "map": st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2),
    },
)


@given(DOCUMENTS, DOCUMENTS)
def test_lists_with_a_key_merge_as_maps_would(document, patch):
    """The model: the list as a map by key, patched by RFC 7386. Patched again, nothing changes."""

    def as_map(item):
        return item | ({"items": {i["name"]: i for i in item["items"]}} if "items" in item else {})

    before = copy.deepcopy((document, patch))
    result = strategic_patch(document, patch, SCHEMA)
    assert same(as_map(result), merge_patch(as_map(document), as_map(patch)))
    assert (document, patch) == before
    assert strategic_patch(result, patch, SCHEMA) == result
    named = [item["name"] for item in patch.get("items", [])]
    kept = [item["name"] for item in document.get("items", []) if item["name"] not in named]
    order = [item["name"] for item in result.get("items", [])]
    assert [name for name in order if name in named] == named
    assert [name for name in order if name in kept] == kept


WORDS = st.sampled_from(
    [
        "spec",
        "containers",
        "name",
        "finalizers",
        "metadata",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "env",
        "nodeSelector",
        "volumes",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from(["a", "b", "replace", "delete", "merge"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, JSON), st.dictionaries(WORDS, JSON))
def test_any_patch_of_any_object_gets_an_answer(document, patch):
    """Whatever kubectl plugins send is an object or a bad request, never a crash."""
    before = copy.deepcopy((document, patch))
    try:
        result = strategic_patch(document, patch, schema_of(POD))
        code = 200 if isinstance(result, dict) else 500
    except ApiError as error:
        code = error.code
    assert code in (200, 400)
    assert same(list(before), [document, patch])
