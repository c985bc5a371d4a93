"""A cluster in memory for tests of Deployments: the pure decisions, carried out in whatever order a test chooses."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from modelport.kube.meta import timestamp
from modelport.local.workloads.deployment.budget import budget
from modelport.local.workloads.deployment.decide import Plan, decide
from modelport.local.workloads.pod import is_active, is_available, is_over, is_ready
from modelport.local.workloads.replicaset import decide as replica_set

START = datetime(2025, 1, 1, tzinfo=UTC)


def deployment(replicas: int = 1, image: str = "v1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d1", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        }
        | spec,
    }


class Cluster:
    """One Deployment with its ReplicaSets and pods. What a loop sees of a ReplicaSet's status is what was last told."""

    def __init__(self, of: dict[str, Any]) -> None:
        self.deployment = of
        self.sets: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, dict[str, Any]] = {}
        self.now = START
        self._number = itertools.count(1)

    # What users do.

    def change(self, image: str | None = None, **spec: Any) -> None:
        self.deployment["spec"] |= spec
        if image is not None:
            self.deployment["spec"]["template"]["spec"] = {"containers": [{"name": "c", "image": image}]}
        self.deployment["metadata"]["generation"] += 1

    # What the loops do.

    def plan(self) -> Plan:
        pods = {uid: self.pods_of(item) for uid, item in self._by_uid().items()}
        return decide(self.deployment, list(self.sets.values()), pods, self.now)

    def roll(self) -> bool:
        """One step of the Deployment. True if anything was written."""
        plan = self.plan()
        if plan.create is not None:
            name = plan.create["metadata"]["name"]
            assert name not in self.sets, "a ReplicaSet was created twice"
            plan.create["metadata"] |= self._new_meta()
            self.sets[name] = plan.create
        for item in plan.write:
            item["metadata"]["generation"] += 1
            self.sets[item["metadata"]["name"]] = item
        for item in plan.delete:
            del self.sets[item["metadata"]["name"]]
        if plan.revision is not None:
            self.deployment["metadata"].setdefault("annotations", {})["deployment.kubernetes.io/revision"] = (
                plan.revision
            )
        changed = bool(plan.create or plan.write or plan.delete or plan.revision)
        if plan.status != self.deployment.get("status", {}):
            self.deployment["status"] = plan.status
            changed = True
        return changed

    def keep(self, name: str) -> bool:
        """One step of a ReplicaSet. True if anything was written."""
        item = self.sets.get(name)
        if item is None:
            return False
        plan = replica_set.decide(item, self.pods_of(item))
        for _ in range(plan.create):
            number = next(self._number)
            pod = replica_set.new_pod(item, f"{name}-{number}")
            pod["metadata"] |= self._new_meta()
            pod["spec"]["nodeName"] = "local"
            pod["status"] = {"phase": "Pending"}
            self.pods[pod["metadata"]["name"]] = pod
        for pod in plan.delete:
            pod["metadata"]["deletionTimestamp"] = timestamp(self.now)
        status = replica_set.status(item, self.pods_of(item), None, self.now)
        changed = bool(plan.create or plan.delete) or status != item.get("status", {})
        self.sets[name] = item | {"status": status}
        return changed

    # What the node does.

    def set_ready(self, name: str, ready: bool) -> bool:
        pod = self.pods[name]
        if is_ready(pod) == ready or is_over(pod):
            return False
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": timestamp(self.now),
        }
        pod["status"] = {"phase": "Running", "conditions": [condition]}
        return True

    def end(self, name: str) -> bool:
        """A pod that was asked to end has ended."""
        if is_active(self.pods[name]):
            return False
        del self.pods[name]
        return True

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # What one can see.

    def pods_of(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        uid = item["metadata"]["uid"]
        return [pod for pod in self.pods.values() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]

    def image(self, pod: dict[str, Any]) -> str:
        return pod["spec"]["containers"][0]["image"]

    def active(self, image: str | None = None) -> list[dict[str, Any]]:
        return [p for p in self.pods.values() if is_active(p) and image in (None, self.image(p))]

    def available(self) -> int:
        return self._available(self.active())

    def kept(self) -> int:
        """Available pods that stay once every ReplicaSet has what it is asked to have."""
        return sum(
            min(self._available(self.pods_of(item)), item["spec"]["replicas"]) for item in self.sets.values()
        )

    def _available(self, pods: list[dict[str, Any]]) -> int:
        min_ready_s = self.deployment["spec"].get("minReadySeconds", 0)
        return sum(is_active(pod) and is_available(pod, min_ready_s, self.now) for pod in pods)

    def condition(self, kind: str) -> tuple[str, str, str]:
        found = next(c for c in self.deployment["status"]["conditions"] if c["type"] == kind)
        return found["status"], found["reason"], found["message"]

    def settle(self, broken: tuple[str, ...] = ()) -> None:
        """Everything happens until nothing does; pods of `broken` images never become ready."""
        for _ in range(200):
            changed = self.roll()
            for name in list(self.sets):
                changed |= self.keep(name)
            for name, pod in list(self.pods.items()):
                if self.image(pod) not in broken and is_active(pod):
                    changed |= self.set_ready(name, ready=True)
                changed |= self.end(name)
            if not changed:
                return
        raise AssertionError(f"it never comes to rest: {self.deployment['status']}")

    @property
    def most(self) -> int:
        return budget(self.deployment).most

    @property
    def fewest_available(self) -> int:
        return budget(self.deployment).fewest_available

    def _by_uid(self) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["uid"]: item for item in self.sets.values()}

    def _new_meta(self) -> dict[str, Any]:
        number = next(self._number)
        # Times differ, so that "oldest" means something.
        created = timestamp(START + timedelta(seconds=number))
        return {"uid": f"u{number}", "creationTimestamp": created, "generation": 1}
