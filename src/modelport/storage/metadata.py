"""Who this machine is in its cloud: the one place that asks link-local addresses, and for the credential chain alone.

Each cloud's own variable names another address, as its SDKs have it: for emulators and proxies on this machine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError, transient
from modelport.storage.machine import json_object

ADDRESS = "http://169.254.169.254"
AWS = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
GOOGLE = "GCE_METADATA_HOST"
AZURE = "AZURE_POD_IDENTITY_AUTHORITY_HOST"


def aws(given: Credentials) -> dict[str, Any]:
    """The role of an EC2 machine, by version 2 of its metadata: with a token of its own. Raises StorageError."""
    base = f"{_base(given, AWS)}/latest"
    token = ask("PUT", f"{base}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}).decode()
    headers = {"X-aws-ec2-metadata-token": token.strip()}
    roles = f"{base}/meta-data/iam/security-credentials/"
    role = next(iter(ask("GET", roles, headers).decode(errors="replace").split()), "")
    return answer(ask("GET", roles + role, headers), roles)


def google(given: Credentials) -> bytes:
    """An OAuth token of a Compute Engine machine's service account. Raises StorageError."""
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    return ask("GET", _base(given, GOOGLE) + path, {"Metadata-Flavor": "Google"})


def azure(given: Credentials, client: str | None) -> bytes:
    """An OAuth token of a virtual machine's managed identity, for storage. Raises StorageError."""
    query = {"api-version": "2018-02-01", "resource": "https://storage.azure.com/"}
    query |= {"client_id": client} if client else {}
    url = f"{_base(given, AZURE)}/metadata/identity/oauth2/token?{urlencode(query)}"
    return ask("GET", url, {"Metadata": "true"})


def ask(method: str, url: str, headers: Mapping[str, str]) -> bytes:
    """One question, without redirects or proxies, and without waiting long. Raises StorageError."""
    import urllib3

    host = urlsplit(url).netloc
    try:
        found = urllib3.request(
            method,
            url,
            headers=dict(headers),
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=1, read=5),
        )
    except urllib3.exceptions.HTTPError as error:
        raise transient("authenticate", f"{host}, which gives out the role, does not answer") from error
    if found.status >= 500 or found.status == 429:
        raise transient("authenticate", f"{host}, which gives out the role, answered {found.status}")
    if found.status != 200:
        raise StorageError(
            "authenticate",
            f"{host}, which gives out the role, answered {found.status}",
            "Has this machine or container a role? MODELPORT_INSTANCE_CREDENTIALS=never asks as anybody instead",
            reason="Unauthenticated",
        )
    return found.data


def answer(body: bytes, url: str) -> dict[str, Any]:
    """A JSON object. Raises StorageError."""
    found = json_object(body.decode(errors="replace"))
    if found is None:
        raise StorageError(
            "authenticate",
            f"{urlsplit(url).netloc}, which gives out the role, answered something else than a credential",
            "Has this machine or container a role?",
            reason="Unauthenticated",
        )
    return found


def _base(given: Credentials, name: str) -> str:
    text = (given.get(name) or "").rstrip("/")
    if not text:
        return ADDRESS
    url = text if "://" in text else f"http://{text}"
    host = urlsplit(url).hostname or ""
    try:
        near = host == "localhost" or (
            (address := ipaddress.ip_address(host)).is_loopback or address.is_link_local
        )
    except ValueError:
        near = False
    if not near:
        raise StorageError(
            "authenticate",
            f"{name} of {given.source(name)} names {host}, which is no address of this machine",
            "Credentials are asked for on this machine only: give a loopback or link-local address",
            reason="Refused",
        )
    return url
