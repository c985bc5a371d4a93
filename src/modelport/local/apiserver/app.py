"""The ASGI application: who asks, for what, which verb; and one place that writes refusals.

store = Store(folder / "state.db")
app = build(store, Registry(standard(network)), tokens=Tokens(folder / "tokens.json"), log_files=find_log)
await serve(app, store, port, certificate, key, ready)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from modelport.kube.errors import ApiError
from modelport.kube.schema.kubernetes import version as kubernetes_version
from modelport.local.apiserver import answer, custom, discovery, namespaces, reviews
from modelport.local.apiserver.accept import Form, negotiate, parse
from modelport.local.apiserver.answer import plain
from modelport.local.apiserver.api import Api, Clock, LogFiles
from modelport.local.apiserver.authorization import PUBLIC, Attributes, allowed, forbidden, unauthorized
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Address, Call, parse_address
from modelport.local.apiserver.connect import connect
from modelport.local.apiserver.definitions import publish_definitions
from modelport.local.apiserver.dispatch import dispatch, verb_of
from modelport.local.apiserver.execution import Execute
from modelport.local.apiserver.expiry import expire_events
from modelport.local.apiserver.keep_copies import keep_copies
from modelport.local.apiserver.metrics import Metrics
from modelport.local.apiserver.openapi import OpenApi
from modelport.local.apiserver.quota_status import keep_used
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.state_file import StoreError, WriteError
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.tokens import Tokens, User
from modelport.local.apiserver.usage import Measure

log = logging.getLogger(__name__)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PATHS = (
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
)


class App:
    """The handler of every request."""

    def __init__(self, api: Api, tokens: Tokens) -> None:
        self._api = api
        self._tokens = tokens
        self._metrics = Metrics()
        self._openapi = OpenApi(api.registry)

    async def handle(self, request: Request) -> Response:
        """Any request; every refusal becomes a Status here, and no traceback leaves the process."""
        begun = time.perf_counter()
        response = await self._answered(request)
        self._metrics.count(request.method, response.status_code, time.perf_counter() - begun)
        return response

    async def _answered(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except ApiError as error:
            return answer.status(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except WriteError as error:  # the store has logged it
            return answer.status(ApiError(507, "InsufficientStorage", str(error)))
        except StoreError as error:
            log.error("%s", error)
            return answer.status(ApiError(500, "InternalError", f"Internal error occurred: {error}"))
        except Exception:
            log.exception("%s %s", request.method, request.url.path)
            words = "Internal error occurred: this is a fault of the API server; control.log has more"
            return answer.status(ApiError(500, "InternalError", words))

    async def _handle(self, request: Request) -> Response:
        path = request.url.path.rstrip("/") or "/"
        if path == "/version":
            return plain(_version())
        if path in PUBLIC:
            return PlainTextResponse("ok")
        user = self._user(request)
        # Schemas have forms of their own.
        form = Form() if path.startswith("/openapi/") else negotiate(request.headers.get("accept", ""))
        address = parse_address(path)
        if address is None:
            return await self._told(request, user, path, form)
        if address.plural in reviews.RESOURCES and request.method == "POST":
            if form.kind and ";" in request.headers.get("accept", "").rpartition(",")[2]:
                raise ApiError(406, "NotAcceptable", f"an answer to {address.plural} is no {form.kind}")
            body = await parse(await read_body(request), request.headers.get("content-type", ""))
            return plain(reviews.answer(self._api.registry, user, address, body), form, 201)
        return await self._resource(request, user, address, form)

    async def connect(self, socket: WebSocket) -> None:
        """A WebSocket; every refusal is an answer to its first request."""
        try:
            user = self._user(socket)
            address = parse_address(socket.url.path.rstrip("/"))
            if address is None:
                raise discovery.unknown_path()
            asked = Attributes(
                verb="create",  # whatever the method: it does something in the pod
                group=address.group,
                resource=address.plural,
                subresource=address.subresource,
                namespace=address.namespace,
                name=address.name,
            )
            if not allowed(user.role, asked, namespaced=True):
                raise forbidden(user, asked)
            await connect(self._api, socket, address)
        except ApiError as error:
            await socket.send_denial_response(answer.status(error))

    def _user(self, request: HTTPConnection) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self._tokens.user(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user

    async def _told(self, request: Request, user: User, path: str, form: Form) -> Response:
        """What the server says about itself: discovery, schemas, metrics."""
        asked = Attributes(verb=request.method.lower(), path=path)
        if not allowed(user.role, asked, namespaced=False):
            raise forbidden(user, asked)
        if request.method not in ("GET", "HEAD"):
            raise discovery.unknown_path()
        if path.startswith("/openapi/"):
            return await self._openapi.answer(request, path)
        if path == "/metrics":
            text = self._metrics.text(self._api.store, self._api.registry)
            return PlainTextResponse(text, media_type="text/plain; version=0.0.4")
        if path.startswith(("/healthz/", "/livez/", "/readyz/")):
            return PlainTextResponse("ok")
        if path == "/":
            return plain({"paths": list(PATHS)})
        return discovery.answer(request, self._api.registry, path, form)

    async def _resource(self, request: Request, user: User, address: Address, form: Form) -> Response:
        served = self._api.registry.find(address.group, address.version, address.plural)
        if served is None:
            raise discovery.unknown_path()
        verb = verb_of(request, address)
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
        return await dispatch(Call(self._api, request, user, served, address, verb, form))


def _version() -> dict[str, str]:
    text = kubernetes_version()
    major, minor = text.lstrip("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"{text}+modelport",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "any",
    }


def build(
    store: Store,
    registry: Registry,
    *,
    tokens: Tokens,
    log_files: LogFiles,
    execute: Execute | None = None,
    measure: Measure | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """The application. At its start it starts the store and makes the namespaces and definitions that are always
    there; at its end it ends watches and closes the store."""
    api = Api(store, registry, log_files=log_files, execute=execute, measure=measure)
    if clock is not None:
        api.clock = clock
    app = App(api, tokens)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        store.start()
        try:
            await namespaces.make(api)
            await publish_definitions(api)
            custom.load(api)
            tasks = [
                asyncio.create_task(namespaces.empty_those_going(api)),
                asyncio.create_task(expire_events(api)),
                asyncio.create_task(keep_copies(store)),
                asyncio.create_task(custom.establish(api)),
                asyncio.create_task(keep_used(api)),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
        finally:
            await store.close()

    routes = [
        Route("/{path:path}", app.handle, methods=METHODS),
        WebSocketRoute("/{path:path}", app.connect),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
