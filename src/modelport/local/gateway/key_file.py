"""API keys from a file of the platform's folder, `api-keys`: a line a key, which holds its hash only.

    # who   its hash                 what it may do (default: predict:*/* explain:*/*)
    team-a  sha256:9f86d081884c7d65… predict:default/churn explain:default/*

Whoever writes the file administers the machine, so its scopes may name any service. A line that cannot be read gives
nothing, and takes nothing from the others. Reading is here; what the lines mean is pure.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, cast

import msgspec

from modelport.wire.table import ApiKey, Scope

NAME = "api-keys"
EVERY_S = 1.0
"""How often the file is looked at."""
LONGEST = 4 << 20
VERBS = ("predict", "explain", "admin")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_SERVICE = re.compile(r"[a-z0-9-]+/([a-z0-9.-]+|\*)|\*/\*")


class Content(msgspec.Struct, frozen=True):
    """What a file says, or why it cannot be read."""

    text: str = ""
    problem: str = ""


def stamp(path: Path) -> tuple[int, ...] | None:
    """Differs once the file has changed; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode


def read(path: Path) -> Content | None:
    """None where there is no file. One that others may write is as good as none of ours: it gives nobody anything."""
    try:
        found = path.stat()
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            mode = oct(stat.S_IMODE(found.st_mode)).removeprefix("0o")
            return Content(problem=f"{path}: others may write it (mode {mode}). Run: chmod 600 {path}")
        if found.st_size > LONGEST:
            return Content(
                problem=f"{path}: has {found.st_size} bytes, more than {LONGEST}. It is no list of keys."
            )
        return Content(text=path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        return Content(problem=f"{path}: cannot be read: {error}.")


def parse(content: Content) -> tuple[list[ApiKey], list[str]]:
    """The keys, and what is wrong with which lines. No word of a line is repeated but names and scopes: somebody may
    have put the key itself there."""
    if content.problem:
        return [], [content.problem]
    keys: list[ApiKey] = []
    problems: list[str] = []
    for number, line in enumerate(content.text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{NAME}, line {number}"
        found = _HASH.fullmatch(words[1].lower()) if len(words) > 1 else None
        if found is None:
            problems.append(f"{where}: must be a name, sha256: and 64 hexadecimal digits, then scopes.")
            continue
        scopes, wrong = _scopes(words[2:])
        if wrong is not None:
            problems.append(
                f'{where}: a scope must be verb:namespace/name with the verb {", ".join(VERBS)}, got "{wrong}".'
            )
            continue
        keys.append(ApiKey(id=words[0], sha256=found[1], scopes=scopes))
    return keys, problems


def _scopes(words: list[str]) -> tuple[list[Scope], str | None]:
    """The scopes, or the first word that is none."""
    if not words:
        return [Scope(service="*/*", verbs=["predict", "explain"])], None
    found: list[Scope] = []
    for word in words:
        verb, _, service = word.partition(":")
        if verb not in VERBS or not _SERVICE.fullmatch(service):
            return [], word
        found.append(Scope(service=service, verbs=[cast("Any", verb)]))
    return found, None
