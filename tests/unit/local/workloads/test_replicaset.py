"""What a ReplicaSet decides, and what it says of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from modelport.kube.meta import timestamp
from modelport.kube.selector import from_object
from modelport.local.workloads.claim import claim
from modelport.local.workloads.pod import deletion_order
from modelport.local.workloads.replicaset.decide import again_s, decide, status

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)


def replica_set(replicas: int | None = 1, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "rs", "generation": 2},
        "spec": {"template": template, "selector": {"matchLabels": {"app": "web"}}}
        | ({} if replicas is None else {"replicas": replicas})
        | spec,
    }


def pod(
    name: str, *, ready_for_s: float | None = None, phase: str = "Running", **more: Any
) -> dict[str, Any]:
    """`more`: cost, restarts, age_s, node, terminating, owner."""
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "default",
        "uid": name,
        "labels": more.get("labels", {"app": "web"}),
        "creationTimestamp": timestamp(NOW - timedelta(seconds=more.get("age_s", 100))),
    }
    if "cost" in more:
        meta["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": more["cost"]}
    if more.get("terminating"):
        meta["deletionTimestamp"] = timestamp(NOW)
    if more.get("owner"):
        meta["ownerReferences"] = [
            {"uid": more["owner"], "controller": True, "kind": "ReplicaSet", "name": "x"}
        ]
    found: dict[str, Any] = {"phase": phase, "containerStatuses": [{"restartCount": more.get("restarts", 0)}]}
    if ready_for_s is not None:
        since = timestamp(NOW - timedelta(seconds=ready_for_s))
        found["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    return {"metadata": meta, "spec": {"nodeName": more.get("node", "local")}, "status": found}


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (pod("a", node=""), pod("b", phase="Pending")),
        (pod("a", phase="Pending"), pod("b")),
        (pod("a"), pod("b", ready_for_s=1)),
        (pod("a", ready_for_s=9, cost="-5"), pod("b", ready_for_s=1)),
        (pod("a", ready_for_s=9, cost="1"), pod("b", ready_for_s=1, cost="2")),
        (pod("a", ready_for_s=1), pod("b", ready_for_s=9)),
        (pod("a", restarts=3), pod("b")),
        (pod("a", age_s=1), pod("b", age_s=9)),
        (pod("a", cost="nonsense"), pod("b", cost="1")),
    ],
    ids=lambda item: item["metadata"]["name"],
)
def test_those_go_first_that_are_missed_least(worse: dict[str, Any], better: dict[str, Any]) -> None:
    """Kubernetes' order: scaling down must not take a pod that answers while one that does not stays."""
    assert deletion_order(worse) < deletion_order(better)
    assert decide(replica_set(1), [better, worse]).delete == [worse]


@pytest.mark.parametrize(
    ("replicas", "pods", "create", "delete"),
    [
        (3, [], 3, 0),
        (None, [], 1, 0),
        (0, [pod("a")], 0, 1),
        (2, [pod("a"), pod("b", terminating=True)], 1, 0),
        (2, [pod("a"), pod("b", phase="Failed")], 1, 0),
        (1, [pod("a", phase="Succeeded")], 1, 0),
        (1, [pod("a")], 0, 0),
    ],
)
def test_as_many_as_asked_for(
    replicas: int | None, pods: list[dict[str, Any]], create: int, delete: int
) -> None:
    plan = decide(replica_set(replicas), pods)
    assert (plan.create, len(plan.delete)) == (create, delete)


def test_one_that_is_being_deleted_does_nothing() -> None:
    """Else pods would come back while the garbage collector takes them."""
    item = replica_set(3)
    item["metadata"]["deletionTimestamp"] = timestamp(NOW)
    plan = decide(item, [])
    assert (plan.create, plan.delete) == (0, [])


def test_status_counts_what_there_is() -> None:
    pods = [
        pod("a", ready_for_s=60),
        pod("b", ready_for_s=5),
        pod("c", labels={}),
        pod("d", ready_for_s=60, terminating=True),
        pod("e", phase="Failed"),
    ]
    item = replica_set(3, minReadySeconds=30)
    assert status(item, pods, None, NOW) == {
        "replicas": 3,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "observedGeneration": 2,
    }
    wait_s = again_s(item, pods, NOW)
    assert wait_s is not None
    assert 25 <= wait_s < 26
    assert again_s(item, pods, NOW + timedelta(seconds=30)) is None


def test_a_failure_is_said_and_taken_back() -> None:
    failed = status(replica_set(), [], ("FailedCreate", "no"), NOW)
    assert failed["conditions"] == [
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": "no",
            "lastTransitionTime": timestamp(NOW),
        }
    ]
    later = status(replica_set() | {"status": failed}, [], ("FailedCreate", "no"), NOW + timedelta(minutes=5))
    assert later == failed, "the same failure is no news"
    assert "conditions" not in status(replica_set() | {"status": failed}, [pod("a")], None, NOW)


def test_orphans_are_adopted_and_strangers_are_left_alone() -> None:
    owner = replica_set()
    mine, orphan, foreign = pod("mine", owner="rs"), pod("orphan"), pod("foreign", owner="other")
    relabelled = pod("relabelled", owner="rs", labels={"app": "debug"})
    unselected, leaving = pod("unselected", labels={}), pod("leaving", terminating=True)
    everything = [mine, orphan, foreign, relabelled, unselected, leaving]
    selector = from_object(owner["spec"]["selector"])
    found = claim(owner, selector, everything)
    assert (found.mine, found.adopt, found.release) == ([mine], [orphan], [relabelled])
    owner["metadata"]["deletionTimestamp"] = timestamp(NOW)
    found = claim(owner, selector, everything)
    assert (found.mine, found.adopt, found.release) == ([mine, relabelled], [], [])
