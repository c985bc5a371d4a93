"""The real kubectl's exec and port-forward: into a pod that is a process, and to its ports."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver import Kubectl, Process, find_kubectl, running

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: main, image: "x", env: [{name: GREETING, value: hello}]}]}
"""


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A pod whose container is a small web server in a folder of its own."""
    program = find_kubectl()
    folder = tmp_path_factory.mktemp("exec")
    (folder / "web").mkdir()
    (folder / "web" / "file.txt").write_text("x" * 200_000)
    with running(tmp_path_factory.mktemp("server")) as server:
        script = (
            "import http.server as h; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler); "
            "print(s.server_port, flush=True); s.serve_forever()"
        )
        web = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=folder / "web",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert web.stdout is not None
        os.environ["TEST_WEB_PORT"] = web.stdout.readline().strip()
        try:
            yield _with_pod(program, server, folder, web.pid)
        finally:
            web.kill()
            web.wait()


def _with_pod(program: str, server: Process, folder: Path, pid: int) -> Kubectl:
    found = Kubectl(program, server, folder, "default")
    found("create", "-f", "-", input=POD)
    up: dict[str, Any] = {"name": "main", "ready": True, "restartCount": 0, "image": "x", "imageID": ""}
    up |= {"containerID": f"process://{pid}", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
    found.set_status("pod", "web", {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [up]})
    return found


def test_a_command_runs_in_the_pods_folder_with_its_environment(kubectl: Kubectl) -> None:
    assert kubectl("exec", "web", "--", "sh", "-c", "echo $GREETING $HOSTNAME; ls") == "hello web\nfile.txt\n"


def test_its_exit_code_and_its_errors_come_through(kubectl: Kubectl) -> None:
    done = kubectl.run("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert "err\n" in done.stderr
    done = kubectl.run("exec", "web", "--", "no-such-command")
    assert done.returncode == 127
    assert 'exec: "no-such-command": No such file or directory in PATH' in done.stderr
    assert kubectl.run("exec", "web", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_input_goes_in_whole_and_its_end_too(kubectl: Kubectl) -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    assert kubectl("exec", "-i", "web", "--", "sort", "-r", input=text) == "".join(
        sorted(text.splitlines(keepends=True), reverse=True)
    )


def test_a_terminal_is_one_and_knows_its_size(kubectl: Kubectl) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    command = ["exec", "-it", "web", "--", "sh", "-c", "test -t 0 && echo yes; read line; echo got $line"]
    shell = subprocess.Popen(
        [kubectl.program, "-n", "default", *command],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=kubectl.environment,
    )
    os.close(slave)
    seen = b""
    while b"yes" not in seen:
        assert select.select([master], [], [], 60)[0], seen
        seen += os.read(master, 4096)
    os.write(master, b"words\n")
    while b"got words" not in seen:
        assert select.select([master], [], [], 60)[0], seen
        seen += os.read(master, 4096)
    assert shell.wait(60) == 0
    os.close(master)


def test_who_may_only_look_may_not_run_anything(kubectl: Kubectl) -> None:
    viewer = kubectl.as_role("view")
    assert 'cannot create resource "pods/exec"' in viewer.fails("exec", "web", "--", "ls")
    assert kubectl.as_role("edit")("exec", "web", "--", "echo", "x") == "x\n"


def test_mistakes_are_said(kubectl: Kubectl) -> None:
    assert 'pods "absent" not found' in kubectl.fails("exec", "absent", "--", "ls")
    assert "container nope" in kubectl.fails("exec", "web", "-c", "nope", "--", "ls")
    up = {"name": "main", "ready": False, "restartCount": 0, "image": "x", "imageID": "", "state": {}}
    kubectl("create", "-f", "-", input=POD.replace("name: web", "name: waiting"))
    kubectl.set_status("pod", "waiting", {"phase": "Pending", "containerStatuses": [up]})
    assert "does not run" in kubectl.fails("exec", "waiting", "--", "ls")


def test_ports_are_forwarded(kubectl: Kubectl) -> None:
    going = kubectl.start("port-forward", "pod/web", f":{os.environ['TEST_WEB_PORT']}", ":1")
    try:
        ports = _ports(going)
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/file.txt", timeout=60) as answer:
                assert answer.read() == b"x" * 200_000
        with pytest.raises(OSError, match=r"reset|closed|EOF|without"):
            urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/", timeout=60)
    finally:
        going.kill()
        rest = going.communicate(timeout=30)[0]
    assert "127.0.0.1:1: " in rest
    assert "Does the pod listen on that port?" in rest


def _ports(going: subprocess.Popen[str]) -> list[str]:
    found: list[str] = []
    assert going.stdout is not None
    while len(found) < 2:
        line = going.stdout.readline()
        assert line, found
        match = re.search(r"127\.0\.0\.1:(\d+) ->", line)
        if match:
            found.append(match[1])
    return found
