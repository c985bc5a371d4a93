"""Which platform a command speaks to: `--dir`, its folder, and a client for its API server."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from modelport.cli import Mistake, colour

if TYPE_CHECKING:
    from modelport.kube.client import Client
    from modelport.local.folder import Folder, Settings

T = TypeVar("T")
TONES: dict[str, colour.Tone] = {"error": "bad", "warning": "look", "problem": "look"}
FULL_BELOW_BYTES = 1 << 20
"""With less room than this nothing can be written through."""


def default() -> Path:
    """MODELPORT_DIR, else `modelport` in the user's data directory."""
    if given := os.environ.get("MODELPORT_DIR"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "modelport"


def add_dir(parser: argparse.ArgumentParser) -> None:
    """`--dir`."""
    parser.add_argument(
        "--dir",
        type=named_folder,
        default=default(),
        metavar="DIR",
        help=f"the platform's folder (default {default()}; also: MODELPORT_DIR)",
    )


def named_folder(name: str) -> Path:
    """An argument that is a folder, for argparse. An empty one would be the folder where the user happens to be."""
    if not name:
        raise argparse.ArgumentTypeError(
            "the folder's name is empty. Is the variable set that stands for it?"
        )
    return Path(name)


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """`-n`."""
    parser.add_argument("-n", "--namespace", default="default", help="namespace (default: default)")


def folder(options: argparse.Namespace) -> Folder:
    """The folder that was named. A Mistake where it is something else."""
    from modelport.local.folder import Folder

    place = options.dir.expanduser().absolute()
    if place.exists() and not place.is_dir():
        raise Mistake(f"--dir: {place} is a file", "give the platform's folder, or none for the usual one")
    return Folder(place)


def settings(options: argparse.Namespace) -> Settings:
    """What was chosen when the platform was first started. A Mistake where there is none."""
    home = folder(options)
    try:
        found = home.settings()
    except ValueError as error:
        raise Mistake(str(error)) from error
    if found is None:
        refuse_orphans(home)
        raise Mistake(f"no platform in {home.path}", f"start one: modelport up --detach{dir_flag(options)}")
    return found


def refuse_orphans(folder: Folder) -> None:
    """A Mistake where a platform runs on whose folder was removed under it: it holds its ports, and nobody finds it by
    a folder any more."""
    place = f"\0{folder.path}".encode()
    left: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            ours = any(name in words for name in (b"modelport.local.supervisor", b"modelport.forkserver"))
            if ours and any(place + end in words for end in (b"\0", b"/")):
                left.append(int(entry.name))
    if left:
        raise Mistake(
            f"the folder {folder.path} was removed under a platform that runs on",
            f"end what is left of it: kill -9 {' '.join(map(str, sorted(left)))}",
        )


def speak(options: argparse.Namespace, what: Callable[[Client], Awaitable[T]]) -> T:
    """Runs `what` with a client of the platform's API server; its refusals become a Mistake."""
    from modelport.kube.client import Client, Unreachable
    from modelport.kube.errors import ApiError

    settings(options)
    home = folder(options)

    async def run() -> T:
        async with Client.from_kubeconfig(home.kubeconfig) as client:
            return await what(client)

    try:
        import asyncio  # late: most commands speak to no platform, and it takes three megabytes

        return asyncio.run(run())
    except Unreachable as error:
        if is_full(home):
            raise Mistake(
                f"the platform in {home.path} does not answer: its disk is full",
                "free some space: models go on serving, and the platform is back by itself",
                code=1,
            ) from error
        raise Mistake(
            f"the platform in {home.path} does not answer ({error})",
            f"start it: modelport up --detach{dir_flag(options)} · what runs: modelport status{dir_flag(options)}",
            code=1,
        ) from error
    except ApiError as error:
        hint = ""
        if error.code == 404 and (kind := error.details.get("kind")):
            hint = f"those that are there: modelport get {kind} -A{dir_flag(options)}"
        raise Mistake(error.message, hint, code=1) from error


def is_full(folder: Folder) -> bool:
    """Whether the disk that holds the platform's folder has no room to write anything through."""
    return shutil.disk_usage(folder.path).free < FULL_BELOW_BYTES


def dir_flag(options: argparse.Namespace) -> str:
    """`--dir` as the next command needs it; empty for the default folder."""
    return flag_of(options.dir)


def flag_of(place: Path) -> str:
    """`--dir`, for a platform's folder."""
    return "" if place.absolute() == default().absolute() else f" --dir {shlex.quote(str(place))}"


def flags(options: argparse.Namespace) -> str:
    """`-n` and `--dir` as the next command about the same object needs them."""
    namespace = "" if options.namespace == "default" else f" -n {shlex.quote(options.namespace)}"
    return namespace + dir_flag(options)


def with_port(address: str, port: int) -> str:
    """As URLs have it: an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def seconds(text: str) -> float:
    """How long, as an argument for argparse."""
    with contextlib.suppress(ValueError):
        if 0 <= (found := float(text)) < math.inf:
            return found
    raise argparse.ArgumentTypeError(f"must be seconds, 0 or more, got {text!r}")


def note(text: str) -> None:
    """For the person, not for the pipe."""
    for word, tone in TONES.items():
        if text.startswith(f"{word}:"):
            text = colour.paint(word, tone, sys.stderr) + text.removeprefix(word)
    print(text, file=sys.stderr)


def table(heads: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[number]) for row in [heads, *rows]) for number in range(len(heads))]
    for row in [heads, *rows]:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
