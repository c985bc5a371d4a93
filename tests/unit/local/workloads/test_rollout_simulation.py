"""Rollouts in which everything happens in any order: the loops see old news, pods come up late, fail and end.

A seed chooses the order: long runs of likely steps find more than short lists of unlikely ones. Each rule of
`rolling.py`, taken away, was seen to break these tests.
"""

from __future__ import annotations

from random import Random

import hypothesis.strategies as st
import pytest
from deploying import Cluster, deployment
from hypothesis import given, settings

from modelport.local.workloads.pod import is_active, is_ready

amounts = st.one_of(st.integers(0, 3), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))
WEIGHTS = {"roll": 20, "keep": 20, "ready": 20, "end": 10, "wait": 3, "fail": 1, "image": 1, "broken": 1}
BROKEN = "broken"


def rolling(surge: object, unavailable: object) -> dict[str, object]:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def step(cluster: Cluster, random: Random) -> str:
    """One thing happens. Says what."""
    (what,) = random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
    pods = cluster.pods
    match what:
        case "roll":
            cluster.roll()
        case "keep":
            cluster.keep(random.choice(sorted(cluster.sets)))
        case "ready":
            fit = [p for p in sorted(pods) if cluster.image(pods[p]) != BROKEN and is_active(pods[p])]
            if fit:
                cluster.set_ready(random.choice(fit), ready=True)
        case "fail":
            fit = [p for p in sorted(pods) if is_ready(pods[p]) and is_active(pods[p])]
            if fit:
                cluster.set_ready(random.choice(fit), ready=False)
        case "end":
            fit = [p for p in sorted(pods) if not is_active(pods[p])]
            if fit:
                cluster.end(random.choice(fit))
        case "wait":
            cluster.wait(3)
        case "image":
            cluster.change(image=f"image-{random.randrange(3)}")
        case _:
            cluster.change(image=BROKEN)
    return what


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), amounts, amounts, st.sampled_from([0, 5]), st.integers(0, 2**32))
def test_a_rollout_in_any_order(
    replicas: int, surge: object, unavailable: object, min_ready_s: int, seed: int
) -> None:
    """Never more pods than the surge allows, never fewer available ones than promised because of what we do (pods
    may fail by themselves), and in the end all pods are of the version asked for."""
    cluster = Cluster(deployment(replicas, strategy=rolling(surge, unavailable), minReadySeconds=min_ready_s))
    settle(cluster)
    random = Random(seed)
    cluster.change(image="image-0")
    for _ in range(150):
        available, kept = cluster.available(), cluster.kept()
        what = step(cluster, random)
        assert len(cluster.active()) <= cluster.most, f"too many pods after {what}"
        if what == "roll":  # what is to be kept, if everybody does as told
            assert cluster.kept() >= min(kept, cluster.fewest_available), "an available pod is to go"
        elif what == "keep":
            assert cluster.available() >= min(available, kept), "an available pod went before another"
    cluster.change(image="last")
    settle(cluster)
    assert [cluster.image(pod) for pod in cluster.active()] == ["last"] * replicas
    assert cluster.available() == replicas
    assert cluster.deployment["status"]["updatedReplicas"] == replicas
    assert cluster.condition("Progressing")[1] == "NewReplicaSetAvailable"


def settle(cluster: Cluster) -> None:
    for _ in range(2 * cluster.deployment["spec"]["replicas"] + 2):
        cluster.settle(broken=(BROKEN,))
        cluster.wait(10)
    cluster.settle(broken=(BROKEN,))


@pytest.mark.parametrize("replicas", [1, 2, 5])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_recreate_in_any_order(replicas: int, seed: int) -> None:
    """Pods of two versions never exist together."""
    cluster = Cluster(deployment(replicas, strategy={"type": "Recreate"}))
    cluster.settle()
    random = Random(seed)
    for _ in range(150):
        what = step(cluster, random)
        assert len({cluster.image(item) for item in cluster.pods.values()}) <= 1, what
    cluster.change(image="last")
    cluster.settle(broken=(BROKEN,))
    assert len(cluster.active("last")) == replicas
