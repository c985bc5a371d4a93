"""Connections are added while they help: too few are slow over a network, too many take memory for nothing."""

from __future__ import annotations

import pytest

from modelport.storage.pace import FIRST, MOST, SMALL, WINDOW_S, Pace


def rates(pace: Pace, speed, seconds: float = 20.0) -> list[int]:
    """The numbers of workers that were had, where `speed` of so many is so many bytes a second."""
    had, done, now = [pace.workers], 0.0, 0.0
    while now < seconds:
        pace.observe(int(done), now)
        if pace.workers != had[-1]:
            had.append(pace.workers)
        done += speed(pace.workers) * 0.1
        now += 0.1
    return had


def test_where_each_connection_is_slow_there_are_soon_as_many_as_may_be():
    assert rates(Pace(0, 500), lambda workers: workers * 60e6, seconds=10 * WINDOW_S + 1)[-1] == MOST


def test_where_a_few_fill_the_processor_one_more_is_the_last():
    assert rates(Pace(0, 500), lambda workers: 450e6) == [FIRST, FIRST + 1]


def test_it_stops_where_the_line_is_full():
    assert rates(Pace(0, 500), lambda workers: min(workers * 60e6, 300e6))[-1] <= 8


@pytest.mark.parametrize(
    ("whole", "parts", "workers"), [(1, 0, 1), (100, 0, SMALL), (0, 2, 2), (2, 500, FIRST)]
)
def test_it_begins_with_what_there_is_to_do(whole, parts, workers):
    assert Pace(whole, parts).workers == workers


def test_better_and_worse_moments_are_not_taken_for_a_gain():
    moments = iter([300e6, 420e6, 450e6, 330e6] * 1000)
    assert rates(Pace(0, 500), lambda workers: next(moments)) == [FIRST, FIRST + 1]


def test_a_download_that_stands_still_gets_no_more_connections():
    assert rates(Pace(0, 500), lambda workers: 0.0) == [FIRST]
