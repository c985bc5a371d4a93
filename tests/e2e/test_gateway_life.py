"""`modelport gateway` before a real model server: either may be killed while requests come in."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from process import PREDICTORS, Server, Traffic, request, run, until
from served import PATIENCE_S

from modelport._dataplane import load_test

BODY = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
PREDICT = "/v1/models/mean:predict"


class Gateway:
    """A gateway whose listening socket outlives it, as the platform's supervisor keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(2)]
        port, inside = (listener.getsockname()[1] for listener in self.listeners)
        self.url, self.inside = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{inside}"
        self.processes: list[subprocess.Popen[bytes]] = []

    def tell(self, *ports: int) -> None:
        """Writes a table that sends everything to these ports, and waits until it is in force."""
        self.version += 1
        endpoints = [f"127.0.0.1:{port}" for port in ports]
        rule = {"backends": [{"cluster": "default/mean-predictor:80"}], "timeout_ms": 60_000}
        table = {
            "version": self.version,
            "routes": [
                {"name": "default/mean", "service": "default/mean", "hosts": ["*"], "rules": [rule]},
            ],
            "clusters": {"default/mean-predictor:80": {"endpoints": endpoints}},
        }
        aside = self.folder / "table.new"
        aside.write_text(json.dumps(table))
        aside.replace(self.folder / "table.json")
        if self.processes:
            assert self.ask("POST", "/reload") == {"version": self.version, "problems": []}

    def start(self) -> subprocess.Popen[bytes]:
        descriptors = [listener.fileno() for listener in self.listeners]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "modelport", "gateway"),
                f"--listen-fd={descriptors[0]}",
                f"--internal-fd={descriptors[1]}",
                f"--table={self.folder}/table.json",
                f"--admin={self.folder}/admin.sock",
                f"--handover={self.folder}/handover.sock",
                f"--access-log={self.folder}/access.log",
            ],
            pass_fds=descriptors,
        )
        self.processes.append(process)
        return process

    def ask(self, method: str, path: str) -> Any:
        """One request to the admin socket."""
        connection = http.client.HTTPConnection("admin", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE_S)
        with contextlib.closing(connection):
            connection.sock.connect(f"{self.folder}/admin.sock")
            connection.request(method, path)
            content = connection.getresponse().read()
        return content.decode() if path == "/metrics" else json.loads(content)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("GET", "/status"))
        return False

    def demand(self) -> dict[str, Any]:
        return self.ask("GET", "/demand")["clusters"]["default/mean-predictor:80"]

    def failures(self) -> float:
        """Requests that it answered with a 5xx."""
        lines = self.ask("GET", "/metrics").splitlines()
        counts = [line for line in lines if line.startswith("modelport_gateway_requests_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in counts if 'code="5xx"' in line)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for listener in self.listeners:
            listener.close()


@pytest.fixture
def gateway(tmp_path):
    """A gateway that has not been started."""
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.end()


@pytest.fixture
def port():
    """A port that a server may be started on again and again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def mean(serve, port: int = 0, *more: str) -> tuple[Server, int]:
    """A model server that speaks REST and gRPC on one port."""
    ports = ("--http-port", str(port), "--one-port")
    server = serve("--model", f"mean={PREDICTORS}:Mean", *more, ports=ports)
    return server, int(server.url.rpartition(":")[2])


def grpc_request() -> bytes:
    """A ModelInferRequest, encoded by hand: model_name, one input, raw_input_contents."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    tensor = field(1, b"x") + field(2, b"FP64") + field(3, bytes([1, 2]))
    return field(1, b"mean") + field(5, tensor) + field(7, struct.pack("<2d", 1.0, 2.0))


def test_one_port_takes_rest_and_grpc(gateway, serve, tmp_path):
    _, port = mean(serve)
    gateway.tell(port)
    gateway.start()
    answer = request(gateway.url + PREDICT, BODY)
    assert answer.json == {"predictions": [1.5, 3.5]}
    assert answer.headers["x-request-id"]
    assert request(gateway.inside + PREDICT, BODY).status == 200
    (tmp_path / "body").write_bytes(grpc_request())
    arguments = ["--url", gateway.url, "--body", f"{tmp_path}/body", "--warmup", "0", "--duration", "0.5"]
    report = json.loads(load_test(["grpc", *arguments, "--connections", "2", "--streams", "4"]))
    assert report["errors"] == 0, report
    assert report["requests"] > 0, report


def test_a_killed_worker_costs_no_request(gateway, serve):
    server, port = mean(serve, 0, "--workers", "2")
    until(lambda: len(server.workers()) == 2, "two workers")
    gateway.tell(port)
    gateway.start()
    with Traffic(gateway.url + PREDICT, BODY) as traffic:
        for _ in range(3):
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda victim=victim: victim not in server.workers(), "it is gone")
            traffic.flows(200)
            until(lambda: len(server.workers()) == 2, "another has come")
    assert traffic.failures == []


def test_a_killed_server_is_waited_for(gateway, serve, port):
    first, _ = mean(serve, port)
    gateway.tell(port)
    gateway.start()
    with Traffic(gateway.url + PREDICT, BODY) as traffic:
        traffic.flows(50)
        first.kill()
        until(lambda: gateway.demand()["held"] == 4, "all requests are held")
        mean(serve, port)
        traffic.flows(50)
    assert traffic.failures == []
    assert gateway.demand()["held"] == 0


def test_a_rollout_costs_no_request(gateway, serve):
    _, port = mean(serve)
    gateway.tell(port)
    gateway.start()
    with Traffic(gateway.url + PREDICT, BODY) as traffic:
        server = None
        for _ in range(3):
            old, (server, port) = server, mean(serve)
            gateway.tell(port)
            # Acknowledged: nothing more goes to the old one.
            assert gateway.ask("GET", f"/status?at_least={gateway.version}")["version"] == gateway.version
            if old is not None:
                old.stop()
            traffic.flows(50)
    assert traffic.failures == []
    assert gateway.failures() == 0


def test_a_killed_gateway_loses_only_what_it_had(gateway, serve):
    _, port = mean(serve)
    gateway.tell(port)
    process = gateway.start()
    until(gateway.answers, "it answers")
    with Traffic(gateway.url + PREDICT, BODY) as traffic:
        for _ in range(3):
            traffic.flows(50)
            process.kill()
            process.wait()
            # Meanwhile new connections wait, and the table is the last one.
            process = gateway.start()
        traffic.flows(50)
    # Those that were lost were sent again by the client, on connections that waited.
    assert traffic.failures == []


def test_a_planned_restart_costs_no_request(gateway, serve):
    _, port = mean(serve)
    gateway.tell(port)
    process = gateway.start()
    until(gateway.answers, "it answers")
    with Traffic(gateway.url + PREDICT, BODY) as traffic:
        for _ in range(3):
            old, process = process, gateway.start()
            traffic.flows(20)
            old.terminate()
            assert old.wait(timeout=PATIENCE_S) == 0
            traffic.flows(20)
    assert traffic.failures == []


def test_the_sockets_survive_their_owner(gateway, serve):
    _, port = mean(serve)
    gateway.tell(port)
    gateway.start()
    until(gateway.answers, "it answers")
    # A supervisor that was killed has lost them; its successor asks the gateway.
    for listener in gateway.listeners:
        listener.close()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(f"{gateway.folder}/handover.sock")
        message, descriptors, _, _ = socket.recv_fds(connection, 4096, 16)
    assert json.loads(message) == {"listen": 1, "internal": 1}
    gateway.listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    addresses = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in gateway.listeners]
    assert addresses == [gateway.url, gateway.inside]
    gateway.processes[0].kill()
    gateway.processes[0].wait()
    gateway.start()
    assert request(gateway.url + PREDICT, BODY).status == 200


def test_the_access_log_is_opened_anew_on_sighup(gateway, serve):
    _, port = mean(serve)
    gateway.tell(port)
    process = gateway.start()
    log, moved = gateway.folder / "access.log", gateway.folder / "access.log.1"
    request(gateway.url + PREDICT, BODY)
    until(lambda: log.exists() and log.read_text(), "a line")
    log.rename(moved)
    process.send_signal(signal.SIGHUP)
    until(log.exists, "another file")
    request(gateway.url + "/v2", None)
    until(log.read_text, "a line in it")
    first, second = (json.loads(path.read_text()) for path in (moved, log))
    assert (first["path"], first["service"], first["status"]) == (PREDICT, "default/mean", 200)
    assert second["path"] == "/v2"


def test_mistakes_are_told(tmp_path):
    table = ["--table", f"{tmp_path}/table.json", "--admin", f"{tmp_path}/admin.sock"]
    for arguments, words in [
        (["--listen-fd", "99", *table], "descriptor 99 is no socket"),
        (["--listen-fd", "0", *table], "descriptor 0 is no socket"),
        (["--listen-fd", "0", *table, "--tls-key", "k"], "--tls-certificate and --tls-key belong together"),
        (["--listen-fd", "x", *table], "--listen-fd"),
    ]:
        ended = run("gateway", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert words in ended.stderr, ended.stderr
        assert "Traceback" not in ended.stderr
    assert "gateway" not in run("--help").stdout
