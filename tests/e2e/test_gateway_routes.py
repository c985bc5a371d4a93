"""A user's own HTTPRoutes, applied to a real platform, to a server that tells what it saw."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from node_platform import PATIENCE_S, Platform, running

from modelport.kube.resource import ENDPOINT_SLICE, HTTP_ROUTE, SERVICE, Object

PARENT = {"namespace": "kserve", "name": "kserve-ingress-gateway"}


class Backend(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.saw: list[Object] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_GET(self) -> None:
        if self.headers.get("upgrade") == "websocket":
            return self.echo()
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        saw = {"backend": self.server.name, "path": self.path, "headers": headers, "body": body}
        self.server.saw.append(saw)
        answer = json.dumps(saw).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def echo(self) -> None:
        """Says back whatever comes, until nothing does any more."""
        self.send_response_only(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        self.close_connection = True
        while said := self.connection.recv(4096):
            self.connection.sendall(said)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Routes:
    """The platform, and two Services behind which this process answers."""

    def __init__(self, platform: Platform, backends: dict[str, Backend]) -> None:
        self.platform, self.backends = platform, backends
        self.port = int(json.loads((platform.folder / "platform.json").read_text())["gateway_port"])

    def route(self, name: str, *rules: Object, annotations: dict[str, str] | None = None) -> Object:
        """Applies a route for `NAME.example.com`, and waits until the gateway has it. Its conditions by type."""
        body = {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
            "spec": {"parentRefs": [PARENT], "hostnames": [f"{name}.example.com"], "rules": list(rules)},
        }
        self.platform.apply(HTTP_ROUTE, body)
        return self.platform.until(f"a word on HTTPRoute {name}", lambda: self.conditions(name))

    def conditions(self, name: str) -> Object | None:
        route = self.platform.ask(lambda client: client.get(HTTP_ROUTE, "default", name))
        for parent in route.get("status", {}).get("parents") or []:
            found = {one["type"]: one for one in parent["conditions"]}
            current = all(
                one["observedGeneration"] == route["metadata"]["generation"] for one in found.values()
            )
            refused = found["Accepted"]["status"] == "False"
            if current and (refused or found.get("Programmed", {}).get("status") == "True"):
                return found
        return None

    def ask(self, name: str, path: str, body: str = "", **headers: str) -> tuple[int, Object, Any]:
        """Status, headers and JSON of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(
                "POST" if body else "GET", path, body or None, {"Host": f"{name}.example.com"} | named
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        found = {key.lower(): value for key, value in answer.getheaders()}
        return answer.status, found, json.loads(content) if content else None


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    backends = {name: Backend(name) for name in ("one", "two")}
    with running(tmp_path_factory.mktemp("routes") / "platform") as platform:
        for name, backend in backends.items():
            meta = {"name": name, "namespace": "default"}
            platform.create(
                SERVICE,
                {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}},
            )
            platform.create(
                ENDPOINT_SLICE,
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": meta | {"labels": {"kubernetes.io/service-name": name}},
                    "addressType": "IPv4",
                    "ports": [{"port": backend.server_address[1]}],
                    "endpoints": [{"addresses": ["127.0.0.1"]}],
                },
            )
        yield Routes(platform, backends)
    for backend in backends.values():
        backend.shutdown()
        backend.server_close()


def to(name: str, **more: Any) -> Object:
    return {"name": name, "port": 80} | more


def test_rewrites_headers_and_redirects(routes: Routes) -> None:
    """A short public path for a model, with a header of the gateway's, and http sent to https."""
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1/models/iris:predict"}}
    headers = {"set": [{"name": "X-Team", "value": "a"}]}
    said = routes.route(
        "rewrite",
        {
            "matches": [{"path": {"value": "/classify"}}],
            "filters": [{"type": "URLRewrite", "urlRewrite": rewrite}],
            "backendRefs": [
                to("one", filters=[{"type": "RequestHeaderModifier", "requestHeaderModifier": headers}])
            ],
        },
        {
            "matches": [{"path": {"value": "/old"}}],
            "filters": [
                {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
            ],
        },
    )
    assert {name: one["status"] for name, one in said.items()} == {
        "Accepted": "True",
        "ResolvedRefs": "True",
        "Programmed": "True",
    }
    status, _, saw = routes.ask("rewrite", "/classify?x=1", "{}")
    assert (status, saw["backend"], saw["path"]) == (200, "one", "/v1/models/iris:predict?x=1")
    assert (saw["headers"]["x-team"], saw["body"]) == ("a", "{}")
    status, headers, _ = routes.ask("rewrite", "/old/x?y=1")
    assert (status, headers["location"]) == (301, "https://rewrite.example.com/old/x?y=1")


def test_a_mirror_gets_the_same_request_and_its_death_is_nobodys_business(routes: Routes) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": to("two")}}
    gone = {"type": "RequestMirror", "requestMirror": {"backendRef": to("gone")}}
    said = routes.route("mirror", {"filters": [mirror, gone], "backendRefs": [to("one")]})
    assert (said["Accepted"]["status"], said["ResolvedRefs"]["reason"]) == ("True", "BackendNotFound")
    status, _, saw = routes.ask("mirror", "/mirrored", "payload")
    assert (status, saw["backend"]) == (200, "one")

    def copied() -> bool:
        return [saw["body"] for saw in routes.backends["two"].saw if saw["path"] == "/mirrored"] == [
            "payload"
        ]

    routes.platform.until("the copy", copied)


def test_a_websocket_goes_through(routes: Routes) -> None:
    """Streams of tokens to a browser, say."""
    routes.route("socket", {"backendRefs": [to("one")]})
    head = (
        "GET /chat HTTP/1.1\r\nHost: socket.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", routes.port), timeout=PATIENCE_S) as stream:
        stream.sendall(head.encode())
        answer = stream.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 101 ")
        while answer.readline() != b"\r\n":
            pass
        frame = b"\x81\x82\0\0\0\0hi"
        for _ in range(2):
            stream.sendall(frame)
            assert answer.read(len(frame)) == frame


def test_a_rate_limit_by_header_says_when_to_come_again(routes: Routes) -> None:
    limit = {"serving.modelport.io/rate-limit": "2/h by=header:x-tenant"}
    routes.route("limit", {"backendRefs": [to("one")]}, annotations=limit)
    got = [routes.ask("limit", "/", x_tenant=tenant)[0] for tenant in ("a", "a", "b")]
    assert got == [200, 200, 200]
    status, headers, answer = routes.ask("limit", "/", x_tenant="a")
    assert (status, "takes 2 in 3600 seconds" in answer["error"]) == (429, True)
    assert int(headers["retry-after"]) > 1000


def test_a_session_stays_with_its_backend_by_cookie(routes: Routes) -> None:
    session = {"sessionName": "s"}
    routes.route("session", {"backendRefs": [to("one"), to("two")], "sessionPersistence": session})
    _, headers, saw = routes.ask("session", "/")
    cookie = headers["set-cookie"].partition(";")[0]
    got = {routes.ask("session", "/", cookie=cookie)[2]["backend"] for _ in range(12)}
    assert got == {saw["backend"]}


def test_what_is_not_carried_out_is_said_and_answers_500(routes: Routes) -> None:
    """Also what only the gateway itself can tell, as a regular expression that grows too large."""
    said = routes.route(
        "broken",
        {
            "matches": [{"path": {"value": "/cors"}}],
            "filters": [{"type": "CORS", "cors": {}}],
            "backendRefs": [to("one")],
        },
        {
            "matches": [
                {"path": {"type": "RegularExpression", "value": "(((a{100}){100}){100})"}},
                {"path": {"value": "/large"}},
            ],
            "backendRefs": [to("one")],
        },
        {"matches": [{"path": {"value": "/good"}}], "backendRefs": [to("one")]},
    )
    assert said["Accepted"]["status"] == "True"

    def told() -> bool:
        words = (routes.conditions("broken") or {})["PartiallyInvalid"]["message"]
        return "CORS" in words and "size limit" in words

    routes.platform.until("words on both", told)
    assert [routes.ask("broken", path)[0] for path in ("/cors", "/large", "/good")] == [500, 500, 200]
