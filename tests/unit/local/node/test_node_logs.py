"""A container's log: its lines' times, its size, and who reads it meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from modelport.local.apiserver.log_file import LogFile
from modelport.local.node import logs
from modelport.wire.log import Times, encode, times_file

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def read(path, **asked) -> list[str]:
    """What `kubectl logs` shows."""
    given = {"tail": None, "since": None, "stamped": False, "begun": NOON, "clock": lambda: datetime.now(UTC)}
    file = LogFile(path, **(given | asked))
    text = b""
    while block := file.read(4096):
        text += block
    text += file.rest()
    file.close()
    return text.decode().splitlines()


@pytest.fixture
def noted(tmp_path):
    """A log whose lines were noted a minute apart: `one` at 12:01, and so on."""
    path = tmp_path / "0.log"
    words = ["one", "two", "three", "four"]
    path.write_text("".join(f"{word}\n" for word in words))
    length, times = 0, encode(NOON, 0)
    for minute, word in enumerate(words, 1):
        length += len(word) + 1
        times += encode(NOON + timedelta(minutes=minute), length)
    times_file(path).write_bytes(times)
    return path


def test_each_line_has_the_time_at_which_it_was_written(noted):
    assert read(noted, stamped=True) == [
        "2026-11-26T12:01:00.000000Z one",
        "2026-11-26T12:02:00.000000Z two",
        "2026-11-26T12:03:00.000000Z three",
        "2026-11-26T12:04:00.000000Z four",
    ]


@pytest.mark.parametrize(
    ("minutes", "found"),
    [(0, 4), (1, 4), (1.5, 3), (3, 2), (4, 1), (4.5, 0)],
)
def test_since_shows_what_was_written_since_and_no_more(noted, minutes, found):
    shown = read(noted, since=NOON + timedelta(minutes=minutes))
    assert shown == ["one", "two", "three", "four"][4 - found :]


def test_a_time_that_a_line_claims_is_not_taken_for_when_it_was_written(noted):
    with noted.open("a") as file:
        file.write("1999-01-01T00:00:00Z an old story\n")
    logs.note(noted)
    last = read(noted, stamped=True)[-1]
    assert last.startswith(f"{datetime.now(UTC):%Y-%m-%dT}")
    assert read(noted, since=NOON + timedelta(minutes=5)) == ["1999-01-01T00:00:00Z an old story"]


def test_a_half_written_record_is_left_for_later(noted):
    whole = times_file(noted).read_bytes()
    times_file(noted).write_bytes(whole[:-5])
    times = Times(noted)
    times.refresh()
    assert times.last == 14
    times_file(noted).write_bytes(whole)
    times.refresh()
    assert times.last == 19


def test_a_log_that_is_too_long_keeps_its_newest_whole_lines(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("".join(f"line {i:06}\n" for i in range(100_000)))
    logs.note(path)
    logs.cut(path, 240_000)
    lines = read(path)
    assert 19_000 < len(lines) <= 20_000
    assert lines[-1] == "line 099999"
    assert all(line.startswith("line ") for line in lines)
    assert read(path, tail=2) == ["line 099998", "line 099999"]
    assert read(path, tail=10**6) == lines
    assert read(path, since=NOON - timedelta(days=365 * 20)) == lines
    assert path.stat().st_blocks * 512 < 600_000, "the disk has its space back"


def test_who_follows_a_log_does_not_notice_that_it_is_cut(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("first\n")
    file = LogFile(path, tail=None, since=None, stamped=False, begun=NOON, clock=lambda: datetime.now(UTC))
    assert file.read(4096) == b"first\n"
    with path.open("a") as writer:
        writer.write("".join(f"line {i:06}\n" for i in range(10_000)))
    logs.note(path)
    logs.cut(path, 1200)
    text = b""
    while block := file.read(4096):
        text += block
    assert b"\0" not in text
    assert text.decode().splitlines()[-1] == "line 009999"
    with path.open("a") as writer:
        writer.write("last\n")
    assert file.read(4096) == b"last\n"
    file.close()


def test_a_file_system_without_holes_begins_the_log_anew(tmp_path, monkeypatch):
    path = tmp_path / "0.log"
    path.write_text("line\n" * 1000)
    logs.note(path)

    class Without:
        def fallocate(self, *_):
            import ctypes

            ctypes.set_errno(95)
            return -1

    monkeypatch.setattr(logs, "_libc", Without())
    logs.cut(path, 100)
    assert path.stat().st_size == 0
    with path.open("a") as file:
        file.write("anew\n")
    logs.note(path)
    assert read(path) == ["anew"]


def test_a_running_container_is_kept_within_its_limit_and_in_time(tmp_path):
    """The real thing: a process that writes, the kernel's word of it, and a cut while it goes on."""
    path = tmp_path / "0.log"
    code = "import sys\nfor i in range(int(sys.argv[1])): print(f'line {i:07}', flush=True)\nsys.stdin.read()"

    async def run() -> None:
        keeping = asyncio.create_task(logs.keep(logs.Watch(), path, 100_000))
        try:
            times = Times(path)
            await until(lambda: path.stat().st_size == 60_000 * 13)
            await until(lambda: (times.refresh(), times.begin > 0 and times.last == 60_000 * 13)[1])
            await until(lambda: (times.refresh(), times.last - times.begin <= 120_000)[1])
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    began = datetime.now(UTC)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = subprocess.Popen([sys.executable, "-c", code, "60000"], stdout=descriptor, stdin=subprocess.PIPE)
    os.close(descriptor)
    try:
        asyncio.run(run())
    finally:
        child.kill()
        child.wait()
    lines = read(path, stamped=True)
    moments = [datetime.fromisoformat(line.split()[0]) for line in lines]
    assert moments == sorted(moments)
    assert began - timedelta(seconds=1) <= moments[0] <= datetime.now(UTC)
    assert lines[-1].endswith(" line 0059999")
    assert path.stat().st_blocks * 512 < 400_000


def test_what_was_written_while_no_node_ran_is_noted_when_it_is_back(tmp_path):
    path = tmp_path / "0.log"
    path.write_text("alone\n")
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))

    async def run() -> None:
        keeping = asyncio.create_task(logs.keep(logs.Watch(), path))
        await until(lambda: times_file(path).exists())
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())
    assert read(path, stamped=True) == ["2026-11-26T12:00:00.000000Z alone"]


def test_a_container_that_crashes_for_days_leaves_two_logs(tmp_path):
    for run in range(5):
        (tmp_path / f"{run}.log").write_text("x\n")
        logs.note(tmp_path / f"{run}.log")
        logs.forget(tmp_path, run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3.log", "3.times", "4.log", "4.times"]


async def until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.02)
