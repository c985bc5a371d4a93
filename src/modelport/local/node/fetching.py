"""What the container `storage-initializer` does elsewhere, done by the node: URIs to folders of this machine."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import SECRET, SERVICE_ACCOUNT, Object, Resource
from modelport.storage import Cache, Credentials, Mirror, Progress, StorageError, fetch
from modelport.storage import credentials as storage_credentials

Find = Callable[[Resource, str], Object | None]


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
    mirrors: list[Mirror],
    cache: Cache,
    claims: Callable[[str], Path],
    holder: Path,
    say: Callable[[str], None],
    tell: Callable[[Progress], None],
) -> dict[str, Path]:
    """Fetches what the initializer's arguments name: destination to place. Raises FetchFailed."""
    arguments = texts(container.get("args"))
    if len(arguments) < 2 or len(arguments) % 2:
        raise FetchFailed(
            f"storage-initializer: needs pairs of URI and folder, got {len(arguments)} arguments",
            transient=False,
        )
    found: dict[str, Path] = {}
    given = credentials(environment, pod, find)
    for uri, target in zip(arguments[::2], arguments[1::2], strict=True):
        cancel = threading.Event()
        real = _resolve(uri, environment, pod, find)
        try:
            fetched = await asyncio.to_thread(
                fetch,
                real,
                cache=cache,
                credentials=given,
                mirrors=mirrors,
                claims=lambda claim: claims(claim),
                progress=tell,
                cancel=cancel,
                pin=holder,
            )
        except asyncio.CancelledError:
            cancel.set()
            raise
        except StorageError as error:
            raise FetchFailed(str(error), transient=error.transient) from error
        where = f", from {fetched.mirrored_from}" if fetched.mirrored_from else ""
        how = "in the cache" if fetched.from_cache else f"{fetched.fetched_bytes} bytes fetched"
        say(f"{fetched.uri}{where}: {fetched.digest}, {fetched.bytes} bytes, {how}")
        for warning in fetched.warnings:
            say(f"warning: {warning}")
        found[target.rstrip("/")] = fetched.path
    return found


def credentials(environment: dict[str, str], pod: Object, find: Find) -> Credentials:
    """From the initializer's environment and the Secrets of the pod's ServiceAccount, later ones over earlier."""
    parts = [storage_credentials.of(environment, "the container's environment")]
    named = environment.get("STORAGE_SECRET_NAME")
    names = [named] if named else _secrets_of(pod, find)
    for name in names:
        secret = find(SECRET, name)
        if secret is None:
            continue
        values = {
            key: base64.b64decode(value or "").decode(errors="replace")
            for key, value in mapping(secret.get("data")).items()
        }
        parts.append(storage_credentials.of(values, f"Secret {pod['metadata']['namespace']}/{name}"))
    return storage_credentials.merge(parts)


def _secrets_of(pod: Object, find: Find) -> list[str]:
    account = find(SERVICE_ACCOUNT, pod["spec"].get("serviceAccountName") or "default")
    return [one["name"] for one in objects((account or {}).get("secrets"))]


def _resolve(uri: str, environment: dict[str, str], pod: Object, find: Find) -> str:
    """`<scheme-placeholder>://path` by the JSON of the `storage-config` Secret. Raises FetchFailed."""
    if "STORAGE_CONFIG_SECRET" not in environment:
        return uri
    secret_name = environment["STORAGE_CONFIG_SECRET"]
    secret = find(SECRET, secret_name)
    data = mapping((secret or {}).get("data"))
    keys = environment.get("STORAGE_CONFIG_KEYS", "default").split(",")
    key = next((one for one in keys if one in data), None)
    overrides = cast("dict[str, str]", json.loads(environment.get("STORAGE_OVERRIDE_CONFIG") or "{}"))
    if key is None and secret is None:
        raise FetchFailed(
            f"Secret {pod['metadata']['namespace']}/{secret_name} does not exist. Create it with the key {keys[0]!r}.",
            transient=True,
        )
    if key is None and not overrides:
        raise FetchFailed(
            f"specified storage key {keys[0]} not found in storage secret {secret_name}. Its keys: {', '.join(sorted(data)) or 'none'}.",
            transient=True,
        )
    config: dict[str, str] = {}
    if key is not None:
        try:
            config = json.loads(base64.b64decode(data[key]))
        except ValueError as error:
            raise FetchFailed(f"Secret {secret_name}, key {key}: no JSON: {error}", transient=True) from error
    config |= overrides
    kind = config.get("type", "")
    if kind not in ("s3", "hdfs", "webhdfs"):
        raise FetchFailed(
            f"unable to determine storage type: key {key} of Secret {secret_name} has type {kind!r}; s3, hdfs and webhdfs are known.",
            transient=True,
        )
    path = uri.partition("://")[2]
    if kind != "s3":
        return f"{kind}://{path}"
    if not config.get("bucket"):
        raise FetchFailed(
            f"format [s3] requires a bucket: key {key} of Secret {secret_name} names none.", transient=True
        )
    environment.update(_s3(config))
    return f"s3://{config['bucket']}/{path}"


def _s3(config: dict[str, str]) -> dict[str, str]:
    names = {
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "endpoint_url": "AWS_ENDPOINT_URL",
        "region": "AWS_DEFAULT_REGION",
        "verify_ssl": "S3_VERIFY_SSL",
        "anonymous": "awsAnonymousCredential",
        "ca_bundle": "AWS_CA_BUNDLE",
    }
    return {
        variable: str(config[name]) for name, variable in names.items() if config.get(name) not in (None, "")
    }


def mirrors_of(find_config: Object | None) -> list[Mirror]:
    """The mirror table in ConfigMap kserve/modelport-config; broken JSON counts as none."""
    text = mapping((find_config or {}).get("data")).get("mirrors")
    if not text:
        return []
    try:
        table = cast("dict[str, str]", json.loads(text))
    except ValueError:
        return []
    return [Mirror(prefix, target) for prefix, target in table.items()]
