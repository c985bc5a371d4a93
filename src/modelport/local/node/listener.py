"""Whose a listening socket is: a stranger's answer at a pod's address must not count as the pod's.

Looked at when a readiness probe succeeds for the first time, or when nothing listens where it asks; never at rest. Linux
tells it by `/proc`; where nothing can be told, the probe is believed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from modelport.local.process import descendants

LISTENS = "0A"
"""As /proc/net/tcp calls it. Listening sockets come before all others there."""
TABLES = (("/proc/net/tcp", 4), ("/proc/net/tcp6", 16))


def stranger(address: str, port: int, leaders: Collection[int], folder: Path) -> str | None:
    """What keeps the port from being the pod's, as a sentence with the next step; None where a process of the pod has
    it, or nobody knows. `leaders`: its processes' groups, by number; `folder`: the pod's, which its processes name."""
    sockets = _sockets(address, port)
    if not sockets:
        return None
    for leader in leaders:
        for pid in (leader, *descendants(leader)):
            held = _held(pid, sockets)
            if held is not False:
                return None  # the pod's, or one that may not be looked at
    found = _holder(sockets)
    if found is not None and _belongs(found, leaders, folder):
        return None
    who = f"process {found} ({_name(found)})" if found is not None else "a process of another user"
    step = f"kill {found}" if found is not None else f"end it (as root: ss -ltnp 'sport = :{port}')"
    return f"port {port} at {address} is held by {who}, which is not this pod's · next: {step}"


def holder(address: str, port: int) -> str:
    """`process N (name)` that listens there, or where nobody can tell, nothing."""
    found = _holder(_sockets(address, port))
    return "" if found is None else f"process {found} ({_name(found)})"


def places_of(leader: int) -> list[str]:
    """Where a process and those that it has started listen, as `127.0.0.1:5000`, in the network that it lives in."""
    pids = (leader, *descendants(leader))
    found: set[str] = set()
    for path, length in TABLES:
        for place, port, inode in _listening(f"/proc/{leader}{path.removeprefix('/proc')}"):
            if any(_held(pid, {inode}) for pid in pids):
                host = _address(place, length)
                found.add(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return sorted(found)


def where_instead(leader: int) -> str:
    """What follows on "nothing listens on port 8080 of ADDRESS": where the container does, and the next step."""
    others = places_of(leader)
    if not others:
        return (
            ", nor does the container on any other · next: its log tells how far it has come (kubectl logs)"
        )
    return (
        f"; the container listens on {', '.join(others)} · next: have it listen on that port of all addresses (0.0.0.0), "
        "or name its own in `ports` (containerPort)"
    )


def _sockets(address: str, port: int) -> set[str]:
    """The sockets that get connections to an address, by inode: those bound to it, else those to all addresses."""
    exact, wide = set[str](), set[str]()
    for path, length in TABLES:
        if address.count(":") and length == 4:
            continue
        own, every = _word(address, length), "0" * (2 * length)
        for place, found, inode in _listening(path):
            if found == port:
                (exact if place == own else wide if place == every else set[str]()).add(inode)
    return exact or wide


def _listening(path: str) -> Iterator[tuple[str, int, str]]:
    """The listening sockets of a table: address as the kernel prints it, port and inode."""
    with contextlib.suppress(OSError), Path(path).open() as lines:
        next(lines, None)
        for line in lines:
            fields = line.split()
            if fields[3] != LISTENS:
                break
            place, _, port = fields[1].partition(":")
            yield place, int(port, 16), fields[9]


def _word(address: str, length: int) -> str:
    """An address as the kernel prints it: 32-bit words as they lie in its memory."""
    mapped = address if ":" in address or length == 4 else f"::ffff:{address}"
    packed = socket.inet_pton(socket.AF_INET if length == 4 else socket.AF_INET6, mapped)
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return "".join(f"{word:08X}" for word in words)


def _address(word: str, length: int) -> str:
    """`_word` undone."""
    words = (int(word[at : at + 8], 16) for at in range(0, len(word), 8))
    packed = b"".join(one.to_bytes(4, sys.byteorder) for one in words)
    return socket.inet_ntop(socket.AF_INET if length == 4 else socket.AF_INET6, packed)


def _held(pid: int, sockets: set[str]) -> bool | None:
    """Whether a process has one of these sockets; None where it may not be looked at."""
    wanted = {f"socket:[{inode}]" for inode in sockets}
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if str(entry.readlink()) in wanted:
                    return True
    except PermissionError:
        return None
    except OSError:
        return False  # it has ended
    return False


def _holder(sockets: set[str]) -> int | None:
    """The oldest process that has one of them."""
    return next((pid for pid in _everybody() if _held(pid, sockets)), None) if sockets else None


def _everybody() -> Iterable[int]:
    try:
        return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    except OSError:
        return []


def _belongs(pid: int, leaders: Collection[int], folder: Path) -> bool:
    """Whether a process that is nobody's child any more came from the pod: by its group or session, or by what it
    was given."""
    return any(found in leaders for found in _families(pid)) or _names(pid, folder)


def _families(pid: int) -> Iterator[int]:
    for ask in (os.getpgid, os.getsid):
        with contextlib.suppress(OSError):
            yield ask(pid)


def _names(pid: int, folder: Path) -> bool:
    try:
        return f"{folder}/".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "ended"
