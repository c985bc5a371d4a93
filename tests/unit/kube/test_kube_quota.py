"""What a pod counts for in a quota: wrong sums refuse pods that fit, or let too many in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelport.kube.quota import usage_of
from modelport.kube.resource import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SERVICE


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "resources": {"requests": {"cpu": cpu}}} | more


def cpu(spec: dict[str, Any]) -> str:
    return str(usage_of(POD, {"spec": spec})["requests.cpu"])


def test_containers_add_up_and_the_largest_of_those_before_them_counts() -> None:
    both = [container("1"), container("500m")]
    assert cpu({"containers": both}) == "1500m"
    assert cpu({"containers": both, "initContainers": [container("1"), container("2")]}) == "2"
    stays = container("1", restartPolicy="Always")
    assert cpu({"containers": both, "initContainers": [stays]}) == "2500m"
    assert cpu({"containers": both, "initContainers": [stays, container("2")]}) == "3"
    assert cpu({"containers": both, "overhead": {"cpu": "250m"}}) == "1750m"


def test_what_a_pod_says_as_a_whole_goes_before_its_containers() -> None:
    whole = {"resources": {"requests": {"cpu": "4"}}}
    assert cpu({"containers": [container("1")]} | whole) == "4"


def test_a_pod_that_has_ended_counts_as_an_object_alone() -> None:
    pod = {"spec": {"containers": [container("1")]}, "status": {"phase": "Failed"}}
    assert set(usage_of(POD, pod)) == {"count/pods"}
    going = pod | {
        "status": {"phase": "Running"},
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30},
    }
    assert "pods" in usage_of(POD, going, datetime(2026, 1, 1, 0, 0, 31, tzinfo=UTC))
    assert "pods" not in usage_of(POD, going, datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC))


def test_other_kinds_count_under_their_names() -> None:
    assert set(usage_of(CONFIG_MAP, {})) == {"count/configmaps", "configmaps"}
    balanced = {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}}
    found = {name: str(amount) for name, amount in usage_of(SERVICE, balanced).items()}
    assert found == {
        "count/services": "1",
        "services": "1",
        "services.loadbalancers": "1",
        "services.nodeports": "2",
    }
    claim = {"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "2Gi"}}}}
    assert (
        str(usage_of(PERSISTENT_VOLUME_CLAIM, claim)["gold.storageclass.storage.k8s.io/requests.storage"])
        == "2Gi"
    )
