"""`kill -9` at random moments of a download by four processes at once."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelport.storage import Cache, clone

ROUNDS = int(os.environ.get("MODELPORT_KILL_ROUNDS", "20"))
SCRIPT = Path(__file__).with_name("killed.py")
BIG = os.urandom(1 << 20) * 24  # three parts


def start(cache: Cache, uri: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(cache.folder), uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("slow", [True, False], ids=["in the transfer", "anywhere"])
def test_after_kill_9_every_reader_sees_a_whole_model_and_little_comes_twice(web, tmp_path, slow):
    """Four processes fetch the same; one or all of them die at a random moment; then a fifth comes."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    expected = hashlib.sha256(BIG).hexdigest()
    pause = 0.0
    if slow:
        pause = 0.002

        def trickle(handler):
            handler.wfile = Slow(handler.wfile, pause)

        web.before = trickle
    for number in range(ROUNDS // 2):
        cache = Cache(tmp_path / f"cache-{number}")
        uri = web.put("/model.bin", BIG)
        web.sent = 0
        processes = [start(cache, uri) for _ in range(4)]
        victims = chance.sample(processes, chance.choice([1, 1, 2, 4]))
        time_to_live = chance.uniform(0.15, 1.1)
        deadline = time.monotonic() + time_to_live
        while time.monotonic() < deadline and any(one.poll() is None for one in victims):
            victims[0].poll()
        for one in victims:
            one.kill()
        context = f"seed {seed}, round {number}"
        for one in processes:
            out, err = one.communicate(timeout=60)
            if one in victims and one.returncode == -9:
                continue
            assert out.decode().strip() == expected, f"{context}: {err.decode()}"
        last = start(cache, uri)
        out, err = last.communicate(timeout=60)
        assert out.decode().strip() == expected, f"{context}: {err.decode()}"
        whole = len(BIG)
        deaths = len(victims)
        # Each death costs at most the parts that were on their way, and what the kernel had buffered for them.
        assert web.sent <= whole + (deaths + 1) * (whole + (4 << 20)), context
        assert web.sent <= 2 * whole + (deaths + 1) * (4 << 20), context
        assert not [path for path in cache.trees.iterdir() if path.name.startswith(".new")] or victims
        clone.remove(cache.folder)


class Slow:
    """A connection of some 30 MB/s, so that a death finds the transfer on its way."""

    def __init__(self, inner, pause: float) -> None:
        self._inner = inner
        self._pause = pause

    def write(self, data) -> int:
        time.sleep(self._pause)
        return self._inner.write(data)

    def __getattr__(self, name):
        return getattr(self._inner, name)
