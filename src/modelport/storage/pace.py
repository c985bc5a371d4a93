"""How many connections to have: few where few do, since each takes about a megabyte, and more while more are faster."""

from __future__ import annotations

SMALL = 8
"""Workers for files that are read whole: those wait for answers rather than for bytes."""
FIRST = 2
"""Workers for parts of large files, to begin with: on a machine's own network two or three fill a processor."""
MOST = 16
WINDOW_S = 0.3
"""For twice so long a number of workers is tried: a busy machine has better and worse moments."""
WORTH = 0.75
"""So much of what more workers could bring at best they must bring, or there are enough."""


class Pace:
    """Adds a third; where that brings most of what it could, adds as many again as there are, and so on."""

    def __init__(self, whole: int, parts: int, most: int = MOST) -> None:
        self._most = max(1, min(most, whole + parts))
        self.workers = max(1, min(most, max(min(whole, SMALL), min(parts, FIRST))))
        """So many are wanted now."""
        self._fewer = 0
        self._rate = 0.0
        self._since: float | None = None
        self._bytes = 0
        self._rates: list[float] = []
        self._settled = self.workers >= self._most

    def observe(self, done_bytes: int, now: float) -> int:
        """How many more to have, after so many bytes at this moment."""
        if self._settled:
            return 0
        if self._since is None:
            self._since, self._bytes = now, done_bytes
            return 0
        if now - self._since < WINDOW_S:
            return 0
        rate = (done_bytes - self._bytes) / (now - self._since)
        self._since, self._bytes = now, done_bytes
        if rate <= 0:
            return 0
        self._rates.append(rate)
        if len(self._rates) < 2:
            return 0
        least, most = min(self._rates), max(self._rates)
        self._rates = []
        before = self.workers
        if self._fewer:
            hoped = self._rate * before / self._fewer
            if least < self._rate + (hoped - self._rate) * WORTH:
                self._settled = True
                return 0
            self.workers = min(before * 2, self._most)
        else:
            self.workers = min(before + max(1, before // 3), self._most)
        self._fewer, self._rate = before, most
        self._settled = self.workers >= self._most
        return self.workers - before
