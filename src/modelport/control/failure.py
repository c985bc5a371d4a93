"""Why a pod does not get Ready, in the words of whoever failed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelport.kube.meta import controller_of
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.kube.sidecar import sidecars
from modelport.render.storage import INITIALIZER

LOOPING = "CrashLoopBackOff"
UNSEEN = "ContainerStatusUnknown"
HOPELESS = (
    LOOPING,
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImagePull",
    "ErrImageNotKnown",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)
"""Reasons for waiting that no waiting mends."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong in a pod's container."""

    message: str
    reason: str
    """KServe's: ModelLoadFailed or RuntimeUnhealthy."""
    pod: str
    container: str
    time: str = ""
    exit_code: int | None = None


def of_pods(pods: Iterable[Object]) -> Failure | None:
    """The failure of the newest pod that has one."""
    ordered = sorted(
        pods, key=lambda p: (p["metadata"].get("creationTimestamp") or "", p["metadata"]["name"])
    )
    for pod in reversed(ordered):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        found = of_pod(pod)
        if found is not None:
            return found
    return None


def of_pod(pod: Object) -> Failure | None:
    """A pod's failure, or None while there is hope."""
    status = pod.get("status", {})
    beside = {one["name"] for one in sidecars(pod)}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in objects(status.get(kind)):
            # One that stays beside the others is no different from them once it has started.
            initializes = kind[0] == "i" and container["name"] not in beside
            found = _of_container(pod, container, "init container" if initializes else "container")
            if found is not None:
                return found
    if status.get("phase") == "Failed":
        words = status.get("message") or status.get("reason") or "the pod failed"
        return Failure(message=words, reason="ModelLoadFailed", pod=pod["metadata"]["name"], container="")
    for condition in objects(status.get("conditions")):
        unfit = condition["type"] == "PodScheduled" and condition["status"] == "False"
        if unfit and condition.get("message"):
            return Failure(
                message=condition["message"],
                reason="RuntimeUnhealthy",
                pod=pod["metadata"]["name"],
                container="",
            )
    return None


def _of_container(pod: Object, container: Object, kind: str) -> Failure | None:
    state, last = container.get("state", {}), container.get("lastState", {})
    waiting, ended = state.get("waiting"), state.get("terminated") or last.get("terminated")
    # Nobody saw how it ended: the machine has, or the node was away. That says nothing of the model.
    unseen = ended is not None and ended.get("reason") == UNSEEN
    died = ended is not None and ended.get("exitCode", 0) != 0 and not unseen
    hopeless = waiting is not None and waiting.get("reason") in HOPELESS
    running = "running" in state
    if waiting is not None and not waiting.get("reason"):
        return None  # the platform was down, and it is about to be started: how it once ended is no news
    if running and kind != "init container" and (container.get("ready") or container.get("started")):
        return None
    if not hopeless and not (died and (not running or kind == "init container")):
        return None  # an init container that runs again has failed until it ends well
    words = mapping(ended).get("message") if died else None
    looping = mapping(waiting).get("reason") == LOOPING
    if not looping:  # which would say for how long it waits now, and other words with every round
        words = words or mapping(waiting).get("message")
    words = words or mapping(ended).get("reason") or mapping(waiting).get("reason")
    name = container["name"]
    text = str(words or "it ended").strip().removeprefix("error: ").replace("\n\nhint: ", ". ")
    if text.startswith("Traceback (most recent call last)"):
        # What is wrong stands at the end; where it came about is for the log.
        text = f"{kind} {name}: {text.splitlines()[-1].strip()}"
    elif looping and unseen:
        text = f"{kind} {name}: it has ended, and nobody saw how: what had started it was gone before. It is started again"
    elif looping and ended is not None and not died:
        text = f"{kind} {name}: ended by itself with exit code 0, where a server goes on"
    elif died and not mapping(ended).get("message"):
        text = f"{kind} {name}: {text} (exit code {mapping(ended).get('exitCode')})"
    elif kind == "init container" and name != INITIALIZER:
        text = f"{kind} {name}: {text}"
    return Failure(
        message=text,
        reason="ModelLoadFailed" if name == INITIALIZER or died else "RuntimeUnhealthy",
        pod=pod["metadata"]["name"],
        container=name,
        time=mapping(ended).get("finishedAt") or "",
        exit_code=mapping(ended).get("exitCode") if died or looping else None,
    )


def owner_uid(item: Object) -> str:
    """Uid of an object's controller; empty without one."""
    owner = controller_of(item)
    return str(owner["uid"]) if owner else ""
