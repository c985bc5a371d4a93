"""`s3://bucket/prefix`: S3 and what speaks its protocol (MinIO, Ceph, R2…)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.store import S3Store

from modelport.storage import aws, objectstore
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.guard import refuse_metadata
from modelport.storage.source import Context, Found

LEGACY = "https://s3.amazonaws.com"


def resolve(uri: str, context: Context) -> Found:
    """Lists the object or the objects below the prefix."""
    bucket, _, path = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError("resolve", "it names no bucket", "Write s3://BUCKET/PATH", reason="InvalidURI")
    given = context.credentials
    endpoint = endpoint_of(given)
    named = given.get("AWS_DEFAULT_REGION", "AWS_REGION") or ""
    region = named or ("us-east-1" if endpoint else region_of(bucket, context))
    return _list(bucket, path, endpoint, region, context)


def endpoint_of(given: Credentials) -> str:
    """The endpoint that is set, with its scheme; empty for AWS's own."""
    text = (given.get("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT") or "").strip().rstrip("/")
    if text and "://" not in text:
        text = f"{'https' if given.flag('S3_USE_HTTPS', default=True) else 'http'}://{text}"
    return "" if text == LEGACY else text


def region_of(bucket: str, context: Context) -> str:
    """Where a bucket of AWS lies, which it tells everybody."""
    from modelport.storage.transport import Transport

    with Transport(connect_timeout_s=context.connect_timeout_s).request(
        "HEAD", f"{LEGACY}/{bucket}", step="resolve"
    ) as answer:
        return answer.header("x-amz-bucket-region") or "us-east-1"


def _list(bucket: str, path: str, endpoint: str, region: str, context: Context) -> Found:
    given = context.credentials
    who = aws.identity(given, region)
    virtual = given.flag("S3_USER_VIRTUAL_BUCKET", default=not endpoint and "." not in bucket)
    accelerated = given.flag("S3_USE_ACCELERATE")
    base = endpoint or (
        "https://s3-accelerate.amazonaws.com" if accelerated else f"https://s3.{region}.amazonaws.com"
    )
    refuse_metadata(base)
    shown = base
    if virtual or accelerated:
        parts = urlsplit(base)
        if not parts.netloc.startswith(f"{bucket}."):
            base = f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}"
    settings: Any = {
        # All of them, always: obstore takes what is not set from this process's environment.
        "bucket": bucket,
        "region": region,
        "endpoint": base,
        "virtual_hosted_style_request": virtual or accelerated,
        "skip_signature": who.provider is None,
        "request_payer": given.flag("AWS_REQUEST_PAYER"),
        "s3_express": False,
        "imdsv1_fallback": False,
    }
    provider: Any = who.provider or objectstore.nobody(access_key_id="", secret_access_key="", token=None)
    store = S3Store(
        config=settings,
        client_options=objectstore.client_options(
            _times(given, context),
            base,
            verify=given.flag("S3_VERIFY_SSL", default=True),
            ca=certificates(given),
        ),
        retry_config=objectstore.RETRY,
        credential_provider=provider,
    )
    return objectstore.listing(store, bucket, path, kind="bucket", origin=shown, credential=who.name)


def certificates(given: Credentials) -> str | None:
    """The PEM text that AWS_CA_BUNDLE, or KServe's mounted bundle, names."""
    if not given.flag("S3_VERIFY_SSL", default=True):
        return None
    name, path = "AWS_CA_BUNDLE", given.get("AWS_CA_BUNDLE")
    if path is None and (folder := given.get("CA_BUNDLE_VOLUME_MOUNT_POINT")):
        name, path = "CA_BUNDLE_VOLUME_MOUNT_POINT", str(Path(folder) / "cabundle.crt")
    if path is None:
        return None
    if path.lstrip().startswith("-----BEGIN"):
        return path
    try:
        return Path(path).read_text()
    except OSError as error:
        raise StorageError(
            "authenticate",
            f"the certificates {path}, which {given.source(name)} names in {name}, cannot be read: {error.strerror}",
            "Put the PEM file there, or correct the name",
            reason="NotFound",
        ) from error


def _times(given: Credentials, context: Context) -> Context:
    def seconds(name: str, default: float) -> float:
        text = given.get(name)
        try:
            return float(text) if text else default
        except ValueError as error:
            raise StorageError(
                "resolve",
                f"{name} must be a number of seconds, got {text!r}",
                "Correct it",
                reason="InvalidURI",
            ) from error

    return replace(
        context,
        connect_timeout_s=seconds("S3_CONNECT_TIMEOUT", context.connect_timeout_s),
        read_timeout_s=seconds("S3_READ_TIMEOUT", context.read_timeout_s),
    )
