"""`modelport fetch`: a model from any URI onto this machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.cli import Mistake, home
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.storage import Cache, Credentials, Fetched
    from modelport.storage.settings import Settings

DESCRIPTION = """\
Fetches a model into the cache, and puts it where you want it. Without --to it prints its place in the cache.

URI is a path, file://, http(s)://, s3://, gs://, https://….blob.core.windows.net/… or abfs://, hf://, oci://,
https://….git, models:/, https://….file.core.windows.net/…, webhdfs:// or modelscope://.
"""


def register(commands: Commands) -> None:
    """Adds the command."""
    fetch = commands.add_parser(
        "fetch",
        help="fetch a model from any URI",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fetch.set_defaults(command=run)
    fetch.add_argument("uri", metavar="URI")
    fetch.add_argument(
        "--to",
        type=home.named_folder,
        metavar="PATH",
        help="the folder to put it in; it must not exist, or be empty",
    )
    fetch.add_argument(
        "--copy",
        action="store_true",
        help="files of your own, writable; without it they share the cache's bytes, read-only",
    )
    fetch.add_argument(
        "--allow", action="append", default=[], metavar="GLOB", help="only files like this; repeatable"
    )
    fetch.add_argument(
        "--ignore", action="append", default=[], metavar="GLOB", help="no files like this; repeatable"
    )
    fetch.add_argument(
        "--sha256", metavar="HEX", help="what the one file, or the model as a whole, must have"
    )
    fetch.add_argument(
        "--unsafe",
        choices=("allow", "warn", "deny"),
        help="pickles from sources that are not trusted (default warn)",
    )
    add_cache(fetch)
    fetch.add_argument("-q", "--quiet", action="store_true", help="no progress")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """`--cache` and `--settings`."""
    parser.add_argument(
        "--cache",
        type=home.named_folder,
        metavar="DIR",
        help="the cache's folder (default: `cache` in the platform's folder; also: MODELPORT_CACHE)",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="storage settings (default: ~/.config/modelport/storage.yaml; also: MODELPORT_STORAGE_SETTINGS)",
    )


def run(options: argparse.Namespace) -> int:
    """Fetches, then places."""
    from modelport.cli.lean import lean

    lean()
    from modelport.storage import Patterns

    target: Path | None = options.to
    if target is not None and _occupied(target):
        raise Mistake(f"--to: {target} exists already", "give a new folder, or remove it")
    patterns = Patterns.from_environment(os.environ)
    patterns = Patterns(patterns.allow + tuple(options.allow), patterns.ignore + tuple(options.ignore))
    fetched = fetch(options, options.uri, patterns=patterns, sha256=options.sha256)
    if target is None:
        print(fetched.path)
        return 0
    _place(fetched, target, own=options.copy)
    print(target)
    return 0


def fetch(options: argparse.Namespace, uri: str, **more: Any) -> Fetched:
    """Fetches as a person at a terminal would have it: their credentials, a bar, Ctrl-C. Raises Mistake."""
    from modelport import storage
    from modelport.cli.bar import Bar

    settings = load(options)
    policy = settings.policy
    if getattr(options, "unsafe", None):
        from dataclasses import replace

        policy = replace(policy, unsafe=options.unsafe)
    quiet = getattr(options, "quiet", False)
    bar = None if quiet else Bar()
    given = credentials()
    cancel = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if in_main:
        signal.signal(signal.SIGINT, lambda number, frame: cancel.set())
    try:
        fetched = storage.fetch(
            uri,
            cache=cache(options, settings),
            credentials=given,
            mirrors=settings.table,
            policy=policy,
            progress=bar,
            cancel=cancel,
            **more,
        )
    except storage.Cancelled as error:
        raise KeyboardInterrupt from error
    except storage.StorageError as error:
        # Two credentials that disagree are the likely cause, whichever was used.
        notes = [f"note: {one}" for one in given.conflicts if error.step == "authenticate"]
        raise Mistake(error.message, "\n".join([error.hint, *notes])) from error
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
        if bar is not None:
            bar.clear()
    if not quiet:
        for line in summary(fetched):
            note(line)
    for warning in fetched.warnings:
        note(f"warning: {warning}")
    return fetched


def summary(fetched: Fetched) -> list[str]:
    """What was done."""
    from modelport.storage.space import size

    where = f", from its mirror {fetched.mirrored_from}" if fetched.mirrored_from else ""
    if fetched.digest.startswith("stat:"):
        return [f"{fetched.uri}{where}: {size(fetched.bytes)}, used where it lies"]
    how = (
        "all of it from the cache"
        if fetched.from_cache
        else f"{size(fetched.fetched_bytes)} fetched"
        + (f" with {fetched.credential}" if fetched.credential else "")
    )
    return [f"{fetched.uri}{where}: {size(fetched.bytes)}, {how}", fetched.digest]


def load(options: argparse.Namespace) -> Settings:
    """The user's settings. Raises Mistake."""
    from modelport.storage import settings

    try:
        return settings.load(getattr(options, "settings", None))
    except ValueError as error:
        raise Mistake(str(error), "docs/reference/storage.md lists the settings") from error


def cache(options: argparse.Namespace, settings: Settings) -> Cache:
    """The cache that was named: shared with the platform where nobody names one. Raises Mistake."""
    from modelport.storage import Cache, StorageError

    given = getattr(options, "cache", None) or os.environ.get("MODELPORT_CACHE") or settings.cache
    folder = Path(given).expanduser() if given else home.default() / "cache"
    try:
        return Cache(folder.absolute(), settings.limit_bytes)
    except StorageError as error:
        raise Mistake(error.message, error.hint) from error


def credentials() -> Credentials:
    """Those of the person at the terminal: environment, and what the stores' own clients keep."""
    from modelport.storage import machine

    return machine.of_user(os.environ, Path.home())


def local(options: argparse.Namespace, paths: Sequence[str]) -> tuple[list[Fetched], list[str]]:
    """Paths as they are, URIs fetched, for a command that takes both."""
    fetched: list[Fetched] = []
    found: list[str] = []
    for path in paths:
        if not is_uri(path):
            found.append(path)
            continue
        one = fetch(options, path)
        fetched.append(one)
        found.append(str(one.path))
    return fetched, found


def is_uri(path: str) -> bool:
    """Whether something is to be fetched rather than opened."""
    return "://" in path or path.startswith("models:/")


def _occupied(target: Path) -> bool:
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


def _place(fetched: Fetched, target: Path, *, own: bool) -> None:
    """The model under its new name, whole or not at all."""
    from modelport.storage import clone, space

    in_cache = fetched.digest.startswith("sha256:")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        source = fetched.path
        destination = temporary / source.name if source.is_file() else temporary
        clone.tree(source, destination, own=own or not in_cache)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except OSError as error:
        trouble = space.disk(error, target)
        hint = "The model is in the cache: give another --to, or go on once there is room"
        raise Mistake(
            f"--to: {trouble.problem}", hint if trouble.reason == "NoSpace" else trouble.hint
        ) from error
    finally:
        clone.remove(temporary)
    sys.stdout.flush()
