"""A pod in three words, as `kubectl get pods` finds them: ready, status, restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from modelport.kube.condition import is_true
from modelport.kube.resource import Object
from modelport.kube.sidecar import sidecars
from modelport.local.apiserver.part import part, parts
from modelport.local.apiserver.table import age

INIT = "initContainerStatuses"


def pod_ready(pod: Object) -> str:
    """How many containers are ready, of how many."""
    beside = {one.get("name") for one in sidecars(pod)}
    serving = [*(one for one in _statuses(pod, INIT) if one.get("name") in beside), *_statuses(pod)]
    ready = sum(1 for one in serving if one.get("ready") and "running" in _state(one))
    return f"{ready}/{len(beside) + len(parts(pod, 'spec', 'containers'))}"


def pod_status(pod: Object) -> str:
    """The worst that is known of its containers, else its phase."""
    status = part(pod, "status")
    reason = _init_reason(pod)
    if reason is None:
        reason = _container_reason(pod, str(status.get("reason") or status.get("phase") or "Unknown"))
    if pod["metadata"].get("deletionTimestamp"):
        return reason if status.get("phase") in ("Succeeded", "Failed") else "Terminating"
    return reason


def _init_reason(pod: Object) -> str | None:
    """What the init container says that has not ended well yet; None once all have."""
    statuses, beside = _statuses(pod, INIT), {one.get("name") for one in sidecars(pod)}
    total = len(parts(pod, "spec", "initContainers"))
    for position, one in enumerate(statuses):
        state = _state(one)
        if one.get("name") in beside and one.get("started"):
            continue
        if "terminated" in state:
            if part(state, "terminated").get("exitCode") == 0:
                continue
            return "Init:" + _end(part(state, "terminated"))
        waiting = part(state, "waiting").get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{position}/{total}"
    return None


def _container_reason(pod: Object, reason: str) -> str:
    running = False
    for one in reversed(_statuses(pod)):
        state = _state(one)
        waiting = part(state, "waiting").get("reason")
        if waiting:
            reason = str(waiting)
        elif "terminated" in state:
            reason = _end(part(state, "terminated"))
        elif one.get("ready") and "running" in state:
            running = True
    if reason == "Completed" and running:
        return "Running" if is_true(pod, "Ready") else "NotReady"
    return reason


def _end(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def pod_restarts(pod: Object, now: datetime) -> Any:
    """How often containers were started again, and when last: the init containers' until they have ended well."""
    statuses = _statuses(pod)
    if _init_reason(pod) is not None:
        statuses = _statuses(pod, INIT)
    count = sum(int(one.get("restartCount") or 0) for one in statuses)
    ends = [part(one, "lastState", "terminated").get("finishedAt") for one in statuses]
    last = max((text for text in ends if text), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _statuses(pod: Object, field: str = "containerStatuses") -> list[Object]:
    return parts(pod, "status", field)


def _state(status: Object) -> Object:
    return part(status, "state")
