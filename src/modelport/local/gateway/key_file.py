"""API keys from a file of the platform's folder, `api-keys`: a line a key, which holds its hash only.

    # who   its hash                 what it may do (default: predict:*/* explain:*/*)
    team-a  sha256:9f86d081884c7d65… predict:default/churn explain:default/* expires:2027-01-31T00:00:00Z

`expires:` and `made:` are moments. `modelport keys` writes the file, and so may an editor. Whoever writes the file administers the machine, so its scopes may name any service. A line that cannot be read gives
nothing, and takes nothing from the others. Reading is here; what the lines mean is pure.
"""

from __future__ import annotations

import re
import stat
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import msgspec

from modelport.local.gateway.expiry import gone, moment
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
    path: str = NAME
    """How problems name it."""


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
        return Content(text=path.read_text("utf-8"), path=str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        return Content(problem=f"{path}: cannot be read: {error}.")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line that holds a key."""

    name: str
    sha256: str
    scopes: list[Scope]
    line: int
    made: datetime | None = None
    expires: datetime | None = None


def parse(content: Content, now: datetime | None = None) -> tuple[list[ApiKey], list[str]]:
    """The keys that are good at `now`, and what is wrong with which lines."""
    found, problems = entries(content)
    keys = [
        ApiKey(id=one.name, sha256=one.sha256, scopes=one.scopes)
        for one in found
        if not gone(one.expires, now)
    ]
    return keys, problems


def entries(content: Content) -> tuple[list[Entry], list[str]]:
    """All keys, and what is wrong with which lines. No word of a line is repeated but names and scopes: somebody may
    have put the key itself there."""
    if content.problem:
        return [], [content.problem]
    found: list[Entry] = []
    problems: list[str] = []
    for number, line in enumerate(content.text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{content.path}, line {number}"
        digest = _HASH.fullmatch(words[1].lower()) if len(words) > 1 else None
        if digest is None:
            problems.append(
                f"{where}: must be a name, sha256: and 64 hexadecimal digits, then scopes. "
                "modelport keys create NAME --file writes one."
            )
            continue
        try:
            scopes, moments = _rest(words[2:])
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        found.append(Entry(name=words[0], sha256=digest[1], scopes=scopes, line=number, **moments))
    return found, problems


def _rest(words: list[str]) -> tuple[list[Scope], dict[str, datetime]]:
    """What follows the hash: scopes and moments. ValueError names the first word that is neither."""
    scopes: list[Scope] = []
    moments: dict[str, datetime] = {}
    for word in words:
        verb, _, rest = word.partition(":")
        if verb in ("made", "expires"):
            moments[verb] = moment(rest, f"{verb}:")
        elif verb in VERBS and _SERVICE.fullmatch(rest):
            scopes.append(Scope(service=rest, verbs=[cast("Any", verb)]))
        else:
            raise ValueError(
                f'a scope must be verb:namespace/name with the verb {", ".join(VERBS)}, got "{word}".'
            )
    return scopes or [Scope(service="*/*", verbs=["predict", "explain"])], moments
