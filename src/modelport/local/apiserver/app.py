"""The ASGI application: who asks, for what, which verb; and one place that writes refusals.

store = Store(folder / "state.db")
app = build(store, Registry(standard()), tokens=Tokens(folder / "tokens.json"))
await serve(app, host, port, certificate, key)
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import NAMESPACE, Object
from modelport.kube.schema.kubernetes import version as kubernetes_version
from modelport.local.apiserver import answer, discovery, openapi, reviews
from modelport.local.apiserver.accept import Form, negotiate, parse
from modelport.local.apiserver.answer import one, plain, raw, success
from modelport.local.apiserver.api import Api, Clock
from modelport.local.apiserver.authorization import PUBLIC, Attributes, allowed, forbidden, unauthorized
from modelport.local.apiserver.call import Address, Call, parse_address
from modelport.local.apiserver.create import create
from modelport.local.apiserver.delete import delete
from modelport.local.apiserver.get import get
from modelport.local.apiserver.ledger import StoreError
from modelport.local.apiserver.list import list_objects
from modelport.local.apiserver.logs import log as pod_log
from modelport.local.apiserver.options import delete_options, truth, write_options
from modelport.local.apiserver.patch import patch
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.replace import replace
from modelport.local.apiserver.scale import read_scale, write_scale
from modelport.local.apiserver.select import selection
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.tokens import Tokens, User
from modelport.local.apiserver.watch import watch

log = logging.getLogger(__name__)
BODY_LIMIT = 3 << 20
NOT_HERE = {
    "exec": "run a command in the pod's environment by hand: its processes are this machine's (modelport status)",
    "attach": "follow its output with logs -f",
    "portforward": "pods listen on this machine's loopback: ask the pod's IP directly",
    "proxy": "pods and services listen on this machine's loopback: ask their address directly",
    "ephemeralcontainers": "pods are processes of this machine",
    "token": "the platform's tokens are in its folder: modelport kubeconfig --role view",
}
"""Subresources that one machine has no use for, and what to do instead."""
LogFiles = Callable[[Object, str, bool], Path | None]
"""Pod, container, whether the one before the last restart: the file with its log."""


class App:
    """The handler of every request."""

    def __init__(self, api: Api, tokens: Tokens, log_files: LogFiles) -> None:
        self._api = api
        self._tokens = tokens
        self._log_files = log_files

    async def handle(self, request: Request) -> Response:
        """Any request; every refusal becomes a Status here."""
        try:
            return await self._handle(request)
        except ApiError as error:
            return answer.status(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except StoreError as error:
            log.error("%s", error)
            return answer.status(ApiError(507, "InsufficientStorage", str(error)))
        except Exception:
            log.exception("%s %s", request.method, request.url.path)
            return answer.status(
                ApiError(500, "InternalError", "Internal error; the log of control has more")
            )

    async def _handle(self, request: Request) -> Response:
        path = request.url.path.rstrip("/") or "/"
        if path in PUBLIC:
            return self._public(path)
        user = self._user(request)
        address = parse_address(path)
        form = negotiate(request.headers.get("accept", ""))
        if address is None:
            asked = Attributes(verb=request.method.lower(), path=path)
            if not allowed(user.role, asked, namespaced=False):
                raise forbidden(user, asked)
            return self._told(request, path, form)
        if address.plural in reviews.RESOURCES and request.method == "POST":
            body = await parse(await _body(request), request.headers.get("content-type", ""))
            return plain(reviews.answer(self._api.registry, user, address.plural, body), form, 201)
        return await self._resource(request, user, address, form)

    def _public(self, path: str) -> Response:
        if path == "/version":
            git = kubernetes_version()
            major, minor = git.lstrip("v").split(".")[:2]
            return plain(
                {"major": major, "minor": minor, "gitVersion": f"{git}+modelport", "platform": "linux/amd64"}
            )
        return PlainTextResponse("ok")

    def _user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self._tokens.user(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user

    def _told(self, request: Request, path: str, form: Form) -> Response:
        """Discovery, schemas, metrics."""
        registry = self._api.registry
        if path in ("/api", "/apis"):
            version = _aggregation(request.headers.get("accept", ""))
            if version:
                content = discovery.aggregated(registry, version, core=path == "/api")
                media = f"application/json;g={discovery.AGGREGATED};v={version};as=APIGroupDiscoveryList"
                return Response(msgspec.json.encode(content), media_type=media)
            host = request.headers.get("host", "")
            return plain(
                discovery.core_versions(host) if path == "/api" else discovery.groups(registry), form
            )
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) == 2:
            return plain(discovery.resources(registry, "", parts[1]), form)
        if parts[0] == "apis" and len(parts) == 2:
            return plain(discovery.group(registry, parts[1]), form)
        if parts[0] == "apis" and len(parts) == 3:
            return plain(discovery.resources(registry, parts[1], parts[2]), form)
        if path == "/openapi/v3":
            return plain(openapi.index(registry))
        if path.startswith("/openapi/v3/"):
            return plain(openapi.document(registry, path.removeprefix("/openapi/v3/")))
        if path == "/metrics":
            return PlainTextResponse(self._metrics())
        if path.startswith(("/healthz", "/livez", "/readyz")):
            return PlainTextResponse("ok")
        if path == "/":
            return plain({"paths": ["/api", "/apis", "/healthz", "/metrics", "/openapi/v3", "/version"]})
        raise discovery.unknown_path()

    def _metrics(self) -> str:
        lines = ["# TYPE apiserver_storage_objects gauge"]
        for served in self._api.registry:
            count = len(self._api.store.rows(served.resource.qualified))
            lines.append(f'apiserver_storage_objects{{resource="{served.resource.qualified}"}} {count}')
        lines += [
            "# TYPE apiserver_registered_watchers gauge",
            f"apiserver_registered_watchers {self._api.store.watchers}",
        ]
        lines += [
            "# TYPE modelport_resource_version gauge",
            f"modelport_resource_version {self._api.store.version}",
        ]
        return "\n".join(lines) + "\n"

    async def _resource(self, request: Request, user: User, address: Address, form: Form) -> Response:
        served = self._api.registry.find(address.group, address.version, address.plural)
        if served is None:
            raise discovery.unknown_path()
        verb = _verb(request, address)
        asked = Attributes(
            verb=verb,
            group=address.group,
            resource=address.plural,
            subresource=address.subresource,
            namespace=address.namespace,
            name=address.name,
        )
        if not allowed(user.role, asked, namespaced=served.resource.namespaced):
            raise forbidden(user, asked)
        if served.resource.namespaced and not address.namespace and (address.name or verb == "create"):
            raise bad_request("an empty namespace may not be set when a resource name is provided")
        call = Call(self._api, request, user, served, address, verb, form)
        if address.subresource and address.subresource != "status":
            return await self._subresource(call, address.subresource)
        match verb:
            case "watch":
                return await watch(call)
            case "list":
                return await list_objects(call)
            case "get":
                return await get(call)
            case "deletecollection":
                return await self._delete_many(call)
            case "delete":
                return await self._delete(call)
            case _:
                return await self._write(call)

    async def _write(self, call: Call) -> Response:
        request = call.request
        options = write_options(call.query, request.headers.get("user-agent", ""))
        media, content = request.headers.get("content-type", ""), await _body(request)
        where = (self._api, call.served, call.namespace)
        new = False
        if call.verb == "patch":
            value, new = await patch(*where, call.name, content, media, options, subresource=call.subresource)
        else:
            body = await parse(content, media)
            if call.verb == "create":
                value, new = await create(*where, body, options), True
            else:
                value, new = await replace(*where, call.name, body, options, subresource=call.subresource)
        call.warnings += options.warnings
        return one(call, value, 201 if new else 200)

    async def _delete(self, call: Call) -> Response:
        options = delete_options(call.query, await _optional(call.request))
        done = await delete(self._api, call.served, call.namespace, call.name, options)
        if not done.gone:
            return one(call, done.value)
        obj: Object = msgspec.json.decode(done.value)
        resource = call.served.resource
        details = {
            "name": call.name,
            "group": resource.group,
            "kind": resource.plural,
            "uid": obj["metadata"]["uid"],
        }
        return plain(success(details), call.form)

    async def _delete_many(self, call: Call) -> Response:
        options = delete_options(call.query, await _optional(call.request))
        wanted = selection(call)
        rows = [
            row
            for row in self._api.store.rows(call.served.resource.qualified, wanted.namespace)
            if wanted.has(row)
        ]
        for row in rows:
            try:
                await delete(self._api, call.served, row.namespace, row.name, options)
            except ApiError as error:
                if error.code != 404:
                    raise
        return plain(
            success({"group": call.served.resource.group, "kind": call.served.resource.plural}), call.form
        )

    async def _subresource(self, call: Call, name: str) -> Response:
        resource = call.served.resource
        if name == "scale" and "scale" in resource.subresources:
            if call.verb == "get":
                return plain(read_scale(self._api, call), call.form)
            return plain(await write_scale(self._api, call, await _body(call.request)), call.form)
        if resource.qualified == "pods" and name == "log":
            return await pod_log(call, self._log_files)
        if resource.qualified == "pods" and name == "binding" and call.verb == "create":
            return plain(success({"name": call.name, "kind": "pods"}), call.form, 201)  # there is one node
        if resource.qualified == "pods" and name == "eviction" and call.verb == "create":
            await delete(self._api, call.served, call.namespace, call.name, delete_options({}, None))
            return plain(success({"name": call.name, "kind": "pods"}), call.form, 201)
        if resource is NAMESPACE and name == "finalize":
            return await self._finalize(call)
        if name in NOT_HERE or name.partition("/")[0] in NOT_HERE:
            words = NOT_HERE[name.partition("/")[0]]
            raise ApiError(501, "NotImplemented", f"{resource.plural}/{name}: not on this platform; {words}")
        raise discovery.unknown_path()

    async def _finalize(self, call: Call) -> Response:
        from modelport.local.apiserver.terminating import finalize

        return raw(
            await finalize(self._api, call.served, call.name, await parse(await _body(call.request), ""))
        )


def _verb(request: Request, address: Address) -> str:
    """Kubernetes' word for what a method asks. ApiError 405."""
    named = bool(address.name)
    if request.method in ("GET", "HEAD"):
        if not address.subresource and truth(request.query_params, "watch"):
            return "watch"
        return "get" if named else "list"
    found = {
        ("POST", False): "create",
        ("POST", True): "create" if address.subresource else "",
        ("PUT", True): "update",
        ("PATCH", True): "patch",
        ("DELETE", True): "delete",
        ("DELETE", False): "deletecollection",
    }.get((request.method, named))
    if not found:
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed on {request.url.path}")
    return found


async def _body(request: Request) -> bytes:
    """A body within the limit. ApiError 413."""
    claimed = request.headers.get("content-length", "0")
    parts: list[bytes] = []
    size = int(claimed) if claimed.isdecimal() else 0
    if size <= BODY_LIMIT:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > BODY_LIMIT:
                break
            parts.append(part)
        else:
            return b"".join(parts)
    raise ApiError(
        413,
        "RequestEntityTooLarge",
        f"Request entity too large: limit is {BODY_LIMIT} bytes, got {size} or more",
    )


async def _optional(request: Request) -> object:
    content = await _body(request)
    return await parse(content, request.headers.get("content-type", "")) if content else None


def _aggregation(accept: str) -> str:
    """The version of aggregated discovery that a client asks for; empty for the old form."""
    for part in accept.split(","):
        words = [word.strip() for word in part.split(";")]
        if "as=APIGroupDiscoveryList" in words and f"g={discovery.AGGREGATED}" in words:
            version = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "")
            if version in ("v2", "v2beta1"):
                return version
    return ""


def build(
    store: Store, registry: Registry, *, tokens: Tokens, log_files: LogFiles, clock: Clock | None = None
) -> Starlette:
    """The application. It starts the store, and ends watches and closes it at its end."""
    api = Api(store, registry) if clock is None else Api(store, registry, clock=clock)
    app = App(api, tokens, log_files)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        import asyncio

        from modelport.local.apiserver.terminating import found_namespaces, terminate

        store.start()
        await found_namespaces(api)
        task = asyncio.create_task(terminate(api))
        try:
            yield
        finally:
            task.cancel()
            await store.close()

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", app.handle, methods=methods)], lifespan=lifespan)
