"""Runs a command where a process of this machine is: its namespaces, its folder. Standard library only, run by its path:

    python enter.py [--tty] PID COMMAND [ARGUMENT …]

The environment is the caller's to give. Exit code 126 where it cannot enter, 127 where there is no such command.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys
import termios
from typing import NoReturn

NAMESPACES = ("user", "net", "uts", "ipc", "mnt")
"""Those that a pod's process may have of its own; the user's first, for it owns the others, and mounts last."""


def main(words: list[str]) -> NoReturn:
    """Enters and becomes the command."""
    if words[0] == "--tty":
        words = words[1:]
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    pid, command = words[0], words[1:]
    try:
        _enter(pid)
    except OSError as error:
        sys.stderr.write(f"the container's process {pid} cannot be joined: {error}\n")
        sys.exit(126)
    try:
        os.execvpe(command[0], command, os.environ)  # noqa: S606 - what was asked for
    except OSError as error:
        where = "" if "/" in command[0] else " in PATH"
        sys.stderr.write(f'exec: "{command[0]}": {error.strerror}{where}\n')
        sys.exit(127)


def _enter(pid: str) -> None:
    folder = os.open(f"/proc/{pid}/cwd", os.O_PATH | os.O_DIRECTORY)
    libc = ctypes.CDLL(None, use_errno=True)
    # Opened before any is entered: another mount namespace may have another /proc.
    opened = [
        os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        for name in NAMESPACES
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino  # noqa: PTH116
    ]
    for descriptor in opened:
        if libc.setns(descriptor, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        os.close(descriptor)
    os.fchdir(folder)
    os.close(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
