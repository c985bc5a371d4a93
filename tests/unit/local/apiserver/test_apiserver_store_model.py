"""The store against a plain model: any order of writes, restarts and compactions, and every list and watch since."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from modelport.local.apiserver.ledger import Change, Compacted, Key, Refused, Row
from modelport.local.apiserver.store import Store

NAMES = st.sampled_from(["a", "b", "c"])
SPACES = st.sampled_from(["x", "y"])


class Model(RuleBasedStateMachine):
    """Objects are numbers here."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.present: dict[tuple[str, str], Row] = {}
        self.history: list[tuple[int, dict[tuple[str, str], int]]] = [(0, {})]
        self.log: list[tuple[int, str, tuple[str, str]]] = []
        self.now = 0
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder / "state.db", clock_ms=lambda: self.now, keep_rows=5, keep_s=10)
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self.store.start()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(space=SPACES, name=NAMES, stale=st.booleans(), delete=st.booleans())
    def write(self, space: str, name: str, stale: bool, delete: bool) -> None:
        key = (space, name)
        before = self.present.get(key)
        if before is None and delete:
            return
        claimed = Row(10**9, 0, False, "pods", space, name, b"") if stale else before
        body = {"metadata": {"name": name, "namespace": space}}
        change = Change(key=Key("pods", space, name), body=body, before=claimed, deleted=delete)
        try:
            row = self.run(self.store.write(change))
        except Refused:
            assert stale
            return
        assert not stale
        self.log.append((row.version, "DELETED" if delete else "MODIFIED" if before else "ADDED", key))
        if delete:
            del self.present[key]
        else:
            self.present[key] = row
        self.history.append((row.version, {k: r.version for k, r in self.present.items()}))

    @rule(seconds=st.integers(0, 20))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1000

    @rule()
    def compact(self) -> None:
        self.store._ledger.compact(keep_rows=5, keep_ms=10_000, now_ms=self.now)

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.open()

    @rule(back=st.integers(0, 20))
    def look_back(self, back: int) -> None:
        version, then = self.history[-1 - min(back, len(self.history) - 1)]
        try:
            found = self.run(self.listed(version))
            told = self.run(self.told(version))
        except Compacted:
            assert version < self.store._ledger.compacted
            return
        assert found == then
        assert told == [(v, kind, key) for v, kind, key in self.log if v > version]

    @invariant()
    def the_present_is_right(self) -> None:
        if hasattr(self, "store"):
            assert self.run(self.listed(None)) == {key: row.version for key, row in self.present.items()}

    async def listed(self, at: int | None) -> dict[tuple[str, str], int]:
        async with self.store.snapshot(at) as snapshot:
            return {(row.namespace, row.name): row.version async for row in snapshot.rows("pods")}

    async def told(self, after: int) -> list[tuple[int, str, tuple[str, str]]]:
        watcher, past = await self.store.watch("pods", after)
        watcher.close()
        return [(e.version, e.type, (e.row.namespace, e.row.name)) async for e in past]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
            self.loop.close()
            shutil.rmtree(self.folder)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
