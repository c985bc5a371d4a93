"""Loading a model beside models that serve: who predicts waits for the interpreter's lock as briefly as can be."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from modelport._dataplane import let_pass as let_pass
from modelport.server.turns import give_way

SWITCH_INTERVAL_S: Final = 0.00005
"""How long a thread that loads may keep the lock while another wants it; Python's own 5 ms is a request's p99.

Ten times what waking a thread takes: with 5 µs, who loads comes to a standstill.
"""

_T = TypeVar("_T")

_lock: Final = threading.Lock()
_loading = 0
_before: tuple[float, bool] = (0.005, True)


@contextlib.contextmanager
def yielding() -> Generator[None]:
    """While a model is loaded: hand the lock over fast, and do not collect garbage.

    Unpickling makes objects by the hundred thousand, on which the collector starts again and again, and each of its
    full passes holds the lock for as long as all objects of all models take. What is garbage by then is collected
    later.
    """
    global _loading, _before
    with _lock:
        if _loading == 0:
            _before = sys.getswitchinterval(), gc.isenabled()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            gc.disable()
        _loading += 1
    try:
        yield
    finally:
        with _lock:
            _loading -= 1
            if _loading == 0:
                sys.setswitchinterval(_before[0])
                if _before[1]:
                    gc.enable()


def aside(work: Callable[[], _T], *, lower: bool) -> _T:
    """What `work` returns or raises, done in a thread that lets others go first (`turns.give_way`).

    The main thread does it itself: it loads when nothing is served yet.
    """
    if threading.current_thread() is threading.main_thread():
        with yielding():
            return work()
    with yielding():
        return _thread(lower).submit(work).result()


@functools.cache
def _thread(lower: bool) -> ThreadPoolExecutor:
    """The thread for it, always the same: the C library keeps a heap a thread, the end of which it does not give back,
    so that loads on new threads each time leave a model's worth of memory in one heap after another."""
    return ThreadPoolExecutor(1, "load", lambda: give_way(lower=lower))


os.register_at_fork(after_in_child=_thread.cache_clear)  # a fork has no threads
