"""A client for any Kubernetes API server, in plain JSON objects. The only file that imports a client library:
lightkube finds the configuration (kubeconfig, in-cluster) and signs requests; the verbs are here.

    async with Client.from_kubeconfig(path) as client:
        pod = await client.get(POD, "default", "web-1")
        listing = await client.list(POD, "default", labels="app=web")
        async for event in client.watch(POD, since=listing.resource_version): ...
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2
import msgspec
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from yaml import YAMLError

from modelport.kube.errors import ApiError
from modelport.kube.resource import POD, Object, Resource

PatchType = Literal["json", "merge", "strategic"]
CONTENT_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
AGENT = f"modelport/{version('modelport')}"
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

    def __init__(self, http: httpx2.AsyncClient, server: str) -> None:
        self._http = http
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
        config = _configuration(path, context)
        params = ConnectionParams(timeout=httpx2.Timeout(timeout_s, pool=None), trust_env=False)
        if socket is not None:
            params.transport = _over(socket)
        http = AsyncClient(config, params)
        if socket is not None:
            http.base_url = httpx2.URL("http://localhost")
        # Writes that name no field manager are known by it.
        http.headers["User-Agent"] = AGENT
        return cls(http, config.cluster.server)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

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
        try:
            answer = await self._http.request(
                method,
                path,
                params=params or {},
                content=None if body is None else _encode(body),
                headers={"Accept": accept} | ({"Content-Type": content_type} if body is not None else {}),
            )
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error
        if answer.status_code >= 400:
            raise _refusal(answer)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        if not (is_json and answer.content):
            return answer.text
        try:
            return _decode(answer.content)
        except msgspec.DecodeError as error:
            raise _no_json(answer, error) from error

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. ApiError 404 where there is none."""
        return await self.request("GET", resource.path(namespace, name))

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
        request = self._http.build_request(
            "GET",
            resource.path(namespace),
            params={key: value for key, value in params.items() if value},
            timeout=httpx2.Timeout(30.0, read=timeout_s + 30.0, pool=None),
        )
        try:
            answer = await self._http.send(request, stream=True)
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error
        try:
            if answer.status_code >= 400:
                await answer.aread()
                raise _refusal(answer)
            async for line in answer.aiter_lines():
                if not line.strip():
                    continue
                try:
                    event = _decode(line, type=Event)
                except msgspec.DecodeError as error:
                    raise _no_json(answer, error) from error
                if event.type == "ERROR":
                    raise ApiError.from_status(event.object, 500)
                yield event
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error
        finally:
            await answer.aclose()

    async def log(self, namespace: str, name: str, params: dict[str, str]) -> AsyncIterator[str]:
        """A pod's log, line by line; `params` as Kubernetes has them: container, follow, tailLines, …"""
        follow = params.get("follow") == "true"
        request = self._http.build_request(
            "GET",
            POD.path(namespace, name, "log"),
            params=params,
            timeout=httpx2.Timeout(30.0, read=None if follow else 30.0, pool=None),
        )
        try:
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise ApiError.from_status(_decode(answer.content), answer.status_code)
                async for line in answer.aiter_lines():
                    yield line
            finally:
                await answer.aclose()
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.server}: {error or type(error).__name__}") from error

    async def create(self, resource: Resource, body: Object, *, dry_run: bool = False) -> Object:
        """POST."""
        namespace = body.get("metadata", {}).get("namespace")
        return await self.request("POST", resource.path(namespace), params=_dry(dry_run), body=body)

    async def replace(self, resource: Resource, body: Object, *, subresource: str = "") -> Object:
        """PUT; with `metadata.resourceVersion` only if nobody changed it since."""
        meta = body["metadata"]
        return await self.request(
            "PUT", resource.path(meta.get("namespace"), meta["name"], subresource), body=body
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
            resource.path(namespace, name, subresource),
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
            resource.path(meta.get("namespace"), meta["name"], subresource),
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
        return await self.request("DELETE", resource.path(namespace, name), body=options)


def _over(socket: Path) -> Any:
    # lightkube means a transport of either kind. Nothing is verified on the way, so no authorities are read.
    return httpx2.AsyncHTTPTransport(
        uds=str(socket), verify=False, limits=httpx2.Limits(max_connections=None)
    )


def _configuration(path: Path | None, context: str | None) -> SingleConfig:
    start = "Set KUBECONFIG, or start the platform: modelport up"
    try:
        config = (KubeConfig.from_file(path) if path else KubeConfig.from_env()).get(context)
    except ConfigError as error:
        raise Unreachable(f"no Kubernetes configuration: {error}. {start}") from error
    except (OSError, YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        where = path or os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise Unreachable(f"{where}: is no kubeconfig: {type(error).__name__}: {error}. {start}") from error
    if config is None:
        raise Unreachable(f"no Kubernetes configuration. {start}")
    return config


def _refusal(answer: httpx2.Response) -> ApiError:
    """What the server says, whether it is a `Status` or a proxy's page."""
    try:
        content: Any = _decode(answer.content)
    except msgspec.DecodeError:
        content = answer.text
    error = ApiError.from_status(content, answer.status_code)
    wait = answer.headers.get("retry-after", "")
    if error.retry_after_s is None and wait.isdecimal():
        error.retry_after_s = int(wait)
    return error


def _no_json(answer: httpx2.Response, error: msgspec.DecodeError) -> ApiError:
    return ApiError(502, "", f"{answer.request.url}: the API server's answer is no JSON: {error}")


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}
