"""The official Python client's exec and port-forward, which speak another form of the channels than kubectl."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from apiserver import Process, running
from kubernetes import client, config
from kubernetes.client import ApiException
from kubernetes.stream import portforward, stream


@pytest.fixture(scope="module")
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as found:
        yield found
        found.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(tmp_path_factory.mktemp("streams")) as found:
        yield found


@pytest.fixture(scope="module")
def core(server: Process, process: subprocess.Popen[bytes]) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(server.folder / "kubeconfig-admin")) as api:
        found = client.CoreV1Api(api)
        container = {"name": "main", "image": "x", "env": [{"name": "GREETING", "value": "hello"}]}
        found.create_namespaced_pod(
            "default", {"metadata": {"name": "web"}, "spec": {"containers": [container]}}
        )
        up = {"name": "main", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
        up |= {"containerID": f"process://{process.pid}", "state": {"running": {}}}
        status = {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [up]}
        found.patch_namespaced_pod_status("web", "default", {"status": status})
        yield found


def _exec(core: client.CoreV1Api, command: list[str], **more: object):
    call = core.connect_get_namespaced_pod_exec
    return stream(call, "web", "default", command=command, stdout=True, stderr=True, **more)


def test_a_command_answers(core: client.CoreV1Api) -> None:
    assert _exec(core, ["sh", "-c", "echo $GREETING"]) == "hello\n"


def test_a_session_takes_input_and_tells_how_it_ended(core: client.CoreV1Api) -> None:
    session = _exec(core, ["sh"], stdin=True, _preload_content=False)
    session.write_stdin("echo one; echo two >&2; exit 5\n")
    session.run_forever(timeout=60)
    assert (session.read_stdout(), session.read_stderr()) == ("one\n", "two\n")
    assert session.returncode == 5


def test_what_was_started_ends_with_the_connection(core: client.CoreV1Api, tmp_path: Path) -> None:
    """Else a closed terminal leaves a process behind for ever."""
    session = _exec(core, ["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 600"], _preload_content=False)
    pid = tmp_path / "pid"
    _until(lambda: pid.exists() and pid.read_text().strip() != "")
    session.close()
    _until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


def test_a_refusal_is_a_status(core: client.CoreV1Api) -> None:
    call = core.connect_get_namespaced_pod_exec
    with pytest.raises(ApiException) as refused:
        stream(call, "absent", "default", command=["ls"], stdout=True)
    assert "404" in str(refused.value)


def test_a_port_is_forwarded(core: client.CoreV1Api) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        call = core.connect_get_namespaced_pod_portforward
        forwarded = portforward(call, "web", "default", ports=str(web.server_port))
        with closing(forwarded.socket(web.server_port)) as connection:
            connection.settimeout(60)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            content = b""
            while part := connection.recv(65536):
                content += part
        assert content.endswith(b"x" * 100_000)
        assert forwarded.error(web.server_port) is None
        web.shutdown()


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def log_message(self, *_: object) -> None:
        pass


def _until(condition, limit_s: float = 60.0) -> None:
    import time

    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
