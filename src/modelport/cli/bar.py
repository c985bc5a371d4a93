"""How far a fetch is: a bar that redraws itself on a terminal, a line now and then elsewhere. On standard error."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from modelport.storage import Progress

WIDTH = 24
EVERY_S = 5.0
WORDS = {
    "resolve": "asking",
    "authenticate": "asking",
    "list": "listing",
    "wait": "another process fetches it",
    "read": "fetching",
    "write": "writing",
    "verify": "verifying",
    "unpack": "unpacking",
    "done": "done",
}


class Bar:
    """Give it to `fetch` as `progress`."""

    def __init__(self, out: TextIO = sys.stderr) -> None:
        self._out = out
        self._live = out.isatty()
        self._last: str = ""
        self._said_at = 0.0
        self._phase = ""
        self._note = ""

    def __call__(self, progress: Progress) -> None:
        """Shows a moment."""
        if self._live:
            columns = shutil.get_terminal_size().columns
            self._out.write(f"\r\x1b[K{line(progress, bar=True)[: columns - 1]}")
            if progress.phase == "done":
                self._out.write("\r\x1b[K")
            self._out.flush()
            return
        now = time.monotonic()
        new = progress.phase != self._phase or progress.note != self._note
        if progress.phase != "done" and (new or now - self._said_at >= EVERY_S):
            text = line(progress, bar=False)
            if text != self._last:
                print(text, file=self._out, flush=True)
            self._last, self._said_at = text, now
        self._phase, self._note = progress.phase, progress.note

    def clear(self) -> None:
        """Leaves the line to others."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()


def line(progress: Progress, *, bar: bool) -> str:
    """A moment in one line."""
    from modelport.storage.space import size

    parts = [WORDS[progress.phase]]
    total = progress.bytes_total
    if progress.bytes_done or total:
        if total and bar:
            filled = min(WIDTH, progress.bytes_done * WIDTH // total)
            parts.append(f"[{'#' * filled}{' ' * (WIDTH - filled)}]")
        if total:
            parts.append(f"{min(100, progress.bytes_done * 100 // total)}%")
        parts.append(f"{size(progress.bytes_done)}" + (f" of {size(total)}" if total else ""))
        if progress.bytes_per_second and progress.phase == "read":
            parts.append(f"{size(progress.bytes_per_second)}/s")
        if progress.files_total and progress.files_total > 1:
            parts.append(f"{progress.files_done} of {progress.files_total} files")
    if progress.note:
        parts.append(f"· {progress.note}")
    return " ".join(parts)
