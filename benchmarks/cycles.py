"""A thousand models come and go: the server is no larger afterwards, and a neighbour hardly notices.

    python benchmarks/cycles.py                             # as it is published
    python benchmarks/cycles.py --cycles 60 --singles 10    # to try it

One server, two models: `steady` answers requests that arrive at a fixed rate, whatever happens; `guest`, a random
forest, is loaded and unloaded through the repository API meanwhile. Rounds without (`calm`) and with it alternate, at
two paces: a load every two seconds (`now_and_then`), and one after the other (`back_to_back`). Of the latter two,
percentiles are given of all requests of those rounds, and of the requests that met a load or an unload.

Exit code 1: a wrong or missing answer, a cycle that failed, a process or an open file that stayed, or memory that grew
by more than --limit-mb after the first tenth.
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import machine
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from tree import free_ports, private_mb, processes

ROW = [6.8, 2.8, 4.8, 1.4]
V2 = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}
TREES = 100
START_LIMIT_S = 120.0


class Cycles(threading.Thread):
    """Loads and unloads the guest, at most so often, until told to end."""

    def __init__(self, url: str, pause_s: float) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._pause_s = pause_s
        self.load_s: list[float] = []
        self.windows: list[tuple[float, float]] = []
        """When a load or an unload began and ended, by the same clock as the requests."""
        self.failures: list[str] = []
        self.ending = threading.Event()

    def run(self) -> None:
        """Until told to end."""
        while not self.ending.is_set():
            began = time.monotonic()
            try:
                self._order("load")
                self.load_s.append(time.monotonic() - began)
                self.windows.append((began, time.monotonic()))
                began_unload = time.monotonic()
                self._order("unload")
                self.windows.append((began_unload, time.monotonic()))
            except (OSError, ValueError) as error:
                self.failures.append(f"cycle {len(self.load_s)}: {error}")
                return
            self.ending.wait(max(0.0, self._pause_s - (time.monotonic() - began)))

    def _order(self, verb: str) -> None:
        post(f"{self._url}/v2/repository/models/guest/{verb}", b"{}")


def post(url: str, body: bytes) -> bytes:
    """One answer."""
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as response:
        return response.read()


def save_models(repository: Path) -> float:
    """Trains and saves both; the guest's size in MB."""
    features, labels = load_iris(return_X_y=True)
    digits, names = load_digits(return_X_y=True)
    for name, model in (
        ("steady", LogisticRegression(max_iter=1000).fit(features, labels)),
        ("guest", RandomForestClassifier(TREES, random_state=0).fit(digits, names)),
    ):
        (repository / name).mkdir(parents=True)
        joblib.dump(model, repository / name / "model.joblib")
    return (repository / "guest" / "model.joblib").stat().st_size / 1e6


def open_files(pids: list[int]) -> int:
    """How many descriptors they hold."""
    return sum(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids)


class Neighbour:
    """What the steady model's clients saw, in seconds."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.met: list[float] = []
        """Of the requests that met a load or an unload."""
        self.errors = 0

    def percentiles(self) -> dict[str, Any]:
        """Of all, and of those that met one, in microseconds."""
        found: dict[str, Any] = {"requests": len(self.all), "us": _percentiles(self.all)}
        if self.met:
            found |= {"met_one": {"requests": len(self.met), "us": _percentiles(self.met)}}
        return found


def _percentiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {name: round(ordered[int(len(ordered) * share)] * 1e6, 1) for name, share in at.items()}


def overlapping(samples: list[list[float]], windows: list[tuple[float, float]]) -> list[float]:
    """Latencies of the requests that were under way within one of the windows, which are in order."""
    ends = [end for _, end in windows]
    found: list[float] = []
    for due, took in samples:
        place = bisect.bisect_left(ends, due)
        if place < len(windows) and windows[place][0] <= due + took:
            found.append(took)
    return found


def round_of(
    options: argparse.Namespace, folder: Path, url: str, seed: int, into: Neighbour
) -> list[list[float]]:
    """Asks the neighbour for the seconds of one round."""
    words = [sys.executable, str(Path(__file__).with_name("arrivals.py")), f"{url}/v2/models/steady/infer"]
    words += [str(folder / "body"), str(folder / "expect")]
    words += [str(options.rate), str(options.round), str(seed)]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    into.all += [took for _, took in found["samples"]]
    into.errors += found["errors"]
    return found["samples"]


class Pace:
    """Rounds with and without loads, until there have been so many."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        self.calm, self.loading = Neighbour(), Neighbour()
        self.load_s: list[float] = []
        self.sizes: list[float] = []
        self.problems: list[str] = []

    def run(self, options: argparse.Namespace, folder: Path, pid: int, url: str, cycles: int) -> None:
        """Until there were so many loads, or a failure."""
        turn = 0
        while len(self.load_s) < cycles and not self.problems:
            turn += 1
            round_of(options, folder, url, turn, self.calm)
            guest = Cycles(url, self.pause_s)
            guest.start()
            samples = round_of(options, folder, url, turn, self.loading)
            guest.ending.set()
            guest.join(120)
            self.loading.met += overlapping(samples, guest.windows)
            self.load_s += guest.load_s
            self.problems += guest.failures
            self.sizes.append(private_mb(processes(pid)))

    def report(self) -> dict[str, Any]:
        """As it is written down."""
        calm, loading = self.calm.percentiles(), self.loading.percentiles()
        return {
            "loads": len(self.load_s),
            "load_ms_median": round(statistics.median(self.load_s) * 1000, 1) if self.load_s else None,
            "calm": calm,
            "while_loading": loading,
            "p99_ratio": round(loading["us"]["p99"] / calm["us"]["p99"], 3),
        }


def measure(options: argparse.Namespace, folder: Path, pid: int, url: str) -> dict[str, Any]:
    """The whole of it, against a server that serves."""
    post(f"{url}/v2/repository/models/guest/unload", b"{}")
    before = processes(pid)
    files = open_files(before)
    singly, crowded = Pace(options.every), Pace(options.pause)
    singly.run(options, folder, pid, url, options.singles)
    crowded.run(options, folder, pid, url, options.cycles)
    sizes = singly.sizes + crowded.sizes
    problems = singly.problems + crowded.problems
    errors = sum(one.errors for pace in (singly, crowded) for one in (pace.calm, pace.loading))
    settled = sizes[max(0, len(sizes) // 10 - 1)]
    after = processes(pid)
    if errors:
        problems.append(f"{errors} answers were wrong or missing")
    if set(after) != set(before):
        problems.append(f"processes: {sorted(before)} before, {sorted(after)} after")
    if open_files(after) > files + 8:
        problems.append(f"open files: {files} before, {open_files(after)} after")
    if sizes[-1] - settled > options.limit_mb:
        problems.append(f"memory grew from {settled:.1f} to {sizes[-1]:.1f} MB")
    return {
        "cycles": len(singly.load_s) + len(crowded.load_s),
        "rate": options.rate,
        "now_and_then": singly.report(),
        "back_to_back": crowded.report(),
        "private_mb": [round(size, 1) for size in sizes],
        "problems": problems,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second to the neighbour")
    parser.add_argument("--round", type=float, default=10.0, help="seconds a round")
    parser.add_argument("--singles", type=int, default=60, help="loads with a pause, before the cycles")
    parser.add_argument("--every", type=float, default=2.0, help="seconds from one of those to the next")
    parser.add_argument("--pause", type=float, default=0.0, help="the same of the cycles, at least")
    parser.add_argument("--limit-mb", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guest_mb = save_models(folder / "repository")
        (folder / "body").write_text(json.dumps(V2))
        (folder / "expect").write_bytes(b'"data":[1]')
        port, grpc_port = free_ports()
        words = [sys.executable, "-m", "modelport", "serve", str(folder / "repository")]
        words += ["--http-port", str(port), "--grpc-port", str(grpc_port)]
        url = f"http://127.0.0.1:{port}"
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                words, stdout=log, stderr=subprocess.STDOUT, env=os.environ | machine.THREADS
            )
        try:
            wait_until_served(url)
            found = measure(options, folder, server.pid, url)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    found |= {"guest_mb": round(guest_mb, 1), "exit_code": code, "version": version("modelport")}
    found |= {"machine": machine.describe(Path(__file__).parent.parent)}
    text = json.dumps(found, indent=2)
    sys.stdout.write(f"{text}\n")
    if options.out:
        options.out.write_text(f"{text}\n")
    return 1 if found["problems"] or code else 0


def wait_until_served(url: str) -> None:
    """Until the neighbour answers."""
    until = time.monotonic() + START_LIMIT_S
    while True:
        try:
            post(f"{url}/v2/models/steady/infer", json.dumps(V2).encode())
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
