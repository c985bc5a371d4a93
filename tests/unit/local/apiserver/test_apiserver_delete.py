"""Deletion: preconditions, finalizers, propagation, collections, and namespaces with all that is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from apiserver_api import Api, config, good, pod, refused, wait_until, widget


def test_only_the_object_that_was_meant_is_deleted(api: Api) -> None:
    made = api.create("configmaps", config())
    meta = made["metadata"]
    answer = api.delete("configmaps", "settings", {"preconditions": {"uid": "other"}})
    assert "Precondition failed: UID" in refused(answer, 409, "Conflict")["message"]
    answer = api.delete("configmaps", "settings", {"preconditions": {"resourceVersion": "1"}})
    assert "Precondition failed: ResourceVersion" in refused(answer, 409, "Conflict")["message"]
    conditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    done = good(api.delete("configmaps", "settings", {"preconditions": conditions}))
    assert done["details"]["uid"] == meta["uid"]
    refused(api.delete("configmaps", "settings"), 404, "NotFound")


def test_finalizers_hold_an_object_until_the_last_is_gone(api: Api) -> None:
    body = widget()
    body["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    api.create("widgets", body)
    going = good(api.delete("widgets", "one"))
    assert going["metadata"]["deletionTimestamp"]
    assert going["metadata"]["deletionGracePeriodSeconds"] == 0
    answer = api.patched("widgets", "one", {"metadata": {"finalizers": ["example.com/a", "example.com/c"]}})
    assert "no new finalizers can be added" in refused(answer, 422, "Invalid")["message"]
    api.patch("widgets", "one", {"metadata": {"finalizers": ["example.com/b"]}})
    version = api.get("widgets", "one")["metadata"]["resourceVersion"]
    with api.watch("widgets", resourceVersion=version) as events:
        api.patch("widgets", "one", {"metadata": {"finalizers": None}})
        assert next(events)["type"] == "DELETED"
    refused(api.http.get(api.path("widgets", "one")), 404, "NotFound")


def test_an_object_that_breaks_rules_can_still_be_let_go(api: Api) -> None:
    """The rules may be younger than the object."""
    body = widget(size=1)
    body["metadata"]["finalizers"] = ["example.com/a"]
    api.create("widgets", body)
    good(api.delete("widgets", "one"))
    refused(api.patched("widgets", "one", {"spec": {"size": 13}}), 422, "Invalid")
    good(api.patched("widgets", "one", {"metadata": {"finalizers": []}}))


@pytest.mark.parametrize(
    ("how", "finalizer"),
    [
        ({"propagationPolicy": "Foreground"}, "foregroundDeletion"),
        ({"propagationPolicy": "Orphan"}, "orphan"),
        ({"orphanDependents": True}, "orphan"),
    ],
)
def test_the_garbage_collector_is_told_by_a_finalizer(api: Api, how: dict[str, Any], finalizer: str) -> None:
    api.create("configmaps", config())
    assert good(api.delete("configmaps", "settings", how))["metadata"]["finalizers"] == [finalizer]
    # Whoever asks again may change their mind.
    done = good(api.delete("configmaps", "settings", {"propagationPolicy": "Background"}))
    assert done["status"] == "Success"


def test_parameters_ask_like_the_body(api: Api) -> None:
    api.create("configmaps", config())
    going = good(api.delete("configmaps", "settings", propagationPolicy="Foreground"))
    assert going["metadata"]["finalizers"] == ["foregroundDeletion"]
    api.create("pods", pod())
    assert (
        good(api.delete("pods", "web", gracePeriodSeconds="3"))["metadata"]["deletionGracePeriodSeconds"] == 3
    )


@pytest.mark.parametrize(
    "body",
    [
        {"propagationPolicy": "Sideways"},
        {"gracePeriodSeconds": -1},
        {"gracePeriodSeconds": "soon"},
        {"kind": "Pod"},
        {"preconditions": []},
        {"dryRun": "All"},
        [],
        "now",
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(api: Api, body: Any) -> None:
    api.create("configmaps", config())
    refused(api.delete("configmaps", "settings", body), 400, "BadRequest")
    api.get("configmaps", "settings")


def test_a_collection_goes_by_its_selector(api: Api) -> None:
    for name, tier in (("a", "x"), ("b", "y"), ("c", "x")):
        api.create("configmaps", config(name, {"tier": tier}))
    answer = api.http.delete(api.path("configmaps"), params={"labelSelector": "tier=x"})
    assert good(answer)["status"] == "Success"
    assert api.names("configmaps") == ["b"]


# Namespaces


def test_the_namespaces_that_are_always_there_are_there(api: Api) -> None:
    assert {"default", "kube-system", "kube-public", "kserve"} <= set(api.names("namespaces"))
    made = api.get("namespaces", "default")
    assert made["spec"] == {"finalizers": ["kubernetes"]}
    assert made["status"] == {"phase": "Active"}
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "default"}
    assert "may not be deleted" in refused(api.delete("namespaces", "default"), 403, "Forbidden")["message"]


def test_a_namespace_goes_with_all_that_is_in_it(api: Api) -> None:
    api.create("configmaps", config())
    api.create("widgets", widget())
    going = good(api.delete("namespaces", api.namespace))
    assert going["status"]["phase"] == "Terminating"
    wait_until(lambda: api.http.get(api.path("namespaces", api.namespace)).status_code == 404)
    refused(api.http.get(api.path("widgets", "one")), 404, "NotFound")
    # And the name can be had anew.
    good(api.http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}}), 201)
    assert api.names("configmaps") == []


def test_a_namespace_waits_for_what_is_held_in_it(api: Api) -> None:
    body = widget()
    body["metadata"]["finalizers"] = ["example.com/a"]
    api.create("widgets", body)
    api.create("pods", pod())
    good(api.delete("namespaces", api.namespace))
    wait_until(lambda: "deletionTimestamp" in api.get("pods", "web")["metadata"])
    status = refused(api.http.post(api.path("configmaps"), json=config()), 403, "Forbidden")
    assert "because it is being terminated" in status["message"]
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    good(api.delete("pods", "web", {"gracePeriodSeconds": 0}))
    wait_until(lambda: "deletionTimestamp" in api.get("widgets", "one")["metadata"])
    api.patch("widgets", "one", {"metadata": {"finalizers": None}})
    wait_until(lambda: api.http.get(api.path("namespaces", api.namespace)).status_code == 404)


def test_a_namespace_goes_on_going_after_a_restart(fresh: Callable[..., Any]) -> None:
    with fresh() as server, server.client() as http:
        good(http.post("/api/v1/namespaces", json={"metadata": {"name": "team"}}), 201)
        api = Api(server, http, "team")
        body = widget()
        body["metadata"]["finalizers"] = ["example.com/a"]
        api.create("widgets", body)
        good(api.delete("namespaces", "team"))
    with fresh() as server, server.client() as http:
        api = Api(server, http, "team")
        api.patch("widgets", "one", {"metadata": {"finalizers": None}})
        wait_until(lambda: http.get("/api/v1/namespaces/team").status_code == 404)


def test_finalizers_of_a_namespace_have_their_own_door(api: Api) -> None:
    made = api.get("namespaces", api.namespace)
    after = api.put("namespaces", api.namespace, made | {"spec": {"finalizers": []}})
    assert after["spec"] == {"finalizers": ["kubernetes"]}
    body = made | {"spec": {"finalizers": ["kubernetes", "example.com/held"]}}
    good(api.http.put(api.path("namespaces", f"{api.namespace}/finalize"), json=body))
    good(api.delete("namespaces", api.namespace))
    wait_until(lambda: api.get("namespaces", api.namespace)["spec"] == {"finalizers": ["example.com/held"]})
    good(api.http.put(api.path("namespaces", f"{api.namespace}/finalize"), json=made | {"spec": {}}))
    refused(api.http.get(api.path("namespaces", api.namespace)), 404, "NotFound")


def test_in_a_namespace_that_goes_pods_go_first(api: Api) -> None:
    """A pod that saves its state as it ends still needs its Secrets."""
    api.create("configmaps", config("needed"))
    held = pod("held")
    held["metadata"]["finalizers"] = ["example.org/hold"]
    api.create("pods", held)
    good(api.http.delete(f"/api/v1/namespaces/{api.namespace}"))
    wait_until(lambda: api.get("pods", "held")["metadata"].get("deletionTimestamp"))
    assert "deletionTimestamp" not in api.get("configmaps", "needed")["metadata"]
    api.patch("pods", "held", {"metadata": {"finalizers": None}})
    api.delete("pods", "held", gracePeriodSeconds="0")
    wait_until(lambda: api.http.get(f"/api/v1/namespaces/{api.namespace}").status_code == 404)
