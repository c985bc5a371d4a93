"""What loading does to the interpreter that others use at the same time."""

import gc
import sys
from threading import Barrier, Thread

import pytest

from modelport.server.courtesy import SWITCH_INTERVAL_S, yielding


@pytest.fixture(autouse=True)
def as_before():
    before = sys.getswitchinterval(), gc.isenabled()
    yield
    assert (sys.getswitchinterval(), gc.isenabled()) == before


def test_the_lock_changes_hands_fast_while_a_model_is_loaded():
    # Python's 5 ms would be added to every request that arrives meanwhile.
    with yielding():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S, abs=1e-6)
        assert not gc.isenabled()


def test_a_model_that_cannot_be_loaded_leaves_nothing_changed():
    # Without its collector the server would grow from the first bad artifact on.
    with pytest.raises(RuntimeError, match="bad"), yielding():
        raise RuntimeError("bad")


def test_two_that_load_at_once_restore_once():
    # If the first to end restored both settings, or the last what the first had set, either would stay wrong.
    entered, left = Barrier(2), Barrier(2)

    def first() -> None:
        with yielding():
            entered.wait(60)
        left.wait(60)

    thread = Thread(target=first)
    thread.start()
    with yielding():
        entered.wait(60)
        left.wait(60)
        assert not gc.isenabled()
    thread.join()


def test_who_had_no_collector_gets_none():
    gc.disable()
    try:
        with yielding():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
