"""Loading a model beside models that serve: who predicts waits for the interpreter's lock as briefly as can be."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Generator
from typing import Final

from modelport.server.turns import long_turns

SWITCH_INTERVAL_S: Final = 0.00005
"""How long a thread that loads may keep the lock while another wants it; Python's own 5 ms is a request's p99.

Ten times what waking a thread takes: with 5 µs, who loads comes to a standstill.
"""

_lock: Final = threading.Lock()
_loading = 0
_before: tuple[float, bool] = (0.005, True)


@contextlib.contextmanager
def yielding() -> Generator[None]:
    """While a model is loaded: hand lock and processor over fast, and do not collect garbage.

    Unpickling makes objects by the hundred thousand, on which the collector starts again and again, and each of its
    full passes holds the lock for as long as all objects of all models take. What is garbage by then is collected
    later. The main thread loads when nothing is served yet, and is not asked to give way.
    """
    global _loading, _before
    with _lock:
        if _loading == 0:
            _before = sys.getswitchinterval(), gc.isenabled()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            gc.disable()
        _loading += 1
    aside = threading.current_thread() is not threading.main_thread()
    try:
        with long_turns() if aside else contextlib.nullcontext():
            yield
    finally:
        with _lock:
            _loading -= 1
            if _loading == 0:
                sys.setswitchinterval(_before[0])
                if _before[1]:
                    gc.enable()
