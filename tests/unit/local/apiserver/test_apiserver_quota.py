"""ResourceQuotas and LimitRanges: a namespace cannot take more than it may, and is told in Kubernetes' words."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest
from apiserver_api import Api, Json, config, pod, refused, wait_until


def quota(name: str = "limits", **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": spec}


def asking(name: str, cpu: str = "100m", memory: str = "64Mi", **spec: Any) -> Json:
    container = {
        "name": "main",
        "image": "nginx:1",
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}},
    }
    return pod(name, containers=[container], **spec)


def service(name: str, kind: str = "ClusterIP") -> Json:
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}


def used(api: Api, name: str = "limits") -> Json:
    return api.get("resourcequotas", name).get("status", {}).get("used", {})


def test_objects_beyond_the_count_are_refused(api: Api) -> None:
    api.create("resourcequotas", quota(hard={"count/configmaps": "2", "secrets": "0"}))
    for name in ("one", "two"):
        api.create("configmaps", config(name))
    status = refused(api.http.post(api.path("configmaps"), json=config("three")), 403, "Forbidden")
    assert status["message"] == (
        'configmaps "three" is forbidden: exceeded quota: limits, requested: count/configmaps=1, '
        "used: count/configmaps=2, limited: count/configmaps=2"
    )
    refused(api.http.post(api.path("secrets"), json={"metadata": {"name": "s"}}), 403, "Forbidden")
    api.delete("configmaps", "one")
    api.create("configmaps", config("three"))


def test_what_comes_at_the_same_moment_does_not_slip_through(api: Api) -> None:
    api.create("resourcequotas", quota(hard={"configmaps": "5"}))

    def make(number: int) -> int:
        return api.http.post(api.path("configmaps"), json=config(f"c{number}")).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(make, range(20)))
    assert sorted(codes) == [201] * 5 + [403] * 15


def test_pods_are_counted_by_what_they_ask_for_until_they_end(api: Api) -> None:
    api.create("resourcequotas", quota(hard={"requests.cpu": "250m", "limits.memory": "1Gi", "pods": "3"}))
    api.create("pods", asking("one"))
    api.create("pods", asking("two"))
    message = refused(api.http.post(api.path("pods"), json=asking("three")), 403, "Forbidden")["message"]
    assert "exceeded quota: limits, requested: requests.cpu=100m, used: requests.cpu=200m" in message
    assert message.endswith("limited: requests.cpu=250m")
    message = refused(api.http.post(api.path("pods"), json=pod("bare")), 403, "Forbidden")["message"]
    assert message.endswith(
        "failed quota: limits: must specify limits.memory for: main; requests.cpu for: main"
    )
    ended = {"status": {"phase": "Succeeded"}}
    path = f"{api.path('pods', 'one')}/status"
    headers = {"Content-Type": "application/merge-patch+json"}
    assert api.http.patch(path, json=ended, headers=headers).status_code == 200
    api.create("pods", asking("three"))
    wait_until(lambda: used(api) == {"requests.cpu": "200m", "limits.memory": "128Mi", "pods": "2"})


def test_the_status_follows_what_is_there_and_what_the_spec_says(api: Api) -> None:
    api.create(
        "resourcequotas", quota(hard={"services": "3", "services.nodeports": "1", "resourcequotas": "2"})
    )
    wait_until(lambda: used(api) == {"services": "0", "services.nodeports": "0", "resourcequotas": "1"})
    api.create("services", service("a", "NodePort"))
    wait_until(lambda: used(api)["services.nodeports"] == "1")
    refused(api.http.post(api.path("services"), json=service("b", "NodePort")), 403, "Forbidden")
    refused(api.http.post(api.path("services"), json=service("b", "LoadBalancer")), 403, "Forbidden")
    api.create("services", service("b"))
    changed = api.get("services", "b") | {}
    changed["spec"]["type"] = "NodePort"
    refused(api.http.put(api.path("services", "b"), json=changed), 403, "Forbidden")
    api.patch("resourcequotas", "limits", {"spec": {"hard": {"services.nodeports": "2"}}})
    api.put("services", "b", changed)
    wait_until(lambda: used(api)["services.nodeports"] == "2")
    assert api.get("resourcequotas", "limits")["status"]["hard"]["services.nodeports"] == "2"
    api.delete("services", "a")
    wait_until(lambda: used(api)["services"] == "1")


@pytest.mark.parametrize(
    ("scope", "fits", "fits_not"),
    [
        ("Terminating", asking("p", activeDeadlineSeconds=60), asking("q")),
        ("NotTerminating", asking("p"), asking("q", activeDeadlineSeconds=60)),
        ("BestEffort", pod("p"), asking("q")),
        ("NotBestEffort", asking("p"), pod("q")),
    ],
)
def test_a_scope_counts_the_pods_that_it_names(api: Api, scope: str, fits: Json, fits_not: Json) -> None:
    api.create("resourcequotas", quota(hard={"pods": "1"}, scopes=[scope]))
    api.create("pods", fits_not)
    api.create("pods", fits)
    wait_until(lambda: used(api) == {"pods": "1"})
    again = {**fits, "metadata": {"name": "r"}}
    refused(api.http.post(api.path("pods"), json=again), 403, "Forbidden")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hard": {"apples": "1"}}, "spec.hard[apples]"),
        ({"hard": {"pods": "-1"}}, "spec.hard[pods]"),
        ({"hard": {"pods": "1.5"}}, "spec.hard[pods]"),
        ({"hard": {"pods": "1"}, "scopes": ["Sometimes"]}, "spec.scopes[0]"),
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}, "spec.scopes"),
        ({"hard": {"services": "1"}, "scopes": ["BestEffort"]}, "spec.scopes"),
    ],
)
def test_a_quota_that_could_not_hold_is_refused(api: Api, spec: Json, field: str) -> None:
    status = refused(api.http.post(api.path("resourcequotas"), json=quota(**spec)), 422, "Invalid")
    assert status["details"]["causes"][0]["field"] == field


def limit_range(**limit: Any) -> Json:
    return {"metadata": {"name": "defaults"}, "spec": {"limits": [{"type": "Container", **limit}]}}


def test_containers_get_their_namespaces_defaults(api: Api) -> None:
    made = api.create("limitranges", limit_range(default={"cpu": "200m"}, min={"memory": "16Mi"}))
    assert made["spec"]["limits"][0]["defaultRequest"] == {"cpu": "200m", "memory": "16Mi"}
    found = api.create("pods", pod("p"))
    assert found["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "200m"},
        "requests": {"cpu": "200m", "memory": "16Mi"},
    }
    assert found["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container main; "
        "cpu limit for container main"
    }
    assert found["status"]["qosClass"] == "Burstable"


def test_pods_out_of_bounds_are_refused_with_all_reasons(api: Api) -> None:
    api.create(
        "limitranges",
        limit_range(max={"cpu": "1"}, min={"memory": "100Mi"}, maxLimitRequestRatio={"cpu": "2"}),
    )
    status = refused(api.http.post(api.path("pods"), json=asking("p", cpu="2")), 403, "Forbidden")
    assert status["message"] == (
        'pods "p" is forbidden: [minimum memory usage per Container is 100Mi, but request is 64Mi, '
        "maximum cpu usage per Container is 1, but limit is 2]"
    )
    wide = asking("q", memory="100Mi")
    wide["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1"
    message = refused(api.http.post(api.path("pods"), json=wide), 403, "Forbidden")["message"]
    assert "cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000" in message


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"min": {"cpu": "2"}, "max": {"cpu": "1"}}, "min value 2 is greater than max value 1"),
        (
            {"default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
            "default request value 2 is greater than default value 1",
        ),
        ({"maxLimitRequestRatio": {"cpu": "500m"}}, "ratio 500m is less than 1"),
        ({"type": "Node"}, 'Unsupported value: "Node"'),
    ],
)
def test_bounds_out_of_order_are_refused(api: Api, limit: Json, words: str) -> None:
    body = limit_range(**limit)
    assert words in refused(api.http.post(api.path("limitranges"), json=body), 422, "Invalid")["message"]


def test_who_is_limited_does_not_set_the_limits(api: Api) -> None:
    with api.server.client("edit") as http:
        assert http.get(api.path("resourcequotas")).status_code == 200
        refused(http.post(api.path("resourcequotas"), json=quota(hard={})), 403, "Forbidden")
        refused(http.delete(api.path("limitranges", "defaults")), 403, "Forbidden")
