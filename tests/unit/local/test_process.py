"""Processes are told apart by number and start time: a number that is used again is somebody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from modelport.local import process
from modelport.local.process import Process

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def sleeper():
    child = subprocess.Popen(SLEEPER, stdin=subprocess.PIPE)
    yield child
    child.kill()
    child.wait()


def test_a_process_lives_until_it_ends(sleeper):
    found = Process.of(sleeper.pid)
    assert found is not None
    assert found.alive
    assert found.signal(signal.SIGKILL)
    sleeper.wait()
    assert not found.alive
    assert not found.signal(signal.SIGTERM)


def test_a_zombie_counts_as_ended():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Process.of(child.pid) is None
    child.wait()


def test_the_same_number_with_another_start_is_never_signalled(sleeper):
    found = Process.of(sleeper.pid)
    assert found is not None
    impostor = Process(found.pid, found.start - 1)
    assert not impostor.alive
    assert not impostor.signal(signal.SIGKILL)
    assert sleeper.poll() is None


def test_descendants_leave_out_what_has_a_line_of_its_own():
    script = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()']); "
        "print(c.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        assert grandchild in process.descendants(os.getpid())
        assert parent.pid in process.descendants(os.getpid())
        below = process.descendants(os.getpid(), stop=[parent.pid])
        assert grandchild not in below
        assert parent.pid not in below
    finally:
        parent.communicate()


def test_memory_is_a_plausible_number_of_bytes():
    own = Process.of(os.getpid())
    assert own is not None
    assert 1 << 20 < (own.memory_bytes() or 0) < 1 << 40


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b'{"pid": "x"}'])
def test_what_was_not_written_down_is_nobody(tmp_path, content):
    path = tmp_path / "role.json"
    if content is not None:
        path.write_bytes(content)
    assert process.read(path) is None


def test_what_was_written_down_is_found_again(tmp_path):
    own = Process.of(os.getpid())
    path = tmp_path / "role.json"
    path.write_bytes(msgspec.json.encode(own))
    assert process.read(path) == own
