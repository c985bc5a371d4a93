"""How a service is reached through this platform's gateway."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

import msgspec

from modelport.cli import Mistake, home
from modelport.cli.waiting import condition
from modelport.kube.part import mapping

if TYPE_CHECKING:
    from modelport.kube.client import Client
    from modelport.kube.resource import Object
    from modelport.local.folder import Settings


ANSWERS = (200, 401, 403)
"""Of a service that is asked whether its model is there; the last two where whoever asks shows no key."""
AGAIN_S, UNKNOWN_S = 0.2, 10.0
"""Between two tries; and so long a service may know no such model, or the gateway no such service."""


EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - to be told apart
"""For hosts that are bound, one of their addresses."""


class Answer(msgspec.Struct):
    """What the gateway answered."""

    status: int
    body: bytes


def host(item: Object) -> str | None:
    """The host name in a service's `status.url`."""
    url: str | None = item.get("status", {}).get("url")
    return urlsplit(url).hostname if url else None


def below(item: Object) -> str:
    """The path in a service's `status.url`, where services share a host."""
    return urlsplit(item.get("status", {}).get("url") or "").path.rstrip("/")


async def own_host(client: Client, item: Object) -> str | None:
    """The name of a service alone, by which gRPC reaches it: where services share a host, its calls' paths do not say whom
    they are for."""
    from modelport.kube.resource import HTTP_ROUTE

    if not below(item):
        return host(item)
    meta = item["metadata"]
    found = await client.find(HTTP_ROUTE, meta["namespace"], meta["name"])
    return next(iter(mapping((found or {}).get("spec")).get("hostnames") or []), None)


async def address(client: Client, item: Object, settings: Settings) -> str:
    """An address that curl and browsers resolve without a header, its name under `.localhost`; or the gateway's, and the
    header. Empty where it has none."""
    from modelport.kube.resource import HTTP_ROUTE
    from modelport.render.route import BY_PATH

    found = host(item)
    if found is None:
        return ""
    meta, path = item["metadata"], below(item)
    route = await client.find(HTTP_ROUTE, meta["namespace"], meta["name"] + (BY_PATH if path else ""))
    hosts = cast("list[str]", mapping((route or {}).get("spec")).get("hostnames") or [])
    local = next((one for one in hosts if one == "localhost" or one.endswith(".localhost")), None)
    scheme = "https" if settings.tls_certificate else "http"
    target = reached(settings)
    if local and target in ("127.0.0.1", "::1"):
        return f"{scheme}://{local}:{settings.gateway_port}{path}"
    start = f"{scheme}://{home.with_port(target, settings.gateway_port)}{path}"
    return f"{start} (with the header Host: {found})"


def reached(settings: Settings) -> str:
    """The address by which this machine's own commands come to the gateway."""
    return EVERY.get(settings.host, settings.host)


def unaddressed(item: Object) -> Mistake:
    """What to say of a service that has no address, with the reason where it is known."""
    name = item["metadata"]["name"]
    why = (condition(item, "Ready") or {}).get("message")
    said = f"{name} has no address{f': {why}' if why else ' yet'}"
    return Mistake(said, f"modelport describe {name} says what it waits for")


def trust(certificate: str) -> ssl.SSLContext:
    """Trusts the very certificate that this platform was given, whoever signed it and whatever it is for."""
    found = ssl.create_default_context(cafile=certificate)
    found.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    found.check_hostname = False
    return found


def ask(
    item: Object,
    settings: Settings,
    method: str,
    path: str,
    body: Any = None,
    key: str | None = None,
    timeout_s: float = 120.0,
) -> Answer:
    """One request to a service, through the gateway. A Mistake where the gateway does not answer."""
    name = host(item)
    if name is None:
        raise unaddressed(item)
    target = reached(settings)
    connection: http.client.HTTPConnection
    if settings.tls_certificate:
        connection = http.client.HTTPSConnection(
            target, settings.gateway_port, timeout=timeout_s, context=trust(settings.tls_certificate)
        )
    else:
        connection = http.client.HTTPConnection(target, settings.gateway_port, timeout=timeout_s)
    headers = {"Host": name, "Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        connection.request(
            method, quote(below(item) + path, safe="/:"), None if body is None else json.dumps(body), headers
        )
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    except OSError as error:
        raise Mistake(
            f"the gateway at {home.with_port(target, settings.gateway_port)} does not answer: {error}",
            "modelport status",
        ) from error
    finally:
        connection.close()


def silence(item: Object, settings: Settings, key: str | None, until: float) -> str | None:
    """None once the service's model answers by the gateway, or what comes instead when `until` (monotonic) is over."""
    name = item["metadata"]["name"]
    unknown_until = time.monotonic() + UNKNOWN_S
    while True:
        for path in (f"/v1/models/{name}", f"/v2/models/{name}/ready"):
            try:
                answer = ask(
                    item, settings, "GET", path, key=key, timeout_s=max(1.0, until - time.monotonic())
                )
            except Mistake as mistake:
                status, said = 0, str(mistake)
                break
            if answer.status in ANSWERS:
                return None
            status, said = answer.status, f"{answer.status}: {answer.body.decode(errors='replace')[:300]}"
            if status != 404:
                break
        if time.monotonic() + AGAIN_S > (min(until, unknown_until) if status == 404 else until):
            return said
        time.sleep(AGAIN_S)
