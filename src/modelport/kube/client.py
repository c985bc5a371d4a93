"""A client for any Kubernetes API server, in plain JSON objects. The verbs are here; how requests get there is in
`remote.py` and, for a server on this machine, in `own_socket.py`.

    async with Client.from_kubeconfig(path) as client:
        pod = await client.get(POD, "default", "web-1")
        listing = await client.list(POD, "default", labels="app=web")
        async for event in client.watch(POD, since=listing.resource_version): ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

import modelport
from modelport.kube import own_socket
from modelport.kube.errors import ApiError
from modelport.kube.exchange import Answer, Broken, Transport
from modelport.kube.name import unaddressable
from modelport.kube.resource import POD, Object, Resource

PatchType = Literal["json", "merge", "strategic"]
CONTENT_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
AGENT = f"modelport/{modelport.__version__}"
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Unreachable(Exception):
    """No API server answers there. The message says where and what to do."""


class Listing(msgspec.Struct):
    """A collection as it was at one resourceVersion."""

    items: list[Object]
    resource_version: str


class Event(msgspec.Struct):
    """One step of a watch."""

    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK."""
    object: Object


class Client:
    """Verbs on resources. Every method raises ApiError for the server's refusals, Unreachable for none."""

    def __init__(
        self, transport: Transport, server: str, *, token: str | None = None, timeout_s: float = 30.0
    ) -> None:
        """`token`: where the transport does not sign requests itself. `timeout_s`: for each part of an answer."""
        self._transport = transport
        self._timeout_s = timeout_s
        # Writes that name no field manager are known by the agent.
        self._headers = {"User-Agent": AGENT} | ({"Authorization": f"Bearer {token}"} if token else {})
        self.server = server

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path | None = None,
        context: str | None = None,
        timeout_s: float = 30.0,
        *,
        socket: Path | None = None,
    ) -> Self:
        """From a kubeconfig file; without one, as kubectl does: in-cluster, KUBECONFIG, ~/.kube/config.

        `socket`: a Unix socket of the same server, asked without TLS.
        """
        known = own_socket.identity(path) if socket and path and not context else None
        if socket and known:
            return cls._over(socket, known, timeout_s)
        # Late: the platform's own programs do not come here, and it is megabytes for each.
        from modelport.kube import remote

        try:
            config = remote.configuration(path, context)
        except remote.Misconfigured as error:
            start = "Set KUBECONFIG, or start the platform: modelport up"
            raise Unreachable(f"{error}. {start}") from error
        known = remote.identity(config)
        if socket and known:
            return cls._over(socket, known, timeout_s)
        return cls(remote.connect(config), config.cluster.server, timeout_s=timeout_s)

    @classmethod
    def _over(cls, socket: Path, known: tuple[str, str], timeout_s: float) -> Self:
        token, server = known
        return cls(own_socket.OwnSocket(socket), server, token=token, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._transport.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """One exchange; the decoded JSON, or the text where the answer is none."""
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        try:
            answer = await self._ask(method, path, params or {}, headers, self._timeout_s, body)
            content = await answer.read()
        except Broken as error:
            raise self._unreachable(error) from error
        if answer.status >= 400:
            raise _refusal(answer, content)
        if not (answer.header("content-type").startswith("application/json") and content):
            return content.decode(errors="replace")
        try:
            return _decode(content)
        except msgspec.DecodeError as error:
            raise _no_json(self.server + path, error) from error

    async def _ask(
        self,
        method: str,
        path: str,
        params: dict[str, str],
        headers: dict[str, str],
        wait_s: float | None,
        body: Any = None,
    ) -> Answer:
        return await self._transport.ask(
            method,
            path,
            params=params,
            headers=self._headers | headers,
            body=None if body is None else _encode(body),
            wait_s=wait_s,
        )

    def _unreachable(self, error: Broken) -> Unreachable:
        return Unreachable(f"{self.server}: {error}")

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. ApiError 404 where there is none."""
        return await self.request("GET", address(resource, namespace, name))

    async def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """One object, or None."""
        try:
            return await self.get(resource, namespace, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Listing:
        """All objects, of one namespace or of all. Items carry `apiVersion` and `kind`."""
        params = {"labelSelector": labels, "fieldSelector": fields}
        listing: Object = await self.request(
            "GET", resource.path(namespace), params={key: value for key, value in params.items() if value}
        )
        found: list[Object] = listing.get("items") or []
        named = {"apiVersion": resource.api_version, "kind": resource.kind}
        items = [named | item for item in found]
        return Listing(items, listing["metadata"]["resourceVersion"])

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        since: str,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 300,
    ) -> AsyncIterator[Event]:
        """Changes after `since`, until the server closes. ApiError 410 where `since` is too old."""
        params = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_s),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        asked = {key: value for key, value in params.items() if value}
        headers = {"Accept": "application/json"}
        try:
            answer = await self._ask("GET", resource.path(namespace), asked, headers, timeout_s + 30.0)
            try:
                if answer.status >= 400:
                    raise _refusal(answer, await answer.read())
                async for line in answer.lines():
                    if line.strip():
                        yield _event(line, self.server + resource.path(namespace))
            finally:
                await answer.close()
        except Broken as error:
            raise self._unreachable(error) from error

    async def log(self, namespace: str, name: str, params: dict[str, str]) -> AsyncIterator[str]:
        """A pod's log, line by line; `params` as Kubernetes has them: container, follow, tailLines, …"""
        follow = params.get("follow") == "true"
        path = address(POD, namespace, name, "log")
        try:
            answer = await self._ask(
                "GET", path, params, {"Accept": "*/*"}, None if follow else self._timeout_s
            )
            try:
                if answer.status >= 400:
                    raise _refusal(answer, await answer.read())
                async for line in answer.lines():
                    yield line
            finally:
                await answer.close()
        except Broken as error:
            raise self._unreachable(error) from error

    async def create(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """POST."""
        namespace = body.get("metadata", {}).get("namespace")
        return await self.request("POST", resource.path(namespace), params=_dry(dry_run), body=body)

    async def replace(self, resource: Resource, body: Object, *, subresource: str = "") -> Object:
        """PUT; with `metadata.resourceVersion` only if nobody changed it since."""
        meta = body["metadata"]
        return await self.request(
            "PUT", address(resource, meta.get("namespace"), meta.get("name"), subresource), body=body
        )

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        type: PatchType = "merge",  # noqa: A002 - the field's word
        subresource: str = "",
        field_manager: str = "",
    ) -> Object:
        """PATCH."""
        return await self.request(
            "PATCH",
            address(resource, namespace, name, subresource),
            params={"fieldManager": field_manager} if field_manager else None,
            body=patch,
            content_type=CONTENT_TYPES[type],
        )

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
        dry_run: bool = False,
        strict: bool = False,
    ) -> Object:
        """Server-side apply: the fields in `body` are ours; those that we had and that it lacks go.

        `strict`: unknown fields are refused, not dropped.
        """
        meta = body["metadata"]
        return await self.request(
            "PATCH",
            address(resource, meta.get("namespace"), meta.get("name"), subresource),
            params={"fieldManager": field_manager, "force": "true" if force else "false"}
            | _dry(dry_run)
            | ({"fieldValidation": "Strict"} if strict else {}),
            body=body,
            content_type=CONTENT_TYPES["apply"],
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
        version: str | None = None,
        grace_s: int | None = None,
    ) -> Object:
        """DELETE. With `uid` only that very object, with `version` (its resourceVersion) only as it was seen."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        wanted = {"uid": uid, "resourceVersion": version}
        if preconditions := {name: value for name, value in wanted.items() if value is not None}:
            options["preconditions"] = preconditions
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        return await self.request("DELETE", address(resource, namespace, name), body=options)


def address(resource: Resource, namespace: str | None, name: str | None, subresource: str = "") -> str:
    """The address of one object. ApiError for a name that would make it another address: without one, it is that of
    all objects, and a DELETE would take them all."""
    for word, value in (("namespace", namespace or "-"), ("name", name or "")):
        if why := unaddressable(value):
            raise ApiError(400, "BadRequest", f"{resource.qualified}: {word} {value!r} {why}")
    return resource.path(namespace, name, subresource)


def _event(line: str, url: str) -> Event:
    """One line of a watch. Raises ApiError for one that says so, and for nonsense."""
    try:
        event = _decode(line, type=Event)
    except msgspec.DecodeError as error:
        raise _no_json(url, error) from error
    if event.type == "ERROR":
        raise ApiError.from_status(event.object, 500)
    return event


def _refusal(answer: Answer, body: bytes) -> ApiError:
    """What the server says, whether it is a `Status` or a proxy's page."""
    try:
        content: Any = _decode(body)
    except msgspec.DecodeError:
        content = body.decode(errors="replace")
    error = ApiError.from_status(content, answer.status)
    wait = answer.header("retry-after")
    if error.retry_after_s is None and wait.isdecimal():
        error.retry_after_s = int(wait)
    return error


def _no_json(url: str, error: msgspec.DecodeError) -> ApiError:
    return ApiError(502, "", f"{url}: the API server's answer is no JSON: {error}")


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}
