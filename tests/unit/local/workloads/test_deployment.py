"""A Deployment's steps, one promise a test."""

from __future__ import annotations

import pytest
from deploying import Cluster, deployment

from modelport.local.workloads.deployment.budget import Budget, budget
from modelport.local.workloads.deployment.template import template_hash

RECREATE = {"strategy": {"type": "Recreate"}}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (1, "25%", "25%", (1, 0)),
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),
        (3, 0, 0, (0, 1)),
        (3, "0%", "10%", (0, 1)),
        (2, 0, 5, (0, 2)),
        (10, "100%", "0%", (10, 0)),
        (0, 1, 1, (1, 0)),
        (5, 2, None, (2, 1)),
    ],
)
def test_surge_rounds_up_and_unavailable_rounds_down(
    replicas: int, surge: object, unavailable: object, expected: tuple[int, int]
) -> None:
    """Else a single replica would be taken away before its successor is there, or a rollout could not move."""
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    rolling = {key: item for key, item in rolling.items() if item is not None}
    item = deployment(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    assert budget(item) == Budget(replicas, *expected)


def test_a_deployment_gets_a_replica_set_and_pods() -> None:
    cluster = Cluster(deployment(3))
    cluster.settle()
    (item,) = cluster.sets.values()
    digest = template_hash(cluster.deployment)
    assert item["metadata"]["name"] == f"web-{digest}"
    assert item["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert len(cluster.active()) == 3
    assert all(p["metadata"]["labels"]["pod-template-hash"] == digest for p in cluster.active())
    status = dict(cluster.deployment["status"])
    conditions = status.pop("conditions")
    assert status == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert [c["type"] for c in conditions] == ["Progressing", "Available"]
    assert cluster.condition("Available") == (
        "True",
        "MinimumReplicasAvailable",
        "Deployment has minimum availability.",
    )
    assert cluster.condition("Progressing") == (
        "True",
        "NewReplicaSetAvailable",
        f'ReplicaSet "web-{digest}" has successfully progressed.',
    )
    assert cluster.deployment["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}


def test_a_new_template_replaces_all_pods_and_keeps_the_old_replica_set() -> None:
    """`kubectl rollout undo` needs it."""
    cluster = Cluster(deployment(2))
    cluster.settle()
    cluster.change(image="v2")
    cluster.settle()
    assert [cluster.image(pod) for pod in cluster.active()] == ["v2", "v2"]
    assert sorted(item["spec"]["replicas"] for item in cluster.sets.values()) == [0, 2]
    revisions = {
        item["spec"]["template"]["spec"]["containers"][0]["image"]: item["metadata"]["annotations"][
            "deployment.kubernetes.io/revision"
        ]
        for item in cluster.sets.values()
    }
    assert revisions == {"v1": "1", "v2": "2"}


@pytest.mark.parametrize("replicas", [1, 2, 4, 10])
def test_a_broken_version_never_takes_available_pods_away(replicas: int) -> None:
    """The promise that a bad update leaves the good model in place."""
    cluster = Cluster(deployment(replicas))
    cluster.settle()
    cluster.change(image="broken")
    cluster.settle(broken=("broken",))
    assert cluster.available() == cluster.fewest_available
    assert cluster.available() >= 1
    assert 1 <= len(cluster.active("broken")) <= cluster.most - cluster.fewest_available
    assert cluster.condition("Available")[0] == "True"
    assert cluster.condition("Progressing")[1] == "ReplicaSetUpdated"


def test_a_rollout_that_stands_still_says_so_after_its_deadline() -> None:
    cluster = Cluster(deployment(1, progressDeadlineSeconds=60))
    cluster.settle()
    cluster.change(image="broken")
    cluster.settle(broken=("broken",))
    again_s = cluster.plan().again_s
    assert again_s is not None
    assert 60 <= again_s <= 61
    cluster.wait(again_s)
    cluster.settle(broken=("broken",))
    status, reason, message = cluster.condition("Progressing")
    assert (status, reason) == ("False", "ProgressDeadlineExceeded")
    assert message == f'ReplicaSet "web-{template_hash(cluster.deployment)}" has timed out progressing.'
    assert cluster.plan().again_s is None


def test_going_back_reuses_the_old_replica_set_with_a_new_revision() -> None:
    cluster = Cluster(deployment(1))
    cluster.settle()
    first = template_hash(cluster.deployment)
    cluster.change(image="broken")
    cluster.settle(broken=("broken",))
    cluster.change(image="v1")
    cluster.roll()
    assert cluster.condition("Progressing")[1] == "FoundNewReplicaSet"
    cluster.settle(broken=("broken",))
    found = cluster.sets[f"web-{first}"]
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert [cluster.image(pod) for pod in cluster.active()] == ["v1"]
    assert cluster.condition("Progressing")[1] == "NewReplicaSetAvailable"


def test_only_so_many_old_replica_sets_are_kept() -> None:
    cluster = Cluster(deployment(1, revisionHistoryLimit=2))
    for version in range(6):
        cluster.change(image=f"v{version}")
        cluster.settle()
    images = {i["spec"]["template"]["spec"]["containers"][0]["image"] for i in cluster.sets.values()}
    assert images == {"v3", "v4", "v5"}


def test_recreate_waits_until_the_last_old_pod_has_ended() -> None:
    """Two versions at once would corrupt what they share: why people choose Recreate."""
    cluster = Cluster(deployment(2, **RECREATE))
    cluster.settle()
    old = set(cluster.pods)
    cluster.change(image="v2")
    for _ in range(5):
        cluster.roll()
        for name in list(cluster.sets):
            cluster.keep(name)
    assert cluster.active() == []
    assert set(cluster.pods) == old, "terminating pods still count"
    cluster.settle()
    assert [cluster.image(pod) for pod in cluster.active()] == ["v2", "v2"]


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    cluster = Cluster(deployment(2))
    cluster.settle()
    cluster.change(image="v2", paused=True, replicas=3)
    cluster.settle()
    assert [cluster.image(pod) for pod in cluster.active()] == ["v1"] * 3
    assert cluster.condition("Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
    cluster.change(paused=False)
    cluster.settle()
    assert [cluster.image(pod) for pod in cluster.active()] == ["v2"] * 3


def test_scaling_within_a_rollout_is_shared_in_proportion() -> None:
    """As in Kubernetes' documentation: 10 replicas, a stuck rollout of 8 and 5, scaled to 15."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    cluster = Cluster(deployment(10, strategy=rolling))
    cluster.settle()
    cluster.change(image="broken")
    cluster.settle(broken=("broken",))
    assert (len(cluster.active("v1")), len(cluster.active("broken"))) == (8, 5)
    cluster.change(replicas=15)
    cluster.settle(broken=("broken",))
    assert (len(cluster.active("v1")), len(cluster.active("broken"))) == (11, 7)
    assert cluster.plan().status == cluster.deployment["status"]


@pytest.mark.parametrize("replicas", [0, 1, 5])
def test_scaling_to_and_from(replicas: int) -> None:
    cluster = Cluster(deployment(3))
    cluster.settle()
    cluster.change(replicas=replicas)
    cluster.settle()
    assert len(cluster.active()) == replicas
    cluster.change(replicas=3)
    cluster.settle()
    assert len(cluster.active()) == 3
    assert len(cluster.sets) == 1


def test_min_ready_seconds_hold_the_rollout_back() -> None:
    """A version that crashes after two seconds must not count as available after one."""
    cluster = Cluster(deployment(1, minReadySeconds=10))
    cluster.settle()
    cluster.wait(11)
    cluster.settle()
    cluster.change(image="v2")
    cluster.settle()
    assert {cluster.image(pod) for pod in cluster.active()} == {"v1", "v2"}
    cluster.wait(11)
    cluster.settle()
    assert {cluster.image(pod) for pod in cluster.active()} == {"v2"}


def test_a_refused_pod_is_told_by_the_deployment() -> None:
    """Else `kubectl describe deploy` shows zero pods and no reason."""
    cluster = Cluster(deployment(1))
    cluster.roll()
    (item,) = cluster.sets.values()
    item["status"] = {
        "replicas": 0,
        "conditions": [
            {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": "FailedCreate",
                "message": "no",
                "lastTransitionTime": "2025-01-01T00:00:00Z",
            }
        ],
    }
    cluster.roll()
    assert cluster.condition("ReplicaFailure") == ("True", "FailedCreate", "no")


def test_a_deployment_that_is_being_deleted_starts_nothing() -> None:
    cluster = Cluster(deployment(1))
    cluster.deployment["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z"
    plan = cluster.plan()
    assert (plan.create, plan.write, plan.delete) == (None, [], [])


def test_deciding_changes_nothing_that_it_was_given() -> None:
    """Caches are shared: a decision that wrote into them would be seen by everybody as if it were true."""
    cluster = Cluster(deployment(3))
    cluster.settle()
    cluster.change(image="v2", replicas=5)
    before = repr((cluster.deployment, cluster.sets, cluster.pods))
    cluster.plan()
    assert repr((cluster.deployment, cluster.sets, cluster.pods)) == before
