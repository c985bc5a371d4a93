"""How the platform's programs start: by a fork of the supervisor, which has imported what they need.

    python -m MODULE ARGUMENTS        and        fork, then run MODULE

come to the same. The fork takes milliseconds where the import takes a second, and what all programs have imported is
in memory once. A supervisor with a second thread forks nobody, since a lock that the thread holds would stay held.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

SHARED = (
    "modelport.local.control",
    "modelport.local.node.__main__",
    "modelport.cli.gateway",
    "modelport._dataplane",
    # What these import once they run.
    "anyio._backends._asyncio",
    "encodings.idna",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.httptools_impl",
)
"""Modules that the supervisor imports for its programs."""
PR_SET_NAME = 15
M_ARENA_MAX = -8
ARENAS = 2
"""Of the allocator: one a thread costs memory that programs which wait have no use for."""


SETTLED_S = 10.0
"""After its start a program has done what it does once."""


def give_back() -> None:
    """Lets the system have the memory that a program has used once and freed."""
    ctypes.CDLL(None).malloc_trim(0)


def share() -> bool:
    """Imports what programs share; whether that went well. Where it does not, each finds out for itself and says so
    in its log."""
    try:
        for name in SHARED:
            importlib.import_module(name)
    except Exception:  # noqa: BLE001 - a broken installation fails in many ways
        return False
    gc.collect()
    give_back()
    gc.freeze()  # a collection in a child would write to every page that it shares
    return True


def start(words: Sequence[str], log: int, keep: Sequence[int], *, shared: bool) -> int:
    """Starts `python -m WORDS` in a session of its own, with the descriptors `keep` besides its log; returns its
    number. Raises OSError."""
    if not shared or threading.active_count() > 1:
        return _spawn(words, log, keep)
    pid = os.fork()
    if pid == 0:
        _become(words, log, keep)
    return pid


def _spawn(words: Sequence[str], log: int, keep: Sequence[int]) -> int:
    child = subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, "-m", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=keep,
        start_new_session=True,  # Ctrl-C is the supervisor's to pass on
        env=os.environ | {"MALLOC_ARENA_MAX": str(ARENAS)},
    )
    child.returncode = 0  # reaped by the supervisor, not by Popen
    return child.pid


def _become(words: Sequence[str], log: int, keep: Sequence[int]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _descriptors(log, keep)
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_NAME, f"mp-{words[0].rpartition('.')[2]}".encode()[:15], 0, 0, 0)
        libc.mallopt(M_ARENA_MAX, ARENAS)
        sys.argv = [words[0], *words[1:]]
        _forget(words[0])
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1 if asked.code else 0
    except BaseException:  # noqa: BLE001 - the last frame of a forked process: nothing may escape it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forget(program: str) -> None:
    """A program that was imported to be shared runs anew, as `__main__`; runpy warns of one that is there twice."""
    is_package = hasattr(sys.modules.get(program), "__path__")
    sys.modules.pop(f"{program}.__main__" if is_package else program, None)


def _descriptors(log: int, keep: Sequence[int]) -> None:
    """The log as output, and nothing of the supervisor's but what is handed down: its lock must end with it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    begin = 3
    for descriptor in sorted(keep):
        os.closerange(begin, descriptor)
        os.set_inheritable(descriptor, True)
        begin = descriptor + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
