"""Azure Blob Storage: `https://ACCOUNT.blob.core.windows.net/CONTAINER/…`, `abfs://CONTAINER@ACCOUNT…/…`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from obstore.store import AzureStore

from modelport.storage import metadata, objectstore
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.guard import refuse_metadata
from modelport.storage.machine import cloud
from modelport.storage.scheme.gs import token
from modelport.storage.source import Context, Found

SCOPE = "https://storage.azure.com/.default"
AUTHORITY = "https://login.microsoftonline.com"


def resolve(uri: str, context: Context) -> Found:
    """Lists the blob or the blobs below the prefix. Without credentials it asks as anybody."""
    account, endpoint, container, path, signature = parse(uri, context.credentials)
    refuse_metadata(endpoint)
    provider, name = _identity(context.credentials, signature)
    settings: Any = {
        "account_name": account,
        "container_name": container,
        "endpoint": endpoint,
        "skip_signature": provider is None,
        "use_emulator": False,
        "use_azure_cli": False,
        "use_fabric_endpoint": False,
    }
    authority: Any = provider or objectstore.nobody(token="")
    store = AzureStore(
        config=settings,
        client_options=objectstore.client_options(context, endpoint),
        retry_config=objectstore.RETRY,
        credential_provider=authority,
    )
    return objectstore.listing(store, container, path, kind="container", origin=endpoint, credential=name)


def parse(uri: str, given: Credentials) -> tuple[str, str, str, str, str]:
    """Account, endpoint, container, path and signature (SAS) of a URI. Raises StorageError."""
    parts = urlsplit(uri)
    service = (given.get("AZURE_SERVICE_URL") or "").rstrip("/")
    if parts.scheme in ("http", "https"):
        account = (parts.hostname or "").partition(".")[0]
        container, _, path = unquote(parts.path).lstrip("/").partition("/")
        endpoint = service or f"https://{re.sub(r'[.]dfs[.]', '.blob.', parts.netloc)}"
    else:
        container, _, host = parts.netloc.rpartition("@")
        account = host.partition(".")[0] if container else (given.get("AZURE_ACCOUNT_NAME") or "")
        container = container or host
        path = unquote(parts.path).lstrip("/")
        endpoint = service or f"https://{account}.blob.core.windows.net"
    if not account or not container:
        raise StorageError(
            "resolve",
            "it names no account" if not account else "it names no container",
            "Write https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH or abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
            reason="InvalidURI",
        )
    return account, endpoint, container, path, parts.query if "sig=" in parts.query else ""


def _identity(given: Credentials, signature: str) -> tuple[objectstore.Provider | None, str]:
    """KServe's order: a signature in the URI, a token, a service principal, then the account's key."""
    if signature:
        pairs = parse_qsl(signature)
        return (lambda: {"sas_token": pairs, "expires_at": None}), "the signature in the URI"
    if sas := given.get("AZURE_STORAGE_SAS_TOKEN"):
        pairs = parse_qsl(sas.lstrip("?"))
        return (lambda: {"sas_token": pairs, "expires_at": None}), given.source("AZURE_STORAGE_SAS_TOKEN")
    if ready := given.get("AZURE_ACCESS_TOKEN"):
        seconds = given.get("AZURE_ACCESS_EXPIRES_ON_SECONDS")
        expires = datetime.fromtimestamp(float(seconds), UTC) if seconds else None
        return (
            lambda: {"token": ready, "expires_at": expires}
        ), f"the token of {given.source('AZURE_ACCESS_TOKEN')}"
    client = given.get("AZURE_CLIENT_ID", "AZ_CLIENT_ID")
    tenant = given.get("AZURE_TENANT_ID", "AZ_TENANT_ID")
    secret = given.get("AZURE_CLIENT_SECRET", "AZ_CLIENT_SECRET")
    federated = given.get("AZURE_FEDERATED_TOKEN_FILE")
    if client and tenant and (secret or federated):
        source = given.source("AZURE_CLIENT_ID", "AZ_CLIENT_ID")
        name = f"the service principal {client} of {source}"
        return objectstore.kept(lambda: _login(given, tenant, client, secret, federated, name)), name
    if key := given.get("AZURE_STORAGE_ACCESS_KEY"):
        return (
            lambda: {"access_key": key, "expires_at": None}
        ), f"the key of {given.source('AZURE_STORAGE_ACCESS_KEY')}"
    if cloud(given) == "azure":
        return objectstore.kept(lambda: token(metadata.azure(given, client))), "this machine's identity"
    return None, ""


def _login(
    given: Credentials, tenant: str, client: str, secret: str | None, federated: str | None, name: str
) -> dict[str, Any]:
    """A service principal's token, by its secret or by a workload's own token."""
    form = {"grant_type": "client_credentials", "client_id": client, "scope": SCOPE}
    if secret:
        form["client_secret"] = secret
    elif federated:
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form["client_assertion"] = Path(federated).read_text().strip()
    authority = (given.get("AZURE_AUTHORITY_HOST") or AUTHORITY).rstrip("/")
    url = f"{authority}/{tenant}/oauth2/v2.0/token"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    from modelport.storage.transport import Transport, bad_status  # not for who asks without: it takes 5 MB

    with Transport().request(
        "POST", url, headers, body=urlencode(form).encode(), step="authenticate"
    ) as answer:
        if answer.status in (400, 401):
            raise StorageError(
                "authenticate",
                f"{authority} does not accept {name}",
                "Check its tenant, its secret and whether that has expired",
                reason="Unauthenticated",
            )
        if answer.status != 200:
            raise bad_status(answer, "authenticate", name)
        return token(answer.text())
