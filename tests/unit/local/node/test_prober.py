"""When probes are made, what their answers mean, and the probes themselves against real servers."""

from __future__ import annotations

import pytest

from modelport.local.node.prober import EAGER_S, SLOW_S, Tally, pause_s, start_limit_s


def beliefs(tally: Tally, answers: str) -> str:
    """What is believed after each answer: `+` and `-`."""
    found = ""
    for answer in answers:
        tally.count(good=answer == "+")
        found += "+" if tally.holds else "-"
    return found


def test_one_slow_answer_does_not_take_a_ready_pod_out_of_service():
    given = {"failureThreshold": 3}
    assert beliefs(Tally(given, holds=False), "-+--+---+") == "-++++++-+"


def test_successes_must_come_in_a_row():
    assert beliefs(Tally({"successThreshold": 2}, holds=False), "+-++-") == "---++"


def test_only_a_change_is_reported():
    tally = Tally({}, holds=True)
    assert [tally.count(good=False) for _ in range(4)] == [False, False, True, False]


def test_a_starting_server_is_asked_eagerly_and_a_ready_one_once_a_period():
    given = {"periodSeconds": 30}
    assert pause_s(given, ever=False, holds=False, spent_s=0.0) == EAGER_S
    assert pause_s(given, ever=False, holds=False, spent_s=60.0) == SLOW_S
    assert pause_s(given, ever=True, holds=True, spent_s=60.0) == 30
    assert pause_s(given, ever=True, holds=False, spent_s=60.0) == 1.0


@pytest.mark.parametrize(
    ("given", "limit_s"), [({}, 30.0), ({"periodSeconds": 5, "failureThreshold": 60}, 300.0)]
)
def test_a_startup_probe_gives_the_time_that_kubernetes_gives(given, limit_s):
    assert start_limit_s(given) == limit_s
