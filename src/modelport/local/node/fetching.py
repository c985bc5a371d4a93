"""What the container `storage-initializer` does elsewhere, done by the node: URIs to folders of this machine."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import SECRET, SERVICE_ACCOUNT, Object, Resource
from modelport.storage import (
    Cache,
    Credentials,
    Fetched,
    Patterns,
    Progress,
    StorageError,
    fetch,
    kserve,
)
from modelport.storage.credentials import merge, of
from modelport.storage.settings import PlatformSettings, Rules, of_platform
from modelport.storage.space import size

Find = Callable[[Resource, str], Object | None]


SETTINGS = ("kserve", "modelport-config")
"""The platform's own ConfigMap: namespace and name."""


class FetchFailed(Exception):
    """A model could not be fetched. The message names the URI, the step and the next thing to try."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


async def initialize(
    container: Object,
    environment: dict[str, str],
    pod: Object,
    find: Find,
    rules: Rules,
    cache: Cache,
    claims: Callable[[str], Path],
    holder: Path,
    say: Callable[[str], None],
    tell: Callable[[Progress], None],
    warn: Callable[[str], None] = lambda sentence: None,
) -> dict[str, Fetched]:
    """Fetches what the initializer's arguments name: by destination. Raises FetchFailed.

    `say` writes the container's log; `warn` is told what a user should see without looking there.
    """
    arguments = texts(container.get("args"))
    if len(arguments) < 2 or len(arguments) % 2:
        raise FetchFailed(
            f"storage-initializer: needs pairs of URI and folder, got {len(arguments)} arguments",
            transient=False,
        )
    found: dict[str, Fetched] = {}
    given = credentials(container, environment, pod, find, say)
    for sentence in given.conflicts:
        warn(sentence)
    for uri, target in zip(arguments[::2], arguments[1::2], strict=True):
        cancel = threading.Event()
        real, own = _resolve(uri, environment, find)
        try:
            fetched = await asyncio.to_thread(
                fetch,
                real,
                cache=cache,
                credentials=own.over(given),
                mirrors=rules.table,
                policy=rules.policy,
                patterns=Patterns.from_environment(environment),
                claims=lambda claim: claims(claim),
                progress=tell,
                cancel=cancel,
                pin=holder,
            )
        except asyncio.CancelledError:
            cancel.set()
            raise
        except StorageError as error:
            raise FetchFailed(" ".join((str(error), *_noted(given))), transient=error.transient) from error
        how = "in the cache" if fetched.from_cache else f"{size(fetched.fetched_bytes)} fetched"
        say(f"{found_words(fetched)}, {how}")
        for warning in fetched.warnings:
            say(f"warning: {warning}")
        found[target.rstrip("/")] = fetched
    return found


def _noted(given: Credentials) -> list[str]:
    """Two credentials that disagree are the likely cause of a failure, whichever was used."""
    return [f"Note: {sentence}." for sentence in given.conflicts]


def credentials(
    container: Object, environment: dict[str, str], pod: Object, find: Find, say: Callable[[str], None]
) -> Credentials:
    """What the initializer may use: its declared environment, pull secrets, and over them the Secrets of the pod's
    ServiceAccount. Two that disagree, and Secrets that give nothing, are told."""
    declared = {str(one.get("name")) for one in objects(container.get("env"))}
    own = {name: value for name, value in environment.items() if name in declared}
    account = find(SERVICE_ACCOUNT, pod["spec"].get("serviceAccountName") or "default")
    named = environment.get("STORAGE_SECRET_NAME")
    names = [named] if named else [str(one.get("name")) for one in objects((account or {}).get("secrets"))]
    secrets = {name: secret for name in names if (secret := find(SECRET, name)) is not None}
    chosen = {kserve.DEFAULTS.secret_annotation: named} if named else None
    given = kserve.from_objects(account, secrets, annotations=chosen)
    for sentence in (*given.conflicts, *(kserve.unusable(account, secrets) if not named else ())):
        say(f"warning: {sentence}")
    wanted = [str(one.get("name")) for one in objects(pod["spec"].get("imagePullSecrets"))]
    pulls = [secret for name in wanted if (secret := find(SECRET, name)) is not None]
    return merge([of(own, "the container's environment"), kserve.of_pull_secrets(pulls), given])


def _resolve(uri: str, environment: dict[str, str], find: Find) -> tuple[str, Credentials]:
    """`<scheme-placeholder>://path` by the JSON of the `storage-config` Secret, with its credentials. Raises FetchFailed."""
    if "STORAGE_CONFIG_SECRET" not in environment:
        return uri, Credentials()
    name = environment["STORAGE_CONFIG_SECRET"]
    keys = environment.get("STORAGE_CONFIG_KEYS", "default").split(",")
    parameters = cast("dict[str, str]", json.loads(environment.get("STORAGE_OVERRIDE_CONFIG") or "{}"))
    try:
        stored = kserve.storage_spec(
            uri.partition("://")[2],
            find(SECRET, name),
            key=keys[0] if keys != ["default"] and len(keys) == 1 else None,
            parameters=parameters,
            settings=replace(kserve.DEFAULTS, storage_secret=name),
        )
    except StorageError as error:
        raise FetchFailed(str(error), transient=True) from error  # the Secret may come, or be corrected
    return stored.uri, stored.credentials


def rules_of(config: Object | None) -> PlatformSettings:
    """What ConfigMap kserve/modelport-config says of storage, under its keys `storage` and `mirrors`. Raises
    FetchFailed: a rule that cannot be read must not count as none."""
    data = mapping((config or {}).get("data"))
    try:
        return of_platform(data.get("storage") or "", data.get("mirrors") or "")
    except ValueError as error:
        words = f"ConfigMap kserve/modelport-config, {error}. Correct it: no model is fetched until then."
        raise FetchFailed(words, transient=True) from error


def found_words(fetched: Fetched) -> str:
    """What came of a URI, for a person: the same for every pod that gets it."""
    mirror = f" (mirror: {fetched.mirrored_from})" if fetched.mirrored_from else ""
    digest = fetched.digest if fetched.digest.startswith("sha256:") else "used where it lies"
    return f"{fetched.uri}{mirror}: {digest}, {size(fetched.bytes)}"
