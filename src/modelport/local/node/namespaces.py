"""What this user may make: network and mount namespaces as root, or in a user namespace, or none. Found by trying."""

from __future__ import annotations

import subprocess
import sys

import msgspec

NEWNS, NEWUSER, NEWNET = 0x00020000, 0x10000000, 0x40000000
LIMIT_S = 20.0
_TRY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
user, group = os.getuid(), os.getgid()
def no(step, number):
    print(f"{step}: {os.strerror(number)}")
    sys.exit(1)
if libc.unshare(int(sys.argv[1])) != 0:
    no("unshare", ctypes.get_errno())
if int(sys.argv[1]) & 0x10000000:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            os.write(os.open(f"/proc/self/{name}", os.O_WRONLY), text.encode())
        except OSError as error:
            no(f"writing {name}", error.errno)
if libc.mount(b"none", b"/", None, ctypes.c_ulong(0x44000), None) != 0:
    no("mount", ctypes.get_errno())
"""


class Means(msgspec.Struct, frozen=True):
    """How namespaces are made."""

    kind: str
    """`root`, `user`, or nothing where they cannot be made."""
    missing: str = ""
    """Why not."""


def find() -> Means:
    """Tries, in processes of their own."""
    if sys.platform != "linux":
        return Means("", f"{sys.platform} has none")
    if _attempt(NEWNET | NEWNS) is None:
        return Means("root")
    failure = _attempt(NEWUSER | NEWNET | NEWNS)
    return Means("user") if failure is None else Means("", failure)


def _attempt(flags: int) -> str | None:
    """None where it works, or what failed."""
    try:
        done = subprocess.run(  # noqa: S603 - our own text, by our own interpreter
            [sys.executable, "-I", "-S", "-c", _TRY, str(flags)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}")[-300:]
