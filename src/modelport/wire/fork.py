"""What the node and a fork server say to each other, over a Unix socket: one JSON line each way a connection.

The node is the client. File descriptors (a process's log) travel beside the request's line. A fork server keeps
an interpreter with its libraries imported; what it starts outlives the node, and how each process ended is written
to the exits folder, because only a parent may know.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

MAX_LINE = 4 << 20
"""Longest message, in bytes: an environment may hold certificates."""
SHARE_DESCRIPTOR = "MODELPORT_SHARE_FD"
"""Environment variable of a forked server: the descriptor on which it tells what its models imported, so that the
next child shares it. Each datagram is a JSON list of module names."""
TERMINATION_LOG = "MODELPORT_TERMINATION_LOG"
"""Environment variable of a container: the file that takes its last words."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder or file of the host that a process sees at another place."""

    source: str
    target: str
    read_only: bool = False


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """Namespaces for a process to live in, instead of the host's."""

    user: str = ""
    """File of a user namespace to enter first, as in /proc/12/ns/user; empty: none."""
    network: str = ""
    """File of a network namespace to enter."""
    mount: str = ""
    """File of a mount namespace to enter; empty with `mounts`: one of its own."""
    mounts: tuple[Mount, ...] = ()
    hostname: str = ""
    """A host name of its own; empty: the machine's."""


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Start a process in a session of its own. Its log, opened by the node, comes as the first descriptor."""

    arguments: list[str]
    """The program and its arguments; with `serve`, the arguments of `modelport serve` after that word."""
    serve: bool = False
    """Run the server in the forked interpreter, without exec."""
    title: str = ""
    """The process's name in ps and top, at most 15 bytes."""
    environment: dict[str, str]
    """The whole environment."""
    folder: str
    """Working directory."""
    pid_file: str = ""
    """Where the process writes its number and start time before it does anything else."""
    room: Room = Room()


class Preload(msgspec.Struct, frozen=True, kw_only=True, tag="preload"):
    """Import what these models or modules will need. Answered before it is done."""

    models: list[str] = []
    """Model files or folders."""
    modules: list[str] = []


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """Asks who is there."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """A process runs."""

    pid: int
    start: int
    """Its start time: clock ticks after boot."""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """It could not be started. The message says why and what to do."""

    message: str


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """Answers Hello, and Preload."""

    pid: int
    version: str
    """Of Modelport."""
    python: str
    """The interpreter's version."""
    preloaded: list[str] = []
    """Top-level packages that children share."""


Request = Start | Preload | Hello
Reply = Started | Refused | Welcome

encode = msgspec.json.encode
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)


def decode_request(line: bytes) -> Request:
    """What the node asks. Raises msgspec.DecodeError."""
    return _requests.decode(line)


def decode_reply(line: bytes) -> Reply:
    """What the fork server answers. Raises msgspec.DecodeError."""
    return _replies.decode(line)


class Exit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a process ended: `DIR/run/exits/PID.START`, written by whoever reaped it."""

    code: int | None = None
    signal: int | None = None

    @property
    def status(self) -> int:
        """The exit code as a shell and Kubernetes have it: 128 + the signal's number."""
        return 128 + self.signal if self.signal is not None else self.code or 0


def exit_file(folder: Path, pid: int, start: int) -> Path:
    """Where the end of a process is written down."""
    return folder / f"{pid}.{start}"


def write_exit(folder: Path, pid: int, start: int, how: Exit) -> None:
    """Writes down how a process ended, whole or not at all. Raises OSError."""
    path = exit_file(folder, pid, start)
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(encode(how))
    temporary.replace(path)


def read_exit(path: Path) -> Exit | None:
    """How it ended; None while nobody has written it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Exit)
    except (OSError, msgspec.DecodeError):
        return None
