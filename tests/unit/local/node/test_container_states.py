"""When a container runs again, and what the pod's status makes of its containers' states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modelport.local.node.container import (
    LONGEST_BACK_OFF_S,
    Ended,
    State,
    back_off_s,
    in_a_line,
    pod_status,
    reason_of,
    restarts_again,
    status,
)
from modelport.wire.fork import Exit

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
STARTED = "2026-11-26T11:00:00Z"


def ended(code: int, **more) -> Ended:
    return Ended(code=code, reason="Completed" if code == 0 else "Error", **more)


def pod(*containers: str, inits: tuple[str, ...] = (), policy: str = "Always", before=None) -> dict:
    spec = {"containers": [{"name": name} for name in containers], "restartPolicy": policy}
    if inits:
        spec["initContainers"] = [{"name": name} for name in inits]
    return {"metadata": {"name": "p"}, "spec": spec, "status": before or {}}


def told(pod: dict, **states: State) -> dict:
    return pod_status(pod, states, "127.9.1.1", STARTED, NOW)


def condition(status: dict, kind: str) -> dict:
    return next(one for one in status["conditions"] if one["type"] == kind)


def test_a_first_crash_is_restarted_at_once_and_later_ones_ever_more_slowly():
    state = State()
    pauses = [back_off_s(state, ran_s=1.0) for _ in range(12)]
    assert pauses[:5] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == LONGEST_BACK_OFF_S
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "Error (exit code 3)"),
        ("no database\n", "no database"),
        ("error: no such flag\n\nhint: --help", "error: no such flag hint: --help"),
        ("starting\nTraceback (most recent call last):\n  File x\nKeyError: 'HOME'\n", "KeyError: 'HOME'"),
    ],
)
def test_an_event_says_in_one_line_how_a_container_ended(message, said):
    """kubectl shows the first line of an event: `Traceback (most recent call last):...` helps nobody."""
    assert in_a_line(ended(3, message=message)) == said


def with_sidecar() -> dict:
    found = pod("c", inits=("proxy", "prep"))
    found["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    return found


def test_one_that_stays_beside_the_others_has_initialized_once_it_has_started():
    prep = State(done=True, ended=ended(0))
    proxy = State(pid=1, start=1)
    assert condition(told(with_sidecar(), proxy=proxy, prep=prep), "Initialized")["status"] == "False"
    proxy.started = True
    assert condition(told(with_sidecar(), proxy=proxy, prep=prep), "Initialized")["status"] == "True"


def test_a_pod_is_ready_with_what_stays_beside_its_containers():
    main, prep = State(pid=1, start=1, ready=True), State(done=True, ended=ended(0))
    proxy = State(pid=2, start=2, started=True, unready="HTTP 503")
    said = condition(told(with_sidecar(), proxy=proxy, prep=prep, c=main), "Ready")
    assert (said["status"], said["message"]) == (
        "False",
        "containers with unready status: [proxy]; proxy: HTTP 503",
    )
    proxy.ready, proxy.unready = True, ""
    assert condition(told(with_sidecar(), proxy=proxy, prep=prep, c=main), "Ready")["status"] == "True"


def test_a_container_that_never_ran_leaves_its_pod_pending():
    """`kubectl get pods` and whoever waits for phase=Running must not be told that it runs."""
    never = Ended(code=128, reason="StartError", message="no such program")
    assert told(pod("a"), a=State(waiting="RunContainerError", ended=never))["phase"] == "Pending"


def test_a_container_that_ran_long_is_forgiven():
    state = State()
    for _ in range(8):
        back_off_s(state, ran_s=1.0)
    assert back_off_s(state, ran_s=301.0) == 0.0


@pytest.mark.parametrize(
    ("policy", "code", "init", "again"),
    [
        ("Always", 0, False, True),
        ("Always", 1, False, True),
        ("OnFailure", 0, False, False),
        ("OnFailure", 1, False, True),
        ("Never", 1, False, False),
        ("Always", 0, True, False),
        ("Always", 1, True, True),
        ("OnFailure", 1, True, True),
        ("Never", 1, True, False),
    ],
)
def test_the_restart_policy_decides(policy, code, init, again):
    assert restarts_again(policy, code, init=init) is again


@pytest.mark.parametrize(
    ("how", "memory", "found"),
    [
        (Exit(code=0), False, (0, "Completed")),
        (Exit(code=3), False, (3, "Error")),
        (Exit(signal=9), False, (137, "Error")),
        (Exit(signal=9), True, (137, "OOMKilled")),
        (None, False, (255, "ContainerStatusUnknown")),
    ],
)
def test_an_end_is_told_in_kubernetes_words(how, memory, found):
    assert reason_of(how, killed_for_memory=memory) == found


def test_a_running_container_shows_how_its_last_run_ended():
    state = State(pid=7, start=1, started_at=STARTED, restarts=2, ended=ended(1, message="no such file"))
    found = status({"name": "c", "image": "i"}, state)
    assert found["state"] == {"running": {"startedAt": STARTED}}
    assert found["lastState"]["terminated"]["message"] == "no such file"
    assert found["restartCount"] == 2


def test_a_waiting_container_says_why():
    found = status({"name": "c"}, State(waiting="ErrImageNotKnown", message="image 'x' is not known"))
    assert found["state"]["waiting"] == {"reason": "ErrImageNotKnown", "message": "image 'x' is not known"}


@pytest.mark.parametrize(
    ("states", "policy", "phase"),
    [
        ({}, "Always", "Pending"),
        ({"a": State(pid=1, start=1)}, "Always", "Running"),
        ({"a": State(ended=ended(1), restarts=1)}, "Always", "Running"),
        (
            {"a": State(done=True, ended=ended(0)), "b": State(done=True, ended=ended(0))},
            "Never",
            "Succeeded",
        ),
        ({"a": State(done=True, ended=ended(0)), "b": State(done=True, ended=ended(2))}, "Never", "Failed"),
        ({"a": State(done=True, ended=ended(0)), "b": State(pid=2, start=1)}, "OnFailure", "Running"),
    ],
)
def test_the_phase_follows_from_all_containers(states, policy, phase):
    assert told(pod("a", "b", policy=policy), **states)["phase"] == phase


def test_a_failed_init_container_fails_the_pod_and_an_unfinished_one_keeps_it_pending():
    some = pod("a", inits=("i",), policy="Never")
    assert told(some, i=State(done=True, ended=ended(1)))["phase"] == "Failed"
    unfinished = told(some, i=State(pid=3, start=1))
    assert unfinished["phase"] == "Pending"
    assert condition(unfinished, "Initialized")["reason"] == "ContainersNotInitialized"
    assert unfinished["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_a_pod_is_ready_when_all_containers_are_and_else_names_those_that_are_not():
    some = pod("a", "b")
    ready = State(pid=1, start=1, ready=True)
    status = told(some, a=ready, b=State(pid=2, start=1))
    assert condition(status, "Ready")["message"] == "containers with unready status: [b]"
    status = told(some, a=ready, b=ready)
    assert condition(status, "Ready")["status"] == condition(status, "ContainersReady")["status"] == "True"


def test_a_condition_keeps_the_time_of_its_last_change():
    ready = State(pid=1, start=1, ready=True)
    first = told(pod("a"), a=ready)
    later = NOW + timedelta(hours=1)
    same = pod_status(pod("a", before=first), {"a": ready}, "127.9.1.1", STARTED, later)
    assert condition(same, "Ready")["lastTransitionTime"] == condition(first, "Ready")["lastTransitionTime"]
    ready.ready = False
    changed = pod_status(pod("a", before=first), {"a": ready}, "127.9.1.1", STARTED, later)
    assert condition(changed, "Ready")["lastTransitionTime"] > condition(first, "Ready")["lastTransitionTime"]


def test_a_pod_that_cannot_be_carried_out_says_so():
    status = pod_status(pod("a"), {}, "", STARTED, NOW, "the node failed: disk full")
    assert condition(status, "PodScheduled")["message"] == "the node failed: disk full"
    assert "podIP" not in status
