"""Two million requests with one in a hundred malformed: afterwards the server has answered all, and is no larger.

    python benchmarks/soak.py                      # as it is published
    python benchmarks/soak.py --requests 50000     # to try it

A model of iris is served by two worker processes. V1, V2 and gRPC requests take turns from 64 connections, each answer is
compared with the right one, while the 64 kinds of `bad_input.py` arrive beside them. Exit code 1: a wrong or missing
answer, a 5xx, a worker that was replaced, or memory that grew by more than --limit-mb after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import bad_input
import joblib
import load
import machine
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from tree import free_ports, private_mb, processes

ROUND_S = 5.0
SHARE = 0.01
WORKERS = 2
ROW = [6.8, 2.8, 4.8, 1.4]
V1 = {"instances": [ROW]}
V2 = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}]}


class Malformed(threading.Thread):
    """Sends malformed requests, as many as are due."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.due = self.sent = 0
        self.failures: list[str] = []
        self.ending = False

    def run(self) -> None:
        """Until told to end."""
        while not self.ending:
            if self.sent >= self.due:
                time.sleep(0.01)
                continue
            try:
                results = bad_input.run(self._url, "iris")
            except (OSError, ValueError) as error:
                self.failures.append(f"a right request among the malformed ones: {error}")
                return
            for result in results:
                self.sent += 1
                if result.is_server_error or not result.alive:
                    self.failures.append(str(result))


def answer(url: str, body: bytes) -> bytes:
    """One answer."""
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as response:
        return response.read()


def shoot(kind: str, target: tuple[str, ...], body: Path, expect: Path) -> dict[str, int]:
    """A round of load: how many were answered, how many not."""
    words = [str(load.BINARY), *target, "--body", str(body), "--warmup", "0", "--duration", str(ROUND_S)]
    words += ["--connections", "8", "--streams", "8"] if kind == "grpc" else ["--connections", "64"]
    words += ["--expect", f"@{expect}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    return {"requests": report["requests"], "errors": report["errors"]}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--limit-mb", type=float, default=16.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load.build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features, labels = load_iris(return_X_y=True)
        joblib.dump(
            LogisticRegression(max_iter=1000).fit(features.astype("f4"), labels), folder / "iris.joblib"
        )
        port, grpc_port = free_ports()
        words = [
            sys.executable,
            "-m",
            "modelport",
            "serve",
            str(folder / "iris.joblib"),
            "--workers",
            str(WORKERS),
        ]
        words += ["--http-port", str(port), "--grpc-port", str(grpc_port)]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        try:
            found = soak(folder, server.pid, port, grpc_port, options.requests, options.limit_mb)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(60)
    found |= {
        "exit_code": code,
        "commit": machine.git(load.ROOT, "rev-parse", "--short", "HEAD"),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    text = json.dumps(found, indent=2)
    sys.stdout.write(f"{text}\n")
    if options.out:
        options.out.write_text(f"{text}\n")
    return 1 if found["problems"] or code else 0


def soak(
    folder: Path, pid: int, port: int, grpc_port: int, wanted: int, limit_mb: float
) -> dict[str, object]:
    """The whole of it, against a server that is starting."""
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 120
    while True:
        try:
            answer(f"{url}/v1/models/iris:predict", json.dumps(V1).encode())
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    bodies = {"v1": V1, "v2": V2}
    targets: dict[str, tuple[str, ...]] = {
        "v1": ("rest", "--url", f"{url}/v1/models/iris:predict"),
        "v2": ("rest", "--url", f"{url}/v2/models/iris/infer"),
        "grpc": ("grpc", "--url", f"http://127.0.0.1:{grpc_port}"),
    }
    for kind, body in bodies.items():
        (folder / kind).write_text(json.dumps(body))
    (folder / "v1.expect").write_bytes(b'"predictions":[1]')
    (folder / "v2.expect").write_bytes(b'"data":[1]')
    (folder / "grpc").write_bytes(grpc_message())
    (folder / "grpc.expect").write_bytes((1).to_bytes(8, "little"))
    while len(before := processes(pid)) < 1 + WORKERS:
        time.sleep(0.1)
    malformed = Malformed(url)
    malformed.start()
    counts, sizes, answered, errors = dict.fromkeys(targets, 0), [private_mb(before)], 0, 0
    while answered < wanted:
        for kind, target in targets.items():
            round_ = shoot(kind, target, folder / kind, folder / f"{kind}.expect")
            counts[kind] += round_["requests"]
            answered += round_["requests"]
            errors += round_["errors"]
            malformed.due = int(answered * SHARE)
        sizes.append(private_mb(processes(pid)))
    while malformed.sent < malformed.due and malformed.is_alive():
        time.sleep(0.1)
    malformed.ending = True
    malformed.join(60)
    sizes.append(private_mb(processes(pid)))
    settled = sizes[max(1, len(sizes) // 10)]
    problems = [f"{errors} answers were wrong or missing"] if errors else []
    problems += malformed.failures[:20]
    if malformed.sent < malformed.due:
        problems.append(f"{malformed.sent} malformed requests were sent, not {malformed.due}")
    after = processes(pid)
    if set(after) != set(before):
        problems.append(f"worker processes were replaced: {sorted(before)} before, {sorted(after)} after")
    if sizes[-1] - settled > limit_mb:
        problems.append(f"memory grew from {settled:.1f} to {sizes[-1]:.1f} MB")
    return {
        "answered": counts,
        "malformed": malformed.sent,
        "private_mb": [round(size, 1) for size in sizes],
        "cores": os.cpu_count(),
        "version": version("modelport"),
        "problems": problems,
    }


def grpc_message() -> bytes:
    """`V2` as an encoded ModelInferRequest."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    shape = field(3, bytes([1, 4]))
    tensor = field(1, b"x") + field(2, b"FP32") + shape
    return field(1, b"iris") + field(5, tensor) + field(7, struct.pack("<4f", *ROW))


if __name__ == "__main__":
    sys.exit(main())
