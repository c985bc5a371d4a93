"""The client against a real HTTP server: addresses, bodies and errors are what a Kubernetes API server expects, over
the network and over the Unix socket of a server on this machine alike."""

import asyncio
import json
import socket
import threading

import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from modelport.kube.client import Client, Unreachable
from modelport.kube.errors import ApiError, conflict, gone, not_found
from modelport.kube.resource import DEPLOYMENT, NODE, POD

POD_1 = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default"}}


class Server:
    """Answers with what a test puts into `answers`, and notes what was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    async def answer(self, request):
        body = await request.body()
        self.asked.append(
            {
                "method": request.method,
                "path": request.url.path,
                "params": dict(request.query_params),
                "headers": request.headers,
                "body": json.loads(body) if body else None,
            }
        )
        return self.answers.get((request.method, request.url.path), JSONResponse({"ok": True}))

    @property
    def last(self):
        return self.asked[-1]


@pytest.fixture(params=["network", "socket"])
def server(request, tmp_path):
    handler = Server()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", handler.answer, methods=methods)])
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
    listeners[1].bind(str(tmp_path / "api.sock"))
    listeners[1].listen()
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=asyncio.run, args=(running.serve(listeners),))
    thread.start()
    handler.url = f"http://127.0.0.1:{listeners[0].getsockname()[1]}"
    handler.socket = tmp_path / "api.sock" if request.param == "socket" else None
    handler.kubeconfig = tmp_path / "kubeconfig"
    handler.kubeconfig.write_text(kubeconfig(handler.url))
    yield handler
    running.should_exit = True
    thread.join()


def kubeconfig(url):
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "let-me-in"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }
    )


def ask(server, verb):
    async def run():
        async with Client.from_kubeconfig(server.kubeconfig, socket=server.socket) as client:
            return await verb(client)

    return asyncio.run(run())


def status(error):
    return JSONResponse(error.to_status(), error.code)


def test_get_names_the_object_and_shows_the_token(server):
    server.answers["GET", "/api/v1/namespaces/default/pods/web-1"] = JSONResponse(POD_1)
    assert ask(server, lambda client: client.get(POD, "default", "web-1")) == POD_1
    assert server.last["headers"]["authorization"] == "Bearer let-me-in"
    assert server.last["headers"]["accept"] == "application/json"
    # Who wrote a status is told by it: `kubectl get -o yaml --show-managed-fields`.
    assert server.last["headers"]["user-agent"].startswith("modelport/")
    ask(server, lambda client: client.get(NODE, None, "local"))
    assert server.last["path"] == "/api/v1/nodes/local"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?labelSelector=b", "a%2Fb", "#"])
def test_a_name_that_is_another_address_is_never_asked_for(server, name):
    """Without a name, the address is that of all objects: `delete` of an unset variable would take every one of them."""
    body = {"metadata": {"name": name, "namespace": "default"}}
    verbs = [
        lambda client: client.get(POD, "default", name),
        lambda client: client.delete(POD, "default", name),
        lambda client: client.patch(POD, "default", name, {}),
        lambda client: client.replace(POD, body),
        lambda client: client.apply(POD, body, field_manager="me"),
        lambda client: client.delete(POD, name, "web-1") if name else client.delete(POD, "default", ""),
        lambda client: anext(client.log("default", name, {})),
    ]
    for verb in verbs:
        with pytest.raises(ApiError, match=r"is empty|may not contain|is a folder's"):
            ask(server, verb)
    assert server.asked == []


def test_absent_object_is_none_to_find_and_an_error_to_get(server):
    server.answers["GET", "/api/v1/namespaces/default/pods/x"] = status(not_found(POD, "x"))
    assert ask(server, lambda client: client.find(POD, "default", "x")) is None
    with pytest.raises(ApiError) as caught:
        ask(server, lambda client: client.get(POD, "default", "x"))
    assert (caught.value.code, caught.value.reason) == (404, "NotFound")
    assert caught.value.message == 'pods "x" not found'
    server.answers["GET", "/api/v1/namespaces/default/pods/x"] = status(conflict(POD, "x"))
    with pytest.raises(ApiError, match="Operation cannot be fulfilled"):
        ask(server, lambda client: client.find(POD, "default", "x"))


def test_list_gives_items_their_kind(server):
    """API servers leave apiVersion and kind out of a list's items; owner references need them."""
    item = {"metadata": {"name": "web-1"}}
    answer = {"metadata": {"resourceVersion": "7"}, "items": [item]}
    server.answers["GET", "/api/v1/pods"] = JSONResponse(answer)
    listing = ask(server, lambda client: client.list(POD, labels="app=web", fields="spec.nodeName=local"))
    assert listing.resource_version == "7"
    assert listing.items == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}}]
    assert server.last["params"] == {"labelSelector": "app=web", "fieldSelector": "spec.nodeName=local"}
    server.answers["GET", "/api/v1/namespaces/a/pods"] = JSONResponse(answer | {"items": None})
    assert ask(server, lambda client: client.list(POD, "a")).items == []


def lines(*events):
    async def stream():
        for event in events:
            yield json.dumps(event).encode() + b"\n"

    return StreamingResponse(stream(), media_type="application/json")


def test_watch_yields_events_until_the_server_closes(server):
    bookmark = {"kind": "Pod", "metadata": {"resourceVersion": "9"}}
    server.answers["GET", "/api/v1/namespaces/default/pods"] = lines(
        {"type": "ADDED", "object": POD_1}, {"type": "BOOKMARK", "object": bookmark}
    )

    async def watch(client):
        return [(e.type, e.object) async for e in client.watch(POD, "default", since="7", labels="app=web")]

    assert ask(server, watch) == [("ADDED", POD_1), ("BOOKMARK", bookmark)]
    assert server.last["params"] == {
        "watch": "true",
        "resourceVersion": "7",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
        "labelSelector": "app=web",
    }


@pytest.mark.parametrize("where", ["first answer", "event"])
def test_watch_from_too_long_ago_is_gone(server, where):
    """The cache lists again only if it hears of 410, in whichever of the two ways servers say it."""
    error = gone("too old resource version: 1 (9)")
    answer = (
        status(error) if where == "first answer" else lines({"type": "ERROR", "object": error.to_status()})
    )
    server.answers["GET", "/api/v1/pods"] = answer

    async def watch(client):
        async for _ in client.watch(POD, since="1"):
            pass

    with pytest.raises(ApiError) as caught:
        ask(server, watch)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_watch_of_a_broken_connection_says_so(server):
    async def half():
        yield json.dumps({"type": "ADDED", "object": POD_1}).encode() + b"\n"
        raise ConnectionResetError

    server.answers["GET", "/api/v1/pods"] = StreamingResponse(half())

    async def watch(client):
        return [event async for event in client.watch(POD, since="1")]

    with pytest.raises(Unreachable, match=server.url):
        ask(server, watch)


def test_refused_watch_by_a_proxy_is_told(server):
    server.answers["GET", "/api/v1/pods"] = PlainTextResponse("bad gateway", 502)

    async def watch(client):
        return [event async for event in client.watch(POD, since="1")]

    with pytest.raises(ApiError, match="the API server answered 502: bad gateway"):
        ask(server, watch)


def test_writes_go_where_they_belong(server):
    ask(server, lambda client: client.create(POD, POD_1, dry_run=True))
    assert (server.last["method"], server.last["path"]) == ("POST", "/api/v1/namespaces/default/pods")
    assert server.last["params"] == {"dryRun": "All"}
    assert server.last["body"] == POD_1
    assert server.last["headers"]["content-type"] == "application/json"
    ask(server, lambda client: client.replace(POD, POD_1, subresource="status"))
    assert (server.last["method"], server.last["path"]) == (
        "PUT",
        "/api/v1/namespaces/default/pods/web-1/status",
    )


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("json", "application/json-patch+json"),
        ("merge", "application/merge-patch+json"),
        ("strategic", "application/strategic-merge-patch+json"),
    ],
)
def test_patches_say_what_they_are(server, kind, content_type):
    patch = [] if kind == "json" else {"spec": {"replicas": 2}}
    ask(
        server,
        lambda client: client.patch(
            DEPLOYMENT, "default", "web", patch, type=kind, subresource="scale", field_manager="me"
        ),
    )
    assert server.last["path"] == "/apis/apps/v1/namespaces/default/deployments/web/scale"
    assert server.last["headers"]["content-type"] == content_type
    assert server.last["params"] == {"fieldManager": "me"}
    assert server.last["body"] == patch


def test_apply_names_its_manager(server):
    ask(server, lambda client: client.apply(POD, POD_1, field_manager="modelport", force=False, dry_run=True))
    assert server.last["method"] == "PATCH"
    assert server.last["headers"]["content-type"] == "application/apply-patch+yaml"
    assert server.last["params"] == {"fieldManager": "modelport", "force": "false", "dryRun": "All"}


def test_delete_says_how(server):
    ask(
        server,
        lambda client: client.delete(POD, "default", "web-1", uid="u", grace_s=0, propagation="Foreground"),
    )
    assert server.last["method"] == "DELETE"
    assert server.last["body"] == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }


def test_error_of_a_proxy_keeps_its_words(server):
    server.answers["GET", "/api/v1/namespaces/default/pods/x"] = PlainTextResponse("bad gateway", 502)
    with pytest.raises(ApiError) as caught:
        ask(server, lambda client: client.get(POD, "default", "x"))
    assert (caught.value.code, caught.value.message) == (502, "the API server answered 502: bad gateway")


def test_broken_json_is_an_error_of_the_server(server):
    """A truncated answer must not look like a bug of the caller."""
    server.answers["GET", "/api/v1/namespaces/default/pods/x"] = PlainTextResponse(
        "{", media_type="application/json"
    )
    with pytest.raises(ApiError, match="no JSON"):
        ask(server, lambda client: client.get(POD, "default", "x"))


def test_busy_server_says_when_to_come_again(server):
    error = ApiError(429, "TooManyRequests", "too many requests", details={"retryAfterSeconds": 3})
    server.answers["GET", "/api/v1/namespaces/default/pods/x"] = JSONResponse(
        error.to_status(), 429, {"Retry-After": "2"}
    )
    with pytest.raises(ApiError) as caught:
        ask(server, lambda client: client.get(POD, "default", "x"))
    assert caught.value.retry_after_s == 3


def test_text_comes_as_text(server):
    """`modelport logs`."""
    server.answers["GET", "/api/v1/namespaces/default/pods/web-1/log"] = PlainTextResponse("line\n")
    assert ask(server, lambda client: client.request("GET", POD.path("default", "web-1", "log"))) == "line\n"


def test_nobody_there_is_told_with_the_address(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(url))

    async def run():
        async with Client.from_kubeconfig(path) as client:
            await client.get(POD, "default", "x")

    with pytest.raises(Unreachable, match=url):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no Kubernetes configuration"),
        ("{", "is no kubeconfig"),
        ("- a\n", "is no kubeconfig"),
    ],
)
def test_useless_kubeconfig_is_told(tmp_path, content, words):
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(Unreachable, match=words):
        Client.from_kubeconfig(path)


def test_unknown_context_is_told(server):
    with pytest.raises(Unreachable, match="elsewhere"):
        Client.from_kubeconfig(server.kubeconfig, context="elsewhere")


def test_configuration_comes_from_the_environment_without_a_path(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
    assert Client.from_kubeconfig().server == server.url
    monkeypatch.delenv("KUBECONFIG")
    with pytest.raises(Unreachable, match="modelport up"):
        Client.from_kubeconfig()


def test_proxies_of_the_environment_are_not_asked(server, monkeypatch):
    """The API server listens on loopback; a company's proxy must not see its token."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert ask(server, lambda client: client.get(POD, "default", "x")) == {"ok": True}
