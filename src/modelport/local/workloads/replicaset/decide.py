"""How many pods to create, which to delete, and what to say of it. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import datetime

import msgspec

from modelport.kube.condition import remove_condition, set_condition
from modelport.kube.meta import owner_reference
from modelport.kube.resource import Object
from modelport.local.workloads.part import annotations_of, conditions_of, labels_of, number, part
from modelport.local.workloads.pod import available_at, deletion_order, is_active, is_available, is_ready


class Plan(msgspec.Struct):
    """What to do to the pods of a ReplicaSet."""

    create: int = 0
    delete: list[Object] = []


def decide(replica_set: Object, pods: Sequence[Object]) -> Plan:
    """From all pods that the ReplicaSet manages."""
    if replica_set["metadata"].get("deletionTimestamp"):
        return Plan()
    active = [pod for pod in pods if is_active(pod)]
    surplus = len(active) - wanted(replica_set)
    if surplus > 0:
        return Plan(delete=sorted(active, key=deletion_order)[:surplus])
    return Plan(create=-surplus)


def wanted(replica_set: Object) -> int:
    """`spec.replicas`; 1 where absent."""
    return number(replica_set["spec"].get("replicas"), 1)


def new_pod(replica_set: Object, name: str) -> Object:
    """A pod of the template."""
    meta, template = replica_set["metadata"], replica_set["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "generateName": f"{meta['name']}-",
            "namespace": meta.get("namespace"),
            "labels": dict(labels_of(template)),
            "annotations": dict(annotations_of(template)),
            "finalizers": list(part(template, "metadata").get("finalizers") or []),
            "ownerReferences": [owner_reference(replica_set)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def status(
    replica_set: Object, pods: Sequence[Object], failure: tuple[str, str] | None, now: datetime
) -> Object:
    """`status`, from the pods as they are. `failure`: the reason and message of a write that was refused."""
    spec: Object = replica_set["spec"]
    min_ready_s = number(spec.get("minReadySeconds"))
    template_labels = labels_of(spec["template"])
    active = [pod for pod in pods if is_active(pod)]
    conditions = conditions_of(replica_set)
    if failure is None:
        conditions = remove_condition(conditions, "ReplicaFailure")
    else:
        conditions = set_condition(conditions, "ReplicaFailure", "True", failure[0], failure[1], now)
    result: Object = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels.items() <= labels_of(pod).items() for pod in active),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(is_available(pod, min_ready_s, now) for pod in active),
        "observedGeneration": replica_set["metadata"].get("generation", 0),
    }
    # As Kubernetes writes it: no zeros but `replicas`.
    result = {key: value for key, value in result.items() if value or key == "replicas"}
    return result | ({"conditions": conditions} if conditions else {})


def again_s(replica_set: Object, pods: Sequence[Object], now: datetime) -> float | None:
    """Seconds until a pod that is ready has been so for `minReadySeconds`."""
    min_ready_s = number(replica_set["spec"].get("minReadySeconds"))
    if min_ready_s <= 0:
        return None
    due = [at for pod in pods if is_active(pod) and (at := available_at(pod, min_ready_s)) and at > now]
    return (min(due) - now).total_seconds() + 0.01 if due else None
