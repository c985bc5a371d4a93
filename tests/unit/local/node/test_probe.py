"""Probes against real servers: what they take for well, and the words for what is not."""

from __future__ import annotations

import asyncio
import http.server
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from modelport._dataplane import self_signed
from modelport.local.node import grpc_health, memory, probe
from modelport.local.node import prober as prober_module
from modelport.local.node.prober import Prober
from modelport.local.process import Process

ENVIRONMENT = {"PATH": os.environ["PATH"], "MARK": "here"}


def ask(given: dict, **more) -> str | None:
    container = {"name": "c", "ports": [{"name": "web", "containerPort": more.pop("port", 1)}]}
    return asyncio.run(probe.ask(given, container, "127.0.0.1", ENVIRONMENT, os.getpid()))


@pytest.fixture(scope="module")
def web():
    """Answers with the status that the path names."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            name = self.path.strip("/")
            good = name not in ("header", "host") or self.headers.get("X-Probe") == "yes"
            if name == "host":
                good = good and self.headers.get_all("Host") == ["models.example"]
            body = b"<!DOCTYPE HTML>\n<html>" if name == "page" else b"the database\n  is away"
            good = good and name != "page"
            self.send_response(int(name) if name.isdigit() else 200 if good else 400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("path", "good"), [("/200", True), ("/302", True), ("/404", False), ("/500", False)])
def test_http(web, path, good):
    said = ask({"httpGet": {"port": web, "path": path}, "timeoutSeconds": 20})
    assert said is None if good else said is not None and "the database is away" in said


def test_a_page_for_browsers_is_no_part_of_a_sentence(web):
    """It would be ten lines of HTML in the one line that says why a service is not Ready."""
    said = ask({"httpGet": {"port": web, "path": "/page"}, "timeoutSeconds": 20})
    assert said == "HTTP probe of /page failed with statuscode: 400"


def test_http_by_the_ports_name_and_with_headers(web):
    get = {"port": "web", "path": "/header", "httpHeaders": [{"name": "X-Probe", "value": "yes"}]}
    assert ask({"httpGet": get, "timeoutSeconds": 20}, port=web) is None
    assert ask({"httpGet": {"port": "nope"}}) == "container c has no port 'nope'"


def test_a_header_that_is_given_stands_in_the_place_of_the_usual_one(web):
    """Two Host headers are a 400 at every careful server, so the pod would never be Ready."""
    headers = [{"name": "host", "value": "models.example"}, {"name": "X-Probe", "value": "yes"}]
    get = {"port": web, "path": "/host", "httpHeaders": headers}
    assert ask({"httpGet": get, "timeoutSeconds": 20}) is None


def test_https_whatever_the_certificate(tmp_path):
    """A server of TLS answers plain HTTP never, and the pod would wait for ever."""
    _, chain, key = self_signed(["elsewhere.example"], 10)
    (tmp_path / "chain").write_text(chain)
    (tmp_path / "key").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        get = {"port": server.server_port, "path": "/", "scheme": "HTTPS"}
        assert ask({"httpGet": get, "timeoutSeconds": 20}) is None
        said = ask({"httpGet": get | {"path": "/no/such"}, "timeoutSeconds": 20})
        assert said is not None
        assert "404" in said
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for given in ({"httpGet": {"port": port}}, {"tcpSocket": {"port": port}}, {"grpc": {"port": port}}):
        said = ask(given | {"timeoutSeconds": 20})
        assert said is not None
        assert f"nothing listens on port {port} of 127.0.0.1" in said or "refused" in said.lower()


def test_a_server_that_says_nothing_fails_in_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert ask({"httpGet": {"port": port}, "timeoutSeconds": 0.2}) == "no answer within 0.2 s"
        assert ask({"grpc": {"port": port}, "timeoutSeconds": 0.2}) == "no answer within 0.2 s"
        assert ask({"tcpSocket": {"port": port}, "timeoutSeconds": 20}) is None


def test_a_command_has_the_containers_environment():
    assert ask({"exec": {"command": ["sh", "-c", 'test "$MARK" = here']}, "timeoutSeconds": 20}) is None
    said = ask({"exec": {"command": ["sh", "-c", "echo no disk; exit 4"]}, "timeoutSeconds": 20})
    assert said == "command exited with 4: no disk"
    said = ask({"exec": {"command": ["/no/such"]}, "timeoutSeconds": 20})
    assert said is not None
    assert "/no/such" in said


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path):
    pid = tmp_path / "pid"
    given = {"command": ["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"]}

    async def hang() -> str | None:
        asked = asyncio.create_task(probe.command(given["command"], ENVIRONMENT, os.getpid()))
        await until(lambda: pid.exists() and pid.read_text().strip())
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        sleeper = Process.of(int(pid.read_text()))
        await until(lambda: sleeper is None or not sleeper.alive)

    asyncio.run(hang())


@pytest.fixture(scope="module")
def health():
    """A gRPC server of another make, whose services are as their names say."""
    states = {b"": 1, b"\x0a\x04good": 1, b"\x0a\x03bad": 2}

    def check(request: bytes, context) -> bytes:
        if request not in states:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([8, states[request]])

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ("", None),
        ("good", None),
        ("bad", "service 'bad' is NOT_SERVING"),
        ("other", "service 'other' answered without a status"),
        ("x" * 300, "answered without a status"),
    ],
)
def test_grpc(health, service, words):
    said = ask({"grpc": {"port": health, "service": service}, "timeoutSeconds": 20})
    assert said is None if words is None else said is not None and words in said


def test_grpc_asked_of_a_web_server_says_what_is_wrong(web):
    said = ask({"grpc": {"port": web}, "timeoutSeconds": 20})
    assert said is not None
    assert "not HTTP/2" in said or "bytes read" in said


@pytest.mark.parametrize(
    ("message", "state"), [(b"", 0), (b"\x08\x01", 1), (b"\x12\x02ab\x08\x02", 2), (b"\x08\x81\x01", 129)]
)
def test_a_health_answer_is_read(message, state):
    assert grpc_health.serving_status(message) == state


@pytest.mark.parametrize("message", [b"\x08", b"\x0d1234", b"\xff" * 20])
def test_a_broken_health_answer_is_refused(message):
    with pytest.raises(ValueError, match="no HealthCheckResponse"):
        grpc_health.serving_status(message)


def test_a_startup_probe_holds_back_the_others_and_gives_up_in_time(tmp_path):
    """A slow model is not restarted by its liveness probe while it loads."""
    mark = tmp_path / "loaded"
    container = {
        "name": "c",
        "startupProbe": {
            "exec": {"command": ["test", "-e", str(mark)]},
            "periodSeconds": 60,
            "timeoutSeconds": 20,
        },
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 60, "timeoutSeconds": 20},
        "readinessProbe": {"exec": {"command": ["true"]}, "timeoutSeconds": 20},
    }

    async def run() -> list[object]:
        told: list[str] = []

        async def unready(words: str) -> None:
            told.append(words)

        prober = Prober(
            container,
            "127.0.0.1",
            ENVIRONMENT,
            os.getpid(),
            is_ready=lambda ready: told.append(f"ready {ready}"),
            is_started=lambda: told.append("started"),
            is_unready=unready,
        )
        running = asyncio.create_task(prober.run())
        await asyncio.sleep(0.3)
        assert told == []
        mark.touch()
        await until(lambda: told == ["started", "ready True"])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        container["startupProbe"] = {
            "exec": {"command": ["false"]},
            "timeoutSeconds": 20,
            "periodSeconds": 0.1,
            "failureThreshold": 1,
            "terminationGracePeriodSeconds": 7,
        }
        failing = Prober(
            container,
            "127.0.0.1",
            ENVIRONMENT,
            os.getpid(),
            is_ready=lambda _: None,
            is_started=lambda: None,
            is_unready=unready,
        )
        await failing.run()
        return [failing.failure, failing.grace_s]

    assert asyncio.run(run()) == ["startup probe: command exited with 1", 7.0]


@pytest.mark.parametrize("case", ["fails", "listens elsewhere", "asks another host"])
def test_a_readiness_probe_that_fails_for_long_is_told_once(monkeypatch, case):
    """Whoever waits for a server wants to know what its probe gets, and not once for every try; and where it does listen,
    if that is not where its probe asks."""
    monkeypatch.setattr(prober_module, "PATIENT_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    asked = {
        "fails": {"exec": {"command": ["false"]}},
        "listens elsewhere": {"tcpSocket": {"port": port}},
        "asks another host": {"tcpSocket": {"port": port, "host": "127.0.0.1"}},
    }[case]
    container = {"name": "c", "readinessProbe": asked | {"timeoutSeconds": 20}}

    async def run() -> list[str]:
        told: list[str] = []

        async def unready(words: str) -> None:
            told.append(words)

        prober = Prober(
            container,
            "127.0.0.1",
            ENVIRONMENT,
            os.getpid(),
            is_ready=lambda _: None,
            is_started=lambda: None,
            is_unready=unready,
        )
        running = asyncio.create_task(prober.run())
        await until(lambda: bool(told))
        await asyncio.sleep(0.2)  # several more tries
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told

    with socket.create_server(("127.0.0.1", 0)) as other:
        elsewhere = f"127.0.0.1:{other.getsockname()[1]}"
        (said,) = asyncio.run(run())
    if case == "fails":
        assert said == "readiness probe failed: command exited with 1"
    elif case == "asks another host":
        assert said.startswith("readiness probe failed: nothing listens on port ")
        assert "the container listens on" not in said
    else:
        nobody = (
            f"readiness probe failed: nothing listens on port {port} of 127.0.0.1; the container listens on "
        )
        assert said.startswith(nobody)
        assert elsewhere in said.partition(" · next: ")[0]


def test_a_container_over_its_memory_limit_is_noticed():
    code = "import sys; hold = bytearray(80 << 20); hold[::4096] = b'x' * len(hold[::4096]); print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        process = Process.of(child.pid)
        assert process is not None

        async def exceeds(limit: str) -> bool:
            container = {"resources": {"limits": {"memory": limit}}}
            try:
                return await asyncio.wait_for(
                    memory.watch(container, process), 1.0 if limit == "1Gi" else 60.0
                )
            except TimeoutError:
                return False

        assert asyncio.run(exceeds("50Mi"))
        assert not asyncio.run(exceeds("1Gi"))
    finally:
        child.kill()
        child.communicate()


async def until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)


def test_a_strangers_answer_is_not_the_pods(web, monkeypatch):
    """A leftover of yesterday would get today's requests, and `Ready` would say that all is well."""
    monkeypatch.setattr(prober_module, "STRANGE_S", 0.0)
    container = {
        "name": "c",
        "readinessProbe": {"httpGet": {"port": web, "path": "/200"}, "timeoutSeconds": 20},
    }

    async def run() -> list[str]:
        told: list[str] = []
        held = [f"port {web} is held by process 1"]

        async def unready(words: str) -> None:
            told.append(words)

        prober = Prober(
            container,
            "127.0.0.1",
            ENVIRONMENT,
            os.getpid(),
            is_ready=lambda ready: told.append(f"ready {ready}"),
            is_started=lambda: None,
            is_unready=unready,
            stranger=lambda port: held[0] if held and port == web else None,
        )
        running = asyncio.create_task(prober.run())
        await until(lambda: bool(told))
        held.clear()
        await until(lambda: len(told) > 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return told

    assert asyncio.run(run()) == [f"port {web} is held by process 1", "ready True"]
