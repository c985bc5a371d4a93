"""Worker processes without a fork: the same command again, told by its environment that it is a worker.

A fork shares the frameworks' memory and takes milliseconds, but macOS's own libraries do not survive it. There, and
where MODELPORT_START_METHOD says `spawn`, the supervisor runs its own command line once more for each worker and
hands over sockets and plan. A worker then imports and loads everything for itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from typing import Final, Literal

import msgspec

from modelport.server.options import Plan
from modelport.server.ports import Sockets
from modelport.server.repository import Asked
from modelport.wire.fork import SHARE_DESCRIPTOR

METHOD: Final = "MODELPORT_START_METHOD"
"""Environment variable: `fork` or `spawn`."""
_ORDER: Final = "MODELPORT_WORKER_FD"
"""Environment variable of a spawned worker: where it reads its order."""
_PR_SET_PDEATHSIG: Final = 1


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a spawned worker is told: once, as JSON, up to the end of its pipe."""

    plan: Plan
    sockets: Sockets
    connection: int
    """Descriptor of the socket to the supervisor."""
    asked: Asked
    parent: int


def start_method() -> Literal["fork", "spawn"]:
    """How workers are started here. Raises ValueError where the environment asks for something else."""
    asked = os.environ.get(METHOD, "")
    if asked not in ("", "fork", "spawn"):
        raise ValueError(f"{METHOD}: must be fork or spawn, got {asked!r}.")
    if SHARE_DESCRIPTOR in os.environ:
        return "fork"  # this process is a fork itself, so its command line is another's
    if asked:
        return "spawn" if asked == "spawn" else "fork"
    return "spawn" if sys.platform == "darwin" else "fork"


def spawn(order: Order) -> int:
    """Starts a worker; returns its process id. The descriptors stay open here."""
    read, write = os.pipe()
    named = (order.sockets.http, order.sockets.grpc, order.sockets.metrics, order.sockets.control)
    passed = [read, order.connection, *(one for one in named if one is not None)]
    try:
        for descriptor in passed:
            os.set_inheritable(descriptor, True)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            os.environ | {_ORDER: str(read)},
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD],
        )
    finally:
        for descriptor in passed:
            os.set_inheritable(descriptor, False)
        os.close(read)
    with os.fdopen(write, "wb") as pipe:
        pipe.write(msgspec.json.encode(order))
    return pid


def taken_order() -> Order | None:
    """The order, in a process that was spawned as a worker; None in any other. Can be taken once."""
    descriptor = os.environ.pop(_ORDER, None)
    if descriptor is None:
        return None
    with os.fdopen(int(descriptor), "rb") as pipe:
        return msgspec.json.decode(pipe.read(), type=Order, dec_hook=_of_strings)


def _of_strings(kind: type, value: object) -> object:
    """`Tracing`, which the decoder does not know for the dict that it is."""
    return kind(value)


def settle_in(order: Order) -> socket.socket:
    """Makes this process a worker that ends with its supervisor; returns the way to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the group; the supervisor passes it on
    end_with(order.parent)
    return socket.socket(fileno=order.connection)


def end_with(parent: int) -> None:
    """Has this process end when its parent does, where the system can do that. Elsewhere it notices by its socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before prctl
        os._exit(1)
