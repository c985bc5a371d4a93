"""What a forked child does until it is the process that was asked for."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from modelport.forkserver import room
from modelport.wire.fork import SHARE_DESCRIPTOR, Start, encode

PR_SET_NAME = 15


def become(start: Start, log: int, troubles: int, share: int) -> NoReturn:
    """Becomes the process. Trouble before it runs is told on `troubles`, a pipe that closes once it does.

    `log` takes stdout and stderr; on `share` a server tells what its models imported.
    """
    try:
        _leave_home(start)
        if start.pid_file:
            _sign(Path(start.pid_file))
        room.enter(start.room, Path(start.folder))
        _arrange(start, log)
    except BaseException as error:  # noqa: BLE001 - told to the parent, who tells the node
        _tell(troubles, error)
    if start.serve:
        os.set_inheritable(share, True)
        _serve(start, share)
    _execute(start, troubles)


def _leave_home(start: Start) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        name = start.title.encode()[:15] or b"modelport"
        ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)


def _sign(path: Path) -> None:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(encode({"pid": os.getpid(), "start": ticks}))
    temporary.replace(path)


def _arrange(start: Start, log: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(start.folder)


def _tell(troubles: int, error: BaseException) -> NoReturn:
    text = str(error) if isinstance(error, room.Shut) else "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):
        os.write(troubles, text.encode()[:60_000])
    os._exit(127)


def _execute(start: Start, troubles: int) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them; other programs rely on them
    program = start.arguments[0]
    try:
        os.execvpe(program, start.arguments, start.environment)  # noqa: S606 - the pod's own command
    except OSError as error:
        where = "" if "/" in program else " in PATH"
        hint = "Give its full path, or install it."
        if isinstance(error, PermissionError):
            hint = f"Make it executable: chmod +x {program}"
        _tell(troubles, room.Shut(f"command {program!r}: {error.strerror}{where}. {hint}"))


def _serve(start: Start, share: int) -> NoReturn:
    code = 1
    try:
        os.closerange(3, share)
        os.closerange(share + 1, 65536)
        os.environ.clear()
        os.environ.update(start.environment)
        os.environ[SHARE_DESCRIPTOR] = str(share)
        sys.argv = ["modelport", "serve", *start.arguments]
        for handler in logging.root.handlers[:]:
            logging.root.removeHandler(handler)  # the fork server's
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        gc.enable()
        from modelport.cli import main

        code = main(["serve", *start.arguments])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of a forked process: nothing may escape it
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
