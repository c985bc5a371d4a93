"""A server's process tree: started on its core, watched, measured and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A process group pinned to one core; leaving the context ends it."""

    def __init__(self, argv: list[str], environ: dict[str, str], core: int, cwd: Path) -> None:
        self.argv = ["taskset", "-c", str(core), *argv]
        self.environ = environ
        self.cwd = cwd
        self.log = cwd / "log.txt"

    def __enter__(self) -> Server:
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.argv,
                env=self.environ,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.signal(signal.SIGKILL)  # children that outlived the parent, too
        self.process.wait()

    def signal(self, number: int) -> None:
        """Signals the whole group, if there is one left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def check(self) -> None:
        """Raises when the server has ended, with the last lines that it wrote."""
        if self.process.poll() is not None:
            raise ServerEndedError(f"it ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])

    def tree(self) -> list[int]:
        """The process ids of the group."""
        members = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                fields = stat(int(entry.name))
                if fields and int(fields[2]) == self.process.pid:
                    members.append(int(entry.name))
        return members

    def memory_mb(self) -> dict[str, float]:
        """Resident and proportional memory of the tree, MB (1,000,000 bytes)."""
        total = {"Rss": 0, "Pss": 0}
        for pid in self.tree():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            for line in rollup.splitlines():
                name, _, rest = line.partition(":")
                if name in total:
                    total[name] += int(rest.split()[0]) * 1024
        return {"rss": total["Rss"] / 1e6, "pss": total["Pss"] / 1e6}

    def cpu_s(self) -> float:
        """Processor time that the tree has used."""
        ticks = 0
        for pid in self.tree():
            fields = stat(pid)
            if fields:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS


class ServerEndedError(Exception):
    """The server is gone."""


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name: state, parent, group, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
