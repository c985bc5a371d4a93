"""Where API keys are kept: a Secret each, which a single call makes, or lines of the platform's file."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from modelport.cli import Mistake
from modelport.cli.home import note

if TYPE_CHECKING:
    from collections.abc import Generator

    from modelport.kube.client import Client
    from modelport.kube.resource import Object
    from modelport.local.folder import Folder
    from modelport.wire.table import Table

PREFIX = "api-key-"
"""Of the names of Secrets, so that they do not meet those of others."""
TRIES = 5
PAUSE_S = 0.02


class Key(msgspec.Struct, kw_only=True):
    """One key, without what opens anything."""

    name: str
    scopes: list[str]
    """As in `predict:default/iris`."""
    namespace: str | None
    """Of its Secret; None: the file."""
    secret: str = ""
    """The Secret's name, where it is there already."""
    made: datetime | None = None
    expires: datetime | None = None
    problem: str = ""
    """Why it opens nothing."""

    @property
    def kept_in(self) -> str:
        """The place in words."""
        return f"secret {self.namespace}/{self.secret}" if self.namespace is not None else "file"

    @property
    def words(self) -> str:
        """What it may do, in words."""
        return self.problem or " ".join(self.scopes)

    def plain(self) -> Object:
        """For programs."""
        place: Object = {"namespace": self.namespace, "secret": self.secret or f"{PREFIX}{self.name}"}
        return {
            "name": self.name,
            "scopes": self.scopes,
            "made": _stamp(self.made),
            "expires": _stamp(self.expires),
            "keptIn": "file" if self.namespace is None else "secret",
            **(place if self.namespace is not None else {}),
            **({"problem": self.problem} if self.problem else {}),
        }


def _stamp(moment: datetime | None) -> str | None:
    from modelport.kube.meta import timestamp

    return timestamp(moment) if moment else None


async def in_secrets(client: Client) -> list[Key]:
    """All that Secrets hold, those that people made by hand included."""
    from modelport.kube.resource import SECRET
    from modelport.local.gateway import auth

    found: list[Key] = []
    for item in (await client.list(SECRET, labels=f"{auth.API_KEYS}=true")).items:
        meta = item["metadata"]
        scopes, expires, problem = auth.terms(item)
        found += [
            Key(
                name=name,
                scopes=[f"{verb}:{scope.service}" for scope in scopes for verb in scope.verbs],
                namespace=meta["namespace"],
                secret=meta["name"],
                made=datetime.fromisoformat(meta["creationTimestamp"]),
                expires=expires,
                problem=problem,
            )
            for name in sorted(item.get("data") or {})
        ]
    return sorted(found, key=lambda one: (one.name, one.kept_in))


def in_file(folder: Folder) -> list[Key]:
    """All that the file holds. What cannot be read is told, and opens nothing."""
    from modelport.local.gateway import key_file

    content = key_file.read(folder.key_file)
    if content is None:
        return []
    found, problems = key_file.entries(content)
    for problem in problems:
        note(f"warning: {problem}")
    return [
        Key(
            name=one.name,
            scopes=[f"{verb}:{scope.service}" for scope in one.scopes for verb in scope.verbs],
            namespace=None,
            made=one.made,
            expires=one.expires,
        )
        for one in found
    ]


async def create(client: Client, made: Key, digest: str) -> None:
    """In a Secret of its own. One call: whoever comes second with a name is refused."""
    from modelport.kube.errors import ApiError
    from modelport.kube.resource import SECRET
    from modelport.local.gateway import auth

    made.secret = f"{PREFIX}{made.name}"
    scopes: list[Any] = []
    for service in dict.fromkeys(scope.partition(":")[2] for scope in made.scopes):
        verbs = [scope.partition(":")[0] for scope in made.scopes if scope.partition(":")[2] == service]
        scopes.append({"service": service, "verbs": verbs})
    annotations = {auth.SCOPES: msgspec.json.encode(scopes).decode()}
    if made.expires is not None:
        annotations[auth.EXPIRES] = _stamp(made.expires) or ""
    try:
        await client.create(
            SECRET,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": made.secret,
                    "namespace": made.namespace,
                    "labels": {auth.API_KEYS: "true"},
                    "annotations": annotations,
                },
                "type": "Opaque",
                "stringData": {made.name: f"sha256:{digest}"},
            },
        )
    except ApiError as error:
        if error.code == 409:
            raise Mistake(
                f"there is a Secret {made.namespace}/{made.secret} already", "choose another name", code=1
            ) from error
        raise


async def delete(client: Client | None, folder: Folder, key: Key) -> str:
    """Takes one away; its Secret too, where it held nothing else. Returns its hash, empty where it was gone already."""
    from modelport.kube.errors import ApiError
    from modelport.kube.resource import SECRET

    if key.namespace is None or client is None:
        return _take_from_file(folder, key.name)
    for turn in range(TRIES):
        item = await client.find(SECRET, key.namespace, key.secret)
        if item is None or key.name not in (item.get("data") or {}):
            return ""
        meta, value = item["metadata"], base64.b64decode(item["data"][key.name]).strip()
        try:
            if len(item["data"]) == 1:
                await client.delete(
                    SECRET, key.namespace, key.secret, uid=meta["uid"], version=meta["resourceVersion"]
                )
            else:
                patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "data": {key.name: None}}
                await client.patch(SECRET, key.namespace, key.secret, patch)
        except ApiError as error:
            if error.code != 409 or turn == TRIES - 1:
                raise
            continue  # somebody has changed it meanwhile
        kept = value.removeprefix(b"sha256:")
        return kept.decode(errors="replace").lower() if kept != value else hashlib.sha256(value).hexdigest()
    return ""


def add_to_file(folder: Folder, made: Key, digest: str) -> None:
    """A line more. A Mistake where the name is taken."""
    with _held(folder) as text:
        if any(one.name == made.name for one in in_file(folder)):
            raise Mistake(
                f"there is a key {made.name!r} already",
                f"another name, or first: modelport keys delete {made.name} --file",
                code=1,
            )
        moments = [
            f"{name}:{_stamp(at)}" for name, at in (("made", made.made), ("expires", made.expires)) if at
        ]
        line = " ".join([made.name, f"sha256:{digest}", *made.scopes, *moments])
        before = text if text is None or text.endswith("\n") or not text else f"{text}\n"
        _write(folder, f"{before or ''}{line}\n")


def _take_from_file(folder: Folder, name: str) -> str:
    """All else stays as it is, comments included. Returns the key's hash."""
    with _held(folder) as text:
        lines = (text or "").splitlines(keepends=True)
        gone = [line.split() for line in lines if line.split()[:1] == [name]]
        _write(folder, "".join(line for line in lines if line.split()[:1] != [name]))
    return gone[0][1].lower().removeprefix("sha256:") if gone and len(gone[0]) > 1 else ""


@contextmanager
def _held(folder: Folder) -> Generator[str | None]:
    """The file's text, while no other command changes it; None where there is none."""
    from modelport.local.gateway import key_file

    descriptor = os.open(folder.run / "api-keys.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = key_file.read(folder.key_file)
        if content is not None and content.problem:
            raise Mistake(content.problem, code=1)
        yield None if content is None else content.text
    finally:
        os.close(descriptor)


def _write(folder: Folder, text: str) -> None:
    from modelport.local.folder import write

    write(folder.key_file, text.encode())


def asks_for_keys(folder: Folder) -> bool:
    """Whether requests need a key or a token now."""
    found = _table(folder)
    return found is not None and found.auth is not None


def await_in_force(folder: Folder, digest: str, limit_s: float, *, known: bool = True) -> bool:
    """Whether the gateway knows a key, or no longer does, once it is so or the time is up: what is asked right after
    this gets the right answer."""
    import asyncio

    from modelport.local.gateway import admin

    until = time.monotonic() + limit_s
    while True:
        found = _table(folder)
        if found is None:
            return False
        keys = found.auth.keys if found.auth is not None else []
        if any(key.sha256 == digest for key in keys) == known:
            break
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE_S)
    try:
        asyncio.run(admin.acknowledged(folder.admin_socket, found.version, limit_s))
    except admin.NoGateway:
        return False
    return True


def _table(folder: Folder) -> Table | None:
    from modelport.wire import table

    try:
        return table.decode(folder.table.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
