"""Who loads lets those who serve have the processor as soon as they wake."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelport.server.courtesy import SWITCH_INTERVAL_S, aside
from modelport.server.turns import LONG_NS, LOWER_BY, turns


def elsewhere(work):
    """Runs it in a thread of its own, as the server's threads are; what it returned."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result(60)


@pytest.fixture
def usual():
    found = turns()
    if found is None or found.runtime_ns == 0 or not 0 <= found.nice < 10:
        pytest.skip("this system does not tell how long turns are")
    return found


@pytest.mark.parametrize(("lower", "by"), [(True, LOWER_BY), (False, 0)])
def test_a_thread_that_loads_has_long_turns_and_those_that_it_starts_have_not(usual, lower, by):
    # Else a request waits for the next tick, 4 ms, and so would a framework's pool that was made while loading.
    def work():
        return turns(), elsewhere(turns)

    within, started = elsewhere(lambda: aside(work, lower=lower))
    assert (within.runtime_ns, within.nice) == (LONG_NS, usual.nice + by)
    assert (started.runtime_ns, started.nice) == (usual.runtime_ns, usual.nice + by)
    assert within.policy == usual.policy


def test_who_asked_for_it_goes_on_as_before(usual):
    # The model's own thread starts from there: it would answer from the end of the queue for good.
    def work():
        aside(lambda: None, lower=True)
        return turns()

    assert elsewhere(work)[:6] == usual[:6]


def test_the_main_thread_loads_by_itself(usual):
    # Nothing is served yet, and what libraries keep for the thread that loads first is kept for the right one.
    assert aside(lambda: (threading.current_thread(), turns()), lower=True) == (
        threading.main_thread(),
        usual,
    )


@pytest.mark.parametrize("lower", [True, False])
def test_one_thread_loads_whatever_is_loaded_later(lower):
    # Each thread has a heap whose end the C library keeps: a thousand loads on new threads took 12 MB for good.
    first, then = (elsewhere(lambda: aside(threading.current_thread, lower=lower)) for _ in range(2))
    assert first is then is not threading.current_thread()


def test_a_fork_has_a_thread_of_its_own_that_loads():
    # The thread of before is not there any more: a worker process that waited for it would never load anything.
    elsewhere(lambda: aside(lambda: None, lower=True))
    child = os.fork()
    if not child:
        found = 1
        try:
            found = elsewhere(lambda: aside(lambda: 7, lower=True))
        finally:
            os._exit(found)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_loading_raises_arrives():
    def work():
        raise RuntimeError("bad artifact")

    with pytest.raises(RuntimeError, match="bad artifact"):
        elsewhere(lambda: aside(work, lower=True))


def test_the_lock_changes_hands_fast_meanwhile():
    assert aside(sys.getswitchinterval, lower=True) == pytest.approx(SWITCH_INTERVAL_S, abs=1e-6)
    assert elsewhere(lambda: aside(sys.getswitchinterval, lower=True)) == pytest.approx(
        SWITCH_INTERVAL_S, abs=1e-6
    )
