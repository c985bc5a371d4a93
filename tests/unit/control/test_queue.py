"""The work queue: no key is lost, none is worked on twice at once, failures back off by themselves."""

from __future__ import annotations

import asyncio
import contextlib

from modelport.control.queue import Queue


async def working(queue, reconcile, workers=2):
    tasks = [asyncio.create_task(queue.work(reconcile)) for _ in range(workers)]

    @contextlib.asynccontextmanager
    async def running():
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return running()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_key_that_is_added_while_it_is_worked_on_is_worked_on_again_and_never_twice_at_once():
    async def run():
        queue: Queue[str] = Queue()
        busy, most, seen = 0, 0, 0
        release = asyncio.Event()

        async def reconcile(key):
            nonlocal busy, most, seen
            busy += 1
            most = max(most, busy)
            seen += 1
            await release.wait()
            busy -= 1

        async with await working(queue, reconcile):
            queue.add("a")
            await until(lambda: busy == 1)
            for _ in range(5):
                queue.add("a")
            release.set()
            await until(lambda: seen == 2)
            await asyncio.sleep(0)
        assert (most, seen) == (1, 2)

    asyncio.run(run())


def test_a_failure_is_tried_again_and_does_not_end_the_worker():
    async def run():
        queue: Queue[str] = Queue()
        tries: list[str] = []

        async def reconcile(key):
            tries.append(key)
            if key == "bad" and tries.count("bad") < 3:
                raise ValueError("not yet")

        async with await working(queue, reconcile, workers=1):
            queue.add("bad")
            queue.add("good")
            await until(lambda: tries.count("bad") == 3 and "good" in tries)

    asyncio.run(run())


def test_the_earlier_of_two_times_counts():
    async def run():
        queue: Queue[str] = Queue()
        seen = asyncio.Event()

        async def reconcile(key):
            seen.set()

        async with await working(queue, reconcile):
            queue.add_after("a", 0.01)
            queue.add_after("a", 3600)
            await asyncio.wait_for(seen.wait(), 30)
            seen.clear()
            queue.add_after("b", 3600)
            queue.add_after("b", 0.01)
            await asyncio.wait_for(seen.wait(), 30)

    asyncio.run(run())


def test_what_reconcile_returns_is_when_it_looks_again():
    async def run():
        queue: Queue[str] = Queue()
        seen: list[str] = []

        async def reconcile(key):
            seen.append(key)
            return 0.001 if len(seen) < 3 else None

        async with await working(queue, reconcile):
            queue.add("a")
            await until(lambda: len(seen) == 3)

    asyncio.run(run())
