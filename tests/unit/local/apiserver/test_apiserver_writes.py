"""Create, replace, patch: what is stored, what is kept, what is refused, in Kubernetes' words."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from apiserver_api import Api, config, deployment, good, pod, refused, widget


def test_a_new_object_gets_what_the_server_alone_sets(api: Api) -> None:
    made = api.create("widgets", widget(size=3) | {"status": {"phase": "Faked"}})
    meta = made["metadata"]
    assert meta["namespace"] == api.namespace
    assert len(meta["uid"]) == 36
    assert meta["generation"] == 1
    assert meta["creationTimestamp"].endswith("Z")
    assert "status" not in made, "a status is written through /status alone"
    assert api.get("widgets", "one") == made


def test_what_only_the_server_sets_cannot_be_claimed(api: Api) -> None:
    claimed = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}
    body = widget() | {"metadata": {"name": "one", "deletionTimestamp": "2001-01-01T00:00:00Z", **claimed}}
    meta = api.create("widgets", body)["metadata"]
    assert not claimed.items() & meta.items()
    assert "deletionTimestamp" not in meta
    body["metadata"] |= {"uid": meta["uid"]}
    after = api.put("widgets", "one", body | {"spec": {"size": 2}})["metadata"]
    assert (after["uid"], after["creationTimestamp"]) == (meta["uid"], meta["creationTimestamp"])


def test_a_taken_name_is_refused(api: Api) -> None:
    api.create("configmaps", config())
    status = refused(api.http.post(api.path("configmaps"), json=config()), 409, "AlreadyExists")
    assert status["message"] == 'configmaps "settings" already exists'
    assert status["details"] == {"name": "settings", "group": "", "kind": "configmaps"}


def test_generated_names_differ(api: Api) -> None:
    body = config()
    body["metadata"] = {"generateName": "run-"}
    names = {api.create("configmaps", body)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


def test_an_object_needs_its_namespace(api: Api) -> None:
    answer = api.http.post("/api/v1/namespaces/nowhere/configmaps", json=config())
    assert refused(answer, 404, "NotFound")["message"] == 'namespaces "nowhere" not found'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "Secret"}, "the kind in the data (Secret) does not match the expected kind (ConfigMap)"),
        ({"apiVersion": "v2"}, "the API version in the data (v2) does not match"),
        (
            {"metadata": {"name": "x", "namespace": "other"}},
            "does not match the namespace sent on the request",
        ),
        ({"metadata": {"name": "x", "resourceVersion": "5"}}, "resourceVersion should not be set on objects"),
        ({"metadata": []}, "metadata: must be an object, got a list"),
    ],
)
def test_a_body_for_another_place_is_refused(api: Api, change: dict[str, Any], words: str) -> None:
    answer = api.http.post(api.path("configmaps"), json=config("x") | change)
    assert words in refused(answer, 400, "BadRequest")["message"]


def test_everything_that_is_wrong_is_named_at_once(api: Api) -> None:
    body = widget("Not_A_Name", size=-1, colour="pink", parts=[{"name": "a"}, {"name": "a"}, {}])
    body["metadata"]["labels"] = {"a b": "c"}
    status = refused(api.http.post(api.path("widgets"), json=body), 422, "Invalid")
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert fields == {
        "metadata.name",
        "metadata.labels",
        "spec.size",
        "spec.colour",
        "spec.parts[1]",
        "spec.parts[2].name",
    }
    assert status["message"].startswith('Widget.test.modelport.io "Not_A_Name" is invalid: [')


def test_wrong_types_are_named_with_their_paths(api: Api) -> None:
    body = deployment()
    body["spec"]["replicas"] = "many"
    body["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": "http"}]
    status = refused(api.http.post(api.path("deployments"), json=body), 422, "Invalid")
    assert {cause["field"] for cause in status["details"]["causes"]} == {
        "spec.replicas",
        "spec.template.spec.containers[0].ports[0].containerPort",
    }


def test_the_kinds_own_rules_and_defaults_act(api: Api) -> None:
    """A kind's hooks see the object, the old one, and others of the platform."""
    made = api.create("widgets", widget(short="word"))
    assert made["spec"] == {"long": {"word": "word"}, "size": 1}
    status = refused(api.patched("widgets", "one", {"spec": {"size": 13}}), 422, "Invalid")
    assert status["details"]["causes"][0]["message"] == "must not be 13. Choose 12 or 14."
    api.patch("widgets", "one", {"spec": {"size": 14}})
    status = refused(api.patched("widgets", "one", {"spec": {"colour": "red"}}), 422, "Invalid")
    assert status["details"]["causes"][0]["reason"] == "FieldValueForbidden"


def test_defaults_may_come_from_other_objects(api: Api) -> None:
    with api.server.client() as http:
        body = config("widgets", colour="blue")
        good(http.post("/api/v1/namespaces/default/configmaps", json=body), 201)
        try:
            assert api.create("widgets", widget())["spec"]["colour"] == "blue"
        finally:
            http.delete("/api/v1/namespaces/default/configmaps/widgets")


# Unknown fields


@pytest.mark.parametrize("how", ["post", "put", "merge", "strategic"])
def test_unknown_fields_are_refused_when_asked_strictly(api: Api, how: str) -> None:
    body = deployment()
    if how != "post":
        api.create("deployments", body)
    body["spec"]["replica"] = 3
    strict = {"fieldValidation": "Strict"}
    if how == "post":
        answer = api.http.post(api.path("deployments"), json=body, params=strict)
    elif how == "put":
        answer = api.http.put(api.path("deployments", "web"), json=body, params=strict)
    else:
        answer = api.patched("deployments", "web", {"spec": {"replica": 3}}, how, **strict)
    assert (
        'strict decoding error: unknown field "spec.replica"' in refused(answer, 400, "BadRequest")["message"]
    )


def test_unknown_fields_are_dropped_and_told(api: Api) -> None:
    answer = api.http.post(api.path("widgets"), json=widget(colr="red"))
    assert "colr" not in good(answer, 201)["spec"]
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.colr\\""'
    quiet = api.http.post(
        api.path("widgets"), json=widget("two", colr="red"), params={"fieldValidation": "Ignore"}
    )
    assert "Warning" not in quiet.headers


def test_what_a_schema_leaves_open_is_kept(api: Api) -> None:
    made = api.create("widgets", widget(free={"any": {"thing": [1, None]}}), fieldValidation="Strict")
    assert made["spec"]["free"] == {"any": {"thing": [1, None]}}


# Versions and generations


def test_an_update_of_an_old_version_is_a_conflict(api: Api) -> None:
    first = api.create("configmaps", config(a="1"))
    api.put("configmaps", "settings", first | {"data": {"a": "2"}})
    answer = api.http.put(api.path("configmaps", "settings"), json=first | {"data": {"a": "3"}})
    status = refused(answer, 409, "Conflict")
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "settings": the object has been modified; please apply your '
        "changes to the latest version and try again"
    )
    assert api.get("configmaps", "settings")["data"] == {"a": "2"}


def test_a_patch_may_name_the_version_that_it_is_for(api: Api) -> None:
    first = api.create("configmaps", config(a="1"))
    api.patch("configmaps", "settings", {"data": {"a": "2"}})
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    refused(api.patched("configmaps", "settings", stale), 409, "Conflict")
    refused(api.patched("configmaps", "settings", {"metadata": {"uid": "other"}}), 409, "Conflict")


def test_another_object_of_the_name_is_not_mistaken_for_the_first(api: Api) -> None:
    first = api.create("configmaps", config(a="1"))
    good(api.delete("configmaps", "settings"))
    second = api.create("configmaps", config(a="2"))
    first["metadata"]["resourceVersion"] = second["metadata"]["resourceVersion"]
    answer = api.http.put(api.path("configmaps", "settings"), json=first)
    assert "Precondition failed: UID in precondition" in refused(answer, 409, "Conflict")["message"]


def test_concurrent_patches_all_count(api: Api) -> None:
    """A patch without a version is for the newest one, whichever it is by then."""
    api.create("configmaps", config())
    together = threading.Barrier(8)

    def write(index: int) -> int:
        with api.server.client() as http:
            mine = Api(api.server, http, api.namespace)
            together.wait()
            return mine.patched("configmaps", "settings", {"data": {f"k{index}": "v"}}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(8))) == {200}
    assert len(api.get("configmaps", "settings")["data"]) == 8


def test_concurrent_replacements_of_one_version_have_one_winner(api: Api) -> None:
    first = api.create("configmaps", config())
    together = threading.Barrier(8)

    def write(index: int) -> int:
        with api.server.client() as http:
            together.wait()
            body = first | {"data": {"winner": str(index)}}
            return http.put(api.path("configmaps", "settings"), json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(8))) == [200] + [409] * 7


def test_a_generation_counts_changes_of_the_spec_alone(api: Api) -> None:
    api.create("widgets", widget(size=1))
    assert api.patch("widgets", "one", {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert api.patch("widgets", "one", {"spec": {"size": 2}})["metadata"]["generation"] == 2
    http = api.http.patch(
        api.path("widgets", "one/status"),
        json={"status": {"phase": "Up"}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert good(http)["metadata"]["generation"] == 2


def test_a_write_that_changes_nothing_is_not_written(api: Api) -> None:
    """Controllers write the same status again and again: no event, no fsync."""
    made = api.create("widgets", widget(size=1))
    again = api.put("widgets", "one", widget(size=1))
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    again = api.patch("widgets", "one", {"spec": {"size": 1}})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


# Status


def test_status_and_spec_are_written_apart(api: Api) -> None:
    made = api.create("widgets", widget(size=1))
    body = made | {"spec": {"size": 9}, "status": {"phase": "Up"}}
    body["metadata"] = body["metadata"] | {"labels": {"x": "y"}}
    after = good(api.http.put(api.path("widgets", "one/status"), json=body))
    assert after["spec"] == {"size": 1}
    assert after["status"] == {"phase": "Up"}
    assert "labels" not in after["metadata"]
    after = api.put("widgets", "one", after | {"spec": {"size": 9}, "status": {"phase": "Down"}})
    assert after["spec"] == {"size": 9}
    assert after["status"] == {"phase": "Up"}
    assert good(api.http.get(api.path("widgets", "one/status")))["status"] == {"phase": "Up"}


def test_a_broken_rule_does_not_keep_a_controller_from_telling(api: Api) -> None:
    """The rules may have changed since the object was stored."""
    api.create("widgets", widget(size=12))
    merge = {"Content-Type": "application/merge-patch+json"}
    answer = api.http.patch(api.path("widgets", "one/status"), json={"status": {"phase": 3}}, headers=merge)
    refused(answer, 422, "Invalid")
    answer = api.http.patch(
        api.path("widgets", "one/status"), json={"status": {"phase": "Up"}}, headers=merge
    )
    good(answer)


# Patches


def test_a_json_patch_tests_and_changes(api: Api) -> None:
    api.create("configmaps", config(a="1", b="2"))
    steps = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "remove", "path": "/data/b"},
        {"op": "add", "path": "/data/c", "value": "3"},
    ]
    assert api.patch("configmaps", "settings", steps, "json")["data"] == {"a": "1", "c": "3"}
    steps[0]["value"] = "9"
    refused(api.patched("configmaps", "settings", steps, "json"), 422, "Invalid")


def test_a_strategic_patch_merges_lists_by_their_keys(api: Api) -> None:
    api.create("deployments", deployment())
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "envoy:1"}]}}}}
    after = api.patch("deployments", "web", patch, "strategic")
    assert [one["name"] for one in after["spec"]["template"]["spec"]["containers"]] == ["side", "main"]


def test_a_custom_kind_takes_no_strategic_patch(api: Api) -> None:
    api.create("widgets", widget())
    refused(api.patched("widgets", "one", {}, "strategic"), 415, "UnsupportedMediaType")


@pytest.mark.parametrize("kind", ["json", "merge", "strategic", "apply"])
@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b'"x"', b"\xff\xfe", b""], ids=repr)
def test_a_patch_that_is_none_is_refused(api: Api, kind: str, body: bytes) -> None:
    api.create("configmaps", config())
    answer = api.patched("configmaps", "settings", body, kind)
    assert answer.status_code in (400, 422), answer.text
    refused(answer, answer.status_code, "BadRequest" if answer.status_code == 400 else "Invalid")


def test_names_and_namespaces_cannot_be_patched(api: Api) -> None:
    api.create("configmaps", config())
    refused(api.patched("configmaps", "settings", {"metadata": {"name": "other"}}), 422, "Invalid")
    refused(api.patched("configmaps", "settings", {"metadata": {"namespace": "other"}}), 400, "BadRequest")
    refused(api.patched("configmaps", "settings", {"kind": "Secret"}), 400, "BadRequest")
    refused(api.patched("configmaps", "absent", {"data": {}}), 404, "NotFound")


# Server-side apply


def test_apply_makes_shares_and_gives_up_fields(api: Api) -> None:
    body = config(a="1", b="2")
    answer = api.patched("configmaps", "settings", body, "apply")
    assert answer.status_code == 201
    other = config(b="2", c="3")
    api.patch("configmaps", "settings", other, "apply", fieldManager="other")
    after = api.patch("configmaps", "settings", config(), "apply")
    assert after["data"] == {"b": "2", "c": "3"}, "a is given up by its only manager, b is still the other's"
    managers = {(one["manager"], one["operation"]) for one in after["metadata"]["managedFields"]}
    assert ("other", "Apply") in managers


def test_apply_conflicts_name_the_manager_and_the_field_unless_forced(api: Api) -> None:
    api.patch("configmaps", "settings", config(a="1"), "apply", fieldManager="first")
    answer = api.patched("configmaps", "settings", config(a="2"), "apply", fieldManager="second")
    status = refused(answer, 409, "Conflict")
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": ".data.a"}
    ]
    api.patch("configmaps", "settings", config(a="2"), "apply", fieldManager="second", force="true")


def test_apply_needs_a_manager_and_others_no_force(api: Api) -> None:
    answer = api.patched("configmaps", "settings", config(), "apply", fieldManager="")
    assert "fieldManager: Required value" in refused(answer, 400, "BadRequest")["message"]
    api.create("configmaps", config())
    refused(api.patched("configmaps", "settings", {"data": {}}, "merge", force="true"), 400, "BadRequest")


def test_an_applier_owns_what_it_said_not_what_was_defaulted(api: Api) -> None:
    """Else the next apply would fight with whoever set a field that was left to the defaults."""
    made = api.patch("widgets", "one", widget(colour="red"), "apply")
    assert made["spec"]["size"] == 1
    api.patch("widgets", "one", {"spec": {"size": 5}}, fieldManager="somebody")
    after = api.patch("widgets", "one", widget(colour="red"), "apply")
    assert after["spec"]["size"] == 5


def test_an_applier_owns_what_its_shorthand_became(api: Api) -> None:
    api.patch("widgets", "one", widget(short="a"), "apply")
    after = api.patch("widgets", "one", widget(short="b"), "apply")
    assert after["spec"]["long"] == {"word": "b"}
    assert "short" not in after["spec"]
    same = api.patch("widgets", "one", widget(short="b"), "apply")
    assert same["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    gone = api.patch("widgets", "one", widget(parts=[{"name": "p"}]), "apply")
    assert gone["spec"] == {"parts": [{"name": "p"}], "size": 1}


def test_status_is_applied_by_its_own_managers(api: Api) -> None:
    api.patch("widgets", "one", widget(size=1), "apply")
    body = widget() | {"status": {"phase": "Up"}}
    after = api.patch("widgets", "one/status", body, "apply", fieldManager="controller")
    assert after["status"] == {"phase": "Up"}
    assert after["spec"] == {"size": 1}
    after = api.patch("widgets", "one", widget(size=1) | {"status": {"phase": "Down"}}, "apply")
    assert after["status"] == {"phase": "Up"}
    subresources = {one.get("subresource") for one in after["metadata"]["managedFields"]}
    assert subresources == {None, "status"}


def test_applied_yaml_is_read(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata:\n  day: 2020-01-01\n"
    # A date is a text in Kubernetes' YAML.
    assert good(api.patched("configmaps", "settings", text, "apply"), 201)["data"] == {"day": "2020-01-01"}


def test_who_wrote_what_is_noted(api: Api) -> None:
    api.create("configmaps", config(a="1"), fieldManager="maker")
    after = api.patch("configmaps", "settings", {"data": {"b": "2"}}, fieldManager="patcher")
    owned = {one["manager"]: one["fieldsV1"] for one in after["metadata"]["managedFields"]}
    assert owned["maker"]["f:data"] == {".": {}, "f:a": {}}
    assert owned["patcher"] == {"f:data": {"f:b": {}}}


def test_a_nameless_writer_is_known_by_its_program(api: Api) -> None:
    answer = api.http.post(
        api.path("configmaps"), json=config(a="1"), headers={"User-Agent": "shell/1.0 (linux/amd64)"}
    )
    assert good(answer, 201)["metadata"]["managedFields"][0]["manager"] == "shell"


# Dry run


def test_a_dry_run_checks_and_writes_nothing(api: Api) -> None:
    dry = {"dryRun": "All"}
    made = api.create("configmaps", config(a="1"), **dry)
    assert made["metadata"]["uid"]
    refused(api.http.get(api.path("configmaps", "settings")), 404, "NotFound")
    before = api.create("configmaps", config(a="1"))
    refused(api.http.post(api.path("configmaps"), json=config(), params=dry), 409, "AlreadyExists")
    assert api.patch("configmaps", "settings", {"data": {"a": "2"}}, **dry)["data"] == {"a": "2"}
    assert api.put("configmaps", "settings", config(a="3"), **dry)["data"] == {"a": "3"}
    assert api.patch("configmaps", "settings", config(a="4"), "apply", force="true", **dry)["data"] == {
        "a": "4"
    }
    good(api.delete("configmaps", "settings", **dry))
    assert api.get("configmaps", "settings") == before
    refused(
        api.http.post(api.path("configmaps"), json=config("b"), params={"dryRun": "Some"}), 422, "Invalid"
    )


# Scale


def test_scale_reads_and_sets_replicas(api: Api) -> None:
    api.create("deployments", deployment())
    scale = good(api.http.get(api.path("deployments", "web/scale")))
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "app=web"})
    merge = {"Content-Type": "application/merge-patch+json"}
    after = good(
        api.http.patch(api.path("deployments", "web/scale"), json={"spec": {"replicas": 4}}, headers=merge)
    )
    assert after["spec"] == {"replicas": 4}
    assert api.get("deployments", "web")["metadata"]["generation"] == 2
    stale = api.http.put(api.path("deployments", "web/scale"), json=scale)
    refused(stale, 409, "Conflict")
    scale["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"]
    scale["spec"]["replicas"] = 0
    assert good(api.http.put(api.path("deployments", "web/scale"), json=scale))["spec"] == {"replicas": 0}
    owners = api.get("deployments", "web")["metadata"]["managedFields"]
    assert any(one.get("subresource") == "scale" for one in owners)


@pytest.mark.parametrize("replicas", [-1, "two", 1.5, True, None], ids=str)
def test_a_scale_that_is_no_count_is_refused(api: Api, replicas: Any) -> None:
    api.create("deployments", deployment())
    answer = api.http.put(
        api.path("deployments", "web/scale"),
        json={"metadata": {"name": "web"}, "spec": {"replicas": replicas}},
    )
    assert answer.status_code in (400, 422), answer.text
    assert api.get("deployments", "web")["spec"]["replicas"] == 2


def test_a_pod_has_no_scale(api: Api) -> None:
    api.create("pods", pod())
    refused(api.http.get(api.path("pods", "web/scale")), 404, "NotFound")


def test_true_and_one_are_two_things(api: Api) -> None:
    """To Python they are equal; a change from one to the other must not be taken for none."""
    api.create("widgets", widget(free={"a": True}))
    after = api.patch("widgets", "one", {"spec": {"free": {"a": 1}}})
    assert after["spec"]["free"]["a"] == 1
    assert after["spec"]["free"]["a"] is not True
    assert after["metadata"]["generation"] == 2


def test_labels_of_kubernetes_kinds_may_be_written_with_the_status(api: Api) -> None:
    """As on a cluster, where controllers annotate what they tell of; but a blind write takes nothing away."""
    api.create("pods", pod() | {"metadata": {"name": "web", "labels": {"app": "web"}}})
    merge = {"Content-Type": "application/merge-patch+json"}
    path = f"{api.path('pods', 'web')}/status"
    change = {"metadata": {"annotations": {"seen": "yes"}}, "status": {"message": "fine"}}
    told = good(api.http.patch(path, json=change, headers=merge))
    assert told["metadata"]["annotations"] == {"seen": "yes"}
    blind = told | {"metadata": {"name": "web"}, "status": {"message": "better"}}
    after = good(api.http.put(path, json=blind))
    assert after["status"]["message"] == "better"
    assert after["metadata"]["annotations"] == {"seen": "yes"}
    assert after["metadata"]["labels"] == {"app": "web"}
