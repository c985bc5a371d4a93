"""Which pods answer for a Service: the slices, from the Service and its pods."""

from __future__ import annotations

from typing import Any

import pytest

from modelport.local.workloads.endpointslice import decide, wanted


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s1", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        | spec,
    }


def pod(name: str, address: str | None = "127.77.0.5", *, ready: bool = True, **more: Any) -> dict[str, Any]:
    """`more`: terminating, phase, labels, ports (of its container), spec."""
    meta = {"name": name, "namespace": "default", "uid": name, "labels": more.get("labels", {"app": "web"})}
    if more.get("terminating"):
        meta["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    status: dict[str, Any] = {"phase": more.get("phase", "Running")}
    if address is not None:
        status["podIP"] = address
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    spec = {"containers": [{"name": "c", "ports": more.get("ports", [])}], "nodeName": "local"}
    return {"metadata": meta, "spec": spec | more.get("spec", {}), "status": status}


def conditions(pods: list[dict[str, Any]], **spec: Any) -> list[tuple[bool, bool, bool]]:
    slices = wanted(service(**spec), pods)
    found = [end["conditions"] for item in slices for end in item["endpoints"]]
    return [(one["ready"], one["serving"], one["terminating"]) for one in found]


@pytest.mark.parametrize(
    ("one", "spec", "expected"),
    [
        (pod("a"), {}, (True, True, False)),
        (pod("a", ready=False), {}, (False, False, False)),
        (pod("a", terminating=True), {}, (False, True, True)),
        (pod("a", ready=False), {"publishNotReadyAddresses": True}, (True, False, False)),
        (pod("a", terminating=True), {"publishNotReadyAddresses": True}, (True, True, True)),
    ],
)
def test_readiness(one: dict[str, Any], spec: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    """A pod that is about to end gets no new requests, but is still known to answer."""
    assert conditions([one], **spec) == [expected]


@pytest.mark.parametrize(
    "one",
    [
        pod("a", None),
        pod("a", phase="Failed"),
        pod("a", phase="Succeeded"),
        pod("a", labels={"app": "other"}),
    ],
)
def test_pods_that_never_count(one: dict[str, Any]) -> None:
    assert conditions([one]) == []


@pytest.mark.parametrize("spec", [{"selector": None}, {"selector": {}}, {"type": "ExternalName"}])
def test_services_kept_by_hand_are_left_alone(spec: dict[str, Any]) -> None:
    """Their endpoints are somebody's own work: deleting them would cut a service off."""
    by_hand = {"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}}
    plan = decide(service(**spec), [pod("a")], [by_hand])
    assert (plan.create, plan.replace, plan.delete) == ([], [], [])


def test_a_service_without_pods_has_one_empty_slice() -> None:
    (item,) = wanted(service(), [])
    assert item["endpoints"] == []
    (filled,) = wanted(service(), [pod("a")])
    assert item | {"endpoints": filled["endpoints"]} == filled, "the first pod comes into the same slice"
    (item,) = wanted(service(ports=[{"port": 80, "targetPort": "web"}]), [])
    assert item["ports"] == []


def test_the_slice_says_what_kubernetes_says() -> None:
    (item,) = wanted(service(clusterIP="None"), [pod("a")])
    meta = item["metadata"]
    assert meta["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "service.kubernetes.io/headless": "",
    }
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "name": "web",
            "uid": "s1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert item["addressType"] == "IPv4"
    assert item["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert item["endpoints"] == [
        {
            "addresses": ["127.77.0.5"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"},
            "nodeName": "local",
        }
    ]


def test_named_ports_may_differ_from_pod_to_pod() -> None:
    """During an update old pods listen on 8080 and new ones on 9090: both must be found."""
    spec = {"ports": [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "kubernetes.io/h2c"}]}
    old = pod("old", "127.77.0.5", ports=[{"name": "web", "containerPort": 8080}])
    new = pod("new", "127.77.0.6", ports=[{"name": "web", "containerPort": 9090}])
    udp = pod("udp", "127.77.0.7", ports=[{"name": "web", "containerPort": 1, "protocol": "UDP"}])
    found = {
        tuple(port["port"] for port in item["ports"]): [end["addresses"][0] for end in item["endpoints"]]
        for item in wanted(service(**spec), [old, new, udp])
    }
    assert found == {(8080,): ["127.77.0.5"], (9090,): ["127.77.0.6"], (): ["127.77.0.7"]}
    names = {item["metadata"]["name"] for item in wanted(service(**spec), [old, new, udp])}
    assert {item["metadata"]["name"] for item in wanted(service(**spec), [new])} < names, (
        "no slice is renamed"
    )


def test_addresses_of_two_families_lie_in_two_slices() -> None:
    found = wanted(service(), [pod("a"), pod("b", "::1")])
    assert [item["addressType"] for item in found] == ["IPv4", "IPv6"]


def test_no_slice_is_larger_than_allowed() -> None:
    found = wanted(service(), [pod(f"p{n:04}", f"127.77.{n // 250}.{n % 250}") for n in range(1001)])
    assert [len(item["endpoints"]) for item in found] == [1000, 1]


def test_only_what_differs_is_written() -> None:
    (item,) = wanted(service(), [pod("a")])
    plan = decide(service(), [pod("a")], [item])
    assert (plan.create, plan.replace, plan.delete) == ([], [], [])
    plan = decide(service(), [pod("a", ready=False)], [item])
    assert [one["metadata"]["name"] for one in plan.replace] == [item["metadata"]["name"]]
    plan = decide(service(), [pod("a", "::1")], [item])
    assert (len(plan.create), plan.delete) == (1, [item])
