"""Who may call: bearer tokens, of which the file holds hashes only. A changed file counts from the next request on.

{"tokens": [{"name": "admin", "role": "admin", "sha256": "9f86d0…"}]}
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

log = logging.getLogger(__name__)

Role = Literal["view", "edit", "admin"]


class User(msgspec.Struct, frozen=True):
    """Who asks."""

    name: str
    role: Role

    @property
    def groups(self) -> list[str]:
        """As Kubernetes would tell them."""
        return [*(["system:masters"] if self.role == "admin" else []), "system:authenticated"]


class Token(msgspec.Struct, frozen=True):
    """One token, as the file holds it."""

    name: str
    """The user's name."""
    role: Role
    sha256: str
    """Hex digest of the token."""


class _File(msgspec.Struct):
    tokens: list[Token]


class Tokens:
    """The tokens of a file, read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}

    def user(self, token: str) -> User | None:
        """Whose token it is; None for nobody's."""
        self._refresh()
        return self._users.get(_digest(token))

    def _refresh(self) -> None:
        try:
            state = self._path.stat()
            read = (state.st_mtime_ns, state.st_size, state.st_ino)
            if read == self._read:
                return
            users = {token.sha256: User(token.name, token.role) for token in load(self._path)}
        except FileNotFoundError:
            read, users = None, {}
        except (OSError, ValueError) as error:
            # A half-written file must not lock everybody out: the last good one counts.
            log.error("%s", error)
            return
        self._read, self._users = read, users


def load(path: Path) -> list[Token]:
    """The file's tokens. OSError, or ValueError with words where it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).tokens
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}. Mend the file; until then the tokens before it count.") from error


def issue(path: Path, name: str, role: Role) -> str:
    """A new token for `name`, whose old ones no longer count. The only time that it can be seen."""
    token = secrets.token_urlsafe(32)
    known: Iterable[Token] = load(path) if path.exists() else []
    kept = [one for one in known if one.name != name]
    content = msgspec.json.encode(_File([*kept, Token(name, role, _digest(token))]))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(content))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
