"""What a killed node leaves: found again, or ended and removed."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from modelport.local.folder import Folder
from modelport.local.node import leftover
from modelport.local.node.container import State
from modelport.local.node.record import Record
from modelport.local.process import Process

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path):
    found = Folder(tmp_path)
    found.make()
    return found


@pytest.fixture
def start():
    """Starts something that runs until it is ended."""
    children: list[subprocess.Popen[bytes]] = []

    def begin() -> Process:
        children.append(subprocess.Popen(["sleep", "1000"], start_new_session=True))
        found = Process.of(children[-1].pid)
        assert found is not None
        return found

    yield begin
    for child in children:
        child.kill()
        child.wait()


def record(folder: Folder, uid: str, *containers: str) -> Record:
    pod = {
        "metadata": {"namespace": "default", "name": "p", "uid": uid},
        "spec": {"containers": [{"name": name} for name in containers]},
    }
    place = folder.pod("default", "p", uid)
    place.mkdir(exist_ok=True)
    return Record(pod, place)


def wrote_itself_down(place: Path, process: Process) -> None:
    place.mkdir(exist_ok=True)
    (place / leftover.PROCESS).write_bytes(msgspec.json.encode(process))


def test_a_process_that_the_node_never_heard_of_is_taken_over(folder, start):
    """The node died between asking for it and hearing of it: a second one would find the port taken."""
    one = record(folder, "u", "c", "other")
    process = start()
    wrote_itself_down(one.folder / "c", process)
    leftover.adopt(one)
    assert (one.state("c").pid, one.state("c").start) == (process.pid, process.start)
    assert not one.state("other").running
    again = Record(one.pod, one.folder)
    assert again.restored
    assert again.state("c").running, "it is written down now"


def test_a_dead_process_and_a_number_that_is_anothers_now_are_not_taken_over(folder, start):
    one = record(folder, "u", "c", "d")
    process = start()
    wrote_itself_down(one.folder / "c", Process(process.pid, process.start - 1))
    os.kill(process.pid, 9)
    os.waitpid(process.pid, 0)
    wrote_itself_down(one.folder / "d", process)
    leftover.adopt(one)
    assert not one.state("c").running
    assert not one.state("d").running


def test_a_pod_that_was_deleted_meanwhile_is_ended_and_its_neighbour_is_not(folder, start):
    gone, stays = record(folder, "gone", "c"), record(folder, "stays", "c")
    known, unknown, relay, neighbour = start(), start(), start(), start()
    gone.kept.containers["c"] = State(pid=known.pid, start=known.start)
    gone.save()
    wrote_itself_down(gone.folder / "d", unknown)
    (gone.folder / leftover.RELAYS[0]).write_bytes(msgspec.json.encode(relay))
    stays.kept.containers["c"] = State(pid=neighbour.pid, start=neighbour.start)
    stays.save()
    leftover.sweep(folder, list(folder.pods.iterdir()), {"stays"}, NOW)
    assert [one.alive for one in (known, unknown, relay, neighbour)] == [False, False, False, True]
    assert [path.name for path in folder.pods.iterdir()] == [stays.folder.name]


def test_notes_of_ends_that_nobody_waits_for_are_removed(folder):
    one = record(folder, "u", "c")
    one.kept.containers["c"] = State(pid=7, start=70)
    one.save()
    for name in ("7.70", "8.80", "9.90"):
        (folder.exits / name).write_text("{}")
        old = (NOW - timedelta(hours=1)).timestamp()
        if name != "9.90":
            os.utime(folder.exits / name, (old, old))
    leftover.sweep(folder, list(folder.pods.iterdir()), {"u"}, NOW - timedelta(minutes=1))
    assert sorted(path.name for path in folder.exits.iterdir()) == ["7.70", "9.90"]


def test_notes_are_forgotten_while_the_node_runs(folder):
    """Each daemon of a container leaves one: without that they would fill the disk until the node is started again."""
    one = record(folder, "u", "c")
    one.kept.containers["c"] = State(pid=7, start=70)
    one.save()
    for name in ("7.70", "8.80"):
        (folder.exits / name).write_text("{}")
    leftover.forget_ends(folder, datetime.now(UTC) - timedelta(minutes=1))
    assert sorted(path.name for path in folder.exits.iterdir()) == ["7.70", "8.80"]
    leftover.forget_ends(folder, datetime.now(UTC) + timedelta(minutes=1))
    assert [path.name for path in folder.exits.iterdir()] == ["7.70"]


def test_the_platforms_end_is_every_pods_end_also_without_a_node(folder, start):
    pods = [record(folder, uid, "c") for uid in ("a", "b")]
    processes = [start() for _ in pods]
    for one, process in zip(pods, processes, strict=True):
        wrote_itself_down(one.folder / "c", process)
    leftover.end_all(folder)
    assert not any(process.alive for process in processes)
    assert all(one.folder.exists() for one in pods), "what was applied stays"
