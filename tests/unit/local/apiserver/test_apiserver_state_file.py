"""The state file over the years: copied, damaged and brought back, from version to version, on a full disk."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apiserver_api import wait_until
from apiserver_running import Process, running
from test_apiserver_store import change, in_loop, names, opened

from modelport.local.apiserver import high_water, keep_copies, state_file
from modelport.local.apiserver.ledger import Compacted
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.store import Store

PATH = "/api/v1/namespaces/default/configmaps"


@in_loop
async def test_a_copy_is_whole_while_the_server_writes(tmp_path: Path) -> None:
    """A backup taken in the middle of the day must open tomorrow."""
    async with opened(tmp_path) as store:
        writing = asyncio.create_task(_write_many(store, 300))
        held: list[int] = []
        for number in range(5):
            target = tmp_path / f"copy-{number}.db"
            held.append((await asyncio.to_thread(state_file.copy, store.path, target)).objects)
        await writing
        assert await asyncio.to_thread(state_file.copy, store.path, tmp_path / "last.db") == (
            state_file.Contents(state_file.FORMAT, 300, 300)
        )
    assert held == sorted(held)
    assert (tmp_path / "last.db").stat().st_mode & 0o077 == 0, "Secrets lie in it"


async def _write_many(store: Store, count: int) -> None:
    for number in range(count):
        await store.write(change(f"x{number}"))


@in_loop
async def test_a_restored_file_does_not_tell_old_versions_again(tmp_path: Path) -> None:
    """A watcher that had seen version 2 would miss what is written as another version 2 after a restore."""
    async with opened(tmp_path) as store:
        first = await store.write(change("a"))
        await asyncio.to_thread(state_file.copy, store.path, tmp_path / "copy.db")
        await store.write(change("a", first, text="later"))
    (tmp_path / "back").mkdir()
    (tmp_path / "copy.db").rename(tmp_path / "back" / "state.db")
    state_file.leap(tmp_path / "back" / "state.db", 0)
    async with opened(tmp_path / "back") as store:
        assert await names(store) == ["a"]
        row = await store.write(change("b"))
        assert row.version > 1_000_000_000
        with pytest.raises(Compacted):
            await store.watch("pods", 2)


@in_loop
async def test_a_file_of_an_older_format_is_brought_up_to_date_and_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        f"{state_file.TABLES} PRAGMA application_id = {state_file.APPLICATION_ID}; PRAGMA user_version = 1;"
    )
    connection.execute("INSERT INTO log VALUES (7, 0, 0, 0, 'pods', 'default', 'old', '{\"metadata\":{}}')")
    connection.execute("INSERT INTO current VALUES ('pods', 'default', 'old', 7)")
    connection.commit()
    connection.close()
    async with opened(tmp_path) as store:
        assert await names(store) == ["old"]
        assert (await store.write(change("new"))).version == 8
    assert state_file.contents(path).format == state_file.FORMAT
    assert state_file.contents(tmp_path / "state.db.format-1") == state_file.Contents(1, 7, 1)


def test_every_format_has_a_way_to_the_newest() -> None:
    assert sorted(state_file.MIGRATIONS) == list(range(1, state_file.FORMAT))


def test_a_damaged_file_names_the_newest_copy(tmp_path: Path) -> None:
    async def make() -> Path | None:
        async with opened(tmp_path) as store:
            await store.write(change("a"))
            return await asyncio.to_thread(keep_copies.take, store.path, datetime.now(UTC))

    kept = asyncio.run(make())
    path = tmp_path / "state.db"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreError, match=rf"is damaged: .*modelport restore --force {kept}"):
        Store(path)
    with pytest.raises(StoreError, match="is damaged"):
        state_file.copy(path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists(), "half a copy looks like a whole one"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the log is damaged in the middle": lambda wal: wal.write_bytes(
        wal.read_bytes()[: wal.stat().st_size // 2] + bytes(wal.stat().st_size // 2)
    ),
    "the log is cut short": lambda wal: os.truncate(wal, wal.stat().st_size // 2),
    "the log is gone": lambda wal: wal.unlink(),
    "all is gone": lambda wal: (wal.unlink(), wal.with_name("state.db").unlink()),
}


def _data(folder: Path) -> dict[str, bytes]:
    """What lies there, but for an index of the log, and who has the file."""
    passing = ("state.db-shm", "state.db.lock")
    return {path.name: path.read_bytes() for path in folder.glob("state.db*") if path.name not in passing}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_has_lost_its_end_is_refused(tmp_path: Path, damage: str) -> None:
    """SQLite would bring back an older state without a word, and all that was applied since would be torn down."""
    left = tmp_path / "left"
    left.mkdir()

    async def die() -> None:
        async with opened(tmp_path) as store:
            await _write_many(store, 20)
            # What a `kill -9` leaves behind.
            for name in ("state.db", "state.db-wal", "state.db.newest"):
                shutil.copy(tmp_path / name, left / name)

    asyncio.run(die())
    DAMAGES[damage](left / "state.db-wal")
    if damage != "all is gone":
        with pytest.raises(StoreError, match="20 had been acknowledged"):
            state_file.copy(left / "state.db", tmp_path / "copy.db")
        assert not (tmp_path / "copy.db").exists(), "a backup without what was lost looks like a whole one"
    before = _data(left)
    with pytest.raises(
        StoreError, match=r"is damaged: .*20 had been acknowledged.*move away all of state\.db\*"
    ):
        Store(left / "state.db")
    assert _data(left) == before, "what might be saved stays"
    for path in left.glob("state.db*"):
        path.unlink()
    Store(left / "state.db")


@in_loop
async def test_the_end_is_where_it_was_after_a_kill(tmp_path: Path) -> None:
    """Whole files are never accused, whether the number rose in time or not."""
    left = tmp_path / "left"
    left.mkdir()
    async with opened(tmp_path) as store:
        await _write_many(store, 20)
        for name in ("state.db", "state.db-wal"):
            shutil.copy(tmp_path / name, left / name)
    for number in ("", "19", "20", "nonsense"):
        (left / "state.db.newest").write_text(number)
        async with opened(left) as store:
            assert len(await names(store)) == 20
    assert high_water.read(left / "state.db") == 20


def test_copies_are_kept_of_the_last_hours_and_of_some_days() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = [Path(f"state-{begin + timedelta(hours=hour):%Y%m%dT%H%M%SZ}.db") for hour in range(24 * 7)]
    kept: list[Path] = []
    for one in made:
        kept = sorted([*kept, one], reverse=True)
        kept = [path for path in kept if path not in keep_copies.spare(kept)]
    assert [path.stem for path in kept] == [
        "state-20260107T230000Z",
        "state-20260107T220000Z",
        "state-20260107T210000Z",
        "state-20260107T200000Z",
        "state-20260106T230000Z",
        "state-20260105T230000Z",
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with running(tmp_path) as process:
        yield process


def test_a_full_disk_refuses_writes_with_words_and_reads_go_on(server: Process, tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: writes fail in the same places."""
    state, pid = tmp_path / "state.db-wal", server.pid
    with server.client() as http:
        assert http.post(PATH, json=_big("before")).status_code == 201
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (state.stat().st_size, limits[1]))
        refused = http.post(PATH, json=_big("full"))
        assert refused.status_code == 507
        status = refused.json()
        assert status["reason"] == "InsufficientStorage"
        assert "cannot be written" in status["message"]
        assert "Nothing was changed. Free space on that disk" in status["message"]
        assert http.get(f"{PATH}/before").status_code == 200
        assert [item["metadata"]["name"] for item in http.get(PATH).json()["items"]] == ["before"]
        assert http.get("/readyz").status_code == 200
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert http.post(PATH, json=_big("after")).status_code == 201, "once there is space again, it writes"
        version = http.get(PATH).json()["metadata"]["resourceVersion"]
    server.kill()
    server.start()
    with server.client() as http:
        wait_until(lambda: http.get("/readyz").status_code == 200)
        listing: dict[str, Any] = http.get(PATH).json()
        assert [item["metadata"]["name"] for item in listing["items"]] == ["after", "before"]
        assert int(listing["metadata"]["resourceVersion"]) >= int(version)


def _big(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"text": "x" * 300_000}}
