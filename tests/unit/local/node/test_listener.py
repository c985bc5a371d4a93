"""Whose a port is: what a stranger answers at a pod's address is not the pod's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelport.local.node import listener

LISTEN = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
one = socket.socket(family)
if family == socket.AF_INET6:
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
one.bind((sys.argv[1], 0))
one.listen()
print(one.getsockname()[1], flush=True)
time.sleep(600)
"""
HERE = Path("/nowhere/pods/default_a_uid")


@contextmanager
def listening(at: str, *before: str, **variables: str) -> Iterator[tuple[int, int]]:
    """A process that listens at an address: its number and its port. `before`: what starts it."""
    found = subprocess.Popen(
        [*before, sys.executable, "-c", LISTEN, at],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | variables,
    )
    try:
        assert found.stdout is not None
        yield found.pid, int(found.stdout.readline())
    finally:
        os.killpg(found.pid, 9)
        found.wait()


@pytest.fixture
def leader():
    """A pod's process that listens nowhere."""
    found = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield found.pid
    found.kill()
    found.wait()


def test_a_stranger_is_named_with_the_next_step(leader):
    """Whoever reads it ends the very process, instead of looking for a fault in the model."""
    with listening("127.91.0.7") as (pid, port):
        said = listener.stranger("127.91.0.7", port, {leader}, HERE)
    name = Path(sys.executable).name[:15]
    assert said == (
        f"port {port} at 127.91.0.7 is held by process {pid} ({name}), which is not this pod's · next: kill {pid}"
    )


@pytest.mark.parametrize("bound", ["0.0.0.0", "::"])
def test_one_that_listens_everywhere_is_a_stranger_too(leader, bound):
    with listening(bound) as (pid, port):
        said = listener.stranger("127.91.0.7", port, {leader}, HERE)
    assert said is not None
    assert f"process {pid}" in said


@pytest.mark.parametrize(
    "before",
    [(), ("sh", "-c", '"$@" & wait', "sh"), ("sh", "-c", '("$@" &) ; exec sleep 600', "sh")],
    ids=["itself", "its child", "an orphan of its group"],
)
def test_what_the_pod_has_started_is_its_own(before):
    """Servers that fork workers, and commands behind a shell, are as ready as any."""
    with listening("127.91.0.7", *before) as (leader, port):
        assert listener.stranger("127.91.0.7", port, {leader}, HERE) is None


def test_a_process_that_left_its_group_is_known_by_what_it_was_given(leader):
    given = {"MODELPORT_TERMINATION_LOG": f"{HERE}/c/termination-log"}
    with listening("127.91.0.7", **given) as (_, port):
        assert listener.stranger("127.91.0.7", port, {leader}, HERE) is None


def test_a_port_that_nobody_is_seen_to_have_is_believed(leader):
    """Where the kernel does not tell, a pod that answers is ready."""
    assert listener.stranger("127.91.0.7", 9, {leader}, HERE) is None


@pytest.mark.parametrize(
    ("at", "shown"), [("127.91.0.7", "127.91.0.7:{}"), ("0.0.0.0", "0.0.0.0:{}"), ("::1", "[::1]:{}")]
)
def test_who_listens_elsewhere_is_told_where_it_does_and_what_to_change(at, shown):
    """Flask's port 5000 behind a probe of 8080: the author reads both numbers in one line."""
    with listening(at) as (pid, port):
        said = listener.where_instead(pid)
        assert f"; the container listens on {shown.format(port)} · next: " in said
        assert "0.0.0.0" in said


def test_who_has_started_the_listener_is_asked_for_it():
    """Commands of custom containers are often shell scripts."""
    with listening("127.91.0.7", "sh", "-c", '"$@"; :', "sh") as (pid, port):
        assert f"127.91.0.7:{port}" in listener.where_instead(pid)


def test_who_listens_nowhere_is_told_of_its_log(leader):
    assert "nor does the container on any other" in listener.where_instead(leader)
