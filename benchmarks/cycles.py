"""A thousand models come and go: the server is no larger afterwards, and a neighbour hardly notices.

    python benchmarks/cycles.py                    # as it is published
    python benchmarks/cycles.py --cycles 60        # to try it

One server, two models: `steady` answers requests that arrive at a fixed rate, whatever happens; `guest`, a random
forest, is loaded and unloaded through the repository API meanwhile. Rounds with and without the guest's cycles
alternate. Exit code 1: a wrong or missing answer, a cycle that failed, a process or an open
file that stayed, or memory that grew by more than --limit-mb after the first tenth.
"""

from __future__ import annotations

import argparse
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
import load
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
        self.failures: list[str] = []
        self.ending = threading.Event()

    def run(self) -> None:
        """Until told to end."""
        while not self.ending.is_set():
            began = time.monotonic()
            try:
                self._order("load")
                self.load_s.append(time.monotonic() - began)
                self._order("unload")
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


def shoot(folder: Path, url: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """One round of load on the neighbour: arrivals at a fixed rate, latency from the moment that a request was due."""
    words = [str(load.BINARY), "rest", "--url", f"{url}/v2/models/steady/infer"]
    words += ["--body", str(folder / "body"), "--expect", f"@{folder / 'expect'}", "--connections", "64"]
    words += ["--rate", str(rate), "--seed", str(seed), "--warmup", "0.5", "--duration", str(seconds)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def measure(options: argparse.Namespace, folder: Path, pid: int, url: str) -> dict[str, Any]:
    """The whole of it, against a server that serves."""
    post(f"{url}/v2/repository/models/guest/unload", b"{}")
    before = processes(pid)
    files = open_files(before)
    calm: list[dict[str, Any]] = []
    busy: list[dict[str, Any]] = []
    load_s: list[float] = []
    sizes: list[float] = []
    problems: list[str] = []
    turn = 0
    while len(load_s) < options.cycles and not problems:
        turn += 1
        calm.append(shoot(folder, url, options.rate, options.round, turn))
        cycles = Cycles(url, options.pause)
        cycles.start()
        busy.append(shoot(folder, url, options.rate, options.round, turn))
        cycles.ending.set()
        cycles.join(120)
        load_s += cycles.load_s
        problems += cycles.failures
        sizes.append(private_mb(processes(pid)))
    errors = sum(one["errors"] for one in (*calm, *busy))
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
        "cycles": len(load_s),
        "load_ms_median": round(statistics.median(load_s) * 1000, 1) if load_s else None,
        "neighbour": {
            "requests": sum(one["requests"] for one in (*calm, *busy)),
            "rate": options.rate,
            **{
                f"{name}_us": {
                    "calm": statistics.median(one["latency_us"][name] for one in calm),
                    "while_loading": statistics.median(one["latency_us"][name] for one in busy),
                }
                for name in ("p50", "p90", "p99", "p999")
            },
        },
        "private_mb": [round(size, 1) for size in sizes],
        "problems": problems,
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second to the neighbour")
    parser.add_argument("--round", type=float, default=10.0, help="seconds a round")
    parser.add_argument(
        "--pause", type=float, default=0.2, help="seconds from one load to the next, at least"
    )
    parser.add_argument("--limit-mb", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load.build()
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
    found |= {"machine": machine.describe(load.ROOT)}
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
