"""AWS's credential chain: keys, a role by web identity (IRSA), the container's or the machine's role.

obstore has one of its own, which reads this process's environment. A pod's fetch must use the pod's credentials and
no others, so each is worked out here from what was given, and handed over as a function. The only requests to
link-local addresses that storage makes are those of `metadata`, and of `_container` by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from modelport.storage import metadata
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.machine import cloud
from modelport.storage.objectstore import Provider, kept


@dataclass(frozen=True)
class Identity:
    """Who asks: what obstore calls for a credential, and its name. Without a provider: anonymous."""

    provider: Provider | None
    name: str


def identity(given: Credentials, region: str) -> Identity:
    """The first of the chain that is there."""
    if given.flag("awsAnonymousCredential"):
        return Identity(None, "")
    key, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        token = given.get("AWS_SESSION_TOKEN")
        static = {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}
        return Identity(lambda: static, f"the access key of {given.source('AWS_ACCESS_KEY_ID')}")
    if key or secret:
        name = "AWS_ACCESS_KEY_ID" if key else "AWS_SECRET_ACCESS_KEY"
        raise StorageError(
            "authenticate",
            f"{given.source(name)} gives {name}, and its other half is missing",
            "Give both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            reason="Unauthenticated",
        )
    role, file = given.get("AWS_ROLE_ARN"), given.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if role and file:
        name = f"the role {role} of {given.source('AWS_ROLE_ARN')}"
        return Identity(kept(lambda: _web_identity(given, role, file, region)), name)
    if role:
        raise StorageError(
            "authenticate",
            f"{given.source('AWS_ROLE_ARN')} names the role {role}, and there is no web identity token",
            "Set AWS_WEB_IDENTITY_TOKEN_FILE to the file with the token",
            reason="Unauthenticated",
        )
    relative = given.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    full = given.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") or (
        f"http://169.254.170.2{relative}" if relative else None
    )
    if full:
        return Identity(kept(lambda: _container(given, full)), "the container's role")
    if cloud(given) == "aws":
        return Identity(kept(lambda: _credential(metadata.aws(given))), "this machine's role")
    return Identity(None, "")


def _web_identity(given: Credentials, role: str, file: str, region: str) -> dict[str, Any]:
    """AssumeRoleWithWebIdentity of STS."""
    from modelport.storage.transport import Transport, bad_status

    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise StorageError(
            "authenticate",
            f"the web identity token {file} cannot be read: {error.strerror}",
            "Correct AWS_WEB_IDENTITY_TOKEN_FILE",
            reason="Unauthenticated",
        ) from error
    endpoint = given.get("AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT") or f"https://sts.{region}.amazonaws.com"
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": role,
        "RoleSessionName": given.get("AWS_ROLE_SESSION_NAME") or "modelport",
        "WebIdentityToken": token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/xml"}
    with Transport().request(
        "POST", endpoint, headers, body=urlencode(form).encode(), step="authenticate"
    ) as answer:
        text = answer.text().decode(errors="replace")
        if answer.status != 200:
            code = found[1] if (found := re.search(r"<Code>(\w+)</Code>", text)) else str(answer.status)
            if answer.status >= 500:
                raise bad_status(answer, "authenticate")
            raise StorageError(
                "authenticate",
                f"STS does not give the role {role}: {code}",
                "Check the role's trust policy and the token's audience",
                reason="Unauthenticated",
            )
    return _credential(
        {
            name: found[1] if (found := re.search(f"<{name}>([^<]+)</{name}>", text)) else ""
            for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
        }
    )


def _container(given: Credentials, uri: str) -> dict[str, Any]:
    """ECS's and EKS Pod Identity's agent. Plain http is for this machine's own addresses only, as in AWS's SDKs."""
    host = urlsplit(uri).hostname or ""
    if uri.startswith("http://") and host not in (
        "169.254.170.2",
        "169.254.170.23",
        "localhost",
        "127.0.0.1",
        "fd00:ec2::23",
    ):
        raise StorageError(
            "authenticate",
            f"AWS_CONTAINER_CREDENTIALS_FULL_URI names {host} over plain http",
            "Use https, or an address of this machine",
            reason="Refused",
        )
    token = given.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    if token is None and (file := given.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")):
        token = Path(file).read_text().strip()
    body = metadata.ask("GET", uri, {"Authorization": token} if token else {})
    return _credential(metadata.answer(body, uri))


def _credential(found: dict[str, Any]) -> dict[str, Any]:
    expires = found.get("Expiration")
    return {
        "access_key_id": found["AccessKeyId"],
        "secret_access_key": found["SecretAccessKey"],
        "token": found.get("SessionToken") or found.get("Token"),
        "expires_at": datetime.fromisoformat(expires).astimezone(UTC) if expires else None,
    }
