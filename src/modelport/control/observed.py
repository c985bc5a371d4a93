"""What is seen of a service's objects: the input of `status`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from modelport.control import failure
from modelport.control.failure import HOPELESS, Failure
from modelport.kube.condition import find_condition, is_true
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.render.storage import INITIALIZER

REVISION = "deployment.kubernetes.io/revision"


UNANSWERED = "runs, and does not answer its readiness probe yet"
"""What is said of a container while nobody knows more."""


class Fetch(msgspec.Struct, frozen=True):
    """How far fetching a model is."""

    state: Literal["Fetching", "Fetched", "FetchFailed"]
    message: str
    """The node's words: what was found with its digest, how far it is, or what is wrong."""


class Component(msgspec.Struct, kw_only=True):
    """One component as it is."""

    exists: bool = False
    available: bool = False
    """Enough pods, of whatever version, answer."""
    latest: bool = False
    """Pods of the newest version answer, and nothing older is left to replace."""
    started: bool = False
    """Pods of the newest version are there."""
    ready_pods: int = 0
    older_pods: int = 0
    """Of those, the ones of older versions."""
    failed_pods: int = 0
    failure: Failure | None = None
    """Of the newest version's pods."""
    reason: str = ""
    message: str = ""
    """What the Deployment says while it is not available."""
    fetched: Fetch | None = None
    """How the newest pod's model came; None where none is fetched."""


class Observed(msgspec.Struct, kw_only=True):
    """A service's objects as they are."""

    components: Mapping[str, Component] = msgspec.field(default_factory=dict[str, Component])
    routes: Mapping[str, str | None] = msgspec.field(default_factory=dict[str, str | None])
    """By name: None where the route is in force, else what it waits for."""


def component(deployment: Object | None, sets: Iterable[Object], pods: Iterable[Object]) -> Component:
    """A component by its Deployment, ReplicaSets and pods."""
    if deployment is None:
        return Component()
    status = deployment.get("status", {})
    fresh = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    wanted = deployment["spec"].get("replicas", 1)
    newest = max(sets, key=_revision, default=None)
    all_pods = list(pods)
    uid = newest["metadata"]["uid"] if newest is not None else ""
    new = [pod for pod in all_pods if uid and failure.owner_uid(pod) == uid] if fresh else []
    found = failure.of_pods(new)
    available = find_condition(status.get("conditions"), "Available") or {}
    replica_failure = find_condition(status.get("conditions"), "ReplicaFailure") or {}
    if replica_failure.get("status") == "True" and found is None:
        found = Failure(
            message=replica_failure.get("message", "pods cannot be made"),
            reason="RuntimeUnhealthy",
            pod="",
            container="",
        )
    progress = find_condition(status.get("conditions"), "Progressing") or {}
    if fresh and progress.get("reason") == "ProgressDeadlineExceeded" and found is None:
        limit = deployment["spec"].get("progressDeadlineSeconds", 600)
        found = Failure(
            message=f"its pods are not Ready after {limit} s: {_waits_for(new)}",
            reason="ProgressDeadlineExceeded",
            pod="",
            container="",
        )
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    ready_new = sum(1 for pod in new if is_true(pod, "Ready"))
    return Component(
        exists=True,
        available=is_true(deployment, "Available"),
        latest=fresh and updated >= wanted and total <= updated and ready_new >= wanted,
        started=bool(new),
        ready_pods=sum(1 for pod in all_pods if is_true(pod, "Ready")),
        older_pods=sum(1 for pod in all_pods if is_true(pod, "Ready") and failure.owner_uid(pod) != uid),
        failed_pods=sum(1 for pod in new if failure.of_pod(pod) is not None),
        failure=found,
        reason=available.get("reason", ""),
        message=_waits_for(new) if new else available.get("message", ""),
        fetched=_fetched(new),
    )


def _fetched(pods: Iterable[Object]) -> Fetch | None:
    """What the initializer of the newest pod says."""
    ordered = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    for pod in ordered:
        for one in objects(pod.get("status", {}).get("initContainerStatuses")):
            if one["name"] != INITIALIZER:
                continue
            state, last = mapping(one.get("state")), mapping(one.get("lastState"))
            ended, waiting = mapping(state.get("terminated")), mapping(state.get("waiting"))
            ended = ended or (mapping(last.get("terminated")) if waiting.get("reason") in HOPELESS else {})
            if ended.get("exitCode", 0):
                return Fetch("FetchFailed", str(ended.get("message") or "the model cannot be fetched"))
            if ended:
                return Fetch("Fetched", str(ended.get("message") or ""))
            if waiting.get("message"):
                return Fetch("Fetching", str(waiting["message"]))
    return None


def _waits_for(pods: Iterable[Object]) -> str:
    """What the newest pod that is not Ready waits for, in the node's words."""
    ordered = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    for pod in ordered:
        if is_true(pod, "Ready"):
            continue
        status = pod.get("status", {})
        for group in (status.get("initContainerStatuses"), status.get("containerStatuses")):
            for one in objects(group):
                waiting = mapping(mapping(one.get("state")).get("waiting"))
                if waiting.get("message"):
                    return str(waiting["message"])
        for one in objects(status.get("containerStatuses")):
            if "running" in mapping(one.get("state")) and not one.get("ready"):
                return _unanswered(pod, str(one["name"]))
        condition = find_condition(status.get("conditions"), "Ready") or {}
        if condition.get("message"):
            return str(condition["message"])
    return "its pods are starting"


def _unanswered(pod: Object, name: str) -> str:
    """What a container that runs does not answer yet."""
    none: Object = {}
    found = next((one for one in objects(pod["spec"].get("containers")) if one.get("name") == name), none)
    probe: Object = found.get("readinessProbe") or {}
    http, tcp, grpc = (mapping(probe.get(kind)) for kind in ("httpGet", "tcpSocket", "grpc"))
    if http:
        asked = f"HTTP {http.get('path', '/')} on port {http.get('port')}"
    elif tcp or grpc:
        asked = f"{'TCP' if tcp else 'gRPC'} port {(tcp or grpc).get('port')}"
    else:
        asked = "its command"
    condition = find_condition(pod["status"].get("conditions"), "Ready") or {}
    words = str(condition.get("message") or "").partition(f"; {name}: ")[2]  # this platform's node knows more
    return f"container {name} {UNANSWERED} ({asked}){f': {words}' if words else ''}"


def route(item: Object | None) -> str | None:
    """None where a gateway has accepted the route and goes by it, else what it waits for. (`Programmed` is said by this
    platform's gateway only: it answers 404 for a route that it accepted and then could not take over.)"""
    if item is None:
        return "it is not created yet"
    parents = objects(item.get("status", {}).get("parents"))
    generation = item["metadata"].get("generation", 0)
    if not parents:
        return "no gateway has taken it yet"
    for parent in parents:
        for kind in ("Accepted", "ResolvedRefs", "Programmed"):
            condition = find_condition(parent.get("conditions"), kind)
            seen = (condition or {}).get("observedGeneration", generation)
            if seen < generation:
                return "the gateway has not taken its newest version yet"
            if condition is not None and condition["status"] != "True":
                return (
                    condition.get("message") or condition.get("reason") or f"{kind} is {condition['status']}"
                )
            if condition is None and kind == "Accepted":
                return "no gateway has accepted it yet"
    return None


def _revision(item: Object) -> tuple[int, str]:
    text = mapping(item["metadata"].get("annotations")).get(REVISION, "0")
    return (int(text) if str(text).isdecimal() else 0, item["metadata"].get("creationTimestamp") or "")
