"""One container as the node sees it: what it does now, how it ended last, when it may start again. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from modelport.kube.meta import timestamp
from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.kube.sidecar import is_sidecar
from modelport.wire.fork import Exit

NAMESPACES = "serving.modelport.io/Namespaces"
"""Condition of a pod whose commands share the machine's network and files, because there is no other way."""
UNREADY = "containers with unready status:"
"""Kubernetes' words, before the names; ours for a container follow them: `; NAME: WORDS`."""
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S, STEADY_S = 0.5, 60.0, 300.0


class Ended(msgspec.Struct, kw_only=True):
    """How a run ended."""

    code: int
    signal: int | None = None
    reason: str
    message: str = ""
    started_at: str = ""
    finished_at: str = ""


class State(msgspec.Struct, kw_only=True):
    """A container's state, kept on disk so that a restarted node knows it."""

    pid: int = 0
    start: int = 0
    """Of the running process; 0 for none."""
    run: int = 0
    """Number of the present or next run: its log is RUN.log."""
    restarts: int = 0
    failures: int = 0
    """Ends in a row, for the back-off."""
    started_at: str = ""
    ready: bool = False
    started: bool = False
    """Whether the startup probe, if any, has succeeded."""
    waiting: str = "ContainerCreating"
    message: str = ""
    """Why it waits."""
    unready: str = ""
    """What its readiness probe gets, where it has failed for long."""
    ended: Ended | None = None
    """The last end."""
    done: bool = False
    """It ended and will not run again."""

    @property
    def running(self) -> bool:
        """Whether it has a process."""
        return self.pid != 0


def reason_of(how: Exit | None, *, killed_for_memory: bool = False) -> tuple[int, str]:
    """Exit code and Kubernetes' word for an end."""
    if killed_for_memory:
        return 137, "OOMKilled"
    if how is None:
        return 255, "ContainerStatusUnknown"
    return how.status, "Completed" if how.status == 0 else "Error"


def in_a_line(ended: Ended) -> str:
    """What a container left when it ended: of a traceback the last line, which says what is wrong."""
    lines = [line.strip() for line in ended.message.splitlines() if line.strip()]
    if not lines:
        return f"{ended.reason} (exit code {ended.code})"
    return lines[-1] if any(line.startswith("Traceback ") for line in lines) else " ".join(lines)


def back_off_s(state: State, ran_s: float) -> float:
    """How long to wait before the next run: nothing the first time, then doubling."""
    if ran_s > STEADY_S:
        state.failures = 0
    state.failures += 1
    if state.failures == 1:
        return 0.0
    return min(FIRST_BACK_OFF_S * 2 ** (state.failures - 2), LONGEST_BACK_OFF_S)


def restarts_again(policy: str, code: int, *, init: bool) -> bool:
    """Whether a container that ended with this code runs again."""
    if init:
        return code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def status(container: Object, state: State | None) -> Object:
    """The container's entry in the pod's status."""
    state = state or State(waiting="PodInitializing")
    found: Object = {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": {},
        "lastState": {},
    }
    if state.pid:
        found["containerID"] = f"process://{state.pid}"
        found["state"] = {"running": {"startedAt": state.started_at}}
        if state.ended is not None:
            found["lastState"] = {"terminated": _terminated(state.ended)}
    elif state.done and state.ended is not None:
        found["state"] = {"terminated": _terminated(state.ended)}
    else:
        waiting: dict[str, Any] = {"reason": state.waiting}
        if state.message:
            waiting["message"] = state.message
        found["state"] = {"waiting": waiting}
        if state.ended is not None:
            found["lastState"] = {"terminated": _terminated(state.ended)}
    return found


def _terminated(ended: Ended) -> Object:
    found: Object = {
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": ended.started_at or None,
        "finishedAt": ended.finished_at or None,
    }
    if ended.signal is not None:
        found["signal"] = ended.signal
    if ended.message:
        found["message"] = ended.message[:4096]
    return found


def pod_status(
    pod: Object,
    states: dict[str, State],
    ip: str,
    started_at: str,
    now: datetime,
    problem: str = "",
    lacking: str = "",
) -> Object:
    """The pod's whole status. `problem`: why it cannot even begin; `lacking`: what its commands must do without."""
    spec, before = pod["spec"], pod.get("status", {})
    inits = [(c, states.get(c["name"])) for c in objects(spec.get("initContainers"))]
    mains = [(c, states.get(c["name"])) for c in spec["containers"]]
    initialized = all(
        s is not None
        and (s.started if is_sidecar(c) else s.done and s.ended is not None and s.ended.code == 0)
        for c, s in inits
    )
    serving = [*((c, s) for c, s in inits if is_sidecar(c)), *mains]
    ready = bool(mains) and all(s is not None and s.ready for _, s in serving)
    found: Object = {
        "phase": _phase(spec.get("restartPolicy", "Always"), inits, mains),
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}] if ip else [],
        "startTime": started_at,
        "qosClass": before.get("qosClass", "BestEffort"),
        "containerStatuses": [status(c, s) for c, s in mains],
    }
    if not ip:
        found.pop("podIP")
        found.pop("podIPs")
    if inits:
        found["initContainerStatuses"] = [status(c, s) for c, s in inits]
    not_ready = [c["name"] for c, s in serving if s is None or not s.ready]
    words = f"{UNREADY} [{' '.join(not_ready)}]" if not_ready else ""
    words += "".join(f"; {c['name']}: {s.unready}" for c, s in serving if s is not None and s.unready)
    conditions: list[Object] = []
    for kind, holds, reason, message in (
        ("PodScheduled", not problem, "" if not problem else "Unfit", problem),
        ("Initialized", initialized, "" if initialized else "ContainersNotInitialized", ""),
        ("ContainersReady", ready, "" if ready else "ContainersNotReady", words),
        ("Ready", ready, "" if ready else "ContainersNotReady", words),
    ):
        conditions.append(_condition(before, kind, holds, reason, message, now))
    if lacking:
        conditions.append(_condition(before, NAMESPACES, False, "NotPermitted", lacking, now))
    found["conditions"] = conditions
    return found


def _condition(before: Object, kind: str, holds: bool, reason: str, message: str, now: datetime) -> Object:
    truth = "True" if holds else "False"
    known = next((c for c in objects(before.get("conditions")) if c["type"] == kind), None)
    since = known["lastTransitionTime"] if known and known["status"] == truth else timestamp(now)
    found: Object = {"type": kind, "status": truth, "lastTransitionTime": since}
    return found | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def _phase(
    policy: str, inits: list[tuple[Object, State | None]], mains: list[tuple[Object, State | None]]
) -> str:
    for container, state in inits:
        if is_sidecar(container):
            continue
        if state is not None and state.done and state.ended is not None and state.ended.code != 0:
            return "Failed"
    if mains and all(s is not None and s.done for _, s in mains):
        good = all(s is not None and s.ended is not None and s.ended.code == 0 for _, s in mains)
        return "Succeeded" if good else "Failed"
    if any(s is not None and (s.running or s.restarts or (s.ended and s.started_at)) for _, s in mains):
        return "Running"
    del policy
    return "Pending"
