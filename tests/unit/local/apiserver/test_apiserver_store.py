"""The store: what it acknowledged is there, in one order, and watchers hear all of it or are told that they do not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelport.local.apiserver import fanout
from modelport.local.apiserver.fanout import CutOff, Ended, Event
from modelport.local.apiserver.ledger import (
    Change,
    Changed,
    Compacted,
    Exists,
    Homeless,
    Key,
    Missing,
    Occupied,
    Row,
)
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.store import Future, Store

PODS = "pods"


def change(
    name: str, before: Row | None = None, *, resource: str = PODS, namespace: str = "default", **more: Any
) -> Change:
    options = {key: more.pop(key) for key in ("deleted", "home", "empties") if key in more}
    return Change(
        key=Key(resource, namespace, name),
        body={"metadata": {"name": name}, **more},
        before=before,
        **options,
    )


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[Store]:
    store = Store(path / "state.db", **options)
    store.start()
    try:
        yield store
    finally:
        await store.close()


async def names(store: Store, at: int | None = None, namespace: str | None = None) -> list[str]:
    async with store.snapshot(at) as snapshot:
        return [row.name async for row in snapshot.rows(PODS, namespace)]


async def told(store: Store, after: int) -> list[tuple[str, str]]:
    watcher, past = await store.watch(PODS, after)
    watcher.close()
    return [(event.type, event.row.name) async for event in past]


Test = Callable[[Path], Awaitable[None]]


def in_loop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Runs a test in an event loop of its own."""

    def run(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    run.__doc__, run.__name__ = test.__doc__, test.__name__
    return run


@in_loop
async def test_what_was_written_is_read_back_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        row = await store.write(change("a", spec=1))
        await store.write(change("a", row, spec=2))
    async with opened(tmp_path) as store:
        found = store.get(Key(PODS, "default", "a"))
        assert found is not None
        assert found.value == b'{"metadata":{"name":"a","resourceVersion":"2"},"spec":2}'
        assert (await store.write(change("b"))).version == 3


@in_loop
async def test_versions_never_go_back_even_when_the_newest_row_is_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path, keep_rows=1, keep_s=0) as store:
        row = await store.write(change("a"))
        last = await store.write(change("a", row, deleted=True))
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("DELETE FROM log")
    connection.commit()
    connection.close()
    async with opened(tmp_path) as store:
        assert (await store.write(change("b"))).version > last.version


@in_loop
async def test_a_write_for_another_version_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = await store.write(change("a"))
        with pytest.raises(Exists):
            await store.write(change("a"))
        second = await store.write(change("a", first))
        with pytest.raises(Changed):
            await store.write(change("a", first))
        gone = await store.write(change("a", second, deleted=True))
        with pytest.raises(Missing):
            await store.write(change("a", second))
        assert store.version == gone.version
        assert await names(store) == []


@in_loop
async def test_of_many_writers_of_one_version_one_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        row = await store.write(change("a"))
        answers = await asyncio.gather(
            *(store.write(change("a", row, writer=index)) for index in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Row) for answer in answers) == 1
        assert sum(isinstance(answer, Changed) for answer in answers) == 49


@in_loop
async def test_nothing_is_made_in_a_namespace_that_is_gone_nor_is_a_full_one_removed(tmp_path: Path) -> None:
    home = Key("namespaces", "", "team")
    async with opened(tmp_path) as store:
        with pytest.raises(Homeless):
            await store.write(change("a", namespace="team", home=home))
        space = await store.write(change("team", resource="namespaces", namespace=""))
        row = await store.write(change("a", namespace="team", home=home))
        going = change("team", space, resource="namespaces", namespace="", deleted=True, empties="team")
        with pytest.raises(Occupied):
            await store.write(going)
        await store.write(change("a", row, namespace="team", deleted=True))
        await store.write(going)


@in_loop
async def test_a_list_in_chunks_shows_one_moment(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        rows = [await store.write(change(f"p{index}")) for index in range(5)]
        async with store.snapshot() as snapshot:
            version = snapshot.version
        await store.write(change("p1", rows[1], deleted=True))
        await store.write(change("p9"))
        assert await names(store, version) == ["p0", "p1", "p2", "p3", "p4"]
        assert await names(store) == ["p0", "p2", "p3", "p4", "p9"]
        async with store.snapshot(version) as snapshot:
            found = [row.name async for row in snapshot.rows(PODS, "default", ("default", "p2"))]
            assert found == ["p3", "p4"]
            assert snapshot.count(PODS, None, ("default", "p2")) == 2


@in_loop
async def test_a_snapshot_stands_still_while_others_write(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for index in range(450):  # more than two chunks
            await store.write(change(f"p{index:03}"))
        async with store.snapshot() as snapshot:
            found: list[str] = []
            async for row in snapshot.rows(PODS):
                if row.name == "p000":
                    await store.write(change("p999"))
                found.append(row.name)
        assert len(found) == 450
        assert found == sorted(found)


@in_loop
async def test_only_the_namespace_asked_for_is_listed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for namespace in ("a", "ab", "b"):
            await store.write(change("x", namespace=namespace))
        assert await names(store, namespace="ab") == ["x"]
        async with store.snapshot() as snapshot:
            await store.write(change("y", namespace="ab"))
            past = snapshot.version
        async with store.snapshot(past) as snapshot:
            assert [row.namespace async for row in snapshot.rows(PODS, "ab")] == ["ab"]


@in_loop
async def test_a_watch_tells_what_happened_since(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = await store.write(change("a"))
        watcher, past = await store.watch(PODS, first.version)
        second = await store.write(change("a", first))
        await store.write(change("n", resource="nodes", namespace=""))
        third = await store.write(change("a", second, deleted=True))
        await store.write(change("a"))
        assert [event async for event in past] == []
        events: list[Event] = []
        while len(events) < 3:
            events += await watcher.take()
        assert [event.type for event in events] == ["MODIFIED", "DELETED", "ADDED"]
        assert events[1].version == third.version
        assert events[1].old == {"metadata": {"name": "a", "resourceVersion": str(second.version)}}
        assert b'"resourceVersion":"%d"' % third.version in events[1].frame
        assert events[2].old is None


@pytest.mark.parametrize("kept", [0, 3, 256], ids=["from the log", "from both", "from memory"])
def test_a_watch_from_the_past_is_whole(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "RING_EVENTS", kept)

    @in_loop
    async def run(path: Path) -> None:
        async with opened(path) as store:
            row = await store.write(change("a"))
            for _ in range(5):
                row = await store.write(change("a", row))
            await store.write(change("a", row, deleted=True))
            assert await told(store, 1) == [("MODIFIED", "a")] * 5 + [("DELETED", "a")]
            assert await told(store, 0) == [("ADDED", "a"), *[("MODIFIED", "a")] * 5, ("DELETED", "a")]
            assert await told(store, 7) == []

    run(tmp_path)


@in_loop
async def test_a_watch_from_before_a_restart_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        row = await store.write(change("a"))
        await store.write(change("a", row))
    async with opened(tmp_path) as store:
        assert await told(store, 1) == [("MODIFIED", "a")]
        assert await told(store, 2) == []


@in_loop
async def test_no_event_is_lost_or_told_twice_where_past_and_present_meet(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        stop = False

        async def write() -> None:
            index = 0
            while not stop:
                await store.write(change(f"p{index}"))
                index += 1

        writing = asyncio.create_task(write())
        for _ in range(20):
            start = max(0, store.version - 30)
            watcher, past = await store.watch(PODS, start)
            last = start
            seen: list[int] = []
            async for event in past:
                seen.append(event.version)
                last = event.version
            while len(seen) < 40:
                seen += [event.version for event in await watcher.take() if event.version > last]
            watcher.close()
            assert seen == list(range(start + 1, start + 1 + len(seen)))
        stop = True
        await writing


@in_loop
async def test_a_slow_watcher_is_cut_off_and_the_others_are_not(tmp_path: Path) -> None:
    async with opened(tmp_path, queue_limit=10) as store:
        slow, _ = await store.watch(PODS, 0)
        quick, _ = await store.watch(PODS, 0)
        heard = 0
        for index in range(30):
            await store.write(change(f"p{index}"))
            heard += len(await quick.take())
        assert heard == 30
        with pytest.raises(CutOff):
            await slow.take()
        assert store.watchers == 1


@in_loop
async def test_watches_end_when_the_server_stops(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        watcher, _ = await store.watch(PODS, 0)
        waiting = asyncio.create_task(watcher.take())
        await asyncio.sleep(0)
        store.end_watches()
        with pytest.raises(Ended):
            await waiting
        late, _ = await store.watch(PODS, 0)
        with pytest.raises(Ended):
            await late.take()


@in_loop
async def test_the_forgotten_past_is_refused_and_the_present_stays_whole(tmp_path: Path) -> None:
    now = [0]
    async with opened(tmp_path, keep_rows=100, keep_s=60, clock_ms=lambda: now[0]) as store:
        kept = await store.write(change("kept"))
        gone = await store.write(change("gone"))
        await store.write(change("gone", gone, deleted=True))
        row = await store.write(change("busy"))
        for _ in range(1500):
            now[0] += 1000
            row = await store.write(change("busy", row))
        with pytest.raises(Compacted):
            await names(store, kept.version)
        with pytest.raises(Compacted):
            await store.watch(PODS, kept.version)
        assert await names(store) == ["busy", "kept"]
        assert await names(store, row.version - 50) == ["busy", "kept"]
        assert len(await told(store, row.version - 50)) == 50
    rows = sqlite3.connect(tmp_path / "state.db").execute("SELECT count(*) FROM log").fetchone()[0]
    assert rows < 700, "the log grows with every change"


@in_loop
async def test_the_young_past_stays_within_bounds(tmp_path: Path) -> None:
    """However busy: the log is bounded even where all of it is young."""
    async with opened(tmp_path, keep_rows=50, keep_s=3600, clock_ms=lambda: 0) as store:
        row = await store.write(change("busy"))
        for _ in range(2100):
            row = await store.write(change("busy", row))
        assert await names(store, row.version - 400) == ["busy"]
        with pytest.raises(Compacted):
            await names(store, 1000)


@in_loop
async def test_a_version_that_has_not_come_to_be_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.write(change("a"))
        with pytest.raises(Future):
            await names(store, 99)
        with pytest.raises(Future):
            await store.watch(PODS, 99)


@in_loop
async def test_a_watch_may_begin_with_a_list_that_knows_more_than_is_told_yet(tmp_path: Path) -> None:
    """Else a watch without a version ends now and then with 504, when it comes just after a commit."""
    async with opened(tmp_path) as store:
        row = await store.write(change("a"))
        # As it is while the writer's thread has committed and has not come to say so.
        store.version = store._ledger.version = row.version - 1
        watcher, _ = await store.watch(PODS, row.version)
        watcher.close()
        with pytest.raises(Future):
            await store.watch(PODS, row.version + 1)
        store.version = store._ledger.version = row.version


@in_loop
async def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        row = await store.write(change("a"))
        pages = store._ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        store._ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(
            StoreError, match=r"state.db: cannot be written: database or disk is full.*Free space"
        ):
            await store.write(change("b", text="x" * 1_000_000))
        assert await names(store) == ["a"]
        store._ledger._connection.execute("PRAGMA max_page_count = 100000")
        assert (await store.write(change("a", row))).version == row.version + 1


@in_loop
async def test_two_servers_cannot_have_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreError, match=r"in use by another API server \(process \d+\)"):
            Store(tmp_path / "state.db")
    async with opened(tmp_path):
        pass


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    asyncio.run(_make(tmp_path))
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(StoreError, match=r"written by a newer modelport \(format 7; this one knows 2\)"):
        Store(tmp_path / "state.db")
    # The refusal lets go of the lock.
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    asyncio.run(_make(tmp_path, "b"))


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("CREATE TABLE things (name TEXT)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="is not the state of a modelport platform"):
        Store(tmp_path / "state.db")


@pytest.mark.parametrize("damage", ["text", "torn", "lost"])
def test_a_damaged_file_is_refused_with_words(damage: str, tmp_path: Path) -> None:
    asyncio.run(_make(tmp_path))
    path = tmp_path / "state.db"
    if damage == "text":
        path.write_text("these are not the rows you are looking for" * 100)
    elif damage == "torn":
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(reversed(content[4096:]))
        path.write_bytes(content)
    else:
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM log")
        connection.commit()
        connection.close()
    with pytest.raises(
        StoreError,
        match=r"state.db: is damaged: .* then restore a backup of yours: modelport restore --force FILE",
    ):
        Store(path)


def test_a_crash_before_the_first_table_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    asyncio.run(_make(tmp_path))


def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    """Secrets lie in it."""
    asyncio.run(_make(tmp_path))
    assert (tmp_path / "state.db").stat().st_mode & 0o077 == 0


async def _make(path: Path, name: str = "a") -> None:
    async with opened(path) as store:
        await store.write(change(name))
