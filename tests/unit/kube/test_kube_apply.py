"""Server-side apply: `kubectl apply --server-side`, and every loop of ours, must share objects without harm.

The long histories at the end are judged by a plain model: a dict of fields and a set of owners a field.
"""

import copy
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.apply import LAST_APPLIED, apply, update_fields
from modelport.kube.errors import ApiError
from modelport.kube.fieldset import members
from modelport.kube.managed import managers_of
from modelport.kube.resource import DEPLOYMENT, POD
from modelport.kube.schema import UNTYPED, Schema, custom, fill_defaults, schema_of

THEN, NOW, LATER = (datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 3))
SCHEMA = schema_of(DEPLOYMENT)


def deployment(replicas=1, image="i:1", **more):
    spec = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "web", "image": image}]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    meta = {"name": "web", "namespace": "default"} | more
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def applied(live, config, manager="modelport", force=False, now=NOW, **how):
    before = copy.deepcopy((live, config))
    result = apply(SCHEMA, live, config, manager, force, now, **how)
    assert (live, config) == before
    return result


def updated(live, new, manager="kubectl-edit", now=NOW, **how):
    return update_fields(SCHEMA, live, new, manager, "Update", now, **how)


def owners(item):
    return {
        f"{manager.name}/{manager.operation}": set(members(entry.fields))
        for manager, entry in managers_of(item).items()
    }


def refused(live, config, manager="other", **how):
    with pytest.raises(ApiError) as caught:
        applied(live, config, manager, **how)
    return caught.value


def test_applier_owns_what_it_applies_as_kubernetes_stores_it():
    live = applied(None, deployment(labels={"app": "web"}), now=THEN)
    assert live["metadata"]["managedFields"] == [
        {
            "manager": "modelport",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": "2025-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:template": {
                        "f:spec": {
                            "f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}
                        }
                    },
                },
            },
        }
    ]


def test_applying_the_same_again_returns_the_very_object():
    """Loops apply on every look; only changes may reach the store and its watchers."""
    live = fill_defaults(SCHEMA, applied(None, deployment(), now=THEN))
    assert applied(live, deployment(), now=NOW) is live


def test_field_no_longer_applied_goes():
    live = applied(None, deployment(labels={"app": "web", "tier": "front"}))
    after = applied(live, deployment(labels={"app": "web"}))
    assert after["metadata"]["labels"] == {"app": "web"}
    assert "labels" not in applied(after, deployment())["metadata"]


def test_container_no_longer_applied_goes_whole():
    """Also what somebody else had set in it."""
    both = deployment()
    both["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "s:1"})
    live = applied(None, both)
    changed = copy.deepcopy(live)
    changed["spec"]["template"]["spec"]["containers"][1]["image"] = "s:2"
    live = updated(live, changed)
    after = applied(live, deployment())
    assert [c["name"] for c in after["spec"]["template"]["spec"]["containers"]] == ["web"]
    assert set(owners(after)) == {"modelport/Apply"}


def test_field_that_others_set_stays():
    """An autoscaler's replicas survive the next apply of a manifest that leaves them out."""
    live = applied(None, deployment(replicas=None))
    scaled = updated(live, deployment(replicas=5) | {"metadata": live["metadata"]}, "autoscaler")
    after = applied(scaled, deployment(replicas=None, image="i:2"))
    assert after["spec"]["replicas"] == 5
    assert owners(after)["autoscaler/Update"] == {".spec.replicas"}


def test_conflict_is_told_in_kubernetes_words():
    live = applied(None, deployment(replicas=None))
    live = updated(live, deployment(replicas=5) | {"metadata": live["metadata"]}, "kubectl-edit")
    error = refused(live, deployment(replicas=3), "modelport")
    assert (error.code, error.reason) == (409, "Conflict")
    assert (
        error.message
        == 'Apply failed with 1 conflict: conflict with "kubectl-edit" using apps/v1: .spec.replicas'
    )
    assert error.to_status()["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_conflicts_are_listed_by_manager():
    live = applied(applied(None, deployment(replicas=None), "a"), deployment(image="i:1"), "b")
    live = updated(live, live | {"status": {"replicas": 1}}, "c", subresource="status")
    error = refused(live, deployment(replicas=2, image="i:2") | {"status": {"replicas": 2}}, "d")
    container = '.spec.template.spec.containers[name="web"].image'
    assert error.message == (
        "Apply failed with 4 conflicts: "
        f'conflicts with "a":\n- {container}\n'
        f'conflicts with "b":\n- .spec.replicas\n- {container}\n'
        'conflicts with "c" with subresource "status" using apps/v1:\n- .status.replicas'
    )


def test_force_takes_the_field_over():
    live = applied(None, deployment(replicas=1), "a")
    after = applied(live, deployment(replicas=2), "b", force=True)
    assert after["spec"]["replicas"] == 2
    assert ".spec.replicas" not in owners(after)["a/Apply"]
    assert ".spec.replicas" in owners(after)["b/Apply"]
    assert refused(after, deployment(replicas=1), "a").code == 409


def test_same_value_is_shared_until_the_last_owner_gives_it_up():
    live = applied(applied(None, deployment(replicas=2), "a"), deployment(replicas=2), "b")
    one_left = applied(live, deployment(replicas=None), "a")
    assert one_left["spec"]["replicas"] == 2
    assert "replicas" not in applied(one_left, deployment(replicas=None), "b")["spec"]


def test_manager_without_fields_has_no_entry():
    live = applied(applied(None, deployment(), "a"), deployment(labels={"x": "y"}), "b")
    empty = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
    }
    after = applied(live, empty, "b")
    assert set(owners(after)) == {"a/Apply"}
    assert "labels" not in after["metadata"]


def test_times_change_only_with_what_they_tell_of():
    live = applied(None, deployment(), "a", now=THEN)
    live = applied(live, deployment(labels={"x": "y"}), "b", now=NOW)
    times = {entry["manager"]: entry["time"] for entry in live["metadata"]["managedFields"]}
    assert times == {"a": "2025-01-01T00:00:00Z", "b": "2025-01-02T00:00:00Z"}
    live = applied(live, deployment(), "a", now=LATER)
    assert live["metadata"]["managedFields"][0]["time"] == "2025-01-01T00:00:00Z"
    same = updated(live, copy.deepcopy(live), "c", now=LATER)
    assert same["metadata"]["managedFields"] == live["metadata"]["managedFields"]


def test_identity_and_what_the_server_sets_belong_to_nobody():
    config = deployment() | {"status": {"replicas": 0}}
    config["metadata"] |= {"creationTimestamp": None, "generation": 7, "uid": None}
    stored = applied(None, config)
    stored["metadata"] |= {"uid": "u", "resourceVersion": "5", "creationTimestamp": "2025-01-01T00:00:00Z"}
    after = applied(stored, config | {"spec": deployment(replicas=3)["spec"]})
    assert after["metadata"]["creationTimestamp"] == "2025-01-01T00:00:00Z"
    assert after["metadata"]["uid"] == "u"
    assert not [
        path for path in owners(after)["modelport/Apply"] if path.startswith((".metadata", ".kind", ".api"))
    ]


def test_own_managed_fields_cannot_be_applied():
    config = deployment(managedFields=[{"manager": "x"}])
    error = refused(None, config)
    assert (error.code, error.message) == (400, "metadata.managedFields must be nil")
    assert applied(None, deployment(managedFields=[]))["spec"] == deployment()["spec"]


def test_field_that_the_schema_lacks_is_told():
    config = deployment()
    config["spec"]["template"]["spec"]["containers"][0]["imag"] = "x"
    error = refused(None, config)
    assert error.code == 400
    assert error.message.startswith(
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.template.spec.containers["
    )
    assert error.message.endswith(".imag: field not declared in schema")


def test_object_from_before_managers_is_owned_by_before_first_apply():
    """Else an apply over what an old client made would silently take everything over."""
    error = refused(deployment(replicas=1), deployment(replicas=2), "a")
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using apps/v1: .spec.replicas'
    )
    after = applied(deployment(replicas=1), deployment(replicas=1, labels={"x": "y"}), "a")
    assert set(owners(after)) == {"a/Apply", "before-first-apply/Update"}


def test_status_is_applied_apart():
    """A controller that applies status must not take over, or give up, what it applied to the spec."""
    live = applied(None, deployment(), "a")
    config = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"not": "mine"}},
        "spec": {"replicas": 9},
        "status": {"replicas": 1},
    }
    after = applied(live, config, "a", subresource="status")
    assert after["spec"]["replicas"] == 1
    assert "labels" not in after["metadata"]
    assert after["status"] == {"replicas": 1}
    entries = {entry.get("subresource", ""): entry for entry in after["metadata"]["managedFields"]}
    assert entries["status"]["fieldsV1"] == {"f:status": {"f:replicas": {}}}
    assert "f:spec" in entries[""]["fieldsV1"]
    given_up = applied(after, config | {"status": {}}, "a", subresource="status")
    assert not given_up.get("status")
    assert given_up["spec"] == after["spec"]


def kubectl_applied(config, manager="kubectl-client-side-apply"):
    import msgspec

    live = copy.deepcopy(config)
    live["metadata"]["annotations"] = {LAST_APPLIED: msgspec.json.encode(config).decode()}
    return updated(None, live, manager)


def test_kubectl_goes_over_from_client_side_apply_without_conflict():
    live = kubectl_applied(deployment(replicas=1))
    after = applied(live, deployment(replicas=2), "kubectl")
    assert after["spec"]["replicas"] == 2
    assert ".spec.replicas" in owners(after)["kubectl/Apply"]
    assert after["metadata"]["annotations"] == live["metadata"]["annotations"]
    assert refused(live, deployment(replicas=2), "somebody").code == 409


def test_kubectl_does_not_take_what_others_changed_since():
    live = kubectl_applied(deployment(replicas=1))
    live = updated(live, deployment(replicas=5) | {"metadata": live["metadata"]}, "autoscaler")
    error = refused(live, deployment(replicas=2, image="i:2"), "kubectl")
    assert '"autoscaler" using apps/v1' in error.message
    broken = copy.deepcopy(live)
    broken["metadata"]["annotations"][LAST_APPLIED] = "{"
    assert refused(broken, deployment(replicas=2), "kubectl").code == 409


def test_create_gives_the_creator_all_of_it():
    live = updated(None, deployment(labels={"app": "web"}), "kubectl-create", now=THEN)
    assert live["metadata"]["managedFields"][0]["operation"] == "Update"
    container = '.spec.template.spec.containers[name="web"]'
    expected = {".metadata.labels", ".metadata.labels.app", ".spec.replicas", container, f"{container}.image"}
    assert expected <= owners(live)["kubectl-create/Update"]
    assert ".metadata" not in owners(live)["kubectl-create/Update"]


def test_writer_gets_what_its_write_changed_and_others_lose_it():
    live = updated(None, deployment(), "a", now=THEN)
    after = updated(live, deployment(replicas=4) | {"metadata": live["metadata"]}, "b", now=NOW)
    assert owners(after)["b/Update"] == {".spec.replicas"}
    assert ".spec.replicas" not in owners(after)["a/Update"]
    gone = copy.deepcopy(after)
    del gone["spec"]["replicas"]
    after = updated(after, gone, "c", now=LATER)
    assert set(owners(after)) == {"a/Update"}


def test_client_that_knows_no_managers_does_not_strip_them():
    live = updated(None, deployment(), "a")
    for more in ({}, {"managedFields": []}):
        new = deployment(replicas=2, **more)
        assert set(owners(updated(live, new, "b"))) == {"a/Update", "b/Update"}
    broken = deployment(managedFields=[{"manager": "x", "operation": "Update", "fieldsV1": {"spam": {}}}])
    assert set(owners(updated(live, broken, "b"))) == {"a/Update"}


def test_one_empty_entry_resets_the_managers():
    """Kubernetes' documented way out of a tangle; until the next apply nobody is tracked."""
    live = updated(None, deployment(), "a")
    bare = updated(live, deployment(managedFields=[{}]), "b")
    assert "managedFields" not in bare["metadata"]
    assert "managedFields" not in updated(bare, deployment(replicas=2), "b")["metadata"]
    assert set(owners(applied(bare, deployment(), "c"))) == {"before-first-apply/Update", "c/Apply"}


def test_edited_managers_count():
    """kubectl migrates its client-side entries by editing managedFields."""
    live = kubectl_applied(deployment())
    edited = copy.deepcopy(live)
    edited["metadata"]["managedFields"][0] |= {"manager": "kubectl", "operation": "Apply"}
    after = updated(live, edited, "kubectl")
    assert set(owners(after)) == {"kubectl/Apply"}
    sneaky = live | {"status": {"replicas": 1}, "metadata": edited["metadata"]}
    through_status = updated(live, sneaky, "x", subresource="status")
    assert set(owners(through_status)) == {"kubectl-client-side-apply/Update", "x/Update"}
    assert through_status["metadata"]["managedFields"][1]["fieldsV1"]["f:status"]["f:replicas"] == {}


def test_entries_of_many_writers_are_bounded():
    """A thousand differently named scripts must not make the object grow a thousand entries."""
    live = updated(None, deployment(), "creator", now=THEN)
    for number in range(30):
        new = copy.deepcopy(live)
        new["metadata"].setdefault("labels", {})[f"l{number}"] = "x"
        live = updated(live, new, f"script-{number}", now=NOW + timedelta(seconds=number))
    entries = live["metadata"]["managedFields"]
    assert len(entries) == 10
    assert "ancient-changes" in {entry["manager"] for entry in entries}
    everything = set().union(*owners(live).values())
    assert {f".metadata.labels.l{number}" for number in range(30)} <= everything
    assert "script-29" in {entry["manager"] for entry in entries}


def test_atomic_list_belongs_to_one():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"tolerations": [{"key": "a"}]},
    }
    schema = schema_of(POD)
    live = apply(schema, None, pod, "a", False, NOW)
    other = pod | {"spec": {"tolerations": [{"key": "b"}]}}
    with pytest.raises(ApiError, match=r"conflict with \"a\": \.spec\.tolerations$"):
        apply(schema, live, other, "b", False, NOW)
    assert apply(schema, live, other, "b", True, NOW)["spec"]["tolerations"] == [{"key": "b"}]


def test_custom_resources_are_applied_by_their_own_schema():
    schema = custom(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "models": {
                            "type": "array",
                            "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {
                                "type": "object",
                                "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                            },
                        },
                        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            },
        }
    )

    def resource(**spec):
        return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}

    live = apply(
        schema, None, resource(models=[{"name": "a", "weight": 1}], raw={"p": {"q": 1}}), "a", False, NOW
    )
    live = apply(schema, live, resource(models=[{"name": "b"}], raw={"p": {"r": 2}}), "b", False, NOW)
    assert live["spec"] == {
        "models": [{"name": "a", "weight": 1}, {"name": "b"}],
        "raw": {"p": {"q": 1, "r": 2}},
    }
    assert apply(schema, live, resource(), "a", False, NOW)["spec"] == {
        "models": [{"name": "b"}],
        "raw": {"p": {"r": 2}},
    }


def test_schema_that_became_atomic_is_noticed():
    granular = {
        "type": "object",
        "properties": {"m": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    atomic = copy.deepcopy(granular)
    atomic["properties"]["m"]["x-kubernetes-map-type"] = "atomic"
    live = apply(custom(granular), None, {"m": {"a": "1"}}, "a", False, NOW)
    live = apply(custom(granular), live, {"m": {"b": "2"}}, "b", False, NOW)
    with pytest.raises(ApiError, match=r"conflicts? with"):
        apply(custom(atomic), live, {"m": {"c": "3"}}, "c", False, NOW)
    assert apply(custom(atomic), live, {"m": {"c": "3"}}, "c", True, NOW)["m"] == {"c": "3"}


def test_stored_field_that_the_schema_no_longer_has_is_left_alone():
    """After an upgrade drops a field, objects that still carry it must not become impossible to apply."""
    live = applied(None, deployment(), "a")
    live["spec"]["legacy"] = {"x": [1]}
    live["spec"]["template"]["spec"]["containers"].append({"image": "without a name"})
    after = applied(live, deployment(replicas=2), "a")
    assert after["spec"]["legacy"] == {"x": [1]}
    assert after["spec"]["replicas"] == 2
    assert len(after["spec"]["template"]["spec"]["containers"]) == 2
    changed = copy.deepcopy(after)
    del changed["spec"]["legacy"], changed["spec"]["template"]["spec"]["containers"][1]
    assert updated(after, changed)["spec"] == deployment(replicas=2)["spec"]


# A model: two lists of fields, one by key.

MODEL = Schema.of(
    {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "data": {"type": "object", "additionalProperties": {"type": "integer"}},
            "items": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "value": {"type": "integer"}},
                },
            },
        },
    }
)


def flat(item):
    """Field → value: an entry of data, an item, an item's value."""
    fields = {("data", name): value for name, value in (item.get("data") or {}).items()}
    for entry in item.get("items") or []:
        fields["item", entry["name"]] = None
        if "value" in entry:
            fields["value", entry["name"]] = entry["value"]
    return fields


class Model:
    """Fields with their owners, by the documentation's rules."""

    def __init__(self):
        self.fields, self.owned = {}, {}

    def apply(self, manager, config, force):
        mine, who = flat(config), (manager, "Apply")
        others = {name: owned for name, owned in self.owned.items() if name != who}
        clashes = {
            field
            for field, value in mine.items()
            if field in self.fields
            and self.fields[field] != value
            and any(field in o for o in others.values())
        }
        if clashes and not force:
            return clashes
        given_up = self.owned.get(who, set()) - set(mine)
        given_up -= set().union(*others.values()) if others else set()
        given_up |= {("value", name) for kind, name in given_up if kind == "item"} - set(mine)
        self.fields = {field: value for field, value in (self.fields | mine).items() if field not in given_up}
        for owned in others.values():
            owned -= clashes | given_up
        self.owned = {name: owned for name, owned in (others | {who: set(mine)}).items() if owned}
        return set()

    def update(self, manager, new):
        new, who = flat(new), (manager, "Update")
        changed = {f for f, value in new.items() if f not in self.fields or self.fields[f] != value}
        gone = set(self.fields) - set(new)
        for owned in self.owned.values():
            owned -= changed | gone
        self.owned.setdefault(who, set()).update(changed)
        self.owned = {name: owned for name, owned in self.owned.items() if owned}
        self.fields = new


def owned_by(item):
    found = {}
    for manager, entry in managers_of(item).items():
        fields = {("data", name[2:]) for name in entry.fields.get("f:data", {}) if name != "."}
        for key, node in entry.fields.get("f:items", {}).items():
            if key != ".":
                name = key.removeprefix('k:{"name":"').removesuffix('"}')
                if not node or "." in node:
                    fields.add(("item", name))
                if "f:value" in node:
                    fields.add(("value", name))
        if fields:
            found[manager.name, manager.operation] = fields
    return found


NAMES = st.sampled_from("abc")
CONFIGS = st.fixed_dictionaries(
    {"apiVersion": st.just("v1")},
    optional={
        "data": st.dictionaries(NAMES, st.integers(0, 1), min_size=1, max_size=3),
        "items": st.lists(
            st.fixed_dictionaries({"name": NAMES}, optional={"value": st.integers(0, 1)}),
            min_size=1,
            max_size=3,
            unique_by=lambda item: item["name"],
        ),
    },
)
STEPS = st.tuples(st.sampled_from(["apply", "force", "update"]), st.sampled_from(["x", "y", "z"]), CONFIGS)


@given(st.lists(STEPS, max_size=8))
def test_any_history_of_writes_is_as_the_model_says(steps):
    live, model = None, Model()
    for number, (verb, manager, config) in enumerate(steps):
        now = NOW + timedelta(seconds=number)
        if verb == "update":
            model.update(manager, config)
            live = update_fields(MODEL, live, config, manager, "Update", now)
            if not managers_of(live):
                # Nothing has ever been set: the next write would not be tracked, as in Kubernetes.
                return
        else:
            clashes = model.apply(manager, config, verb == "force")
            if clashes:
                with pytest.raises(ApiError) as caught:
                    apply(MODEL, live, config, manager, False, now)
                assert len({cause["field"] for cause in caught.value.details["causes"]}) == len(clashes)
                continue
            live = apply(MODEL, live, config, manager, verb == "force", now)
            assert apply(MODEL, live, config, manager, verb == "force", now + timedelta(days=1)) is live
            if not managers_of(live):
                return
        assert flat(live) == model.fields
        assert owned_by(live) == model.owned


@given(st.lists(st.tuples(st.sampled_from("xyz"), CONFIGS), max_size=5))
def test_order_of_appliers_with_one_value_each_does_not_matter(steps):
    """Loops start in any order; the object that they agree on must be one."""
    latest = dict(steps)
    merged = [None, None]
    for way, order in enumerate((sorted(latest), sorted(latest, reverse=True))):
        for manager in order:
            merged[way] = apply(MODEL, merged[way], latest[manager], manager, True, NOW)
    if all(item is not None for item in merged):
        assert set(flat(merged[0])) == set(flat(merged[1]))


@given(st.lists(STEPS, max_size=6))
def test_without_a_schema_maps_are_still_shared(steps):
    live = None
    for verb, manager, config in steps:
        plain = {name: value for name, value in config.items() if name != "items"}
        if verb == "update":
            live = update_fields(UNTYPED, live, plain, manager, "Update", NOW)
        else:
            live = apply(UNTYPED, live, plain, manager, True, NOW)
            assert live.get("data", {}).items() >= plain.get("data", {}).items()


WORDS = st.sampled_from(
    ["metadata", "labels", "spec", "containers", "name", "ports", "containerPort", "env", "spam"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=3).map(
    lambda item: (
        item | {"metadata": item["metadata"] if isinstance(item.get("metadata"), dict) else {"name": "x"}}
    )
)


@given(OBJECTS, OBJECTS)
def test_any_object_may_be_sent(live, config):
    """Ownership is noted before an object is checked: what is malformed must be refused, never crash."""
    schema = schema_of(POD)
    tracked = update_fields(schema, None, live, "a", "Update", NOW)
    assert tracked["metadata"].get("name") == live["metadata"].get("name")
    try:
        apply(schema, tracked, config, "b", True, NOW)
        code = 200
    except ApiError as error:
        code = error.code
    assert code in (200, 400)
