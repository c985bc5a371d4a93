"""Who loads lets those who serve have the processor as soon as they wake."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelport.server.courtesy import yielding
from modelport.server.turns import LONG_NS, Turns, long_turns, turns


def elsewhere(work):
    """Runs it in a thread of its own, as the server's loading is; what it returned."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(60)


@pytest.fixture(autouse=True)
def known():
    found = turns()
    if found is None or found.runtime_ns == 0 or found.nice < 0:
        pytest.skip("this system does not tell how long turns are")


def test_a_thread_that_loads_has_long_turns_and_those_that_it_starts_have_not():
    # Else a request waits for the next tick, 4 ms, and so would a framework's pool that was made while loading.
    def work() -> tuple[Turns | None, ...]:
        before = turns()
        with yielding():
            within, started = turns(), elsewhere(turns)
        return before, within, started, turns()

    before, within, started, after = elsewhere(work)
    assert within.runtime_ns == LONG_NS
    assert started.runtime_ns == before.runtime_ns == after.runtime_ns
    assert (within.policy, within.nice) == (before.policy, before.nice) == (after.policy, after.nice)


def test_what_fails_has_usual_turns_again():
    def work() -> Turns | None:
        with pytest.raises(RuntimeError), long_turns():
            raise RuntimeError
        return turns()

    assert elsewhere(work).runtime_ns < LONG_NS


def test_the_main_thread_goes_on_as_it_was():
    # It has nobody to give way to while the server starts, and its threads must keep what the user gave them.
    before = turns()
    with yielding():
        assert turns() == before
