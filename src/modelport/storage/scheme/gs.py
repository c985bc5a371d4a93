"""`gs://bucket/prefix`: Google Cloud Storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
from obstore.store import GCSStore

from modelport.storage import metadata, objectstore
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.guard import refuse_metadata
from modelport.storage.machine import cloud, json_object
from modelport.storage.source import Context, Found

FILE = "gcloud-application-credentials.json"
"""KServe's name of the key file in a Secret; here the file's content."""
ENDPOINT = "https://storage.googleapis.com"


def resolve(uri: str, context: Context) -> Found:
    """Lists the object or the objects below the prefix. Without credentials it asks as anybody."""
    bucket, _, path = uri.removeprefix("gs://").partition("/")
    if not bucket:
        raise StorageError("resolve", "it names no bucket", "Write gs://BUCKET/PATH", reason="InvalidURI")
    given = context.credentials
    emulator = (given.get("STORAGE_EMULATOR_HOST") or "").rstrip("/")
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    endpoint = emulator or ENDPOINT
    refuse_metadata(endpoint)
    settings, more, name = _identity(given, anonymous=bool(emulator))
    config: Any = {"base_url": endpoint, **settings}
    store = GCSStore(
        bucket,
        config=config,
        client_options=objectstore.client_options(context, endpoint),
        retry_config=objectstore.RETRY,
        **more,
    )
    return objectstore.listing(store, bucket, path, kind="bucket", origin=endpoint, credential=name)


def _identity(given: Credentials, *, anonymous: bool) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What obstore is to use, and its name. Everything else that it might take from the environment is kept out."""
    text, source = given.get(FILE), given.source(FILE)
    if text is None and (path := given.get("GOOGLE_APPLICATION_CREDENTIALS")):
        source = f"{path} of {given.source('GOOGLE_APPLICATION_CREDENTIALS')}"
        if path.lstrip().startswith("{"):
            text, source = path, given.source("GOOGLE_APPLICATION_CREDENTIALS")
        else:
            try:
                text = Path(path).read_text()
            except OSError as error:
                raise StorageError(
                    "authenticate",
                    f"the key file {source} cannot be read: {error.strerror}",
                    "Correct GOOGLE_APPLICATION_CREDENTIALS",
                    reason="Unauthenticated",
                ) from error
    if anonymous:
        return {"skip_signature": True}, {"credential_provider": objectstore.nobody(token="")}, ""
    if text is None:
        if cloud(given) == "gcp":
            return (
                {"skip_signature": False},
                {"credential_provider": objectstore.kept(lambda: token(metadata.google(given)))},
                "this machine's service account",
            )
        return {"skip_signature": True}, {"credential_provider": objectstore.nobody(token="")}, ""
    key = json_object(text)
    kind = (key or {}).get("type")
    if key is not None and kind == "service_account":
        return (
            {"service_account_key": text, "skip_signature": False},
            {},
            f"the service account {key.get('client_email', '')} of {source}",
        )
    if key is not None and kind == "authorized_user":
        return (
            {"skip_signature": False},
            {"credential_provider": objectstore.kept(lambda: _refresh(key, source))},
            f"the user of {source}",
        )
    raise StorageError(
        "authenticate",
        f"the key in {source} is {'of the type ' + repr(kind) if kind else 'no JSON object with a type'}",
        "Give the JSON key of a service account, or of a user (gcloud auth application-default login)",
        reason="Unauthenticated",
    )


def _refresh(key: dict[str, Any], source: str) -> dict[str, Any]:
    """A user's token by the refresh token that gcloud keeps."""
    form = {
        "grant_type": "refresh_token",
        "client_id": key.get("client_id", ""),
        "client_secret": key.get("client_secret", ""),
        "refresh_token": key.get("refresh_token", ""),
    }
    url = key.get("token_uri") or "https://oauth2.googleapis.com/token"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    from modelport.storage.transport import Transport, bad_status  # not for who asks without: it takes 5 MB

    with Transport().request(
        "POST", url, headers, body=urlencode(form).encode(), step="authenticate"
    ) as answer:
        if answer.status != 200:
            raise bad_status(answer, "authenticate", f"the user of {source}")
        return token(answer.text())


def token(body: bytes) -> dict[str, Any]:
    """An OAuth answer as obstore wants it."""
    found = msgspec.json.decode(body, type=dict[str, Any])
    expires = datetime.now(UTC) + timedelta(seconds=int(found.get("expires_in", 3600)))
    return {"token": found["access_token"], "expires_at": expires}
