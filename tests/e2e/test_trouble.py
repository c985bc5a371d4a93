"""Models that hang and workers that die: what else is served goes on, and the lost worker is replaced."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from process import PREDICTORS, Traffic, request, until


def ask_to_hang(server, row: float, answers: list) -> threading.Thread:
    body = {"instances": [[row]]}
    thread = threading.Thread(
        target=lambda: answers.append(request(f"{server.url}/v1/models/troubled:predict", body)), daemon=True
    )
    thread.start()
    return thread


@pytest.mark.parametrize("row", [1, 2], ids=["asleep", "holding the GIL"])
def test_a_model_that_hangs(serve, constants, models, row):
    """Without a watchdog one poisonous request stops a server until somebody notices; with the GIL held, health
    would be silent as well."""
    calm = constants(models / "calm.joblib", 5)
    server = serve(
        f"--model=troubled={PREDICTORS}:Troubled", f"--model=calm={calm}", "--predict-timeout", "1"
    )
    (first,) = server.workers()
    assert server.client("troubled").predict([[0]]) == [first]
    answers = []
    thread = ask_to_hang(server, row, answers)
    until(lambda: server.metric("modelport_in_flight_requests", model_name="troubled") or answers, "it hangs")
    assert server.ask("/v2/health/live").status == 200
    thread.join(timeout=60)
    assert answers, "the request was never answered"
    assert answers[0].status == 504, answers[0]
    assert "predict timeout (1 s)" in answers[0].error

    # Connections wait for the new process meanwhile; nobody is refused.
    (second,) = server.client("troubled").predict([[0]])
    assert second != first
    assert server.client("calm").predict([[0, 0]]) == [5.0]
    until(lambda: server.workers() == [second], "the old process has ended")
    assert "a model did not return in time; replacing the process" in server.stderr
    assert "exit code" not in server.stderr


def test_another_model_serves_while_one_hangs(serve, constants, models):
    """A model must not suffer for another one in the same process, before the time-out as after it."""
    calm = constants(models / "calm.joblib", 5)
    server = serve(
        f"--model=troubled={PREDICTORS}:Troubled", f"--model=calm={calm}", "--predict-timeout", "2"
    )
    answers = []
    with Traffic(f"{server.url}/v1/models/calm:predict", {"instances": [[0, 0]]}, threads=2) as traffic:
        thread = ask_to_hang(server, 1, answers)
        thread.join(timeout=60)
        until(lambda: "did not return in time" in server.stderr, "the process is replaced")
        traffic.flows()
    assert traffic.failures == []
    assert [answer.status for answer in answers] == [504]


def test_a_worker_is_killed_under_load(serve):
    """The kernel may kill a worker at any time: at most the requests in it are lost, and it is replaced."""
    server = serve(f"--model=troubled={PREDICTORS}:Troubled", "--workers", "2")
    old = server.all_serve()
    threads = 4
    with Traffic(
        f"{server.url}/v1/models/troubled:predict", {"instances": [[0]]}, threads=threads
    ) as traffic:
        os.kill(old[0], signal.SIGKILL)
        traffic.flows()
        until(lambda: old[0] not in server.workers(), "it is gone")
        new = server.all_serve()
        traffic.flows()
    assert len(traffic.failures) <= threads
    assert old[1] in new
    assert old[0] not in new
    server.wait_for("killed by SIGKILL")


def test_the_only_worker_is_killed_again_and_again(serve):
    """A supervisor that gave up, or slowed down after workers that had served, would leave nothing."""
    server = serve(f"--model=troubled={PREDICTORS}:Troubled")
    seen = set()
    for _ in range(5):
        (pid,) = server.client("troubled").predict([[0]])
        seen.add(pid)
        os.kill(pid, signal.SIGKILL)
        until(lambda: server.workers() not in ([], [pid]), "it is replaced")
    assert len(seen) == 5


def test_metrics_add_up(serve):
    """Prometheus scrapes one port and gets any worker: figures of one alone would be wrong."""
    server = serve(f"--model=troubled={PREDICTORS}:Troubled", "--workers", "2")
    server.all_serve()
    before = server.metric("modelport_requests_total", model_name="troubled", code="200")
    with Traffic(f"{server.url}/v1/models/troubled:predict", {"instances": [[0]]}, threads=4) as traffic:
        traffic.flows()
    counts = {server.metric("modelport_requests_total", model_name="troubled", code="200") for _ in range(10)}
    assert counts == {before + sum(traffic.answered)}
    assert traffic.failures == []


def test_workers_end_with_a_supervisor_that_is_killed(serve):
    """Workers that outlived their supervisor would keep the port, and nobody would look after them."""
    server = serve(f"--model=troubled={PREDICTORS}:Troubled", "--workers", "2")
    workers = server.all_serve()
    server.signal(signal.SIGKILL)
    server.ended(-signal.SIGKILL)  # which waits until nobody holds the pipes of its output
    until(lambda: not any(is_alive(pid) for pid in workers), "they end")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
