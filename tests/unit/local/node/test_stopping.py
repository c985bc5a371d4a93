"""A pod's graceful stop, with real processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from modelport.local.node import stopping
from modelport.local.node.container import State
from modelport.local.node.record import Record
from modelport.local.process import Process

PATIENT = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: None)\nprint('up', flush=True)\n"
DEAF = PATIENT + "while True: time.sleep(1)"
POLITE = (
    "import signal, sys, time, pathlib\n"
    "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit(0)))\n"
    "print('up', flush=True)\n"
    "while True: time.sleep(1)"
)


def pod(containers: list[dict], *, deletion: float | None = 60, term: float | None = None) -> dict:
    metadata = {"name": "p", "namespace": "default", "uid": "u", "annotations": {stopping.UNROUTED: "true"}}
    if deletion is not None:
        metadata["deletionGracePeriodSeconds"] = deletion
    spec = {"containers": containers}
    if term is not None:
        spec["terminationGracePeriodSeconds"] = term
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize(
    ("deletion", "term", "how", "grace_s"),
    [
        (7, 60, {"hurry": False, "shutdown": False}, 7.0),
        (7, 60, {"hurry": True, "shutdown": False}, 0.0),
        (None, 60, {"hurry": False, "shutdown": True}, 30.0),
        (None, 3, {"hurry": False, "shutdown": True}, 3.0),
        (None, 0, {"hurry": False, "shutdown": True}, 0.0),
        (0, None, {"hurry": False, "shutdown": False}, 0.0),
    ],
)
def test_how_long_a_pod_has_to_end(deletion, term, how, grace_s):
    assert stopping.deletion_grace_s(pod([], deletion=deletion, term=term), **how) == grace_s


@pytest.fixture
def start(tmp_path):
    """Starts a Python text as the container `c` of a pod, in a session of its own."""
    children: list[subprocess.Popen[bytes]] = []

    def begin(text: str, *, container: dict | None = None, **more) -> tuple[Record, subprocess.Popen[bytes]]:
        child = subprocess.Popen(
            [sys.executable, "-c", text, str(tmp_path / "ended-well")],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        found = Process.of(child.pid)
        assert found is not None
        record = Record(pod([{"name": "c", "command": ["x"]} | (container or {})], **more), tmp_path)
        record.kept.containers["c"] = State(pid=found.pid, start=found.start, ready=True)
        return record, child

    yield begin
    for child in children:
        child.kill()
        child.wait()


def stop(record: Record, **how) -> None:
    asyncio.run(stopping.stop(record, {"c": {"PATH": "/usr/bin:/bin"}}, lambda: False, **how))


def test_a_process_that_listens_ends_by_itself(start, tmp_path):
    record, child = start(POLITE)
    stop(record, hurry=False)
    assert child.wait() == 0
    assert (tmp_path / "ended-well").exists()
    assert not record.state("c").running
    assert not record.state("c").ready


def test_a_process_that_does_not_listen_is_killed_after_the_grace_period(start):
    record, child = start(DEAF, deletion=0.3)
    stop(record, hurry=False)
    assert child.wait() == -signal.SIGKILL


def test_a_pod_whose_object_is_gone_is_killed_at_once(start, tmp_path):
    record, child = start(POLITE)
    stop(record, hurry=True)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "ended-well").exists()


def test_the_hook_runs_before_the_signal(start, tmp_path):
    mark = tmp_path / "hooked"
    text = POLITE.replace(
        "(pathlib",
        "(sys.exit(9) if not pathlib.Path(sys.argv[1]).with_name('hooked').exists() else 0, pathlib",
    )
    record, child = start(
        text, container={"lifecycle": {"preStop": {"exec": {"command": ["touch", str(mark)]}}}}
    )
    stop(record, hurry=False)
    assert child.wait() == 0
    assert mark.exists()


def test_a_hook_that_cannot_run_is_told_and_does_not_hold_up_the_end(start, caplog):
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["/no/such/program"]}}}}
    record, child = start(POLITE, container=hook)
    stop(record, hurry=False)
    assert child.wait() == 0
    assert "container c: preStop:" in caplog.text


def test_what_a_container_left_behind_is_killed_with_the_pod(start, tmp_path):
    """Its leader is polite and gone: what it has started must not go on alone, on a port that the next pod wants."""
    inner = tmp_path / "inner"
    text = POLITE.replace(
        "print('up', flush=True)\n",
        "import subprocess\n"
        f"child = subprocess.Popen([sys.executable, '-c', {DEAF!r}], stdout=subprocess.PIPE)\n"
        f"pathlib.Path({str(inner)!r}).write_text(str(child.pid))\n"
        "child.stdout.readline()\n"
        "print('up', flush=True)\n",
    )
    record, child = start(text)
    grandchild = Process.of(int(inner.read_text()))
    assert grandchild is not None
    stop(record, hurry=False)
    assert child.wait() == 0
    deadline = time.monotonic() + 20
    while grandchild.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not grandchild.alive


def test_the_hook_takes_its_time_out_of_the_grace_period(start):
    """Else a pod that may take 30 s takes 60, and whoever waits for its end thinks that it hangs."""
    hook = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "60"]}}}}
    record, child = start(DEAF, container=hook, deletion=0.5)
    began = time.monotonic()
    stop(record, hurry=False)
    assert child.wait() == -signal.SIGKILL
    assert time.monotonic() - began >= 0.5 + stopping.AFTER_HOOK_S


def test_what_stays_beside_the_others_ends_after_them(start, tmp_path):
    """A proxy that is gone before the server has finished its requests fails them."""
    order = tmp_path / "order"
    say = "open(sys.argv[1].replace('ended-well', 'order'), 'a').write({0!r})"
    slow = POLITE.replace("pathlib.Path(sys.argv[1]).touch()", f"time.sleep(0.3), {say.format('main ')}")
    record, main = start(slow)
    beside, proxy = start(POLITE.replace("pathlib.Path(sys.argv[1]).touch()", say.format("proxy")))
    record.kept.containers["proxy"] = beside.state("c")
    record.pod["spec"]["initContainers"] = [{"name": "proxy", "command": ["x"], "restartPolicy": "Always"}]
    stop(record, hurry=False)
    assert (main.wait(), proxy.wait()) == (0, 0)
    assert order.read_text() == "main proxy"


def test_what_a_container_started_is_killed_with_it(start, tmp_path):
    inner = tmp_path / "inner"
    text = PATIENT.replace("print('up', flush=True)\n", "") + (
        "import subprocess, pathlib, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {DEAF!r}], stdout=subprocess.PIPE)\n"
        f"pathlib.Path({str(inner)!r}).write_text(str(child.pid))\n"
        "child.stdout.readline()\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(1)"
    )
    record, _ = start(text, deletion=0.3)
    grandchild = Process.of(int(inner.read_text()))
    assert grandchild is not None
    stop(record, hurry=False)
    deadline = time.monotonic() + 20
    while grandchild.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not grandchild.alive
